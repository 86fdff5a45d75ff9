//! x
#![allow(dead_code)]
mod args;
mod calls;
mod index;
mod ledger;
mod lessons;
mod markdown;
mod metadata;
mod pages;
mod report;
mod thumbnail;
mod words;
fn main() {}
