//! Offers to queues of this process.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::{OfferError, OfferTerms, Offered};
use crate::boundary::Verdict;
use crate::clock::{Instant, Sleep};
use crate::error::{Failure, FailureKind};
use crate::queue::engine::Extra;
use crate::queue::line::WaiterId;
use crate::queue::local::{Local, OfferStep, Offerer, stopped};

/// What a queue needs to know of an item that is offered: times fixed, and encoded if it is to be stored.
#[derive(Default)]
pub(in crate::queue) struct About {
    pub(in crate::queue) due: Option<Instant>,
    pub(in crate::queue) extra: Option<Box<Extra>>,
    pub(in crate::queue) stored: Option<Box<Encoded>>,
}

pub(in crate::queue) struct Encoded {
    pub(in crate::queue) head: Vec<u8>,
    pub(in crate::queue) body: Vec<u8>,
}

/// An item that waits for room.
pub(in crate::queue) struct Prepared<T> {
    pub(in crate::queue) item: T,
    pub(in crate::queue) about: About,
}

impl<T: Send + 'static> Local<T> {
    /// Whether there is nothing to know of an item whose offer says nothing.
    pub(super) fn is_plain(&self) -> bool {
        self.durable.is_none() && self.settings.time_to_live.is_none()
    }

    pub(super) fn prepare(
        &self,
        item: &T,
        terms: Option<Box<OfferTerms>>,
    ) -> Result<About, Failure> {
        if terms.is_none() && self.durable.is_none() && self.settings.time_to_live.is_none() {
            return Ok(About::default());
        }
        let terms = terms.unwrap_or_default();
        let time_to_live = terms.time_to_live.or(self.settings.time_to_live);
        let now = self.clock.now();
        let due = (!terms.delay.is_zero()).then(|| now + terms.delay);
        let plain = terms.key.is_none()
            && terms.group.is_none()
            && terms.priority == 0
            && time_to_live.is_none()
            && terms.reply_to.is_none();
        let mut extra = (!plain).then(|| {
            Box::new(Extra {
                group: terms.group,
                priority: terms.priority.min(self.settings.priorities - 1),
                key: terms.key,
                reply_to: terms.reply_to,
                expires: time_to_live.map(|span| now + span),
                ..Extra::default()
            })
        });
        let mut stored = None;
        if let Some(durable) = &self.durable {
            let encoded = durable.encode(self, item, due, extra.as_deref_mut())?;
            stored = Some(Box::new(encoded));
        } else if let (Some(print), Some(extra)) = (self.print, extra.as_deref_mut())
            && extra.key.is_some()
        {
            extra.print = Some(print(item));
        }
        Ok(About { due, extra, stored })
    }
}

pub(in crate::queue) struct LocalOffer<T: Send + 'static> {
    local: Arc<Local<T>>,
    /// Until it is stored, or waits.
    item: Option<T>,
    terms: Option<Box<OfferTerms>>,
    stage: Stage,
    deadline: Option<Duration>,
    sleep: Option<Sleep>,
}

#[derive(Clone, Copy)]
enum Stage {
    New,
    Waiting(WaiterId),
    Done,
}

