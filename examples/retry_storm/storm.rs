//! The callee, the layers above it, and one storm.

use std::sync::Arc;
use std::time::Duration;

use callboard::clock::{Clock, Instant};
use callboard::prelude::*;
use callboard::supervision::{
    AskExt, BudgetSettings, CallPolicy, CallSettings, Idempotent, RetrySettings,
};
use callboard::{Failure, FailureKind, Simulation};
use futures::future::join_all;
use parking_lot::Mutex;

use super::load::{Load, Measured};

/// Requests a second at the top, evenly.
pub(super) const RATE: u64 = 50;
/// So long all is well, which is as long as a budget looks back.
pub(super) const WELL: Duration = Duration::from_secs(10);
/// So long the callee fails.
pub(super) const OUTAGE: Duration = Duration::from_secs(5);
/// So long it is watched after that.
pub(super) const AFTER: Duration = Duration::from_secs(6);
/// Whoever asks at the top waits no longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// Who waits longer than that for the callee is refused instead.
const LINE: Duration = Duration::from_millis(200);
/// To say no is work, too: a hundredth of the work of an answer.
const REFUSAL: u32 = 100;
/// How long somebody who writes a loop by hand waits before the next attempt.
const PAUSE: Duration = Duration::from_millis(10);

/// What is set on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storm {
    /// How many layers of callers there are.
    pub(super) layers: u32,
    /// How many attempts each of them makes.
    pub(super) attempts: u32,
    /// How many requests a second the callee can answer.
    pub(super) capacity: u64,
    /// Which waits, in which order.
    pub(super) seed: u64,
}

impl Default for Storm {
    fn default() -> Self {
        Storm {
            layers: 5,
            attempts: 3,
            capacity: 75,
            seed: 1,
        }
    }
}

impl Storm {
    /// The default under another seed: other waits, in another order.
    pub fn seeded(seed: u64) -> Self {
        Storm {
            seed,
            ..Storm::default()
        }
    }

    /// How many attempts come of one request if every layer makes all of its own.
    pub(super) fn worst(&self) -> u64 {
        u64::from(self.attempts).pow(self.layers)
    }

    /// Whether saying no to all attempts takes clearly more time than the callee has, so that it can't recover while
    /// they go on.
    pub(super) fn drowns(&self) -> bool {
        let refused = self.capacity * u64::from(REFUSAL);
        self.is_over_in_time() && self.worst() * RATE * 2 > refused * 3
    }

    /// Whether a request whose every attempt fails is over while the callee still fails, so that the load can be as
    /// high as it gets.
    pub(super) fn is_over_in_time(&self) -> bool {
        let waits = u32::try_from(self.worst()).unwrap_or(u32::MAX);
        PAUSE * waits < OUTAGE - Duration::from_secs(1)
    }
}

/// Who retries, and at whose cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    /// A loop in every layer, as it is written by hand.
    Loops,
    /// A policy in every layer, its retries unlimited; the request says that its caller retries (G18).
    OneLayer,
    /// A policy in every layer, each with its budget (G17); none knows that others retry.
    Budgets,
    /// What a policy does by default.
    Both,
}

impl Variant {
    pub(super) const ALL: [Variant; 4] = [
        Variant::Loops,
        Variant::OneLayer,
        Variant::Budgets,
        Variant::Both,
    ];

    pub(super) fn letter(self) -> char {
        match self {
            Variant::Loops => 'a',
            Variant::OneLayer => 'b',
            Variant::Budgets => 'c',
            Variant::Both => 'd',
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Variant::Loops => "every layer retries, no budget",
            Variant::OneLayer => "one layer retries, no budget",
            Variant::Budgets => "every layer retries, with budgets",
            Variant::Both => "one layer retries, with budgets",
        }
    }
}

/// Reads something. It may be read twice.
#[derive(Message, Clone)]
struct Get;
impl Idempotent for Get {}

// ANCHOR: layer
/// Asks the layer below, and hands its answer up.
struct Layer {
    below: Recipient<Get>,
    manners: Manners,
}

#[derive(Clone)]
enum Manners {
    /// So many attempts, with a pause between them.
    Loop { attempts: u32, clock: Clock },
    /// As the policy says: as part of the request in hand, or as if there were none.
    Policy { policy: CallPolicy, in_hand: bool },
}

impl Actor for Layer {}

