//! Polling and leasing: builders until they are awaited.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Context};
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::BoxFuture;

use super::config::clamp_lease;
use super::delivery::{Delivery, Receipt, Settlement};
use super::line::WaiterId;
use super::local::{Haul, Local, Mode, Payload, Taken, Taker, Want, storage_failure};
use super::route::{LeaseRequest, QueueRoute};
use super::{Inner, Queue};
use crate::boundary::Verdict;
use crate::clock::Sleep;
use crate::error::{Failure, FailureKind};
use crate::journal::{JournalError, JournalErrorKind};

/// What is common to all that take items out.
struct Wish<T: Send + 'static> {
    queue: Queue<T>,
    max: usize,
    deadline: Option<Duration>,
    mode: Mode,
    consumer: Option<(u32, Arc<str>)>,
    copy: Option<fn(&T) -> T>,
}

macro_rules! builder {
    ($(#[$doc:meta])* $name:ident -> $output:ty, $finish:expr) => {
        $(#[$doc])*
        #[must_use = "nothing is taken until it is awaited"]
        pub struct $name<T: Send + 'static>(Wish<T>);

        impl<T: Send + 'static> $name<T> {
            /// Gives up after `span` if nothing comes; zero does not wait. Without it it waits as long as the
            /// caller lives.
            pub fn deadline(mut self, span: Duration) -> Self {
                self.0.deadline = Some(span);
                self
            }
        }

        impl<T: Send + 'static> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("queue", &self.0.queue.name())
                    .field("deadline", &self.0.deadline)
                    .finish_non_exhaustive()
            }
        }

        impl<T: Send + 'static> IntoFuture for $name<T> {
            type Output = Result<$output, Failure>;
            type IntoFuture = Taking<T, $output>;

            fn into_future(self) -> Self::IntoFuture {
                Taking {
                    fetch: self.0.begin(),
                    finish: $finish,
                }
            }
        }
    };
}

builder! {
    /// A wish for the oldest item, which is acknowledged when it is received: at-most-once (G21). Awaited, it
    /// answers the item, or `None` if the deadline passed first.
    ///
    /// # Errors
    /// `Stopped` if the queue has ended, `Overloaded` if too many wait, `NotAuthorised` in a queue with a single
    /// active consumer, which has to have a name; `StorageFailed` if the item can't be read.
    ///
    /// # Cancel safety
    /// Dropping it takes no item: one that was on its way goes back to its place.
    Poll -> Option<T>, |catch| Ok(catch.single().map(Fetched::keep))
}
builder! {
    /// As [`Poll`] for several items: as many as there are when there is one, in order. Empty if the deadline
    /// passed first.
    PollMany -> Vec<T>, |catch| Ok(catch.many(Fetched::keep))
}
builder! {
    /// A wish to have the oldest item in hand until it is acknowledged, given back, or its lease lapses:
    /// at-least-once (G21, G22). Awaited, it answers a [`Delivery`], or `None` if the deadline passed first.
    ///
    /// # Errors
    /// As [`Poll`].
    ///
    /// # Cancel safety
    /// Dropping it takes no item: one that was on its way goes back to its place.
    Lease -> Option<Delivery<T>>, |catch| Ok(catch.single().and_then(Fetched::deliver))
}
builder! {
    /// As [`Lease`] for several items: as many as there are when there is one, in order. Empty if the deadline
    /// passed first. Items of one group come one at a time.
    LeaseMany -> Vec<Delivery<T>>, |catch| Ok(catch.many(Fetched::deliver).into_iter().flatten().collect())
}

impl<T: Send + 'static> Lease<T> {
    /// For how long, within [`LEASE_RANGE`](super::LEASE_RANGE), instead of as long as the queue says.
    pub fn span(mut self, span: Duration) -> Self {
        self.0.mode = Mode::Lease(Some(clamp_lease(span)));
        self
    }
}

impl<T: Send + 'static> LeaseMany<T> {
    /// For how long, within [`LEASE_RANGE`](super::LEASE_RANGE), instead of as long as the queue says.
    pub fn span(mut self, span: Duration) -> Self {
        self.0.mode = Mode::Lease(Some(clamp_lease(span)));
        self
    }
}

