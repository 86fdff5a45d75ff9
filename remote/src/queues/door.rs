//! An exposed queue: what peers ask of it, done to the queue of this process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use callboard::queue::{
    Browsed, Delivery, OfferManyError, OfferTerms, Offered, Queue, Receipt, ReplyTo, SettleError,
    Settlement,
};
use callboard::{
    ActorId, FailureKind, Message, Meta, Responder, System, Verdict, WireMessage, codec,
};
use futures::future::{Abortable, join_all};

use super::holders::Holders;
use super::page::Page;
use super::wire::{
    Administer, Administered, Contract, Item, LeaseOp, Look, OfferAnswer, OfferOp, Otherwise,
    PollAnswer, PollOp, Seen, SettleOp, Terms, WireBrowsed, WireKeeps, WireLeased, contract, nanos,
};
use super::{BATCH_BYTES, BATCH_ITEMS};
use crate::admin::number;
use crate::entrance::{
    Budget, HolderId, MAX_TEXT, Serve, WireFailure, abortable, are_short, patience, refuse, run,
};
use crate::reference::{arriving, came_by};
use crate::wire::limits::cut;

/// How many bytes an item takes in an answer besides itself, at the most, without its texts.
pub(super) const ITEM_OVERHEAD: usize = 160;

pub(super) struct Door<T: WireMessage + Clone> {
    queue: Queue<T>,
    contract: Contract,
    keeps: WireKeeps,
    /// How long a lease lasts unless said otherwise; of a queue that is itself elsewhere nobody here knows.
    lease: Option<Duration>,
    holders: Holders<T>,
    /// What offers take up that wait for room.
    waiting: Arc<Budget>,
}

/// What comes from a peer by that session. What serde says names types of this side, so it stays here.
fn decode<T: WireMessage>(item: &Item, session: u64) -> Result<T, WireFailure> {
    // A hand-written `Deserialize` may panic.
    let decode = || arriving(session, || codec::decode::<T>(&item.0));
    match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(Ok(item)) => Ok(item),
        _ => Err(refuse(FailureKind::BadPayload)),
    }
}

impl<T: WireMessage + Clone> Door<T> {
    /// `most` is how many bytes of offers may wait.
    pub(super) fn new(queue: &Queue<T>, most: u64) -> Self {
        let keeps = WireKeeps::from(queue.keeps());
        Door {
            queue: queue.clone(),
            contract: contract(T::NAME, T::VERSION, keeps),
            keeps,
            lease: queue.config().map(|config| config.lease),
            holders: Holders::new(),
            waiting: Budget::new(most),
        }
    }

    pub(super) fn queue(&self) -> &Queue<T> {
        &self.queue
    }

    /// How many handles in other processes there are that have leased.
    pub(super) fn holders(&self) -> usize {
        self.holders.len()
    }

    fn check(&self, contract: Contract) -> Result<(), WireFailure> {
        if contract == self.contract {
            Ok(())
        } else {
            Err(refuse(FailureKind::WrongVersion))
        }
    }

    fn system(&self) -> &System {
        self.queue.system()
    }

    fn patience(&self, wait: Option<u64>, meta: &Meta) -> Option<Duration> {
        let wait = wait.map(Duration::from_micros)?;
        Some(patience(wait, meta, self.system().clock()))
    }

    async fn offer(&self, op: OfferOp, patience: Option<Duration>, session: u64) -> OfferAnswer {
        let refused = |failure, rest| OfferAnswer {
            stored: Vec::new(),
            duplicates: Vec::new(),
            failure: Some(failure),
            rest,
        };
        let all = u32::try_from(op.items.len()).unwrap_or(u32::MAX);
        if let Err(failure) = self.check(op.contract) {
            return refused(failure, all);
        }
        let terms = op.terms.as_deref();
        let texts = terms.map(|terms| [terms.group.as_ref(), terms.reply_to.as_ref()]);
        if !are_short(texts.into_iter().flatten().chain([op.group.as_ref()])) {
            return refused(refuse(FailureKind::TooLarge), all);
        }
        let bytes = op.items.iter().map(|item| item.0.len()).sum();
        let Some(_waits) = self.waiting.take(bytes) else {
            return refused(refuse(FailureKind::Overloaded), all);
        };
        let items: Result<Vec<T>, WireFailure> =
            op.items.iter().map(|it| decode(it, session)).collect();
        let mut items = match items {
            Ok(items) => items,
            Err(failure) => return refused(failure, all),
        };
        if items.len() == 1
            && let Some(item) = items.pop()
        {
            let terms = op.terms.map_or_else(OfferTerms::default, |terms| {
                terms.of_an_offer(op.group.as_deref())
            });
            let mut offer = self.queue.offer(item).with_terms(terms);
            if let Some(span) = patience {
                offer = offer.deadline(span);
            }
            return match offer.await {
                Ok(offered) => stored(&[offered]),
                Err(error) => {
                    let rest = u32::from(error.item.is_some());
                    refused((&error.failure).into(), rest)
                }
            };
        }
        let mut offer = self.queue.offer_many(items);
        if let Some(group) = op.group {
            offer = offer.group(group);
        }
        if let Some(span) = patience {
            offer = offer.deadline(span);
        }
        match offer.await {
            Ok(offered) => stored(&offered),
            Err(OfferManyError {
                failure,
                offered,
                rest,
            }) => OfferAnswer {
                failure: Some((&failure).into()),
                rest: u32::try_from(rest.len()).unwrap_or(u32::MAX),
                ..stored(&offered)
            },
        }
    }

