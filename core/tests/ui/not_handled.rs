//! A message that the actor has no handler for.
extern crate callboard_core as callboard;

use callboard::{Actor, ActorRef, Context, Handler, Message};

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

async fn ask(counter: ActorRef<Counter>) {
    counter.ask(Reset).await.unwrap();
    let _ = counter.try_tell(Reset);
}

fn main() {}
