//! Opening queues.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::de::DeserializeOwned;

use super::config::{Difference, QueueConfig, QueueKind};
use super::dead::Dead;
use super::durable::Durable;
use super::durable::open::{Recovery, halves};
use super::durable::versions::Versions;
use super::ending::{NotEnded, OnlyIf};
use super::keeper::{Keeper, NoOwner};
use super::local::{DeadHome, Local};
use super::registry::{Entry, Queues};
use super::{Inner, Queue};
use crate::actor_ref::ActorRef;
use crate::id::ActorId;
use crate::journal::{JournalError, Journals, OnProgress};
use crate::message::WireMessage;
use crate::names::{BadName, check_name};
use crate::spawn::Placement;
use crate::system::System;

/// Why a queue could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The name can't be one.
    #[error(transparent)]
    BadName(#[from] BadName),
    /// There is a queue of that name, and it is another one.
    #[error("queue {name} is there with other settings: {}", list(.differences))]
    Differs {
        /// The name.
        name: Arc<str>,
        /// In what they differ.
        differences: Vec<Difference>,
    },
    /// There is a queue of that name for items of another type.
    #[error("queue {name} is there for items of type {is}, not {wanted}")]
    WrongType {
        /// The name.
        name: Arc<str>,
        /// The Rust type of its items.
        is: &'static str,
        /// The one that was wanted.
        wanted: &'static str,
    },
    /// The system has been shut down.
    #[error("the system has been shut down")]
    ShutDown,
    /// What keeps it on disk could not be opened.
    #[error(transparent)]
    Storage(#[from] JournalError),
    /// A back end doesn't keep what was asked for.
    #[error("queue {name} doesn't keep what is needed: {}", .lacks.join(", "))]
    Lacks {
        /// The name.
        name: Arc<str>,
        /// The needs that aren't met.
        lacks: Vec<&'static str>,
    },
}

fn list(differences: &[Difference]) -> String {
    let texts: Vec<String> = differences.iter().map(Difference::to_string).collect();
    texts.join("; ")
}

/// A queue to be opened: made by [`System::queue`]. What is out of range counts as the nearest bound.
///
/// ```
/// use std::time::Duration;
/// use callboard_core::queue::Queue;
/// use callboard_core::{Simulation, System};
///
/// Simulation::new(1).block_on(async {
///     let system = System::current().ok_or("no system")?;
///     let mails: Queue<String> = system.queue("mails").capacity(100).priorities(3).open()?;
///     // Whoever opens the name again, with the same settings, gets the same queue.
///     let again: Queue<String> = system.queue("mails").capacity(100).priorities(3).open()?;
///     mails.offer("hello".to_owned()).await?;
///     assert_eq!(again.poll().await?.as_deref(), Some("hello"));
///     // With others it is told in what they differ.
///     let error = system.queue::<String>("mails").capacity(5).priorities(3).open().unwrap_err();
///     assert_eq!(error.to_string(), "queue mails is there with other settings: capacity is 100, wanted 5");
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })
/// # .unwrap();
/// ```
#[must_use = "nothing is opened until `open`"]
pub struct QueueBuilder<T: Send + 'static> {
    system: System,
    name: Arc<str>,
    config: QueueConfig,
    print: Option<fn(&T) -> u64>,
    placement: Placement,
    item: PhantomData<fn() -> T>,
}

impl System {
    /// A queue of that name, to be opened: found by it, and made if it isn't there.
    pub fn queue<T: Send + 'static>(&self, name: impl Into<Arc<str>>) -> QueueBuilder<T> {
        QueueBuilder {
            system: self.clone(),
            name: name.into(),
            config: QueueConfig::default(),
            print: None,
            placement: Placement::Spread,
            item: PhantomData,
        }
    }

    /// The queues that have names.
    #[must_use]
    pub fn queues(&self) -> &Queues {
        self.queues_table()
    }
}

