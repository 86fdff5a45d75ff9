//! What a supervisor is told about a child.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use callboard_core::process::ProcessPlace;
use callboard_core::{ChildKind, FailureClass, Place, TaskPlace, Terms, ThreadPlace};
use serde::Serialize;

use super::backoff::Backoff;
use super::builder::SupervisorBuilder;
use super::reference::SupervisorRef;
use crate::policy::CallPolicy;

/// How long a child has to end after it was asked to, unless told otherwise: OTP's default for workers.
/// Supervisors have as long as their children need.
pub const DEFAULT_SHUTDOWN_TIME: Duration = Duration::from_secs(5);

/// How long a child has to come up, unless told otherwise, if it is neither a supervisor nor an actor of this process:
/// those have as long as their children need, and a [limit of their own](callboard_core::Spawn::start_limit).
pub const DEFAULT_START_LIMIT: Duration = Duration::from_secs(30);

/// When a child is started again (G15). OTP's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// Always, also when it ended in order.
    #[default]
    Permanent,
    /// Unless it ended in order.
    Transient,
    /// Never, also not when a [group](super::Strategy) that it belongs to is started again.
    Temporary,
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Restart::Permanent => "permanent",
            Restart::Transient => "transient",
            Restart::Temporary => "temporary",
        })
    }
}

/// What a supervisor does about a failure of some [class](FailureClass). Akka's four directives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The child goes on as if nothing had happened; the supervisor takes note. Where there is nothing to go on with
    /// (a panic, a failed start, a process that has ended) it is restarted.
    Resume,
    /// It is started again, by the supervisor's [strategy](super::Strategy).
    Restart,
    /// It is not started again; its siblings go on.
    Stop,
    /// The supervisor stops its children and fails itself, with the same class: the one above decides next.
    Escalate,
}

/// What is done about a child that lives but does not move: see
/// [`ChildEvent::NoProgress`](callboard_core::ChildEvent::NoProgress).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFrozen {
    /// It is killed, and once it has ended treated as one that failed. Code that never yields can't be killed (G11): it
    /// is shown as [`Stuck`](super::ChildState::Stuck), and nothing is started in its place (G13).
    #[default]
    Restart,
    /// It is left alone; the [event](super::TreeEvent) tells.
    Report,
}

/// The decision for each class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decisions([Decision; 3]);

impl Default for Decisions {
    fn default() -> Self {
        Decisions([Decision::Resume, Decision::Restart, Decision::Escalate])
    }
}

impl Decisions {
    pub(crate) fn of(self, class: FailureClass) -> Decision {
        self.0[class as usize]
    }
}

/// A child of a supervisor: where it lives, and how it is treated.
///
/// A [`Place`] (of an actor, a [process](callboard_core::process), a [task](TaskPlace), a [thread](ThreadPlace)) turns into
/// a permanent child, and a [builder](super::Supervisor::builder) into a supervisor as a
/// child; the constructors name the other kinds.
///
/// | failure of class | what is done unless [said otherwise](Child::on_failure) |
/// |---|---|
/// | benign | [`Resume`](Decision::Resume) |
/// | recoverable, a panic | [`Restart`](Decision::Restart) |
/// | fatal | [`Escalate`](Decision::Escalate) |
///
/// A child that its [`Restart`] doesn't start again is never restarted nor escalated, whatever the class: it has ended.
///
/// ```
/// # use callboard_core::{Actor, FailureClass, System};
/// # use callboard_supervision::{Child, Decision};
/// # use std::time::Duration;
/// # struct Indexer;
/// # impl Actor for Indexer {}
/// # fn example(system: &System) {
/// let (indexer, place) = system.actor(|| Indexer).label("indexer").place();
/// let child = Child::transient(place)
///     .shutdown_time(Duration::from_secs(30))
///     .on_failure(FailureClass::Fatal, Decision::Stop);
/// # }
/// ```
#[must_use = "a child does nothing until it is given to a supervisor"]
pub struct Child {
    pub(crate) what: What,
    pub(crate) care: Care,
    pub(crate) policy: Option<CallPolicy>,
}

