//! A barrier: a number of parties go on together, or none of them.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::Serialize;

use crate::actor::{Actor, DeferredHandler, Handler};
use crate::actor_ref::ActorRef;
use crate::boundary::Verdict;
use crate::context::Context;
use crate::error::{Failure, FailureKind};
use crate::message::Message;
use crate::observe::Observable;
use crate::responder::Responder;
use crate::system::System;

/// How many parties a [`Barrier`] can have.
pub const MAX_PARTIES: usize = 65_536;

/// Lets a number of parties go on together, again and again. Clones are the same barrier.
///
/// **All or none.** A party that has come and leaves before the last one comes (its deadline passes, its wait is
/// dropped, the actor that waits ends) breaks that *generation*: the others are told at once, rather than waiting
/// for somebody who won't come. That is the rule of Java's `CyclicBarrier`. Other than there the barrier isn't
/// broken for good: the next to come is the first of the next generation, so that parties which were started
/// again meet again, and nobody has to reset anything.
///
/// A party that ends before it comes isn't missed by the barrier: give the waits a
/// [deadline](Meet::deadline).
///
/// ```
/// use callboard_core::locks::Barrier;
/// use callboard_core::{Simulation, System};
///
/// Simulation::new(1).block_on(async {
///     let system = System::current().ok_or("no system")?;
///     let curtain = Barrier::new(&system, "curtain", 2);
///     let (a, b) = futures::join!(curtain.wait().into_future(), curtain.wait().into_future());
///     assert_eq!((a?.generation, b?.generation), (1, 1));
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })
/// # .unwrap();
/// ```
#[derive(Clone)]
pub struct Barrier {
    actor: ActorRef<BarrierActor>,
    name: Arc<str>,
}

/// What a barrier has seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BarrierState {
    /// Its name.
    pub name: Arc<str>,
    /// How many go on together.
    pub parties: usize,
    /// How many have come.
    pub waiting: usize,
    /// The generation that gathers now, 1 for the first.
    pub generation: u64,
    /// How many generations have passed.
    pub passed: u64,
    /// How many were broken.
    pub broken: u64,
}

impl Barrier {
    /// A barrier for that many parties, from 1 to [`MAX_PARTIES`]; other numbers mean the nearest.
    pub fn new(system: &System, name: impl Into<Arc<str>>, parties: usize) -> Self {
        let name = name.into();
        let state = BarrierState {
            name: Arc::clone(&name),
            parties: parties.clamp(1, MAX_PARTIES),
            waiting: 0,
            generation: 1,
            passed: 0,
            broken: 0,
        };
        let actor = system
            .actor(move || BarrierActor {
                state,
                gathered: Vec::new(),
            })
            .label(format!("barrier {name}"))
            .observable()
            .start();
        Barrier { actor, name }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Comes to it, and waits for the others. Await it; see [`Meet`].
    pub fn wait(&self) -> Meet {
        Meet {
            barrier: self.clone(),
            deadline: None,
        }
    }

    /// What it has seen.
    ///
    /// # Errors
    /// If the barrier has ended.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn state(&self) -> Result<BarrierState, Failure> {
        Ok(self.actor.observe().await?)
    }

    /// Ends it: whoever waits gets an error of kind `Stopped`.
    pub fn stop(&self) {
        self.actor.stop();
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Barrier({})", self.name)
    }
}

/// That a party went on with the others of its generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Passage {
    /// Which time the barrier gathered its parties, broken generations included; 1 is the first.
    pub generation: u64,
    /// In which place it came: 0 is the first. Exactly one party of a generation has 0, for work that one of
    /// them has to do.
    pub place: usize,
}

/// Why a party did not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BarrierError {
    /// Another party of this generation left: nobody went on.
    #[error("generation {generation} of barrier {name} was broken")]
    Broken {
        /// The barrier.
        name: Arc<str>,
        /// The generation.
        generation: u64,
    },
    /// The deadline passed, or the barrier has ended.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl BarrierError {
    /// What is known. `NotExecuted`: nobody of this generation went on. `Executed`: the deadline passed while the
    /// last one came, and the others went on perhaps.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            BarrierError::Broken { .. } => Verdict::NotExecuted,
            BarrierError::Failed(failure) => failure.verdict(),
        }
    }
}