    /// Leases, and notes who holds it. The way back is asked whether anybody still waits at the other end.
    async fn lease(
        &self,
        op: &LeaseOp,
        holder: &HolderId,
        patience: Option<Duration>,
    ) -> Result<Leases<T>, WireFailure> {
        let max = usize::try_from(op.max)
            .unwrap_or(BATCH_ITEMS)
            .clamp(1, BATCH_ITEMS);
        let mut lease = match &op.consumer {
            None => self.queue.lease_many(max),
            Some(name) => {
                let make = || self.queue.consumer(name.as_str());
                match self.holders.consumer(holder, name, make) {
                    Ok(Some(consumer)) => consumer.lease_many(max),
                    Ok(None) => return Err(refuse(FailureKind::Withdrawn)),
                    Err(_) => return Err(refuse(FailureKind::Overloaded)),
                }
            }
        };
        let span = op.span.map(Duration::from_micros);
        if let Some(span) = span {
            lease = lease.span(span);
        }
        if let Some(wait) = patience {
            lease = lease.deadline(wait);
        }
        let deliveries = lease.await.map_err(|failure| WireFailure::from(&failure))?;
        let mut leases = Leases::default();
        let mut room = usize::try_from(op.bytes).unwrap_or(usize::MAX);
        let mut back = Vec::new();
        for delivery in deliveries {
            if !back.is_empty() {
                back.push(delivery);
                continue;
            }
            match leases.add(delivery, &mut room) {
                Added::Yes => {}
                Added::NoRoom(delivery) => back.push(delivery),
                Added::Never(delivery, why) => {
                    if leases.items.is_empty() {
                        // A failed delivery: in the end it goes to the dead-letter queue, with that reason.
                        let _ = delivery.reject(why).await;
                        release_all(back);
                        return Err(refuse(FailureKind::TooLarge));
                    }
                    back.push(delivery);
                }
            }
        }
        release_all(back);
        Ok(leases)
    }

    async fn settle(&self, op: SettleOp, holder: &HolderId) -> PollAnswer {
        let acks = op.acks.into_iter().map(|token| (token, Settlement::Ack));
        let others = op
            .others
            .into_iter()
            .map(|(token, how)| (token, how.into()));
        let ended = acks.chain(others).map(|(token, how)| async move {
            let stale = Err(None);
            let Some(receipt) = self.holders.take(holder, token) else {
                return stale;
            };
            match end(receipt, how, |receipt, span| {
                self.hold_on(holder, receipt, span);
            })
            .await
            {
                Ok(()) => Ok(()),
                Err(SettleError::Failed(failure)) => Err(Some(WireFailure::from(&failure))),
                Err(_) => stale,
            }
        });
        let ended = join_all(ended).await;
        let failed = ended.into_iter().zip(0..).filter_map(|(ended, at)| {
            let error = ended.err()?;
            Some((at, error))
        });
        PollAnswer::Settled(failed.collect())
    }

    /// It is held for that long from now on. Whoever has gone meanwhile gives it back.
    fn hold_on(&self, holder: &HolderId, receipt: Receipt<T>, span: Duration) {
        let now = self.system().clock().now();
        let _ = self.holders.give(holder, vec![receipt], now, Some(span));
    }

    fn gone(&self, holder: &HolderId) {
        for receipt in self.holders.leave(holder) {
            let ended = receipt.reject("the consumer's session ended");
            run(self.system(), async move {
                // An error: the lease was over.
                let _ = ended.await;
            });
        }
    }

