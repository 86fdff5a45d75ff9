//! The actor inside a topic: who listens to what.

use std::marker::PhantomData;
use std::sync::Arc;

use super::buffer::{Buffer, Pushed};
use super::{Published, SubscriberOptions, Subscription, TopicState, subject};
use crate::actor::{Actor, Handler};
use crate::context::Context;
use crate::message::Message;

pub(super) struct Publish<T> {
    pub(super) subject: Arc<str>,
    pub(super) value: T,
}

impl<T: Send + 'static> Message for Publish<T> {
    type Reply = Published;
}

pub(super) struct Subscribe<T> {
    pattern: String,
    options: SubscriberOptions,
    value: PhantomData<fn() -> T>,
}

impl<T> Subscribe<T> {
    pub(super) fn new(pattern: &str, options: SubscriberOptions) -> Self {
        Subscribe {
            pattern: pattern.to_owned(),
            options,
            value: PhantomData,
        }
    }
}

impl<T: Send + 'static> Message for Subscribe<T> {
    type Reply = Subscription<T>;
}

pub(super) struct State;

impl Message for State {
    type Reply = TopicState;
}

pub(super) struct TopicActor<T> {
    subscribers: Vec<Subscriber<T>>,
    state: TopicState,
}

struct Subscriber<T> {
    pattern: String,
    buffer: Arc<Buffer<T>>,
}

impl<T> TopicActor<T> {
    pub(super) fn new() -> Self {
        TopicActor {
            subscribers: Vec::new(),
            state: TopicState::default(),
        }
    }
}

impl<T: Clone + Send + 'static> Actor for TopicActor<T> {}

impl<T> Drop for TopicActor<T> {
    /// However the topic ends, its subscribers see the end.
    fn drop(&mut self) {
        for subscriber in &self.subscribers {
            subscriber.buffer.end();
        }
    }
}

impl<T: Clone + Send + 'static> Handler<Publish<T>> for TopicActor<T> {
    async fn handle(&mut self, publish: Publish<T>, _ctx: &mut Context<Self>) -> Published {
        let Publish { subject, value } = publish;
        self.state.published += 1;
        let mut published = Published {
            sequence: self.state.published,
            matched: 0,
            dropped: 0,
        };
        self.subscribers.retain(|subscriber| {
            if !subject::matches(&subscriber.pattern, &subject) {
                return true;
            }
            let pushed = subscriber
                .buffer
                .push(&subject, published.sequence, value.clone());
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

impl<T: Clone + Send + 'static> Handler<Subscribe<T>> for TopicActor<T> {
    async fn handle(
        &mut self,
        subscribe: Subscribe<T>,
        _ctx: &mut Context<Self>,
    ) -> Subscription<T> {
        // Those who left are forgotten here too, not only at the next message that matches.
        self.subscribers
            .retain(|subscriber| !subscriber.buffer.is_abandoned());
        let buffer = Arc::new(Buffer::new(subscribe.options));
        self.subscribers.push(Subscriber {
            pattern: subscribe.pattern,
            buffer: Arc::clone(&buffer),
        });
        Subscription::new(buffer, self.state.published)
    }
}

impl<T: Clone + Send + 'static> Handler<State> for TopicActor<T> {
    async fn handle(&mut self, _: State, _ctx: &mut Context<Self>) -> TopicState {
        self.subscribers
            .retain(|subscriber| !subscriber.buffer.is_abandoned());
        TopicState {
            subscribers: self.subscribers.len(),
            ..self.state
        }
    }
}
