//! A message without a wire name, on its way to another process.
extern crate callboard_core as callboard;

use callboard::Message;

/// Sends to another process.
fn send<M: callboard::WireMessage>(_: M) {}

#[derive(Message)]
struct Reset;

fn main() {
    send(Reset);
}
