//! What holds for every text file: length, machine paths, links.

use std::path::Path;

use crate::source_tree::{assert_none, files, root};

const MOST_LINES: usize = 800;

#[test]
fn no_file_is_too_long_to_read() {
    let written_by_hand = |path: &str| !path.ends_with("Cargo.lock");
    let problems: Vec<String> = files()
        .iter()
        .filter(|file| written_by_hand(&file.path))
        .map(|file| (file.path.as_str(), file.text.lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    assert_none("files of more than 800 lines:", &problems);
}

#[test]
fn no_file_names_a_path_of_somebodys_machine() {
    let mut forbidden = vec![
        // In two parts, so that this file passes.
        concat!("/ho", "me/").to_owned(),
        concat!("/Us", "ers/").to_owned(),
        concat!("/ro", "ot/").to_owned(),
    ];
    forbidden.extend(root().to_str().map(str::to_owned));
    // Beside this directory there are others of the same machine, unless it lies near the top.
    let beside = root().parent().filter(|up| up.components().count() > 2);
    forbidden.extend(beside.and_then(Path::to_str).map(str::to_owned));
    let mut problems = Vec::new();
    for file in files() {
        for (number, line) in file.text.lines().enumerate() {
            if let Some(path) = forbidden.iter().find(|path| names_path(line, path)) {
                problems.push(format!("{}:{}: {path}", file.path, number + 1));
            }
        }
    }
    assert_none("paths that exist on one machine only:", &problems);
}

/// Whether a line holds a path that starts with this one. A part of an address doesn't count.
fn names_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '.' | '/' | '_' | '-' | '*'))
    })
}

#[test]
fn links_lead_somewhere() {
    let mut problems = Vec::new();
    for file in files().iter().filter(|file| file.path.ends_with(".md")) {
        let directory = Path::new(&file.path).parent().expect("a file has a place");
        for target in links(&file.text) {
            let (path, _) = target.split_once('#').unwrap_or((target, ""));
            let outside = target.contains("://") || target.starts_with("mailto:");
            if !outside && !path.is_empty() && !root().join(directory).join(path).exists() {
                problems.push(format!("{}: {target}", file.path));
            }
        }
    }
    assert_none("links to files that aren't there:", &problems);
}

/// The targets of inline links outside code.
fn links(text: &str) -> Vec<&str> {
    let mut in_fence = false;
    let mut targets = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_fence = !in_fence;
        } else if !in_fence {
            targets.extend(
                line.split("](")
                    .skip(1)
                    .filter_map(|rest| rest.split(')').next()),
            );
        }
    }
    targets
}
