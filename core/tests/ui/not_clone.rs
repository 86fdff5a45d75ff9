//! A message that is to be offered again, and can't be copied.
extern crate callboard_core as callboard;

use callboard::{Message, System};

#[derive(Message)]
struct Upload(std::fs::File);

fn prepare(system: &System) {
    let _ = system.actor(|| ()).replay::<Upload>(2);
}

fn main() {}
