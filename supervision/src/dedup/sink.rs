//! The way back of an attempt: records its end and answers all that wait for it.

use std::sync::Arc;

use callboard_core::{Failure, FailureKind, Message, Outcome, ReplySink, Responder, Verdict};
use parking_lot::Mutex;

use super::shared::{Shared, Stored, finish, indeterminate, seen_of};
use super::store::Waiting;

pub(super) struct Sink<M: Message> {
    shared: Arc<Shared<M>>,
    place: usize,
    epoch: u64,
    began: bool,
    ended: bool,
}

impl<M: Message> Sink<M> {
    pub(super) fn new(shared: &Arc<Shared<M>>, place: usize, epoch: u64) -> Self {
        Sink {
            shared: Arc::clone(shared),
            place,
            epoch,
            began: false,
            ended: false,
        }
    }

    /// The attempt brought no outcome that is worth keeping: the first asker, and the rest, are told.
    fn broken_off(&mut self, failure: &Failure) {
        self.ended = true;
        let unknown = !failure.verdict().is_safe_to_resend() && !self.shared.replay_safe;
        let waiting = self.shared.break_off(self.place, self.epoch, failure);
        for (number, waiter) in waiting.into_iter().flat_map(|waiting| waiting.waiters) {
            waiter.fail(if unknown && number != self.epoch {
                indeterminate(&seen_of(failure))
            } else {
                failure.clone()
            });
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

/// Gives the outcome to all that wait. Whether somebody did.
pub(super) fn answer<R: Clone + Send + 'static>(
    waiting: Waiting<Responder<R>>,
    outcome: Outcome<R>,
) -> bool {
    let told = waiting.told;
    // Those that have gone are dropped untold: their ask has ended.
    let there =
        |(_, mut waiter): (u64, Responder<R>)| waiter.progress(Verdict::Executed).then_some(waiter);
    let mut waiters = waiting.waiters.into_iter().filter_map(there);
    let Some(mut last) = waiters.next() else {
        return told;
    };
    for next in waiters {
        finish(std::mem::replace(&mut last, next), outcome.clone());
    }
    finish(last, outcome);
    true
}

impl<M> ReplySink<M::Reply> for Sink<M>
where
    M: Message<Reply: Clone>,
{
    fn progress(&mut self, verdict: Verdict) -> bool {
        self.began |= verdict == Verdict::Executed;
        self.shared.progress(self.place, self.epoch, verdict)
    }

    fn finish(mut self: Box<Self>, outcome: Outcome<M::Reply>) {
        if let Err(failure) = &outcome
            && (failure.verdict().is_safe_to_resend() || leaves_open(failure))
        {
            self.broken_off(failure);
            return;
        }
        let shared = Arc::clone(&self.shared);
        let (place, epoch) = (self.place, self.epoch);
        if let Some(durable) = &shared.durable {
            let encoded = durable.encode(&outcome);
            self.ended = true;
            shared.store_end(durable, place, epoch, outcome, encoded);
            return;
        }
        let bytes = shared.weigh(&outcome);
        let stored = Arc::new(Mutex::new(Stored::Outcome(outcome.clone())));
        // From here on no code of users runs before the entry has ended.
        self.ended = true;
        let ended = shared.end(place, epoch, bytes, &stored);
        let Some(waiting) = ended.waiting else {
            return;
        };
        if !ended.fits {
            *stored.lock() = Stored::TooLarge;
        }
        let answered = outcome.is_ok();
        if !answer(waiting, outcome) && answered {
            shared.count_late();
        }
    }

    fn on_withdraw(&mut self, withdraw: Box<dyn FnOnce() + Send>) {
        self.shared.on_withdraw(self.place, self.epoch, withdraw);
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
