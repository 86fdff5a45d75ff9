//! What comes after the disk: one task of a durable store lets requests go on to their handlers, in their order, and
//! answers those who wait. It ends with the store.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use callboard_core::journal::JournalError;
use callboard_core::{
    ActorId, DeadLetter, DropReason, Envelope, Failure, FailureKind, Message, Refused, Verdict,
};
use futures::future::BoxFuture;
use futures::task::AtomicWaker;

use super::super::shared::{Kept, Shared, Stored, lost};
use super::super::sink::answer;
use super::{Ending, Held, KeptAs, Step};

/// Wakes the pump.
#[derive(Default)]
pub(in crate::dedup) struct Bell {
    rung: AtomicBool,
    waker: AtomicWaker,
}

impl Bell {
    pub(in crate::dedup) fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        self.waker.wake();
    }

    fn heard(&self, cx: &Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.rung.swap(false, Ordering::AcqRel)
    }
}

/// Runs until the store is gone or closed.
pub(super) async fn run<M: Message<Reply: Clone>>(shared: Weak<Shared<M>>, bell: Arc<Bell>) {
    let mut pump = Pump {
        shared,
        lines: BTreeMap::new(),
    };
    std::future::poll_fn(|cx| pump.poll(&bell, cx)).await;
}

struct Pump<M: Message<Reply: Clone>> {
    shared: Weak<Shared<M>>,
    /// Who waits for room, by actor: one that is full holds up nobody else.
    lines: BTreeMap<ActorId, Line<M>>,
}

/// Requests for one actor.
struct Line<M: Message> {
    /// The first, for which there is no room yet.
    first: BoxFuture<'static, Result<(), Refused<M>>>,
    /// Those behind it, in their order.
    rest: VecDeque<Held<M>>,
}

impl<M: Message<Reply: Clone>> Pump<M> {
    fn poll(&mut self, bell: &Bell, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let heard = bell.heard(cx);
            let Some(shared) = self.shared.upgrade() else {
                return Poll::Ready(());
            };
            let Some(durable) = &shared.durable else {
                return Poll::Ready(());
            };
            let mut moved = self.move_lines(&shared, cx);
            for (step, stored) in durable.take_ready() {
                match step {
                    Step::Go(held) if stored.is_ok() => moved |= self.go(&shared, *held),
                    other => shared.settle(other, stored),
                }
            }
            if durable.is_closed() && self.lines.is_empty() {
                return Poll::Ready(());
            }
            if !heard && !moved {
                return Poll::Pending;
            }
        }
    }

    /// Lets one go on, or stand in line. Whether a line begins with it, and is to be polled.
    fn go(&mut self, shared: &Shared<M>, held: Held<M>) -> bool {
        if let Some(line) = self.lines.get_mut(&held.to) {
            line.rest.push_back(held);
            return false;
        }
        let to = held.to;
        let Some(first) = let_go(shared, held) else {
            return false;
        };
        let rest = VecDeque::new();
        self.lines.insert(to, Line { first, rest });
        true
    }

    /// Lets go on whom there is room for. Whether anything moved.
    fn move_lines(&mut self, shared: &Shared<M>, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        self.lines.retain(|_, line| {
            while let Poll::Ready(sent) = Pin::new(&mut line.first).poll(cx) {
                moved = true;
                if let Err(refused) = sent {
                    shared.give_up(refused.envelope, refused.failure);
                }
                let next = loop {
                    match line.rest.pop_front() {
                        None => return false,
                        Some(held) => {
                            if let Some(waits) = let_go(shared, held) {
                                break waits;
                            }
                        }
                    }
                };
                line.first = next;
            }
            true
        });
        moved
    }
}

