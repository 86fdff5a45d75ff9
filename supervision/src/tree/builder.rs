//! Supervisors in preparation: a builder that reads like the tree it makes.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use callboard_core::{Place, Placement, System, Watch};
use serde::Serialize;

use super::backoff::Backoff;
use super::child::{Child, Restart, Spec, What};
use super::engine::Rules;
use super::intensity::{DEFAULT_INTENSITY, DEFAULT_PERIOD};
use super::place::SupervisorPlace;
use super::reference::SupervisorRef;
use super::shared::Tree;
use super::strategy::{AutoShutdown, Strategy};
use super::supervisor::Supervisor;

/// How many children a supervisor may have unless told otherwise (G3).
pub const DEFAULT_MAX_CHILDREN: usize = 1_000_000;

/// A supervisor in preparation. Made by [`Supervisor::builder`].
///
/// ```
/// # use std::time::Duration;
/// # use callboard_core::{Actor, System};
/// # use callboard_supervision::{Child, Supervisor, TreeError};
/// # struct Part;
/// # impl Actor for Part {}
/// # fn example(system: &System) -> Result<(), TreeError> {
/// # let part = |label| system.actor(|| Part).label(label).place();
/// let (store, store_place) = part("store");
/// let (index, index_place) = part("index");
/// let (mailer, mailer_place) = part("mailer");
/// let app = Supervisor::builder("app")
///     .rest_for_one() // the pages need the store
///     .intensity(2, Duration::from_secs(30))
///     .child(store_place)
///     .child(
///         Supervisor::builder("pages")
///             .child(index_place)
///             .child(Child::transient(mailer_place)),
///     )
///     .start(system)?;
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing starts until `start` or `place` is called"]
pub struct SupervisorBuilder {
    label: Arc<str>,
    rules: Rules,
    children: Vec<Child>,
}

impl SupervisorBuilder {
    pub(crate) fn new(label: Arc<str>) -> Self {
        SupervisorBuilder {
            label,
            rules: Rules {
                strategy: Strategy::default(),
                intensity: (DEFAULT_INTENSITY, DEFAULT_PERIOD),
                backoff: Backoff::default(),
                auto_shutdown: AutoShutdown::default(),
                max_children: DEFAULT_MAX_CHILDREN,
            },
            children: Vec::new(),
        }
    }

    /// Whom it starts again when a child has failed; that child alone unless said otherwise.
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.rules.strategy = strategy;
        self
    }

    /// [`Strategy::OneForAll`].
    pub fn one_for_all(self) -> Self {
        self.strategy(Strategy::OneForAll)
    }

    /// [`Strategy::RestForOne`].
    pub fn rest_for_one(self) -> Self {
        self.strategy(Strategy::RestForOne)
    }

    /// [`Strategy::Dynamic`]: all children are [added](SupervisorRef::add) at run time.
    pub fn dynamic(self) -> Self {
        self.strategy(Strategy::Dynamic)
    }

    /// Whether it ends by itself when its [significant](Child::significant) children have.
    pub fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> Self {
        self.rules.auto_shutdown = auto_shutdown;
        self
    }

    /// Gives up on more than `max_restarts` within `period`, over all children together; by default
    /// [`DEFAULT_INTENSITY`] within [`DEFAULT_PERIOD`]. 0 allows none.
    pub fn intensity(mut self, max_restarts: usize, period: Duration) -> Self {
        self.rules.intensity = (max_restarts, period);
        self
    }

    /// How long to wait between restarts of a child that names no back-off of its own.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.rules.backoff = backoff;
        self
    }

    /// How many children it may have, those added at run time included; [`DEFAULT_MAX_CHILDREN`] unless said otherwise.
    pub fn max_children(mut self, max: usize) -> Self {
        self.rules.max_children = max;
        self
    }

    /// One more child, started after those before it: an `Arc<dyn Place>`, a
    /// [`ProcessPlace`](callboard_core::process::ProcessPlace), a [`TaskPlace`](callboard_core::TaskPlace), a
    /// [`ThreadPlace`](callboard_core::ThreadPlace), another builder, or a [`Child`] that says more.
    ///
    /// A place belongs to one supervisor: given to a second, each would start it under the other's feet.
    pub fn child(mut self, child: impl Into<Child>) -> Self {
        self.children.push(child.into());
        self
    }

    /// More children, in that order.
    pub fn children<C: Into<Child>>(mut self, children: impl IntoIterator<Item = C>) -> Self {
        self.children.extend(children.into_iter().map(Into::into));
        self
    }

    /// Starts it as the top of a tree: nobody restarts it, and `System::shutdown` stops it.
    ///
    /// Answers at once; children are started one after the other. To wait until all are up:
    /// `reference.up().await`.
    ///
    /// # Errors
    /// [`TreeError`], which names the supervisor and the child. Nothing was started.
    pub fn start(self, system: &System) -> Result<SupervisorRef, TreeError> {
        let tree = self.plant(system)?;
        let own = Arc::clone(&tree);
        let actor = system
            .actor(move || Supervisor::new(own))
            .label(Arc::clone(&tree.label))
            .placement(Placement::Control)
            .start();
        let ended = Arc::clone(&tree);
        actor.watch(Box::new(move |notice| {
            let close = Arc::clone(&ended);
            let idle = Box::new(move || close.close(&notice.reason));
            // Why it ended is known only now.
            let stuck = Arc::clone(&ended);
            ended.when_idle(idle, Box::new(move || stuck.tell_waiting()));
        }));
        Ok(SupervisorRef::new(actor, tree))
    }

    /// Makes it a child for another supervisor, which starts it, and starts it again: for who wants to refer to it.
    /// [`child`](SupervisorBuilder::child) takes a builder as it is.
    ///
    /// It is a permanent child with as much time to shut down as its own children need; a transient one if it
    /// [ends by itself](SupervisorBuilder::auto_shutdown).
    ///
    /// # Errors
    /// [`TreeError`], which names the supervisor and the child.
    pub fn place(self, system: &System) -> Result<(SupervisorRef, Child), TreeError> {
        let (place, supervisor) = self.make(system)?;
        Ok((supervisor.clone(), Child::supervisor(place, supervisor)))
    }

    pub(crate) fn make(
        self,
        system: &System,
    ) -> Result<(Arc<dyn Place>, SupervisorRef), TreeError> {
        let tree = self.plant(system)?;
        let own = Arc::clone(&tree);
        let (actor, place) = system
            .actor(move || Supervisor::new(Arc::clone(&own)))
            .label(Arc::clone(&tree.label))
            .placement(Placement::Control)
            .place();
        let place = SupervisorPlace::new(place, Arc::clone(&tree));
        Ok((Arc::new(place), SupervisorRef::new(actor, tree)))
    }

    fn plant(self, system: &System) -> Result<Arc<Tree>, TreeError> {
        self.check()?;
        let made = self.children.into_iter().map(|child| child.made(system));
        let specs = made.collect::<Result<Vec<_>, _>>()?;
        Ok(Tree::new(self.label, system, self.rules, specs))
    }

    /// Whether all of it makes sense. Its own level only: those below check theirs.
    fn check(&self) -> Result<(), TreeError> {
        let error = |child: &Child, problem| {
            Err(TreeError {
                supervisor: self.label.to_string(),
                child: child.label(),
                problem,
            })
        };
        let mut places = BTreeSet::new();
        for child in &self.children {
            check_child(&self.label, self.rules, child)?;
            if self.rules.strategy == Strategy::Dynamic {
                return error(child, TreeProblem::StaticChild);
            }
            if let What::Place(place) | What::Supervisor(place, _) = &child.what
                && !places.insert(Arc::as_ptr(place).cast::<()>())
            {
                return error(child, TreeProblem::SamePlace);
            }
        }
        Ok(())
    }

    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    pub(crate) fn ends_by_itself(&self) -> bool {
        self.rules.auto_shutdown != AutoShutdown::Never
    }
}

