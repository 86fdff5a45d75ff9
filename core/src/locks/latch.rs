//! A latch: those who wait go on once it has been counted down.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::Serialize;

use super::DEFAULT_WAITERS;
use crate::actor::{Actor, DeferredHandler, Handler};
use crate::actor_ref::ActorRef;
use crate::boundary::Verdict;
use crate::context::Context;
use crate::error::{Failure, FailureKind};
use crate::message::Message;
use crate::observe::Observable;
use crate::responder::Responder;
use crate::system::System;

/// Lets those who wait go on once it has been counted down to 0, and everybody who comes later. It is used once:
/// there is no way back (Java's `CountDownLatch`). Clones are the same latch.
///
/// ```
/// use callboard_core::locks::Latch;
/// use callboard_core::{Simulation, System};
///
/// Simulation::new(1).block_on(async {
///     let system = System::current().ok_or("no system")?;
///     let ready = Latch::new(&system, "ready", 2);
///     let (waited, ()) = futures::join!(ready.wait().into_future(), async {
///         ready.count_down().await.unwrap();
///         ready.count_down().await.unwrap();
///     });
///     waited?;
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })
/// # .unwrap();
/// ```
#[derive(Clone)]
pub struct Latch {
    actor: ActorRef<LatchActor>,
    name: Arc<str>,
}

/// What a latch has seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LatchState {
    /// Its name.
    pub name: Arc<str>,
    /// How often it has to be counted down still.
    pub left: u64,
    /// How many wait, those included who gave up and were not missed yet.
    pub waiting: usize,
}

impl Latch {
    /// A latch that opens when it has been counted down `count` times; with 0 it is open.
    pub fn new(system: &System, name: impl Into<Arc<str>>, count: u64) -> Self {
        let name = name.into();
        let inner = Arc::clone(&name);
        let actor = system
            .actor(move || LatchActor {
                name: inner,
                left: count,
                waiting: Vec::new(),
            })
            .label(format!("latch {name}"))
            .observable()
            .start();
        Latch { actor, name }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counts it down by one, unless it is at 0. Answers what is left.
    ///
    /// # Errors
    /// If the latch has ended. If it is dropped or its deadline passed, it may have counted or not: the verdict
    /// says so.
    pub async fn count_down(&self) -> Result<u64, Failure> {
        Ok(self.actor.ask(CountDown).await?)
    }

    /// Waits until it is at 0. Await it; see [`LatchWait`].
    pub fn wait(&self) -> LatchWait {
        LatchWait {
            latch: self.clone(),
            deadline: None,
        }
    }

    /// What it has seen.
    ///
    /// # Errors
    /// If the latch has ended.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn state(&self) -> Result<LatchState, Failure> {
        Ok(self.actor.observe().await?)
    }

    /// Ends it: whoever waits gets an error of kind `Stopped`.
    pub fn stop(&self) {
        self.actor.stop();
    }
}

impl fmt::Debug for Latch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Latch({})", self.name)
    }
}

/// A wait for a latch. Without a deadline it waits as long as the caller lives.
///
/// # Errors
/// `DeadlineExceeded` if the deadline passed first, `Overloaded` if more than [`DEFAULT_WAITERS`] wait, `Stopped`
/// if the latch has ended.
///
/// # Cancel safety
/// Dropping it changes nothing: who waits doesn't count.
#[must_use = "nobody waits until it is awaited"]
#[derive(Debug)]
pub struct LatchWait {
    latch: Latch,
    deadline: Option<Duration>,
}

impl LatchWait {
    /// Gives up after `span`; zero does not wait.
    pub fn deadline(mut self, span: Duration) -> Self {
        self.deadline = Some(span);
        self
    }

    async fn send(self) -> Result<(), Failure> {
        let wait = self.deadline != Some(Duration::ZERO);
        let ask = self.latch.actor.ask(Wait { wait });
        let asked = match self.deadline {
            Some(span) if wait => ask.deadline(span).await,
            _ => ask.no_deadline().await,
        };
        asked.map_err(|error| Failure::from(error).with_verdict(Verdict::NotExecuted))
    }
}

impl IntoFuture for LatchWait {
    type Output = Result<(), Failure>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

struct CountDown;

impl Message for CountDown {
    type Reply = u64;
}

struct Wait {
    wait: bool,
}

impl Message for Wait {
    type Reply = ();
}

struct LatchActor {
    name: Arc<str>,
    left: u64,
    waiting: Vec<Responder<()>>,
}

impl Actor for LatchActor {}

impl Observable for LatchActor {
    type State = LatchState;

    fn observe(&self) -> LatchState {
        LatchState {
            name: Arc::clone(&self.name),
            left: self.left,
            waiting: self.waiting.len(),
        }
    }
}

impl Drop for LatchActor {
    /// However it ends, whoever waits is told.
    fn drop(&mut self) {
        let failure = Failure::new(FailureKind::Stopped, Verdict::NotExecuted)
            .with_detail(format!("latch {}", self.name));
        self.waiting
            .drain(..)
            .for_each(|who| who.fail(failure.clone()));
    }
}

impl Handler<CountDown> for LatchActor {
    async fn handle(&mut self, _: CountDown, _: &mut Context<Self>) -> u64 {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.waiting.drain(..).for_each(|who| who.send(()));
        }
        self.left
    }
}

impl DeferredHandler<Wait> for LatchActor {
    async fn handle_deferred(
        &mut self,
        Wait { wait }: Wait,
        mut who: Responder<()>,
        _: &mut Context<Self>,
    ) {
        if self.left == 0 {
            return who.send(());
        }
        if self.waiting.len() >= DEFAULT_WAITERS {
            // Those who gave up leave their places.
            self.waiting
                .retain_mut(|who| who.progress(Verdict::Executed));
        }
        let refusal = if !wait {
            Some(FailureKind::DeadlineExceeded)
        } else if self.waiting.len() >= DEFAULT_WAITERS {
            Some(FailureKind::Overloaded)
        } else {
            None
        };
        match refusal {
            Some(kind) => {
                let detail = format!("latch {} has {} to go", self.name, self.left);
                who.fail(Failure::new(kind, Verdict::NotExecuted).with_detail(detail));
            }
            None if who.progress(Verdict::Executed) => self.waiting.push(who),
            None => {}
        }
    }
}

impl fmt::Debug for LatchActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatchActor").finish_non_exhaustive()
    }
}
