//! Offers of several items at once.

use std::collections::VecDeque;
use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use futures::future::BoxFuture;

use super::local::{About, LocalOffer, full};
use super::{OfferError, OfferTerms, Offered, Offering, Way};
use crate::boundary::Verdict;
use crate::clock::Instant;
use crate::error::Failure;
use crate::journal::Ticket;
use crate::queue::durable::Durable;
use crate::queue::local::{Local, OfferStep};
use crate::queue::{Inner, Queue};

/// Items of which not all could be offered.
pub struct OfferManyError<T> {
    /// Why the first that was not stored wasn't, and what is known about it.
    pub failure: Failure,
    /// What became of those before it.
    pub offered: Vec<Offered>,
    /// That one and those behind it, as far as they come back.
    pub rest: Vec<T>,
}

impl<T> fmt::Debug for OfferManyError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfferManyError")
            .field("failure", &self.failure)
            .field("offered", &self.offered.len())
            .field("rest", &self.rest.len())
            .finish()
    }
}

impl<T> fmt::Display for OfferManyError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (offered, all) = (self.offered.len(), self.offered.len() + self.rest.len());
        write!(f, "{offered} of {all} were stored: {}", self.failure)
    }
}

impl<T> std::error::Error for OfferManyError<T> {}

/// So that `?` passes on why, where nobody wants the items back.
impl<T> From<OfferManyError<T>> for Failure {
    fn from(error: OfferManyError<T>) -> Failure {
        error.failure
    }
}

/// Items to be stored, in this order. Awaited, it answers for each where it stands.
///
/// Nobody else's items come between those for which there is room at once. The others follow when there is.
///
/// # Errors
/// [`OfferManyError`] with those that were not stored.
///
/// # Cancel safety
/// As for [`Offer`](super::Offer): what was stored by then stays.
#[must_use = "nothing is offered until it is awaited"]
pub struct OfferMany<T: Send + 'static> {
    queue: Queue<T>,
    items: Vec<T>,
    deadline: Option<Duration>,
    group: Option<Arc<str>>,
}

impl<T: Send + 'static> OfferMany<T> {
    pub(in crate::queue) fn new(queue: Queue<T>, items: Vec<T>) -> Self {
        OfferMany {
            queue,
            items,
            deadline: None,
            group: None,
        }
    }

    /// Gives up on the rest after `span`; zero stores what there is room for. Without it the offer waits as long
    /// as the caller lives.
    pub fn deadline(mut self, span: Duration) -> Self {
        self.deadline = Some(span);
        self
    }

    /// The group of all of them: see [`Offer::group`](super::Offer::group).
    pub fn group(mut self, group: impl Into<Arc<str>>) -> Self {
        self.group = Some(group.into());
        self
    }
}

impl<T: Send + 'static> fmt::Debug for OfferMany<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfferMany")
            .field("queue", &self.queue.name())
            .field("items", &self.items.len())
            .finish_non_exhaustive()
    }
}

impl<T: Send + 'static> IntoFuture for OfferMany<T> {
    type Output = Result<Vec<Offered>, OfferManyError<T>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let OfferMany {
            queue,
            items,
            deadline,
            group,
        } = self;
        match queue.inner {
            Inner::Local { local, .. } => {
                let offered = Vec::with_capacity(items.len());
                let batch = Batch {
                    local,
                    items: items.into(),
                    group,
                    offered,
                    ticket: None,
                };
                Box::pin(batch.offer(deadline))
            }
            Inner::Routed(route) => route.offer_many(items, group, deadline),
        }
    }
}

struct Batch<T: Send + 'static> {
    local: Arc<Local<T>>,
    /// Those that are not yet stored.
    items: VecDeque<T>,
    group: Option<Arc<str>>,
    offered: Vec<Offered>,
    /// The last that the disk is to be waited for.
    ticket: Option<(Offered, Ticket)>,
}

