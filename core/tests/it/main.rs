//! The guarantees of core, as tests on both executors.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

extern crate callboard_core as callboard;

mod actix;
mod admissions;
mod answers;
mod blocking;
mod blocks;
mod bounds;
mod common;
mod cycles;
mod dead_letters;
mod deadlines;
mod ends;
mod everywhere;
mod fairness;
mod faults;
mod groups;
mod handlers;
mod kit;
mod kit_faults;
mod kit_runner;
mod kit_settle;
mod lifecycle;
mod links;
mod mailboxes;
mod names;
mod nested;
mod observing;
mod order;
mod own_threads;
mod places;
mod pool_traffic;
mod pools;
mod repeat;
mod review_g07_cycles;
mod review_g07_streamed;
mod review_g10_fences;
mod review_g12_links;
mod review_g13_children;
mod review_g13_left_behind;
mod review_g13_stashes;
mod safety;
mod stashes;
mod streamed;
mod tasks;
#[cfg(not(callboard_plain_alloc))]
mod ui;
mod watches;
mod weak;
