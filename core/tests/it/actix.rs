//! The bridge to actix. There is no actix in a simulation (G38), so these run on arbiters.

mod addresses;
mod adopted;
mod lent;
mod panics;
mod programs;
mod random;

use actix::{ActorFutureExt, AtomicResponse, ResponseActFuture, ResponseFuture, WrapFuture};
use callboard::actix::{Adopted, adopt};
use callboard::{ActorRef, DeferredHandler, FailureKind, Message, Recipient, System, Verdict};
use futures::channel::oneshot;
use tokio::task::JoinHandle;

use crate::common::Log;

/// An actor as actix's users write them. Knows nothing of Callboard.
pub struct Clerk {
    pub log: Log,
    /// What `stopping` answers.
    pub stays: bool,
}

impl actix::Actor for Clerk {
    type Context = actix::Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.log.push("started");
    }

    fn stopping(&mut self, _: &mut Self::Context) -> actix::Running {
        self.log.push("stopping");
        if self.stays {
            actix::Running::Continue
        } else {
            actix::Running::Stop
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.log.push("stopped");
    }
}

impl Drop for Clerk {
    fn drop(&mut self) {
        self.log.push("dropped");
    }
}

/// Logged; answered with its number.
#[derive(Message, actix::Message, Debug, Clone, PartialEq)]
#[message(reply = u64)]
#[rtype(result = "u64")]
pub struct Note(pub u64);

impl actix::Handler<Note> for Clerk {
    type Result = u64;

    fn handle(&mut self, Note(n): Note, _: &mut Self::Context) -> u64 {
        self.log.push(format!("note {n}"));
        n
    }
}

/// Panics.
#[derive(Message, actix::Message)]
#[message(reply = u64)]
#[rtype(result = "u64")]
pub struct Boom;

impl actix::Handler<Boom> for Clerk {
    type Result = u64;

    fn handle(&mut self, _: Boom, _: &mut Self::Context) -> u64 {
        self.log.push("boom");
        panic!("boom");
    }
}

/// Stops itself.
#[derive(Message, actix::Message)]
#[rtype(result = "()")]
pub struct Quit;

impl actix::Handler<Quit> for Clerk {
    type Result = ();

    fn handle(&mut self, _: Quit, ctx: &mut Self::Context) {
        actix::ActorContext::stop(ctx);
    }
}

/// What a slow message waits for, and how its test knows that it has begun.
pub struct Gate {
    began: Option<oneshot::Sender<()>>,
    gate: oneshot::Receiver<()>,
}

impl Gate {
    /// The gate, when it began, and what lets it go on.
    pub fn new() -> (Gate, oneshot::Receiver<()>, oneshot::Sender<()>) {
        let (began_tx, began) = oneshot::channel();
        let (open, gate) = oneshot::channel();
        let began_tx = Some(began_tx);
        (
            Gate {
                began: began_tx,
                gate,
            },
            began,
            open,
        )
    }

    fn begin(mut self) -> oneshot::Receiver<()> {
        let _ = self.began.take().map(|began| began.send(()));
        self.gate
    }
}

/// The actor gives itself to it alone.
#[derive(Message, actix::Message)]
#[message(reply = u64)]
#[rtype(result = "u64")]
pub struct Alone(pub Gate);

impl actix::Handler<Alone> for Clerk {
    type Result = AtomicResponse<Self, u64>;

    fn handle(&mut self, Alone(gate): Alone, _: &mut Self::Context) -> Self::Result {
        let gate = gate.begin();
        let work = async move {
            let _ = gate.await;
        }
        .into_actor(self);
        AtomicResponse::new(Box::pin(work.map(|(), this, _| {
            this.log.push("alone ends");
            1
        })))
    }
}

/// The actor's own future, beside other messages.
#[derive(Message, actix::Message)]
#[message(reply = u64)]
#[rtype(result = "u64")]
pub struct Beside(pub Gate);

impl actix::Handler<Beside> for Clerk {
    type Result = ResponseActFuture<Self, u64>;

    fn handle(&mut self, Beside(gate): Beside, _: &mut Self::Context) -> Self::Result {
        let gate = gate.begin();
        Box::pin(
            async move {
                let _ = gate.await;
            }
            .into_actor(self)
            .map(|(), _, _| 2),
        )
    }
}

/// A future that doesn't know the actor any more.
#[derive(Message, actix::Message)]
#[message(reply = u64)]
#[rtype(result = "u64")]
pub struct Apart(pub Gate);

impl actix::Handler<Apart> for Clerk {
    type Result = ResponseFuture<u64>;

    fn handle(&mut self, Apart(gate): Apart, _: &mut Self::Context) -> Self::Result {
        let gate = gate.begin();
        Box::pin(async move {
            let _ = gate.await;
            3
        })
    }
}

/// Panics later, in a timer.
#[derive(Message, actix::Message)]
#[rtype(result = "()")]
pub struct BoomSoon;

impl actix::Handler<BoomSoon> for Clerk {
    type Result = ();

    fn handle(&mut self, _: BoomSoon, ctx: &mut Self::Context) {
        let soon = std::time::Duration::from_millis(1);
        actix::AsyncContext::run_later(ctx, soon, |_, _| panic!("timer"));
    }
}

/// A clerk that was adopted.
pub fn clerk(system: &System) -> (ActorRef<Adopted<Clerk>>, Log) {
    let log = Log::default();
    let inner = log.clone();
    let make = move || Clerk {
        log: inner.clone(),
        stays: false,
    };
    (system.actor(adopt(make)).label("clerk").start(), log)
}

/// Waits until an actor is through with what is queued before.
pub async fn settle(clerk: &ActorRef<Adopted<Clerk>>) {
    clerk.ask(Note(0)).await.unwrap();
}

/// How an ask ended, in short.
pub type Ended = Result<u64, (FailureKind, Verdict)>;

/// Asks, on this thread, beside what the test does.
pub fn asking<M>(clerk: &ActorRef<Adopted<Clerk>>, message: M) -> JoinHandle<Ended>
where
    M: Message<Reply = u64>,
    Adopted<Clerk>: DeferredHandler<M>,
{
    let clerk: Recipient<M> = clerk.recipient();
    tokio::task::spawn_local(async move { ended(clerk.ask(message).await) })
}

pub fn ended<M>(outcome: Result<u64, callboard::SendError<M>>) -> Ended {
    outcome.map_err(|error| (error.kind(), error.verdict()))
}