impl<T: Send + 'static> QueueBuilder<T> {
    /// How many items it holds: 1,024 unless told otherwise.
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.config.capacity = capacity;
        self
    }

    /// When full it drops the oldest item that nobody has in hand, instead of having offers wait.
    pub fn circular(mut self) -> Self {
        self.config.kind = QueueKind::Circular;
        self
    }

    /// How many levels of priority there are, 1 to [`MAX_PRIORITIES`](super::MAX_PRIORITIES): 1 unless told
    /// otherwise.
    pub fn priorities(mut self, levels: u8) -> Self {
        self.config.priorities = levels;
        self
    }

    /// How long a lease lasts, within [`LEASE_RANGE`](super::LEASE_RANGE): 30 s unless told otherwise.
    pub fn lease(mut self, span: Duration) -> Self {
        self.config.lease = span;
        self
    }

    /// How many items may be in consumers' hands at a time: as many as it holds unless told otherwise.
    pub fn max_in_flight(mut self, items: usize) -> Self {
        self.config.max_in_flight = items;
        self
    }

    /// After how many failed deliveries an item goes to the dead-letter queue: 20 unless told otherwise, as in
    /// `RabbitMQ`'s quorum queues. `None`: never.
    pub fn delivery_limit(mut self, failures: impl Into<Option<u32>>) -> Self {
        self.config.delivery_limit = failures.into();
        self
    }

    /// The longest pause after the first failed delivery, doubled with each further one up to `cap`: 100 ms and
    /// 60 s unless told otherwise. The pause itself is drawn from zero up to that ("full jitter").
    pub fn retry(mut self, first: Duration, cap: Duration) -> Self {
        self.config.retry_first = first;
        self.config.retry_cap = cap;
        self
    }

    /// How long an item may wait whose sender says nothing of it: for ever unless told otherwise. Older ones go
    /// to the dead-letter queue.
    pub fn time_to_live(mut self, span: Duration) -> Self {
        self.config.time_to_live = Some(span);
        self
    }

    /// How long the key of an offer is remembered, and how many keys at most: 2 min and 100,000 unless told
    /// otherwise. When that many are remembered, offers with new keys are refused (`Overloaded`): forgetting one
    /// would break the promise that was made for it (G26).
    pub fn key_window(mut self, span: Duration, keys: usize) -> Self {
        self.config.key_window = span;
        self.config.key_capacity = keys;
        self
    }

    /// How many items its dead-letter queue holds: 10,000 unless told otherwise.
    pub fn dead_letter_capacity(mut self, items: usize) -> Self {
        self.config.dead_capacity = items;
        self
    }

    /// Only one consumer at a time gets items, the first that is there: see [`Queue::consumer`].
    pub fn single_active_consumer(mut self) -> Self {
        self.config.single_active = true;
        self
    }

    /// An item that waits out a delay lets the others of its group pass, instead of holding them back (G24).
    pub fn allow_reordering(mut self) -> Self {
        self.config.reordering = true;
        self
    }

    /// Of how many bytes of a durable queue's items copies are kept in memory: 64 MiB unless told otherwise. The
    /// others are read when they are handed out.
    pub fn cache(mut self, bytes: usize) -> Self {
        self.config.cache_bytes = bytes;
        self
    }

    /// Where its actor lives, which keeps the time.
    pub fn placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }

    /// Opens it, or finds it, by its name.
    ///
    /// # Errors
    /// [`OpenError`]: it is there with other settings or for other items, the name can't be one, or the system
    /// has been shut down.
    pub fn open(self) -> Result<Queue<T>, OpenError> {
        check_name(Arc::clone(&self.name))?;
        let queues = self.system.queues().clone();
        queues.find_or(&self.name.clone(), &self.wanted(), None, || {
            self.start_without_name()
        })
    }

    /// Starts it, found by nobody who isn't handed the reference.
    pub(super) fn start_without_name(self) -> Result<Queue<T>, OpenError> {
        if self.system.is_closed() {
            return Err(OpenError::ShutDown);
        }
        let config = self.config.within_range();
        let dead_config = dead_config(&config);
        let name = Arc::clone(&self.name);
        let dead = Arc::new(Local::<Dead<T>>::new(
            &self.system,
            dead_name(&name),
            dead_config,
            None,
            None,
            None,
        ));
        let home: Arc<dyn DeadHome<T>> = Arc::clone(&dead) as _;
        let local = Local::new(&self.system, name, config, self.print, None, Some(home));
        Ok(start(&self.system, self.placement, Arc::new(local), dead))
    }

    fn wanted(&self) -> QueueConfig {
        self.config.clone().within_range()
    }
}

