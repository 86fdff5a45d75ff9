//! Offering: builders until they are awaited.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;

use super::engine::Extra;
use super::line::WaiterId;
use super::local::{Local, OfferStep, Offerer};
use super::route::{OfferRequest, QueueRoute};
use super::{Inner, Queue, Sequence};
use crate::boundary::Verdict;
use crate::clock::{Instant, Sleep};
use crate::error::{Failure, FailureKind};
use crate::id::RequestKey;

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Offered {
    /// It was stored, under that number.
    Stored(Sequence),
    /// An offer with the same key had been stored under that number: this one was not (G26).
    Duplicate(Sequence),
}

impl Offered {
    /// The number of the item, stored now or before.
    #[must_use]
    pub fn sequence(self) -> Sequence {
        match self {
            Offered::Stored(sequence) | Offered::Duplicate(sequence) => sequence,
        }
    }
}

/// An item that could not be offered. It comes back unless nobody knows where it is.
pub struct OfferError<T> {
    /// Why, and what is known about the item.
    pub failure: Failure,
    /// The item. With the verdict `MaybeExecuted` it may be stored all the same: offer it again with its key.
    pub item: Option<T>,
}

impl<T> fmt::Debug for OfferError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfferError")
            .field("failure", &self.failure)
            .field("item_returned", &self.item.is_some())
            .finish()
    }
}

impl<T> fmt::Display for OfferError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(f)
    }
}

impl<T> std::error::Error for OfferError<T> {}

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

/// An item to be stored. Awaited, it answers where it stands: [`Offered`].
///
/// # Errors
/// [`OfferError`] with the item: the deadline passed while the queue was full (`DeadlineExceeded`, or `Full` if
/// it was not to wait), the queue has stopped (`Stopped`), its key was used for another item (`KeyReused`), too
/// many keys are remembered or too many wait (`Overloaded`), the disk refused (`StorageFailed`).
///
/// # Cancel safety
/// Dropping it while it waits for room leaves nothing behind; the item is dropped. Dropped while a durable queue
/// stores it, it is stored all the same.
#[must_use = "nothing is offered until it is awaited"]
pub struct Offer<T: Send + 'static> {
    queue: Queue<T>,
    request: OfferRequest<T>,
    deadline: Option<Duration>,
}

impl<T: Send + 'static> Offer<T> {
    pub(super) fn new(queue: Queue<T>, item: T) -> Self {
        let request = OfferRequest::new(item);
        Offer {
            queue,
            request,
            deadline: None,
        }
    }

    /// Gives up after `span` if there is no room; zero does not wait. Without it the offer waits as long
    /// as the caller lives.
    pub fn deadline(mut self, span: Duration) -> Self {
        self.deadline = Some(span);
        self
    }

    /// The request that this offer belongs to: within the queue's window it is stored once, however often it is
    /// offered (G26).
    pub fn key(mut self, key: RequestKey) -> Self {
        self.request.key = Some(key);
        self
    }

    /// The items of one group are handed out one after the other, in the order they were offered: the next when
    /// the one before is acknowledged (G24).
    pub fn group(mut self, group: impl Into<Arc<str>>) -> Self {
        self.request.group = Some(group.into());
        self
    }

    /// More urgent than those with a lower one: 0 (the default) up to the queue's highest, which greater
    /// numbers count as.
    pub fn priority(mut self, priority: u8) -> Self {
        self.request.priority = priority;
        self
    }

    /// Not to be handed out before that time has passed, from now. In a group it holds back those behind it,
    /// unless the queue allows reordering.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.request.delay = delay;
        self
    }

    /// Not to be handed out any more after that time, from now, delay included: it goes to the dead-letter queue
    /// then. Instead of the queue's own.
    pub fn time_to_live(mut self, span: Duration) -> Self {
        self.request.time_to_live = Some(span);
        self
    }

    /// Where the answer is wanted: its consumer gets that queue with the item.
    pub fn reply_to<R: Send + 'static>(mut self, queue: &Queue<R>) -> Self {
        self.request.reply_to = Some(queue.as_reply_to());
        self
    }
}

