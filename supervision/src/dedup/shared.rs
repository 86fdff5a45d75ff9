//! A dedup store with its lock, clock and counters, and the way back of an attempt.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callboard_core::clock::Instant;
use callboard_core::{
    DropReason, Failure, FailureKind, Message, Outcome, Principal, ReplySink, RequestKey, System,
    Verdict,
};
use parking_lot::Mutex;

use super::print::{PrintKey, Printer};
use super::store::{Decision, Store, Waiting};
use super::{DedupBuilder, DedupStats, Print, Weigh};

/// Whose key.
pub(super) type Id = (Option<Principal>, Which);

/// What tells a request of a principal from its others. A key never meets a print: they are in tables of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Which {
    Key(RequestKey),
    Print(u128),
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Which::Key(key) => key.fmt(f),
            Which::Print(_) => f.write_str("the same fingerprint"),
        }
    }
}
type Waiter<R> = Box<dyn ReplySink<R>>;
/// A stored end. Behind a lock of its own, so that no code of users (`Clone`, `Drop`) runs under the store's.
pub(super) type Kept<R> = Arc<Mutex<Stored<R>>>;
/// A request's number, and what to do with it.
type Decided<R> = (u64, Decision<Kept<R>, Waiter<R>>);
type OnWithdraw = Box<dyn FnOnce() + Send>;

pub(super) struct Shared<M: Message> {
    system: System,
    print: Print<M>,
    weigh: Weigh<M::Reply>,
    print_key: PrintKey,
    window: Duration,
    replay_safe: bool,
    next_number: AtomicU64,
    inner: Mutex<Inner<M::Reply>>,
}

struct Inner<R> {
    store: Store<Id, Kept<R>, Waiter<R>>,
    /// What running attempts want called when nobody waits for them any more; at most one each.
    hooks: HashMap<u64, OnWithdraw>,
    stats: DedupStats,
}

impl<R> Inner<R> {
    fn expire(&mut self, now: Instant, gone: &mut Vec<Kept<R>>) {
        self.stats.expired += self.store.expire(now, gone);
    }
}

/// How a request ended, as it is remembered.
#[derive(Clone)]
pub(super) enum Stored<R> {
    Outcome(Outcome<R>),
    /// In the middle; what was seen of it.
    Indeterminate(String),
    /// With an answer for which there was no room.
    TooLarge,
}

impl<R> Stored<R> {
    /// What a duplicate is told.
    pub(super) fn outcome(self) -> Outcome<R> {
        match self {
            Stored::Outcome(outcome) => outcome,
            Stored::Indeterminate(seen) => Err(indeterminate(&seen)),
            Stored::TooLarge => Err(Failure::new(FailureKind::NoAnswer, Verdict::Executed)
                .with_detail("it ran to its end, and the dedup store had no room for its answer")),
        }
    }
}

fn indeterminate(seen: &str) -> Failure {
    let detail = format!("an earlier attempt broke off: {seen}");
    Failure::new(FailureKind::Indeterminate, Verdict::Executed).with_detail(detail)
}

impl<M: Message> Shared<M> {
    pub(super) fn new(builder: DedupBuilder<M>, print_key: PrintKey) -> Self {
        let inner = Inner {
            store: Store::new(builder.bounds),
            hooks: HashMap::new(),
            stats: DedupStats::default(),
        };
        Shared {
            system: builder.system,
            print: builder.print,
            weigh: builder.weigh,
            print_key,
            window: builder.window,
            replay_safe: builder.replay_safe,
            next_number: AtomicU64::new(1),
            inner: Mutex::new(inner),
        }
    }

    /// What stands for a payload: 128 bits that nobody outside can predict.
    pub(super) fn print(&self, message: &M) -> u128 {
        let mut printer = Printer::new(&self.print_key);
        (self.print)(message, printer.hasher());
        printer.finish()
    }

    /// Decides about a request, and gives it its number.
    pub(super) fn admit(
        this: &Arc<Self>,
        id: &Id,
        print: u128,
        mut waiter: Option<Waiter<M::Reply>>,
    ) -> Decided<M::Reply> {
        let number = this.next_number.fetch_add(1, Ordering::Relaxed);
        if let Some(waiter) = &mut waiter {
            let (weak, id) = (Arc::downgrade(this), id.clone());
            waiter.on_withdraw(Box::new(move || {
                if let Some(shared) = weak.upgrade() {
                    shared.leave(&id, number);
                }
            }));
        }
        let mut gone = Vec::new();
        let mut inner = this.inner.lock();
        inner.expire(this.system.clock().now(), &mut gone);
        let expired = gone.len();
        let tell = |waiter: &mut Waiter<_>, reached| {
            waiter.progress(reached);
        };
        let decision = inner
            .store
            .admit(id, print, number, waiter, tell, &mut gone);
        let stats = &mut inner.stats;
        stats.forgotten += (gone.len() - expired) as u64;
        match &decision {
            Decision::Run => stats.started += 1,
            Decision::Joined => stats.joined += 1,
            Decision::Ended(..) => stats.answered += 1,
            Decision::KeyReused(_) => stats.key_reused += 1,
            Decision::Full(_) => stats.overloaded += 1,
        }
        drop(inner);
        drop(gone);
        (number, decision)
    }

    fn leave(&self, id: &Id, number: u64) {
        let mut inner = self.inner.lock();
        let left = inner.store.leave(id, number);
        let alone = left.as_ref().and_then(|(_, alone)| *alone);
        let hook = alone.and_then(|epoch| inner.hooks.remove(&epoch));
        drop(inner);
        drop(left);
        if let Some(hook) = hook {
            hook();
        }
    }

