//! The watchdog of a system: a thread that looks at what each arbiter has in hand, and reports one whose
//! turn goes on for too long (G7); and at actors whose handlers have a limit (G13).
//!
//! Arbiters say the number of each turn by one plain store; that is all they do for this. The watchdog
//! wakes twice in the time that a turn may last, compares numbers, and asks for names only when it has found
//! something. Nothing of it runs on the simulating executor, where no turn takes any virtual time.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::clock::{Clock, Instant};
use crate::counters::Counters;
use crate::driver::Arbiter;
use crate::executor::{self, OwnThreads};
use crate::id::ActorId;
use crate::progress::{Progress, ProgressTable};

/// How long a turn may keep the thread of an arbiter before it is reported, unless
/// [told otherwise](crate::System::block_limit).
pub const BLOCK_LIMIT: Duration = Duration::from_secs(1);
/// A shorter limit would keep the machine busy with looking.
const LEAST_LIMIT: Duration = Duration::from_millis(2);

/// An arbiter whose thread is kept by one turn, as [`System::blocked`](crate::System::blocked) shows it.
///
/// What is in hand is that of the moment when it was found: a turn may go on to other messages.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Blocked {
    /// The arbiter's number in the system, as in [`ArbiterLoad`](crate::ArbiterLoad).
    pub arbiter: usize,
    /// Whose turn it is. `None` for what isn't the turn of an actor: a task, the future given to
    /// [`run`](crate::run), the factory of an actor.
    pub actor: Option<ActorId>,
    /// The actor's name, or its type's; empty without an actor, or if it has ended meanwhile.
    pub label: String,
    /// The type of the message in hand, or `starting` or `stopped` for those hooks; empty without an actor.
    pub message: &'static str,
    /// When the turn was first seen, at most half a limit after it began, in the time of the system's
    /// [clock](crate::System::clock).
    pub since: Instant,
    /// How long it has lasted since, at least.
    pub lasted: Duration,
}

impl Blocked {
    fn find(arbiter: &Arbiter, since: Instant, lasted: Duration) -> Blocked {
        let number = arbiter.in_hand().actor();
        let cells = if number == 0 {
            Vec::new()
        } else {
            arbiter.cells()
        };
        let actor = cells.iter().find(|cell| cell.id().as_u64() == number);
        let message = if number == 0 {
            ""
        } else {
            arbiter.in_hand().message()
        };
        Blocked {
            arbiter: arbiter.index(),
            actor: actor.map(|cell| cell.id()),
            label: actor.map(|cell| cell.snapshot().label).unwrap_or_default(),
            message,
            since,
            lasted,
        }
    }
}

/// The handle of a system. The thread ends with [`stop`](Watchdog::stop), or when this is dropped.
pub(crate) struct Watchdog {
    shared: Arc<Shared>,
    clock: Clock,
}

struct Shared {
    state: Mutex<State>,
    /// Limits have changed, or it is over.
    changed: Condvar,
}

struct State {
    limits: Limits,
    ended: bool,
    found: Vec<Found>,
}

/// How long a turn may last, for arbiters that all share and for those with a thread of their own.
#[derive(Clone, Copy)]
struct Limits {
    shared: Option<Duration>,
    own: Option<Duration>,
    /// The shortest of the handlers that have one.
    handlers: Option<Duration>,
}

impl Limits {
    fn of(self, arbiter: &Arbiter) -> Option<Duration> {
        if arbiter.is_own() {
            self.own
        } else {
            self.shared
        }
    }

    /// How long to wait between two looks; for ever, if there is nothing to look for.
    fn period(self) -> Option<Duration> {
        let limits = [self.shared, self.own, self.handlers];
        let shortest = limits.into_iter().flatten().min();
        shortest.map(|limit| limit.max(LEAST_LIMIT) / 2)
    }
}

struct Found {
    arbiter: Arc<Arbiter>,
    turn: u64,
    blocked: Blocked,
}

impl Found {
    fn goes_on(&self) -> bool {
        self.arbiter.in_hand().turn() == self.turn
    }
}

