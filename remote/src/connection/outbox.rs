//! What waits to be written to one connection, and which asks wait for its answers (G3).
//!
//! Senders put whole frames in, from any thread; the connection's writer takes them out, many at once. A
//! frame that was taken counts as sent, whatever becomes of the connection: the verdict of an ask that
//! is lost is `NotSent` before and `MaybeExecuted` after. Up to then an ask can be withdrawn and its
//! frame never leaves.
//!
//! Messages wait for room. Answers, pings and cancels never do: the side that reads them would have to
//! wait for the side that writes. What bounds answers is that a peer which leaves too many unread loses
//! its connection.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use callboard::clock::{Clock, Instant};
use callboard::{Failure, RequestKey};
use parking_lot::Mutex;

use super::end::EndSignal;
use crate::config::LinkConfig;
use crate::error::LinkErrorKind;
use crate::wire::body::{REMAINING, encode_remaining};
use crate::wire::frame::{HEADER, Kind, bare};

#[cfg(test)]
mod tests;

/// How many bytes are taken for one write, unless a single frame is larger.
const BATCH: usize = 64 * 1024;

/// An ask that waits for its answer.
pub(crate) trait Pending: Send + Sync {
    /// Its frame leaves now. `false` if nobody wants the answer any more: then it doesn't leave.
    fn hand_over(&self) -> bool;
    /// The answer.
    fn reply(&self, payload: &[u8]);
    /// The end without an answer.
    fn fail(&self, failure: Failure);
    /// Whether [`hand_over`](Pending::hand_over) was called.
    fn is_handed_over(&self) -> bool;
}

/// What must be known of a tell that is lost after it was accepted.
#[derive(Debug, Clone)]
pub(crate) struct LostTell {
    pub(crate) target: Arc<str>,
    pub(crate) message_type: &'static str,
    pub(crate) key: Option<RequestKey>,
    /// The frame, whole.
    pub(crate) frame: Vec<u8>,
    /// Its deadline had passed.
    pub(crate) expired: bool,
}

/// What a queued frame carries.
pub(crate) enum Cargo {
    /// An ask: its number, and who waits.
    Ask(u64, Arc<dyn Pending>),
    Tell {
        target: Arc<str>,
        message_type: &'static str,
        key: Option<RequestKey>,
    },
    /// Anything else.
    Other,
}

/// A frame that waits.
pub(crate) struct Queued {
    pub(crate) frame: Vec<u8>,
    /// Of a request: its remaining time is written when it leaves.
    pub(crate) deadline: Option<Instant>,
    pub(crate) cargo: Cargo,
}

/// Why a frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// The frame may wait.
    Full,
    /// The connection is over.
    Closed,
}

/// What was left when a connection ended.
#[derive(Default)]
pub(crate) struct Leftover {
    /// Unanswered asks, whether handed over or not.
    pub(crate) asks: Vec<Arc<dyn Pending>>,
    /// Tells that certainly never left.
    pub(crate) tells: Vec<LostTell>,
}

pub(crate) struct Outbox {
    inner: Mutex<Inner>,
    end: Arc<EndSignal>,
    on_lost: Box<dyn Fn(LostTell) + Send + Sync>,
    bytes: usize,
    unread: usize,
    in_flight: usize,
}

#[derive(Default)]
struct Inner {
    control: VecDeque<Vec<u8>>,
    queue: VecDeque<Queued>,
    /// Bytes in `queue` and `control`.
    bytes: usize,
    asks: HashMap<u64, Arc<dyn Pending>>,
    /// Senders that wait for room, the longest first.
    line: VecDeque<(u64, Waker)>,
    next_ticket: u64,
    writer: Option<Waker>,
    closed: bool,
}

impl Outbox {
    /// An empty one. `on_lost` is told of each tell that expired in it.
    pub(crate) fn new(
        config: &LinkConfig,
        end: Arc<EndSignal>,
        on_lost: impl Fn(LostTell) + Send + Sync + 'static,
    ) -> Self {
        Outbox {
            inner: Mutex::default(),
            end,
            on_lost: Box::new(on_lost),
            bytes: config.outbox.max(1),
            unread: config.unread_answers,
            in_flight: config.in_flight.max(1),
        }
    }

    fn has_room(&self, inner: &Inner, cargo: &Cargo) -> bool {
        inner.bytes < self.bytes
            && (!matches!(cargo, Cargo::Ask(..)) || inner.asks.len() < self.in_flight)
    }

