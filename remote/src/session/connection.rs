//! One byte stream of a session: one task that reads, writes and keeps time.
//!
//! The task is one future whose parts never wait for each other: the reader hands what has arrived to the
//! [`Inbox`](super::inbox::Inbox) and never waits; the writer takes from the [`Outbox`](super::outbox::Outbox), many
//! frames into one write, and writes from the [`Log`](super::log::Log); the heartbeat asks after a silent peer. No
//! message has a task, a timer or a buffer of its own.

use std::future::poll_fn;
use std::io::IoSlice;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use callboard::clock::Instant;
use futures::future::select;
use parking_lot::MutexGuard;
use tokio::io::{AsyncWriteExt, ReadBuf};
use tokio::sync::Notify;

use super::Session;
use super::busy_poll::BusyPoll;
use super::heartbeat::Heartbeat;
use super::inbox::{Inbox, Reading};
use super::life::Pass;
use super::log::Log;
use crate::error::LinkErrorKind;
use crate::transport::ByteStream;
use crate::wire::WireError;
use crate::wire::body::{decode_bye, decode_nothing, put_bye};
use crate::wire::frame::{Decoder, Frame, Kind, MAX_BODY, bare, put_frame};

/// How many bytes are read before the other parts get a turn.
const TURN: usize = 1024 * 1024;
/// How long a last word may take.
const LAST_WORD: Duration = Duration::from_secs(1);
/// How many turns of other tasks the writer waits for a batch to grow, while many are at it.
const PATIENCE: u8 = 1;

/// How many turns of other tasks the reader waits for a full receiver.
const PAUSES: u8 = 8;

/// How many bytes about the connection itself wait to be written before no more are made: who doesn't read them
/// needs no more of them.
const MOST_CONTROL: usize = 4 * 1024;

/// How a connection is told to end from outside.
#[derive(Debug, Default)]
pub(crate) struct EndSignal {
    reason: OnceLock<LinkErrorKind>,
    notify: Notify,
}

impl EndSignal {
    /// Ends the connection; the first reason counts.
    pub(crate) fn set(&self, reason: LinkErrorKind) {
        if self.reason.set(reason).is_ok() {
            self.notify.notify_one();
        }
    }

    /// Completes when it is set. One waiter at a time.
    pub(crate) async fn wait(&self) -> LinkErrorKind {
        loop {
            if let Some(reason) = self.reason.get() {
                return reason.clone();
            }
            self.notify.notified().await;
        }
    }
}

/// Feeds a session from a stream until that ends, and says why it did.
pub(crate) async fn run<S: ByteStream>(
    session: &Arc<Session>,
    pass: &Pass,
    mut stream: S,
) -> LinkErrorKind {
    let clock = session.system.clock();
    let mut parts = Parts {
        session,
        pass,
        now: clock.now(),
        decoder: Decoder::new(MAX_BODY),
        heartbeat: Heartbeat::new(clock.clone(), &session.config),
        busy_poll: BusyPoll::new(clock, session.config.busy_poll),
        control: Vec::new(),
        control_written: 0,
        frames_before: 0,
        patience: PATIENCE,
        asked_ack: false,
        is_flushed: true,
        has_frames: false,
        pauses: 0,
    };
    session.carried_by(pass);
    let why = {
        let mut ended = pin!(pass.end.wait());
        let mut waits = None;
        poll_fn(|cx| {
            // It is woken for much else, and most of the time by the same waker.
            let is_woken = waits
                .as_ref()
                .is_some_and(|waits: &Waker| waits.will_wake(cx.waker()));
            if pass.end.reason.get().is_some() || !is_woken {
                if let Poll::Ready(why) = ended.as_mut().poll(cx) {
                    return Poll::Ready(why);
                }
                waits = Some(cx.waker().clone());
            }
            // Code of others runs in here: of who asks, of who is told, of what is dropped.
            let polled = catch_unwind(AssertUnwindSafe(|| parts.poll(&mut stream, cx)));
            polled.unwrap_or(Poll::Ready(LinkErrorKind::Panicked))
        })
        .await
    };
    if let LinkErrorKind::Panicked = why {
        tracing::error!(target: "callboard::remote", "the task of a connection panicked");
        // What it had in hand is lost.
        session.end(&why);
    }
    if says_bye(&why) {
        let clock = session.system.clock();
        let last_word = pin!(parts.last_word(&mut stream, &why));
        select(last_word, clock.sleep(LAST_WORD)).await;
    }
    why
}

