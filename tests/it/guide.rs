//! What keeps the guide true: every fence is checked by something, every chapter is known.
//!
//! Five kinds of fence may stand in a chapter:
//! - `rust`: compiled and run, because `guide/lib.rs` makes the chapter a doctest;
//! - `rust,compile_fail`: the same, and must not compile;
//! - `rust,ignore`: one include of an anchor of an example, which has a test of its own;
//! - `text`: one include of a transcript that the test of an example asserts;
//! - `sh`: commands that start an example that is there, or the tests.

use std::path::Path;

use crate::source_tree::{assert_none, exists, files, rust_files, text_of};

const CHAPTERS: &str = "guide/src/";

/// A fenced block of a Markdown file.
struct Fence<'a> {
    line: usize,
    info: &'a str,
    body: Vec<&'a str>,
}

fn fences(text: &str) -> Vec<Fence<'_>> {
    let mut fences: Vec<Fence<'_>> = Vec::new();
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        match line.trim_start().strip_prefix("```") {
            Some(_) if open => open = false,
            Some(info) => {
                open = true;
                let line = number + 1;
                let body = Vec::new();
                fences.push(Fence { line, info, body });
            }
            None if open => fences.last_mut().expect("one is open").body.push(line),
            None => {}
        }
    }
    assert!(!open, "a fence is never closed");
    fences
}

fn chapters() -> Vec<(&'static str, &'static str)> {
    let chapters = files().iter().filter_map(|file| {
        let name = file.path.strip_prefix(CHAPTERS)?;
        (name.ends_with(".md") && name != "SUMMARY.md").then_some((name, file.text.as_str()))
    });
    chapters.collect()
}

/// What is wrong with a fence, if anything.
fn complaint(fence: &Fence<'_>) -> Option<String> {
    match fence.info {
        "rust" | "rust,compile_fail" => {
            let included = fence.body.iter().any(|line| line.contains("{{#"));
            included.then(|| "the doctest can't see what mdBook includes".to_owned())
        }
        "rust,ignore" => include_of(fence, "examples/", true),
        "text" => include_of(fence, "tests/fixtures/", false),
        "sh" => fence.body.iter().find_map(|line| wrong_command(line)),
        other => Some(format!("nothing checks a fence marked {other:?}")),
    }
}

/// Checks that a fence is exactly one include from `directory`, of an anchor or of the whole file.
fn include_of(fence: &Fence<'_>, directory: &str, with_anchor: bool) -> Option<String> {
    let [line] = fence.body[..] else {
        return Some("must be exactly one line: an include".to_owned());
    };
    let target = line
        .strip_prefix("{{#include ../../")
        .and_then(|rest| rest.strip_suffix("}}"));
    let Some(target) = target.filter(|target| target.starts_with(directory)) else {
        return Some(format!("must be `{{{{#include ../../{directory}...}}}}`"));
    };
    let (path, anchor) = match target.split_once(':') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (target, None),
    };
    if !exists(path) {
        return Some(format!("there is no {path}"));
    }
    match anchor {
        None if with_anchor => Some("name an anchor".to_owned()),
        None => None,
        Some(anchor) => {
            let has = |mark: &str| {
                let mark = format!("// {mark}: {anchor}");
                text_of(path).lines().any(|line| line.trim() == mark)
            };
            (!has("ANCHOR") || !has("ANCHOR_END")).then(|| format!("{path} has no {anchor:?}"))
        }
    }
}

fn wrong_command(line: &str) -> Option<String> {
    if line == "cargo test --workspace" {
        return None;
    }
    let example = line
        .strip_prefix("cargo run ")
        .and_then(|rest| rest.split_once("--example "))
        .and_then(|(_, rest)| rest.split(' ').next());
    match example {
        Some(name) if example_exists(name) => None,
        Some(name) => Some(format!("there is no example {name:?}")),
        None => Some(format!("not a command that is checked: {line:?}")),
    }
}

fn example_exists(name: &str) -> bool {
    let small = name.replace("queues_", "queues/"); // as in the root's Cargo.toml
    exists(&format!("examples/{small}.rs")) || exists(&format!("examples/{name}/main.rs"))
}

#[test]
fn every_fence_of_the_guide_is_checked_by_something() {
    let mut problems = Vec::new();
    for (name, text) in chapters() {
        for fence in fences(text) {
            if let Some(complaint) = complaint(&fence) {
                problems.push(format!("{CHAPTERS}{name}:{}: {complaint}", fence.line));
            }
        }
    }
    assert_none("fences that nothing checks, or that are wrong:", &problems);
}

#[test]
fn every_chapter_is_in_the_summary_and_is_doctested() {
    let summary = text_of("guide/src/SUMMARY.md");
    let doctested = text_of("guide/lib.rs");
    let mut problems = Vec::new();
    for (name, _) in chapters() {
        if !summary.contains(&format!("]({name})")) {
            problems.push(format!("{name} is not in SUMMARY.md"));
        }
        if !doctested.contains(&format!("include_str!(\"src/{name}\")")) {
            problems.push(format!("{name} is not in guide/lib.rs"));
        }
    }
    assert_none("chapters that nobody would miss:", &problems);
}

