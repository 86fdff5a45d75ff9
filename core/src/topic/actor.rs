//! The actor inside a topic. Publishers and subscribers don't go through its mailbox; it is there so that a topic can
//! be stopped, watched, observed and listed like everything else, and so that it ends with its system.

use std::sync::Arc;

use super::hub::Hub;
use super::state::TopicState;
use crate::actor::Actor;
use crate::observe::Observable;

pub(super) struct TopicActor<T: Send + Sync + 'static> {
    life: Life<T>,
}

/// Ends the topic when it is dropped: with the actor, however that ends, or with a start that never came to be.
pub(super) struct Life<T>(Arc<Hub<T>>);

impl<T> Life<T> {
    pub(super) fn new(hub: &Arc<Hub<T>>) -> Self {
        Life(Arc::clone(hub))
    }
}

impl<T> Drop for Life<T> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl<T: Send + Sync + 'static> TopicActor<T> {
    pub(super) fn new(life: Life<T>) -> Self {
        TopicActor { life }
    }
}

impl<T: Send + Sync + 'static> Actor for TopicActor<T> {}

impl<T: Send + Sync + 'static> Observable for TopicActor<T> {
    type State = TopicState;

    fn observe(&self) -> TopicState {
        self.life.0.state()
    }
}