pub(super) fn poll<T: Send + 'static>(
    queue: Queue<T>,
    consumer: Option<(u32, Arc<str>)>,
) -> Poll<T> {
    Poll(Wish::new(queue, 1, Mode::Take, consumer, None))
}

pub(super) fn poll_many<T: Send + 'static>(
    queue: Queue<T>,
    max: usize,
    consumer: Option<(u32, Arc<str>)>,
) -> PollMany<T> {
    PollMany(Wish::new(queue, max, Mode::Take, consumer, None))
}

pub(super) fn lease<T: Clone + Send + 'static>(
    queue: Queue<T>,
    consumer: Option<(u32, Arc<str>)>,
) -> Lease<T> {
    Lease(Wish::new(
        queue,
        1,
        Mode::Lease(None),
        consumer,
        Some(T::clone),
    ))
}

pub(super) fn lease_many<T: Clone + Send + 'static>(
    queue: Queue<T>,
    max: usize,
    consumer: Option<(u32, Arc<str>)>,
) -> LeaseMany<T> {
    LeaseMany(Wish::new(
        queue,
        max,
        Mode::Lease(None),
        consumer,
        Some(T::clone),
    ))
}

impl<T: Send + 'static> Wish<T> {
    fn new(
        queue: Queue<T>,
        max: usize,
        mode: Mode,
        consumer: Option<(u32, Arc<str>)>,
        copy: Option<fn(&T) -> T>,
    ) -> Self {
        Wish {
            queue,
            max: max.max(1),
            deadline: None,
            mode,
            consumer,
            copy,
        }
    }

    fn begin(self) -> Fetch<T> {
        let Wish {
            queue,
            max,
            deadline,
            mode,
            consumer,
            copy,
        } = self;
        match queue.inner {
            Inner::Local { local, .. } => Fetch::Local(LocalFetch {
                local,
                want: Want {
                    max,
                    mode,
                    consumer: consumer.map(|(number, _)| number),
                },
                copy,
                deadline,
                sleep: None,
                stage: Stage::New,
            }),
            Inner::Routed(route) => {
                let span = match mode {
                    Mode::Take => None,
                    Mode::Lease(span) => span,
                };
                let request = LeaseRequest {
                    max,
                    deadline,
                    span,
                    consumer: consumer.map(|(_, name)| name),
                };
                let take = matches!(mode, Mode::Take);
                Fetch::Routed(Box::pin(fetch_routed(route, request, take)))
            }
        }
    }
}

/// The future of whatever takes items out.
#[must_use = "futures do nothing unless they are polled"]
pub struct Taking<T: Send + 'static, O> {
    fetch: Fetch<T>,
    finish: fn(Catch<T>) -> Result<O, Failure>,
}

impl<T: Send + 'static, O> Future for Taking<T, O> {
    type Output = Result<O, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> task::Poll<Self::Output> {
        let catch = match &mut self.fetch {
            Fetch::Local(fetch) => fetch.poll(cx),
            Fetch::Routed(fetch) => fetch.as_mut().poll(cx),
        };
        catch.map(|catch| (self.finish)(catch?))
    }
}

// Nothing in it is pinned.
impl<T: Send + 'static, O> Unpin for Taking<T, O> {}

impl<T: Send + 'static, O> fmt::Debug for Taking<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taking").finish_non_exhaustive()
    }
}

/// An item that has arrived; with a receipt if it is only leased.
struct Fetched<T: Send + 'static> {
    item: T,
    receipt: Option<Receipt<T>>,
}

impl<T: Send + 'static> Fetched<T> {
    fn keep(self) -> T {
        self.item
    }

    fn deliver(self) -> Option<Delivery<T>> {
        let Fetched { item, receipt } = self;
        receipt.map(|receipt| Delivery::new(item, receipt))
    }
}

/// What has arrived. One item, the most frequent case, needs no memory of its own.
enum Catch<T: Send + 'static> {
    Nothing,
    One(Fetched<T>),
    Many(Vec<Fetched<T>>),
}

