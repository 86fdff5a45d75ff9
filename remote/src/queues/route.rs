//! The way to a queue in another process.

use std::future::{Future, IntoFuture};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use callboard::queue::{
    Browsed, Keeps, LeaseId, LeaseRequest, Leased, OfferError, OfferManyError, OfferTerms, Offered,
    QueueRoute, QueueState, ReplyTo, Sequence, SettleError, Settlement,
};
use callboard::{
    ActorId, Boundary, Failure, FailureKind, Placement, Recipient, System, Verdict, WireMessage,
    codec,
};
use futures::channel::oneshot;
use futures::future::{BoxFuture, Either, join, select};
use parking_lot::Mutex;

use super::page;
use super::wire::{
    Administer, Administered, Contract, Item, LeaseOp, Look, OfferAnswer, OfferOp, Otherwise,
    PollAnswer, PollOp, Seen, SettleOp, Terms, WireBrowsed, WireLeased,
};
use super::{BATCH_BYTES, BATCH_ITEMS, END_BYTES, ITEM_HEAD, MARGIN};
use crate::entrance::{Patience, REACH, WireFailure, micros, patient, unguessable_number};
use crate::peer::Peer;

/// The references to one exposed queue, one for each right.
#[derive(Clone)]
pub(super) struct Ways {
    pub(super) name: Arc<str>,
    pub(super) look: Recipient<Look>,
    pub(super) offer: Recipient<OfferOp>,
    pub(super) poll: Recipient<PollOp>,
    pub(super) admin: Recipient<Administer>,
    pub(super) peer: Peer,
}

impl Ways {
    fn system(&self) -> &System {
        self.poll.route().system()
    }

    pub(super) fn about(&self, failure: &WireFailure) -> Failure {
        failure.about(&self.name)
    }

    /// How many bytes of items an answer may have.
    pub(super) fn room(&self) -> u32 {
        let core = self.peer.core();
        let config = core.session().map(|session| session.config.message_limit());
        let most = config.unwrap_or_else(|| core.config.message_limit());
        most.saturating_sub(MARGIN)
    }

    /// After how many bytes a message to the other side has enough. One item may overshoot it, up to what the other
    /// side takes.
    fn batch_bytes(&self) -> usize {
        let session = self.peer.core().session();
        // Without one, nothing is sent anyway.
        let theirs = session.map_or(u32::MAX, |session| session.theirs.max_message);
        let theirs = usize::try_from(theirs.saturating_sub(MARGIN) / 2).unwrap_or(usize::MAX);
        BATCH_BYTES.min(theirs)
    }

    /// An answer that doesn't fit the question.
    pub(super) fn nonsense(&self) -> Failure {
        Failure::new(FailureKind::BadPayload, Verdict::MaybeExecuted)
            .with_detail(format!("the answer of queue {}", self.name))
    }

    /// What is answered by a number.
    pub(super) async fn count(&self, op: Administer) -> Result<usize, Failure> {
        match self.admin.ask(op).deadline(REACH).await? {
            Ok(Administered::Count(count)) => Ok(usize::try_from(count).unwrap_or(usize::MAX)),
            Ok(_) => Err(self.nonsense()),
            Err(failure) => Err(self.about(&failure)),
        }
    }

    async fn poll_op(&self, op: PollOp, deadline: Option<Duration>) -> Result<PollAnswer, Failure> {
        let ask = self.poll.ask(op);
        let answer = match deadline {
            Some(span) => ask.deadline(span).await,
            None => ask.no_deadline().await,
        };
        answer.map_err(Failure::from)
    }
}

/// How often in a row it says that it is here, before it takes itself to be unwanted.
const INTRODUCTIONS: usize = 3;

/// A handle's side of a queue elsewhere.
pub(super) struct RemoteQueue<T> {
    shared: Arc<Shared>,
    keeps: Keeps,
    contract: Contract,
    item: std::marker::PhantomData<fn(T)>,
}

struct Shared {
    ways: Ways,
    ticket: AtomicU64,
    here: Mutex<Option<Here>>,
}

/// The other side knows that this one is here, and takes its leases back when it isn't.
struct Here {
    holder: u64,
    /// Dropped with the last handle.
    _goes: oneshot::Sender<()>,
}

impl<T: WireMessage> RemoteQueue<T> {
    pub(super) fn new(ways: Ways, keeps: Keeps, contract: Contract) -> Self {
        let shared = Shared {
            ways,
            ticket: AtomicU64::new(1),
            here: Mutex::new(None),
        };
        RemoteQueue {
            shared: Arc::new(shared),
            keeps,
            contract,
            item: std::marker::PhantomData,
        }
    }
}

