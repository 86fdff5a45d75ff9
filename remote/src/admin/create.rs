//! What peers may have made.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use callboard::journal::Journals;
use callboard::queue::{LEASE_RANGE, MAX_PRIORITIES, OpenError, Queue, QueueConfig, QueueKind};
use callboard::{ActorId, System, WireMessage};
use futures::future::BoxFuture;
use parking_lot::{Mutex, RwLock};

use super::create_topic::{CreatableTopics, TopicMaker, TopicMakerOf};
use super::views::MessageType;
use super::wire::Refused;
use crate::entrance::{WireFailure, refuse};
use crate::error::NameError;
use crate::node;
use crate::rights::{Place, PlaceKind};

/// How queues are made that peers wish for, and how large they may be: see
/// [`Node::creatable`](crate::Node::creatable).
///
/// ```
/// use callboard_remote::Creatable;
///
/// let small = Creatable::new().queues(10).items(1_000);
/// # let _ = small;
/// ```
#[derive(Clone)]
#[must_use = "it changes nothing until a node has it"]
pub struct Creatable {
    journals: Option<Arc<dyn Journals>>,
    queues: usize,
    items: usize,
    dead_letters: usize,
    keys: usize,
    cache_bytes: usize,
}

impl Default for Creatable {
    fn default() -> Self {
        Creatable::new()
    }
}

impl Creatable {
    /// At most 1,024 queues of these items, each for at most 100,000 items, 100,000 dead letters and 100,000 request
    /// keys; in memory only.
    pub fn new() -> Self {
        Creatable {
            journals: None,
            queues: 1_024,
            items: 100_000,
            dead_letters: 100_000,
            keys: 100_000,
            cache_bytes: 64 << 20,
        }
    }

    /// Durable ones too, kept in `journals` (G25), each in a journal of its name.
    pub fn durable(mut self, journals: Arc<dyn Journals>) -> Self {
        self.journals = Some(journals);
        self
    }

    /// How many there may be at a time, whoever had them made: 1,024 unless told otherwise. What one principal may have
    /// is said by [`PeerLimits::queues`](crate::PeerLimits::queues).
    pub fn queues(mut self, most: usize) -> Self {
        self.queues = most;
        self
    }

    /// The largest capacity that may be wished for: 100,000 unless told otherwise.
    pub fn items(mut self, most: usize) -> Self {
        self.items = most.max(1);
        self
    }

    /// The largest capacity of its dead-letter queue that may be wished for: 100,000 unless told otherwise. (The
    /// default of queues is 10,000.)
    pub fn dead_letters(mut self, most: usize) -> Self {
        self.dead_letters = most.max(1);
        self
    }

    /// How many request keys a queue may be wished to remember: 100,000 unless told otherwise.
    pub fn keys(mut self, most: usize) -> Self {
        self.keys = most.max(1);
        self
    }

    /// Of how many bytes of a durable queue's items copies may be kept in memory: 64 MiB unless told otherwise.
    pub fn cache(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Whether a queue like that may be made. What is out of range is refused, not brought to its nearest bound: who
    /// isn't here to look would not hear of it.
    fn check(&self, config: &QueueConfig) -> Result<(), Refused> {
        let within = |setting: &str, wanted: usize, least: usize, most: usize| {
            if (least..=most).contains(&wanted) {
                return Ok(());
            }
            Err(Refused::OutOfRange {
                setting: setting.to_owned(),
                wanted: wanted.to_string(),
                least: least.to_string(),
                most: most.to_string(),
            })
        };
        within("capacity", config.capacity, 1, self.items)?;
        within("dead_capacity", config.dead_capacity, 1, self.dead_letters)?;
        within("key_capacity", config.key_capacity, 1, self.keys)?;
        within("max_in_flight", config.max_in_flight, 1, usize::MAX)?;
        within(
            "priorities",
            config.priorities.into(),
            1,
            MAX_PRIORITIES.into(),
        )?;
        let (least, most) = LEASE_RANGE;
        if !(least..=most).contains(&config.lease) {
            return Err(Refused::OutOfRange {
                setting: "lease".to_owned(),
                wanted: format!("{:?}", config.lease),
                least: format!("{least:?}"),
                most: format!("{most:?}"),
            });
        }
        if config.delivery_limit == Some(0) {
            within("delivery_limit", 0, 1, u32::MAX as usize)?;
        }
        for (setting, span) in [
            ("retry_first", config.retry_first),
            ("retry_cap", config.retry_cap),
            ("key_window", config.key_window),
            ("time_to_live", config.time_to_live.unwrap_or_default()),
        ] {
            if span > LONGEST {
                return Err(Refused::OutOfRange {
                    setting: setting.to_owned(),
                    wanted: format!("{span:?}"),
                    least: format!("{:?}", Duration::ZERO),
                    most: format!("{LONGEST:?}"),
                });
            }
        }
        if config.durable {
            within("cache_bytes", config.cache_bytes, 0, self.cache_bytes)?;
            if self.journals.is_none() {
                return Err(Refused::NotKept("durable".to_owned()));
            }
        } else if config.compare_keys {
            // Whether two items are equal is seen by their bytes, which only a durable queue has.
            return Err(Refused::NotKept("compare_keys without durable".to_owned()));
        }
        Ok(())
    }
}

/// The longest span that a setting may have: a hundred years, in which no sum of times overflows.
pub(super) const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

impl fmt::Debug for Creatable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Creatable")
            .field("durable", &self.journals.is_some())
            .field("queues", &self.queues)
            .field("items", &self.items)
            .field("dead_letters", &self.dead_letters)
            .field("keys", &self.keys)
            .field("cache_bytes", &self.cache_bytes)
            .finish()
    }
}

