//! One actor, one tell, one ask.

use callboard::prelude::*;

#[derive(Message)]
#[message(reply = u64)]
struct Add(u64);

struct Counter(u64);

impl Actor for Counter {}

impl Handler<Add> for Counter {
    async fn handle(&mut self, Add(n): Add, _ctx: &mut Context<Self>) -> u64 {
        self.0 += n;
        self.0
    }
}

#[callboard::main]
async fn main() -> callboard::Result<()> {
    let counter = Counter(0).start()?;
    counter.tell(Add(1)).await?; // waits for room in the mailbox, no longer
    assert_eq!(counter.ask(Add(2)).await?, 3); // waits for the answer
    Ok(())
}
