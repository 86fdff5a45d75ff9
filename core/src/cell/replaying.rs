//! The message in hand at a crash, offered to the next incarnation (G14).
//!
//! Before the handler of a message that is to be replayed begins, a copy of it is laid aside in a [`Hand`], with
//! the way back to its asker; the handler's answer goes through a responder that only stands for that way. So
//! nothing that the crash drops can tell the asker, and what answers takes the way out of the hand: then there is
//! nothing to replay. When the incarnation has ended, whatever still lies in the hand goes to the front of the
//! mailbox, or is given up as poison.

use std::marker::PhantomData;
use std::sync::Arc;
use std::thread::panicking;

use parking_lot::Mutex;

use super::Cell;
use super::body::{Body, Ended};
use super::letter::{ActorKind, Full};
use crate::actor::{Actor, Receives};
use crate::boundary::Verdict;
use crate::counters::{Counters, DropReason};
use crate::envelope::{Envelope, Meta};
use crate::error::{Failure, FailureKind};
use crate::mailbox::records::Records;
use crate::message::Message;
use crate::replay::FailedAttempt;
use crate::responder::{Outcome, ReplySink, Responder, WayBack};
use crate::watch::ExitReason;

/// A message in hand, as it is offered again should its handler crash.
pub(super) struct Hand<M: Message> {
    expects_answer: bool,
    /// The handler ends with its answer. One that has a responder of its own may go on after that.
    by_return: bool,
    state: Mutex<State<M>>,
    counters: Arc<Counters>,
}

struct State<M: Message> {
    /// Until its handler has ended, or put it off.
    copy: Option<(M, Meta)>,
    /// Until somebody answers.
    to: Option<Responder<M::Reply>>,
    /// The responder was dropped by a panic, of which nobody knows yet what it ends.
    held: Option<Failure>,
    /// The incarnation has crashed with this in hand; only what it still holds has to be dropped.
    crashed: bool,
}

impl<M: Message> Hand<M> {
    /// The handler has ended in order.
    fn end(&self) {
        let mut state = self.state.lock();
        if state.crashed {
            return;
        }
        let copy = state.copy.take();
        let held = state.held.take();
        let to = held.and_then(|failure| Some((state.to.take()?, failure)));
        // The code of others runs outside the lock, here and below.
        drop(state);
        if let Some((to, failure)) = to {
            to.fail(failure);
        }
        drop(copy);
    }

    /// From now on no responder of the incarnation tells the asker anything.
    fn crash(&self) {
        let mut state = self.state.lock();
        state.crashed = state.copy.is_some();
    }

    /// Takes out what is to be offered again: nothing, if the handler has ended, or somebody has answered.
    fn take(&self) -> Option<Envelope<M>> {
        let mut state = self.state.lock();
        let copy = state.copy.take()?;
        let to = state.to.take();
        state.held = None;
        drop(state);
        let (message, meta) = copy;
        Some(Envelope {
            message,
            meta,
            responder: to?,
        })
    }
}

/// What the handler, and whoever it gives its responder to, does with it.
impl<M: Message> WayBack<M::Reply> for Hand<M> {
    fn expects_answer(&self) -> bool {
        self.expects_answer
    }

    fn progress(&self, verdict: Verdict) -> bool {
        // Under the lock, lest a crash meanwhile takes it for answered.
        let mut state = self.state.lock();
        let to = state.to.as_mut();
        to.is_some_and(|to| to.progress(verdict))
    }

    fn on_withdraw(&self, withdraw: Box<dyn FnOnce() + Send>) {
        let mut state = self.state.lock();
        if let Some(to) = &mut state.to {
            to.on_withdraw(withdraw);
        }
    }

    fn finish(&self, outcome: Outcome<M::Reply>) {
        let mut state = self.state.lock();
        if state.crashed {
            drop(state);
            // G8: the answer of an attempt that crashed.
            if outcome.is_ok() {
                self.counters.count_drop(DropReason::LateReply);
            }
            return;
        }
        let to = state.to.take();
        // Else the handler's own thread drops it when the handler has ended.
        let copy = self.by_return.then(|| state.copy.take());
        drop(state);
        match (to, outcome) {
            (Some(to), Ok(reply)) => to.send(reply),
            (Some(to), Err(failure)) => to.fail(failure),
            (None, _) => {}
        }
        drop(copy);
    }

    fn give_up(&self, failure: Failure) {
        let mut state = self.state.lock();
        if state.crashed {
            return;
        }
        if state.copy.is_some() && panicking() {
            state.held = Some(failure);
            return;
        }
        let to = state.to.take();
        drop(state);
        if let Some(to) = to {
            to.fail(failure);
        }
    }

    fn put_off(&self) {
        let mut state = self.state.lock();
        if !state.crashed {
            let copy = state.copy.take();
            drop(state);
            drop(copy);
        }
    }