impl Shared {
    /// The number under which this side is known over there; it says so first if it isn't.
    ///
    /// # Errors
    /// If it can't even be said.
    fn holder(self: &Arc<Self>) -> Result<u64, Failure> {
        let mut here = self.here.lock();
        if let Some(here) = &*here {
            return Ok(here.holder);
        }
        let ways = self.ways.clone();
        let holder = unguessable_number(ways.system());
        let hold = self.ways.clone();
        let mut held: BoxFuture<'static, Result<PollAnswer, Failure>> =
            Box::pin(async move { hold.poll_op(PollOp::Hold { holder }, None).await });
        // On its way now, so before whatever is sent next (G2).
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(ended) = held.as_mut().poll(&mut cx) {
            return Err(match ended {
                Ok(PollAnswer::Failed(failure)) => self.ways.about(&failure),
                Ok(_) => self.ways.nonsense(),
                Err(failure) => failure,
            });
        }
        let (goes, gone) = oneshot::channel();
        let shared = Arc::downgrade(self);
        ways.system().spawn(Placement::Spread, move || async move {
            // Whichever is first: dropping the ask tells the other side.
            if let Either::Left(_) = select(held, gone).await
                && let Some(shared) = shared.upgrade()
            {
                shared.is_not_here(holder);
            }
        });
        *here = Some(Here {
            holder,
            _goes: goes,
        });
        Ok(holder)
    }

    /// The other side doesn't know this one any more: the next lease is under another number.
    fn is_not_here(&self, holder: u64) {
        let mut here = self.here.lock();
        let before = here.take_if(|here| here.holder == holder);
        drop(here);
        drop(before);
    }

    /// Leases that nobody here waits for any more: as if they had never been. As tells, which take no place among the
    /// asks: who waits for an item may have the last.
    async fn give_back(&self, leased: Vec<WireLeased>, holder: u64) {
        // From the last on, so that the first is first again.
        let back = leased.iter().rev().map(|leased| {
            let lease = lease_id(leased, holder);
            (lease, Settlement::Release(Duration::ZERO))
        });
        for part in self.parts(back.collect()) {
            // An error: their leases are over, or will be.
            let _ = self.ways.poll.tell(PollOp::Settle(part.op)).await;
        }
    }

    /// As few messages as the other side takes.
    fn parts(&self, settlements: Vec<(LeaseId, Settlement)>) -> Vec<Part> {
        let most = (self.ways.batch_bytes() / END_BYTES).clamp(1, BATCH_ITEMS);
        parts(settlements, most)
    }

    async fn settle(
        &self,
        settlements: Vec<(LeaseId, Settlement)>,
    ) -> Vec<Result<(), SettleError>> {
        let mut answers: Vec<Option<Result<(), SettleError>>> = vec![None; settlements.len()];
        for part in self.parts(settlements) {
            let ends = part.order.clone();
            let op = PollOp::Settle(part.op);
            let answer = self.ways.poll_op(op, Some(REACH)).await;
            let failed = |failure: Failure| Err(SettleError::Failed(failure));
            match answer {
                Ok(PollAnswer::Settled(exceptions)) => {
                    for (at, _) in &ends {
                        answers[*at] = Some(Ok(()));
                    }
                    for (at, why) in exceptions {
                        let place = usize::try_from(at).ok().and_then(|at| ends.get(at));
                        if let Some((at, lease)) = place {
                            answers[*at] = Some(match why {
                                Some(failure) => failed(self.ways.about(&failure)),
                                None => Err(SettleError::Stale {
                                    queue: Arc::clone(&self.ways.name),
                                    sequence: lease.sequence,
                                    token: lease.token,
                                }),
                            });
                        }
                    }
                }
                Ok(_) => {
                    for (at, _) in &ends {
                        answers[*at] = Some(failed(self.ways.nonsense()));
                    }
                }
                Err(failure) => {
                    for (at, _) in &ends {
                        answers[*at] = Some(failed(failure.clone()));
                    }
                }
            }
        }
        let missing = || Err(SettleError::Failed(self.ways.nonsense()));
        let answers = answers.into_iter();
        answers
            .map(|answer| answer.unwrap_or_else(missing))
            .collect()
    }
}

