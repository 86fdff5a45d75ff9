//! Supervisors: who starts children, and starts them again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use callboard_core::{
    Actor, ActorRef, Ask, Context, ExitReason, Handler, Message, OnEnd, Route, StartFailure,
    System, Watch, WatchHandle,
};

use crate::backoff::Backoff;
use crate::child::Child;
use crate::intensity::{DEFAULT_INTENSITY, DEFAULT_PERIOD};
use crate::place::SupervisorPlace;
use crate::snapshot::TreeSnapshot;
use crate::supervise::{self, Ended};
use crate::tree::Tree;

/// An actor that starts children and starts them again when they fail: one-for-one.
///
/// # Guarantees
/// - References to a child stay valid over its restarts, what is queued for it is kept, the asker of the message in
///   hand is told, and the old incarnation has fully ended before the next one starts (G13).
/// - Children are started in order, each once the one before it is up, and stopped in reverse, each in its
///   [shutdown time](Child::shutdown_time), then killed (G15).
/// - A failed start counts as a restart. Between restarts there is a [`Backoff`]; a request to stop is served
///   during it (G16).
/// - More than [`intensity`](SupervisorBuilder::intensity) restarts within the period, counted over all children
///   in a true sliding window: it stops its children and ends as [`ExitReason::Failed`] with the chain of causes (G15).
/// - A supervisor can be the [child](SupervisorBuilder::place) of another. It counts as started when all its
///   children are, and as ended when all of them have.
/// - A supervisor that is killed kills its children.
///
/// A child that ended for good (a temporary one, or a transient one that ended in order) stays ended, also when
/// its supervisor is itself restarted: its reference has ended, and its watchers were told.
///
/// # Example
/// ```
/// use callboard_core::{Actor, Context, Handler, Message, Simulation};
/// use callboard_supervision::Supervisor;
///
/// #[derive(Clone)]
/// struct Render(&'static str);
/// impl Message for Render {
///     type Reply = usize;
/// }
///
/// struct Renderer;
/// impl Actor for Renderer {}
/// impl Handler<Render> for Renderer {
///     async fn handle(&mut self, Render(page): Render, _: &mut Context<Self>) -> usize {
///         assert!(!page.is_empty(), "nothing to render");
///         page.len()
///     }
/// }
///
/// let mut simulation = Simulation::new(1);
/// let system = simulation.system().clone();
/// simulation.block_on(async move {
///     let (renderer, place) = system.actor(|| Renderer).label("renderer").place();
///     let pages = Supervisor::builder("pages").child(place).start(&system);
///     assert!(renderer.ask(Render("")).await.is_err()); // panics: its asker is told
///     assert_eq!(renderer.ask(Render("index")).await.unwrap(), 5); // by the next incarnation
///     assert_eq!(pages.restarts(), 1);
///     println!("{}", pages.observe());
///     pages.stop();
///     assert!(pages.wait().await.is_normal());
/// });
/// ```
pub struct Supervisor {
    tree: Arc<Tree>,
}

impl Supervisor {
    /// A supervisor in preparation.
    pub fn builder(label: impl Into<Arc<str>>) -> SupervisorBuilder {
        SupervisorBuilder {
            label: label.into(),
            intensity: (DEFAULT_INTENSITY, DEFAULT_PERIOD),
            backoff: Backoff::default(),
            children: Vec::new(),
        }
    }
}

impl Actor for Supervisor {
    async fn starting(&mut self, ctx: &mut Context<Self>) -> Result<(), StartFailure> {
        self.tree.begin();
        let tree = Arc::clone(&self.tree);
        let me = ctx.me();
        ctx.spawn(async move {
            let ended = supervise::run(&tree).await;
            tree.finish();
            if let Ended::GaveUp(cause) = ended {
                // An error means that it was stopped meanwhile: that will do.
                let _ = me.tell(GiveUp(cause)).await;
            }
        });
        Ok(())
    }