    /// Puts a message in if there is room. It is taken out of `queued` then.
    pub(crate) fn push(&self, queued: &mut Option<Queued>) -> Result<(), NoRoom> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(NoRoom::Closed);
        }
        let room = queued
            .as_ref()
            .is_none_or(|queued| self.has_room(&inner, &queued.cargo));
        // Nobody overtakes those who wait.
        if !room || !inner.line.is_empty() {
            return Err(NoRoom::Full);
        }
        let wake = queued.take().and_then(|queued| inner.put(queued));
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Waits for room, behind those who wait already.
    ///
    /// Dropping the future gives up the place in the line.
    pub(crate) fn push_waiting<'a>(&'a self, queued: &'a mut Option<Queued>) -> PushWaiting<'a> {
        PushWaiting {
            outbox: self,
            queued,
            ticket: None,
        }
    }

    /// Puts an answer in, whatever the room; a peer that leaves too much unread is cut off.
    pub(crate) fn push_answer(&self, frame: Vec<u8>) {
        let mut inner = self.inner.lock();
        if inner.closed {
            return;
        }
        let wake = inner.put(Queued {
            frame,
            deadline: None,
            cargo: Cargo::Other,
        });
        let bytes = inner.bytes;
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
        if bytes > self.unread {
            self.end.set(LinkErrorKind::Unread(bytes));
        }
    }

    /// Puts a small frame in ahead of all others.
    pub(crate) fn push_control(&self, frame: Vec<u8>) {
        let mut inner = self.inner.lock();
        if inner.closed {
            return;
        }
        inner.bytes += frame.len();
        inner.control.push_back(frame);
        let bytes = inner.bytes;
        let wake = inner.writer.take();
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
        if bytes > self.unread {
            self.end.set(LinkErrorKind::Unread(bytes));
        }
    }

    /// The asker gave up. If its frame has left, the peer is told; else it never leaves.
    pub(crate) fn withdraw(&self, ask: u64) {
        let Some(pending) = self.take_ask(ask) else {
            return;
        };
        if pending.is_handed_over() {
            self.push_control(bare(Kind::Cancel, ask));
        }
    }

    /// Takes an ask out, because it ends.
    pub(crate) fn take_ask(&self, ask: u64) -> Option<Arc<dyn Pending>> {
        let mut inner = self.inner.lock();
        let pending = inner.asks.remove(&ask)?;
        let wake = inner.first_in_line();
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
        Some(pending)
    }

    /// Moves what waits into `buffer`, up to a batch.
    pub(crate) fn poll_take(
        &self,
        cx: &mut Context<'_>,
        clock: &Clock,
        buffer: &mut Vec<u8>,
    ) -> Poll<()> {
        let mut batch = Vec::new();
        // Frames that nobody wants are skipped; then there may be others.
        while buffer.is_empty() {
            if !self.take_batch(cx, &mut batch) {
                return Poll::Pending;
            }
            let now = clock.now();
            for queued in batch.drain(..) {
                self.hand_over(queued, now, buffer);
            }
        }
        Poll::Ready(())
    }

    /// Takes a batch of frames out. `false` if there was none; the writer is then woken by the next.
    fn take_batch(&self, cx: &mut Context<'_>, batch: &mut Vec<Queued>) -> bool {
        let mut inner = self.inner.lock();
        let mut taken = 0;
        while let Some(frame) = inner.control.pop_front() {
            taken += frame.len();
            let (deadline, cargo) = (None, Cargo::Other);
            batch.push(Queued {
                frame,
                deadline,
                cargo,
            });
        }
        while taken < BATCH {
            let Some(queued) = inner.queue.pop_front() else {
                break;
            };
            taken += queued.frame.len();
            // An ask that was withdrawn is not in the table any more.
            let wanted = match &queued.cargo {
                Cargo::Ask(ask, _) => inner.asks.contains_key(ask),
                _ => true,
            };
            if wanted {
                batch.push(queued);
            }
        }
        inner.bytes = inner.bytes.saturating_sub(taken);
        if taken == 0 {
            inner.writer = Some(cx.waker().clone());
            return false;
        }
        let wake = inner.first_in_line();
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
        true
    }

    /// The moment a frame counts as sent.
    fn hand_over(&self, mut queued: Queued, now: Instant, buffer: &mut Vec<u8>) {
        let expired = queued.deadline.is_some_and(|deadline| deadline <= now);
        match queued.cargo {
            Cargo::Ask(ask, pending) if expired => {
                self.take_ask(ask);
                pending.fail(expired_unsent());
                return;
            }
            Cargo::Ask(ask, pending) => {
                if !pending.hand_over() {
                    self.take_ask(ask);
                    return;
                }
            }
            Cargo::Tell {
                target,
                message_type,
                key,
            } if expired => {
                (self.on_lost)(LostTell {
                    target,
                    message_type,
                    key,
                    frame: queued.frame,
                    expired,
                });
                return;
            }
            Cargo::Tell { .. } | Cargo::Other => {}
        }
        if let Some(deadline) = queued.deadline {
            let field = HEADER + REMAINING.start..HEADER + REMAINING.end;
            if let Some(field) = queued.frame.get_mut(field) {
                field.copy_from_slice(&encode_remaining(Some(deadline.since(now))));
            }
        }
        if buffer.is_empty() {
            // A large message is not copied once more.
            *buffer = queued.frame;
        } else {
            buffer.append(&mut queued.frame);
        }
    }

    /// Takes nothing any more, turns away who waits, and hands out what was left.
    pub(crate) fn close(&self) -> Leftover {
        let mut inner = self.inner.lock();
        inner.closed = true;
        inner.control.clear();
        inner.bytes = 0;
        let queue = std::mem::take(&mut inner.queue);
        let asks = std::mem::take(&mut inner.asks);
        let line = std::mem::take(&mut inner.line);
        drop(inner);
        line.into_iter().for_each(|(_, waker)| waker.wake());
        let tells = queue.into_iter().filter_map(|queued| match queued.cargo {
            Cargo::Tell {
                target,
                message_type,
                key,
            } => Some(LostTell {
                target,
                message_type,
                key,
                frame: queued.frame,
                expired: false,
            }),
            _ => None,
        });
        let mut asks: Vec<_> = asks.into_iter().collect();
        // In the order they were sent: the table has none.
        asks.sort_unstable_by_key(|(ask, _)| *ask);
        Leftover {
            asks: asks.into_iter().map(|(_, pending)| pending).collect(),
            tells: tells.collect(),
        }
    }

    /// Bytes that wait, and asks that are unanswered.
    pub(crate) fn load(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.bytes, inner.asks.len())
    }
}

