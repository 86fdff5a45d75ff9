//! The actor inside a topic.

use std::marker::PhantomData;
use std::sync::Arc;

use super::hub::{Hub, Wakes};
use super::{Published, SubscriberOptions, Subscription, TopicState};
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
    /// Dropped with the actor, which ends the subscriptions.
    hub: Hub<T>,
}

impl<T> TopicActor<T> {
    pub(super) fn new() -> Self {
        TopicActor { hub: Hub::new() }
    }
}

impl<T: Clone + Send + 'static> Actor for TopicActor<T> {}

impl<T: Clone + Send + 'static> Handler<Publish<T>> for TopicActor<T> {
    async fn handle(&mut self, publish: Publish<T>, _ctx: &mut Context<Self>) -> Published {
        let Publish { subject, value } = publish;
        let mut wakes = Wakes::default();
        self.hub.publish(&subject, &value, &mut wakes)
    }
}

impl<T: Clone + Send + 'static> Handler<Subscribe<T>> for TopicActor<T> {
    async fn handle(
        &mut self,
        subscribe: Subscribe<T>,
        _ctx: &mut Context<Self>,
    ) -> Subscription<T> {
        self.hub.subscribe(subscribe.pattern, subscribe.options)
    }
}

impl<T: Clone + Send + 'static> Handler<State> for TopicActor<T> {
    async fn handle(&mut self, _: State, _ctx: &mut Context<Self>) -> TopicState {
        self.hub.state()
    }
}