    async fn stopped(&mut self, _reason: &ExitReason) {
        self.tree.request_stop();
        self.tree.until(|tree| tree.is_done().then_some(())).await;
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.tree.leave();
    }
}

/// The loop has stopped the children after one restart too many.
struct GiveUp(String);

impl Message for GiveUp {
    type Reply = ();
}

impl Handler<GiveUp> for Supervisor {
    async fn handle(&mut self, GiveUp(cause): GiveUp, ctx: &mut Context<Self>) {
        ctx.fail(cause);
    }
}

/// Asks a supervisor for its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observe;

impl Message for Observe {
    type Reply = TreeSnapshot;
}

impl Handler<Observe> for Supervisor {
    async fn handle(&mut self, _: Observe, ctx: &mut Context<Self>) -> TreeSnapshot {
        let me = ctx.me();
        self.tree
            .root(me.incarnation(), me.mailbox(), me.exit_reason())
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("tree", &self.tree)
            .finish()
    }
}

/// A supervisor in preparation. Made by [`Supervisor::builder`].
#[derive(Debug)]
#[must_use = "nothing starts until `start` or `place` is called"]
pub struct SupervisorBuilder {
    label: Arc<str>,
    intensity: (usize, Duration),
    backoff: Backoff,
    children: Vec<Child>,
}

impl SupervisorBuilder {
    /// Gives up on more than `max_restarts` within `period`, over all children together; by default
    /// [`DEFAULT_INTENSITY`] within [`DEFAULT_PERIOD`]. 0 allows none.
    pub fn intensity(mut self, max_restarts: usize, period: Duration) -> Self {
        self.intensity = (max_restarts, period);
        self
    }

    /// How long to wait between restarts of a child that names no back-off of its own.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// One more child, started after those before it: an `Arc<dyn Place>`, a
    /// [`ProcessPlace`](callboard_core::process::ProcessPlace), or a [`Child`] that says more.
    ///
    /// A place belongs to one supervisor: given to a second, each would start it under the other's feet.
    pub fn child(mut self, child: impl Into<Child>) -> Self {
        self.children.push(child.into());
        self
    }

    fn tree(self, system: &System) -> Arc<Tree> {
        Tree::new(
            self.label,
            system,
            self.intensity,
            self.backoff,
            self.children,
        )
    }

    /// Starts it as the top of a tree: nobody restarts it, and `System::shutdown` stops it.
    ///
    /// Answers at once; children are started one after the other. To wait until all are up:
    /// `reference.up().await`.
    pub fn start(self, system: &System) -> SupervisorRef {
        let tree = self.tree(system);
        let own = Arc::clone(&tree);
        let actor = system
            .actor(move || Supervisor { tree: own })
            .label(Arc::clone(&tree.label))
            .start();
        let ended = Arc::clone(&tree);
        actor.watch(Box::new(move |notice| {
            let close = Arc::clone(&ended);
            ended.when_idle(Box::new(move || close.close(&notice.reason)));
        }));
        SupervisorRef { actor, tree }
    }

    /// Makes it a child for another supervisor, which starts it, and starts it again.
    ///
    /// It is a permanent child with as much time to shut down as its own children need.
    pub fn place(self, system: &System) -> (SupervisorRef, Child) {
        let tree = self.tree(system);
        let own = Arc::clone(&tree);
        let make = move || Supervisor {
            tree: Arc::clone(&own),
        };
        let (actor, place) = system.actor(make).label(Arc::clone(&tree.label)).place();
        let place = SupervisorPlace::new(place, Arc::clone(&tree));
        let mut child = Child::from(Arc::new(place) as Arc<_>).shutdown_unlimited();
        child.tree = Some(Arc::clone(&tree));
        (SupervisorRef { actor, tree }, child)
    }
}

/// A reference to a supervisor. It can be cloned and used from any thread.
#[derive(Clone)]
pub struct SupervisorRef {
    actor: ActorRef<Supervisor>,
    tree: Arc<Tree>,
}

impl SupervisorRef {
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