fn expired_unsent() -> Failure {
    use callboard::{FailureKind, Verdict};
    Failure::new(FailureKind::DeadlineExceeded, Verdict::NotSent)
        .with_detail("while it waited to be written")
}

impl Inner {
    fn put(&mut self, queued: Queued) -> Option<Waker> {
        self.bytes += queued.frame.len();
        if let Cargo::Ask(ask, pending) = &queued.cargo {
            self.asks.insert(*ask, Arc::clone(pending));
        }
        self.queue.push_back(queued);
        self.writer.take()
    }

    fn first_in_line(&self) -> Option<Waker> {
        self.line.front().map(|(_, waker)| waker.clone())
    }
}

/// The future of [`Outbox::push_waiting`].
pub(crate) struct PushWaiting<'a> {
    outbox: &'a Outbox,
    queued: &'a mut Option<Queued>,
    ticket: Option<u64>,
}

impl Future for PushWaiting<'_> {
    /// `false` if the connection is over.
    type Output = bool;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        let this = self.get_mut();
        let mut inner = this.outbox.inner.lock();
        if inner.closed {
            this.ticket = None;
            return Poll::Ready(false);
        }
        let first = inner.line.front().map(|(ticket, _)| *ticket);
        let my_turn = first == this.ticket;
        let room = this
            .queued
            .as_ref()
            .is_none_or(|queued| this.outbox.has_room(&inner, &queued.cargo));
        if my_turn && room {
            if this.ticket.take().is_some() {
                inner.line.pop_front();
            }
            let writer = this.queued.take().and_then(|queued| inner.put(queued));
            let next = inner.first_in_line();
            drop(inner);
            writer.into_iter().chain(next).for_each(Waker::wake);
            return Poll::Ready(true);
        }
        match this.ticket {
            Some(ticket) => {
                let mine = inner.line.iter_mut().find(|(other, _)| *other == ticket);
                if let Some((_, waker)) = mine {
                    waker.clone_from(cx.waker());
                }
            }
            None => {
                let ticket = inner.next_ticket;
                inner.next_ticket += 1;
                inner.line.push_back((ticket, cx.waker().clone()));
                this.ticket = Some(ticket);
            }
        }
        Poll::Pending
    }
}

impl Drop for PushWaiting<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else {
            return;
        };
        let mut inner = self.outbox.inner.lock();
        inner.line.retain(|(other, _)| *other != ticket);
        let wake = inner.first_in_line();
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
    }
}
