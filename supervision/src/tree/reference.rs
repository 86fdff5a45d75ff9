//! What one holds in hand of a supervisor that runs.

use std::fmt;
use std::sync::Arc;

use callboard_core::topic::Topic;
use callboard_core::{ActorRef, Ask, ExitReason, OnEnd, Route, Watch, WatchHandle};
use futures::channel::oneshot;

use super::builder::{TreeError, TreeProblem, check_child};
use super::child::{Child, Spec, What};
use super::engine::{ChildErrorKind, ChildId, Order};
use super::event::TreeEvent;
use super::shared::Tree;
use super::snapshot::TreeSnapshot;
use super::strategy::AutoShutdown;
use super::supervisor::{Observe, Supervisor};
use super::worst_case::WorstCase;
use crate::policy::CallPolicy;

/// A reference to a supervisor. It can be cloned and used from any thread.
#[derive(Clone)]
pub struct SupervisorRef {
    actor: ActorRef<Supervisor>,
    tree: Arc<Tree>,
}

impl SupervisorRef {
    pub(crate) fn new(actor: ActorRef<Supervisor>, tree: Arc<Tree>) -> Self {
        SupervisorRef { actor, tree }
    }

    pub(crate) fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    pub(crate) fn ends_by_itself(&self) -> bool {
        self.tree.rules.auto_shutdown != AutoShutdown::Never
    }

    /// The supervisor as an actor: to watch it, or to kill it.
    #[must_use]
    pub fn actor(&self) -> &ActorRef<Supervisor> {
        &self.actor
    }

