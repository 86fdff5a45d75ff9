//! Handlers that have a limit: what is in hand for how long, who is told when it takes too long, and the list of
//! those that do (G13).
//!
//! An actor with a limit says the number of each handler by one plain store, as an arbiter does of each turn. The
//! [watchdog](crate::watchdog) compares numbers from its own thread, so that an arbiter whose thread is blocked
//! can't hide it. In virtual time, where only a handler that waits takes any, a timer does the same.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures::future::AbortHandle;
use parking_lot::Mutex;

use crate::cell::{AnyCell, shortened};
use crate::clock::Instant;
use crate::id::{ActorId, Incarnation};
use crate::place::ChildEvent;
use crate::sync::InHand;

/// An actor whose handler takes longer than its [limit](crate::Spawn::handler_limit), as
/// [`System::frozen`](crate::System::frozen) shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Frozen {
    /// The actor.
    pub actor: ActorId,
    /// Its name, or its type's.
    pub label: String,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// The number of its arbiter in the system, as in [`ArbiterLoad`](crate::ArbiterLoad).
    pub arbiter: usize,
    /// The type of the message in hand, or `started` for that hook.
    pub message: &'static str,
    /// Since when nothing has moved, in the time of the system's [clock](crate::System::clock): when its handler
    /// began or last said [`progress`](crate::Context::progress). Where the watchdog looks it is when that was
    /// first seen, at most half a limit later.
    pub since: Instant,
    /// How long that is by now.
    pub lasted: Duration,
    /// How long it may be.
    pub limit: Duration,
}

/// Tells the owner of an incarnation of an event, from any thread.
pub(crate) type Teller = Arc<dyn Fn(ChildEvent) + Send + Sync>;

/// What an actor with a limit has in hand. Its own thread writes numbers; any may read them.
pub(crate) struct Progress {
    limit: Duration,
    cell: OnceLock<Weak<dyn AnyCell>>,
    /// The message, and the number of the stretch that it is in: from where a handler begins, or says that it gets
    /// on, to the next such place. 0 for no handler.
    hand: InHand,
    /// The last number. Written by the actor's thread only.
    last: AtomicU64,
    found: Mutex<Option<Stretch>>,
    /// The owner of the incarnation, until it is told of the end: it hears nothing after that.
    owner: Mutex<Option<Teller>>,
    /// Ends the timer, in virtual time.
    alarm: Mutex<Option<AbortHandle>>,
}

/// A stretch that took too long.
#[derive(Clone, Copy)]
struct Stretch {
    number: u64,
    since: Instant,
}

impl Progress {
    pub(crate) fn new(limit: Duration) -> Arc<Self> {
        Arc::new(Progress {
            limit,
            cell: OnceLock::new(),
            hand: InHand::default(),
            last: AtomicU64::new(0),
            found: Mutex::new(None),
            owner: Mutex::new(None),
            alarm: Mutex::new(None),
        })
    }

    /// Says whose it is; once.
    pub(crate) fn belongs_to(&self, cell: Weak<dyn AnyCell>) {
        // An error: it is said already.
        let _ = self.cell.set(cell);
    }

    /// Whose it is, while it is there.
    pub(crate) fn actor(&self) -> Option<ActorId> {
        Some(self.cell.get()?.upgrade()?.id())
    }

    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    pub(crate) fn hand(&self) -> &InHand {
        &self.hand
    }

    /// The number of the stretch; 0 if no handler runs.
    pub(crate) fn number(&self) -> u64 {
        self.hand.turn()
    }

    /// Another stretch begins.
    pub(crate) fn begin_stretch(&self) {
        let next = self.last.load(Ordering::Relaxed) + 1;
        self.last.store(next, Ordering::Relaxed);
        self.hand.set_turn(next);
    }

    /// No handler runs any more.
    pub(crate) fn end(&self) {
        self.hand.set_turn(0);
        self.set_alarm(None);
    }

    /// Sets or ends the timer.
    pub(crate) fn set_alarm(&self, alarm: Option<AbortHandle>) {
        let before = std::mem::replace(&mut *self.alarm.lock(), alarm);
        if let Some(before) = before {
            before.abort();
        }
    }

    /// Who is told from now on; with `None` nobody, also not by a thread that is at it.
    pub(crate) fn set_owner(&self, owner: Option<Teller>) {
        let before = std::mem::replace(&mut *self.owner.lock(), owner);
        drop(before);
    }

