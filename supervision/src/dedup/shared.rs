//! A dedup store with its lock, clock and counters.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use callboard_core::clock::Instant;
use callboard_core::{
    DropReason, Envelope, Failure, FailureKind, Message, Outcome, Responder, System, Verdict,
};
use parking_lot::{Mutex, MutexGuard};

use super::durable::Durable;
use super::few::Few;
use super::keyed::{Id, Keyed, Target, scope};
use super::print::{PrintKey, Printer};
use super::store::{Decision, Gone, PutBack, Request, Run, Seen, Store, Waiting};
use super::targets::Targets;
use super::waiters::Waiters;
use super::{DedupBuilder, DedupStats, Print, Weigh};

/// A stored end. Behind a lock of its own, so that no code of users (`Clone`, `Drop`) runs under the store's.
#[derive(Debug)]
pub(super) enum Kept<R> {
    Here(Arc<Mutex<Stored<R>>>),
    /// In the body of that record.
    OnDisk(u64),
}

impl<R> Clone for Kept<R> {
    fn clone(&self) -> Self {
        match self {
            Kept::Here(stored) => Kept::Here(Arc::clone(stored)),
            Kept::OnDisk(record) => Kept::OnDisk(*record),
        }
    }
}

pub(super) type Entries<R> = Store<Id, Kept<R>, Responder<R>>;
/// What to do with a request.
pub(super) type Decided<R> = Decision<Kept<R>, Responder<R>>;
/// A request's number and what to do with it; or why it could not be reserved, and who waits for it.
type Reserved<E, R> = Result<(u64, Decided<R>), (E, Option<Responder<R>>)>;
type OnWithdraw = Box<dyn FnOnce() + Send>;

pub(super) struct Shared<M: Message> {
    pub(super) system: System,
    print: Print<M>,
    weigh: Weigh<M::Reply>,
    print_key: PrintKey,
    /// All actors behind it are this one.
    target: Option<Arc<str>>,
    pub(super) window: Duration,
    pub(super) clock_margin: Duration,
    pub(super) replay_safe: bool,
    /// The time of day when the system's clock began.
    epoch: Duration,
    pub(super) durable: Option<Durable<M>>,
    /// The actors whose requests it has seen.
    pub(super) targets: Targets,
    pub(super) inner: Mutex<Inner<M::Reply>>,
}

pub(super) struct Inner<R> {
    pub(super) store: Entries<R>,
    /// What running attempts want called when nobody waits for them any more; at most one each.
    hooks: HashMap<u64, OnWithdraw>,
    pub(super) stats: DedupStats,
    pub(super) next_number: u64,
    /// What ran before may have been forgotten.
    pub(super) remembers_since: Duration,
}

/// How a request ended, as it is remembered.
#[derive(Debug, Clone)]
pub(super) enum Stored<R> {
    Outcome(Outcome<R>),
    /// In the middle; what was seen of it.
    Indeterminate(String),
    /// With an answer for which there was no room.
    TooLarge,
    /// With an answer that could not be kept; why.
    Lost(String),
}

impl<R> Stored<R> {
    /// What a duplicate is told.
    pub(super) fn outcome(self) -> Outcome<R> {
        match self {
            Stored::Outcome(outcome) => outcome,
            Stored::Indeterminate(seen) => Err(indeterminate(&seen)),
            Stored::TooLarge => Err(Failure::new(FailureKind::NoAnswer, Verdict::Executed)
                .with_detail("it ran to its end, and the dedup store had no room for its answer")),
            Stored::Lost(why) => Err(lost(&why)),
        }
    }

    pub(super) fn kept(self) -> Kept<R> {
        Kept::Here(Arc::new(Mutex::new(self)))
    }
}

pub(super) fn indeterminate(seen: &str) -> Failure {
    let detail = format!("an earlier attempt broke off: {seen}");
    Failure::new(FailureKind::Indeterminate, Verdict::Executed).with_detail(detail)
}