impl<T: Hash + Send + 'static> QueueBuilder<T> {
    /// An offer whose key was used for another item is refused (`KeyReused`), instead of counting as its
    /// duplicate. Durable queues always do.
    pub fn compare_keys(mut self) -> Self {
        self.config.compare_keys = true;
        self.print = Some(|item| {
            let mut hasher = DefaultHasher::new();
            item.hash(&mut hasher);
            hasher.finish()
        });
        self
    }
}

impl<T: WireMessage> QueueBuilder<T> {
    /// Its items outlive the process, in `journals` (G25).
    pub fn durable(mut self, journals: Arc<dyn Journals>) -> DurableQueueBuilder<T> {
        self.config.durable = true;
        self.config.compare_keys = true;
        DurableQueueBuilder {
            plain: self,
            journals,
            versions: Versions::present(),
        }
    }
}

impl<T: Send + 'static> fmt::Debug for QueueBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueBuilder")
            .field("name", &self.name)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// A durable queue to be opened: made by [`QueueBuilder::durable`].
#[must_use = "nothing is opened until `open`"]
pub struct DurableQueueBuilder<T: WireMessage> {
    plain: QueueBuilder<T>,
    journals: Arc<dyn Journals>,
    versions: Versions<T>,
}

impl<T: WireMessage> DurableQueueBuilder<T> {
    /// What was stored when the type had that version is an `Old`, and becomes a `T` by `upcast`. Items of versions
    /// without one are set aside when they are to be handed out: see [`Queue::set_aside`].
    pub fn upcast<Old: DeserializeOwned + 'static>(
        mut self,
        version: u32,
        upcast: impl Fn(Old) -> T + Send + Sync + 'static,
    ) -> Self {
        self.versions.add(version, upcast);
        self
    }

    /// Opens it, or finds it, by its name, with all that was stored in it.
    ///
    /// # Errors
    /// As [`QueueBuilder::open`], and [`OpenError::Storage`]. Settings that change nothing about what is stored
    /// may differ from those of an earlier process: all but the kind.
    ///
    /// # Cancel safety
    /// Dropping it leaves the queue closed, or open.
    pub fn open(self) -> BoxFuture<'static, Result<Queue<T>, OpenError>> {
        Box::pin(self.open_now())
    }

    async fn open_now(self) -> Result<Queue<T>, OpenError> {
        let DurableQueueBuilder {
            plain,
            journals,
            versions,
        } = self;
        check_name(Arc::clone(&plain.name))?;
        if plain.system.is_closed() {
            return Err(OpenError::ShutDown);
        }
        let queues = plain.system.queues().clone();
        let config = plain.wanted();
        if let Some(found) = queues.find(&plain.name, &config)? {
            return Ok(found);
        }
        queues.check_removals(&plain.name)?;
        let opened = journals.open(&plain.name).await?;
        let mut recovery = Recovery::of(opened, &plain.name)?;
        if let Some(before) = &recovery.config
            && before.kind != config.kind
        {
            let differences = before.differences(&config);
            return Err(OpenError::Differs {
                name: plain.name,
                differences: differences
                    .into_iter()
                    .filter(|difference| difference.setting == "kind")
                    .collect(),
            });
        }
        recovery.note_opening(&config).await?;
        let journal = Arc::clone(&recovery.journal);
        let (own, dead_half) = halves(&journal, versions);
        let name = Arc::clone(&plain.name);
        let dead = Arc::new(Local::<Dead<T>>::new(
            &plain.system,
            dead_name(&name),
            dead_config(&config),
            None,
            Some(dead_half),
            None,
        ));
        let home: Arc<dyn DeadHome<T>> = Arc::clone(&dead) as _;
        let local = Local::new(
            &plain.system,
            Arc::clone(&name),
            config.clone(),
            None,
            Some::<Durable<T>>(own),
            Some(home),
        );
        let local = Arc::new(local);
        recovery.restore(&local, &dead);
        let observer: Arc<dyn OnProgress> = Arc::clone(&local) as _;
        journal.observe(Arc::downgrade(&observer));
        // It may have failed before anybody was told.
        local.journal_progressed();
        let (system, placement) = (plain.system, plain.placement);
        queues.find_or(&name, &config, Some(journals), || {
            Ok(start(&system, placement, local, dead))
        })
    }
}