/// Whether the other side is told that the session is over.
fn says_bye(why: &LinkErrorKind) -> bool {
    matches!(
        why,
        LinkErrorKind::ClosedHere
            | LinkErrorKind::OffersAnother
            | LinkErrorKind::Panicked
            | LinkErrorKind::Protocol(_)
            | LinkErrorKind::Unread(_)
    )
}

struct Parts<'a> {
    session: &'a Arc<Session>,
    pass: &'a Pass,
    /// When this turn began.
    now: Instant,
    decoder: Decoder,
    heartbeat: Heartbeat,
    busy_poll: BusyPoll,
    /// Frames about the connection; they go between those of the session.
    control: Vec<u8>,
    control_written: usize,
    /// How many frames the last batch had.
    frames_before: u64,
    patience: u8,
    /// The other side was asked for an acknowledgement, and none has come since.
    asked_ack: bool,
    is_flushed: bool,
    /// There are whole frames that have been read and not handed on.
    has_frames: bool,
    /// For how many turns they stay unread while a receiver has no room: it may make some, and they need not be copied
    /// to wait elsewhere. Not for long: others have messages among them.
    pauses: u8,
}

/// What came of frames.
enum Taken {
    /// Whether one of them answers this side.
    Frames {
        answered: bool,
    },
    /// The other side ends the session.
    Bye(LinkErrorKind),
    Over(LinkErrorKind),
}

/// What came of looking into the outbox.
enum Refilled {
    Some,
    Nothing,
    /// More isn't taken until the other side has acknowledged some.
    Enough,
    Later,
}

impl Drop for Parts<'_> {
    fn drop(&mut self) {
        self.session.outbox.leave();
    }
}

impl<'a> Parts<'a> {
    fn poll<S: ByteStream>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<LinkErrorKind> {
        self.now = self.session.system.clock().now();
        // What is put in during this turn is taken at its end.
        self.session.outbox.attend();
        if let Poll::Ready(why) = self.poll_read(stream, cx) {
            return Poll::Ready(why);
        }
        if let Poll::Ready(why) = self.poll_time(cx) {
            return Poll::Ready(why);
        }
        // Last, so that what the others queued leaves in this turn.
        let ended = self.poll_write(stream, cx);
        if ended.is_pending() {
            self.busy_poll.poll(self.now, cx);
        }
        ended
    }

    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<LinkErrorKind> {
        let mut asks = false;
        let silent = self.heartbeat.poll(self.now, cx, || asks = true);
        if silent {
            return Poll::Ready(LinkErrorKind::Silent(self.session.config.dead_after));
        }
        if asks {
            self.decoder.rest();
            self.session.buffers.rest();
            self.put_ack(true);
            self.control.extend(bare(Kind::Ping, 0));
        }
        Poll::Pending
    }

    fn put_ack(&mut self, gladly: bool) {
        if self.control.len() >= MOST_CONTROL {
            return;
        }
        let due = self.session.with_inbox(|inbox| inbox.ack_due(gladly));
        if let Some(number) = due {
            self.control.extend(bare(Kind::Ack, number));
        }
    }