/// What others are told of how an attempt ended: no more than its kind. The text may be of a panic or a log, and who
/// asks with the same key may be somebody else, in another process.
pub(super) fn seen_of(failure: &Failure) -> String {
    failure.kind().to_string()
}

pub(super) fn lost(why: &str) -> Failure {
    let detail = format!("it ran to its end, and its answer may be lost: {why}");
    Failure::new(FailureKind::StorageFailed, Verdict::Executed).with_detail(detail)
}

pub(super) fn finish<R: Send + 'static>(waiter: Responder<R>, outcome: Outcome<R>) {
    match outcome {
        Ok(reply) => waiter.send(reply),
        Err(failure) => waiter.fail(failure),
    }
}

impl<M: Message> Shared<M> {
    pub(super) fn new(
        builder: DedupBuilder<M>,
        print_key: PrintKey,
        durable: Option<Durable<M>>,
    ) -> Self {
        let clock = builder.system.clock();
        let since_start = Duration::from_nanos(clock.now().as_nanos());
        let epoch = clock.unix().saturating_sub(since_start);
        let keyed = Keyed::new(builder.system.entropy());
        let inner = Inner {
            store: Store::new(builder.bounds, keyed),
            hooks: HashMap::new(),
            stats: DedupStats::default(),
            next_number: 1,
            remembers_since: clock.unix(),
        };
        Shared {
            system: builder.system,
            print: builder.print,
            weigh: builder.weigh,
            print_key,
            target: builder.target,
            window: builder.window,
            clock_margin: builder.clock_margin,
            replay_safe: builder.replay_safe,
            epoch,
            durable,
            targets: Targets::default(),
            inner: Mutex::new(inner),
        }
    }

    /// What stands for a payload: 128 bits that nobody outside can predict.
    pub(super) fn print(&self, message: &M) -> u128 {
        let mut printer = Printer::new(&self.print_key);
        (self.print)(message, printer.hasher());
        printer.finish()
    }

    /// Whose key it is.
    pub(super) fn id(
        &self,
        principal: Option<&callboard_core::Principal>,
        target: Target<'_>,
        key: callboard_core::RequestKey,
    ) -> Id {
        Id::new(self.scope(principal, target), key)
    }

    /// Whose requests: those of a principal to a target.
    pub(super) fn scope(
        &self,
        principal: Option<&callboard_core::Principal>,
        target: Target<'_>,
    ) -> u128 {
        let target = self.target.as_deref().map_or(target, Target::Named);
        scope(&self.print_key, principal, target)
    }

    /// Whether it has a target of its own.
    pub(super) fn has_target(&self) -> bool {
        self.target.is_some()
    }

    pub(super) fn time_of_day(&self, at: Instant) -> Duration {
        self.epoch + Duration::from_nanos(at.as_nanos())
    }

    /// A time of day on the system's clock. As long ago as it is now, also if that is before the clock began; now, if
    /// it is to come.
    pub(super) fn on_clock(&self, time: Duration, now: Duration) -> Instant {
        let ago = nanos(now.saturating_sub(time));
        Instant::from_nanos(self.now().as_nanos().saturating_sub(ago))
    }

    pub(super) fn now(&self) -> Instant {
        self.system.clock().coarse_now()
    }

    pub(super) fn due(&self) -> Instant {
        self.now() + self.window
    }

    /// Lets go of what is past its window.
    pub(super) fn expire(&self, inner: &mut Inner<M::Reply>, gone: &mut Few<Gone<Kept<M::Reply>>>) {
        inner.stats.expired += inner.store.expire(self.now(), gone);
    }

    /// What was forgotten is dropped on disk, too.
    pub(super) fn drop_records(&self, gone: &Few<Gone<Kept<M::Reply>>>) {
        if let Some(durable) = &self.durable
            && gone.len() > 0
        {
            durable.drop_records(gone.iter().map(|gone| gone.record));
        }
    }

