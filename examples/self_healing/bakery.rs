//! The tree.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use callboard::prelude::*;
use callboard::process::{ProcessPlace, ProcessSpec};
use callboard::supervision::{Backoff, Child, Decision, Supervisor, SupervisorRef, TreeError};
use callboard::{Failure, FailureClass, Place};
use futures::future::join_all;
use parking_lot::Mutex;

use super::ledger::Ledger;
use super::worker::{Driver, End, Gas, Job, Worker};

/// Jobs of one customer that wait in one mailbox at the same time.
const BURST: usize = 8;
/// How long a customer thinks before it asks for more.
const THINKS: Duration = Duration::from_millis(40);

/// Who takes longer for a job is frozen, and made anew.
const FROZEN: Duration = Duration::from_millis(300);

/// The supervisor at the top.
pub(super) const TOP: &str = "bakery";
/// The supervisor of those who bake.
pub(super) const LINE: &str = "line";
/// Who needs gas.
pub(super) const OVEN: &str = "oven";
/// Who has a drawer.
pub(super) const TILL: &str = "till";
/// A process, where processes are to be had.
pub(super) const RADIO: &str = "radio";
/// The supervisor of the drivers.
pub(super) const ROUND: &str = "round";

/// A bakery that runs.
pub(super) struct Bakery {
    pub(super) system: System,
    pub(super) top: SupervisorRef,
    /// Everybody with a mailbox that customers know.
    pub(super) workers: Vec<(&'static str, ActorRef<Worker>)>,
    pub(super) drivers: Mutex<BTreeMap<u32, ActorRef<Driver>>>,
    pub(super) gas: Gas,
    pub(super) ledger: Ledger,
}

impl Bakery {
    // ANCHOR: tree
    /// Opens it. A simulation has no processes (G38), so the radio is for others.
    pub(super) fn open(system: &System, with_radio: bool) -> Result<Self, TreeError> {
        let (gas, ledger) = (Gas::on(), Ledger::default());
        let mut workers = Vec::new();
        let mut worker = |name: &'static str| -> Arc<dyn Place> {
            let (ledger, gas) = (ledger.clone(), (name == OVEN).then(|| gas.clone()));
            let hire = move || Worker {
                ledger: ledger.clone(),
                gas: gas.clone(),
            };
            let worker = system.actor(hire).label(name).handler_limit(FROZEN);
            let (worker, place) = worker.place();
            workers.push((name, worker));
            place
        };

        // The packer packs what the oven bakes of what the mixer mixes: each needs those before it.
        let line = Supervisor::builder(LINE)
            .rest_for_one()
            .intensity(5, Duration::from_secs(5))
            .child(worker("mixer"))
            .child(worker(OVEN))
            .child(worker("packer"));
        // Two pans of one pair of scales: one alone weighs wrong.
        let scales = Supervisor::builder("scales")
            .one_for_all()
            .intensity(5, Duration::from_secs(5))
            .child(worker("left pan"))
            .child(worker("right pan"));
        let mut counter = Supervisor::builder("counter")
            .intensity(5, Duration::from_secs(5))
            .child(worker(TILL));
        if with_radio {
            // `cat` says what it hears, and ends when nobody speaks any more.
            let spec = ProcessSpec::new("cat").label(RADIO);
            counter = counter.child(ProcessPlace::new(system, spec, |stream, _| {
                // As long as somebody holds the stream the process lives.
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut { stream }, &mut tokio::io::sink()).await;
                });
            }));
        }
        // A jammed drawer is fatal for the till, and its counter fails with it. A new counter has a new drawer.
        let counter = Child::permanent(counter).on_failure(FailureClass::Fatal, Decision::Restart);
        // Drivers come when they are sent, and go when they are home.
        let round = Supervisor::builder(ROUND).dynamic();

        let backoff = Backoff {
            cap: Duration::from_secs(1),
            ..Backoff::default()
        };
        let top = Supervisor::builder(TOP)
            .intensity(20, Duration::from_secs(10))
            .backoff(backoff)
            .child(line)
            .child(scales)
            .child(counter)
            .child(round)
            .start(system)?;
        // ANCHOR_END: tree
        Ok(Bakery {
            system: system.clone(),
            top,
            workers,
            drivers: Mutex::default(),
            gas,
            ledger,
        })
    }

    pub(super) fn worker(&self, name: &str) -> Option<&ActorRef<Worker>> {
        let mut workers = self.workers.iter();
        workers.find(|(known, _)| *known == name).map(|(_, it)| it)
    }

    /// Gives jobs to a worker, a mailbox full after the other, as long as there are more. It waits for each answer
    /// as long as that takes: who can wait needs no other help over an outage.
    pub(super) async fn visit(&self, worker: &ActorRef<Worker>, more: impl Fn(u32) -> bool) {
        let mut bursts = 0;
        while more(bursts) {
            bursts += 1;
            let asks = (0..BURST).map(|_| async {
                let number = self.ledger.job(false);
                let end = End::Well;
                let answer = worker.ask(Job { number, end }).no_deadline().await;
                self.ledger.ended(number, &answer.map_err(Failure::from));
            });
            join_all(asks).await;
            self.system.clock().sleep(THINKS).await;
        }
    }
}
