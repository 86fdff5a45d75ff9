//! A subscription to a topic in another process, which outlives connections (G27, G28).

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use callboard::topic::{SlowSubscriber, SubscriberOptions};
use callboard::{Failure, FailureKind, Incarnation, Verdict, WireMessage, codec};
use futures::Stream;
use tokio::sync::watch;

use super::Owner;
use super::buffer::{Buffer, Kept, OutOfOrder};
use crate::reference::arriving;
use crate::wire::WireError;
use crate::wire::body::{Event, Subscribe};
use crate::wire::frame::{Kind, put_frame};
use crate::wire::limits::MIN_MAX_FRAME;

/// What a subscriber in another process gets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoteEvent<T> {
    /// A message.
    Message {
        /// What it was published to.
        subject: Arc<str>,
        /// Its number in the topic.
        sequence: u64,
        /// The message.
        value: T,
    },
    /// Messages were missed here, because a buffer was full or there was no connection: those with
    /// numbers in this range, ends included. (Numbers in it may also be of messages that the pattern
    /// doesn't match.)
    Gap {
        /// The number of the first that was missed.
        from: u64,
        /// The number of the last that was missed.
        to: u64,
    },
    /// The topic over there was started again, and counts from 1 again. What the one before published
    /// after the last event is lost, and nobody can say how much that was.
    Restarted {
        /// The number of the last message of the new one that was published before this subscription
        /// reached it: those up to it were missed too.
        missed: u64,
    },
    /// The other side won't have this subscription: unknown name, another type or version, a malformed
    /// pattern (G34). It is the last event.
    Failed(Failure),
}

/// What is published to a topic in another process and matches a pattern, as a stream of [`RemoteEvent`]s.
///
/// It lives as long as it is kept: after a lost connection it subscribes again by itself, and says as a
/// [`Gap`](RemoteEvent::Gap) what it missed. It ends after a [`Failed`](RemoteEvent::Failed), when the topic
/// ends, when its policy says so, and when the [`Peer`](crate::Peer) is closed. Dropping it unsubscribes.
#[must_use = "a subscription that is dropped gets nothing"]
pub struct RemoteSubscription<T> {
    owner: Arc<Owner>,
    number: u64,
    buffer: Arc<Buffer<T>>,
    confirmed: watch::Receiver<Option<Result<(), Failure>>>,
}

impl<T> RemoteSubscription<T> {
    /// How many messages wait in its buffer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// Completes when the other side has confirmed the subscription for the first time: what is published
    /// from then on arrives, or is reported as a gap.
    ///
    /// # Errors
    /// The failure with which the other side refused it; `NoConnection` if the peer was closed before.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub fn ready(&self) -> impl Future<Output = Result<(), Failure>> + Send + 'static {
        let mut confirmed = self.confirmed.clone();
        async move {
            let none = || Failure::new(FailureKind::NoConnection, Verdict::NotSent);
            match confirmed.wait_for(Option::is_some).await {
                Ok(answer) => answer.clone().unwrap_or_else(|| Err(none())),
                Err(_) => Err(none()),
            }
        }
    }
}

impl<T> Stream for RemoteSubscription<T> {
    type Item = RemoteEvent<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<RemoteEvent<T>>> {
        self.buffer.poll_next(cx)
    }
}

impl<T> Drop for RemoteSubscription<T> {
    fn drop(&mut self) {
        self.owner.core.unsubscribe(self.number);
    }
}

impl<T> fmt::Debug for RemoteSubscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSubscription")
            .field("peer", &self.owner.core.address)
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

