//! One request under a policy: a future without a task and, while all goes well, without an allocation.
//!
//! The parts stand in the order of the policy's table. What is under way is in [`Flight`]s, so that however the
//! request ends, also dropped, each place is given back and each breaker is told.

mod flight;
mod verdicts;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll};
use std::time::Duration;

use callboard_core::clock::{Clock, Instant, Sleep};
use callboard_core::{Failure, FailureKind, Verdict};

use super::aim::{Aim, Terms};
use super::bulkhead::{Entry, Permit, Wait};
use super::callee::Callee;
use super::live::Live;
use super::refusal::{Gate, refusal};
use super::settings::{AdaptiveMode, BreakerMode, Jitter, RetrySettings};
use super::stats::count;
use crate::tree::backoff;
use flight::Flight;
use verdicts::{may_retry, summed_up};

/// What is known of a request when it begins.
pub(super) struct Request {
    pub(super) live: Arc<Live>,
    /// Which callee of those.
    pub(super) at: usize,
    /// By the caller and what it inherits; the policy's own comes on top.
    pub(super) deadline: Option<Instant>,
    /// It may run more than once: it has a key, or its type is idempotent.
    pub(super) repeatable: bool,
    /// Whoever asked for the request in hand retries (G18).
    pub(super) caller_retries: bool,
    /// There is something to fall back upon.
    pub(super) has_fallback: bool,
}

/// `M` is the message and `F` the future of an attempt of that aim. They are named, not looked up, because the compiler
/// can't see through associated types whether the future of a handler that awaits a call is `Send`.
pub(super) struct Engine<A, M, F> {
    aim: A,
    request: Request,
    /// Attempts get copies of it, unless there is to be one only.
    message: Option<M>,
    copy: fn(&M) -> M,
    /// The caller wants it back whatever happens to the one that is sent.
    keep: bool,
    /// Attempts made so far, hedges included.
    attempts: u32,
    has_failed: bool,
    worst: Verdict,
    /// The wait before this attempt.
    waited: Duration,
    step: Step<F>,
    /// What the parts know of the attempt under way, not of one beside it. Here and not with the attempt, so that one
    /// that ends at once is never put away.
    flight: Option<Flight>,
}

enum Step<F> {
    New,
    /// It waits for its turn under the rate limit.
    Turn(Sleep),
    /// It waits for a place in the bulkhead, until the deadline.
    Line(Wait, Option<Sleep>),
    Running(Running<F>),
    /// It waits for its next attempt, after that failure.
    Between(Sleep, Failure),
    Over,
}

impl Request {
    /// An attempt that nobody waits for any more.
    fn withdraw(&self, flight: &mut Flight) {
        flight.withdrawn(&self.live, &self.live.callees[self.at].1);
    }
}

/// An attempt that is under way, perhaps with a second one beside it.
struct Running<F> {
    attempt: F,
    beside: Beside<F>,
}

enum Beside<F> {
    Nothing,
    /// When there is to be one.
    Due(Sleep),
    Attempt(Box<(F, Flight)>),
}

/// Nothing in it is pinned: attempts are `Unpin`, what else must not move is in a box.
impl<A, M, F> Unpin for Engine<A, M, F> {}

/// What came of a step.
enum Moved<A: Aim> {
    /// The request waits, and what it waits for knows its waker.
    Waits,
    /// It waits for something that wasn't polled yet.
    Polls,
    Landed(Landed<A>),
}

/// How an attempt, and what is beside it, ended.
enum Landed<A: Aim> {
    Reply(A::Reply),
    Failed(Failure),
}

