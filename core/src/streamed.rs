//! Streamed answers: an ask whose reply is a stream.
//!
//! The ask itself ends as any other, with one reply: the [`AnswerStream`] (G7). The stream then brings items,
//! and ends in exactly one of two ways: in order, or with one failure as its last item. A stream that breaks off
//! because its producer died can't be mistaken for one that was complete.
//!
//! The producer is never further ahead than the capacity (back-pressure). Dropping the stream cancels: the
//! producer's next `send` gives the item back. The deadline of the ask is over with its reply; how long an item
//! may take is for the reader to say.
//!
//! [`Context::stream`](crate::Context::stream) runs the producer as a task of the actor. [`answer_stream`] makes
//! the two ends alone, for an answer that is produced elsewhere.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::Stream;
use parking_lot::{Mutex, MutexGuard};

use crate::boundary::Verdict;
use crate::context::TaskHandle;
use crate::error::{Failure, FailureKind, SendError};

/// The two ends of a streamed answer; `capacity` items (at least 1) may be ahead of the reader.
#[must_use]
pub fn answer_stream<T: Send + 'static>(capacity: usize) -> (AnswerSink<T>, AnswerStream<T>) {
    let shared = Arc::new(Shared {
        capacity: capacity.max(1),
        state: Mutex::new(State::default()),
    });
    let sink = AnswerSink {
        shared: Arc::clone(&shared),
        over: false,
        broken_off: FailureKind::NoAnswer,
    };
    let stream = AnswerStream { shared, task: None };
    (sink, stream)
}

struct Shared<T> {
    capacity: usize,
    state: Mutex<State<T>>,
}

struct State<T> {
    items: VecDeque<T>,
    /// How it ended, on the producer's side; taken by the reader.
    end: Option<Result<(), Failure>>,
    /// The reader has gone, or has seen the end.
    unwanted: bool,
    reader: Option<Waker>,
    producer: Option<Waker>,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        State {
            items: VecDeque::new(),
            end: None,
            unwanted: false,
            reader: None,
            producer: None,
        }
    }
}

/// The producing end of a streamed answer. Dropped without [`finish`](AnswerSink::finish) it ends the stream
/// with a failure: `NoAnswer`, or `Panicked` while a panic unwinds.
pub struct AnswerSink<T> {
    shared: Arc<Shared<T>>,
    over: bool,
    broken_off: FailureKind,
}

impl<T> AnswerSink<T> {
    /// Sends one item, waiting while the reader is behind by the capacity.
    ///
    /// # Errors
    /// Gives the item back if nobody reads any more: [`Withdrawn`](FailureKind::Withdrawn), `NotExecuted`.
    ///
    /// # Cancel safety
    /// Dropping it before it ends drops the item, unsent.
    pub async fn send(&mut self, item: T) -> Result<(), SendError<T>> {
        let mut item = Some(item);
        poll_fn(|cx| {
            let mut state = self.shared.state.lock();
            if state.unwanted {
                return Poll::Ready(false);
            }
            if state.items.len() >= self.shared.capacity {
                wait(state, cx);
                return Poll::Pending;
            }
            state.items.extend(item.take());
            let reader = state.reader.take();
            drop(state);
            reader.into_iter().for_each(Waker::wake);
            Poll::Ready(true)
        })
        .await;
        match item {
            None => Ok(()),
            Some(item) => Err(unwanted(item)),
        }
    }

    /// Sends one item without waiting.
    ///
    /// # Errors
    /// Gives the item back: [`Full`](FailureKind::Full) if the reader is behind by the capacity,
    /// [`Withdrawn`](FailureKind::Withdrawn) if nobody reads any more; `NotExecuted` both.
    pub fn try_send(&mut self, item: T) -> Result<(), SendError<T>> {
        let mut state = self.shared.state.lock();
        if state.unwanted {
            drop(state);
            return Err(unwanted(item));
        }
        if state.items.len() >= self.shared.capacity {
            drop(state);
            let failure = Failure::new(FailureKind::Full, Verdict::NotExecuted);
            return Err(SendError::new(failure, Some(item)));
        }
        state.items.push_back(item);
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Whether somebody still reads.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        !self.shared.state.lock().unwanted
    }

