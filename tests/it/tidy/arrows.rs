//! Which crate may know which.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::source_tree::{assert_none, root, text_of};

/// Each package of the workspace, and the packages of the workspace it may depend on.
const ARROWS: [(&str, &[&str]); 9] = [
    ("callboard-macros", &[]),
    ("callboard-core", &["callboard-macros"]),
    ("callboard-store", &["callboard-core"]),
    (
        "callboard-supervision",
        &["callboard-core", "callboard-store"],
    ),
    ("callboard-remote", &["callboard-core"]),
    ("callboard-nats", &["callboard-core", "callboard-remote"]),
    ("callboard-console", &["callboard-core", "callboard-remote"]),
    (
        "callboard",
        &[
            "callboard-core",
            "callboard-store",
            "callboard-supervision",
            "callboard-remote",
            "callboard-nats",
            "callboard-console",
        ],
    ),
    ("callboard-guide", &["callboard"]),
];

/// How many crates `core` may bring along, itself included.
const CORE_CRATES: usize = 70;

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {complaint}");
    String::from_utf8(output.stdout).expect("cargo speaks UTF-8")
}

/// The packages of the workspace, as cargo describes them.
fn packages() -> Vec<Value> {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&metadata).expect("cargo's metadata is JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

fn name_of(value: &Value) -> String {
    value["name"].as_str().expect("a name").to_owned()
}

#[test]
fn crates_depend_on_each_other_only_along_the_arrows() {
    let packages = packages();
    let ours: BTreeSet<String> = packages.iter().map(name_of).collect();
    let mut problems = Vec::new();
    for package in &packages {
        let name = name_of(package);
        let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
            problems.push(format!("{name} has no arrows here yet"));
            continue;
        };
        // Dependencies of tests and build scripts count as well.
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let target = name_of(dependency);
            // A package may be its own dependency in tests, with features that are off by default.
            if target != name && ours.contains(&target) && !allowed.contains(&target.as_str()) {
                problems.push(format!("{name} -> {target}"));
            }
        }
    }
    assert_none(
        "these crates of the workspace must not know each other:",
        &problems,
    );
}

#[test]
fn the_map_shows_every_crate() {
    let map = text_of("ARCHITECTURE.md");
    let problems: Vec<String> = packages()
        .iter()
        .map(name_of)
        .filter(|name| name != "callboard" && !map.contains(&format!("(`{name}`)")))
        .collect();
    assert_none(
        "crates without a place on ARCHITECTURE.md's code map:",
        &problems,
    );
}

#[test]
fn core_brings_few_crates_along() {
    let package = ["-p", "callboard-core"];
    // Needs no network: whoever ran `cargo test --workspace` has all that is on the lock file's list.
    let shape = [
        "--locked", "-e", "normal", "--prefix", "none", "--format", "{p}",
    ];
    let tree = cargo(&[&["tree"][..], &package, &shape].concat());
    // A crate that is shown before comes again with a mark behind it.
    let crates: BTreeSet<&str> = tree
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .collect();
    assert!(
        crates.len() < CORE_CRATES,
        "callboard-core brings {} crates: {crates:#?}",
        crates.len()
    );
}