    /// Has a waiter say when it leaves.
    fn hook(self: &Arc<Self>, id: Id, number: u64, waiter: &mut Responder<M::Reply>) {
        let weak = Arc::downgrade(self);
        waiter.on_withdraw(move || {
            if let Some(shared) = weak.upgrade() {
                shared.leave(&id, number);
            }
        });
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

    /// What the running attempt wants called when nobody waits for it any more. Only now its first asker has to say
    /// when it leaves.
    pub(super) fn on_withdraw(self: &Arc<Self>, place: usize, epoch: u64, withdraw: OnWithdraw) {
        let mut inner = self.inner.lock();
        let before = inner.hooks.insert(epoch, withdraw);
        let first = match &before {
            // It says so already.
            Some(_) => None,
            None => inner.store.take_first(place, epoch),
        };
        drop(inner);
        drop(before);
        if let Some((mut first, id)) = first {
            first.each(|number, waiter| self.hook(id, number, waiter));
            let mut left = Vec::new();
            let mut inner = self.inner.lock();
            let back = inner.store.put_back(place, epoch, 1, first, &mut left);
            drop(inner);
            drop((back, left));
        }
        if self.tell(place, epoch, None).0 {
            return;
        }
        let hook = self.inner.lock().hooks.remove(&epoch);
        if let Some(hook) = hook {
            hook();
        }
    }

    /// How far an attempt has come. Whether anybody wants its answer.
    pub(super) fn progress(&self, place: usize, epoch: u64, verdict: Verdict) -> bool {
        self.tell(place, epoch, Some(verdict)).0
    }

    /// Tells those who wait how far an attempt is, and lets those go that don't wait any more. Under no lock: one that
    /// waits may be the attempt of another actor behind this store, which hands on what it was asked. Whether anybody
    /// wants the answer, and who has missed its end.
    fn tell(
        &self,
        place: usize,
        epoch: u64,
        mut verdict: Option<Verdict>,
    ) -> (bool, Waiters<Responder<M::Reply>>) {
        loop {
            let taken = self.inner.lock().store.take_waiters(place, epoch, verdict);
            let Some((mut waiters, reached)) = taken else {
                return (false, Waiters::default());
            };
            let (count, mut left) = (waiters.len(), Vec::new());
            waiters.retain(|waiter| waiter.progress(reached), &mut left);
            let mut inner = self.inner.lock();
            let back = inner
                .store
                .put_back(place, epoch, count, waiters, &mut left);
            drop(inner);
            drop(left);
            match back {
                PutBack::Ended(missed) => return (false, missed),
                // It has come further meanwhile, and those that were away don't know.
                PutBack::There { reached: now, .. } if now != reached => verdict = None,
                PutBack::There { wanted, .. } => return (wanted, Waiters::default()),
            }
        }
    }

    /// What a reply takes, in bytes.
    pub(super) fn weigh(&self, outcome: &Outcome<M::Reply>) -> usize {
        outcome.as_ref().map_or(0, |reply| (self.weigh)(reply))
    }

    /// Ends an attempt in memory. Who waited for it.
    pub(super) fn end(
        &self,
        place: usize,
        epoch: u64,
        bytes: usize,
        stored: &Arc<Mutex<Stored<M::Reply>>>,
    ) -> Ended<M::Reply> {
        let mut gone = Few::default();
        let mut inner = self.inner.lock();
        let fits = inner.store.weigh(place, epoch, bytes, &mut gone);
        let kept = Kept::Here(Arc::clone(stored));
        let due = self.due();
        let waiting = inner.store.end(place, epoch, due, kept);
        inner.stats.forgotten += gone.len() as u64;
        let hook = inner.take_hook(epoch);
        drop(inner);
        drop((gone, hook));
        Ended { waiting, fits }
    }

    /// Counts an answer that found nobody waiting (G8).
    pub(super) fn count_late(&self) {
        self.inner.lock().stats.late += 1;
        self.system.counters().count_drop(DropReason::LateReply);
    }

    /// An attempt has ended in the middle, or never began. Who waited for it.
    pub(super) fn break_off(
        &self,
        place: usize,
        epoch: u64,
        failure: &Failure,
    ) -> Option<Waiting<Responder<M::Reply>>> {
        let ran = !failure.verdict().is_safe_to_resend();
        let due = self.due();
        let mut inner = self.inner.lock();
        let waiting = if ran {
            inner.stats.indeterminate += 1;
            if let Some(durable) = &self.durable
                && let Some(view) = inner.store.view(place, epoch)
            {
                durable.note_broken(view.record, self.time_of_day(self.now()), &seen_of(failure));
            }
            if self.replay_safe {
                inner.store.break_off(place, epoch, due)
            } else {
                let stored = Stored::Indeterminate(seen_of(failure));
                inner.store.end(place, epoch, due, stored.kept())
            }
        } else {
            inner
                .store
                .forget(place, epoch, due)
                .map(|(waiting, record)| {
                    if let (Some(durable), Some(record)) = (&self.durable, record) {
                        durable.drop_records([record]);
                    }
                    waiting
                })
        };
        let hook = inner.take_hook(epoch);
        drop(inner);
        drop(hook);
        waiting
    }

    /// Whether a key was made after that time of day for certain: keys of version 7 say when, by their maker's clock.
    pub(super) fn is_made_after(&self, id: &Id, since: Duration) -> bool {
        let Some(made) = made_at(id.key) else {
            return false;
        };
        let now = self.time_of_day(self.now());
        made > since + self.clock_margin && made <= now + self.clock_margin
    }

    /// Whether a key that isn't there was certainly never run for: nothing that ran since it was made has been
    /// forgotten.
    pub(super) fn would_remember(&self, inner: &Inner<M::Reply>, id: &Id) -> bool {
        let forgotten = inner.store.forgotten().map(|due| {
            let end = due.as_nanos().saturating_sub(nanos(self.window));
            self.time_of_day(Instant::from_nanos(end))
        });
        let remembers_all =
            self.durable.as_ref().is_some_and(Durable::remembers_all) && forgotten.is_none();
        let since = inner.remembers_since.max(forgotten.unwrap_or_default());
        remembers_all || self.is_made_after(id, since)
    }

    pub(super) fn look(&self, id: &Id) -> Option<Seen<Kept<M::Reply>>> {
        let mut gone = Few::default();
        let mut inner = self.inner.lock();
        self.expire(&mut inner, &mut gone);
        self.drop_records(&gone);
        let seen = inner.store.look(id);
        drop(inner);
        drop(gone);
        seen
    }

    pub(super) fn stats(&self) -> DedupStats {
        let mut gone = Few::default();
        let mut inner = self.inner.lock();
        self.expire(&mut inner, &mut gone);
        self.drop_records(&gone);
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

    /// When there may be room in a full store: when the oldest end is forgotten.
    pub(super) fn room_after(&self) -> Option<Duration> {
        let due = self.inner.lock().store.next_due()?;
        Some(due.since(self.now()))
    }
}

impl<M: Message<Reply: Clone>> Shared<M> {
    /// Decides about a request, and gives it its number, which is the epoch of its attempt if it runs.
    /// `reserve` is called under the lock with what runs; if it fails, the request is as if it had never come.
    pub(super) fn admit<E>(
        this: &Arc<Self>,
        id: &Id,
        print: u128,
        attempt: u32,
        mut waiter: Option<Responder<M::Reply>>,
        reserve: impl FnOnce(u64, Run) -> Result<(), E>,
    ) -> Reserved<E, M::Reply> {
        let mut gone = Few::default();
        let mut inner = this.inner.lock();
        this.expire(&mut inner, &mut gone);
        let expired = gone.len();
        let number = inner.next_number;
        inner.next_number += 1;
        let (mut told, mut asked_around) = (None, false);
        let decision = loop {
            let request = Request {
                key: id,
                print,
                number,
                attempt,
                waiter: waiter.take(),
                told,
                asked_around,
            };
            waiter = Some(match inner.store.admit(request, &mut gone) {
                Decision::WouldJoin(mut joiner, reached) => {
                    // It may have gone by now, and calls at once.
                    MutexGuard::unlocked(&mut inner, || {
                        if told.is_none() {
                            this.hook(*id, number, &mut joiner);
                        }
                        joiner.progress(reached);
                    });
                    told = Some(reached);
                    joiner
                }
                Decision::AskAround(joiner, place, epoch) => {
                    MutexGuard::unlocked(&mut inner, || this.ask_around(id, place, epoch));
                    asked_around = true;
                    joiner
                }
                decided => break decided,
            });
        };
        inner.stats.forgotten += (gone.len() - expired) as u64;
        this.drop_records(&gone);
        let mut failed = None;
        let stats = &mut inner.stats;
        match &decision {
            Decision::Run(run) => {
                let run = *run;
                let before = *stats;
                stats.started += 1;
                stats.run_again += u64::from(run.record != number);
                failed = reserve(number, run).err().map(|why| {
                    inner.stats = before;
                    let undone = inner.store.forget(run.place, number, this.due());
                    let waiters = undone.into_iter().flat_map(|(waiting, _)| waiting.waiters);
                    (why, waiters.map(|(_, waiter)| waiter).next())
                });
            }
            Decision::Joined => stats.joined += 1,
            Decision::Ended(..) => stats.answered += 1,
            Decision::KeyReused(_) => stats.key_reused += 1,
            Decision::Sealed(_) => stats.refused_sealed += 1,
            Decision::Full(_) | Decision::Crowded(_) => stats.overloaded += 1,
            Decision::WouldJoin(..) | Decision::AskAround(..) => {}
        }
        drop(inner);
        drop(gone);
        match failed {
            Some(failed) => Err(failed),
            None => Ok((number, decision)),
        }
    }

    /// Asks those who wait whether they still do. Should the attempt end meanwhile, they are told what a duplicate is.
    fn ask_around(self: &Arc<Self>, id: &Id, place: usize, epoch: u64) {
        let (_, missed) = self.tell(place, epoch, None);
        for (_, waiter) in missed {
            let why = match (self.look(id), &self.durable) {
                (Some(Seen::Ended(Kept::Here(stored))), _) => {
                    let stored = stored.lock().clone();
                    finish(waiter, stored.outcome());
                    continue;
                }
                (Some(Seen::Ended(Kept::OnDisk(record))), Some(durable)) if durable.may_read() => {
                    durable.answer(self, record, Some(waiter));
                    continue;
                }
                _ => "it ended just now: ask again with its key",
            };
            let failure = Failure::new(FailureKind::NoAnswer, Verdict::MaybeExecuted);
            waiter.fail(failure.with_detail(why));
        }
    }
}

impl<R> Inner<R> {
    pub(super) fn take_hook(&mut self, epoch: u64) -> Option<OnWithdraw> {
        if self.hooks.is_empty() {
            return None;
        }
        self.hooks.remove(&epoch)
    }
}

/// What came of an end.
pub(super) struct Ended<R> {
    pub(super) waiting: Option<Waiting<Responder<R>>>,
    pub(super) fits: bool,
}

/// When a key of version 7 was made, as its maker's clock said.
fn made_at(key: u128) -> Option<Duration> {
    let is_version_7 = (key >> 76) & 0xF == 7;
    let millis = u64::try_from(key >> 80).unwrap_or(u64::MAX);
    is_version_7.then(|| Duration::from_millis(millis))
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// An envelope whose responder was taken out, with another in its place.
pub(super) fn envelope_of<M: Message>(
    message: M,
    meta: callboard_core::Meta,
    waiter: Option<Responder<M::Reply>>,
) -> Envelope<M> {
    Envelope {
        message,
        meta,
        responder: waiter.unwrap_or_else(Responder::nowhere),
    }
}