    /// Reads what is there and hands the whole frames on. Ready when the connection is over.
    fn poll_read<S: ByteStream>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<LinkErrorKind> {
        let mut turn = 0;
        while turn < TURN {
            if self.has_frames {
                if self.pauses > 0 && self.session.with_inbox(Inbox::is_stuck) {
                    self.pauses -= 1;
                    break;
                }
                self.pauses = 0;
                match self.take_frames() {
                    Ok(None) => {}
                    Ok(Some(why)) => return Poll::Ready(why),
                    Err(error) => return Poll::Ready(error.into()),
                }
                self.put_ack(false);
                if self.has_frames {
                    break;
                }
            }
            let mut buffer = ReadBuf::new(self.decoder.space());
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(LinkErrorKind::lost(&error));
                }
                Poll::Ready(Ok(())) => {}
            }
            let count = buffer.filled().len();
            if count == 0 {
                // Also in the middle of a frame: that is how a broken connection ends.
                return Poll::Ready(LinkErrorKind::ClosedByPeer);
            }
            turn += count;
            self.busy_poll.went_on(self.now);
            self.session.traffic(|traffic| traffic.count_in(count));
            self.decoder.filled(count);
            self.has_frames = true;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Hands on what is here whole. Answers if that ends the connection.
    fn take_frames(&mut self) -> Result<Option<LinkErrorKind>, WireError> {
        let session = self.session;
        let taken = session.with_inbox(|inbox| self.take_into(inbox));
        match taken? {
            Taken::Frames { answered } => {
                // A peer that sends and never acknowledges isn't there for what is sent to it.
                if answered || session.log.lock().is_acked() {
                    self.heartbeat.heard(self.now);
                }
                Ok(None)
            }
            Taken::Bye(why) => {
                session.end(&why);
                Ok(Some(why))
            }
            Taken::Over(why) => Ok(Some(why)),
        }
    }

    fn take_into(&mut self, inbox: &mut Inbox) -> Result<Taken, WireError> {
        let (session, now) = (self.session, self.now);
        let kept = None;
        let reading = Reading { session, now, kept };
        if !inbox.is_fed_by(self.pass.generation) {
            return Ok(Taken::Over(LinkErrorKind::Replaced));
        }
        let mut answered = false;
        self.has_frames = false;
        while let Some(frame) = self.decoder.next()? {
            if frame.kind.is_numbered() {
                inbox.take(&reading, &frame)?;
                // By what it was handed to, perhaps.
                if let Some(why) = session.ended() {
                    return Ok(Taken::Over(why.clone()));
                }
                if inbox.was_stuffed() {
                    self.pauses = PAUSES;
                    self.has_frames = true;
                    break;
                }
                continue;
            }
            answered = true;
            match frame.kind {
                Kind::Ping => {
                    decode_nothing(frame.kind, frame.body)?;
                    if self.control.len() >= MOST_CONTROL {
                        continue;
                    }
                    if let Some(number) = inbox.ack_due(true) {
                        self.control.extend(bare(Kind::Ack, number));
                    }
                    self.control.extend(bare(Kind::Pong, 0));
                }
                Kind::Pong => decode_nothing(frame.kind, frame.body)?,
                Kind::Ack => {
                    acknowledge(session, &frame)?;
                    self.asked_ack = false;
                }
                Kind::Bye => {
                    let why = decode_bye(frame.body)?;
                    return Ok(Taken::Bye(LinkErrorKind::SaidBye(why)));
                }
                other => return Err(WireError::Unexpected(other.text())),
            }
        }
        Ok(Taken::Frames { answered })
    }

    /// Writes what can be written. Ready when the connection is over.
    fn poll_write<S: ByteStream>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<LinkErrorKind> {
        let session = self.session;
        let mut log = session.log.lock();
        loop {
            if !log.is_fed_by(self.pass.generation) {
                return Poll::Ready(LinkErrorKind::Replaced);
            }
            let mut refilled = Refilled::Nothing;
            if log.is_written() {
                (log, refilled) = self.refill(log, cx);
                match refilled {
                    Refilled::Later => return Poll::Pending,
                    Refilled::Some => continue,
                    Refilled::Nothing | Refilled::Enough => {}
                }
            }
            let mut control = &self.control[self.control_written..];
            if self.control_written == 0 && !log.is_between() {
                control = &[];
            }
            let (bytes, more) = log.unwritten();
            let parts = [control, bytes, more].map(IoSlice::new);
            let Some(first) = parts.iter().find(|part| !part.is_empty()) else {
                let flushed = self.poll_flush(stream, cx);
                // Until the other side has acknowledged some, nothing more leaves; the reader is this very task.
                let is_flowing = matches!(refilled, Refilled::Nothing) && self.is_flushed;
                session.outbox.set_flowing(is_flowing);
                return flushed;
            };
            let to = Pin::new(&mut *stream);
            let wrote = if to.is_write_vectored()
                && first.len() < control.len() + bytes.len() + more.len()
            {
                to.poll_write_vectored(cx, &parts)
            } else {
                to.poll_write(cx, first)
            };
            let count = match wrote {
                Poll::Pending => {
                    session.outbox.set_flowing(false);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(LinkErrorKind::ClosedByPeer),
                Poll::Ready(Ok(count)) => count,
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(LinkErrorKind::lost(&error));
                }
            };
            let of_control = count.min(control.len());
            self.is_flushed = false;
            self.busy_poll.went_on(self.now);
            session.traffic(|traffic| traffic.count_out(count));
            self.control_written += of_control;
            if self.control_written == self.control.len() {
                self.control.clear();
                self.control_written = 0;
            }
            log.wrote(count - of_control);
        }
    }

