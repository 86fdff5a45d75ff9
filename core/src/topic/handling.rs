//! Subscribers that are called: closures and actors.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::panic::AssertUnwindSafe;
use std::pin::pin;

use futures::channel::oneshot;
use futures::future::{AbortHandle, Abortable, Either, Pending, Shared, pending, select};
use futures::{FutureExt, StreamExt};

use super::message::TopicEvent;
use super::subscription::Subscription;
use crate::actor_ref::Recipient;
use crate::counters::DropReason;
use crate::dead_letter::DeadLetter;
use crate::error::FailureKind;
use crate::panics::panic_text;
use crate::spawn::Placement;
use crate::system::System;
use crate::watch::{Watch, WatchHandle};

impl<T: Send + Sync + 'static> Subscription<T> {
    /// Runs a closure for each event, one after the other, on an arbiter of `system`, until the subscription ends or
    /// what is returned is dropped. A panic in the closure ends it, and is counted (G10).
    ///
    /// A durable subscription acknowledges each message when the closure has returned.
    pub fn on(
        self,
        system: &System,
        handler: impl AsyncFnMut(TopicEvent<T>) + Send + 'static,
    ) -> Handling {
        handle(system, self, handler)
    }

    /// Tells an actor each event, waiting for room in its mailbox, until the subscription ends, the actor ends, or what
    /// is returned is dropped. The actor handles [`TopicEvent<T>`]. An event that it doesn't take because it has ended
    /// goes to another member of the group, if it is shared, and else to dead letters (G6).
    ///
    /// A durable subscription acknowledges a message when it is in the mailbox. What must survive the end of the
    /// actor is acknowledged by the actor instead: attach the subscription to it, as a stream.
    pub fn forward(self, recipient: &Recipient<TopicEvent<T>>) -> Handling {
        forward(self, recipient.clone())
    }
}

/// Something that handles the events of a topic. It goes on until this is dropped or cancelled, or the subscription
/// ends.
#[must_use = "dropping it ends the subscription"]
pub struct Handling {
    stop: AbortHandle,
    watch: WatchHandle,
    over: Shared<oneshot::Receiver<()>>,
}

impl Handling {
    /// Ends it, soon: a closure is dropped at its next `.await`, and handles no other event; an actor gets no other event
    /// than one that is on its way to its mailbox already.
    pub fn cancel(&self) {
        self.stop.abort();
        self.watch.cancel();
    }

    /// Completes once it is over and has unsubscribed, for whatever reason.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn ended(&self) {
        // An error: the sender is dropped, never used.
        let _ = self.over.clone().await;
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.peek().is_some() || self.over.clone().now_or_never().is_some()
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl fmt::Debug for Handling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handling")
            .field("is_over", &self.is_over())
            .finish()
    }
}

fn handle<T: Send + Sync + 'static>(
    system: &System,
    subscription: Subscription<T>,
    mut handler: impl AsyncFnMut(TopicEvent<T>) + Send + 'static,
) -> Handling {
    let counters = system.clone();
    start(system, move |stop| async move {
        let run = async move {
            let mut subscription = subscription;
            while let Some(event) = subscription.next().await {
                let handled = AssertUnwindSafe(handler(event)).catch_unwind().await;
                if let Err(payload) = handled {
                    // What it holds may be half-done: it handles nothing more.
                    counters.counters().count_panic();
                    tracing::warn!(
                        target: "callboard::topic",
                        topic = %subscription.topic(), panic = %panic_text(payload.as_ref()),
                        "a handler panicked, and its subscription has ended"
                    );
                    return;
                }
                subscription.handled();
            }
        };
        // Whether it ended by itself or was cancelled is the same here.
        select(pin!(run), stop).await;
    })
}

fn forward<T: Send + Sync + 'static>(
    mut subscription: Subscription<T>,
    recipient: Recipient<TopicEvent<T>>,
) -> Handling {
    let watched = recipient.clone();
    let system = recipient.route().system().clone();
    let mut handling = start(&system, move |mut stop| async move {
        while let Either::Left((Some(event), _)) = select(subscription.next(), &mut stop).await {
            let mut telling = recipient.tell(event).into_future();
            let (told, is_over) = match select(&mut telling, &mut stop).await {
                Either::Left((told, _)) => (told, false),
                // If that is because the actor has ended, the event is back by now.
                Either::Right(_) => match (&mut telling).now_or_never() {
                    Some(told) => (told, true),
                    None => {
                        // Nothing more is taken. The event on its way may be in the mailbox already, so it goes on.
                        drop(subscription);
                        if let Err(error) = telling.await {
                            bury(&recipient, error.into_message());
                        }
                        return;
                    }
                },
            };
            match told {
                Ok(()) => subscription.handled(),
                Err(error) => {
                    let has_ended = error.kind() == FailureKind::Stopped;
                    match error.into_message() {
                        // Another member of the group has it now.
                        Some(event) if subscription.waits_with_others() => {
                            subscription.put_back(event);
                        }
                        event => bury(&recipient, event),
                    }
                    if has_ended {
                        return;
                    }
                }
            }
            if is_over {
                return;
            }
        }
    });
    // Also while nothing is published: who has ended subscribes to nothing.
    let stop = handling.stop.clone();
    handling.watch = watched.watch(Box::new(move |_| stop.abort()));
    handling
}

/// What reached nobody goes to dead letters (G6).
fn bury<T: Send + Sync + 'static>(
    recipient: &Recipient<TopicEvent<T>>,
    event: Option<TopicEvent<T>>,
) {
    let system = recipient.route().system();
    if let Some(event) = event {
        system.dead_letters().push(DeadLetter {
            at: system.clock().now(),
            target: recipient.label(),
            message_type: std::any::type_name::<TopicEvent<T>>(),
            reason: DropReason::Stopped,
            key: None,
            attempts: Vec::new(),
            message: Box::new(event),
        });
    }
}

/// Completes when it is to end.
type Stop = Abortable<Pending<()>>;

fn start<F, Fut>(system: &System, make: F) -> Handling
where
    F: FnOnce(Stop) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let (stop, registration) = AbortHandle::new_pair();
    let (over_tx, over) = oneshot::channel::<()>();
    // Where the system has been shut down, all of it is dropped here.
    system.spawn(Placement::Spread, move || async move {
        let _over = over_tx;
        make(Abortable::new(pending(), registration)).await;
    });
    Handling {
        stop,
        watch: WatchHandle::over(),
        over: over.shared(),
    }
}
