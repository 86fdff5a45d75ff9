//! A handler that answers with something else than its message promises.
extern crate callboard_core as callboard;

use callboard::{Actor, Context, Handler, Message};

#[derive(Message)]
#[message(reply = u64)]
struct Count;

struct Counter(u32);

impl Actor for Counter {}

impl Handler<Count> for Counter {
    async fn handle(&mut self, _: Count, _: &mut Context<Self>) -> u32 {
        self.0
    }
}

fn main() {}
