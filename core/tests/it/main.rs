//! The guarantees of core, as tests on both executors.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

extern crate callboard_core as callboard;

mod answers;
mod bounds;
mod common;
mod deadlines;
mod ends;
mod faults;
mod handlers;
mod nested;
mod order;
mod places;
mod repeat;
mod safety;
mod watches;