/// Makes a subscription and tells the peer of it, now if it is connected and with each connection.
pub(super) fn subscribe<T: WireMessage>(
    owner: &Arc<Owner>,
    name: &str,
    pattern: &str,
    options: SubscriberOptions,
) -> RemoteSubscription<T> {
    let buffer = Arc::new(Buffer::new(options));
    let (answer, confirmed) = watch::channel(None);
    let number = owner.core.next_number();
    let feed = Feeding::<T> {
        name: name.to_owned(),
        pattern: pattern.to_owned(),
        options,
        buffer: Arc::clone(&buffer),
        answer,
    };
    if let SlowSubscriber::Wait(_) = options.policy {
        // Between the publisher and who is to make it wait lie buffers that can't: half a promise is none.
        let failure = Failure::new(FailureKind::BadPayload, Verdict::NotSent);
        feed.failed(failure.with_detail(
            "a publisher in another process can't be made to wait: choose another policy",
        ));
    } else {
        owner.core.subscribe(number, Arc::new(feed));
    }
    RemoteSubscription {
        owner: Arc::clone(owner),
        number,
        buffer,
        confirmed,
    }
}

/// A subscription as the connection sees it.
pub(crate) trait Feed: Send + Sync {
    /// The frame that asks for it.
    fn frame(&self, number: u64) -> Vec<u8>;
    /// It holds from now on.
    fn confirmed(&self, incarnation: Incarnation, since: u64) -> Kept;
    /// A message came, over that session.
    fn event(&self, event: &Event<'_>, session: u64) -> Result<Kept, WireError>;
    /// Messages were missed over there.
    fn gap(&self, from: u64, to: u64) -> Result<(), WireError>;
    /// The other side won't have it.
    fn failed(&self, failure: Failure);
    /// No more will come.
    fn ended(&self);
}

struct Feeding<T> {
    name: String,
    pattern: String,
    options: SubscriberOptions,
    buffer: Arc<Buffer<T>>,
    answer: watch::Sender<Option<Result<(), Failure>>>,
}

fn out_of_order(frame: Kind) -> impl FnOnce(OutOfOrder) -> WireError {
    move |OutOfOrder| WireError::BadField {
        frame: frame.text(),
        field: "sequence",
    }
}

impl<T: WireMessage> Feed for Feeding<T> {
    fn frame(&self, number: u64) -> Vec<u8> {
        let subscribe = Subscribe {
            version: T::VERSION,
            options: self.options,
            name: &self.name,
            type_name: T::NAME,
            pattern: &self.pattern,
        };
        let (kind, flags) = (Kind::Subscribe, subscribe.flags());
        let mut frame = Vec::new();
        // Three short texts: always below the smallest limit.
        let _ = put_frame(&mut frame, kind, flags, number, MIN_MAX_FRAME, |out| {
            subscribe.put(out);
        });
        frame
    }

    fn confirmed(&self, incarnation: Incarnation, since: u64) -> Kept {
        let kept = self.buffer.confirmed(incarnation, since);
        self.answer.send_replace(Some(Ok(())));
        kept
    }

    fn event(&self, event: &Event<'_>, session: u64) -> Result<Kept, WireError> {
        // A hand-written `Deserialize` may panic.
        let decode = || arriving(session, || codec::decode::<T>(event.payload));
        let decoded = catch_unwind(AssertUnwindSafe(decode));
        let refused = out_of_order(Kind::Event);
        match decoded {
            Ok(Ok(value)) => self
                .buffer
                .message(event.subject, event.sequence, value)
                .map_err(refused),
            _ => {
                tracing::warn!(
                    target: "callboard::remote",
                    topic = %self.name, sequence = event.sequence, "a message could not be decoded"
                );
                self.buffer
                    .gap(event.sequence, event.sequence)
                    .map_err(refused)?;
                Ok(Kept::Missed)
            }
        }
    }

    fn gap(&self, from: u64, to: u64) -> Result<(), WireError> {
        self.buffer.gap(from, to).map_err(out_of_order(Kind::Gap))
    }

    fn failed(&self, failure: Failure) {
        self.buffer.end(Some(RemoteEvent::Failed(failure.clone())));
        self.answer.send_replace(Some(Err(failure)));
    }

    fn ended(&self) {
        self.buffer.end(None);
        self.answer.send_if_modified(|answer| {
            let waiting = answer.is_none();
            if waiting {
                let failure = Failure::new(FailureKind::NoConnection, Verdict::NotSent);
                *answer = Some(Err(failure));
            }
            waiting
        });
    }
}