    async fn browse(&self, from: u64, max: u32, bytes: u32) -> Result<Administered, WireFailure> {
        let max = usize::try_from(max).unwrap_or(BATCH_ITEMS).min(BATCH_ITEMS);
        let found = self.queue.browse(from, max).await;
        let found = found.map_err(|failure| WireFailure::from(&failure))?;
        let mut page = Page::new(bytes);
        for found in found {
            let item = codec::encode(&found.item);
            if !page.add(found, item, 0, wire_browsed) {
                break;
            }
        }
        Ok(page.answer(Administered::Browsed))
    }
}

pub(super) fn wire_browsed<T>(item: Item, found: Browsed<T>) -> WireBrowsed {
    WireBrowsed {
        item,
        sequence: found.sequence,
        place: found.place,
        attempt: found.attempt,
        failed: found.failed,
        offered: nanos(found.offered),
        key: found.key,
        group: found.group.map(|group| group.to_string()),
    }
}

fn stored(offered: &[Offered]) -> OfferAnswer {
    let stored = offered.iter().map(|offered| offered.sequence()).collect();
    let duplicates = offered
        .iter()
        .zip(0..)
        .filter_map(|(offered, at)| matches!(offered, Offered::Duplicate(_)).then_some(at));
    OfferAnswer {
        stored,
        duplicates: duplicates.collect(),
        failure: None,
        rest: 0,
    }
}

/// Ends a lease as wished. One that was made longer goes on with `goes_on`.
async fn end<T: Send + 'static>(
    receipt: Receipt<T>,
    how: Settlement,
    goes_on: impl FnOnce(Receipt<T>, Duration),
) -> Result<(), SettleError> {
    match how {
        Settlement::Release(delay) => receipt.release(delay).await,
        Settlement::Reject(reason) => receipt.reject(reason).await,
        Settlement::Bury(reason) => receipt.bury(reason).await,
        Settlement::Extend(span) => {
            let extended = receipt.extend(span).await;
            // Also if nobody knows: it may be held still, and dropping the receipt would end that.
            if !matches!(extended, Err(SettleError::Stale { .. })) {
                goes_on(receipt, span);
            }
            extended
        }
        _ => receipt.ack().await,
    }
}

/// From the last on, so that the first is first again.
fn release_all<T: Send + 'static>(deliveries: Vec<Delivery<T>>) {
    deliveries.into_iter().rev().for_each(drop);
}

/// Leased items and what ends their leases.
struct Leases<T: Send + 'static> {
    items: Vec<WireLeased>,
    /// How much that is.
    bytes: usize,
    receipts: Vec<Receipt<T>>,
}

impl<T: Send + 'static> Default for Leases<T> {
    fn default() -> Self {
        Leases {
            items: Vec::new(),
            bytes: 0,
            receipts: Vec::new(),
        }
    }
}

enum Added<T: Send + 'static> {
    Yes,
    NoRoom(Delivery<T>),
    /// Not to this peer, and why.
    Never(Delivery<T>, &'static str),
}

impl<T: WireMessage> Leases<T> {
    fn add(&mut self, delivery: Delivery<T>, room: &mut usize) -> Added<T> {
        let Ok(item) = codec::encode(delivery.item()) else {
            return Added::Never(delivery, "it can't be encoded");
        };
        let texts =
            delivery.group().map_or(0, str::len) + delivery.reply_to_name().map_or(0, str::len);
        let takes = item.len() + texts + ITEM_OVERHEAD;
        if !self.items.is_empty() && self.bytes + takes > BATCH_BYTES {
            return Added::NoRoom(delivery);
        }
        let Some(left) = room.checked_sub(takes) else {
            return if self.items.is_empty() {
                Added::Never(delivery, "it is larger than its consumer takes")
            } else {
                Added::NoRoom(delivery)
            };
        };
        *room = left;
        self.bytes += takes;
        let terms = Terms {
            key: delivery.key(),
            group: delivery.group().map(str::to_owned),
            reply_to: delivery.reply_to_name().map(str::to_owned),
            ..Terms::default()
        };
        let said = terms.key.is_some() || terms.group.is_some() || terms.reply_to.is_some();
        let (_, receipt) = delivery.into_parts();
        self.items.push(WireLeased {
            item: Item(item),
            token: receipt.token(),
            sequence: receipt.sequence(),
            attempt: receipt.attempt(),
            failed: receipt.failed(),
            offered: nanos(receipt.offered()),
            first_seen: nanos(receipt.first_seen()),
            terms: said.then(|| Box::new(terms)),
        });
        self.receipts.push(receipt);
        Added::Yes
    }
}

