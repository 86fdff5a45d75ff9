//! Who listens to what: the part of a topic that needs no actor.
//!
//! A topic's actor has one, and so have the dead letters of a system, which must not depend on a mailbox.

use std::sync::Arc;
use std::task::Waker;

use super::buffer::{Buffer, Pushed};
use super::{Published, SubscriberOptions, Subscription, TopicState, subject};

/// The subscribers of one topic, and its numbering. Dropping it ends their subscriptions.
pub(crate) struct Hub<T> {
    subscribers: Vec<Subscriber<T>>,
    state: TopicState,
}

struct Subscriber<T> {
    pattern: String,
    buffer: Arc<Buffer<T>>,
}

/// Who waits for what was published. Woken when dropped: after the lock that a hub may be under.
#[derive(Default)]
#[must_use]
pub(crate) struct Wakes(Vec<Waker>);

impl Drop for Wakes {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Waker::wake);
    }
}

impl<T: Clone> Hub<T> {
    /// Puts a value into the buffers of those whose pattern matches, in order (G27). The subject is checked.
    pub(crate) fn publish(
        &mut self,
        subject: &Arc<str>,
        value: &T,
        wakes: &mut Wakes,
    ) -> Published {
        self.state.published += 1;
        let mut published = Published {
            sequence: self.state.published,
            matched: 0,
            dropped: 0,
        };
        self.subscribers.retain(|subscriber| {
            if !subject::matches(&subscriber.pattern, subject) {
                return true;
            }
            let (pushed, wake) = subscriber
                .buffer
                .push(subject, published.sequence, value.clone());
            wakes.0.extend(wake);
            published.matched += usize::from(pushed != Pushed::Gone);
            match pushed {
                Pushed::Stored => self.state.delivered += 1,
                Pushed::DroppedOldest => {
                    self.state.delivered += 1;
                    published.dropped += 1;
                }
                Pushed::DroppedNewest | Pushed::Disconnected => published.dropped += 1,
                Pushed::Gone => {}
            }
            !matches!(pushed, Pushed::Disconnected | Pushed::Gone)
        });
        self.state.dropped += published.dropped as u64;
        published
    }
}

impl<T> Hub<T> {
    pub(crate) fn new() -> Self {
        Hub {
            subscribers: Vec::new(),
            state: TopicState::default(),
        }
    }

    /// Serves what the pattern, which is checked, matches from now on.
    pub(crate) fn subscribe(
        &mut self,
        pattern: String,
        options: SubscriberOptions,
    ) -> Subscription<T> {
        // Those who left are forgotten here too, not only at the next message that matches.
        self.forget_those_who_left();
        let buffer = Arc::new(Buffer::new(options));
        self.subscribers.push(Subscriber {
            pattern,
            buffer: Arc::clone(&buffer),
        });
        Subscription::new(buffer, self.state.published)
    }

    /// Whether nobody has subscribed, or all have left and that was seen.
    pub(crate) fn is_idle(&self) -> bool {
        self.subscribers.is_empty()
    }

    /// One was published that nobody could have wanted: it has its number all the same.
    pub(crate) fn skip(&mut self) {
        self.state.published += 1;
    }

    /// What it has seen.
    pub(crate) fn state(&mut self) -> TopicState {
        self.forget_those_who_left();
        TopicState {
            subscribers: self.subscribers.len(),
            ..self.state
        }
    }

    fn forget_those_who_left(&mut self) {
        self.subscribers
            .retain(|subscriber| !subscriber.buffer.is_abandoned());
    }
}

impl<T> Drop for Hub<T> {
    /// However the topic ends, its subscribers see the end.
    fn drop(&mut self) {
        for subscriber in &self.subscribers {
            subscriber.buffer.end();
        }
    }
}