impl<T: Send + 'static> Catch<T> {
    fn single(self) -> Option<Fetched<T>> {
        match self {
            Catch::Nothing => None,
            Catch::One(one) => Some(one),
            Catch::Many(mut all) => all.pop(),
        }
    }

    fn many<R>(self, each: impl FnMut(Fetched<T>) -> R) -> Vec<R> {
        match self {
            Catch::Nothing => Vec::new(),
            Catch::One(one) => [one].into_iter().map(each).collect(),
            Catch::Many(all) => all.into_iter().map(each).collect(),
        }
    }
}

enum Fetch<T: Send + 'static> {
    Local(LocalFetch<T>),
    Routed(BoxFuture<'static, Result<Catch<T>, Failure>>),
}

struct LocalFetch<T: Send + 'static> {
    local: Arc<Local<T>>,
    want: Want,
    copy: Option<fn(&T) -> T>,
    deadline: Option<Duration>,
    sleep: Option<Sleep>,
    stage: Stage<T>,
}

enum Stage<T> {
    New,
    Waiting(WaiterId),
    /// Leased, and on their way from the disk.
    Reading(Vec<Taken<T>>, oneshot::Receiver<Read>),
    Done,
}

type Read = Vec<Result<Vec<u8>, JournalError>>;

impl<T: Send + 'static> LocalFetch<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> task::Poll<Result<Catch<T>, Failure>> {
        loop {
            let step = match &mut self.stage {
                Stage::New => self.begin(cx),
                Stage::Waiting(id) => {
                    let id = *id;
                    self.look(id, cx)
                }
                Stage::Reading(_, read) => match Pin::new(read).poll(cx) {
                    task::Poll::Pending => Step::Wait,
                    task::Poll::Ready(read) => self.have_read(read.unwrap_or_default()),
                },
                Stage::Done => Step::Wait,
            };
            match step {
                Step::Wait => return task::Poll::Pending,
                Step::Again => {}
                Step::End(end) => {
                    self.stage = Stage::Done;
                    return task::Poll::Ready(end);
                }
                Step::Have(Haul::One(taken)) if !matches!(taken.payload, Payload::Stored(None)) => {
                    match self.open(taken) {
                        Some(fetched) => {
                            self.stage = Stage::Done;
                            return task::Poll::Ready(Ok(Catch::One(fetched)));
                        }
                        None => self.stage = Stage::New,
                    }
                }
                Step::Have(haul) => {
                    let all = match haul {
                        Haul::One(one) => vec![one],
                        Haul::Many(all) => all,
                    };
                    if let Some(all) = self.read_missing(all) {
                        let fetched = self.open_all(all);
                        if fetched.is_empty() {
                            self.stage = Stage::New;
                        } else {
                            self.stage = Stage::Done;
                            return task::Poll::Ready(Ok(Catch::Many(fetched)));
                        }
                    }
                }
            }
        }
    }

    fn begin(&mut self, cx: &mut Context<'_>) -> Step<T> {
        let LocalFetch {
            local,
            want,
            deadline,
            ..
        } = self;
        let want = *want;
        if local.settings.single_active && want.consumer.is_none() {
            let failure = Failure::new(FailureKind::NotAuthorised, Verdict::NotExecuted);
            return Step::End(Err(failure.with_detail(format!(
                "queue {} has a single active consumer: take items as a `Queue::consumer`",
                local.name
            ))));
        }
        let wait = *deadline != Some(Duration::ZERO);
        let begun = local.with(|inside, afterwards, now| {
            if let Some(ended) = &inside.ended {
                return Err(Err(ended.clone()));
            }
            if let Some(haul) = inside.take(local, want, afterwards, now) {
                inside.settle(local, afterwards, now);
                return Ok(Err(haul));
            }
            if !wait {
                return Err(Ok(Catch::Nothing));
            }
            let id = inside.wait_for_items(want, cx.waker(), &local.name);
            id.map(Ok).map_err(Err)
        });
        match begun {
            Err(end) => Step::End(end),
            Ok(Err(haul)) => Step::Have(haul),
            Ok(Ok(id)) => {
                self.stage = Stage::Waiting(id);
                if self.sleep.is_none() {
                    self.sleep = self.deadline.map(|span| self.local.clock.sleep(span));
                }
                // To be woken when it is over.
                let sleep = self.sleep.as_mut();
                match sleep.map(|sleep| Pin::new(sleep).poll(cx)) {
                    Some(task::Poll::Ready(())) => Step::Again,
                    _ => Step::Wait,
                }
            }
        }
    }

    /// Looks what lies in its place.
    fn look(&mut self, id: WaiterId, cx: &mut Context<'_>) -> Step<T> {
        let late = match &mut self.sleep {
            Some(sleep) => Pin::new(sleep).poll(cx).is_ready(),
            None => false,
        };
        let want = self.want;
        let local = &*self.local;
        let found = local.with(|inside, afterwards, now| {
            match inside.takers.get_mut(id) {
                Some(Taker::Waiting(_)) if !late => {
                    inside.takers.set_waker(id, cx.waker());
                    return None;
                }
                _ => {}
            }
            let mut found = inside.takers.remove(id);
            // More may have come since there was one.
            if let Some(Taker::Got(haul)) = &mut found {
                inside.top_up(local, want, haul, afterwards, now);
            }
            Some(found)
        });
        match found {
            None => Step::Wait,
            Some(Some(Taker::Got(haul))) => {
                self.stage = Stage::Done;
                Step::Have(haul)
            }
            Some(Some(Taker::Ended(failure))) => Step::End(Err(failure)),
            Some(_) => Step::End(Ok(Catch::Nothing)),
        }
    }

    /// Has what isn't in memory read. Answers the items if nothing is missing.
    fn read_missing(&mut self, all: Vec<Taken<T>>) -> Option<Vec<Taken<T>>> {
        let missing = all
            .iter()
            .filter(|taken| matches!(taken.payload, Payload::Stored(None)));
        let records: Vec<u64> = missing.map(|taken| taken.record).collect();
        let Some(durable) = self.local.durable.as_ref().filter(|_| !records.is_empty()) else {
            return Some(all);
        };
        let (tx, rx) = oneshot::channel();
        let done = Box::new(move |read| {
            // An error: who asked has left, and has given its leases back.
            let _ = tx.send(read);
        });
        durable.journal.read(&records, done);
        self.stage = Stage::Reading(all, rx);
        None
    }

    fn have_read(&mut self, read: Read) -> Step<T> {
        let Stage::Reading(mut all, _) = std::mem::replace(&mut self.stage, Stage::Done) else {
            return Step::Wait;
        };
        let mut read = read.into_iter();
        let mut broken = None;
        for at in (0..all.len()).rev() {
            if !matches!(all[at].payload, Payload::Stored(None)) {
                continue;
            }
            // They come in the order they were asked for: from the back.
            match read.next_back() {
                Some(Ok(bytes)) => all[at].payload = Payload::Stored(Some(bytes.into())),
                Some(Err(error)) if is_of_one_record(&error) => {
                    let (about, _) = all.remove(at).split();
                    self.local.set_aside(&about, &error.to_string());
                }
                Some(Err(error)) => broken = Some(storage_failure(&error, Verdict::NotExecuted)),
                None => broken = Some(super::local::stopped(&self.local.name)),
            }
        }
        if let Some(failure) = broken {
            self.hand_back(Haul::Many(all));
            return Step::End(Err(failure));
        }
        if all.is_empty() {
            self.stage = Stage::New;
            return Step::Again;
        }
        Step::Have(Haul::Many(all))
    }

    fn open_all(&self, all: Vec<Taken<T>>) -> Vec<Fetched<T>> {
        let mut fetched = Vec::with_capacity(all.len());
        let mut rest = Rest {
            fetch: self,
            all: all.into_iter(),
        };
        while let Some(taken) = rest.all.next() {
            fetched.extend(self.open(taken));
        }
        fetched
    }

    /// The item itself. `None` if it can't be made of its bytes: then it is set aside.
    fn open(&self, taken: Taken<T>) -> Option<Fetched<T>> {
        let local = &self.local;
        let (mut taken, payload) = taken.split();
        let item = match payload {
            Payload::Live(item) if taken.token == 0 => {
                return Some(Fetched {
                    item,
                    receipt: None,
                });
            }
            Payload::Live(original) => {
                let original = Original::new(local, &taken, original);
                // Without `copy` it was taken away, and has no token.
                let copy = self.copy?(original.item()?);
                drop(original);
                copy
            }
            Payload::Stored(bytes) => {
                let durable = local.durable.as_ref()?;
                let dead = taken.extra.as_ref().and_then(|extra| extra.dead.as_deref());
                match durable.decode(bytes.as_deref().unwrap_or_default(), dead) {
                    Ok(item) => item,
                    Err(error) => {
                        local.set_aside(&taken, &error);
                        return None;
                    }
                }
            }
        };
        let receipt = Receipt::local(local, &mut taken);
        if let Mode::Take = self.want.mode {
            receipt.ack_soon();
            let receipt = None;
            return Some(Fetched { item, receipt });
        }
        Some(Fetched {
            item,
            receipt: Some(receipt),
        })
    }

    fn hand_back(&self, haul: Haul<T>) {
        let local = &*self.local;
        local.with(|inside, afterwards, now| {
            inside.hand_back(haul, afterwards, now);
            inside.settle(local, afterwards, now);
        });
    }
}

