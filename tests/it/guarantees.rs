//! Each guarantee has a test named after it, and each such test names a guarantee.
//!
//! `guide/src/guarantees.md` is the list. A number on `guide/planned-guarantees.txt` needs no test; once it
//! has one it must come off, so the list only shrinks.

use std::collections::{BTreeMap, BTreeSet};

use crate::source_tree::{assert_none, rust_files, text_of};

const LIST: &str = "guide/src/guarantees.md";
const PLANNED: &str = "guide/planned-guarantees.txt";
const LAST: u32 = 38;

/// The numbers that the appendix defines, in its order.
fn defined() -> Vec<u32> {
    let lines = text_of(LIST).lines();
    lines
        .filter_map(|line| leading_number(line.strip_prefix("- **G")?))
        .collect()
}

fn planned() -> Vec<u32> {
    let lines = text_of(PLANNED).lines();
    let numbers = lines.filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    numbers
        .map(|line| {
            let number = line.trim().parse();
            number.unwrap_or_else(|_| panic!("{PLANNED}: {line:?} is no number"))
        })
        .collect()
}

/// The numbers that tests are named after, with those tests.
fn tested() -> BTreeMap<u32, Vec<String>> {
    let mut tested: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for file in rust_files() {
        for (at, mark) in file.code.match_indices("fn g") {
            let rest = &file.code[at + mark.len()..];
            let name: String = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            let digits = name.chars().take_while(char::is_ascii_digit).count();
            if digits > 0 && name[digits..].starts_with('_') {
                assert_eq!(digits, 2, "{}: g{name}: two digits, please", file.path);
                let number = name[..2].parse().expect("two digits");
                tested
                    .entry(number)
                    .or_default()
                    .push(format!("{} g{name}", file.path));
            }
        }
    }
    tested
}

fn leading_number(text: &str) -> Option<u32> {
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    text[..digits].parse().ok()
}

#[test]
fn the_appendix_numbers_all_guarantees_in_order() {
    assert_eq!(defined(), (1..=LAST).collect::<Vec<_>>());
}

#[test]
fn the_planned_list_is_sorted_and_names_guarantees() {
    let planned = planned();
    assert!(
        planned.is_sorted_by(|a, b| a < b),
        "unsorted or twice: {planned:?}"
    );
    assert!(
        planned.iter().all(|n| (1..=LAST).contains(n)),
        "{planned:?}"
    );
}

#[test]
fn the_appendix_says_of_each_number_whether_it_is_planned() {
    let mut rows = Vec::new();
    let mut called_planned = Vec::new();
    for line in text_of(LIST).lines() {
        if let Some(number) = line.strip_prefix("| G").and_then(leading_number) {
            rows.push(number);
            if line.contains("| planned |") {
                called_planned.push(number);
            }
        }
    }
    assert_eq!(rows, (1..=LAST).collect::<Vec<_>>(), "the rows of {LIST}");
    assert_eq!(called_planned, planned(), "{LIST} and {PLANNED} differ");
}

#[test]
fn every_guarantee_that_is_not_planned_has_a_test() {
    let planned: BTreeSet<u32> = planned().into_iter().collect();
    let tested = tested();
    let problems: Vec<String> = (1..=LAST)
        .filter(|n| !planned.contains(n) && !tested.contains_key(n))
        .map(|n| format!("G{n}: no `fn g{n:02}_...`"))
        .collect();
    assert_none("guarantees without a test:", &problems);
}

#[test]
fn every_test_named_after_a_guarantee_names_one_that_is_kept() {
    let planned: BTreeSet<u32> = planned().into_iter().collect();
    let mut problems = Vec::new();
    for (number, tests) in tested() {
        if !(1..=LAST).contains(&number) {
            problems.push(format!("there is no G{number}: {}", tests.join(", ")));
        } else if planned.contains(&number) {
            problems.push(format!(
                "G{number} has a test, so take it off {PLANNED}: {}",
                tests.join(", ")
            ));
        }
    }
    assert_none(
        "tests whose guarantee isn't there or isn't kept:",
        &problems,
    );
}