impl<T: Send + 'static> fmt::Debug for Offer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer")
            .field("queue", &self.queue.name())
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl<T: Send + 'static> IntoFuture for Offer<T> {
    type Output = Result<Offered, OfferError<T>>;
    type IntoFuture = Offering<T>;

    fn into_future(self) -> Offering<T> {
        let Offer {
            queue,
            request,
            deadline,
        } = self;
        Offering(match queue.inner {
            Inner::Local { local, .. } => Way::Local(LocalOffer {
                stage: OfferStage::New(Some(request)),
                local,
                deadline,
                sleep: None,
            }),
            Inner::Routed(route) => Way::Routed(route.offer(request, deadline)),
        })
    }
}

/// The future of an [`Offer`].
#[must_use = "futures do nothing unless they are polled"]
pub struct Offering<T: Send + 'static>(Way<T>);

enum Way<T: Send + 'static> {
    Local(LocalOffer<T>),
    Routed(BoxFuture<'static, Result<Offered, OfferError<T>>>),
}

impl<T: Send + 'static> Future for Offering<T> {
    type Output = Result<Offered, OfferError<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Way::Local(offer) => offer.poll(cx),
            Way::Routed(offer) => offer.as_mut().poll(cx),
        }
    }
}

// Nothing in it is pinned: an item is moved in and out.
impl<T: Send + 'static> Unpin for Offering<T> {}

impl<T: Send + 'static> fmt::Debug for Offering<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offering").finish_non_exhaustive()
    }
}

/// An offer as the queue takes it: times fixed, and encoded if it is to be stored.
pub(super) struct Prepared<T> {
    pub(super) item: T,
    pub(super) due: Option<Instant>,
    pub(super) extra: Option<Box<Extra>>,
    pub(super) stored: Option<Encoded>,
}

pub(super) struct Encoded {
    pub(super) head: Vec<u8>,
    pub(super) body: Vec<u8>,
}

impl<T: Send + 'static> Local<T> {
    pub(super) fn prepare(&self, request: OfferRequest<T>) -> Result<Prepared<T>, OfferError<T>> {
        let OfferRequest {
            item,
            key,
            group,
            priority,
            delay,
            time_to_live,
            reply_to,
        } = request;
        let time_to_live = time_to_live.or(self.settings.time_to_live);
        let timed = !delay.is_zero() || time_to_live.is_some();
        let now = if timed {
            self.clock.now()
        } else {
            Instant::default()
        };
        let due = (!delay.is_zero()).then(|| now + delay);
        let plain = key.is_none()
            && group.is_none()
            && priority == 0
            && time_to_live.is_none()
            && reply_to.is_none();
        let mut extra = (!plain).then(|| {
            Box::new(Extra {
                group,
                priority: priority.min(self.settings.priorities - 1),
                key,
                reply_to,
                expires: time_to_live.map(|span| now + span),
                ..Extra::default()
            })
        });
        let mut stored = None;
        if let Some(durable) = &self.durable {
            match durable.encode(self, &item, due, extra.as_deref_mut()) {
                Ok(encoded) => stored = Some(encoded),
                Err(failure) => {
                    let item = Some(item);
                    return Err(OfferError { failure, item });
                }
            }
        } else if let (Some(print), Some(extra)) = (self.print, extra.as_deref_mut())
            && extra.key.is_some()
        {
            extra.print = Some(print(&item));
        }
        Ok(Prepared {
            item,
            due,
            extra,
            stored,
        })
    }
}

struct LocalOffer<T: Send + 'static> {
    local: Arc<Local<T>>,
    stage: OfferStage<T>,
    deadline: Option<Duration>,
    sleep: Option<Sleep>,
}

enum OfferStage<T> {
    New(Option<OfferRequest<T>>),
    Waiting(WaiterId),
    Done,
}

