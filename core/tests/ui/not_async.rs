//! A handler that isn't an `async fn`.
extern crate callboard_core as callboard;

use callboard::{Actor, Context, Handler, Message};

#[derive(Message)]
#[message(reply = u64)]
struct Count;

struct Counter(u64);

impl Actor for Counter {}

impl Handler<Count> for Counter {
    fn handle(&mut self, _: Count, _: &mut Context<Self>) -> u64 {
        self.0
    }
}

fn main() {}
