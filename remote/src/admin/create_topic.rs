//! Topics that peers may have made.

use std::fmt;
use std::time::Duration;

use callboard::queue::Difference;
use callboard::topic::{Topic, TopicOptions};
use callboard::{ActorId, System, WireMessage};
use futures::future::BoxFuture;

use super::create::{Fresh, LONGEST};
use super::wire::Refused;
use crate::error::NameError;
use crate::node;

/// How topics are made that peers wish for, and how much they may keep: see
/// [`Node::creatable_topics`](crate::Node::creatable_topics).
///
/// ```
/// use callboard_remote::CreatableTopics;
///
/// let small = CreatableTopics::new().topics(10).history(1_000);
/// # let _ = small;
/// ```
#[derive(Clone)]
#[must_use = "it changes nothing until a node has it"]
pub struct CreatableTopics {
    topics: usize,
    history: usize,
    retained: usize,
    durables: usize,
}

impl Default for CreatableTopics {
    fn default() -> Self {
        CreatableTopics::new()
    }
}

impl CreatableTopics {
    /// At most 1,024 topics of these messages, each with a history of at most 10,000, retained values of at most 10,000
    /// subjects, and at most 1,000 durable subscriptions. All of it is in memory: a topic that is to outlive the process
    /// is the program's to [open](Topic::open).
    pub fn new() -> Self {
        CreatableTopics {
            topics: 1_024,
            history: 10_000,
            retained: 10_000,
            durables: 1_000,
        }
    }

    /// How many there may be at a time, whoever had them made: 1,024 unless told otherwise. What one principal may have
    /// is said by [`PeerLimits::topics`](crate::PeerLimits::topics).
    pub fn topics(mut self, most: usize) -> Self {
        self.topics = most;
        self
    }

    /// The longest history that may be wished for, in messages: 10,000 unless told otherwise; 0 for none.
    pub fn history(mut self, most: usize) -> Self {
        self.history = most;
        self
    }

    /// Of how many subjects a topic may be wished to retain the last value: 10,000 unless told otherwise; 0 for none.
    pub fn retained(mut self, most: usize) -> Self {
        self.retained = most;
        self
    }

    /// How many durable subscriptions a topic may be wished to keep the positions of: 1,000 unless told otherwise; 0 for
    /// none.
    pub fn durables(mut self, most: usize) -> Self {
        self.durables = most;
        self
    }

    /// What is out of range is refused, as with queues, and not brought to its nearest bound.
    fn check(&self, options: &TopicOptions) -> Result<(), Refused> {
        let age = options.history_age.unwrap_or_default();
        let wanted = [
            ("history", options.history, self.history),
            ("retained", options.retained, self.retained),
            ("durables", options.durables, self.durables),
        ];
        for (setting, wanted, most) in wanted {
            if wanted > most {
                return Err(Refused::OutOfRange {
                    setting: setting.to_owned(),
                    wanted: wanted.to_string(),
                    least: "0".to_owned(),
                    most: most.to_string(),
                });
            }
        }
        if age > LONGEST {
            return Err(Refused::OutOfRange {
                setting: "history_age".to_owned(),
                wanted: format!("{age:?}"),
                least: format!("{:?}", Duration::ZERO),
                most: format!("{LONGEST:?}"),
            });
        }
        Ok(())
    }
}

impl fmt::Debug for CreatableTopics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatableTopics")
            .field("topics", &self.topics)
            .field("history", &self.history)
            .field("retained", &self.retained)
            .field("durables", &self.durables)
            .finish()
    }
}

/// Makes topics of one type of messages.
pub(crate) trait TopicMaker: Send + Sync {
    /// Whether it may be made.
    fn check(&self, options: &TopicOptions) -> Result<(), Refused>;

    /// How many there may be at a time.
    fn most(&self) -> usize;

    /// Makes it.
    fn make(&self, system: &System, name: &str, options: TopicOptions) -> Box<dyn Fresh>;
}

pub(super) struct TopicMakerOf<T> {
    creatable: CreatableTopics,
    message: std::marker::PhantomData<fn(T)>,
}

impl<T> TopicMakerOf<T> {
    pub(super) fn new(creatable: CreatableTopics) -> Self {
        TopicMakerOf {
            creatable,
            message: std::marker::PhantomData,
        }
    }
}

impl<T: WireMessage + Sync> TopicMaker for TopicMakerOf<T> {
    fn check(&self, options: &TopicOptions) -> Result<(), Refused> {
        self.creatable.check(options)
    }

    fn most(&self) -> usize {
        self.creatable.topics
    }

    fn make(&self, system: &System, name: &str, options: TopicOptions) -> Box<dyn Fresh> {
        Box::new(Topic::<T>::start_with(system, name, options))
    }
}

impl<T: WireMessage + Sync> Fresh for Topic<T> {
    fn id(&self) -> ActorId {
        Topic::id(self)
    }

    /// For those who publish and those who subscribe: rights tell them apart.
    fn expose(&self, node: &node::Core, name: &str) -> Result<(), NameError> {
        let exposed = &node.exposed;
        let _changing = exposed.changing();
        // Both or none.
        let taken = [exposed.actors.types(name), exposed.topics.types(name)];
        if let Some((type_name, version)) = taken.concat().first() {
            return Err(NameError::Taken {
                name: name.to_owned(),
                type_name,
                version: *version,
            });
        }
        node.add_publishing(name, self)?;
        node.add_topic(name, self)
    }

    fn stop(&self) {
        Topic::stop(self);
    }

    fn ended(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.wait().await;
        })
    }
}

/// In what a topic differs from the one that was wished for.
pub(super) fn differences(is: &TopicOptions, wanted: &TopicOptions) -> Vec<Difference> {
    let settings = [
        ("history", is.history, wanted.history),
        ("retained", is.retained, wanted.retained),
        ("durables", is.durables, wanted.durables),
    ];
    let settings = settings.map(|(setting, is, wanted)| Difference {
        setting,
        is: is.to_string(),
        wanted: wanted.to_string(),
    });
    let age = Difference {
        setting: "history_age",
        is: format!("{:?}", is.history_age),
        wanted: format!("{:?}", wanted.history_age),
    };
    let mut differences = Vec::from(settings);
    differences.push(age);
    differences.retain(|one| one.is != one.wanted);
    differences
}
