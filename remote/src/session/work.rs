//! The task of a session: what waits for something else than bytes.
//!
//! Messages whose receiver has no room, and the subscriptions and watches of the other side. It lives as long as the session,
//! with and without a connection; and longer, if messages wait that have arrived.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use callboard::{DropReason, Placement, System};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;

use super::Session;
use super::inbox::Inbox;
use crate::error::LinkErrorKind;
use crate::node::{Held, Leftover, Pumps, Watched};
use crate::wire::WireError;
use crate::wire::body::{OwnedSubscribe, Subscribe, decode_nothing};
use crate::wire::frame::{Frame, Kind};
use crate::wire::watching::{OwnedWatch, Watch};

/// How many things may wait to be taken up: far more than one turn of a reader brings from a peer that means well.
const MOST_JOBS: usize = 65_536;

/// See the module.
pub(crate) struct Work {
    session: Weak<Session>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    jobs: Vec<Job>,
    waker: Option<Waker>,
    is_running: bool,
    ended: bool,
    /// It has ended, and what waits for its receivers goes on.
    leftover: Option<Leftover>,
}

/// A message that waits for room. If it is dropped before it has gone its way, it is counted: it was acknowledged.
struct Room {
    held: Held,
    /// Of a tell.
    lost: Option<System>,
}

impl Room {
    async fn wait(mut self) {
        (&mut self.held).await;
        self.lost = None;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(system) = &self.lost {
            system.counters().count_drop(DropReason::Undelivered);
        }
    }
}

enum Job {
    Wait(usize, Room),
    Subscribe(u64, OwnedSubscribe),
    Unsubscribe(u64),
    Watch(u64, OwnedWatch),
    Unwatch(u64),
}

impl Work {
    pub(super) fn new(session: Weak<Session>) -> Self {
        Work {
            session,
            inner: Mutex::default(),
        }
    }

    /// Whose work it is, as long as that is there.
    pub(super) fn session(&self) -> Option<Arc<Session>> {
        self.session.upgrade()
    }

    /// Takes what the other side wants over time.
    pub(super) fn take(&self, frame: &Frame<'_>) -> Result<(), WireError> {
        match frame.kind {
            Kind::Subscribe => {
                let most = self.session.upgrade();
                let most = most.map_or(1, |session| session.config.subscriber_buffer);
                let subscribe = Subscribe::decode(frame.flags, frame.body, most)?;
                self.wanted(Job::Subscribe(frame.correlation, subscribe.to_owned()))
            }
            Kind::Unsubscribe => {
                decode_nothing(frame.kind, frame.body)?;
                self.wanted(Job::Unsubscribe(frame.correlation))
            }
            Kind::Watch => {
                let watch = Watch::decode(frame.body)?;
                self.wanted(Job::Watch(frame.correlation, watch.to_owned()))
            }
            Kind::Unwatch => {
                decode_nothing(frame.kind, frame.body)?;
                self.wanted(Job::Unwatch(frame.correlation))
            }
            other => Err(WireError::Unexpected(other.text())),
        }
    }

    /// The other side asks for these as it likes; one that doesn't let them be done is cut off.
    fn wanted(&self, job: Job) -> Result<(), WireError> {
        if self.inner.lock().jobs.len() >= MOST_JOBS {
            return Err(WireError::NoCredit);
        }
        self.push(job);
        Ok(())
    }

    /// The last event of a watch is on its way.
    pub(crate) fn watch_is_over(&self, number: u64) {
        self.push(Job::Unwatch(number));
    }

    /// A message waits for room at its receiver.
    pub(super) fn wait(&self, slot: usize, held: Held, is_tell: bool) {
        let session = self.session.upgrade().filter(|_| is_tell);
        let lost = session.map(|session| session.system.clone());
        self.push(Job::Wait(slot, Room { held, lost }));
    }

