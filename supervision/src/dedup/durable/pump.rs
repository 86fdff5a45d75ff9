//! What comes after the disk: one task of a durable store lets requests go on to their handlers, in their order, and
//! answers those who wait. It ends with the store.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use callboard_core::journal::JournalError;
use callboard_core::{
    DeadLetter, DropReason, Envelope, Failure, FailureKind, Message, Onward, Refused, Verdict,
};
use futures::future::BoxFuture;
use futures::task::AtomicWaker;

use super::super::shared::{Kept, Shared, Stored, lost};
use super::super::sink::answer;
use super::{Ending, KeptAs, Step};

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
        line: VecDeque::new(),
        waiting: None,
    };
    std::future::poll_fn(|cx| pump.poll(&bell, cx)).await;
}

struct Pump<M: Message<Reply: Clone>> {
    shared: Weak<Shared<M>>,
    /// Requests that go on, in their order.
    line: VecDeque<(Envelope<M>, Onward<M>)>,
    /// The first of them, if there is no room for it.
    waiting: Option<BoxFuture<'static, Result<(), Refused<M>>>>,
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
            for (step, stored) in durable.take_ready() {
                match step {
                    Step::Go(held) if stored.is_ok() => self.line.push_back(*held),
                    other => shared.settle(other, stored),
                }
            }
            let moved = self.move_line(&shared, cx);
            if durable.is_closed() && self.line.is_empty() && self.waiting.is_none() {
                return Poll::Ready(());
            }
            if !heard && !moved {
                return Poll::Pending;
            }
        }
    }

    /// Lets go on whom there is room for. Whether anything moved.
    fn move_line(&mut self, shared: &Shared<M>, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        loop {
            if let Some(waiting) = &mut self.waiting {
                let Poll::Ready(sent) = Pin::new(waiting).poll(cx) else {
                    return moved;
                };
                self.waiting = None;
                if let Err(refused) = sent {
                    shared.give_up(refused.envelope, refused.failure);
                }
                moved = true;
            }
            let Some((envelope, onward)) = self.line.pop_front() else {
                return moved;
            };
            moved = true;
            match onward.send(envelope) {
                Ok(()) => {}
                Err(refused) if refused.may_wait => {
                    self.waiting = Some(onward.wait_for_room(refused.envelope));
                }
                Err(refused) => shared.give_up(refused.envelope, refused.failure),
            }
        }
    }
}

impl<M: Message<Reply: Clone>> Drop for Pump<M> {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
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
                let (envelope, _) = *held;
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
        let stored = match (&failed, kept) {
            (Some(why), _) => Stored::Lost(why.clone()).kept(),
            (None, KeptAs::Body) => Kept::OnDisk(record),
            (None, KeptAs::TooLarge) => Stored::TooLarge.kept(),
            (None, KeptAs::Lost(why)) => Stored::Lost(why).kept(),
        };
        let due = self.due();
        let mut inner = self.inner.lock();
        inner.stats.storage_failed += u64::from(failed.is_some());
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