/// What goes in one message: leases of one holder, acknowledgements first.
struct Part {
    op: SettleOp,
    /// Where each of its leases stood in the request, and which it is.
    order: Vec<(usize, LeaseId)>,
}

fn parts(settlements: Vec<(LeaseId, Settlement)>, most: usize) -> Vec<Part> {
    let mut parts: Vec<(Part, Vec<(usize, LeaseId)>)> = Vec::new();
    for (at, (lease, how)) in settlements.into_iter().enumerate() {
        let holder = lease.grantor;
        let fits = |part: &(Part, Vec<_>)| {
            part.0.op.holder == holder && part.0.order.len() + part.1.len() < most
        };
        let part = match parts.iter().position(fits) {
            Some(found) => &mut parts[found],
            None => {
                let op = SettleOp {
                    holder,
                    ..SettleOp::default()
                };
                let order = Vec::new();
                parts.push((Part { op, order }, Vec::new()));
                let last = parts.len() - 1;
                &mut parts[last]
            }
        };
        let otherwise = match how {
            Settlement::Release(delay) => Otherwise::Release(micros(delay)),
            Settlement::Reject(reason) => Otherwise::Reject(reason.to_string()),
            Settlement::Bury(reason) => Otherwise::Bury(reason.to_string()),
            Settlement::Extend(span) => Otherwise::Extend(micros(span)),
            _ => {
                part.0.op.acks.push(lease.token);
                part.0.order.push((at, lease));
                continue;
            }
        };
        part.0.op.others.push((lease.token, otherwise));
        part.1.push((at, lease));
    }
    let parts = parts.into_iter().map(|(mut part, others)| {
        part.order.extend(others);
        part
    });
    parts.collect()
}

/// Waiting for leases. Dropped while it waits, nothing is lost: the ask goes on without it, and what comes goes
/// back (G21).
struct Leasing {
    shared: Arc<Shared>,
    holder: u64,
    ticket: u64,
    asking: Option<BoxFuture<'static, Result<PollAnswer, Failure>>>,
    begun: bool,
}

impl Leasing {
    fn new(
        shared: &Arc<Shared>,
        contract: Contract,
        request: &LeaseRequest,
        wait: Option<Duration>,
    ) -> Result<Self, Failure> {
        let holder = shared.holder()?;
        let ticket = shared.ticket.fetch_add(1, Ordering::Relaxed);
        let op = LeaseOp {
            contract,
            holder,
            ticket,
            max: u32::try_from(request.max).unwrap_or(u32::MAX),
            bytes: shared.ways.room(),
            wait: wait.map(micros),
            span: request.span.map(micros),
            consumer: request.consumer.as_ref().map(ToString::to_string),
        };
        let ways = shared.ways.clone();
        // No deadline of its own: whoever waits drops this, and what comes late still has somebody to give it back.
        let asking = async move { ways.poll_op(PollOp::Lease(op), None).await };
        Ok(Leasing {
            shared: Arc::clone(shared),
            holder,
            ticket,
            asking: Some(Box::pin(asking)),
            begun: false,
        })
    }
}

impl Future for Leasing {
    type Output = Result<PollAnswer, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.begun = true;
        let Some(asking) = &mut self.asking else {
            return Poll::Pending;
        };
        let answer = std::task::ready!(asking.as_mut().poll(cx));
        self.asking = None;
        Poll::Ready(answer)
    }
}

impl Drop for Leasing {
    fn drop(&mut self) {
        let Some(asking) = self.asking.take().filter(|_| self.begun) else {
            return;
        };
        let (shared, holder, ticket) = (Arc::clone(&self.shared), self.holder, self.ticket);
        let system = shared.ways.system().clone();
        // It ends when the other side has answered, which it does at once when it hears of this, or with the session.
        system.spawn(Placement::Spread, move || async move {
            let withdraw = shared.ways.poll.tell(PollOp::Withdraw { holder, ticket });
            // Both, the ask first: it may still be in line for room, and then stands before what withdraws it (G2).
            // An error of that: the session has ended, and so does the ask.
            let (answer, _) = join(asking, withdraw.into_future()).await;
            if let Ok(PollAnswer::Leased(leased)) = answer {
                shared.give_back(leased, holder).await;
            }
        });
    }
}