    /// That stretch has taken longer than the limit: says so in the list, to the log and to the owner, unless it is
    /// over.
    pub(crate) fn report(&self, number: u64, since: Instant, lasted: Duration) {
        let Some(cell) = self.cell.get().and_then(Weak::upgrade) else {
            return;
        };
        if self.number() != number {
            return;
        }
        *self.found.lock() = Some(Stretch { number, since });
        let Some(frozen) = self.frozen(&*cell, since + lasted) else {
            return;
        };
        cell.counters().count_freeze();
        tracing::warn!(
            target: "callboard::watchdog",
            actor = %frozen.label,
            id = frozen.actor.as_u64(),
            message = frozen.message,
            lasted_ms = millis(frozen.lasted),
            limit_ms = millis(frozen.limit),
            "a handler makes no progress"
        );
        // Under the lock: once the owner is taken away, nobody is at it any more.
        let owner = self.owner.lock();
        if let Some(tell) = owner.as_ref().filter(|_| self.number() == number) {
            let event = ChildEvent::NoProgress(frozen.sentence());
            if catch_unwind(AssertUnwindSafe(|| tell(event))).is_err() {
                cell.counters().count_panic();
            }
        }
    }

    /// What is too late now.
    fn frozen(&self, cell: &dyn AnyCell, now: Instant) -> Option<Frozen> {
        let Stretch { number, since } = (*self.found.lock())?;
        if number != self.number() {
            return None;
        }
        let actor = cell.snapshot();
        Some(Frozen {
            actor: actor.id,
            label: actor.label,
            incarnation: actor.incarnation,
            arbiter: actor.arbiter,
            message: self.hand.message(),
            since,
            lasted: now.since(since),
            limit: self.limit,
        })
    }
}

impl Frozen {
    /// For whoever decides: ``handler of `Render` has run for 1.2s (limit 1s)``.
    fn sentence(&self) -> String {
        let Frozen { lasted, limit, .. } = self;
        let lasted = Duration::from_millis(millis(*lasted));
        // The type of a message has a path.
        match self.message {
            hook if !hook.contains("::") => {
                format!("`{hook}` has run for {lasted:?} (limit {limit:?})")
            }
            message => format!(
                "handler of `{}` has run for {lasted:?} (limit {limit:?})",
                shortened(message)
            ),
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress")
            .field("limit", &self.limit)
            .field("hand", &self.hand)
            .finish_non_exhaustive()
    }
}

/// The actors of a system whose handlers have a limit.
#[derive(Default)]
pub(crate) struct ProgressTable {
    state: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    list: Vec<Weak<Progress>>,
    /// How long the list was when those that are gone were last taken off.
    swept: usize,
    least: Option<Duration>,
}

/// A list of this length is not swept before it has grown.
const SMALL: usize = 64;

impl ProgressTable {
    pub(crate) fn add(&self, progress: &Arc<Progress>) {
        let mut table = self.state.lock();
        if table.list.len() >= 2 * table.swept.max(SMALL) {
            table.sweep();
        }
        table.list.push(Arc::downgrade(progress));
        let limit = progress.limit;
        table.least = Some(table.least.map_or(limit, |least| least.min(limit)));
    }

    /// Those there are.
    pub(crate) fn all(&self) -> Vec<Arc<Progress>> {
        let mut table = self.state.lock();
        if table.list.is_empty() {
            return Vec::new();
        }
        table.sweep()
    }

    /// The shortest limit there is, or was when somebody last looked.
    pub(crate) fn least_limit(&self) -> Option<Duration> {
        self.state.lock().least
    }

    /// What is too late now, in the order the actors were made.
    pub(crate) fn frozen(&self, now: Instant) -> Vec<Frozen> {
        let all = self.all();
        let late = all.iter().filter_map(|progress| {
            let cell = progress.cell.get()?.upgrade()?;
            progress.frozen(&*cell, now)
        });
        let mut late: Vec<_> = late.collect();
        late.sort_by_key(|frozen| frozen.actor);
        late
    }
}

impl Table {
    /// Takes those that are gone off the list, and answers with the others.
    fn sweep(&mut self) -> Vec<Arc<Progress>> {
        let mut all = Vec::with_capacity(self.list.len());
        self.list.retain(|progress| {
            let here = progress.upgrade();
            let is_here = here.is_some();
            all.extend(here);
            is_here
        });
        self.swept = self.list.len();
        self.least = all.iter().map(|progress| progress.limit).min();
        all
    }
}
