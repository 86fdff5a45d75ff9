//! Who works in the bakery, and how each of them can fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use callboard::prelude::*;
use callboard::{Classified, FailureClass, StartFailure};
use futures::channel::oneshot;

use super::ledger::Ledger;

/// How long a job takes.
const WORK: Duration = Duration::from_millis(2);
/// How long a driver is on its way.
const ROUND: Duration = Duration::from_millis(1_500);

/// What a burnt tray says when it panics.
pub(super) const BURNT: &str = "the tray is burnt";

/// A job for somebody of the bakery. The answer is its number.
#[derive(Message)]
#[message(reply = u32)]
pub(super) struct Job {
    pub(super) number: u32,
    pub(super) end: End,
}

/// How a job ends.
pub(super) enum End {
    Well,
    /// In a panic.
    Burns,
    /// In a failure that was noticed.
    Trouble(Trouble),
    /// Not at all: it says that it has begun, and waits.
    Never(oneshot::Sender<()>),
}

// ANCHOR: trouble
/// What workers notice by themselves, and how bad it is.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(super) enum Trouble {
    #[error("a torn note")]
    TornNote,
    #[error("the drawer is jammed")]
    JammedDrawer,
}

impl Classified for Trouble {
    fn class(&self) -> FailureClass {
        match self {
            Trouble::TornNote => FailureClass::Benign, // the next one pays in coins
            Trouble::JammedDrawer => FailureClass::Fatal, // a new cashier finds it jammed, too
        }
    }
}
// ANCHOR_END: trouble

/// The gas of the bakery: who needs it doesn't start without.
#[derive(Clone)]
pub(super) struct Gas(Arc<AtomicBool>);

impl Gas {
    pub(super) fn on() -> Self {
        Gas(Arc::new(AtomicBool::new(true)))
    }

    pub(super) fn turn(&self, on: bool) {
        self.0.store(on, Ordering::Release);
    }

    fn is_on(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Somebody with jobs to do.
pub(super) struct Worker {
    pub(super) ledger: Ledger,
    /// Of who needs it.
    pub(super) gas: Option<Gas>,
}

// ANCHOR: worker
impl Actor for Worker {
    async fn starting(&mut self, _ctx: &mut Context<Self>) -> Result<(), StartFailure> {
        if self.gas.as_ref().is_some_and(|gas| !gas.is_on()) {
            return Err(StartFailure::new("there is no gas"));
        }
        Ok(())
    }
}

impl Handler<Job> for Worker {
    async fn handle(&mut self, job: Job, ctx: &mut Context<Self>) -> u32 {
        self.ledger.begun(job.number);
        ctx.sleep(WORK).await;
        match job.end {
            End::Well => {}
            End::Burns => panic!("{BURNT}"),
            End::Trouble(trouble) => ctx.fail(trouble),
            End::Never(begun) => {
                let _ = begun.send(()); // an error: nobody waits for it any more
                std::future::pending::<()>().await;
            }
        }
        job.number
    }
}
// ANCHOR_END: worker

/// Somebody on the road: comes home after a while, and is done.
pub(super) struct Driver;

/// Come home.
#[derive(Message)]
struct Home;

impl Actor for Driver {
    async fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.tell_after(ROUND, Home);
    }
}

impl Handler<Home> for Driver {
    async fn handle(&mut self, _: Home, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