impl<T: Send + 'static> LocalOffer<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Offered, OfferError<T>>> {
        match &mut self.stage {
            OfferStage::New(request) => {
                let Some(request) = request.take() else {
                    return Poll::Pending;
                };
                match self.begin(request, cx) {
                    Some(done) => {
                        self.stage = OfferStage::Done;
                        Poll::Ready(done)
                    }
                    None => self.look(cx),
                }
            }
            OfferStage::Waiting(_) => self.look(cx),
            OfferStage::Done => Poll::Pending,
        }
    }

    /// The first try. `None` if it waits.
    fn begin(
        &mut self,
        request: OfferRequest<T>,
        cx: &mut Context<'_>,
    ) -> Option<Result<Offered, OfferError<T>>> {
        let prepared = match self.local.prepare(request) {
            Ok(prepared) => prepared,
            Err(error) => return Some(Err(error)),
        };
        let local = &*self.local;
        let no_wait = self.deadline == Some(Duration::ZERO);
        let begun = local.with(|inside, afterwards, now| {
            let refused = |failure, prepared: Prepared<T>| {
                Err(Err(OfferError {
                    failure,
                    item: Some(prepared.item),
                }))
            };
            match inside.offer(local, prepared, afterwards, now) {
                OfferStep::Stored(offered) => {
                    inside.settle(local, afterwards, now);
                    Err(Ok(offered))
                }
                OfferStep::Storing(offered, ticket, item) => {
                    Ok(inside.wait_for_sync(offered, ticket, item, cx.waker()))
                }
                OfferStep::NoRoom(prepared) if no_wait => refused(full(&local.name), prepared),
                OfferStep::NoRoom(prepared) => {
                    match inside.wait_for_room(prepared, cx.waker(), &local.name) {
                        Ok(id) => Ok(id),
                        Err((failure, prepared)) => refused(failure, prepared),
                    }
                }
                OfferStep::Refused(failure, prepared) => refused(failure, prepared),
            }
        });
        match begun {
            Ok(id) => {
                self.stage = OfferStage::Waiting(id);
                self.sleep = self.deadline.map(|span| self.local.clock.sleep(span));
                None
            }
            Err(done) => Some(done),
        }
    }

    /// Looks what lies in its place.
    fn look(&mut self, cx: &mut Context<'_>) -> Poll<Result<Offered, OfferError<T>>> {
        let OfferStage::Waiting(id) = self.stage else {
            return Poll::Pending;
        };
        let late = match &mut self.sleep {
            Some(sleep) => Pin::new(sleep).poll(cx).is_ready(),
            None => false,
        };
        let found = self.local.with(|inside, _, _| {
            let is_over = match inside.offerers.get_mut(id) {
                Some(Offerer::Done(..)) | None => true,
                // On its way to the disk: how that ends must be known.
                Some(Offerer::Syncing(..)) => false,
                Some(Offerer::Waiting(_)) => late,
            };
            if is_over {
                return Some(inside.offerers.remove(id));
            }
            inside.offerers.set_waker(id, cx.waker());
            None
        });
        let Some(found) = found else {
            return Poll::Pending;
        };
        self.stage = OfferStage::Done;
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
                failure: super::local::stopped(&self.local.name),
                item: None,
            }),
        })
    }
}

impl<T: Send + 'static> Drop for LocalOffer<T> {
    fn drop(&mut self) {
        if let OfferStage::Waiting(id) = self.stage {
            // What lies there is dropped outside the lock.
            let left = self.local.with(|inside, _, _| inside.offerers.remove(id));
            drop(left);
        }
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
/// As for [`Offer`]: what was stored by then stays.
#[must_use = "nothing is offered until it is awaited"]
pub struct OfferMany<T: Send + 'static> {
    queue: Queue<T>,
    items: Vec<T>,
    deadline: Option<Duration>,
    group: Option<Arc<str>>,
}

impl<T: Send + 'static> OfferMany<T> {
    pub(super) fn new(queue: Queue<T>, items: Vec<T>) -> Self {
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

    /// The group of all of them: see [`Offer::group`].
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
        let requests = items.into_iter().map(|item| OfferRequest {
            group: group.clone(),
            ..OfferRequest::new(item)
        });
        let requests: VecDeque<_> = requests.collect();
        match queue.inner {
            Inner::Local { local, .. } => Box::pin(offer_many(local, requests, deadline)),
            Inner::Routed(route) => Box::pin(offer_many_routed(route, requests, deadline)),
        }
    }
}