impl<T: WireMessage> RemoteQueue<T> {
    async fn lease_with(
        shared: Arc<Shared>,
        contract: Contract,
        request: LeaseRequest,
    ) -> Result<Vec<Leased<T>>, Failure> {
        let clock = shared.ways.system().clock().clone();
        let due = request.deadline.map(|span| clock.now() + span);
        let (mut introductions, mut unreadable) = (0, None);
        while introductions < INTRODUCTIONS {
            let left = due.map(|due| due.since(clock.now()));
            let patience = left.map(|left| Patience::new(left, &clock));
            let (wait, until) = patience.map(|it| (it.wait, it.until)).unzip();
            let leasing = Leasing::new(&shared, contract, &request, wait)?;
            let holder = leasing.holder;
            let Some(answer) = patient(leasing, until, &clock).await else {
                // What comes all the same goes back, so that nothing was taken.
                let failure = Failure::new(FailureKind::DeadlineExceeded, Verdict::NotExecuted);
                return Err(failure.with_detail(&*shared.ways.name));
            };
            match answer {
                Ok(PollAnswer::Leased(leased)) => {
                    let first = leased.first().map(|leased| leased.sequence);
                    let taken = taken(&shared, holder, leased).await;
                    // Items that can't be read here are no end of the wait: others may come. Unless it is over, and
                    // all that comes is the same again.
                    let is_late = due.is_some_and(|due| due <= clock.now());
                    if first.is_none() || !taken.is_empty() || (is_late && first == unreadable) {
                        return Ok(taken);
                    }
                    unreadable = unreadable.or(first);
                }
                // It was started again: this side introduces itself anew.
                Ok(PollAnswer::Unknown | PollAnswer::Gone) => {
                    introductions += 1;
                    shared.is_not_here(holder);
                }
                Ok(PollAnswer::Failed(failure)) => return Err(shared.ways.about(&failure)),
                Ok(PollAnswer::Settled(_)) => return Err(shared.ways.nonsense()),
                Err(failure) => return Err(failure),
            }
        }
        let failure = Failure::new(FailureKind::Overloaded, Verdict::NotExecuted);
        Err(failure.with_detail(format!("queue {} has too many holders", shared.ways.name)))
    }

    async fn offer_part(
        ways: &Ways,
        op: OfferOp,
        deadline: Option<Duration>,
    ) -> Result<OfferAnswer, Failure> {
        let ask = ways.offer.ask(op);
        let answer = match deadline {
            Some(span) => ask.deadline(span.saturating_add(REACH)).await,
            None => ask.no_deadline().await,
        };
        answer.map_err(Failure::from)
    }
}

/// The items of an answer. Those that can't be read here count as failed deliveries.
async fn taken<T: WireMessage>(
    shared: &Arc<Shared>,
    holder: u64,
    leased: Vec<WireLeased>,
) -> Vec<Leased<T>> {
    let mut unreadable = Vec::new();
    let mut taken = Vec::with_capacity(leased.len());
    for leased in leased {
        let lease = lease_id(&leased, holder);
        match opened(leased, holder) {
            Some(leased) => taken.push(leased),
            None => {
                let reason = Settlement::Reject("its consumer could not read it".into());
                unreadable.push((lease, reason));
            }
        }
    }
    if !unreadable.is_empty() {
        let name = &shared.ways.name;
        tracing::warn!(target: "callboard::remote", queue = %name, items = unreadable.len(), "can't be decoded");
        // An error: their leases lapse, which is a failed delivery, too.
        let _ = shared.settle(unreadable).await;
    }
    taken
}

fn lease_id(leased: &WireLeased, holder: u64) -> LeaseId {
    LeaseId {
        token: leased.token,
        sequence: leased.sequence,
        grantor: holder,
    }
}

fn opened<T: WireMessage>(leased: WireLeased, grantor: u64) -> Option<Leased<T>> {
    let item = decode(&leased.item)?;
    let terms = leased.terms.map(|terms| *terms).unwrap_or_default();
    Some(Leased {
        item,
        token: leased.token,
        grantor,
        sequence: leased.sequence,
        attempt: leased.attempt,
        failed: leased.failed,
        offered: Duration::from_nanos(leased.offered),
        first_seen: Duration::from_nanos(leased.first_seen),
        key: terms.key,
        group: terms.group.map(Arc::from),
        reply_to: terms.reply_to.map(ReplyTo::named),
    })
}

pub(super) fn decode<T: WireMessage>(item: &Item) -> Option<T> {
    // A hand-written `Deserialize` may panic.
    catch_unwind(AssertUnwindSafe(|| codec::decode::<T>(&item.0)))
        .ok()?
        .ok()
}

