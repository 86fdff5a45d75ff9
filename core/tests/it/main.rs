//! The guarantees of core, as tests on both executors.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

extern crate callboard_core as callboard;

mod answers;
mod blocking;
mod blocks;
mod bounds;
mod common;
mod dead_letters;
mod deadlines;
mod ends;
mod everywhere;
mod fairness;
mod faults;
mod handlers;
mod mailboxes;
mod nested;
mod observing;
mod order;
mod own_threads;
mod places;
mod repeat;
mod safety;
mod watches;
mod weak;
