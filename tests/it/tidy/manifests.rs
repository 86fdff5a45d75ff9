//! What `Cargo.toml` files must say.

use crate::source_tree::{assert_none, files, text_of};

#[test]
fn every_dependency_of_the_workspace_says_why_it_is_here() {
    let mut problems = Vec::new();
    let mut inside = false;
    // Lines that follow each other without a gap share the comment above the first.
    let mut explained = false;
    for line in text_of("Cargo.toml").lines() {
        if line.starts_with('[') {
            inside = line == "[workspace.dependencies]";
            explained = false;
        } else if line.starts_with('#') {
            explained = true;
        } else if line.trim().is_empty() {
            explained = false;
        } else if inside && !explained && !line.contains("path = ") {
            problems.push(line.to_owned());
        }
    }
    assert_none("no comment says why these are needed:", &problems);
}

#[test]
fn every_package_follows_the_lints_of_the_workspace() {
    let manifests = files()
        .iter()
        .filter(|file| file.path.ends_with("Cargo.toml") && !file.path.starts_with("benches/"));
    let problems: Vec<String> = manifests
        .filter(|file| !file.text.contains("[lints]\nworkspace = true\n"))
        .map(|file| file.path.clone())
        .collect();
    assert_none("`[lints] workspace = true` is missing in:", &problems);
}
