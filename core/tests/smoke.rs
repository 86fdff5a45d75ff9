extern crate callboard_core as callboard;
use callboard::{Actor, Context, Handler, Message, System};

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

#[callboard::test(both)]
async fn hello(system: System) -> Result<(), Box<dyn std::error::Error>> {
    let counter = Counter(0).start()?;
    counter.tell(Add(1)).await?;
    assert_eq!(counter.ask(Add(2)).await?, 3);
    let other = system.start(Counter(5));
    assert_eq!(other.ask(Add(2)).await?, 7);
    other.stop();
    assert!(other.wait().await.is_normal());
    assert!(other.ask(Add(2)).await.is_err());
    Ok(())
}
