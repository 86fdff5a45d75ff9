//! How leases of a queue of this process end.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use super::Sequence;
use super::delivery::{SettleError, Settlement};
use super::engine::NotHeld;
use super::line::WaiterId;
use super::local::{Afterwards, Inside, Local, Mark, Taken, storage_failure};
use super::slab::Place;
use crate::boundary::Verdict;
use crate::clock::Instant;
use crate::error::Failure;
use crate::journal::Ticket;

impl<T: Send + 'static> Local<T> {
    /// Ends a lease, or makes it longer. Answers from when on that survives the process, too.
    pub(super) fn settle_one(
        &self,
        place: Place,
        token: u64,
        sequence: Sequence,
        settlement: Settlement,
    ) -> (Ticket, Result<(), SettleError>) {
        self.with(|inside, afterwards, now| {
            let settled = inside.end_lease(self, place, token, settlement, afterwards, now);
            inside.settle(self, afterwards, now);
            match settled {
                Ok(ticket) => (ticket, Ok(())),
                Err(error) => (
                    Ticket::default(),
                    Err(self.settle_error(error, sequence, token)),
                ),
            }
        })
    }

    /// The same for several, under one lock.
    pub(super) fn settle_all(
        &self,
        settlements: impl Iterator<Item = (Place, u64, Sequence, Settlement)>,
    ) -> (Ticket, Vec<Result<(), SettleError>>) {
        self.with(|inside, afterwards, now| {
            let mut last = Ticket::default();
            let settled = settlements.map(|(place, token, sequence, settlement)| {
                let ticket = inside
                    .end_lease(self, place, token, settlement, afterwards, now)
                    .map_err(|error| self.settle_error(error, sequence, token))?;
                last = last.max(ticket);
                Ok(())
            });
            let results = settled.collect();
            inside.settle(self, afterwards, now);
            (last, results)
        })
    }

    fn settle_error(&self, error: EndError, sequence: Sequence, token: u64) -> SettleError {
        match error {
            EndError::NotHeld => SettleError::Stale {
                queue: Arc::clone(&self.name),
                sequence,
                token,
            },
            EndError::Failed(failure) => SettleError::Failed(failure),
        }
    }

    /// Completes when what was appended under that ticket survives the end of the process.
    pub(super) async fn written(&self, ticket: Ticket) -> Result<(), Failure> {
        let Some(durable) = self.durable.as_ref().filter(|_| ticket > Ticket::default()) else {
            return Ok(());
        };
        let mut mark = WaitForWrite {
            local: self,
            id: None,
        };
        poll_fn(|cx| {
            self.with(|inside, afterwards, _| {
                let Some(id) = mark.id else {
                    let progress = durable.progress();
                    if progress.written >= ticket {
                        return Poll::Ready(Ok(()));
                    }
                    if let Some(error) = progress.failed {
                        return Poll::Ready(Err(storage_failure(&error, Verdict::MaybeExecuted)));
                    }
                    mark.id = Some(inside.wait_for_write(ticket, cx.waker()));
                    return Poll::Pending;
                };
                match inside.marks.get_mut(id) {
                    Some(Mark::Done(done)) => Poll::Ready(done.clone()),
                    _ => {
                        let idle = inside.marks.set_waker(id, cx.waker());
                        afterwards.drop_waker(idle);
                        Poll::Pending
                    }
                }
            })
        })
        .await
    }

    /// An item that can't be read is kept, and never handed out again: until somebody looks at it.
    pub(super) fn set_aside(&self, taken: &Taken<()>, why: &str) {
        tracing::warn!(queue = %self.name, sequence = taken.sequence, why, "item set aside");
        self.with(|inside, _, now| {
            if inside
                .engine
                .set_aside(taken.place, taken.token, now)
                .is_ok()
                && let Some(item) = inside.engine.items.get_mut(taken.place)
            {
                item.extra.get_or_insert_default().aside = Some(why.into());
            }
        });
    }
}

/// Gives the place back of who doesn't wait any more.
struct WaitForWrite<'a, T: Send + 'static> {
    local: &'a Local<T>,
    id: Option<WaiterId>,
}

impl<T: Send + 'static> Drop for WaitForWrite<'_, T> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let left = self.local.with(|inside, _, _| inside.marks.remove(id));
            drop(left);
        }
    }
}

enum EndError {
    NotHeld,
    Failed(Failure),
}

impl From<NotHeld> for EndError {
    fn from(_: NotHeld) -> Self {
        EndError::NotHeld
    }
}

impl<T: Send + 'static> Inside<T> {
    fn end_lease(
        &mut self,
        local: &Local<T>,
        place: Place,
        token: u64,
        settlement: Settlement,
        afterwards: &mut Afterwards<T>,
        now: Instant,
    ) -> Result<Ticket, EndError> {
        if settlement == Settlement::Ack
            && local.durable.is_none()
            && let Some(payload) = self.engine.ack_plain(place, token)
        {
            self.rates.count_settled(now);
            afterwards.discard(Some(payload));
            return Ok(Ticket::default());
        }
        self.engine.held(place, token)?;
        if let Some(ended) = &self.ended {
            return Err(EndError::Failed(ended.clone()));
        }
        match settlement {
            Settlement::Ack => {
                let item = self.engine.ack(place, token, now)?;
                let acked = self.acked(local, item, afterwards, now);
                acked.map_err(|error| {
                    EndError::Failed(storage_failure(&error, Verdict::MaybeExecuted))
                })
            }
            Settlement::Release(delay) => {
                self.engine.release(place, token, delay, now)?;
                Ok(Ticket::default())
            }
            Settlement::Reject(reason) => {
                self.engine
                    .fail(place, token, &reason, now, &local.entropy)?;
                if self.engine.gone.is_empty() {
                    Ok(self.note_failure(local, place))
                } else {
                    self.bury_now(local, afterwards)
                }
            }
            Settlement::Bury(reason) => {
                self.engine.bury(place, token, &reason, now)?;
                self.bury_now(local, afterwards)
            }
            Settlement::Extend(span) => {
                self.engine.extend(place, token, span, now)?;
                Ok(Ticket::default())
            }
        }
    }

    /// An item goes to the dead. It is answered when that survives the process, as an acknowledgement is (G25).
    fn bury_now(
        &mut self,
        local: &Local<T>,
        afterwards: &mut Afterwards<T>,
    ) -> Result<Ticket, EndError> {
        let filed = self.try_file_gone(local, afterwards);
        filed.map_err(|error| EndError::Failed(storage_failure(&error, Verdict::MaybeExecuted)))
    }

    /// Failures are counted over the end of the process, too. Not those of the dead: the note of theirs says how
    /// they died.
    pub(super) fn note_failure(&self, local: &Local<T>, place: Place) -> Ticket {
        let (Some(durable), Some(_), Some(item)) =
            (&local.durable, &local.dead, self.engine.items.get(place))
        else {
            return Ticket::default();
        };
        // Not worth an error of its own: the next one counts again.
        durable.note(local, item, None).unwrap_or_default()
    }
}