/// Makes queues of one type of items.
pub(crate) trait Maker: Send + Sync {
    /// Whether it may be made, and how it will be.
    fn check(&self, config: QueueConfig) -> Result<QueueConfig, Refused>;

    /// How many there may be at a time.
    fn most(&self) -> usize;

    /// Makes it.
    fn make<'a>(
        &'a self,
        system: &'a System,
        name: &'a str,
        config: QueueConfig,
    ) -> BoxFuture<'a, Result<Box<dyn Fresh>, Refused>>;

    /// Whether the system has a queue of that name.
    fn has(&self, system: &System, name: &str) -> bool;
}

/// A queue or topic that was made just now.
pub(crate) trait Fresh: Send + Sync {
    fn id(&self) -> ActorId;

    fn expose(&self, node: &node::Core, name: &str) -> Result<(), NameError>;

    /// Ends it again, and leaves on disk what is there.
    fn stop(&self);

    /// Completes when it has ended.
    fn ended(self: Box<Self>) -> BoxFuture<'static, ()>;
}

struct MakerOf<T> {
    creatable: Creatable,
    item: std::marker::PhantomData<fn(T)>,
}

impl<T: WireMessage + Clone> Maker for MakerOf<T> {
    fn check(&self, mut config: QueueConfig) -> Result<QueueConfig, Refused> {
        self.creatable.check(&config)?;
        config.compare_keys |= config.durable;
        config.retry_cap = config.retry_cap.max(config.retry_first);
        if config.kind == QueueKind::Circular {
            config.max_in_flight = config.max_in_flight.min(config.capacity);
        }
        Ok(config)
    }

    fn most(&self) -> usize {
        self.creatable.queues
    }

    fn make<'a>(
        &'a self,
        system: &'a System,
        name: &'a str,
        config: QueueConfig,
    ) -> BoxFuture<'a, Result<Box<dyn Fresh>, Refused>> {
        Box::pin(async move {
            let mut builder = system
                .queue::<T>(name)
                .capacity(config.capacity)
                .max_in_flight(config.max_in_flight)
                .priorities(config.priorities)
                .lease(config.lease)
                .delivery_limit(config.delivery_limit)
                .retry(config.retry_first, config.retry_cap)
                .key_window(config.key_window, config.key_capacity)
                .dead_letter_capacity(config.dead_capacity)
                .cache(config.cache_bytes);
            if config.kind == QueueKind::Circular {
                builder = builder.circular();
            }
            if let Some(span) = config.time_to_live {
                builder = builder.time_to_live(span);
            }
            if config.single_active {
                builder = builder.single_active_consumer();
            }
            if config.reordering {
                builder = builder.allow_reordering();
            }
            let opened = match &self.creatable.journals {
                Some(journals) if config.durable => {
                    builder.durable(Arc::clone(journals)).open().await
                }
                _ => builder.open(),
            };
            match opened {
                Ok(queue) => Ok(Box::new(queue) as Box<dyn Fresh>),
                Err(error) => Err(refused(error)),
            }
        })
    }

    fn has(&self, system: &System, name: &str) -> bool {
        !matches!(system.queues().get::<T>(name), Ok(None))
    }
}

fn refused(error: OpenError) -> Refused {
    use callboard::{FailureKind, Verdict};
    match error {
        OpenError::BadName(_) => Refused::BadName,
        OpenError::Differs { differences, .. } => {
            Refused::Differs(differences.into_iter().map(Into::into).collect())
        }
        OpenError::WrongType { .. } => Refused::Taken,
        OpenError::ShutDown => Refused::Failed(refuse(FailureKind::Stopped)),
        OpenError::Storage(error) => {
            // Its text names files of this host.
            tracing::warn!(target: "callboard::remote", %error, "a queue can't be made");
            Refused::Failed(WireFailure::new(
                FailureKind::StorageFailed,
                Verdict::NotExecuted,
            ))
        }
        _ => Refused::Failed(refuse(FailureKind::Overloaded)),
    }
}