impl Watchdog {
    /// Starts it. Without a thread there is none, which is said in the log.
    pub(crate) fn start(
        arbiters: &[Arc<Arbiter>],
        own: OwnThreads,
        clock: Clock,
        counters: Arc<Counters>,
        progress: &Arc<ProgressTable>,
    ) -> Option<Self> {
        let limits = Limits {
            shared: Some(BLOCK_LIMIT),
            own: None,
            handlers: None,
        };
        let state = State {
            limits,
            ended: false,
            found: Vec::new(),
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let look = Look {
            arbiters: arbiters.to_vec(),
            own,
            clock: clock.clone(),
            counters,
            eyes: Eyes::default(),
            progress: Arc::clone(progress),
            handlers: Eyes::default(),
        };
        let inner = Arc::clone(&shared);
        if !executor::thread("callboard-watchdog", move || inner.run(look)) {
            tracing::warn!(
                target: "callboard::watchdog",
                "no thread for the watchdog: blocked arbiters won't be reported"
            );
            return None;
        }
        Some(Watchdog { shared, clock })
    }

    pub(crate) fn set_limit(&self, limit: Option<Duration>) {
        self.shared.change(|state| state.limits.shared = limit);
    }

    pub(crate) fn set_own_limit(&self, limit: Option<Duration>) {
        self.shared.change(|state| state.limits.own = limit);
    }

    /// There are handlers with a limit that may be shorter than others.
    pub(crate) fn limits_changed(&self) {
        self.shared.change(|_| ());
    }

    pub(crate) fn stop(&self) {
        self.shared.change(|state| state.ended = true);
    }

    /// What was found and goes on.
    pub(crate) fn blocked(&self) -> Vec<Blocked> {
        let now = self.clock.now();
        let state = self.shared.state.lock();
        let found = state.found.iter().filter(|found| found.goes_on());
        found
            .map(|found| {
                let mut blocked = found.blocked.clone();
                blocked.lasted = now.since(blocked.since);
                blocked
            })
            .collect()
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changed.notify_one();
    }

    /// What the thread does.
    fn run(&self, mut look: Look) {
        let mut state = self.state.lock();
        while !state.ended {
            state.limits.handlers = look.progress.least_limit();
            match state.limits.period() {
                Some(period) => {
                    self.changed.wait_for(&mut state, period);
                }
                None => self.changed.wait(&mut state),
            }
            if state.ended {
                return;
            }
            state.found.retain(Found::goes_on);
            let limits = state.limits;
            let (found, late) = MutexGuard::unlocked(&mut state, || look.look(limits));
            let reports: Vec<_> = found.iter().map(|found| found.blocked.clone()).collect();
            state.found.extend(found);
            // The list has what the log says. Whoever listens to the log may look at the list.
            MutexGuard::unlocked(&mut state, || {
                reports.iter().for_each(report);
                late.iter().for_each(Late::report);
            });
        }
    }
}

/// What the thread works with.
struct Look {
    arbiters: Vec<Arc<Arbiter>>,
    own: OwnThreads,
    clock: Clock,
    counters: Arc<Counters>,
    eyes: Eyes,
    progress: Arc<ProgressTable>,
    /// For handlers, by their actors' numbers.
    handlers: Eyes,
}

/// A handler that takes too long.
struct Late {
    progress: Arc<Progress>,
    number: u64,
    since: Instant,
    lasted: Duration,
}

impl Late {
    fn report(&self) {
        self.progress.report(self.number, self.since, self.lasted);
    }
}

impl Look {
    fn look(&mut self, limits: Limits) -> (Vec<Found>, Vec<Late>) {
        let now = self.clock.now();
        (self.look_at_turns(limits, now), self.look_at_handlers(now))
    }

    fn look_at_handlers(&mut self, now: Instant) -> Vec<Late> {
        self.handlers.open(now);
        let mut late = Vec::new();
        for progress in self.progress.all() {
            let number = progress.number();
            let Some(actor) = progress.actor() else {
                continue;
            };
            let seen = self.handlers.see(actor.as_u64(), number, progress.limit());
            if let Some((since, lasted)) = seen {
                late.push(Late {
                    progress,
                    number,
                    since,
                    lasted,
                });
            }
        }
        late
    }

    fn look_at_turns(&mut self, limits: Limits, now: Instant) -> Vec<Found> {
        let own = limits.own.map(|_| self.own.arbiters()).unwrap_or_default();
        self.eyes.open(now);
        let mut found = Vec::new();
        for arbiter in self.arbiters.iter().chain(&own) {
            let Some(limit) = limits.of(arbiter) else {
                continue;
            };
            let turn = arbiter.in_hand().turn();
            if let Some((since, lasted)) = self.eyes.see(u64::from(arbiter.number()), turn, limit) {
                let blocked = Blocked::find(arbiter, since, lasted);
                self.counters.count_block();
                found.push(Found {
                    arbiter: Arc::clone(arbiter),
                    turn,
                    blocked,
                });
            }
        }
        found
    }
}

fn report(blocked: &Blocked) {
    let actor = match blocked.label.as_str() {
        "" => "-",
        label => label,
    };
    tracing::warn!(
        target: "callboard::watchdog",
        arbiter = blocked.arbiter,
        actor,
        id = blocked.actor.map(ActorId::as_u64),
        message = blocked.message,
        lasted_ms = u64::try_from(blocked.lasted.as_millis()).unwrap_or(u64::MAX),
        "an arbiter's thread is blocked"
    );
}

/// What was seen of each arbiter or actor, by its number: the part of the watchdog that needs no thread.
#[derive(Default)]
struct Eyes {
    seen: BTreeMap<u64, Seen>,
    now: Instant,
    /// Between this look and the one before.
    gap: Duration,
}

struct Seen {
    turn: u64,
    since: Instant,
    /// How long it has certainly run.
    credit: Duration,
    reported: bool,
    looked: Instant,
}

impl Eyes {
    /// A look begins.
    fn open(&mut self, now: Instant) {
        // What the look before didn't see is there no more.
        let before = self.now;
        self.seen.retain(|_, seen| seen.looked == before);
        self.gap = now.since(before);
        self.now = now;
    }

    /// An arbiter is in that turn, or an actor in that handler. Answers since when and how long, if that is to be reported now.
    fn see(&mut self, whose: u64, turn: u64, limit: Duration) -> Option<(Instant, Duration)> {
        if turn == 0 {
            self.seen.remove(&whose);
            return None;
        }
        let now = self.now;
        let seen = self.seen.entry(whose).or_insert(Seen {
            turn: 0,
            since: now,
            credit: Duration::ZERO,
            reported: false,
            looked: now,
        });
        seen.looked = now;
        if seen.turn != turn {
            *seen = Seen {
                turn,
                since: now,
                credit: Duration::ZERO,
                reported: false,
                looked: now,
            };
            return None;
        }
        // If this thread overslept, so may all have: a process that was frozen is not blocked. So one gap
        // never counts for the whole limit.
        seen.credit += self.gap.min(limit * 3 / 4);
        if seen.credit < limit || std::mem::replace(&mut seen.reported, true) {
            return None;
        }
        Some((seen.since, now.since(seen.since)))
    }
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchdog")
            .field("blocked", &self.blocked())
            .finish_non_exhaustive()
    }
}