impl DeferredHandler<Get> for Layer {
    async fn handle_deferred(&mut self, _: Get, asker: Responder<()>, ctx: &mut Context<Self>) {
        // What is spawned stands outside of the request in hand. Who spawns hands on what travels with the request:
        // how long it may take (G9), and that somebody above retries (G18).
        let (left, is_retried) = (ctx.remaining(), ctx.meta().caller_retries());
        let (below, manners) = (self.below.clone(), self.manners.clone());
        ctx.spawn(async move {
            let answer = match manners {
                Manners::Loop { attempts, clock } => {
                    let mut answer = below.ask(Get).await;
                    for _ in 1..attempts {
                        if answer.is_err() {
                            clock.sleep(PAUSE).await;
                            answer = below.ask(Get).await;
                        }
                    }
                    answer
                }
                Manners::Policy { policy, in_hand } => {
                    let mut ask = below.ask(Get);
                    if let (true, Some(left)) = (in_hand, left) {
                        ask = ask.deadline(left);
                    }
                    if in_hand && is_retried {
                        ask = ask.caller_retries();
                    }
                    ask.policy_idempotent(&policy).await
                }
            };
            match answer {
                Ok(()) => asker.send(()),
                Err(error) => asker.fail(error.into()),
            }
        });
    }
}
// ANCHOR_END: layer

// ANCHOR: callee
/// Answers so many requests a second, one after the other; except for a time, when it answers none.
struct Callee {
    work: Duration,
    busy_until: Instant,
    fails: std::ops::Range<Instant>,
    load: Arc<Mutex<Load>>,
}

impl Actor for Callee {}

impl DeferredHandler<Get> for Callee {
    async fn handle_deferred(&mut self, _: Get, asker: Responder<()>, ctx: &mut Context<Self>) {
        let now = ctx.system().clock().now();
        self.load.lock().count(now);
        let begins = self.busy_until.max(now);
        let fails = self.fails.contains(&now);
        if fails || begins.since(now) > LINE {
            // Beyond twice the line the kernel refuses, at no cost.
            self.busy_until = (begins + self.work / REFUSAL).min(now + LINE * 2);
            let (kind, verdict) = match fails {
                true => (FailureKind::StorageFailed, Verdict::Executed),
                false => (FailureKind::Overloaded, Verdict::NotExecuted),
            };
            asker.fail(Failure::new(kind, verdict));
            return;
        }
        self.busy_until = begins + self.work;
        let done = ctx.sleep(self.busy_until.since(now));
        ctx.spawn(async move {
            done.await;
            asker.send(());
        });
    }
}
// ANCHOR_END: callee

/// One storm, in virtual time.
pub(super) fn run(storm: &Storm, variant: Variant) -> callboard::Result<Measured> {
    let mut simulation = Simulation::new(storm.seed);
    let system = simulation.system().clone();
    simulation.block_on(blow(system, *storm, variant))
}

async fn blow(system: System, storm: Storm, variant: Variant) -> callboard::Result<Measured> {
    let clock = system.clock().clone();
    let opens = clock.now();
    let load = Arc::new(Mutex::new(Load::since(opens)));
    let callee = system.start(Callee {
        work: Duration::from_secs(1).div_f64(storm.capacity as f64),
        busy_until: opens,
        fails: opens + WELL..opens + WELL + OUTAGE,
        load: Arc::clone(&load),
    });
    let mut top = callee.recipient();
    for number in (1..=storm.layers).rev() {
        let layer = system.start(Layer {
            below: top,
            manners: manners(&storm, variant, number, &clock)?,
        });
        top = layer.recipient();
    }

    let span = WELL + OUTAGE + AFTER;
    let requests = span.as_secs() * RATE;
    let asks = (0..requests).map(|number| {
        let (top, clock) = (&top, &clock);
        async move {
            let at = Duration::from_secs(number) / RATE as u32;
            clock.sleep_until(opens + at).await;
            let answer = top.ask(Get).deadline(PATIENCE).await;
            (at, answer.is_ok())
        }
    });
    let asked = join_all(asks).await;
    let load = load.lock().clone();
    Ok(Measured::new(variant, &load, &asked))
}

fn manners(
    storm: &Storm,
    variant: Variant,
    number: u32,
    clock: &Clock,
) -> callboard::Result<Manners> {
    let attempts = storm.attempts;
    if variant == Variant::Loops {
        let clock = clock.clone();
        return Ok(Manners::Loop { attempts, clock });
    }
    let mut retry = RetrySettings {
        attempts,
        ..RetrySettings::default()
    };
    if variant == Variant::OneLayer {
        // As many as there can be, so that it never says no.
        retry.budget = BudgetSettings {
            share: 10.0,
            ..BudgetSettings::default()
        };
    }
    let settings = CallSettings {
        retry: Some(retry),
        ..CallSettings::default()
    };
    Ok(Manners::Policy {
        policy: CallPolicy::new(format!("layer {number}"), settings)?,
        in_hand: variant != Variant::Budgets,
    })
}
