//! Callboard: queues and topics as a program opens them, all that is on by default left on.

mod durable;
mod memory;
mod topics;

use std::future::Future;
use std::sync::mpsc;

use callboard::{Placement, System};
use common::run::Result;
use common::threads::{HUNG_AFTER, Layout, on_fresh_thread};

use super::Candidate;
use crate::workloads::{Run, Work, fan_out};

pub(crate) struct Callboard;

impl Candidate for Callboard {
    fn name(&self) -> &'static str {
        "callboard"
    }

    fn takes(&self, _: Work) -> bool {
        true
    }

    fn measure(&self, work: Work, run: &Run) -> Result<Vec<f64>> {
        match work {
            Work::OfferPoll { batch, layout } => Ok(memory::offer_poll(batch, layout, run)),
            Work::Take { batch } => Ok(memory::take(batch, run)),
            Work::DurableOffer { producers } => durable::offer(producers, run),
            Work::DurableTake => durable::take(run),
            Work::Publish { subscribers } => fan_out::measure(self, subscribers, run),
            Work::Match => Ok(topics::matching(run)),
            Work::Restart => durable::restart(run),
        }
    }
}

/// Where producers and publishers run.
const FIRST: Placement = Placement::Pinned(0);

/// How many arbiters that is, and where the last one runs.
fn arbiters(layout: Layout) -> (usize, Placement) {
    match layout {
        Layout::OneThread => (1, FIRST),
        Layout::TwoThreads => (2, Placement::Pinned(1)),
    }
}

/// Runs `body` as a task of the first arbiter of a fresh system, and tears all down.
fn on_system<F, Fut>(layout: Layout, body: F) -> Fut::Output
where
    F: FnOnce(System) -> Fut + Send + 'static,
    Fut: Future<Output: Send> + 'static,
{
    on_fresh_thread(move || {
        let (arbiters, _) = arbiters(layout);
        let system = System::with_arbiters(arbiters).expect("arbiters");
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
