//! Two threads that call at once under one policy. Each asks an actor of its own thread, so that no thread is woken and
//! what they share is the policy, and with one callee what the policy keeps of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use callboard::{
    ActorId, AskTerms, Asked, Boundary, Envelope, OnEnd, Placement, Recipient, Refused, Route,
    System, Watch, WatchHandle,
};
use callboard_supervision::{AskExt, CallPolicy};

use common::run::Result;
use common::size::Size;
use common::threads::{HUNG_AFTER, on_fresh_thread};

use super::Callees;
use super::local::{answered, start};
use crate::clerk::Next;
use crate::meter::{Calls, batch, mean, median};
use crate::systems::policies::{self, Policy};

const THREADS: usize = 2;

pub(crate) fn measure(policy: Policy, callees: Callees, size: Size) -> Result<Vec<f64>> {
    let made = policy.make()?;
    let rounds = size.pick(50, 5);
    let calls = size.pick(5_000, 1_000);
    let by_policy = made.clone();
    let figures = on_fresh_thread(move || {
        let system = System::with_arbiters(THREADS).expect("arbiters");
        let crew = Crew::hire(&system, callees);
        // Each once before anything counts.
        crew.all_call(None, calls);
        crew.all_call(Some(&by_policy), calls);
        let (mut bare, mut measured, mut added) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            let (one, other);
            if round % 2 == 0 {
                one = crew.all_call(None, calls);
                other = crew.all_call(Some(&by_policy), calls);
            } else {
                other = crew.all_call(Some(&by_policy), calls);
                one = crew.all_call(None, calls);
            }
            bare.push(one);
            measured.push(other);
            added.push(other - one);
        }
        drop(crew);
        system.shutdown_blocking().expect("no arbiter");
        vec![median(&bare), median(&measured), median(&added)]
    });
    policies::check(&made, (rounds + 1) * calls * THREADS as u64)?;
    Ok(figures)
}

/// The callers, one on each arbiter.
struct Crew {
    system: System,
    /// Whom each of them asks.
    callees: Vec<Recipient<Next>>,
}

impl Crew {
    fn hire(system: &System, callees: Callees) -> Self {
        let one = ActorId::fresh();
        let hire = |number| {
            let clerk = start(system, Placement::Pinned(number)).recipient();
            let id = match callees {
                Callees::Each => clerk.route().id(),
                Callees::One => one,
            };
            Recipient::new(Arc::new(Hand { id, clerk }))
        };
        Crew {
            system: system.clone(),
            callees: (0..THREADS).map(hire).collect(),
        }
    }

    /// All make so many calls at once; the mean of the nanoseconds each took.
    fn all_call(&self, policy: Option<&CallPolicy>, calls: u64) -> f64 {
        let there = Arc::new(AtomicUsize::new(0));
        let (done, wait) = mpsc::sync_channel(THREADS);
        for (number, callee) in self.callees.iter().enumerate() {
            let (callee, policy) = (callee.clone(), policy.cloned());
            let (there, done) = (Arc::clone(&there), done.clone());
            let task = move || async move {
                there.fetch_add(1, Ordering::AcqRel);
                while there.load(Ordering::Acquire) < THREADS {
                    thread::yield_now();
                }
                // Nobody waits only if the run was given up.
                let _ = done.send(call(&callee, policy.as_ref(), calls).await);
            };
            let placement = Placement::Pinned(number);
            assert!(self.system.spawn(placement, task), "the system runs");
        }
        let took = (0..THREADS).map(|_| wait.recv_timeout(HUNG_AFTER).expect("they call"));
        mean(&took.collect::<Vec<f64>>())
    }
}

async fn call(callee: &Recipient<Next>, policy: Option<&CallPolicy>, calls: u64) -> f64 {
    match policy {
        None => {
            let mut bare = Calls(async || answered(callee.ask(Next(1)).await));
            batch(&mut bare, calls).await
        }
        Some(policy) => {
            let mut by_policy = Calls(async || {
                answered(callee.ask(Next(1)).policy_idempotent(policy).await);
            });
            batch(&mut by_policy, calls).await
        }
    }
}

/// A way to an actor under an id that others may have too: like a name behind which there is somebody near everywhere.
struct Hand {
    id: ActorId,
    clerk: Recipient<Next>,
}

impl Watch for Hand {
    fn watch(&self, on_end: OnEnd) -> WatchHandle {
        self.clerk.route().watch(on_end)
    }
}

impl Route<Next> for Hand {
    fn id(&self) -> ActorId {
        self.id
    }

    fn label(&self) -> String {
        self.clerk.route().label()
    }

    fn boundary(&self) -> Boundary {
        self.clerk.route().boundary()
    }

    fn system(&self) -> &System {
        self.clerk.route().system()
    }

    fn send(&self, envelope: Envelope<Next>) -> std::result::Result<(), Refused<Next>> {
        self.clerk.route().send(envelope)
    }

    #[inline]
    fn ask_lean(&self, message: Next, terms: AskTerms) -> Asked<Next> {
        self.clerk.route().ask_lean(message, terms)
    }
}
