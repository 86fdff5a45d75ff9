//! The guarantees of core, as tests on both executors.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

extern crate callboard_core as callboard;

mod answers;
mod blocking;
mod blocks;
mod bounds;
mod common;
mod deadlines;
mod ends;
mod everywhere;
mod fairness;
mod faults;
mod groups;
mod handlers;
mod mailboxes;
mod names;
mod nested;
mod order;
mod own_threads;
mod places;
mod pool_traffic;
mod pools;
mod repeat;
mod safety;
mod watches;
mod weak;
