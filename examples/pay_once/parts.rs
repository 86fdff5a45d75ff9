//! The unit tests of the parts: all modules of `main.rs`, without its `main`.
//!
//! Cargo builds an example as a program or as its tests, not both, and `tests/pay_once.rs` needs the program.

// What only `main` calls.
#![allow(dead_code, unused_imports)]

mod args;
mod bank;
mod crash;
mod customers;
mod events;
mod report;
mod sqlite;
mod stage;
