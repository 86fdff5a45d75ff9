//! What isn't a message: the derive is missing.
extern crate callboard_core as callboard;

use callboard::{Actor, ActorRef, Context, Handler};

struct Reset;

struct Counter;

impl Actor for Counter {}

impl Handler<Reset> for Counter {
    async fn handle(&mut self, _: Reset, _: &mut Context<Self>) {}
}

fn tell(counter: &ActorRef<Counter>) {
    let _ = counter.try_tell("reset");
}

fn main() {}
