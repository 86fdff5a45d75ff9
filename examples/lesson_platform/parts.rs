//! The unit tests of the platform's parts: all modules of `main.rs`, without its `main`.
//!
//! Cargo builds an example as a program or as its tests, not both, and `tests/lesson_platform.rs` needs the
//! program.

// What only `main` calls.
#![allow(dead_code, unused_imports)]

mod actors;
mod args;
mod calls;
mod client;
mod drill;
mod index;
mod ledger;
mod lessons;
mod markdown;
mod messages;
mod metadata;
mod pages;
mod platform;
mod report;
mod services;
mod spans;
mod thumbnail;
mod web;
mod words;
