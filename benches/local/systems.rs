//! The systems that are measured, behind one trait.
//!
//! A workload is written once, generic over [`System`], so that all do the same work; how a system starts
//! an actor, tells and asks is written once per system, in its best documented way.

mod actix;
mod callboard;
mod channels;
mod kameo;
mod ractor;
mod xtra;

use std::future::Future;

use tokio::sync::oneshot;

use common::tally::Tally;
use common::threads::Layout;

use crate::workloads::{self, Work};
use common::size::Size;

/// The capacity of every bounded mailbox.
pub(crate) const CAPACITY: usize = 1_024;

/// What kind of system it is; goals compare Callboard with actor frameworks only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Callboard,
    /// An actor framework with a bounded mailbox.
    Actors,
    /// An actor framework whose mailbox has no bound, or is used without.
    UnboundedActors,
    /// A task around a channel: the limit for those who need no actor.
    Channel,
}

/// A system under test. Its one actor type, the counter, takes three messages: add a number and answer the
/// sum (told or asked), pass a token on, and whom to pass it to.
pub(crate) trait System: Sync + 'static {
    /// What code of a run needs to start actors on the receivers' thread and tasks on its own.
    type Stage: Clone + Send + Sync + 'static;
    /// A reference to a counter.
    type Counter: Clone + Send + Sync + 'static;

    fn name(&self) -> &'static str;

    fn family(&self) -> Family;

    /// Whether this workload says something about this system.
    fn takes(&self, work: Work) -> bool {
        let _ = work;
        true
    }

    /// Sets up fresh threads, runs `body` as a task on the senders' one, and tears all down.
    fn run<F, Fut>(&self, layout: Layout, body: F) -> Fut::Output
    where
        F: FnOnce(Self::Stage) -> Fut + Send + 'static,
        Fut: Future<Output: Send> + Send + 'static;

    /// Starts a task on the senders' thread. Called there.
    fn spawn(stage: &Self::Stage, task: impl Future<Output = ()> + Send + 'static);

    /// Starts a counter on the receivers' thread.
    fn start(stage: &Self::Stage, tally: Tally) -> impl Future<Output = Self::Counter> + Send;

    /// Ends a counter; its tally is dropped then.
    fn stop(counter: Self::Counter);

    /// Sends a number; waits for room where there is a bound.
    fn tell(counter: &Self::Counter, value: u64) -> impl Future<Output = ()> + Send;

    /// Sends a number and waits for the sum.
    fn ask(counter: &Self::Counter, value: u64) -> impl Future<Output = u64> + Send;

    /// Has an actor watch these; told when it has had the notice of each one's end. `None` where nobody
    /// asks.
    fn watch(
        stage: &Self::Stage,
        counters: Vec<Self::Counter>,
    ) -> impl Future<Output = Option<oneshot::Receiver<()>>> + Send {
        let _ = (stage, counters);
        async { None }
    }

    /// Makes `next` the one that gets the token next.
    fn link(counter: &Self::Counter, next: Self::Counter) -> impl Future<Output = ()> + Send;

    /// Sends a token that will be passed on `hops` times.
    fn pass(counter: &Self::Counter, hops: u64) -> impl Future<Output = ()> + Send;
}

/// A [`System`] without its types.
pub(crate) trait Candidate {
    fn name(&self) -> &'static str;
    fn family(&self) -> Family;
    fn takes(&self, work: Work) -> bool;
    /// Runs a workload once; one value per column of its cell.
    fn measure(&self, work: Work, size: Size) -> Vec<f64>;
}

impl<S: System> Candidate for S {
    fn name(&self) -> &'static str {
        System::name(self)
    }

    fn family(&self) -> Family {
        System::family(self)
    }

    fn takes(&self, work: Work) -> bool {
        let ours = System::family(self) == Family::Callboard;
        (ours || !work.is_ours_alone()) && System::takes(self, work)
    }

    fn measure(&self, work: Work, size: Size) -> Vec<f64> {
        workloads::measure(self, work, size)
    }
}

/// All systems, in the order of the tables.
pub(crate) fn all() -> Vec<Box<dyn Candidate>> {
    vec![
        Box::new(callboard::Callboard::PLAIN),
        Box::new(callboard::Callboard::NO_HAND_OFF),
        Box::new(callboard::Callboard::SPANS),
        #[cfg(feature = "metrics")]
        Box::new(callboard::Callboard::MEASURED),
        Box::new(actix::Actix::<true>),
        Box::new(actix::Actix::<false>),
        Box::new(kameo::Kameo),
        Box::new(ractor::Ractor),
        Box::new(xtra::Xtra),
        Box::new(channels::Raw::<channels::Kanal>::new()),
        Box::new(channels::Raw::<channels::Flume>::new()),
        Box::new(channels::Raw::<channels::Tokio>::new()),
    ]
}
