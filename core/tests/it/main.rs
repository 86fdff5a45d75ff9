//! The guarantees of core, as tests on both executors.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

extern crate callboard_core as callboard;

mod answers;
mod blocking;
mod blocks;
mod bounds;
mod common;
mod cycles;
mod deadlines;
mod ends;
mod everywhere;
mod fairness;
mod faults;
mod handlers;
mod lifecycle;
mod links;
mod mailboxes;
mod nested;
mod order;
mod own_threads;
mod places;
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
mod watches;
mod weak;
