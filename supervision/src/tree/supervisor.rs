//! Supervisors: who starts children, and starts them again.

use std::fmt;
use std::sync::Arc;

use callboard_core::{
    Actor, Context, ExitReason, Fault, Handler, Message, Placement, StartFailure, System,
};

use super::builder::SupervisorBuilder;
use super::engine::End;
use super::runner;
use super::shared::Tree;
use super::snapshot::TreeSnapshot;

/// An actor that starts children and starts them again when they fail.
///
/// # Guarantees
/// - References to a child stay valid over its restarts, what is queued for it is kept, the asker of the message in
///   hand is told (or goes on waiting, with [replay](callboard_core::Spawn::replay)), and the old incarnation has fully
///   ended before the next one starts (G13).
/// - Children are started in order, each once the one before it is up, and stopped in reverse, each in its
///   [shutdown time](crate::Child::shutdown_time), then killed (G15).
/// - Which children a failure concerns is the [`Strategy`](crate::Strategy); whether a child is started again is its
///   [`Restart`](crate::Restart), and for failures the [`Decision`](crate::Decision) of their class (G15).
/// - A failed start counts as a restart. Between restarts there is a [`Backoff`](crate::Backoff); a request to stop is
///   served during it (G16).
/// - More than [`intensity`](SupervisorBuilder::intensity) restarts within the period, counted over all children
///   in a true sliding window: it stops its children and ends as [`ExitReason::Failed`] with the chain of causes (G15).
///   A restart of a group counts once.
/// - A supervisor can be the [child](SupervisorBuilder::child) of another. It counts as started when all its
///   children are, and as ended when all of them have.
/// - A supervisor that is killed kills its children.
/// - It lives on [`Placement::Control`](callboard_core::Placement::Control), where no child that blocks its thread delays
///   it; its children are spread over the arbiters, unless they say otherwise.
///
/// A child that ended for good (a temporary one, or a transient one that ended in order) stays ended, also when
/// its supervisor is itself restarted: its reference has ended, and its watchers were told. Children that were
/// [added](crate::SupervisorRef::add) end with the incarnation that they were added to, as in OTP.
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
///     let pages = Supervisor::builder("pages").child(place).start(&system)?;
///     assert!(renderer.ask(Render("")).await.is_err()); // panics: its asker is told
///     assert!(matches!(renderer.ask(Render("index")).await, Ok(5))); // by the next incarnation
///     assert_eq!(pages.restarts(), 1);
///     println!("{}", pages.observe());
///     pages.stop();
///     assert!(pages.wait().await.is_normal());
///     Ok::<(), callboard_supervision::TreeError>(())
/// })
/// # .unwrap();
/// ```
pub struct Supervisor {
    tree: Arc<Tree>,
    /// Where it runs, from its start on.
    system: Option<System>,
}

impl Supervisor {
    /// A supervisor in preparation.
    pub fn builder(label: impl Into<Arc<str>>) -> SupervisorBuilder {
        SupervisorBuilder::new(label.into())
    }

    pub(crate) fn new(tree: Arc<Tree>) -> Self {
        Supervisor { tree, system: None }
    }
}

impl Actor for Supervisor {
    async fn starting(&mut self, ctx: &mut Context<Self>) -> Result<(), StartFailure> {
        self.system = Some(ctx.system().clone());
        self.tree.begin();
        let tree = Arc::clone(&self.tree);
        let me = ctx.me();
        ctx.spawn(async move {
            let end = runner::run(&tree).await;
            tree.finish();
            // An error means that it was stopped meanwhile: that will do.
            let _ = match end {
                End::Stopped => Ok(()),
                End::AutoShutdown => me.tell(Finish(None)).await,
                End::GaveUp(cause) => me.tell(Finish(Some(cause))).await,
            };
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
        let (Some(system), Some(mut due)) = (self.system.take(), self.tree.overdue()) else {
            return;
        };
        // It was killed with children that live. Somebody has to say of those that don't end that they are stuck: this
        // task does, and ends within a few seconds.
        let (last, clock) = (LastLook(Arc::clone(&self.tree)), system.clock().clone());
        system.spawn(Placement::Control, move || async move {
            loop {
                clock.sleep_until(due).await;
                match last.0.overdue() {
                    Some(next) => due = next,
                    None => return,
                }
            }
        });
    }
}

/// Of the task that says which children are stuck. If the system ends before the task does, it says so now.
struct LastLook(Arc<Tree>);

impl Drop for LastLook {
    fn drop(&mut self) {
        self.0.overdue_at_once();
    }
}

/// The loop has stopped the children by itself: for a failure, or in order.
struct Finish(Option<Fault>);

impl Message for Finish {
    type Reply = ();
}

impl Handler<Finish> for Supervisor {
    async fn handle(&mut self, Finish(cause): Finish, ctx: &mut Context<Self>) {
        match cause {
            Some(cause) => ctx.fail(cause),
            None => ctx.stop(),
        }
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
