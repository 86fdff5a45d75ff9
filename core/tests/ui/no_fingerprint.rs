//! A field without a canonical form: a point in time, of all things.
extern crate callboard_core as callboard;

use std::time::SystemTime;

use callboard::Fingerprint;

#[derive(Fingerprint)]
struct Pay {
    cents: u64,
    sent_at: SystemTime,
}

fn main() {}