/// Whether a child can be one of that supervisor.
pub(crate) fn check_child(supervisor: &str, rules: Rules, child: &Child) -> Result<(), TreeError> {
    let ends_by_itself = match &child.what {
        What::Place(_) => false,
        What::Unmade(builder) => builder.ends_by_itself(),
        What::Supervisor(_, made) => made.ends_by_itself(),
    };
    let permanent = child.care.restart == Restart::Permanent;
    let problem = match child.care.significant {
        true if rules.auto_shutdown == AutoShutdown::Never => TreeProblem::SignificantForNothing,
        true if permanent => TreeProblem::SignificantPermanent,
        _ if ends_by_itself && permanent => TreeProblem::PermanentEndsByItself,
        _ => return Ok(()),
    };
    Err(TreeError {
        supervisor: supervisor.to_owned(),
        child: child.label(),
        problem,
    })
}

impl Child {
    /// Makes what was only described.
    pub(crate) fn made(self, system: &System) -> Result<Arc<Spec>, TreeError> {
        let (place, supervisor) = match self.what {
            What::Place(place) => (place, None),
            What::Supervisor(place, made) => (place, Some(made)),
            What::Unmade(builder) => {
                let (place, made) = builder.make(system)?;
                (place, Some(made))
            }
        };
        Ok(Spec::new(place, supervisor, self.care, self.policy))
    }
}

impl fmt::Debug for SupervisorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisorBuilder")
            .field("label", &self.label)
            .field("rules", &self.rules)
            .field("children", &self.children)
            .finish()
    }
}

/// A tree that can't be: which supervisor, which child, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TreeError {
    /// The supervisor's label.
    pub supervisor: String,
    /// The child's label.
    pub child: String,
    /// Why.
    pub problem: TreeProblem,
}

/// What is wrong with a tree. OTP refuses the first two as well, and warns of the third.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TreeProblem {
    /// A permanent child never ends, so it can't be significant.
    SignificantPermanent,
    /// A child is significant, and its supervisor never ends by itself.
    SignificantForNothing,
    /// A supervisor that ends by itself would be started again by the one above, for ever.
    PermanentEndsByItself,
    /// The children of a dynamic supervisor are added at run time.
    StaticChild,
    /// The same place was given twice.
    SamePlace,
    /// A supervisor would be its own child, or that of one below it.
    BelowItself,
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TreeError {
            supervisor,
            child,
            problem,
        } = self;
        write!(f, "supervisor `{supervisor}`, child `{child}`: ")?;
        f.write_str(match problem {
            TreeProblem::SignificantPermanent => {
                "a permanent child never ends, so it can't be significant"
            }
            TreeProblem::SignificantForNothing => {
                "it is significant, but the supervisor has no auto-shutdown"
            }
            TreeProblem::PermanentEndsByItself => {
                "a supervisor with auto-shutdown can't be permanent: it would be started again for ever"
            }
            TreeProblem::StaticChild => {
                "children of a dynamic supervisor are added when it runs, by `add`"
            }
            TreeProblem::SamePlace => "the same place was given twice",
            TreeProblem::BelowItself => "it would be below itself",
        })
    }
}

impl std::error::Error for TreeError {}