#[test]
fn every_anchor_of_a_small_example_is_shown_in_a_chapter() {
    // A large example may have anchors for chapters to come.
    let folders = ["examples", "examples/queues"].map(Path::new);
    let is_small = |path: &str| folders.map(Some).contains(&Path::new(path).parent());
    let chapters = chapters();
    let mut problems = Vec::new();
    for file in files().iter().filter(|file| is_small(&file.path)) {
        let anchors = file
            .text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("// ANCHOR: "));
        for anchor in anchors {
            let include = format!("{{{{#include ../../{}:{anchor}}}}}", file.path);
            if !chapters.iter().any(|(_, text)| text.contains(&include)) {
                problems.push(format!("{}: {anchor}", file.path));
            }
        }
    }
    assert_none("anchors that no chapter includes:", &problems);
}

/// Rows of the tables whose last column is headed so: the line's number, and that column.
fn rows_shown_by(text: &str) -> Vec<(usize, &str)> {
    let mut inside = false;
    let mut rows = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let cells = line.strip_prefix('|').and_then(|row| row.strip_suffix('|'));
        match cells
            .and_then(|cells| cells.rsplit('|').next())
            .map(str::trim)
        {
            None => inside = false,
            Some("Shown by") => inside = true,
            Some(last) if inside && !last.starts_with("---") => rows.push((number + 1, last)),
            Some(_) => {}
        }
    }
    rows
}

/// Whether there is a test whose name begins so.
fn test_exists(name: &str) -> bool {
    let mark = format!("fn {name}");
    rust_files().iter().any(|file| {
        let found = file.code.match_indices(&mark).map(|(at, _)| at);
        // An attribute stands in the lines before it.
        let before = |at: usize| file.code[..at].lines().rev().take(4);
        found
            .into_iter()
            .any(|at| before(at).any(|line| line.contains("test")))
    })
}

/// What is wrong with the proof that a row names, if anything.
fn unproved(shown_by: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for name in shown_by.split('`').skip(1).step_by(2) {
        if !test_exists(&format!("{name}(")) && !example_exists(name) {
            problems.push(format!("there is no test or example {name}"));
        }
    }
    let numbers = shown_by.split([',', ' ', ';']).filter_map(|word| {
        let digits = word.strip_prefix('G')?;
        digits.parse::<u32>().ok()
    });
    for number in numbers {
        if !test_exists(&format!("g{number:02}_")) {
            problems.push(format!("no test is named after G{number}"));
        }
    }
    problems
}

#[test]
fn what_tables_say_is_shown_by_something_is() {
    let mut problems = Vec::new();
    let mut rows = 0;
    for (name, text) in chapters() {
        for (line, shown_by) in rows_shown_by(text) {
            rows += 1;
            let wrong = unproved(shown_by);
            problems.extend(
                wrong
                    .iter()
                    .map(|why| format!("{CHAPTERS}{name}:{line}: {why}")),
            );
        }
    }
    assert!(rows > 30, "only {rows} rows were read");
    assert_none("claims that nothing shows:", &problems);
    assert_eq!(unproved("`gone`, `hello`, G3, G99").len(), 2);
}

#[test]
fn the_readme_shows_the_hello_example_as_it_is() {
    let hello = text_of("examples/hello.rs");
    let (_, code) = hello.split_once("\n\n").expect("a line of docs, then code");
    let readme = fences(text_of("README.md"));
    let shown = readme.iter().find(|fence| fence.info == "rust");
    let shown = shown.expect("the README has Rust code").body.join("\n");
    assert_eq!(shown.trim(), code.trim());
}

#[test]
fn the_commands_of_the_readme_are_real() {
    let mut problems = Vec::new();
    for fence in fences(text_of("README.md")) {
        if fence.info == "sh" {
            problems.extend(fence.body.iter().filter_map(|line| wrong_command(line)));
        }
    }
    assert_none("commands of the README:", &problems);
    let gate = text_of(".ci/run");
    assert!(
        gate.contains("cargo test --workspace"),
        "the gate runs other tests than the README says"
    );
}

#[test]
fn a_fence_that_nothing_checks_is_found() {
    let check = |text: &str, wrong: &str| {
        let found = fences(text).iter().find_map(complaint).unwrap_or_default();
        assert!(found.contains(wrong), "{text}: {found:?}");
    };
    check("```\nlet a = 1;\n```", "nothing checks");
    check("```rust,no_run\nlet a = 1;\n```", "nothing checks");
    check("```rust,ignore\nlet a = 1;\n```", "must be");
    check(
        "```rust,ignore\n{{#include ../../examples/hello.rs}}\n```",
        "anchor",
    );
    check(
        "```rust,ignore\n{{#include ../../examples/gone.rs:a}}\n```",
        "no examples/gone.rs",
    );
    check(
        "```rust,ignore\n{{#include ../../examples/first_actor.rs:gone}}\n```",
        "gone",
    );
    check("```text\nhello\n```", "must be");
    check("```sh\ncargo run --example gone\n```", "no example");
    check("```sh\nmake\n```", "not a command");
}