impl Terms {
    /// What an offer says; `group` is the one of all.
    fn of_an_offer(self, group: Option<&str>) -> OfferTerms {
        let mut terms = OfferTerms::default();
        terms.key = self.key;
        terms.group = self.group.as_deref().or(group).map(Arc::from);
        terms.priority = self.priority;
        terms.delay = Duration::from_micros(self.delay);
        terms.time_to_live = self.time_to_live.map(Duration::from_micros);
        terms.reply_to = self.reply_to.map(ReplyTo::named);
        terms
    }
}

impl From<Otherwise> for Settlement {
    fn from(how: Otherwise) -> Self {
        match how {
            Otherwise::Release(delay) => Settlement::Release(Duration::from_micros(delay)),
            // Kept with the item.
            Otherwise::Reject(reason) => Settlement::Reject(cut(&reason, MAX_TEXT).into()),
            Otherwise::Bury(reason) => Settlement::Bury(cut(&reason, MAX_TEXT).into()),
            Otherwise::Extend(span) => Settlement::Extend(Duration::from_micros(span)),
        }
    }
}

impl<T: WireMessage + Clone> Serve<Look> for Door<T> {
    fn serve(
        self: &Arc<Self>,
        look: Look,
        _: Meta,
        responder: Responder<<Look as Message>::Reply>,
    ) {
        match look {
            Look::Open { item, version } => {
                let known = item == T::NAME && version == T::VERSION;
                responder.send(Ok(if known {
                    Seen::Opened(self.keeps)
                } else {
                    Seen::Holds {
                        item: T::NAME.to_owned(),
                        version: T::VERSION,
                    }
                }));
            }
            Look::State => {
                let door = Arc::clone(self);
                run(self.system(), async move {
                    let state = door.queue.state().await;
                    let state = state.map(|state| Seen::State(Box::new(state)));
                    responder.send(state.map_err(|failure| WireFailure::from(&failure)));
                });
            }
        }
    }

    fn leads_to(&self) -> (ActorId, Arc<str>, &System) {
        (self.queue.id(), self.queue.name(), self.queue.system())
    }
}

impl<T: WireMessage + Clone> Serve<OfferOp> for Door<T> {
    fn must_be_asked(_: &OfferOp) -> bool {
        true
    }

    fn serve(self: &Arc<Self>, op: OfferOp, meta: Meta, mut responder: Responder<OfferAnswer>) {
        let patience = self.patience(op.wait, &meta);
        let (_, registration) = abortable(&mut responder);
        let door = Arc::clone(self);
        let session = came_by();
        let offering = async move { door.offer(op, patience, session).await };
        let offering = Abortable::new(offering, registration);
        run(self.system(), async move {
            // Else the asker has gone.
            if let Ok(answer) = offering.await {
                responder.send(answer);
            }
        });
    }

    fn leads_to(&self) -> (ActorId, Arc<str>, &System) {
        Serve::<Look>::leads_to(self)
    }
}

impl<T: WireMessage + Clone> Serve<PollOp> for Door<T> {
    fn must_be_asked(op: &PollOp) -> bool {
        matches!(op, PollOp::Hold { .. } | PollOp::Lease(_))
    }

    fn serve(self: &Arc<Self>, op: PollOp, meta: Meta, responder: Responder<PollAnswer>) {
        let who = |holder| HolderId::new(holder, &meta);
        match op {
            PollOp::Hold { holder } => self.enter(&who(holder), responder),
            PollOp::Lease(op) => self.serve_lease(op, &meta, responder),
            PollOp::Withdraw { holder, ticket } => {
                self.holders.withdraw(&who(holder), ticket);
                responder.send(PollAnswer::Gone);
            }
            PollOp::Leave { holder, consumer } => {
                self.holders.consumer_left(&who(holder), &consumer);
                responder.send(PollAnswer::Gone);
            }
            PollOp::Settle(op) => {
                let (door, holder) = (Arc::clone(self), who(op.holder));
                run(self.system(), async move {
                    let answer = door.settle(op, &holder).await;
                    responder.send(answer);
                });
            }
        }
    }

    fn leads_to(&self) -> (ActorId, Arc<str>, &System) {
        Serve::<Look>::leads_to(self)
    }
}

