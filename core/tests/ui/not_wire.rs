//! A message with a wire name that can't be serialised.
extern crate callboard_core as callboard;

use callboard::Message;

#[derive(Message)]
#[message(reply = u64, name = "counter.add")]
struct Add(u64);

/// Sends to another process.
fn send<M: callboard::WireMessage>(_: M) {}

#[derive(Message)]
struct Reset;

fn main() {
    send(Reset);
}