impl<T: WireMessage> fmt::Debug for DurableQueueBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DurableQueueBuilder")
            .field("name", &self.plain.name)
            .finish_non_exhaustive()
    }
}

fn dead_name(name: &Arc<str>) -> Arc<str> {
    format!("{name} (dead)").into()
}

fn dead_config(config: &QueueConfig) -> QueueConfig {
    QueueConfig {
        kind: QueueKind::Circular,
        capacity: config.dead_capacity,
        delivery_limit: None,
        time_to_live: None,
        priorities: 1,
        single_active: false,
        max_in_flight: usize::MAX,
        ..config.clone()
    }
    .within_range()
}

fn start<T: Send + 'static>(
    system: &System,
    placement: Placement,
    local: Arc<Local<T>>,
    dead: Arc<Local<Dead<T>>>,
) -> Queue<T> {
    let (kept, kept_dead) = (Arc::clone(&local), Arc::clone(&dead));
    let keeper: ActorRef<Keeper<T>> = system
        .actor(move || Keeper::new(Arc::clone(&kept), Arc::clone(&kept_dead)))
        .label(format!("queue {}", local.name))
        .placement(placement)
        .start();
    Queue {
        inner: Inner::Local {
            local,
            owner: Arc::new(keeper),
            dead: Some(dead),
        },
    }
}

impl<T: Send + 'static> Queue<T> {
    pub(super) fn without_name(
        system: &System,
        name: Arc<str>,
        capacity: usize,
        kind: QueueKind,
    ) -> Queue<T> {
        let mut builder = system.queue(name).capacity(capacity);
        builder.config.kind = kind;
        let name = Arc::clone(&builder.name);
        let config = builder.wanted();
        builder.start_without_name().unwrap_or_else(|_| {
            // The system has ended: a queue that has, too.
            let dead = Local::new(
                system,
                dead_name(&name),
                dead_config(&config),
                None,
                None,
                None,
            );
            let local = Local::new(system, name, config, None, None, None);
            local.end(&super::local::stopped(&local.name));
            Queue {
                inner: Inner::Local {
                    local: Arc::new(local),
                    owner: Arc::new(NoOwner::new(system)),
                    dead: Some(Arc::new(dead)),
                },
            }
        })
    }
}

/// What the table of queues needs of each.
impl<T: Send + 'static> Entry for Queue<T> {
    fn config(&self) -> QueueConfig {
        match &self.inner {
            Inner::Local { local, .. } => local.settings.clone(),
            Inner::Routed(_) => QueueConfig::default(),
        }
    }

    fn state(&self) -> super::QueueState {
        match &self.inner {
            Inner::Local { local, .. } => local.state(),
            Inner::Routed(_) => super::QueueState::default(),
        }
    }

    fn has_ended(&self) -> bool {
        match &self.inner {
            Inner::Local { local, .. } => local.inside.lock().system.is_none(),
            Inner::Routed(_) => false,
        }
    }

    fn purge(&self) -> usize {
        match &self.inner {
            Inner::Local { local, .. } => local.purge(),
            Inner::Routed(_) => 0,
        }
    }

    fn end_if(&self, only: OnlyIf) -> Result<(), NotEnded> {
        self.stop_if(only)
    }

    fn id(&self) -> ActorId {
        Queue::id(self)
    }

    fn end<'a>(&'a self) -> BoxFuture<'a, ()> {
        Box::pin(async {
            if let Inner::Local { owner, .. } = &self.inner {
                owner.stop();
                owner.wait().await;
            }
        })
    }

    fn item_type(&self) -> &'static str {
        std::any::type_name::<T>()
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