/// The others can be read all the same.
fn is_of_one_record(error: &JournalError) -> bool {
    let kind = error.kind();
    matches!(kind, JournalErrorKind::Damaged | JournalErrorKind::NotFound)
}

enum Step<T: Send + 'static> {
    Wait,
    Again,
    Have(Haul<T>),
    End(Result<Catch<T>, Failure>),
}

impl<T: Send + 'static> Drop for LocalFetch<T> {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Waiting(id) => {
                let local = &*self.local;
                local.with(|inside, afterwards, now| {
                    if let Some(Taker::Got(haul)) = inside.takers.remove(id) {
                        inside.hand_back(haul, afterwards, now);
                        inside.settle(local, afterwards, now);
                    }
                });
            }
            Stage::Reading(all, _) => self.hand_back(Haul::Many(all)),
            Stage::New | Stage::Done => {}
        }
    }
}

/// Items that are not yet opened. They go back also if opening one panics.
struct Rest<'a, T: Send + 'static> {
    fetch: &'a LocalFetch<T>,
    all: std::vec::IntoIter<Taken<T>>,
}

impl<T: Send + 'static> Drop for Rest<'_, T> {
    fn drop(&mut self) {
        if self.all.len() > 0 {
            let rest = self.all.by_ref().collect();
            self.fetch.hand_back(Haul::Many(rest));
        }
    }
}

