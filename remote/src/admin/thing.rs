//! What is exposed, as who administers it sees it: whatever its messages are.

use std::collections::BTreeMap;
use std::sync::Arc;

use callboard::queue::OnlyIf;
use callboard::topic::{Topic, TopicOptions};
use callboard::{ActorId, FailureKind, WireMessage};
use futures::future::BoxFuture;
use parking_lot::RwLock;

use super::views::{ExposedKind, Glance, MessageType, Removed, SubscriptionDetails, TopicDetails};
use super::wire::{Refused, WireDetails};
use crate::entrance::refuse;

/// How many consumers, subscriptions and accounts one answer names (G3).
pub(crate) const MOST_SHOWN: usize = 1_000;

/// A thing that can be looked into.
pub(crate) trait Thing: Send + Sync + 'static {
    fn kind(&self) -> ExposedKind;

    /// What it takes or holds.
    fn message(&self) -> Option<MessageType>;

    /// Which queue or topic it is, if it is one.
    fn id(&self) -> Option<ActorId> {
        None
    }

    /// What a topic was started with.
    fn topic_options(&self) -> Option<TopicOptions> {
        None
    }

    /// What can be told without asking anybody.
    fn glance(&self) -> Option<Glance> {
        None
    }

    fn inspect(self: Arc<Self>) -> BoxFuture<'static, Result<WireDetails, Refused>>;

    /// Removes all that waits in it.
    fn purge(self: Arc<Self>) -> BoxFuture<'static, Result<u64, Refused>> {
        not_of_that(self.kind())
    }

    /// Offers dead letters again.
    fn redrive(self: Arc<Self>, _max: u64) -> BoxFuture<'static, Result<u64, Refused>> {
        not_of_that(self.kind())
    }

    /// Removes its dead letters.
    fn purge_dead(self: Arc<Self>) -> BoxFuture<'static, Result<u64, Refused>> {
        not_of_that(self.kind())
    }

    /// Ends it, with all it has on disk, if it is as wished.
    fn remove(self: Arc<Self>, _only: OnlyIf) -> BoxFuture<'static, Result<Removed, Refused>> {
        not_of_that(self.kind())
    }

    /// Whether [`remove`](Thing::remove) can do it.
    fn can_be_removed(&self) -> bool {
        false
    }
}

fn not_of_that<T: Send + 'static>(kind: ExposedKind) -> BoxFuture<'static, Result<T, Refused>> {
    Box::pin(std::future::ready(Err(Refused::NotOfThat(kind))))
}

/// A number as it travels.
pub(crate) fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// What has one name.
pub(crate) type Named = Vec<Arc<dyn Thing>>;

/// The things of a node, by name. Plain actors aren't among them.
#[derive(Default)]
pub(crate) struct Things {
    names: RwLock<BTreeMap<Arc<str>, Named>>,
}

impl Things {
    /// One more has that name, unless one of that kind with those messages is known already.
    pub(crate) fn add(&self, name: &str, thing: Arc<dyn Thing>) {
        let mut names = self.names.write();
        let things = names.entry(name.into()).or_default();
        let same = |known: &Arc<dyn Thing>| {
            known.kind() == thing.kind() && known.message() == thing.message()
        };
        if !things.iter().any(same) {
            things.push(thing);
        }
    }

    pub(crate) fn remove(&self, name: &str) -> Option<Named> {
        self.names.write().remove(name)
    }

    /// Whether it is one of those with that name.
    pub(crate) fn has(&self, name: &str, thing: &Arc<dyn Thing>) -> bool {
        let names = self.names.read();
        let mut things = names.get(name).into_iter().flatten();
        things.any(|known| std::ptr::addr_eq(Arc::as_ptr(known), Arc::as_ptr(thing)))
    }

    pub(crate) fn of(&self, name: &str) -> Vec<Arc<dyn Thing>> {
        self.names.read().get(name).cloned().unwrap_or_default()
    }
}

/// A topic that peers subscribe to, or publish to.
pub(crate) struct TopicThing<T: Send + Sync + 'static>(pub(crate) Topic<T>);

impl<T: WireMessage + Sync> Thing for TopicThing<T> {
    fn kind(&self) -> ExposedKind {
        ExposedKind::Topic
    }

    fn message(&self) -> Option<MessageType> {
        Some(MessageType::of::<T>())
    }

    fn id(&self) -> Option<ActorId> {
        Some(self.0.id())
    }

    fn topic_options(&self) -> Option<TopicOptions> {
        Some(self.0.options())
    }

    fn glance(&self) -> Option<Glance> {
        let state = self.0.state();
        Some(Glance::Topic {
            published: state.published,
            subscribers: number(state.subscribers),
        })
    }

    fn inspect(self: Arc<Self>) -> BoxFuture<'static, Result<WireDetails, Refused>> {
        let state = self.0.state();
        let subscriptions = self.0.subscriptions().into_iter().take(MOST_SHOWN);
        let text = |text: Arc<str>| text.to_string();
        let subscriptions = subscriptions.map(|one| SubscriptionDetails {
            pattern: text(one.pattern),
            group: one.group.map(text),
            name: one.name.map(text),
            readers: number(one.readers),
            capacity: number(one.capacity),
            waiting: number(one.waiting),
            delivered: one.delivered,
            dropped: one.dropped,
        });
        let details = WireDetails::Topic(TopicDetails {
            messages: self.message().into_iter().collect(),
            published: state.published,
            delivered: state.delivered,
            dropped: state.dropped,
            subscribers: number(state.subscribers),
            retained: number(state.retained),
            kept: number(state.kept),
            durables: number(state.durables),
            subscriptions: subscriptions.collect(),
        });
        Box::pin(std::future::ready(Ok(details)))
    }

    /// Its subscribers are told that it has ended; what it has on disk stays there.
    fn remove(self: Arc<Self>, only: OnlyIf) -> BoxFuture<'static, Result<Removed, Refused>> {
        Box::pin(async move {
            let state = self.0.state();
            if only.unused && state.subscribers + state.durables > 0 {
                return Err(Refused::InUse {
                    in_hand: 0,
                    waiting: 0,
                    consumers: number(state.subscribers + state.durables),
                });
            }
            if only.empty && state.kept + state.retained > 0 {
                return Err(Refused::NotEmpty {
                    items: number(state.kept + state.retained),
                });
            }
            self.0.stop();
            Ok(Removed::default())
        })
    }

    fn can_be_removed(&self) -> bool {
        true
    }
}

/// What isn't there, or not for who asks.
pub(crate) fn unknown() -> Refused {
    Refused::Failed(refuse(FailureKind::UnknownName))
}