    fn take_back(&self) -> Option<Responder<M::Reply>> {
        let mut state = self.state.lock();
        if state.copy.is_some() || state.crashed {
            return None;
        }
        state.to.take()
    }
}

/// Lies where the answer of a handler would, if that handler has a responder of its own: dropped when it has ended.
struct AtEnd<M: Message>(Arc<Hand<M>>);

impl<M: Message> ReplySink<M::Reply> for AtEnd<M> {
    fn progress(&mut self, _: Verdict) -> bool {
        true
    }

    fn finish(self: Box<Self>, _: Outcome<M::Reply>) {
        if !panicking() {
            self.0.end();
        }
    }
}

/// The message in hand of an incarnation, whatever its type.
pub(super) trait InHand<A: Actor> {
    /// The incarnation crashes.
    fn crash(&self);

    /// The incarnation has ended: puts what is to be offered again there.
    fn offer_again(self: Box<Self>, cell: &Cell<A>, ended: &Ended, to: &mut Records<ActorKind<A>>);
}

struct Offer<M: Message, How> {
    hand: Arc<Hand<M>>,
    /// How often at most.
    times: u32,
    how: PhantomData<fn() -> How>,
}

impl<A, M, How> InHand<A> for Offer<M, How>
where
    A: Receives<M, How>,
    M: Message,
    How: 'static,
{
    fn crash(&self) {
        self.hand.crash();
    }

    fn offer_again(self: Box<Self>, cell: &Cell<A>, ended: &Ended, to: &mut Records<ActorKind<A>>) {
        self.hand.crash();
        let Some(mut envelope) = self.hand.take() else {
            return;
        };
        let meta = &mut envelope.meta;
        let failed = FailedAttempt {
            attempt: meta.attempt(),
            incarnation: cell.incarnation(),
            at: cell.system().clock().now(),
            reason: ended.to_reason(),
        };
        meta.add_failed_attempt(cell.id, failed);
        if meta.failed_attempts().len() > self.times as usize {
            return cell.give_up_as_poison(envelope);
        }
        meta.set_attempt(meta.attempt().saturating_add(1));
        // It had its room in the mailbox, and gave it back when its handler began.
        to.push(Full::<M, How>::new(envelope), false);
    }
}

impl<A: Actor> Cell<A> {
    /// Lays a copy of a message aside, if messages of its type are replayed; its handler gets it with a responder
    /// that stands for the real one. `by_return`: the handler answers by what it returns.
    #[cold]
    pub(super) fn take_in_hand<M, How>(
        &self,
        body: &Body<A>,
        envelope: Envelope<M>,
        by_return: bool,
    ) -> (Envelope<M>, Option<Arc<Hand<M>>>)
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        let Some((times, copy)) = self.replays().and_then(|replays| replays.of::<M>()) else {
            return (envelope, None);
        };
        let copied = copy(&envelope.message);
        let Envelope {
            message,
            meta,
            responder,
        } = envelope;
        // One that was put off by its handler has stood for another: else they would pile up.
        let responder = responder.without_stand_in();
        let hand = Arc::new(Hand {
            expects_answer: responder.expects_answer(),
            by_return,
            state: Mutex::new(State {
                copy: Some((copied, meta.clone())),
                to: Some(responder),
                held: None,
                crashed: false,
            }),
            counters: self.system().counters_arc(),
        });
        body.set_in_hand(Box::new(Offer::<M, How> {
            hand: Arc::clone(&hand),
            times,
            how: PhantomData,
        }));
        let way = Arc::clone(&hand) as Arc<dyn WayBack<M::Reply>>;
        let envelope = Envelope {
            message,
            meta,
            responder: Responder::standing_in(way),
        };
        (envelope, Some(hand))
    }

    /// What to put where the answer would be, so that the end of a handler with a responder of its own is seen.
    #[cold]
    pub(super) fn at_end<M: Message>(hand: Arc<Hand<M>>) -> Responder<M::Reply> {
        Responder::new(Box::new(AtEnd(hand)))
    }

    /// Gives up a message that has crashed too many incarnations.
    #[cold]
    fn give_up_as_poison<M: Message>(&self, envelope: Envelope<M>) {
        let attempts = envelope.meta.failed_attempts();
        let (count, last) = (attempts.len(), attempts.last().map(|last| &last.reason));
        let kind = match last {
            Some(ExitReason::Killed) => FailureKind::Killed,
            _ => FailureKind::Panicked,
        };
        let label = self.label();
        let detail = match last {
            Some(last) => format!("{label}: poison after {count} attempts, the last one {last}"),
            None => format!("{label}: poison"),
        };
        tracing::warn!(
            target: "callboard::actor",
            actor = %label, message = std::any::type_name::<M>(), attempts = count,
            "a message was given up as poison"
        );
        let failure = Failure::new(kind, Verdict::Executed).with_detail(detail);
        self.give_up(envelope, DropReason::Poison, failure);
    }
}
