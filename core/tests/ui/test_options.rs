//! Options that `#[callboard::test]` doesn't know.
extern crate callboard_core as callboard;

#[callboard::test(parallel)]
async fn an_unknown_executor() {}

#[callboard::test(seeds = 0)]
async fn no_seed() {}

#[callboard::test(both, seeds = 3, seeds = 4)]
async fn twice() {}

#[callboard::test]
fn not_async() {}

fn main() {}