    /// Its name.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.tree.label
    }

    /// Adds a child, starts it, and waits until it is up: OTP's `start_child`. It comes after all others, ends with this
    /// incarnation of the supervisor, and is treated like any other until then. While an ordered start is going on it
    /// waits its turn, and before the supervisor has been started for the first time until then.
    ///
    /// # Errors
    /// [`ChildError`]. A child that never was there is in the error. One that did not come up has been dropped, its
    /// reference has ended; that is no restart, and the supervisor goes on.
    ///
    /// # Cancel safety
    /// Dropped before its first poll it does nothing. After that the child is added all the same.
    pub async fn add(&self, child: impl Into<Child>) -> Result<ChildId, ChildError> {
        let child = child.into();
        let invalid = |error| self.error(ChildErrorKind::Invalid(error), None);
        if let Err(error) = check_child(self.label(), self.tree.rules, &child) {
            return Err(self.error(ChildErrorKind::Invalid(error), Some(child)));
        }
        if let What::Supervisor(_, made) = &child.what
            && self.tree.is_at_or_below(&made.tree)
        {
            let error = TreeError {
                supervisor: self.label().to_owned(),
                child: child.label(),
                problem: TreeProblem::BelowItself,
            };
            return Err(self.error(ChildErrorKind::Invalid(error), Some(child)));
        }
        let spec = child.made(self.actor.system()).map_err(invalid)?;
        let back = |kind: &ChildErrorKind, spec: &Spec| match kind {
            ChildErrorKind::NotRunning | ChildErrorKind::TooMany(_) => Some(Child::of_spec(spec)),
            _ => None,
        };
        self.order(Order::Add(Arc::clone(&spec)))
            .await
            .map_err(|kind| self.error(kind.clone(), back(&kind, &spec)))
    }

    /// Stops a child and keeps it: its reference stays valid, its messages wait, and nothing starts it again but
    /// [`start_again`](SupervisorRef::start_again); not a restart of its group either (OTP's `terminate_child`, after which
    /// such a restart would). Waits until it has ended.
    ///
    /// # Errors
    /// [`ChildError`]: there is no such child, or the supervisor doesn't run.
    ///
    /// # Cancel safety
    /// As [`add`](SupervisorRef::add).
    pub async fn hold(&self, id: ChildId) -> Result<(), ChildError> {
        self.order_done(Order::Stop(id)).await
    }

    /// Starts a child again that is [held](SupervisorRef::hold), or stops and starts one that runs. Waits until it is
    /// up. It isn't counted as a restart (OTP's `restart_child`, which takes only those that don't run).
    ///
    /// # Errors
    /// [`ChildError`]: there is no such child, it has ended for good, or ends so before it is up again.
    ///
    /// # Cancel safety
    /// As [`add`](SupervisorRef::add).
    pub async fn start_again(&self, id: ChildId) -> Result<(), ChildError> {
        self.order_done(Order::Restart(id)).await
    }

    /// Stops a child and forgets it: its reference ends. Waits until it has ended. (OTP's `terminate_child` and
    /// `delete_child`.)
    ///
    /// # Errors
    /// [`ChildError`]: there is no such child, or the supervisor doesn't run.
    ///
    /// # Cancel safety
    /// As [`add`](SupervisorRef::add).
    pub async fn remove(&self, id: ChildId) -> Result<(), ChildError> {
        self.order_done(Order::Remove(id)).await
    }

    async fn order_done(&self, order: Order) -> Result<(), ChildError> {
        let done = self.order(order).await;
        done.map(drop).map_err(|kind| self.error(kind, None))
    }

    async fn order(&self, order: Order) -> Result<ChildId, ChildErrorKind> {
        let (tx, rx) = oneshot::channel();
        self.tree.order(order, tx);
        // Dropped unanswered: the supervisor is gone.
        rx.await.unwrap_or(Err(ChildErrorKind::NotRunning))
    }

    fn error(&self, kind: ChildErrorKind, child: Option<Child>) -> ChildError {
        ChildError {
            supervisor: self.label().to_owned(),
            kind,
            child: child.map(Box::new),
        }
    }

    /// The number of the child with that label; the first if there are several.
    #[must_use]
    pub fn child(&self, label: &str) -> Option<ChildId> {
        self.tree.look(|state| {
            let mut slots = state.engine.slots();
            slots
                .find(|(_, slot)| &*slot.spec.label == label)
                .map(|(id, _)| id)
        })
    }

    /// The supervisor with that label at or below this one; the first from the top if there are several.
    #[must_use]
    pub fn find(&self, label: &str) -> Option<SupervisorRef> {
        if self.label() == label {
            return Some(self.clone());
        }
        let below: Vec<_> = self.tree.look(|state| {
            let slots = state.engine.slots();
            slots
                .filter_map(|(_, slot)| slot.spec.supervisor.clone())
                .collect()
        });
        below.iter().find_map(|below| below.find(label))
    }

    /// How the child with that label is to be asked, here or below; the first from the top if there are several. See
    /// [`Child::policy`].
    #[must_use]
    pub fn policy(&self, label: &str) -> Option<CallPolicy> {
        let (here, below) = self.tree.look(|state| {
            let mut here = None;
            let mut below = Vec::new();
            for (_, slot) in state.engine.slots() {
                if here.is_none() && &*slot.spec.label == label {
                    here.clone_from(&slot.spec.policy);
                }
                below.extend(slot.spec.supervisor.clone());
            }
            (here, below)
        });
        here.or_else(|| below.iter().find_map(|below| below.policy(label)))
    }

    /// What happens here and on all levels below, as a topic: see [`TreeEvent`]. It starts with the first call and ends
    /// with the supervisor. A listener that is slow delays nobody, and is told what it missed (G28).
    #[must_use]
    pub fn events(&self) -> Topic<TreeEvent> {
        self.tree.events(self.actor.system())
    }

    /// Asks for the tree, in turn with its other messages. [`observe`](SupervisorRef::observe) answers
    /// at once.
    pub fn ask(&self, message: Observe) -> Ask<'_, Observe, impl Route<Observe> + Clone> {
        self.actor.ask(message)
    }

    /// The tree as it is now, also while it shuts down and after its end.
    #[must_use]
    pub fn observe(&self) -> TreeSnapshot {
        let actor = &self.actor;
        self.tree
            .root(actor.incarnation(), actor.mailbox(), actor.exit_reason())
    }

    /// How often a child was started again, over the whole tree below.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.observe().restarts_below()
    }

    /// How often the tree can start its children at the worst, as it is now.
    #[must_use]
    pub fn worst_case(&self) -> WorstCase {
        WorstCase::of(&self.tree)
    }

    /// Waits until the tree looks as wanted, looking at each change of a child's state, here and below. Mailbox
    /// depths change without that.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn until(&self, mut wanted: impl FnMut(&TreeSnapshot) -> bool) -> TreeSnapshot {
        self.tree
            .until(|_| Some(self.observe()).filter(|tree| wanted(tree)))
            .await
    }

    /// Waits until every child is up.
    ///
    /// # Errors
    /// Why it ended, if it did before.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn up(&self) -> Result<(), ExitReason> {
        let up = self.tree.until(|tree| tree.is_up().then_some(()));
        let ended = self.actor.wait();
        futures::pin_mut!(up, ended);
        match futures::future::select(up, ended).await {
            futures::future::Either::Left(((), _)) => Ok(()),
            futures::future::Either::Right((reason, _)) => Err(reason),
        }
    }

    /// Stops the children in reverse order, then itself.
    ///
    /// For the child of another supervisor this is an end in order, after which it is started again if
    /// it is permanent.
    pub fn stop(&self) {
        self.actor.stop();
    }

    /// Waits until it has ended for good, and all its children have (but for those that can't be: see
    /// [`ChildState::Stuck`](crate::ChildState::Stuck)).
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn wait(&self) -> ExitReason {
        let reason = self.actor.wait().await;
        self.tree
            .until(|tree| (tree.is_closed() || tree.only_stuck()).then_some(()))
            .await;
        reason
    }
}

impl Watch for SupervisorRef {
    fn watch(&self, on_end: OnEnd) -> WatchHandle {
        self.actor.watch(on_end)
    }
}

impl fmt::Debug for SupervisorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisorRef")
            .field("actor", &self.actor)
            .finish_non_exhaustive()
    }
}

/// What was asked of a supervisor about a child, and could not be done.
#[derive(Debug)]
pub struct ChildError {
    supervisor: String,
    kind: ChildErrorKind,
    child: Option<Box<Child>>,
}

impl ChildError {
    /// Why.
    #[must_use]
    pub fn kind(&self) -> &ChildErrorKind {
        &self.kind
    }

    /// The child, if it never was there: it can be added again.
    #[must_use]
    pub fn into_child(self) -> Option<Child> {
        self.child.map(|child| *child)
    }
}

impl fmt::Display for ChildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            // It names the supervisor.
            ChildErrorKind::Invalid(error) => error.fmt(f),
            kind => write!(f, "supervisor `{}`: {kind}", self.supervisor),
        }
    }
}

impl std::error::Error for ChildError {}