/// The item that its queue waits for while its holder makes a copy. It goes back also if that panics.
struct Original<'a, T: Send + 'static> {
    local: &'a Local<T>,
    place: u32,
    token: u64,
    item: Option<T>,
}

impl<'a, T: Send + 'static> Original<'a, T> {
    fn new(local: &'a Local<T>, taken: &Taken<()>, item: T) -> Self {
        Original {
            local,
            place: taken.place,
            token: taken.token,
            item: Some(item),
        }
    }

    fn item(&self) -> Option<&T> {
        self.item.as_ref()
    }
}

impl<T: Send + 'static> Drop for Original<'_, T> {
    fn drop(&mut self) {
        if let Some(item) = self.item.take() {
            self.local.put_back(self.place, self.token, item);
        }
        if std::thread::panicking() {
            let reason = Settlement::Reject(Arc::from("copying it panicked"));
            // An error: a lease that is over needs no end.
            let _ = self.local.settle_one(self.place, self.token, 0, reason);
        }
    }
}

async fn fetch_routed<T: Send + 'static>(
    route: Arc<dyn QueueRoute<T>>,
    request: LeaseRequest,
    take: bool,
) -> Result<Catch<T>, Failure> {
    let leased = route.lease(request).await?;
    let fetched = leased.into_iter().map(|leased| {
        let (item, receipt) = Receipt::routed(&route, leased);
        if take {
            receipt.ack_soon();
            let receipt = None;
            return Fetched { item, receipt };
        }
        Fetched {
            item,
            receipt: Some(receipt),
        }
    });
    Ok(Catch::Many(fetched.collect()))
}
