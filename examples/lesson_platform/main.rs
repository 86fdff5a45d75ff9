//! x
#![allow(dead_code)]
mod actors; mod args; mod calls; mod client; mod drill; mod index; mod ledger; mod lessons; mod markdown; mod messages; mod metadata; mod pages; mod platform; mod report; mod services; mod thumbnail; mod web; mod words;
fn main() {}