async fn offer_many<T: Send + 'static>(
    local: Arc<Local<T>>,
    mut requests: VecDeque<OfferRequest<T>>,
    deadline: Option<Duration>,
) -> Result<Vec<Offered>, OfferManyError<T>> {
    let due = match deadline {
        Some(span) => local.clock.now() + span,
        None => Instant::FAR,
    };
    let mut offered = Vec::with_capacity(requests.len());
    let mut last = None;
    loop {
        let stopped = store_what_fits(&local, &mut requests, &mut offered, &mut last);
        let failure = match stopped {
            Some(error) => Some(error),
            None if requests.is_empty() => None,
            None if deadline == Some(Duration::ZERO) => Some((full(&local.name), None)),
            None => {
                // The next one waits in line, as it would alone.
                let Some(request) = requests.pop_front() else {
                    continue;
                };
                let deadline = (due != Instant::FAR).then(|| due.since(local.clock.now()));
                let waiting = LocalOffer {
                    local: Arc::clone(&local),
                    stage: OfferStage::New(Some(request)),
                    deadline,
                    sleep: None,
                };
                match Offering(Way::Local(waiting)).await {
                    Ok(stored) => {
                        offered.push(stored);
                        continue;
                    }
                    Err(OfferError { failure, item }) => Some((failure, item)),
                }
            }
        };
        if let Some(last) = last.take() {
            // Tickets are in order: when the last is synced all are.
            if let Err(error) = Offering(Way::Local(last)).await {
                let failure = error.failure;
                let rest = requests.into_iter().map(|request| request.item).collect();
                // Those that waited for the disk may be on it; which, nobody knows.
                let offered = Vec::new();
                return Err(OfferManyError {
                    failure,
                    offered,
                    rest,
                });
            }
        }
        return match failure {
            None => Ok(offered),
            Some((failure, item)) => {
                let rest = requests.into_iter().map(|request| request.item);
                Err(OfferManyError {
                    failure,
                    offered,
                    rest: item.into_iter().chain(rest).collect(),
                })
            }
        };
    }
}

/// Stores items while there is room, under one lock. Answers why it stopped, if not for want of room.
fn store_what_fits<T: Send + 'static>(
    local: &Arc<Local<T>>,
    requests: &mut VecDeque<OfferRequest<T>>,
    offered: &mut Vec<Offered>,
    last: &mut Option<LocalOffer<T>>,
) -> Option<(Failure, Option<T>)> {
    let mut prepared = VecDeque::with_capacity(requests.len());
    let mut failed = None;
    while let Some(request) = requests.pop_front() {
        match local.prepare(request) {
            Ok(next) => prepared.push_back(next),
            Err(error) => {
                failed = Some((error.failure, error.item));
                break;
            }
        }
    }
    let stopped = local.with(|inside, afterwards, now| {
        let mut ticket = None;
        let mut stopped = None;
        while let Some(next) = prepared.pop_front() {
            match inside.offer(local, next, afterwards, now) {
                OfferStep::Stored(done) => offered.push(done),
                OfferStep::Storing(done, at, item) => {
                    offered.push(done);
                    ticket = Some((done, at));
                    afterwards.drop_item(item);
                }
                OfferStep::NoRoom(next) => {
                    prepared.push_front(next);
                    break;
                }
                OfferStep::Refused(failure, next) => {
                    stopped = Some((failure, Some(next.item)));
                    break;
                }
            }
        }
        inside.settle(local, afterwards, now);
        if let Some((done, at)) = ticket {
            let id = inside.wait_for_sync(done, at, None, std::task::Waker::noop());
            *last = Some(LocalOffer {
                local: Arc::clone(local),
                stage: OfferStage::Waiting(id),
                deadline: None,
                sleep: None,
            });
        }
        stopped
    });
    if stopped.is_none()
        && let Some((failure, item)) = failed
    {
        match item {
            // Those before it come first; then it fails again.
            Some(item) if !prepared.is_empty() => requests.push_front(OfferRequest::new(item)),
            item => return Some((failure, item)),
        }
    }
    // What was not stored is to be offered as it came.
    while let Some(back) = prepared.pop_back() {
        requests.push_front(back.into_request());
    }
    stopped
}

impl<T> Prepared<T> {
    fn into_request(self) -> OfferRequest<T> {
        let group = self.extra.and_then(|extra| extra.group);
        OfferRequest {
            group,
            ..OfferRequest::new(self.item)
        }
    }
}

async fn offer_many_routed<T: Send + 'static>(
    route: Arc<dyn QueueRoute<T>>,
    mut requests: VecDeque<OfferRequest<T>>,
    deadline: Option<Duration>,
) -> Result<Vec<Offered>, OfferManyError<T>> {
    let mut offered = Vec::with_capacity(requests.len());
    while let Some(request) = requests.pop_front() {
        match route.offer(request, deadline).await {
            Ok(done) => offered.push(done),
            Err(OfferError { failure, item }) => {
                let rest = requests.into_iter().map(|request| request.item);
                return Err(OfferManyError {
                    failure,
                    offered,
                    rest: item.into_iter().chain(rest).collect(),
                });
            }
        }
    }
    Ok(offered)
}

fn full(name: &str) -> Failure {
    Failure::new(FailureKind::Full, Verdict::NotExecuted).with_detail(format!("queue {name}"))
}
