//! What `Cargo.toml` files must say.

use crate::source_tree::{assert_none, files};

#[test]
fn every_dependency_says_why_it_is_here() {
    let manifests = files()
        .iter()
        .filter(|file| file.path.ends_with("Cargo.toml"));
    let problems: Vec<String> = manifests
        .flat_map(|file| {
            let lines = unexplained(&file.text).into_iter();
            lines.map(|line| format!("{}: {line}", file.path))
        })
        .collect();
    assert_none("no comment says why these are needed:", &problems);
}

/// The dependencies of a manifest that no comment explains. Crates of the house need none, and what comes from
/// the workspace is explained there.
fn unexplained(manifest: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut inside = false;
    // Lines that follow each other without a gap share the comment above the first.
    let mut explained = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
            explained = false;
        } else if line.starts_with('#') {
            explained = true;
        } else if line.trim().is_empty() {
            explained = false;
        } else if inside && !explained {
            let elsewhere = line.contains("path = ") || line.contains("workspace = true");
            lines.extend((!elsewhere).then_some(line));
        }
    }
    lines
}

#[test]
fn an_unexplained_dependency_is_found() {
    let manifest = "[dependencies]\na.workspace = true\nb = \"1\"\n# Why.\nc = \"1\"\n";
    assert_eq!(unexplained(manifest), ["b = \"1\""]);
}

/// Packages in a workspace of their own, which have lints of their own.
fn is_apart(path: &str) -> bool {
    path.starts_with("benches/") || path.starts_with("core/loom/")
}

#[test]
fn every_package_follows_the_lints_of_the_workspace() {
    let manifests = files()
        .iter()
        .filter(|file| file.path.ends_with("Cargo.toml") && !is_apart(&file.path));
    let problems: Vec<String> = manifests
        .filter(|file| !file.text.contains("[lints]\nworkspace = true\n"))
        .map(|file| file.path.clone())
        .collect();
    assert_none("`[lints] workspace = true` is missing in:", &problems);
}