/// A party on its way to a barrier. Without a deadline it waits as long as the caller lives.
///
/// # Errors
/// [`BarrierError`].
///
/// # Cancel safety
/// Dropping it breaks the generation, if the last one hasn't come.
#[must_use = "nobody comes until it is awaited"]
#[derive(Debug)]
pub struct Meet {
    barrier: Barrier,
    deadline: Option<Duration>,
}

impl Meet {
    /// Gives up after `span`, which breaks the generation. Zero does not wait: it goes on if it is the last one,
    /// and else has not come at all, which breaks nothing.
    pub fn deadline(mut self, span: Duration) -> Self {
        self.deadline = Some(span);
        self
    }

    async fn send(self) -> Result<Passage, BarrierError> {
        let wait = self.deadline != Some(Duration::ZERO);
        let ask = self.barrier.actor.ask(Arrive { wait });
        let asked = match self.deadline {
            Some(span) if wait => ask.deadline(span).await,
            _ => ask.no_deadline().await,
        };
        asked.map_err(Failure::from)?
    }
}

impl IntoFuture for Meet {
    type Output = Result<Passage, BarrierError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

type Answer = Result<Passage, BarrierError>;

struct Arrive {
    wait: bool,
}

impl Message for Arrive {
    type Reply = Answer;
}

/// A party of that generation waits no longer.
struct Left {
    generation: u64,
}

impl Message for Left {
    type Reply = ();
}

struct BarrierActor {
    state: BarrierState,
    gathered: Vec<Responder<Answer>>,
}

impl BarrierActor {
    fn break_generation(&mut self) {
        let generation = self.state.generation;
        self.state.generation += 1;
        self.state.broken += 1;
        for party in self.gathered.drain(..) {
            party.send(Err(BarrierError::Broken {
                name: Arc::clone(&self.state.name),
                generation,
            }));
        }
    }

    fn pass(&mut self) {
        let generation = self.state.generation;
        self.state.generation += 1;
        self.state.passed += 1;
        for (place, party) in self.gathered.drain(..).enumerate() {
            party.send(Ok(Passage { generation, place }));
        }
    }
}

impl Actor for BarrierActor {}

impl Observable for BarrierActor {
    type State = BarrierState;

    fn observe(&self) -> BarrierState {
        BarrierState {
            waiting: self.gathered.len(),
            ..self.state.clone()
        }
    }
}

impl Drop for BarrierActor {
    /// However it ends, whoever waits is told.
    fn drop(&mut self) {
        let failure = Failure::new(FailureKind::Stopped, Verdict::NotExecuted)
            .with_detail(format!("barrier {}", self.state.name));
        self.gathered
            .drain(..)
            .for_each(|party| party.fail(failure.clone()));
    }
}

impl DeferredHandler<Arrive> for BarrierActor {
    async fn handle_deferred(
        &mut self,
        Arrive { wait }: Arrive,
        mut party: Responder<Answer>,
        ctx: &mut Context<Self>,
    ) {
        // Until the last one comes, nothing has happened to anybody.
        if !party.progress(Verdict::NotExecuted) {
            return;
        }
        if self.gathered.len() + 1 == self.state.parties {
            // One that left may be known here before its message is.
            if !self
                .gathered
                .iter_mut()
                .all(|party| party.progress(Verdict::Executed))
            {
                self.break_generation();
            }
        }
        if self.gathered.len() + 1 == self.state.parties {
            party.progress(Verdict::Executed);
            self.gathered.push(party);
            return self.pass();
        }
        if !wait {
            let failure = Failure::new(FailureKind::DeadlineExceeded, Verdict::NotExecuted);
            let detail = format!("not the last at barrier {}", self.state.name);
            return party.fail(failure.with_detail(detail));
        }
        let me = ctx.me();
        let generation = self.state.generation;
        party.on_withdraw(move || me.tell_reserved(Left { generation }));
        self.gathered.push(party);
    }
}

impl Handler<Left> for BarrierActor {
    async fn handle(&mut self, left: Left, _: &mut Context<Self>) {
        if left.generation == self.state.generation {
            self.break_generation();
        }
    }
}

impl fmt::Debug for BarrierActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarrierActor").finish_non_exhaustive()
    }
}