impl<A, M, F> Engine<A, M, F>
where
    A: Aim<Message = M, Attempt = F>,
    F: Future<Output = Result<A::Reply, A::Error>> + Unpin,
{
    #[inline]
    pub(super) fn new(aim: A, request: Request, message: M, copy: fn(&M) -> M, keep: bool) -> Self {
        Engine {
            aim,
            request,
            message: Some(message),
            copy,
            keep,
            attempts: 0,
            has_failed: false,
            worst: Verdict::NotSent,
            waited: Duration::ZERO,
            step: Step::New,
            flight: None,
        }
    }

    #[inline]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<A::Reply, A::Error>> {
        let mut moved = match self.step {
            Step::New => {
                let now = self.begin();
                self.enter(now, cx)
            }
            _ => Ok(Moved::Polls),
        };
        loop {
            moved = match moved {
                Ok(Moved::Landed(Landed::Reply(reply))) => {
                    if self.has_failed {
                        self.count_recovered();
                    }
                    return Poll::Ready(Ok(reply));
                }
                Ok(Moved::Landed(Landed::Failed(failure))) => self.failed(failure),
                Ok(Moved::Waits) => return Poll::Pending,
                Ok(Moved::Polls) => match self.step {
                    Step::Running(_) => match self.poll_running(cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(landed) => Ok(Moved::Landed(landed)),
                    },
                    Step::Over | Step::New => return Poll::Pending,
                    _ => match self.poll_waiting(cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(moved) => moved,
                    },
                },
                Err(failure) => return Poll::Ready(self.give_up(failure)),
            };
        }
    }

    /// The request begins.
    #[inline]
    fn begin(&mut self) -> Instant {
        let clock = self.aim.system().clock();
        let settings = &self.request.live.settings;
        // A clock that is exact costs as much as the rest, so it is read only where something depends on it.
        let exact = settings.deadline.is_some()
            || settings.attempt.limit.is_some()
            || settings.attempt.share.is_some()
            || settings.rate.is_some()
            || settings.measures();
        let now = if exact {
            clock.now()
        } else {
            clock.coarse_now()
        };
        self.request.deadline = self.deadline_from(now);
        let callee = self.callee();
        callee.used(now);
        callee.ledger.request(now);
        count(&callee.counters.requests);
        now
    }

    /// When a request that begins now is given up.
    #[inline]
    fn deadline_from(&self, now: Instant) -> Option<Instant> {
        let own = self.request.live.settings.deadline.map(|own| now + own);
        own.into_iter().chain(self.request.deadline).min()
    }

    /// When this request is given up, if it begins now.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline_from(self.clock().now())
    }

    /// An attempt begins: 4 and 5 of the table.
    #[inline]
    fn enter(&mut self, now: Instant, cx: &mut Context<'_>) -> Result<Moved<A>, Failure> {
        let live = &self.request.live;
        let callee = &*live.callees[self.request.at].1;
        if let Some(breaker) = &live.settings.breaker
            && let Err(refused) = callee.breaker.look(now, breaker)
            && self.breaker_acts(now)
        {
            return Err(self.refuse(Gate::Breaker, Some(refused.retry_after)));
        }
        if let Some(rate) = &live.settings.rate {
            let left = self.request.deadline.map(|deadline| deadline.since(now));
            let longest = left.unwrap_or(Duration::MAX);
            match live.reserve_turn(callee, now, rate, longest) {
                Ok(Duration::ZERO) => {}
                Ok(wait) => {
                    let clock = self.clock();
                    self.step = Step::Turn(clock.sleep_until(now + wait));
                    return Ok(Moved::Polls);
                }
                Err(wait) => return Err(self.refuse(Gate::Rate, Some(wait))),
            }
        }
        self.line_up(now, cx)
    }

    /// 6 of the table.
    #[inline]
    fn line_up(&mut self, now: Instant, cx: &mut Context<'_>) -> Result<Moved<A>, Failure> {
        let live = &self.request.live;
        let Some(bulkhead) = &live.settings.bulkhead else {
            return self.launch(now, None, cx);
        };
        match live.enter_bulkhead(self.callee(), bulkhead) {
            Entry::In(permit) => self.launch(now, Some(permit), cx),
            Entry::Line(wait) => {
                let clock = self.clock();
                let until = self.request.deadline.map(|due| clock.sleep_until(due));
                self.step = Step::Line(wait, until);
                Ok(Moved::Polls)
            }
            Entry::Full => Err(self.refuse(Gate::Bulkhead, None)),
        }
    }

    /// 7 to 10 of the table: the attempt goes. Polled before it is put away: most of those on one thread end at once.
    #[inline]
    fn launch(
        &mut self,
        now: Instant,
        permit: Option<Permit>,
        cx: &mut Context<'_>,
    ) -> Result<Moved<A>, Failure> {
        let (message, flight) = self.clear(now, permit)?;
        let mut attempt = self.send(message, flight.limit);
        self.flight = Some(flight);
        if let Poll::Ready(ended) = Pin::new(&mut attempt).poll(cx) {
            self.step = Step::Over;
            let flight = self.flight.take();
            return Ok(Moved::Landed(self.landed(flight, ended)));
        }
        let Some(after) = self.hedge_after() else {
            self.step = Step::Running(Running {
                attempt,
                beside: Beside::Nothing,
            });
            return Ok(Moved::Waits);
        };
        self.step = Step::Running(Running {
            attempt,
            beside: Beside::Due(self.clock().sleep_until(now + after)),
        });
        Ok(match self.poll_beside(cx) {
            Poll::Pending => Moved::Waits,
            Poll::Ready(landed) => Moved::Landed(landed),
        })
    }

    /// Whether an attempt may go, 7 and 8 of the table, and the message for it.
    #[inline]
    fn clear(&mut self, now: Instant, permit: Option<Permit>) -> Result<(M, Flight), Failure> {
        let live = &self.request.live;
        let callee = &*live.callees[self.request.at].1;
        let settings = &live.settings;
        if let (Some(shed), Some(deadline)) = (&settings.shed, self.request.deadline)
            && let Some(usual) = callee.latency.percentile(shed.percentile, shed.min_samples)
            && deadline.since(now) < usual
            && !callee.is_measured_again(now)
        {
            return Err(self.refuse(Gate::Shed, None));
        }
        // Before the breaker, which counts who tries a callee again: copying is code of users, and may panic.
        let Some(message) = self.next_message() else {
            // Only an attempt that no other follows takes it.
            return Err(Failure::new(FailureKind::Withdrawn, Verdict::NotSent));
        };
        let live = &self.request.live;
        let callee = &*live.callees[self.request.at].1;
        let settings = &live.settings;
        let mut pass = None;
        if let Some(breaker) = &settings.breaker {
            match callee.breaker.enter(now, breaker) {
                Ok(entered) => pass = Some(entered),
                Err(refused) if self.breaker_acts(now) => {
                    let refusal = self.refuse(Gate::Breaker, Some(refused.retry_after));
                    self.message.get_or_insert(message);
                    return Err(refusal);
                }
                Err(_) => {}
            }
        }
        let flight = Flight {
            pass,
            _permit: permit,
            began: settings.measures().then_some(now),
            limit: self.limit(now),
        };
        Ok((message, flight))
    }

    /// An attempt with that limit, not yet polled.
    #[inline]
    fn send(&mut self, message: M, limit: Option<Instant>) -> F {
        let terms = Terms {
            number: self.attempts + 1,
            deadline: limit,
            retried: self.most_attempts() > 1,
        };
        self.attempts += 1;
        self.aim.attempt(message, terms)
    }

    /// The message for an attempt: a copy, if another may follow or the caller wants it back.
    #[inline]
    fn next_message(&mut self) -> Option<M> {
        if !self.keep && (self.most_attempts() == 1 || self.request.caller_retries) {
            return self.message.take();
        }
        self.message.as_ref().map(self.copy)
    }

    /// How many attempts there can be, hedges included.
    #[inline]
    fn most_attempts(&self) -> u32 {
        let settings = &self.request.live.settings;
        let attempts = settings.retry.as_ref().map_or(1, |retry| retry.attempts);
        if settings.hedge.is_some() && self.request.repeatable {
            attempts.max(2)
        } else {
            attempts
        }
    }

    /// When an attempt that begins now is given up.
    #[inline]
    fn limit(&self, now: Instant) -> Option<Instant> {
        let attempt = &self.request.live.settings.attempt;
        let deadline = self.request.deadline;
        if attempt.limit.is_none() && attempt.share.is_none() && attempt.adaptive.is_none() {
            return deadline;
        }
        let own = attempt.limit.map(|span| now + span);
        // What is left after the last attempt is of no use to anybody.
        let share = attempt
            .share
            .filter(|_| self.attempts + 1 < self.most_attempts() && !self.request.caller_retries);
        let share = share
            .zip(deadline)
            .map(|(share, deadline)| now + deadline.since(now).mul_f64(share));
        let adaptive = attempt.adaptive.as_ref();
        let adaptive = adaptive.filter(|adaptive| adaptive.mode == AdaptiveMode::Follow);
        let adaptive = adaptive.map(|adaptive| {
            let limit = self.callee().latency.limit(adaptive);
            now + limit.unwrap_or(adaptive.ceiling)
        });
        let limits = [deadline, own, share, adaptive];
        limits.into_iter().flatten().min()
    }

    /// After which time there is to be a second attempt beside this one.
    #[inline]
    fn hedge_after(&self) -> Option<Duration> {
        let hedge = self.request.live.settings.hedge.as_ref()?;
        let may = self.request.repeatable
            && !self.request.caller_retries
            && self.attempts < self.most_attempts();
        if !may {
            return None;
        }
        let latency = &self.callee().latency;
        let after = latency.percentile(hedge.percentile, hedge.min_samples)?;
        Some(after.max(hedge.at_least))
    }

    #[inline]
    fn poll_running(&mut self, cx: &mut Context<'_>) -> Poll<Landed<A>> {
        let Step::Running(running) = &mut self.step else {
            return Poll::Pending;
        };
        if let Poll::Ready(ended) = Pin::new(&mut running.attempt).poll(cx) {
            let beside = std::mem::replace(&mut running.beside, Beside::Nothing);
            self.step = Step::Over;
            let flight = self.flight.take();
            let landed = self.landed(flight, ended);
            return match (landed, beside) {
                (Landed::Failed(failure), Beside::Attempt(other)) => {
                    self.go_on_with(*other, &failure);
                    // It has not been polled with this waker, perhaps.
                    self.poll_running(cx)
                }
                (landed, Beside::Attempt(mut other)) => {
                    self.request.withdraw(&mut other.1);
                    Poll::Ready(landed)
                }
                (landed, _) => Poll::Ready(landed),
            };
        }
        if let Beside::Nothing = running.beside {
            return Poll::Pending;
        }
        self.poll_beside(cx)
    }

    /// The second attempt beside the first.
    fn poll_beside(&mut self, cx: &mut Context<'_>) -> Poll<Landed<A>> {
        loop {
            let Step::Running(running) = &mut self.step else {
                return Poll::Pending;
            };
            match &mut running.beside {
                Beside::Nothing => return Poll::Pending,
                Beside::Due(due) => {
                    if Pin::new(due).poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    running.beside = Beside::Nothing;
                    self.hedge();
                }
                Beside::Attempt(other) => {
                    let Poll::Ready(ended) = Pin::new(&mut other.0).poll(cx) else {
                        return Poll::Pending;
                    };
                    let Beside::Attempt(other) =
                        std::mem::replace(&mut running.beside, Beside::Nothing)
                    else {
                        return Poll::Pending;
                    };
                    let landed = self.landed(Some(other.1), ended);
                    if let Landed::Failed(failure) = &landed {
                        // The first one is still under way.
                        self.worst = self.worst.max(failure.verdict());
                        return Poll::Pending;
                    }
                    if let Some(mut first) = self.flight.take() {
                        self.request.withdraw(&mut first);
                    }
                    self.step = Step::Over;
                    count(&self.callee().counters.hedges_won);
                    return Poll::Ready(landed);
                }
            }
        }
    }

    /// Begins a second attempt beside the first, if everything allows it at once.
    #[cold]
    fn hedge(&mut self) {
        let now = self.clock().now();
        if !self.is_in_time(now) || !self.pay(now) {
            return;
        }
        let live = Arc::clone(&self.request.live);
        let callee = self.callee();
        if let Some(rate) = &live.settings.rate
            && live
                .reserve_turn(callee, now, rate, Duration::ZERO)
                .is_err()
        {
            return;
        }
        let permit = match &live.settings.bulkhead {
            None => None,
            Some(bulkhead) => match live.enter_bulkhead(callee, bulkhead) {
                Entry::In(permit) => Some(permit),
                Entry::Line(_) | Entry::Full => return,
            },
        };
        let Ok((message, flight)) = self.clear(now, permit) else {
            return;
        };
        let second = self.send(message, flight.limit);
        count(&self.callee().counters.hedges);
        if let Step::Running(running) = &mut self.step {
            running.beside = Beside::Attempt(Box::new((second, flight)));
        }
    }

    /// The first of two has failed.
    fn go_on_with(&mut self, (attempt, flight): (F, Flight), failure: &Failure) {
        self.worst = self.worst.max(failure.verdict());
        self.flight = Some(flight);
        self.step = Step::Running(Running {
            attempt,
            beside: Beside::Nothing,
        });
    }

    /// An attempt has ended: what is learnt from it.
    #[inline]
    fn landed(
        &mut self,
        mut flight: Option<Flight>,
        ended: Result<A::Reply, A::Error>,
    ) -> Landed<A> {
        let live = &*self.request.live;
        let callee = &*live.callees[self.request.at].1;
        let clock = self.aim.system().clock();
        match ended {
            Ok(reply) => {
                if let Some(flight) = &mut flight {
                    flight.answered(live, callee, clock);
                }
                Landed::Reply(reply)
            }
            Err(error) => {
                let (failure, message) = A::parts(error);
                if let Some(flight) = &mut flight {
                    flight.failed(live, callee, clock, &failure);
                }
                self.has_failed = true;
                if self.message.is_none() {
                    self.message = message;
                }
                Landed::Failed(failure)
            }
        }
    }

    /// Waits for a turn, a place or the next attempt.
    #[cold]
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Result<Moved<A>, Failure>> {
        let permit = match &mut self.step {
            Step::Turn(turn) => match Pin::new(turn).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => None,
            },
            Step::Line(wait, until) => match Pin::new(wait).poll(cx) {
                Poll::Ready(permit) => Some(permit),
                Poll::Pending => {
                    let late = until
                        .as_mut()
                        .is_some_and(|until| Pin::new(until).poll(cx).is_ready());
                    if !late {
                        return Poll::Pending;
                    }
                    count(&self.callee().counters.crowded);
                    return Poll::Ready(Err(self.too_late("waiting for a place")));
                }
            },
            Step::Between(between, before) => match Pin::new(between).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => {
                    let before = before.clone();
                    let now = self.clock().now();
                    // A thread that was held up may wake past the deadline: then no attempt follows (G17).
                    if !self.is_in_time(now) {
                        count(&self.callee().counters.out_of_time);
                        return Poll::Ready(Err(before));
                    }
                    count(&self.callee().counters.retries);
                    return Poll::Ready(self.enter(now, cx));
                }
            },
            Step::New | Step::Running(_) | Step::Over => return Poll::Pending,
        };
        let now = self.clock().now();
        if !self.is_in_time(now) {
            return Poll::Ready(Err(self.too_late("waiting for its turn")));
        }
        Poll::Ready(match permit {
            Some(permit) => self.launch(now, Some(permit), cx),
            None => self.line_up(now, cx),
        })
    }

    /// An attempt has failed: another one later, or the end.
    #[cold]
    fn failed(&mut self, failure: Failure) -> Result<Moved<A>, Failure> {
        self.worst = self.worst.max(failure.verdict());
        let Some(wait) = self.next_wait(&failure) else {
            return Err(failure);
        };
        tracing::debug!(
            target: "callboard::policy",
            policy = %self.request.live.name, callee = %self.callee().label,
            attempt = self.attempts, %failure, ?wait, "trying again"
        );
        self.waited = wait;
        self.step = Step::Between(self.clock().sleep(wait), failure);
        Ok(Moved::Polls)
    }

    /// The deadline passed before an attempt could begin.
    #[cold]
    fn too_late(&self, what: &str) -> Failure {
        let callee = &self.callee().label;
        let policy = &self.request.live.name;
        Failure::new(FailureKind::DeadlineExceeded, Verdict::NotSent)
            .with_detail(format!("{callee}, {what} under policy `{policy}`"))
    }

    /// How long to wait before the next attempt; `None` if there is none.
    fn next_wait(&self, failure: &Failure) -> Option<Duration> {
        let live = Arc::clone(&self.request.live);
        let retry = live.settings.retry.as_ref()?;
        let counters = &self.callee().counters;
        if self.attempts >= retry.attempts || !may_retry(failure, self.request.repeatable) {
            return None;
        }
        if self.request.caller_retries {
            count(&counters.caller_retries);
            return None;
        }
        let now = self.clock().now();
        let asked_for = failure.retry_after().unwrap_or_default();
        let wait = self.draw(retry).saturating_add(asked_for);
        if !self.is_in_time(now + wait) {
            count(&counters.out_of_time);
            return None;
        }
        self.pay(now).then_some(wait)
    }

    /// A wait by the jitter that is set.
    fn draw(&self, retry: &RetrySettings) -> Duration {
        let entropy = self.aim.system().entropy();
        match retry.jitter {
            Jitter::Full => {
                entropy.jitter(backoff::ceiling(retry.base, retry.cap, self.attempts - 1))
            }
            Jitter::Decorrelated => {
                let most = self.waited.max(retry.base).saturating_mul(3);
                (retry.base + entropy.jitter(most - retry.base)).min(retry.cap)
            }
        }
    }

    /// Takes an attempt that is not the first out of the budget.
    fn pay(&self, now: Instant) -> bool {
        let live = &self.request.live;
        let budget = live.settings.retry.as_ref().map(|retry| &retry.budget);
        let default = super::settings::BudgetSettings::default();
        let paid = self.callee().ledger.take(now, budget.unwrap_or(&default));
        if !paid {
            count(&self.callee().counters.over_budget);
        }
        paid
    }

    /// The end without an answer.
    #[cold]
    fn give_up(&mut self, failure: Failure) -> Result<A::Reply, A::Error> {
        self.step = Step::Over;
        count(&self.callee().counters.failed);
        let failure = match self.attempts {
            0 => failure,
            attempts => summed_up(failure, self.worst, attempts),
        };
        Err(A::error(failure, self.message.take()))
    }

    #[cold]
    fn count_recovered(&self) {
        count(&self.callee().counters.recovered);
    }

    #[cold]
    fn refuse(&self, gate: Gate, retry_after: Option<Duration>) -> Failure {
        let callee = self.callee();
        let counter: &AtomicU64 = match gate {
            Gate::Breaker => &callee.counters.broken,
            Gate::Rate => &callee.counters.over_rate,
            Gate::Bulkhead => &callee.counters.crowded,
            Gate::Shed => &callee.counters.shed,
        };
        count(counter);
        refusal(&self.request.live.name, &callee.label, gate, retry_after)
    }

    /// Whether an open breaker may refuse: see [`BreakerMode::Auto`].
    #[cold]
    fn breaker_acts(&self, now: Instant) -> bool {
        let live = &self.request.live;
        let mode = live.settings.breaker.as_ref().map(|breaker| breaker.mode);
        mode == Some(BreakerMode::Always)
            || self.request.has_fallback
            || live.has_others(self.callee(), now)
    }

    fn is_in_time(&self, point: Instant) -> bool {
        self.request
            .deadline
            .is_none_or(|deadline| point < deadline)
    }

    #[inline]
    fn callee(&self) -> &Callee {
        &self.request.live.callees[self.request.at].1
    }

    fn clock(&self) -> Clock {
        self.aim.system().clock().clone()
    }
}

impl<A, M, F> Drop for Engine<A, M, F> {
    #[inline]
    fn drop(&mut self) {
        if let Some(mut flight) = self.flight.take() {
            self.request.withdraw(&mut flight);
        }
        if let Step::Running(running) = &mut self.step
            && let Beside::Attempt(other) = &mut running.beside
        {
            self.request.withdraw(&mut other.1);
        }
    }
}