impl<T: WireMessage + Clone> Door<T> {
    fn enter(self: &Arc<Self>, holder: &HolderId, mut here: Responder<PollAnswer>) {
        let (door, goes): (Weak<Self>, HolderId) = (Arc::downgrade(self), holder.clone());
        here.on_withdraw(move || {
            if let Some(door) = door.upgrade() {
                door.gone(&goes);
            }
        });
        let wanted = here.progress(Verdict::Executed);
        match self.holders.enter(holder, here) {
            Err(here) => here.send(PollAnswer::Failed(refuse(FailureKind::Overloaded))),
            // It had gone before it could be told.
            Ok(()) if !wanted => self.gone(holder),
            Ok(()) => {}
        }
    }

    fn serve_lease(
        self: &Arc<Self>,
        op: LeaseOp,
        meta: &Meta,
        mut responder: Responder<PollAnswer>,
    ) {
        if let Err(failure) = self.check(op.contract) {
            return responder.send(PollAnswer::Failed(failure));
        }
        if !are_short([op.consumer.as_ref()]) {
            return responder.send(PollAnswer::Failed(refuse(FailureKind::TooLarge)));
        }
        let patience = self.patience(op.wait, meta);
        let (handle, registration) = abortable(&mut responder);
        let (holder, ticket) = (HolderId::new(op.holder, meta), op.ticket);
        if !self.holders.wait(&holder, ticket, handle) {
            return responder.send(PollAnswer::Unknown);
        }
        let span = op.span.map(Duration::from_micros).or(self.lease);
        let door = Arc::clone(self);
        run(self.system(), async move {
            let leasing = async { door.lease(&op, &holder, patience).await };
            let leased = Abortable::new(leasing, registration).await;
            door.holders.wait_is_over(&holder, ticket);
            let answer = match leased {
                Err(_) => PollAnswer::Gone,
                Ok(Err(failure)) => PollAnswer::Failed(failure),
                Ok(Ok(leases)) => door.hand_out(leases, &holder, span, &mut responder),
            };
            responder.send(answer);
        });
    }

    /// Hands leases to their holder, or takes them back if it has gone.
    fn hand_out(
        &self,
        leases: Leases<T>,
        holder: &HolderId,
        span: Option<Duration>,
        responder: &mut Responder<PollAnswer>,
    ) -> PollAnswer {
        let Leases {
            items, receipts, ..
        } = leases;
        // Nobody waits any more, or nobody who may have them.
        if !responder.progress(Verdict::Executed) {
            receipts.into_iter().rev().for_each(drop);
            return PollAnswer::Failed(refuse(FailureKind::NotAuthorised));
        }
        let now = self.system().clock().now();
        match self.holders.give(holder, receipts, now, span) {
            Ok(()) => PollAnswer::Leased(items),
            Err(receipts) => {
                receipts.into_iter().rev().for_each(drop);
                PollAnswer::Gone
            }
        }
    }
}

impl<T: WireMessage + Clone> Serve<Administer> for Door<T> {
    fn serve(
        self: &Arc<Self>,
        op: Administer,
        _: Meta,
        responder: Responder<<Administer as Message>::Reply>,
    ) {
        match op {
            Administer::Stop => {
                self.queue.stop();
                responder.send(Ok(Administered::Done));
            }
            Administer::Browse { contract, .. } | Administer::BrowseDead { contract, .. }
                if self.check(contract).is_err() =>
            {
                responder.send(Err(refuse(FailureKind::WrongVersion)));
            }
            Administer::Browse {
                from, max, bytes, ..
            } => {
                let door = Arc::clone(self);
                run(self.system(), async move {
                    let found = door.browse(from, max, bytes).await;
                    responder.send(found);
                });
            }
            Administer::BrowseDead {
                from, max, bytes, ..
            } => {
                let door = Arc::clone(self);
                run(self.system(), async move {
                    let found = door.browse_dead(from, max, bytes).await;
                    responder.send(found);
                });
            }
            Administer::Purge => {
                let door = Arc::clone(self);
                // Items are dropped by code of theirs.
                run(self.system(), async move {
                    let purged = door.queue.purge().await.map(number);
                    let purged = purged.map(Administered::Count);
                    responder.send(purged.map_err(|failure| WireFailure::from(&failure)));
                });
            }
            Administer::DeadState => responder.send(self.dead_state()),
            Administer::Redrive { max } => {
                let door = Arc::clone(self);
                run(self.system(), async move {
                    responder.send(door.redriven(max).await.map(Administered::Count));
                });
            }
            Administer::PurgeDead => {
                let door = Arc::clone(self);
                run(self.system(), async move {
                    responder.send(door.dead_purged().map(Administered::Count));
                });
            }
        }
    }

    fn leads_to(&self) -> (ActorId, Arc<str>, &System) {
        Serve::<Look>::leads_to(self)
    }
}
