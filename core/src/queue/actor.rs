//! The actor inside a queue: items, those who wait for them, those who wait for room.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::{QueueState, Sequence};
use crate::actor::{Actor, DeferredHandler, Handler};
use crate::actor_ref::ActorRef;
use crate::boundary::Verdict;
use crate::context::Context;
use crate::counters::DropReason;
use crate::dead_letter::DeadLetter;
use crate::error::{Failure, FailureKind};
use crate::message::Message;
use crate::responder::Responder;

/// How many may wait for items, and how many for room; the next one is refused (G3).
const WAITER_CAPACITY: usize = 4_096;

/// Stores an item; the item comes back if there is no room.
pub(super) struct Put<T> {
    pub(super) item: T,
    /// The number of a permit: its room is this item's.
    pub(super) permit: Option<u64>,
}

impl<T: Send + 'static> Message for Put<T> {
    type Reply = Result<Sequence, T>;
}

/// Waits for room, in line.
pub(super) struct Reserve<T>(PhantomData<fn() -> T>);

impl<T> Reserve<T> {
    pub(super) fn new() -> Self {
        Reserve(PhantomData)
    }
}

impl<T: Send + 'static> Message for Reserve<T> {
    type Reply = Permit<T>;
}

/// Takes the oldest item.
pub(super) struct PollItem<T> {
    wait: bool,
    item: PhantomData<fn() -> T>,
}

impl<T> PollItem<T> {
    pub(super) fn new(wait: bool) -> Self {
        PollItem {
            wait,
            item: PhantomData,
        }
    }
}

impl<T: Send + 'static> Message for PollItem<T> {
    type Reply = Handed<T>;
}

pub(super) struct State;

impl Message for State {
    type Reply = QueueState;
}

/// What comes back because its receiver had gone.
enum Back<T> {
    Item(Sequence, T),
    Permit(u64),
}

impl<T: Send + 'static> Message for Back<T> {
    type Reply = ();
}

/// An item on its way to a poller. Dropped without being taken, it goes back to its place.
pub(super) struct Handed<T: Send + 'static> {
    item: Option<(Sequence, T)>,
    queue: ActorRef<QueueActor<T>>,
}

impl<T: Send + 'static> Handed<T> {
    pub(super) fn take(mut self) -> Option<T> {
        self.item.take().map(|(_, item)| item)
    }
}

impl<T: Send + 'static> Drop for Handed<T> {
    fn drop(&mut self) {
        if let Some((sequence, item)) = self.item.take() {
            self.queue.tell_reserved(Back::Item(sequence, item));
        }
    }
}

/// Room for one item, handed to whoever waited longest. Dropped unused, it goes back.
pub(super) struct Permit<T: Send + 'static> {
    number: u64,
    used: bool,
    queue: ActorRef<QueueActor<T>>,
}

impl<T: Send + 'static> Permit<T> {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Its item is stored. Until that is known the permit must be kept: who gives up before gives it back.
    pub(super) fn used(mut self) {
        self.used = true;
    }
}

impl<T: Send + 'static> Drop for Permit<T> {
    fn drop(&mut self) {
        if !self.used {
            // Without effect if its item was stored and only the answer got lost.
            self.queue.tell_reserved(Back::<T>::Permit(self.number));
        }
    }
}

pub(super) struct QueueActor<T: Send + 'static> {
    name: Arc<str>,
    capacity: usize,
    circular: bool,
    items: VecDeque<(Sequence, T)>,
    pollers: VecDeque<Responder<Handed<T>>>,
    offerers: VecDeque<Responder<Permit<T>>>,
    /// Permits that are out: room that is not free though no item is in it.
    permits: Vec<u64>,
    next_permit: u64,
    state: QueueState,
    /// For what must outlive the loop: items go to dead letters when it ends.
    bury: Option<Box<dyn Fn(T) + Send>>,
}

impl<T: Send + 'static> QueueActor<T> {
    pub(super) fn new(name: Arc<str>, capacity: usize, circular: bool) -> Self {
        QueueActor {
            name,
            capacity,
            circular,
            items: VecDeque::new(),
            pollers: VecDeque::new(),
            offerers: VecDeque::new(),
            permits: Vec::new(),
            next_permit: 1,
            state: QueueState {
                capacity,
                ..QueueState::default()
            },
            bury: None,
        }
    }

    fn has_room(&self) -> bool {
        self.items.len() + self.permits.len() < self.capacity
    }

    /// Brings items and pollers, room and offerers together.
    fn settle(&mut self, me: &ActorRef<Self>) {
        while !self.items.is_empty() {
            let Some(mut poller) = self.pollers.pop_front() else {
                break;
            };
            if !poller.progress(Verdict::Executed) {
                continue;
            }
            let item = self.items.pop_front();
            self.state.polled += 1;
            poller.send(Handed {
                item,
                queue: me.clone(),
            });
        }
        while self.has_room() {
            let Some(mut offerer) = self.offerers.pop_front() else {
                break;
            };
            if !offerer.progress(Verdict::Executed) {
                continue;
            }
            let number = self.next_permit;
            self.next_permit += 1;
            self.permits.push(number);
            offerer.send(Permit {
                number,
                used: false,
                queue: me.clone(),
            });
        }
    }

    fn store(&mut self, item: T) -> Sequence {
        self.state.offered += 1;
        self.items.push_back((self.state.offered, item));
        self.state.offered
    }
}

