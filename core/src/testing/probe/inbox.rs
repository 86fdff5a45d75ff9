//! The actor of a probe, and what it keeps for the test.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use futures::task::AtomicWaker;
use parking_lot::Mutex;

use crate::actor::{Actor, DeferredHandler, Handler};
use crate::context::Context;
use crate::counters::DropReason;
use crate::envelope::{Envelope, Meta};
use crate::error::Failure;
use crate::message::Message;
use crate::responder::Responder;
use crate::watch::Terminated;

/// A message that a probe took, with what travelled beside it and the way back.
///
/// Dropping it unanswered tells its asker so, as [`NoAnswer`](crate::FailureKind::NoAnswer).
pub struct Asked<M: Message> {
    /// The message.
    pub message: M,
    /// What travelled beside it: key, attempt, deadline, principal.
    pub meta: Meta,
    /// The way back.
    pub responder: Responder<M::Reply>,
}

impl<M: Message> Asked<M> {
    /// Answers.
    pub fn reply(self, reply: M::Reply) {
        self.responder.send(reply);
    }

    /// Answers with a failure.
    pub fn fail(self, failure: Failure) {
        self.responder.fail(failure);
    }
}

impl<M: Message + fmt::Debug> fmt::Debug for Asked<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked")
            .field("message", &self.message)
            .field("meta", &self.meta)
            .finish_non_exhaustive()
    }
}

/// What comes to a probe.
pub(super) enum Event<M: Message> {
    Message(Asked<M>),
    /// Somebody watched has ended.
    Ended(Terminated),
}

/// What the actor keeps, and the test takes.
pub(super) struct Shared<M: Message> {
    capacity: usize,
    state: Mutex<State<M>>,
    /// The test, which waits for something to come.
    reader: AtomicWaker,
    /// The actor, which waits for room.
    room: AtomicWaker,
}

struct State<M: Message> {
    events: VecDeque<Event<M>>,
    closed: bool,
}

impl<M: Message> Shared<M> {
    pub(super) fn new(capacity: usize) -> Self {
        Shared {
            capacity,
            state: Mutex::new(State {
                events: VecDeque::new(),
                closed: false,
            }),
            reader: AtomicWaker::new(),
            room: AtomicWaker::new(),
        }
    }

    /// Keeps something, once there is room. Gives it back if the test has gone.
    async fn put(&self, event: Event<M>) -> Option<Event<M>> {
        let mut event = Some(event);
        poll_fn(|cx| {
            self.room.register(cx.waker());
            let mut state = self.state.lock();
            if state.closed {
                return Poll::Ready(());
            }
            if state.events.len() >= self.capacity {
                return Poll::Pending;
            }
            state.events.extend(event.take());
            Poll::Ready(())
        })
        .await;
        self.reader.wake();
        event
    }

    /// Takes what came first, if something has come.
    pub(super) fn take(&self) -> Option<Event<M>> {
        let event = self.state.lock().events.pop_front();
        if event.is_some() {
            self.room.wake();
        }
        event
    }

    /// The same, if it is a message.
    pub(super) fn take_message(&self) -> Option<Asked<M>> {
        let mut state = self.state.lock();
        if let Some(Event::Ended(_)) = state.events.front() {
            return None;
        }
        let event = state.events.pop_front();
        drop(state);
        match event {
            Some(Event::Message(asked)) => {
                self.room.wake();
                Some(asked)
            }
            _ => None,
        }
    }

    /// What comes next.
    pub(super) async fn next(&self) -> Event<M> {
        poll_fn(|cx| {
            self.reader.register(cx.waker());
            self.take().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    pub(super) fn len(&self) -> usize {
        self.state.lock().events.len()
    }

    /// The test has gone: nothing is kept any more.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let events = std::mem::take(&mut state.events);
        drop(state);
        // Their askers are told, and a message's own drop runs, outside the lock.
        drop(events);
        self.room.wake();
    }
}

/// The actor of a probe.
pub(super) struct Inbox<M: Message> {
    shared: Arc<Shared<M>>,
}

impl<M: Message> Inbox<M> {
    pub(super) fn new(shared: Arc<Shared<M>>) -> Self {
        Inbox { shared }
    }
}

impl<M: Message> Actor for Inbox<M> {}

impl<M: Message> DeferredHandler<M> for Inbox<M> {
    async fn handle_deferred(
        &mut self,
        message: M,
        responder: Responder<M::Reply>,
        ctx: &mut Context<Self>,
    ) {
        let asked = Asked {
            message,
            meta: ctx.meta().clone(),
            responder,
        };
        if let Some(Event::Message(asked)) = self.shared.put(Event::Message(asked)).await {
            let Asked {
                message,
                meta,
                responder,
            } = asked;
            let envelope = Envelope {
                message,
                meta,
                responder,
            };
            ctx.me().cell().bury(envelope, DropReason::Stopped);
        }
    }
}

/// The end of somebody watched. A type of its own, since a probe may take `Terminated` as its message.
pub(super) struct Ended(pub(super) Terminated);

impl Message for Ended {
    type Reply = ();
}

impl<M: Message> Handler<Ended> for Inbox<M> {
    async fn handle(&mut self, Ended(notice): Ended, _: &mut Context<Self>) {
        self.shared.put(Event::Ended(notice)).await;
    }
}