/// What the child is.
pub(crate) enum What {
    Place(Arc<dyn Place>),
    /// A supervisor that is made together with the one above it.
    Unmade(Box<SupervisorBuilder>),
    /// A supervisor that has been made: its place, and what it is asked by.
    Supervisor(Arc<dyn Place>, SupervisorRef),
}

/// How a child is treated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Care {
    pub(crate) restart: Restart,
    pub(crate) significant: bool,
    pub(crate) shutdown: Shutdown,
    pub(crate) start_limit: StartLimit,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) decisions: Decisions,
    pub(crate) on_frozen: OnFrozen,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shutdown {
    /// By its kind.
    Default,
    /// Asked to end, and killed after that time.
    After(Duration),
    Unlimited,
    /// Killed without being asked.
    Brutal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartLimit {
    /// By its kind.
    Default,
    After(Duration),
    Unlimited,
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
        self.care.restart = restart;
        self
    }

    /// Its end by itself counts for the [auto-shutdown](super::AutoShutdown) of its supervisor. Only for a transient or
    /// a temporary child: a permanent one never ends, and is refused when the supervisor is made.
    pub fn significant(mut self) -> Self {
        self.care.significant = true;
        self
    }

    /// How long it has to end after it was asked to, before it is killed; [`DEFAULT_SHUTDOWN_TIME`] unless
    /// said otherwise. A process has a [shutdown time](callboard_core::process::ProcessSpec::shutdown_time)
    /// of its own as well; the shorter one acts.
    pub fn shutdown_time(mut self, span: Duration) -> Self {
        self.care.shutdown = Shutdown::After(span);
        self
    }

    /// It is never killed: its end is waited for as long as it takes. The default for supervisors: one that is
    /// killed kills its children.
    pub fn shutdown_unlimited(mut self) -> Self {
        self.care.shutdown = Shutdown::Unlimited;
        self
    }

    /// It is killed without being asked first: OTP's `brutal_kill`.
    pub fn brutal_kill(mut self) -> Self {
        self.care.shutdown = Shutdown::Brutal;
        self
    }

    /// How long it has to come up before it is killed and counts as one whose start failed (G16). Unless said otherwise
    /// [`DEFAULT_START_LIMIT`], except for actors of this process and supervisors.
    pub fn start_limit(mut self, limit: Option<Duration>) -> Self {
        self.care.start_limit = limit.map_or(StartLimit::Unlimited, StartLimit::After);
        self
    }

    /// A back-off of its own, in place of its supervisor's.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.care.backoff = Some(backoff);
        self
    }

    /// What is done about failures of a class; see the table [above](Child).
    pub fn on_failure(mut self, class: FailureClass, decision: Decision) -> Self {
        self.care.decisions.0[class as usize] = decision;
        self
    }

    /// What is done when it lives and does not move; it is restarted unless said otherwise.
    pub fn on_frozen(mut self, on_frozen: OnFrozen) -> Self {
        self.care.on_frozen = on_frozen;
        self
    }

    /// How this child is to be asked: its supervisor hands the policy out, with
    /// [`SupervisorRef::policy`](super::SupervisorRef::policy), and shows its name in the tree. Who asks the child
    /// without it is not held back.
    pub fn policy(mut self, policy: &CallPolicy) -> Self {
        self.policy = Some(policy.clone());
        self
    }

    fn of(what: What) -> Self {
        let care = Care {
            restart: Restart::default(),
            significant: false,
            shutdown: Shutdown::Default,
            start_limit: StartLimit::Default,
            backoff: None,
            decisions: Decisions::default(),
            on_frozen: OnFrozen::default(),
        };
        Child {
            what,
            care,
            policy: None,
        }
    }

    /// A supervisor that has been made.
    pub(crate) fn supervisor(place: Arc<dyn Place>, made: SupervisorRef) -> Self {
        let ends_by_itself = made.ends_by_itself();
        let child = Child::of(What::Supervisor(place, made));
        child.for_supervisor(ends_by_itself)
    }

    /// One that ends by itself is no permanent child unless it is said to be, which is refused.
    fn for_supervisor(self, ends_by_itself: bool) -> Self {
        if ends_by_itself {
            self.restart(Restart::Transient)
        } else {
            self
        }
    }

    /// What it was before it had a place in a tree.
    pub(crate) fn of_spec(spec: &Spec) -> Self {
        let place = Arc::clone(&spec.place);
        let what = match &spec.supervisor {
            Some(made) => What::Supervisor(place, made.clone()),
            None => What::Place(place),
        };
        Child {
            what,
            care: spec.care,
            policy: spec.policy.clone(),
        }
    }

    pub(crate) fn label(&self) -> String {
        match &self.what {
            What::Place(place) | What::Supervisor(place, _) => place.label(),
            What::Unmade(builder) => builder.label().to_owned(),
        }
    }
}