/// Lets a request go on. What waits for room, if there is none.
fn let_go<M: Message<Reply: Clone>>(
    shared: &Shared<M>,
    held: Held<M>,
) -> Option<BoxFuture<'static, Result<(), Refused<M>>>> {
    let Held {
        envelope, onward, ..
    } = held;
    match onward.send(envelope) {
        Ok(()) => None,
        Err(refused) if refused.may_wait => Some(onward.wait_for_room(refused.envelope)),
        Err(refused) => {
            shared.give_up(refused.envelope, refused.failure);
            None
        }
    }
}

impl<M: Message<Reply: Clone>> Drop for Pump<M> {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        for line in std::mem::take(&mut self.lines).into_values() {
            // Its message is gone with what it waited in; its asker is told.
            drop(line.first);
            shared.system.counters().count_drop(DropReason::Stopped);
            for held in line.rest {
                let failure = Failure::new(FailureKind::Stopped, Verdict::NotExecuted);
                shared.give_up(held.envelope, failure);
            }
        }
        if let Some(durable) = &shared.durable {
            for (step, stored) in durable.abandon() {
                shared.settle(step, stored);
            }
        }
    }
}

impl<M: Message<Reply: Clone>> Shared<M> {
    /// Something has got to the disk, or never will.
    pub(super) fn settle(&self, step: Step<M>, stored: Result<(), JournalError>) {
        match step {
            Step::Go(held) => {
                let envelope = held.envelope;
                let failure = match (&stored, &self.durable) {
                    (Err(error), Some(durable)) => durable.refusal(error),
                    _ => Failure::new(FailureKind::Stopped, Verdict::NotExecuted),
                };
                self.give_up(envelope, failure);
            }
            Step::End(ending) => self.ended_on_disk(*ending, stored.err()),
            // An error: who asked has left.
            Step::Tell(told) => drop(told.send(stored)),
        }
    }

    /// A request that was held doesn't run. Its sender can't have it back any more.
    fn give_up(&self, envelope: Envelope<M>, failure: Failure) {
        let Envelope {
            message,
            meta,
            responder,
        } = envelope;
        let reason = match failure.kind() {
            FailureKind::Stopped => DropReason::Stopped,
            FailureKind::DeadlineExceeded => DropReason::Expired,
            FailureKind::Full => DropReason::DropNewest,
            _ => DropReason::Undelivered,
        };
        let name = self.durable.as_ref().map(|durable| &*durable.name);
        responder.fail(failure.with_verdict(Verdict::NotExecuted));
        self.system.dead_letters().push(DeadLetter {
            at: self.system.clock().now(),
            target: format!("behind the dedup store {}", name.unwrap_or_default()),
            message_type: std::any::type_name::<M>(),
            reason,
            key: meta.key(),
            attempts: meta.failed_attempts().to_vec(),
            message: Box::new(message),
        });
    }

    fn ended_on_disk(&self, ending: Ending<M::Reply>, failed: Option<JournalError>) {
        let Ending {
            place,
            epoch,
            record,
            outcome,
            kept,
            ..
        } = ending;
        let failed = failed.map(|error| error.to_string());
        let bytes_are_gone = failed.is_some() || kept != KeptAs::Body;
        let stored = match (&failed, kept) {
            (Some(why), _) => Stored::Lost(why.clone()).kept(),
            (None, KeptAs::Body) => Kept::OnDisk(record),
            (None, KeptAs::TooLarge) => Stored::TooLarge.kept(),
            (None, KeptAs::Lost(why)) => Stored::Lost(why).kept(),
        };
        let due = self.due();
        let mut inner = self.inner.lock();
        inner.stats.storage_failed += u64::from(failed.is_some());
        if bytes_are_gone {
            inner.store.unweigh(place, epoch);
        }
        let waiting = inner.store.end(place, epoch, due, stored);
        drop(inner);
        let Some(waiting) = waiting else { return };
        let answered = outcome.is_ok();
        let told = match failed {
            // A restart might not know of it: the answer stays unsaid.
            Some(why) => answer(waiting, Err(lost(&why))),
            None => answer(waiting, outcome),
        };
        if !told && answered {
            self.count_late();
        }
    }
}