    /// Completes when nobody reads any more: to give up work before the next item is due.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn unwanted(&mut self) {
        poll_fn(|cx| {
            let state = self.shared.state.lock();
            if state.unwanted {
                return Poll::Ready(());
            }
            wait(state, cx);
            Poll::Pending
        })
        .await;
    }

    /// Ends the stream in order, after what was sent.
    pub fn finish(mut self) {
        self.end(Ok(()));
    }

    /// Ends the stream with a failure, after what was sent.
    pub fn fail(mut self, failure: Failure) {
        self.end(Err(failure));
    }

    /// What its reader is told if it is dropped without an end.
    pub(crate) fn break_off_as(&mut self, kind: FailureKind) {
        self.broken_off = kind;
    }

    fn end(&mut self, end: Result<(), Failure>) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let mut state = self.shared.state.lock();
        state.end = Some(end);
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }
}

impl<T> Drop for AnswerSink<T> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let kind = if std::thread::panicking() {
            FailureKind::Panicked
        } else {
            self.broken_off
        };
        let failure = Failure::new(kind, Verdict::Executed);
        self.end(Err(failure.with_detail("the answer broke off")));
    }
}

impl<T> fmt::Debug for AnswerSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerSink")
            .field("capacity", &self.shared.capacity)
            .finish_non_exhaustive()
    }
}

/// The producer waits.
fn wait<T>(mut state: MutexGuard<'_, State<T>>, cx: &Context<'_>) {
    let before = state.producer.replace(cx.waker().clone());
    // Dropping a waker can drop the task behind it, and what that holds; not under the lock.
    drop(state);
    drop(before);
}

#[cold]
fn unwanted<T>(item: T) -> SendError<T> {
    let failure = Failure::new(FailureKind::Withdrawn, Verdict::NotExecuted)
        .with_detail("nobody reads this answer any more");
    SendError::new(failure, Some(item))
}

/// The reading end of a streamed answer: items, then the end, or one failure and the end.
///
/// # Cancel safety
/// Waiting for the next item can be given up; nothing is lost. Dropping the stream cancels what produces it.
pub struct AnswerStream<T> {
    shared: Arc<Shared<T>>,
    task: Option<TaskHandle>,
}

impl<T> AnswerStream<T> {
    /// The next item; `None` when the stream has ended in order.
    ///
    /// # Errors
    /// The failure with which it broke off. After that it is `Ok(None)`.
    ///
    /// # Cancel safety
    /// Giving it up loses nothing.
    pub async fn next_item(&mut self) -> Result<Option<T>, Failure> {
        poll_fn(|cx| self.poll_item(cx)).await.transpose()
    }

    /// Ends that task when the stream is dropped.
    pub(crate) fn cancel_with(&mut self, task: TaskHandle) {
        self.task = Some(task);
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, Failure>>> {
        let mut state = self.shared.state.lock();
        if let Some(item) = state.items.pop_front() {
            // Not for every item: when half of the room is free.
            let waits = state.items.len() <= self.shared.capacity / 2;
            let producer = if waits { state.producer.take() } else { None };
            drop(state);
            producer.into_iter().for_each(Waker::wake);
            return Poll::Ready(Some(Ok(item)));
        }
        match state.end.take() {
            Some(end) => {
                state.end = Some(Ok(()));
                Poll::Ready(end.err().map(Err))
            }
            None => {
                let before = state.reader.replace(cx.waker().clone());
                drop(state);
                drop(before);
                Poll::Pending
            }
        }
    }
}

impl<T> Stream for AnswerStream<T> {
    type Item = Result<T, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_item(cx)
    }
}

impl<T> Drop for AnswerStream<T> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.unwanted = true;
        let items = std::mem::take(&mut state.items);
        let producer = state.producer.take();
        drop(state);
        if let Some(task) = &self.task {
            task.cancel();
        }
        producer.into_iter().for_each(Waker::wake);
        drop(items);
    }
}

impl<T> fmt::Debug for AnswerStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerStream")
            .field("waiting", &self.shared.state.lock().items.len())
            .finish_non_exhaustive()
    }
}