impl<T: Send + 'static> Batch<T> {
    async fn offer(
        mut self,
        deadline: Option<Duration>,
    ) -> Result<Vec<Offered>, OfferManyError<T>> {
        let clock = self.local.clock.clone();
        let due = deadline.map_or(Instant::FAR, |span| clock.now() + span);
        loop {
            if let Some(failure) = self.store_what_fits() {
                return self.end(Some(failure)).await;
            }
            if deadline == Some(Duration::ZERO) && !self.items.is_empty() {
                let failure = full(&self.local.name);
                return self.end(Some(failure)).await;
            }
            // The next one waits in line, as it would alone.
            let Some(item) = self.items.pop_front() else {
                return self.end(None).await;
            };
            let left = deadline.map(|_| due.since(clock.now()));
            let terms = self.terms();
            let next = LocalOffer::new(Arc::clone(&self.local), item, terms, left);
            match Offering(Way::Local(next)).await {
                Ok(offered) => self.offered.push(offered),
                Err(OfferError { failure, item }) => {
                    if let Some(item) = item {
                        self.items.push_front(item);
                    }
                    return self.end(Some(failure)).await;
                }
            }
        }
    }

    /// Stores items while there is room, under one lock. Answers why it stopped, if not for want of room.
    fn store_what_fits(&mut self) -> Option<Failure> {
        // Encoded outside the lock; what needs no encoding needs nothing.
        let mut abouts = VecDeque::new();
        if self.local.durable.is_some() {
            for item in &self.items {
                match self.local.prepare(item, self.terms()) {
                    Ok(about) => abouts.push_back(about),
                    Err(failure) if abouts.is_empty() => return Some(failure),
                    // Those before it first; then it fails again.
                    Err(_) => break,
                }
            }
        }
        let local = Arc::clone(&self.local);
        local.with(|inside, afterwards, now| {
            let mut failed = None;
            if self.group.is_none() && local.is_plain() {
                let mut next = self.items.pop_front();
                while let Some(offered) = inside.offer_plain(&mut next, now) {
                    self.offered.push(offered);
                    next = self.items.pop_front();
                }
                self.put_back(next);
            }
            while let Some(item) = self.items.pop_front() {
                let mut about = match abouts.pop_front() {
                    Some(about) => about,
                    None if local.durable.is_some() => {
                        self.items.push_front(item);
                        break;
                    }
                    None => self.plain_about(&item),
                };
                let mut item = Some(item);
                let step = inside.offer(&local, &mut item, &mut about, afterwards, now);
                match step {
                    OfferStep::Stored(offered) => self.offered.push(offered),
                    OfferStep::Storing(offered, ticket) => {
                        self.offered.push(offered);
                        self.ticket = Some((offered, ticket));
                        afterwards.drop_item(item);
                    }
                    OfferStep::NoRoom => {
                        self.put_back(item);
                        break;
                    }
                    OfferStep::Refused(failure) => {
                        self.put_back(item);
                        failed = Some(failure);
                        break;
                    }
                }
            }
            inside.settle(&local, afterwards, now);
            failed
        })
    }

    fn put_back(&mut self, item: Option<T>) {
        if let Some(item) = item {
            self.items.push_front(item);
        }
    }

    fn terms(&self) -> Option<Box<OfferTerms>> {
        let group = self.group.clone()?;
        Some(Box::new(OfferTerms {
            group: Some(group),
            ..OfferTerms::default()
        }))
    }

    fn plain_about(&self, item: &T) -> About {
        // Without an encoding and without a key it can't fail.
        self.local.prepare(item, self.terms()).unwrap_or_default()
    }

    /// Waits for the disk, and answers.
    async fn end(self, failure: Option<Failure>) -> Result<Vec<Offered>, OfferManyError<T>> {
        let rest = Vec::from(self.items);
        if let Some((offered, ticket)) = self.ticket {
            // Tickets are in order: when the last is synced all are.
            let local = &self.local;
            // The disk may have been faster, and the queue may have ended: then nobody would be told any more.
            let id = local.with(|inside, _, _| {
                let progress = local.durable.as_ref().map(Durable::progress);
                if progress.is_some_and(|progress| progress.synced >= ticket) {
                    return Ok(None);
                }
                match &inside.ended {
                    Some(ended) => Err(ended.clone().with_verdict(Verdict::MaybeExecuted)),
                    None => Ok(Some(inside.wait_for_sync(
                        offered,
                        ticket,
                        None,
                        Waker::noop(),
                    ))),
                }
            });
            let synced = match id {
                Ok(None) => Ok(()),
                Ok(Some(id)) => {
                    let last = LocalOffer::waiting(Arc::clone(local), id);
                    let last = Offering(Way::Local(last)).await;
                    last.map(drop).map_err(|error| error.failure)
                }
                Err(failure) => Err(failure),
            };
            if let Err(failure) = synced {
                // Those that waited for the disk may be on it; which, nobody knows.
                return Err(OfferManyError {
                    failure,
                    offered: Vec::new(),
                    rest,
                });
            }
        }
        match failure {
            None => Ok(self.offered),
            Some(failure) => Err(OfferManyError {
                failure,
                offered: self.offered,
                rest,
            }),
        }
    }
}
