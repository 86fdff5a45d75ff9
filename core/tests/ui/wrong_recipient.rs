//! A recipient of messages that its actor has no handler for.
extern crate callboard_core as callboard;

use callboard::{Actor, Context, Handler, Message, Recipient, System};

#[derive(Message)]
#[message(reply = u64)]
struct Add(u64);

struct Counter(u64);

impl Actor for Counter {}

impl Handler<Add> for Counter {
    async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
        self.0 += n;
        self.0
    }
}

#[derive(Message)]
struct Reset;

struct Button(Recipient<Reset>);

fn wire(system: &System) -> Button {
    let counter = system.start(Counter(0));
    Button(counter.recipient())
}

fn main() {}