fn browsed<T: WireMessage>(found: WireBrowsed) -> Option<Browsed<T>> {
    Some(Browsed {
        item: decode(&found.item)?,
        sequence: found.sequence,
        place: found.place,
        attempt: found.attempt,
        failed: found.failed,
        offered: Duration::from_nanos(found.offered),
        key: found.key,
        group: found.group.map(Arc::from),
    })
}

fn encoded<T: WireMessage>(item: &T) -> Result<Item, Failure> {
    codec::encode(item).map(Item).map_err(|error| {
        Failure::new(FailureKind::BadPayload, Verdict::NotSent)
            .with_detail(format!("{} can't be encoded: {error}", T::NAME))
    })
}

impl OfferAnswer {
    fn offered(&self) -> Vec<Offered> {
        let mut offered: Vec<Offered> = self.stored.iter().copied().map(Offered::Stored).collect();
        for at in &self.duplicates {
            let place = usize::try_from(*at).ok();
            if let Some(place) = place.and_then(|at| offered.get_mut(at)) {
                *place = Offered::Duplicate(place.sequence());
            }
        }
        offered
    }
}

impl From<OfferTerms> for Terms {
    fn from(terms: OfferTerms) -> Self {
        Terms {
            key: terms.key,
            group: terms.group.map(|group| group.to_string()),
            priority: terms.priority,
            delay: micros(terms.delay),
            time_to_live: terms.time_to_live.map(micros),
            reply_to: terms.reply_to.map(|queue| queue.name().to_owned()),
        }
    }
}

impl<T: WireMessage> QueueRoute<T> for RemoteQueue<T> {
    fn id(&self) -> ActorId {
        self.shared.ways.offer.id()
    }

    fn system(&self) -> &System {
        self.shared.ways.system()
    }

    fn name(&self) -> Arc<str> {
        Arc::clone(&self.shared.ways.name)
    }

    fn boundary(&self) -> Boundary {
        self.shared.ways.offer.boundary()
    }

    fn keeps(&self) -> Keeps {
        self.keeps
    }

