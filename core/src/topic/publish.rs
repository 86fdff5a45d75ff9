//! A message on its way to a topic.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::channel::oneshot;

use super::error::{PublishError, TopicError};
use super::hub::{Delivered, Hub, Label, Outgoing, Step};
use super::place::Place;
use super::store;
use super::{Published, Topic, subject};
use crate::clock::{Clock, Instant, Sleep};
use crate::current;
use crate::id::RequestKey;

/// A message to be published. Await it; see [`Topic::publish`].
///
/// # Errors
/// [`PublishError`] with the message: the subject is malformed, the topic has ended, or there is no room for one
/// more retained value. Of a topic that is stored also what the journal says; if nobody knows whether the message is
/// in it, the verdict is `MaybeExecuted`, and the message is not in the error.
///
/// # Cancel safety
/// Dropped before its first poll it does nothing. After that the message is published; subscribers that made it wait
/// miss it, and are told so. A topic that is stored may still be about to store it.
#[must_use = "nothing is published until it is awaited"]
pub struct Publish<'a, T: Send + Sync + 'static> {
    topic: &'a Topic<T>,
    subject: &'a str,
    value: T,
    key: Option<RequestKey>,
    retain: bool,
    deadline: Option<Duration>,
}

impl<'a, T: Send + Sync + 'static> Publish<'a, T> {
    pub(super) fn new(topic: &'a Topic<T>, subject: &'a str, value: T) -> Self {
        Publish {
            topic,
            subject,
            value,
            key: None,
            retain: false,
            deadline: None,
        }
    }

    /// Waits no longer than `span` for slow subscribers that make it wait, whatever their policies say; zero does not
    /// wait. Also no longer than the request in hand has left (G9). The message is published all the same: those that
    /// had no room by then miss it.
    ///
    /// Of a topic that is stored: for room in its journal. Once the message is on its way there, its end is waited
    /// for.
    pub fn deadline(mut self, span: Duration) -> Self {
        self.deadline = Some(span);
        self
    }

    /// Keeps it as the last value of its subject, for those who [subscribe later](super::Subscribe::with_retained),
    /// in place of the one before. There are as many as [`TopicOptions::retained`](super::TopicOptions::retained)
    /// says; one more is an error, and nothing is published.
    pub fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    /// Gives it a key, which subscribers see: for those who must not do a thing twice. The topic itself doesn't
    /// look at it.
    pub fn key(mut self, key: RequestKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Publishes without waiting for anybody. `None` if the topic is stored: the message is on its way.
    pub(super) fn without_waiting(self) -> Result<Option<Published>, PublishError<T>> {
        let (hub, outgoing) = self.begin(false)?;
        match hub.publish(outgoing)? {
            Step::Delivered(delivered) => Ok(Some(delivered.published)),
            Step::Storing(_) => Ok(None),
        }
    }

    fn begin(self, may_wait: bool) -> Result<(&'a Hub<T>, Outgoing<'a, T>), PublishError<T>> {
        if let Err(error) = subject::check_subject(self.subject) {
            return Err(PublishError {
                error: error.into(),
                value: Some(self.value),
            });
        }
        let outgoing = Outgoing {
            label: Label {
                subject: self.subject,
                key: self.key,
                retain: self.retain,
                may_wait,
            },
            value: self.value,
        };
        Ok((self.topic.hub(), outgoing))
    }
}

impl<'a, T: Send + Sync + 'static> IntoFuture for Publish<'a, T> {
    type Output = Result<Published, PublishError<T>>;
    type IntoFuture = Publishing<'a, T>;

    #[inline]
    fn into_future(self) -> Publishing<'a, T> {
        Publishing {
            clock: self.topic.clock(),
            deadline: self.deadline,
            due: None,
            stage: Stage::Begin(self),
        }
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Publish<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish")
            .field("topic", &self.topic)
            .field("subject", &self.subject)
            .field("key", &self.key)
            .field("retain", &self.retain)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// The future of a [`Publish`].
#[must_use = "futures do nothing unless polled"]
pub struct Publishing<'a, T: Send + Sync + 'static> {
    clock: &'a Clock,
    deadline: Option<Duration>,
    /// Until when it may wait, once it does.
    due: Option<Instant>,
    stage: Stage<'a, T>,
}

