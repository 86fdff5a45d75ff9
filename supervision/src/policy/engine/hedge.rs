//! A second attempt beside a slow one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use callboard_core::Failure;

use super::super::aim::Aim;
use super::super::bulkhead::Entry;
use super::super::stats::count;
use super::flight::Flight;
use super::{Beside, Engine, Landed, Running, Step};

impl<A, M, F> Engine<A, M, F>
where
    A: Aim<Message = M, Attempt = F>,
    F: Future<Output = Result<A::Reply, A::Error>> + Unpin,
{
    /// After which time there is to be a second attempt beside this one.
    #[inline]
    pub(super) fn hedge_after(&self) -> Option<Duration> {
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

    /// The second attempt beside the first.
    pub(super) fn poll_beside(&mut self, cx: &mut Context<'_>) -> Poll<Landed<A>> {
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
    pub(super) fn go_on_with(&mut self, (attempt, flight): (F, Flight), failure: &Failure) {
        self.worst = self.worst.max(failure.verdict());
        self.flight = Some(flight);
        self.step = Step::Running(Running {
            attempt,
            beside: Beside::Nothing,
        });
    }
}
