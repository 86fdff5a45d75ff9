//! The options of `#[derive(Message)]` say what they need.
extern crate callboard_core as callboard;

use callboard::{Blob, Message};

#[derive(Message)]
#[message(raw)]
struct Nameless(Blob);

#[derive(Message)]
#[message(name = "two", raw)]
struct Two(Blob, u8);

#[derive(Message)]
#[message(name = "other", pretty)]
struct Other;

fn main() {}
