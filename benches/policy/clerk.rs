//! The callee of every call here: an actor that counts what it handled, and answers with the next number.

use std::future::Future;
use std::sync::mpsc;

use callboard::{Actor, ActorRef, Context, Fingerprint, Handler, Message, Placement, System};
use callboard_supervision::Idempotent;
use serde::{Deserialize, Serialize};

use common::run::Result;
use common::threads::{HUNG_AFTER, on_fresh_thread};

/// Callers run on arbiter 0, unless there are two of them.
pub(crate) const FIRST: Placement = Placement::Pinned(0);

/// Answers the number after this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Message, Fingerprint, Serialize, Deserialize)]
#[message(reply = u64, name = "bench.next")]
pub(crate) struct Next(pub(crate) u64);
impl Idempotent for Next {}

/// Answers how many [`Next`] there were.
#[derive(Message)]
#[message(reply = u64)]
pub(crate) struct Handled;

#[derive(Default)]
pub(crate) struct Clerk {
    handled: u64,
}

impl Actor for Clerk {}

impl Handler<Next> for Clerk {
    async fn handle(&mut self, Next(number): Next, _ctx: &mut Context<Self>) -> u64 {
        self.handled += 1;
        number + 1
    }
}

impl Handler<Handled> for Clerk {
    async fn handle(&mut self, _: Handled, _ctx: &mut Context<Self>) -> u64 {
        self.handled
    }
}

/// Fails unless that many calls reached the actor.
pub(crate) async fn check_handled(clerk: &ActorRef<Clerk>, calls: u64) -> Result<()> {
    let handled = clerk.ask(Handled).await?;
    if handled != calls {
        return Err(format!("{calls} calls were made, and {handled} arrived").into());
    }
    Ok(())
}

/// Runs `body` as a task of the first arbiter of a fresh system, and tears all down.
pub(crate) fn on_system<F, Fut>(arbiters: usize, hand_off: bool, body: F) -> Fut::Output
where
    F: FnOnce(System) -> Fut + Send + 'static,
    Fut: Future<Output: Send> + 'static,
{
    on_fresh_thread(move || {
        let system = System::with_arbiters(arbiters).expect("arbiters");
        system.hand_off(hand_off);
        let (done, wait) = mpsc::sync_channel(1);
        let task = {
            let system = system.clone();
            move || async move {
                // Nobody waits only if the run was given up.
                let _ = done.send(body(system).await);
            }
        };
        assert!(system.spawn(FIRST, task), "the system runs");
        let output = wait.recv_timeout(HUNG_AFTER).expect("the run ended");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let killed = runtime.block_on(system.shutdown());
        assert!(killed.is_empty(), "actors that would not stop: {killed:?}");
        output
    })
}