/// Puts a waiter in line, or refuses it when the line is at its bound.
fn line_up<R: Send + 'static>(
    line: &mut VecDeque<Responder<R>>,
    mut responder: Responder<R>,
    name: &str,
) {
    if line.len() >= WAITER_CAPACITY {
        line.retain_mut(|waiter| waiter.progress(Verdict::Executed));
    }
    if line.len() >= WAITER_CAPACITY {
        let failure = Failure::new(FailureKind::Overloaded, Verdict::NotExecuted)
            .with_detail(format!("too many wait at queue {name}"));
        responder.fail(failure);
    } else if responder.progress(Verdict::Executed) {
        line.push_back(responder);
    }
}

impl<T: Send + 'static> Actor for QueueActor<T> {
    async fn starting(&mut self, ctx: &mut Context<Self>) -> Result<(), crate::StartFailure> {
        let system = ctx.system().clone();
        let name = Arc::clone(&self.name);
        self.bury = Some(Box::new(move |item| {
            system.dead_letters().push(DeadLetter {
                at: system.clock().now(),
                target: format!("queue {name}"),
                message_type: std::any::type_name::<T>(),
                reason: DropReason::Stopped,
                key: None,
                message: Box::new(item),
            });
        }));
        Ok(())
    }
}

impl<T: Send + 'static> Drop for QueueActor<T> {
    /// However the queue ends, its items go to dead letters and whoever waits is told.
    fn drop(&mut self) {
        if let Some(bury) = self.bury.take() {
            self.items.drain(..).for_each(|(_, item)| bury(item));
        }
        let failure = Failure::new(FailureKind::Stopped, Verdict::NotExecuted)
            .with_detail(format!("queue {}", self.name));
        self.pollers
            .drain(..)
            .for_each(|poller| poller.fail(failure.clone()));
        self.offerers
            .drain(..)
            .for_each(|offerer| offerer.fail(failure.clone()));
    }
}

impl<T: Send + 'static> Handler<Put<T>> for QueueActor<T> {
    async fn handle(&mut self, put: Put<T>, ctx: &mut Context<Self>) -> Result<Sequence, T> {
        if let Some(number) = put.permit {
            self.permits.retain(|permit| *permit != number);
        } else if self.circular {
            // More than one goes if items came back that were on their way to pollers who left.
            while !self.has_room()
                && let Some((_, oldest)) = self.items.pop_front()
            {
                self.state.dropped += 1;
                ctx.system().dead_letters().push(DeadLetter {
                    at: ctx.system().clock().now(),
                    target: format!("queue {}", self.name),
                    message_type: std::any::type_name::<T>(),
                    reason: DropReason::DropOldest,
                    key: None,
                    message: Box::new(oldest),
                });
            }
        } else if !self.has_room() || !self.offerers.is_empty() {
            return Err(put.item);
        }
        let sequence = self.store(put.item);
        self.settle(&ctx.me());
        Ok(sequence)
    }
}

impl<T: Send + 'static> DeferredHandler<Reserve<T>> for QueueActor<T> {
    async fn handle_deferred(
        &mut self,
        _: Reserve<T>,
        responder: Responder<Permit<T>>,
        ctx: &mut Context<Self>,
    ) {
        line_up(&mut self.offerers, responder, &self.name);
        self.settle(&ctx.me());
    }
}

impl<T: Send + 'static> DeferredHandler<PollItem<T>> for QueueActor<T> {
    async fn handle_deferred(
        &mut self,
        poll: PollItem<T>,
        responder: Responder<Handed<T>>,
        ctx: &mut Context<Self>,
    ) {
        if self.items.is_empty() && !poll.wait {
            responder.send(Handed {
                item: None,
                queue: ctx.me(),
            });
            return;
        }
        line_up(&mut self.pollers, responder, &self.name);
        self.settle(&ctx.me());
    }
}

impl<T: Send + 'static> Handler<Back<T>> for QueueActor<T> {
    async fn handle(&mut self, back: Back<T>, ctx: &mut Context<Self>) {
        match back {
            Back::Item(sequence, item) => {
                self.state.polled -= 1;
                let place = self.items.partition_point(|(other, _)| *other < sequence);
                self.items.insert(place, (sequence, item));
            }
            Back::Permit(number) => self.permits.retain(|permit| *permit != number),
        }
        self.settle(&ctx.me());
    }
}

impl<T: Send + 'static> Handler<State> for QueueActor<T> {
    async fn handle(&mut self, _: State, _ctx: &mut Context<Self>) -> QueueState {
        QueueState {
            len: self.items.len(),
            waiting_pollers: self.pollers.len(),
            waiting_offerers: self.offerers.len(),
            ..self.state
        }
    }
}

impl<T: Send + 'static> fmt::Debug for QueueActor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueActor")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