impl From<Arc<dyn Place>> for Child {
    fn from(place: Arc<dyn Place>) -> Self {
        Child::of(What::Place(place))
    }
}

impl From<ProcessPlace> for Child {
    fn from(place: ProcessPlace) -> Self {
        Child::from(Arc::new(place) as Arc<dyn Place>)
    }
}

impl From<TaskPlace> for Child {
    fn from(place: TaskPlace) -> Self {
        Child::from(Arc::new(place) as Arc<dyn Place>)
    }
}

impl From<ThreadPlace> for Child {
    fn from(place: ThreadPlace) -> Self {
        Child::from(Arc::new(place) as Arc<dyn Place>)
    }
}

impl From<SupervisorBuilder> for Child {
    fn from(builder: SupervisorBuilder) -> Self {
        let ends_by_itself = builder.ends_by_itself();
        let child = Child::of(What::Unmade(Box::new(builder)));
        child.for_supervisor(ends_by_itself)
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("label", &self.label())
            .field("care", &self.care)
            .finish_non_exhaustive()
    }
}

/// A child that has its place in a tree.
pub(crate) struct Spec {
    /// The place's, asked once: what is said of a child is said under a lock.
    pub(crate) label: Box<str>,
    pub(crate) kind: ChildKind,
    pub(crate) place: Arc<dyn Place>,
    /// What it is asked by, if it is a supervisor.
    pub(crate) supervisor: Option<SupervisorRef>,
    pub(crate) care: Care,
    /// How it is to be asked.
    pub(crate) policy: Option<CallPolicy>,
}

impl Spec {
    pub(crate) fn new(
        place: Arc<dyn Place>,
        supervisor: Option<SupervisorRef>,
        care: Care,
        policy: Option<CallPolicy>,
    ) -> Arc<Self> {
        Arc::new(Spec {
            label: place.label().into(),
            kind: place.kind(),
            place,
            supervisor,
            care,
            policy,
        })
    }

    /// When it is killed after it was asked to end: `None` for never, zero for without being asked.
    pub(crate) fn shutdown(&self) -> Option<Duration> {
        match self.care.shutdown {
            Shutdown::Default if self.supervisor.is_some() => None,
            Shutdown::Default => Some(DEFAULT_SHUTDOWN_TIME),
            Shutdown::After(span) => Some(span),
            Shutdown::Unlimited => None,
            Shutdown::Brutal => Some(Duration::ZERO),
        }
    }

    pub(crate) fn is_killed_unasked(&self) -> bool {
        self.care.shutdown == Shutdown::Brutal
    }

    pub(crate) fn start_limit(&self) -> Option<Duration> {
        match self.care.start_limit {
            StartLimit::Default => match self.kind {
                ChildKind::Actor | ChildKind::Supervisor => None,
                _ => Some(DEFAULT_START_LIMIT),
            },
            StartLimit::After(limit) => Some(limit),
            StartLimit::Unlimited => None,
        }
    }

    /// The terms with what the child may decide by itself.
    pub(crate) fn terms(&self, terms: Terms) -> Terms {
        let classes = [
            FailureClass::Benign,
            FailureClass::Recoverable,
            FailureClass::Fatal,
        ];
        // A supervisor that fails has ended its children: there is nothing to go on with.
        let resumes = |class: &FailureClass| {
            self.supervisor.is_none() && self.care.decisions.of(*class) == Decision::Resume
        };
        let resumed = classes.into_iter().filter(resumes);
        resumed.fold(terms, Terms::resume_after)
    }
}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spec")
            .field("label", &self.label)
            .field("care", &self.care)
            .finish_non_exhaustive()
    }
}