    fn push(&self, job: Job) {
        let mut inner = self.inner.lock();
        let goes_on = matches!(job, Job::Wait(..)) && inner.leftover.is_some();
        if inner.ended && !goes_on {
            drop(inner);
            // Code of others.
            return drop(job);
        }
        inner.jobs.push(job);
        let waker = inner.waker.take();
        let starts = !inner.is_running;
        inner.is_running = true;
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
        // Few sessions have any.
        if starts && let Some(session) = self.session.upgrade() {
            let system = session.system.clone();
            system.spawn(Placement::Spread, move || fenced(session));
        }
    }

    /// The session is over. What waits for its receivers goes on if there is a place for it.
    pub(super) fn end(&self, leftover: Option<Leftover>) {
        let mut inner = self.inner.lock();
        inner.ended = true;
        let mut jobs = std::mem::take(&mut inner.jobs);
        if leftover.is_some() {
            let waits = |job: &mut Job| matches!(job, Job::Wait(..));
            inner.jobs = jobs.extract_if(.., waits).collect();
        }
        inner.leftover = leftover;
        let waker = inner.waker.take();
        drop(inner);
        // Code of others.
        drop(jobs);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What is new, and whether the session is over. Nothing if no more will come.
    fn poll(&self, cx: &Context<'_>) -> Option<(Vec<Job>, bool)> {
        let mut inner = self.inner.lock();
        if inner.ended && inner.leftover.is_none() {
            return None;
        }
        inner.waker = Some(cx.waker().clone());
        Some((std::mem::take(&mut inner.jobs), inner.ended))
    }

    /// Nothing is left of it.
    fn is_done(&self) {
        let leftover = self.inner.lock().leftover.take();
        drop(leftover);
    }
}

/// Nobody else would go on with what waits here: if code of others panics after all, the session is over, and both
/// sides know it.
async fn fenced(session: Arc<Session>) {
    let running = AssertUnwindSafe(run(Arc::clone(&session)));
    if running.catch_unwind().await.is_err() {
        tracing::error!(target: "callboard::remote", "the task of a session panicked");
        session.end(&LinkErrorKind::Panicked);
        // If it had ended before, what it left is lost with this.
        session.work.is_done();
    }
}

/// When it is dropped, nothing of what an ended session left is handed on any more.
struct Done(Arc<Session>);

impl Drop for Done {
    fn drop(&mut self) {
        if self.0.ended().is_some() {
            let table = self.0.with_inbox(Inbox::take_table);
            drop(table);
        }
    }
}

async fn run(session: Arc<Session>) {
    let done = Done(Arc::clone(&session));
    let mut held: FuturesUnordered<BoxFuture<'static, usize>> = FuturesUnordered::new();
    let mut pumps = Pumps::default();
    let mut watched = Watched::default();
    std::future::poll_fn(move |cx| {
        let _ = &done;
        loop {
            let Some((jobs, ended)) = session.work.poll(cx) else {
                return Poll::Ready(());
            };
            if ended {
                (pumps, watched) = Default::default();
            }
            for job in jobs {
                match job {
                    Job::Wait(slot, room) => held.push(Box::pin(async move {
                        room.wait().await;
                        slot
                    })),
                    Job::Subscribe(number, wanted) => pumps.subscribe(&session, number, wanted),
                    Job::Unsubscribe(number) => pumps.unsubscribe(number),
                    Job::Watch(number, wanted) => watched.watch(&session, number, wanted),
                    Job::Unwatch(number) => watched.forget(number),
                }
            }
            pumps.poll(cx);
            let mut moved = false;
            while let Poll::Ready(Some(slot)) = held.poll_next_unpin(cx) {
                session.with_inbox(|inbox| inbox.go_on(&session, slot));
                moved = true;
            }
            // What went on may have left work.
            if moved {
                continue;
            }
            if ended && held.is_empty() {
                session.work.is_done();
                return Poll::Ready(());
            }
            return Poll::Pending;
        }
    })
    .await;
}