    /// Ends an attempt: who waited for it.
    fn end(
        &self,
        id: &Id,
        epoch: u64,
        stored: Option<(Kept<M::Reply>, usize)>,
        late: impl FnOnce(&Waiting<Waiter<M::Reply>>) -> bool,
    ) -> Option<Waiting<Waiter<M::Reply>>> {
        let mut gone = Vec::new();
        let mut inner = self.inner.lock();
        let due = self.system.clock().now() + self.window;
        let waiting = inner.store.end(id, epoch, due, stored, &mut gone);
        inner.stats.forgotten += gone.len() as u64;
        let hook = inner.hooks.remove(&epoch);
        let late = waiting.as_ref().is_some_and(late);
        inner.stats.late += u64::from(late);
        drop(inner);
        drop((gone, hook));
        if late {
            self.system.counters().count_drop(DropReason::LateReply);
        }
        waiting
    }

    pub(super) fn stats(&self) -> DedupStats {
        let mut gone = Vec::new();
        let mut inner = self.inner.lock();
        inner.expire(self.system.clock().now(), &mut gone);
        let (running, stored, bytes) = inner.store.counts();
        let stats = DedupStats {
            running,
            stored,
            bytes,
            ..inner.stats
        };
        drop(inner);
        drop(gone);
        stats
    }
}

/// The way back of an attempt: records its end and answers all that wait for it.
pub(super) struct Sink<M: Message> {
    shared: Arc<Shared<M>>,
    id: Id,
    epoch: u64,
    began: bool,
    ended: bool,
}

impl<M: Message> Sink<M> {
    pub(super) fn new(shared: &Arc<Shared<M>>, id: Id, epoch: u64) -> Self {
        Sink {
            shared: Arc::clone(shared),
            id,
            epoch,
            began: false,
            ended: false,
        }
    }

    /// The attempt brought no outcome that is worth keeping: the first asker, and the rest, are told.
    fn broken_off(&mut self, failure: &Failure) {
        self.ended = true;
        let ran = !failure.verdict().is_safe_to_resend();
        let unknown = ran && !self.shared.replay_safe;
        let stored = unknown.then(|| kept(Stored::Indeterminate(failure.to_string()), 0));
        if ran {
            self.shared.inner.lock().stats.indeterminate += 1;
        }
        let waiting = self.shared.end(&self.id, self.epoch, stored, |_| false);
        let waiters = waiting.map_or(Vec::new(), |waiting| waiting.waiters);
        for (number, waiter) in waiters {
            waiter.finish(Err(if unknown && number != self.epoch {
                indeterminate(&failure.to_string())
            } else {
                failure.clone()
            }));
        }
    }
}

/// Whether the end of an attempt leaves open what it did.
fn leaves_open(failure: &Failure) -> bool {
    match failure.verdict() {
        Verdict::NotSent | Verdict::NotExecuted => false,
        Verdict::MaybeExecuted => true,
        Verdict::Executed => matches!(
            failure.kind(),
            FailureKind::Panicked
                | FailureKind::Killed
                | FailureKind::NoAnswer
                | FailureKind::Indeterminate
                // It had begun before, and was to be offered again.
                | FailureKind::Stopped
                | FailureKind::Withdrawn
                | FailureKind::DeadlineExceeded
        ),
    }
}

impl<M> ReplySink<M::Reply> for Sink<M>
where
    M: Message<Reply: Clone>,
{
    fn progress(&mut self, verdict: Verdict) -> bool {
        self.began |= verdict == Verdict::Executed;
        let mut left = Vec::new();
        let mut inner = self.shared.inner.lock();
        let tell = |waiter: &mut Waiter<_>, reached| waiter.progress(reached);
        let wanted = inner
            .store
            .progress(&self.id, self.epoch, verdict, tell, &mut left);
        drop(inner);
        drop(left);
        wanted
    }

    fn finish(mut self: Box<Self>, outcome: Outcome<M::Reply>) {
        if let Err(failure) = &outcome
            && (failure.verdict().is_safe_to_resend() || leaves_open(failure))
        {
            self.broken_off(failure);
            return;
        }
        let bytes = outcome
            .as_ref()
            .map_or(0, |reply| (self.shared.weigh)(reply));
        let (stored, bytes) = kept(Stored::Outcome(outcome.clone()), bytes);
        let answered = outcome.is_ok();
        // From here on no code of users runs before the entry has ended.
        self.ended = true;
        let late = |waiting: &Waiting<_>| answered && waiting.waiters.is_empty() && !waiting.told;
        let end = Some((Arc::clone(&stored), bytes));
        let Some(waiting) = self.shared.end(&self.id, self.epoch, end, late) else {
            return;
        };
        if waiting.too_large {
            *stored.lock() = Stored::TooLarge;
        }
        for (_, waiter) in waiting.waiters {
            waiter.finish(outcome.clone());
        }
    }

    fn on_withdraw(&mut self, withdraw: Box<dyn FnOnce() + Send>) {
        let before = self.shared.inner.lock().hooks.insert(self.epoch, withdraw);
        drop(before);
    }
}

impl<M: Message> Drop for Sink<M> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (kind, verdict) = if self.began {
            (FailureKind::NoAnswer, Verdict::Executed)
        } else {
            (FailureKind::Stopped, Verdict::NotExecuted)
        };
        self.broken_off(&Failure::new(kind, verdict));
    }
}

fn kept<R>(stored: Stored<R>, bytes: usize) -> (Kept<R>, usize) {
    (Arc::new(Mutex::new(stored)), bytes)
}