    fn offer(
        &self,
        item: T,
        terms: OfferTerms,
        deadline: Option<Duration>,
    ) -> BoxFuture<'static, Result<Offered, OfferError<T>>> {
        let (ways, contract) = (self.shared.ways.clone(), self.contract);
        Box::pin(async move {
            let fails = |failure: Failure, item: T| {
                let item = failure.verdict().is_safe_to_resend().then_some(item);
                OfferError { failure, item }
            };
            let encoded = match encoded(&item) {
                Ok(encoded) => encoded,
                Err(failure) => return Err(fails(failure, item)),
            };
            let op = OfferOp {
                contract,
                wait: deadline.map(micros),
                group: None,
                items: vec![encoded],
                terms: Some(Box::new(terms.into())),
            };
            let answer = match Self::offer_part(&ways, op, deadline).await {
                Ok(answer) => answer,
                Err(failure) => return Err(fails(failure, item)),
            };
            match (answer.offered().pop(), answer.failure) {
                (_, Some(failure)) => Err(fails(ways.about(&failure), item)),
                (Some(offered), None) => Ok(offered),
                (None, None) => Err(fails(ways.nonsense(), item)),
            }
        })
    }

    fn offer_many(
        self: Arc<Self>,
        items: Vec<T>,
        group: Option<Arc<str>>,
        deadline: Option<Duration>,
    ) -> BoxFuture<'static, Result<Vec<Offered>, OfferManyError<T>>> {
        let clock = self.system().clock().clone();
        Box::pin(async move {
            let due = deadline.map(|span| clock.now() + span);
            let ways = &self.shared.ways;
            let most = ways.batch_bytes();
            let mut offered = Vec::with_capacity(items.len());
            let mut items = items.into_iter();
            while items.len() > 0 {
                let (mut part, mut bytes) = (Vec::new(), 0);
                let mut unfit = None;
                for item in items.as_slice().iter().take(BATCH_ITEMS) {
                    match encoded(item) {
                        Ok(item) if part.is_empty() || bytes + item.0.len() <= most => {
                            bytes += item.0.len() + ITEM_HEAD;
                            part.push(item);
                        }
                        Ok(_) => break,
                        Err(failure) => {
                            unfit = Some(failure);
                            break;
                        }
                    }
                }
                if part.is_empty()
                    && let Some(failure) = unfit
                {
                    let rest = items.collect();
                    return Err(OfferManyError {
                        failure,
                        offered,
                        rest,
                    });
                }
                let sent = part.len();
                let left = due.map(|due| due.since(clock.now()));
                let op = OfferOp {
                    contract: self.contract,
                    wait: left.map(micros),
                    group: group.as_ref().map(ToString::to_string),
                    items: part,
                    terms: None,
                };
                let (failure, back) = match Self::offer_part(ways, op, left).await {
                    Ok(answer) => {
                        offered.extend(answer.offered());
                        let back = usize::try_from(answer.rest).unwrap_or(sent).min(sent);
                        (answer.failure.map(|failure| ways.about(&failure)), back)
                    }
                    Err(failure) if failure.verdict().is_safe_to_resend() => (Some(failure), sent),
                    Err(failure) => (Some(failure), 0),
                };
                let Some(failure) = failure else {
                    items.by_ref().take(sent).for_each(drop);
                    continue;
                };
                items.by_ref().take(sent - back).for_each(drop);
                return Err(OfferManyError {
                    failure,
                    offered,
                    rest: items.collect(),
                });
            }
            Ok(offered)
        })
    }

    fn lease(&self, request: LeaseRequest) -> BoxFuture<'static, Result<Vec<Leased<T>>, Failure>> {
        let (shared, contract) = (Arc::clone(&self.shared), self.contract);
        Box::pin(Self::lease_with(shared, contract, request))
    }

    fn settle(
        &self,
        settlements: Vec<(LeaseId, Settlement)>,
    ) -> BoxFuture<'static, Vec<Result<(), SettleError>>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.settle(settlements).await })
    }

    fn settle_soon(&self, lease: LeaseId, settlement: Settlement) {
        for part in self.shared.parts(vec![(lease, settlement)]) {
            let shared = Arc::clone(&self.shared);
            let Err(error) = shared.ways.poll.try_tell(PollOp::Settle(part.op)) else {
                continue;
            };
            // Room may come; else the lease ends with the session, or by its time.
            let Some(op) = error.into_message() else {
                continue;
            };
            // With the handle, whose end would overtake it: what is held by nobody has failed.
            self.system().spawn(Placement::Spread, move || async move {
                let _ = shared.ways.poll.tell(op).deadline(REACH).await;
            });
        }
    }

    fn consumer_left(&self, name: &str) {
        let holder = self.shared.here.lock().as_ref().map(|here| here.holder);
        let Some(holder) = holder else {
            return;
        };
        let ways = self.shared.ways.clone();
        let consumer = name.to_owned();
        self.system().spawn(Placement::Spread, move || async move {
            // An error: then the session ends, and with it the consumer.
            let _ = ways.poll.tell(PollOp::Leave { holder, consumer }).await;
        });
    }

    fn state(&self) -> BoxFuture<'static, Result<QueueState, Failure>> {
        let ways = self.shared.ways.clone();
        Box::pin(async move {
            match ways.look.ask(Look::State).deadline(REACH).await? {
                Ok(Seen::State(state)) => Ok(*state),
                Ok(_) => Err(ways.nonsense()),
                Err(failure) => Err(ways.about(&failure)),
            }
        })
    }

    fn browse(
        &self,
        from: Sequence,
        max: usize,
    ) -> BoxFuture<'static, Result<Vec<Browsed<T>>, Failure>> {
        let (ways, contract) = (self.shared.ways.clone(), self.contract);
        Box::pin(async move {
            let op = Administer::Browse {
                contract,
                from,
                max: u32::try_from(max).unwrap_or(u32::MAX),
                bytes: ways.room(),
            };
            match ways.admin.ask(op).deadline(REACH).await? {
                Ok(Administered::Browsed(found)) => {
                    page::read(&ways.name, found, |found| found.sequence, browsed)
                }
                Ok(Administered::Unfit { sequence, why }) => {
                    Err(page::not_shown(&ways.name, sequence, &why))
                }
                Ok(_) => Err(ways.nonsense()),
                Err(failure) => Err(ways.about(&failure)),
            }
        })
    }

    fn purge(&self) -> BoxFuture<'static, Result<usize, Failure>> {
        let ways = self.shared.ways.clone();
        Box::pin(async move { ways.count(Administer::Purge).await })
    }

    fn stop(&self) {
        let ways = self.shared.ways.clone();
        self.system().spawn(Placement::Spread, move || async move {
            if let Err(failure) = ways.admin.ask(Administer::Stop).deadline(REACH).await {
                tracing::warn!(target: "callboard::remote", queue = %ways.name, %failure, "can't be ended");
            }
        });
    }
}