impl<T: Send + 'static> LocalOffer<T> {
    pub(super) fn new(
        local: Arc<Local<T>>,
        item: T,
        terms: Option<Box<OfferTerms>>,
        deadline: Option<Duration>,
    ) -> Self {
        LocalOffer {
            local,
            item: Some(item),
            terms,
            stage: Stage::New,
            deadline,
            sleep: None,
        }
    }

    /// One that waits already.
    pub(super) fn waiting(local: Arc<Local<T>>, id: WaiterId) -> Self {
        LocalOffer {
            local,
            item: None,
            terms: None,
            stage: Stage::Waiting(id),
            deadline: None,
            sleep: None,
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Offered, OfferError<T>>> {
        match self.stage {
            Stage::New => {
                self.stage = Stage::Done;
                if let Some(stored) = self.store_plain() {
                    return Poll::Ready(Ok(stored));
                }
                match self.begin(cx) {
                    Some(done) => Poll::Ready(done),
                    None => self.look(cx),
                }
            }
            Stage::Waiting(_) => self.look(cx),
            Stage::Done => Poll::Pending,
        }
    }

    /// The short way, for a queue in memory that has room and an offer that says nothing.
    fn store_plain(&mut self) -> Option<Offered> {
        let local = &*self.local;
        if self.terms.is_some() || !local.is_plain() {
            return None;
        }
        let item = &mut self.item;
        local.with(|inside, afterwards, now| {
            let stored = inside.offer_plain(item, now)?;
            inside.settle(local, afterwards, now);
            Some(stored)
        })
    }

    /// The first try. `None` if it waits.
    fn begin(&mut self, cx: &mut Context<'_>) -> Option<Result<Offered, OfferError<T>>> {
        let local = &*self.local;
        let prepared = match &self.item {
            Some(item) => local.prepare(item, self.terms.take()),
            None => Err(stopped(&local.name)),
        };
        let mut about = match prepared {
            Ok(about) => about,
            Err(failure) => {
                let item = self.item.take();
                return Some(Err(OfferError { failure, item }));
            }
        };
        let item = &mut self.item;
        let no_wait = self.deadline == Some(Duration::ZERO);
        let begun = local.with(|inside, afterwards, now| {
            match inside.offer(local, item, &mut about, afterwards, now) {
                OfferStep::Stored(offered) => {
                    inside.settle(local, afterwards, now);
                    Err(Ok(offered))
                }
                OfferStep::Storing(offered, ticket) => {
                    Ok(inside.wait_for_sync(offered, ticket, item.take(), cx.waker()))
                }
                OfferStep::NoRoom if no_wait => Err(Err(full(&local.name))),
                OfferStep::NoRoom => inside
                    .wait_for_room(item, &mut about, cx.waker(), &local.name)
                    .map_err(Err),
                OfferStep::Refused(failure) => Err(Err(failure)),
            }
        });
        match begun {
            Ok(id) => {
                self.stage = Stage::Waiting(id);
                self.sleep = self.deadline.map(|span| self.local.clock.sleep(span));
                None
            }
            Err(Ok(offered)) => Some(Ok(offered)),
            Err(Err(failure)) => {
                let item = self.item.take();
                Some(Err(OfferError { failure, item }))
            }
        }
    }

    /// Looks what lies in its place.
    fn look(&mut self, cx: &mut Context<'_>) -> Poll<Result<Offered, OfferError<T>>> {
        let Stage::Waiting(id) = self.stage else {
            return Poll::Pending;
        };
        let late = match &mut self.sleep {
            Some(sleep) => Pin::new(sleep).poll(cx).is_ready(),
            None => false,
        };
        let found = self.local.with(|inside, afterwards, _| {
            let is_over = match inside.offerers.get_mut(id) {
                Some(Offerer::Done(..)) | None => true,
                // On its way to the disk: how that ends must be known.
                Some(Offerer::Syncing(..)) => false,
                Some(Offerer::Waiting(_)) => late,
            };
            let (found, idle) = if is_over {
                let (found, idle) = inside.offerers.remove(id);
                (Some(found), idle)
            } else {
                (None, inside.offerers.set_waker(id, cx.waker()))
            };
            afterwards.drop_waker(idle);
            found
        });
        let Some(found) = found else {
            return Poll::Pending;
        };
        self.stage = Stage::Done;
        Poll::Ready(match found {
            Some(Offerer::Done(Ok(offered), _)) => Ok(offered),
            Some(Offerer::Done(Err(failure), item)) => Err(OfferError { failure, item }),
            Some(Offerer::Waiting(prepared)) => Err(OfferError {
                failure: Failure::new(FailureKind::DeadlineExceeded, Verdict::NotExecuted)
                    .with_detail(format!("no room in queue {}", self.local.name)),
                item: Some(prepared.item),
            }),
            // The place can't be gone while its owner is here.
            Some(Offerer::Syncing(..)) | None => Err(OfferError {
                failure: stopped(&self.local.name),
                item: None,
            }),
        })
    }
}

impl<T: Send + 'static> Drop for LocalOffer<T> {
    fn drop(&mut self) {
        if let Stage::Waiting(id) = self.stage {
            // What lies there is dropped outside the lock.
            let left = self.local.with(|inside, _, _| inside.offerers.remove(id));
            drop(left);
        }
    }
}

pub(super) fn full(name: &str) -> Failure {
    Failure::new(FailureKind::Full, Verdict::NotExecuted).with_detail(format!("queue {name}"))
}
