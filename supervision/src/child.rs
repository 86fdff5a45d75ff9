//! What a supervisor is told about a child.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use callboard_core::Place;
use callboard_core::process::ProcessPlace;

use crate::backoff::Backoff;
use crate::tree::Tree;

/// How long a child has to end after it was asked to, unless told otherwise: OTP's default for workers.
/// Supervisors have as long as their children need.
pub const DEFAULT_SHUTDOWN_TIME: Duration = Duration::from_secs(5);

/// When a child is started again (G15). OTP's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Restart {
    /// Always, also when it ended in order.
    #[default]
    Permanent,
    /// Unless it ended in order.
    Transient,
    /// Never.
    Temporary,
}

/// A child of a supervisor: where it lives, and how it is treated.
///
/// A `Place` turns into a permanent child; the constructors name the others.
///
/// ```
/// # use callboard_core::{Actor, System};
/// # use callboard_supervision::Child;
/// # use std::time::Duration;
/// # struct Indexer;
/// # impl Actor for Indexer {}
/// # fn example(system: &System) {
/// let (indexer, place) = system.actor(|| Indexer).label("indexer").place();
/// let child = Child::transient(place).shutdown_time(Duration::from_secs(30));
/// # }
/// ```
#[must_use = "a child does nothing until it is given to a supervisor"]
pub struct Child {
    pub(crate) place: Arc<dyn Place>,
    pub(crate) restart: Restart,
    /// `None`: as long as it takes.
    pub(crate) shutdown: Option<Duration>,
    pub(crate) backoff: Option<Backoff>,
    /// The tree below, if it is a supervisor.
    pub(crate) tree: Option<Arc<Tree>>,
}

impl Child {
    /// A child that is always started again.
    pub fn permanent(child: impl Into<Child>) -> Self {
        child.into().restart(Restart::Permanent)
    }

    /// A child that is started again unless it ended in order.
    pub fn transient(child: impl Into<Child>) -> Self {
        child.into().restart(Restart::Transient)
    }

    /// A child that is never started again.
    pub fn temporary(child: impl Into<Child>) -> Self {
        child.into().restart(Restart::Temporary)
    }

    /// When it is started again.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// How long it has to end after it was asked to, before it is killed; [`DEFAULT_SHUTDOWN_TIME`] unless
    /// said otherwise. A process has a [shutdown time](callboard_core::process::ProcessSpec::shutdown_time)
    /// of its own as well; the shorter one acts.
    pub fn shutdown_time(mut self, span: Duration) -> Self {
        self.shutdown = Some(span);
        self
    }

    /// It is never killed: its end is waited for as long as it takes. The default for supervisors.
    pub fn shutdown_unlimited(mut self) -> Self {
        self.shutdown = None;
        self
    }

    /// A back-off of its own, in place of its supervisor's.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = Some(backoff);
        self
    }
}

impl From<Arc<dyn Place>> for Child {
    fn from(place: Arc<dyn Place>) -> Self {
        Child {
            place,
            restart: Restart::default(),
            shutdown: Some(DEFAULT_SHUTDOWN_TIME),
            backoff: None,
            tree: None,
        }
    }
}

impl From<ProcessPlace> for Child {
    fn from(place: ProcessPlace) -> Self {
        Child::from(Arc::new(place) as Arc<dyn Place>)
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("label", &self.place.label())
            .field("kind", &self.place.kind())
            .field("restart", &self.restart)
            .field("shutdown", &self.shutdown)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}