enum Stage<'a, T: Send + Sync + 'static> {
    Begin(Publish<'a, T>),
    /// The journal has no room.
    Busy(&'a Hub<T>, Outgoing<'a, T>, Sleep),
    Storing(oneshot::Receiver<Result<Delivered<T>, TopicError>>),
    Waiting(Waiting<T>),
    Done,
}

/// For those that make the publisher wait, all at once.
struct Waiting<T> {
    published: Published,
    places: Vec<(Place<T>, Instant)>,
    next: Sleep,
}

// Nothing in it is pinned.
impl<T: Send + Sync + 'static> Unpin for Publishing<'_, T> {}

impl<T: Send + Sync + 'static> Future for Publishing<'_, T> {
    type Output = Result<Published, PublishError<T>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            match std::mem::replace(&mut this.stage, Stage::Done) {
                Stage::Begin(publish) => {
                    if !current::may_tell() {
                        // Whoever only publishes would keep all others of its thread waiting (G5).
                        this.stage = Stage::Begin(publish);
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    let may_wait = publish.deadline != Some(Duration::ZERO);
                    let (hub, outgoing) = publish.begin(may_wait)?;
                    let label = outgoing.label;
                    match hub.publish(outgoing) {
                        Ok(Step::Delivered(delivered)) if delivered.places.is_empty() => {
                            return Poll::Ready(Ok(delivered.published));
                        }
                        step => this.go_on(hub, label, step, false)?,
                    }
                }
                Stage::Busy(hub, outgoing, due) => {
                    // First the waker, then the try: what makes room in between wakes.
                    hub.wait_for_journal(cx);
                    let is_late = due.due() <= this.clock.now();
                    let label = outgoing.label;
                    let again = hub.publish(outgoing);
                    this.go_on(hub, label, again, is_late)?;
                    if let Stage::Busy(_, _, due) = &mut this.stage
                        && Pin::new(due).poll(cx).is_pending()
                    {
                        return Poll::Pending;
                    }
                }
                Stage::Storing(mut stored) => match Pin::new(&mut stored).poll(cx) {
                    Poll::Pending => {
                        this.stage = Stage::Storing(stored);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(Ok(delivered))) => this.wait_for(delivered),
                    Poll::Ready(answer) => {
                        let error = match answer {
                            Ok(Err(error)) => error,
                            _ => TopicError::in_doubt("the topic is gone"),
                        };
                        return Poll::Ready(Err(PublishError { error, value: None }));
                    }
                },
                Stage::Waiting(mut waiting) => {
                    if let Poll::Ready(published) = waiting.poll(this.clock, cx) {
                        return Poll::Ready(Ok(published));
                    }
                    this.stage = Stage::Waiting(waiting);
                    return Poll::Pending;
                }
                // Polled after its end: there is nothing more to come.
                Stage::Done => return Poll::Pending,
            }
        }
    }
}

impl<'a, T: Send + Sync + 'static> Publishing<'a, T> {
    #[cold]
    fn go_on(
        &mut self,
        hub: &'a Hub<T>,
        label: Label<'a>,
        step: Result<Step<T>, PublishError<T>>,
        is_late: bool,
    ) -> Result<(), PublishError<T>> {
        self.stage = match step {
            Ok(Step::Delivered(delivered)) => {
                self.wait_for(delivered);
                return Ok(());
            }
            Ok(Step::Storing(stored)) => Stage::Storing(stored),
            Err(PublishError {
                error,
                value: Some(value),
            }) if label.may_wait && !is_late && store::is_busy(&error) => {
                let due = self.due(self.clock.now());
                let outgoing = Outgoing { label, value };
                Stage::Busy(hub, outgoing, self.clock.sleep_until(due))
            }
            Err(error) => return Err(error),
        };
        Ok(())
    }

    fn wait_for(&mut self, delivered: Delivered<T>) {
        let now = self.clock.now();
        let due = self.due(now);
        let places = delivered.places.into_iter();
        let places: Vec<_> = places
            .map(|place| {
                let until = (now + place.limit).min(due);
                (place, until)
            })
            .collect();
        self.stage = Stage::Waiting(Waiting {
            published: delivered.published,
            places,
            next: self.clock.sleep_until(Instant::FAR),
        });
    }

    /// Until when it may wait: its own deadline, and that of the request in hand.
    fn due(&mut self, now: Instant) -> Instant {
        *self.due.get_or_insert_with(|| {
            let own = self.deadline.map_or(Instant::FAR, |span| now + span);
            let inherited = current::inherited_deadline(self.clock);
            inherited.map_or(own, |inherited| own.min(inherited))
        })
    }
}

impl<T> Waiting<T> {
    fn poll(&mut self, clock: &Clock, cx: &mut Context<'_>) -> Poll<Published> {
        loop {
            let now = clock.now();
            let mut next = Instant::FAR;
            let mut missed = 0;
            self.places.retain_mut(|(place, until)| {
                if place.poll(cx).is_ready() {
                    return false;
                }
                if *until <= now {
                    missed += usize::from(!place.give_up());
                    return false;
                }
                next = next.min(*until);
                true
            });
            self.published.dropped += missed;
            if self.places.is_empty() {
                return Poll::Ready(self.published);
            }
            if self.next.due() != next {
                self.next = clock.sleep_until(next);
            }
            if Pin::new(&mut self.next).poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Publishing<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            Stage::Begin(_) => "begin",
            Stage::Busy(..) => "waits for room in the journal",
            Stage::Storing(_) => "is stored",
            Stage::Waiting(_) => "waits for subscribers",
            Stage::Done => "done",
        };
        f.debug_struct("Publishing").field("stage", &stage).finish()
    }
}
