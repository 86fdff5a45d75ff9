//! Which workloads make up the tables, and what they are called there and in the JSON.

use common::plan::{self, Column, cell, less, more};

use crate::workloads::{Callees, Work};

pub(crate) type Cell = plan::Cell<Work>;
pub(crate) type Block = plan::Block<Work>;

pub(crate) const HANDED_OFF: &str = "local ask, handed off";
pub(crate) const IN_TURN: &str = "local ask, in turn";
pub(crate) const PLAIN: &str = "plain async fn";
pub(crate) const TWO_EACH: &str = "two callers, a callee each";
pub(crate) const TWO_SHARED: &str = "two callers, one callee";
pub(crate) const KEYED: &str = "keyed ask";
pub(crate) const UNKEYED: &str = "ask without a key";
pub(crate) const DURABLE: &str = "keyed ask, durable, 64 callers";

/// What calls under a policy, dedup and middleware add to bare ones. The goal of "added" stands at [`crate::goals`].
pub(crate) fn blocks() -> Vec<Block> {
    vec![
        Block {
            title: "Ask on one thread, run by its asker (ns a call)",
            cells: vec![cell(
                HANDED_OFF,
                Work::LocalAsk { hand_off: true },
                &call_columns(),
            )],
        },
        Block {
            title: "Ask on one thread without hand-off: the callee has its turn first (ns a call)",
            cells: vec![cell(
                IN_TURN,
                Work::LocalAsk { hand_off: false },
                &call_columns(),
            )],
        },
        Block {
            title: "The stacks of others around an async fn that only adds one (ns a call)",
            cells: vec![cell(PLAIN, Work::PlainFn, &call_columns())],
        },
        Block {
            title: "Two threads call at once under one policy, each its own callee (ns a call)",
            cells: vec![two(TWO_EACH, Callees::Each)],
        },
        Block {
            title: "Two threads call at once under one policy one callee that has a hand on each (ns a call)",
            cells: vec![two(TWO_SHARED, Callees::One)],
        },
        Block {
            title: "Keyed ask on one thread, deduplicated in memory (ns a call)",
            cells: vec![cell(KEYED, Work::Keyed, &call_columns())],
        },
        Block {
            title: "Ask without a key on one thread, deduplicated in memory by its fingerprint (ns a call)",
            cells: vec![cell(UNKEYED, Work::Unkeyed, &call_columns())],
        },
        Block {
            title: "Keyed asks by 64 callers on one thread, deduplicated on disk",
            cells: vec![cell(
                DURABLE,
                Work::Durable { callers: 64 },
                &[
                    more("k calls/s", "kcall/s"),
                    more("calls a sync", "calls a sync"),
                    more("raw log, k calls/s", "kcall/s raw"),
                    more("of the raw log", "of raw"),
                ],
            )],
        },
    ]
}

fn call_columns() -> [Column; 4] {
    [
        less("mean", "ns mean"),
        less("p50", "ns p50"),
        less("added", "ns added"),
        less("allocations", "allocations"),
    ]
}

fn two(workload: &'static str, callees: Callees) -> Cell {
    let columns = [
        less("bare", "ns bare"),
        less("by policy", "ns by policy"),
        less("added", "ns added"),
    ];
    cell(workload, Work::TwoCallers { callees }, &columns)
}
