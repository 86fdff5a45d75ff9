//! The three kinds of work: how each begins, ends, and is cut off.

use std::any::Any;
use std::fmt::Display;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use callboard_core::{Actor, ActorRef, ExitReason, Placement, System};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{BoxFuture, Either, select};
use futures::pin_mut;

use super::SupervisorRef;
use super::report::{PartKind, WorkEnd};

/// How often the mailbox of an actor that somebody else owns is looked at, until it is empty.
const LOOK: Duration = Duration::from_millis(10);

/// What a task of a [`Shutdown`](crate::Shutdown) may answer: nothing, or a `Result` whose error is a sentence for the
/// report.
pub trait ShutdownOutcome {
    /// What went wrong, if something did.
    fn failure(self) -> Option<String>;
}

impl ShutdownOutcome for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<E: Display> ShutdownOutcome for Result<(), E> {
    fn failure(self) -> Option<String> {
        self.err().map(|error| error.to_string())
    }
}

/// Begins a task; `None` if the system has no place for it.
type Spawn = Box<dyn FnOnce(&System) -> Option<TaskRun> + Send>;

pub(super) enum Work {
    Task(Spawn),
    Drain(Box<dyn Drains>),
    Tree(SupervisorRef),
}

/// A task that was begun.
pub(super) struct TaskRun {
    end: oneshot::Receiver<WorkEnd>,
    /// Its drop is the sign to drop the task.
    cut: oneshot::Sender<()>,
}

/// Work that was begun: what is needed to cut it off. Its end comes from the future beside it.
pub(super) enum Begun {
    Task(Option<oneshot::Sender<()>>),
    Drain(Box<dyn Drains>),
    Tree(SupervisorRef),
}

impl Work {
    pub(super) fn task<F, Fut>(task: F) -> Self
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: ShutdownOutcome,
    {
        Work::Task(Box::new(move |system| spawn(system, task)))
    }

    pub(super) fn drain<A: Actor>(actor: ActorRef<A>) -> Self {
        Work::Drain(Box::new(actor))
    }

    pub(super) fn kind(&self) -> PartKind {
        match self {
            Work::Task(_) => PartKind::Task,
            Work::Drain(_) => PartKind::Drain,
            Work::Tree(_) => PartKind::Tree,
        }
    }

    /// Begins it. The future is of its end.
    pub(super) fn begin(self, system: &System) -> (Begun, BoxFuture<'static, WorkEnd>) {
        match self {
            Work::Task(spawn) => match spawn(system) {
                Some(TaskRun { end, cut }) => {
                    let end = end.map(|end| {
                        let gone = "its thread ended before it did".to_owned();
                        end.unwrap_or(WorkEnd::Failed(gone))
                    });
                    (Begun::Task(Some(cut)), end.boxed())
                }
                None => (
                    Begun::Task(None),
                    futures::future::ready(WorkEnd::NotBegun).boxed(),
                ),
            },
            Work::Drain(actor) => {
                let end = actor.drained(system);
                (Begun::Drain(actor), end)
            }
            Work::Tree(tree) => {
                tree.stop();
                let stopped = tree.clone();
                let end = async move { end_of(&stopped.wait().await) };
                (Begun::Tree(tree), end.boxed())
            }
        }
    }
}

impl Begun {
    /// Ends it at once. Answers how many messages it had left.
    pub(super) fn cut(self) -> usize {
        match self {
            Begun::Task(cut) => {
                drop(cut);
                0
            }
            Begun::Drain(actor) => actor.cut(),
            Begun::Tree(tree) => {
                tree.actor().kill();
                0
            }
        }
    }
}

/// Runs a task on the thread of supervisors, behind a fence (G10). `None` if the system has no place for it.
fn spawn<F, Fut>(system: &System, task: F) -> Option<TaskRun>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future + 'static,
    Fut::Output: ShutdownOutcome,
{
    if system.is_closed() {
        // Arbiters end then, and a task with them: not even half of it is done.
        return None;
    }
    let (end_tx, end) = oneshot::channel();
    let (cut, cut_rx) = oneshot::channel::<()>();
    let spawned = system.spawn(Placement::Control, move || async move {
        // Made inside the fence, too.
        let run = async move { task().await.failure() };
        let run = AssertUnwindSafe(run).catch_unwind();
        pin_mut!(run);
        let end = match select(run, cut_rx).await {
            Either::Left((Ok(None), _)) => WorkEnd::Done,
            Either::Left((Ok(Some(why)), _)) => WorkEnd::Failed(why),
            Either::Left((Err(panic), _)) => {
                WorkEnd::Failed(format!("panicked: {}", panic_text(&*panic)))
            }
            Either::Right(_) => WorkEnd::CutOff,
        };
        // An error: it was cut off, and nobody waits for its end.
        let _ = end_tx.send(end);
    });
    spawned.then_some(TaskRun { end, cut })
}

/// An actor whose mailbox is to run dry.
pub(super) trait Drains: Send + Sync {
    fn drained(&self, system: &System) -> BoxFuture<'static, WorkEnd>;
    /// Kills it, if it is nobody's, and answers how many messages were left.
    fn cut(&self) -> usize;
}

impl<A: Actor> Drains for ActorRef<A> {
    fn drained(&self, system: &System) -> BoxFuture<'static, WorkEnd> {
        let actor = self.clone();
        if !actor.is_owned() {
            actor.drain();
            return async move { end_of(&actor.wait().await) }.boxed();
        }
        let clock = system.clock().clone();
        let dry = async move {
            while actor.is_alive() && actor.mailbox().len > 0 {
                clock.sleep(LOOK).await;
            }
            WorkEnd::Done
        };
        dry.boxed()
    }

    fn cut(&self) -> usize {
        let left = self.mailbox().len;
        if !self.is_owned() {
            self.kill();
        }
        left
    }
}

fn end_of(reason: &ExitReason) -> WorkEnd {
    if reason.is_normal() {
        WorkEnd::Done
    } else {
        WorkEnd::Failed(reason.to_string())
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("with something that is no text")
}
