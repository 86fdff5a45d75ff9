//! The table of goals.

use std::fmt::Write;

use common::render::{number, table};

use crate::goals::Verdict;

/// The goals. Empty if nothing was measured that has one.
pub(crate) fn goals(verdicts: &[Verdict]) -> String {
    if verdicts.is_empty() {
        return String::new();
    }
    let head = [
        "workload",
        "best actor peer",
        "callboard",
        "ratio",
        "goal",
        "met",
    ];
    let body: Vec<Vec<String>> = verdicts.iter().map(goal).collect();
    let mut text = format!(
        "## Goals: medians against the best actor framework of the same run\n\n{}\n",
        table(&head.map(str::to_owned), &body)
    );
    for verdict in verdicts {
        if let Some((system, ratio)) = verdict.unbounded {
            let ratio = number(ratio);
            let workload = &verdict.workload;
            // Writing to a string can't fail.
            let _ = writeln!(
                text,
                "- {workload}: against {system}, which has no bound there, {ratio} x."
            );
        }
    }
    text
}

fn goal(verdict: &Verdict) -> Vec<String> {
    vec![
        verdict.workload.clone(),
        verdict.best.map_or("-".to_owned(), |(system, median)| {
            format!("{system} {}", number(median))
        }),
        number(verdict.ours),
        verdict
            .ratio
            .map_or("-".to_owned(), |ratio| format!("{} x", number(ratio))),
        verdict.goal.clone(),
        if verdict.met { "yes" } else { "no" }.to_owned(),
    ]
}
