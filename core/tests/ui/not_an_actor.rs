//! A handler of what isn't an actor, and a start of it.
extern crate callboard_core as callboard;

use callboard::{Context, Handler, Message, System};

#[derive(Message)]
struct Reset;

struct Counter;

impl Handler<Reset> for Counter {
    async fn handle(&mut self, _: Reset, _: &mut Context<Self>) {}
}

fn start(system: &System) {
    system.start(Counter);
    system.actor(|| Counter).start();
}

fn main() {}