impl<T: WireMessage + Clone> Fresh for Queue<T> {
    fn id(&self) -> ActorId {
        Queue::id(self)
    }

    fn expose(&self, node: &node::Core, name: &str) -> Result<(), NameError> {
        node.expose_queue(name, self)
    }

    fn stop(&self) {
        Queue::stop(self);
    }

    fn ended(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move { self.wait().await })
    }
}

/// Items by the name of their type and its version.
pub(crate) type Item = (&'static str, u32);

/// What peers may have made of a node, and what they have.
#[derive(Default)]
pub(crate) struct Making {
    makers: RwLock<BTreeMap<Item, Arc<dyn Maker>>>,
    topic_makers: RwLock<BTreeMap<Item, Arc<dyn TopicMaker>>>,
    made: Mutex<HashMap<Arc<str>, Made>>,
    /// Held by who makes or removes: one after the other, so that what is looked at stays as it was.
    pub(crate) turn: futures::lock::Mutex<()>,
}

/// A queue or topic that a peer had made, and that is still there.
struct Made {
    id: ActorId,
    by: Arc<str>,
    kind: PlaceKind,
    item: Item,
    /// Given back when it has ended.
    _place: Place,
}

impl Making {
    pub(crate) fn allow<T: WireMessage + Clone>(&self, creatable: Creatable) {
        let maker = MakerOf::<T> {
            creatable,
            item: std::marker::PhantomData,
        };
        let mut makers = self.makers.write();
        makers.insert((T::NAME, T::VERSION), Arc::new(maker));
    }

    pub(crate) fn allow_topics<T: WireMessage + Sync>(&self, creatable: CreatableTopics) {
        let maker = TopicMakerOf::<T>::new(creatable);
        let mut makers = self.topic_makers.write();
        makers.insert((T::NAME, T::VERSION), Arc::new(maker));
    }

    /// Who makes queues of such items.
    pub(crate) fn maker(&self, item: &MessageType) -> Result<(Item, Arc<dyn Maker>), Refused> {
        of(&self.makers.read(), item)
    }

    /// Who makes topics of such messages.
    pub(crate) fn topic_maker(
        &self,
        message: &MessageType,
    ) -> Result<(Item, Arc<dyn TopicMaker>), Refused> {
        of(&self.topic_makers.read(), message)
    }

    /// How many of these items there are.
    pub(crate) fn count(&self, kind: PlaceKind, item: Item) -> usize {
        let made = self.made.lock();
        let same = |made: &&Made| made.kind == kind && made.item == item;
        made.values().filter(same).count()
    }

    /// How many there are of that kind.
    pub(crate) fn len(&self, kind: PlaceKind) -> usize {
        let made = self.made.lock();
        made.values().filter(|made| made.kind == kind).count()
    }

    pub(crate) fn note(&self, name: &str, id: ActorId, by: Arc<str>, item: Item, place: Place) {
        let made = Made {
            id,
            by,
            kind: place.kind(),
            item,
            _place: place,
        };
        self.made.lock().insert(name.into(), made);
    }

    /// It has ended: its place is free.
    pub(crate) fn ended(&self, name: &str, id: ActorId) {
        let mut made = self.made.lock();
        let is_it = made.get(name).is_some_and(|made| made.id == id);
        let gone = is_it.then(|| made.remove(name));
        drop(made);
        drop(gone);
    }

    /// Who had that made, if a peer did.
    pub(crate) fn by(&self, name: &str, id: ActorId) -> Option<String> {
        let made = self.made.lock();
        let made = made.get(name).filter(|made| made.id == id);
        made.map(|made| made.by.to_string())
    }
}

/// Who makes what is of that type, or the versions of it that are made.
fn of<M: ?Sized>(
    makers: &BTreeMap<Item, Arc<M>>,
    wanted: &MessageType,
) -> Result<(Item, Arc<M>), Refused> {
    let is_it = |(name, version): &Item| *name == wanted.name && *version == wanted.version;
    if let Some((key, maker)) = makers.iter().find(|(key, _)| is_it(key)) {
        return Ok((*key, Arc::clone(maker)));
    }
    let versions = makers.keys().filter(|(name, _)| *name == wanted.name);
    Err(Refused::NotCreatable(
        versions.map(|(_, version)| *version).collect(),
    ))
}