    /// Takes from the outbox what is to be written next.
    fn refill(
        &mut self,
        mut log: MutexGuard<'a, Log>,
        cx: &mut Context<'_>,
    ) -> (MutexGuard<'a, Log>, Refilled) {
        let session: &'a Session = self.session;
        if log.bytes() >= session.config.unacknowledged {
            // An acknowledgement of the last few frames isn't due, and comes with an answer.
            if !std::mem::replace(&mut self.asked_ack, true) {
                self.control.extend(bare(Kind::Ping, 0));
            }
            return (log, Refilled::Enough);
        }
        // A connection before this one is between taking and pushing, on another thread, for a moment.
        if log.awaits_push() {
            cx.waker().wake_by_ref();
            return (log, Refilled::Later);
        }
        if self.waits_for_more(cx) {
            return (log, Refilled::Later);
        }
        let Some(mut taken) = session.outbox.take(cx, || log.spare()) else {
            return (log, Refilled::Nothing);
        };
        session.outbox.set_flowing(false);
        if taken.is_undecided() {
            // What asks are told runs code of others: not under the log's lock.
            log.await_push();
            drop(log);
            taken.decide(&session.outbox);
            log = session.log.lock();
        }
        // What was handed on before this may have taken its time.
        let now = session.system.clock().now();
        self.frames_before = taken.batch.last - log.last();
        log.push(taken.batch, now);
        if session.ended().is_some() {
            // In between, and perhaps it looked here before.
            drop(log);
            session.bury_unacknowledged();
            log = session.log.lock();
        }
        (log, Refilled::Some)
    }

    /// While many are at it, others get a turn before a batch is taken, so that it grows: fewer and larger writes.
    fn waits_for_more(&mut self, cx: &Context<'_>) -> bool {
        if self.frames_before < 2 || self.patience == 0 || self.session.outbox.is_empty() {
            self.patience = PATIENCE;
            return false;
        }
        self.patience -= 1;
        cx.waker().wake_by_ref();
        true
    }

    fn poll_flush<S: ByteStream>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<LinkErrorKind> {
        if self.is_flushed {
            return Poll::Pending;
        }
        match Pin::new(stream).poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                self.is_flushed = true;
                Poll::Pending
            }
            Poll::Ready(Err(error)) => Poll::Ready(LinkErrorKind::lost(&error)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Writes what is left, then says that the session is over, and why.
    async fn last_word<S: ByteStream>(&mut self, stream: &mut S, why: &LinkErrorKind) {
        let text = match why {
            LinkErrorKind::ClosedHere => String::new(),
            other => other.to_string(),
        };
        let mut bytes = self.control[self.control_written..].to_vec();
        {
            let mut log = self.session.log.lock();
            if !log.is_fed_by(self.pass.generation) {
                return;
            }
            // A frame that has begun must end before another does.
            loop {
                let (some, more) = log.unwritten();
                let count = some.len() + more.len();
                if count == 0 {
                    break;
                }
                bytes.extend_from_slice(some);
                bytes.extend_from_slice(more);
                log.wrote(count);
            }
            log.forget(true);
        }
        // The text is cut to fit.
        let _ = put_frame(&mut bytes, Kind::Bye, 0, 0, MAX_BODY, |out| {
            put_bye(out, &text);
        });
        // Whether it is heard is not for this side to know.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.flush().await;
        let _ = stream.shutdown().await;
    }
}

fn acknowledge(session: &Session, frame: &Frame<'_>) -> Result<(), WireError> {
    decode_nothing(frame.kind, frame.body)?;
    let acked = session.log.lock().ack(frame.correlation);
    acked.map_err(|_| WireError::BadField {
        frame: Kind::Ack.text(),
        field: "number",
    })
}
