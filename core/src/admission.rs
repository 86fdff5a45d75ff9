//! What stands before a handler: sees target, key, principal, deadline and payload, and may let the message
//! pass, answer it, refuse it, or hold it and let it go on later.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::boundary::Verdict;
use crate::envelope::{Envelope, Meta};
use crate::error::Failure;
use crate::message::Message;
use crate::panics::panic_text;

mod threshold;

pub(crate) use threshold::{Behind, Door};
pub use threshold::{Onward, Threshold};

/// What an admission decided.
#[derive(Debug)]
pub enum Admitted<M: Message> {
    /// On to the mailbox, perhaps with another responder or other metadata.
    Pass(Envelope<M>),
    /// Taken care of: answered, joined to a request that is running, or held until it
    /// [goes on](Threshold::later).
    Taken,
    /// Given back with the reason.
    Refused(Envelope<M>, Failure),
}

/// Stands before the handlers of an actor for messages of one type.
///
/// Deduplication, rights and shedding are admissions; a program can write its own (logging, validation)
/// and put it on an actor: with [`Spawn::admission`](crate::Spawn::admission) before messages of one type, with
/// [`Spawn::guard`](crate::Spawn::guard) before all. Guards come first, then the admissions of the type, each
/// kind in the order it was put there; the first that doesn't let a message pass has the last word.
///
/// An admission runs on the sender's thread when the message arrives, before it takes room in the mailbox: a
/// duplicate costs the receiver nothing. So it must not block. One that panics refuses: the asker is told, the
/// panic is counted, and nobody else is harmed (G10).
///
/// ```
/// # extern crate callboard_core as callboard;
/// use callboard_core::{Actor, Admission, Admitted, Context, Envelope, Failure, FailureKind};
/// use callboard_core::{Handler, Message, Simulation, Threshold, Verdict};
///
/// #[derive(Message)]
/// #[message(reply = u64)]
/// struct Withdraw(u64);
///
/// /// Validates before anything runs.
/// struct Limit(u64);
/// impl Admission<Withdraw> for Limit {
///     fn admit(
///         &self,
///         envelope: Envelope<Withdraw>,
///         _: &Threshold<'_, Withdraw>,
///     ) -> Admitted<Withdraw> {
///         if envelope.message.0 <= self.0 {
///             return Admitted::Pass(envelope);
///         }
///         let failure = Failure::new(FailureKind::NotAuthorised, Verdict::NotExecuted)
///             .with_detail(format!("more than {}", self.0));
///         Admitted::Refused(envelope, failure)
///     }
/// }
///
/// struct Till(u64);
/// impl Actor for Till {}
/// impl Handler<Withdraw> for Till {
///     async fn handle(&mut self, Withdraw(n): Withdraw, _: &mut Context<Self>) -> u64 {
///         self.0 -= n;
///         self.0
///     }
/// }
///
/// let mut simulation = Simulation::new(1);
/// let system = simulation.system().clone();
/// simulation.block_on(async move {
///     let till = system.actor(|| Till(1_000)).admission(Limit(100)).start();
///     assert_eq!(till.ask(Withdraw(100)).await?, 900);
///     let error = till.ask(Withdraw(101)).await.unwrap_err();
///     assert_eq!(error.verdict(), Verdict::NotExecuted);
///     assert_eq!(error.into_message().map(|Withdraw(n)| n), Some(101));
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })
/// # .unwrap();
/// ```
pub trait Admission<M: Message>: Send + Sync + 'static {
    /// Decides about one message. Must not block: it runs on the sender's thread.
    ///
    /// `at` says before whom it stands, since one admission can stand before many. One that can't decide yet takes
    /// [`at.later()`](Threshold::later), keeps the envelope, answers [`Admitted::Taken`], and lets it go on when it
    /// can.
    fn admit(&self, envelope: Envelope<M>, at: &Threshold<'_, M>) -> Admitted<M>;
}

/// Stands before all handlers of an actor, whatever the type of the message: for logging, rights, shedding.
pub trait Guard: Send + Sync + 'static {
    /// Looks at a message that arrives. Must not block: it runs on the sender's thread.
    ///
    /// # Errors
    /// Refuses it: the message goes back to its sender with this failure, as `NotExecuted`.
    fn check(&self, arrival: &Arrival<'_>) -> Result<(), Failure>;
}

impl<F> Guard for F
where
    F: Fn(&Arrival<'_>) -> Result<(), Failure> + Send + Sync + 'static,
{
    fn check(&self, arrival: &Arrival<'_>) -> Result<(), Failure> {
        self(arrival)
    }
}

/// What a [`Guard`] sees of a message.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Arrival<'a> {
    /// The name of the actor it is for, or of its type.
    pub actor: &'a str,
    /// The Rust type of the message.
    pub message_type: &'static str,
    /// What travels beside it: key, principal, deadline.
    pub meta: &'a Meta,
    /// Whether somebody waits for an answer.
    pub is_ask: bool,
}

/// What stands before one actor.
#[derive(Default)]
pub(crate) struct Admissions {
    guards: Vec<Box<dyn Guard>>,
    /// The [`Chain`] of each message type.
    chains: BTreeMap<TypeId, Box<dyn Any + Send + Sync>>,
    /// What a test does to messages on their way here.
    #[cfg(feature = "test")]
    pub(crate) faults: Option<crate::testing::FaultPoint>,
}

/// The admissions of one message type, in order.
struct Chain<M: Message>(Vec<Box<dyn Admission<M>>>);

/// Why a message has gone astray in an admission.
pub(crate) struct Panicked(pub(crate) String);

impl Admissions {
    pub(crate) fn guard(&mut self, guard: impl Guard) {
        self.guards.push(Box::new(guard));
    }

    pub(crate) fn add<M: Message>(&mut self, admission: impl Admission<M>) {
        let chain = self
            .chains
            .entry(TypeId::of::<M>())
            .or_insert_with(|| Box::new(Chain::<M>(Vec::new())));
        if let Some(Chain(chain)) = chain.downcast_mut::<Chain<M>>() {
            chain.push(Box::new(admission));
        }
    }

    /// Lets the message through all that stand here, behind a fence. One that was held goes on behind the
    /// `passed` admissions of its type that it has seen.
    pub(crate) fn admit<M: Message>(
        &self,
        door: &dyn Door<M>,
        envelope: Envelope<M>,
        passed: usize,
    ) -> Result<Admitted<M>, Panicked> {
        let admit = AssertUnwindSafe(|| self.pass(door, envelope, passed));
        catch_unwind(admit).map_err(|payload| Panicked(panic_text(payload.as_ref())))
    }

    fn pass<M: Message>(
        &self,
        door: &dyn Door<M>,
        mut envelope: Envelope<M>,
        passed: usize,
    ) -> Admitted<M> {
        if passed == 0
            && !self.guards.is_empty()
            && let Err(failure) = self.check(&door.label(), &envelope)
        {
            return Admitted::Refused(envelope, failure.with_verdict(Verdict::NotExecuted));
        }
        let chain = self.chains.get(&TypeId::of::<M>());
        let chain = chain.and_then(|chain| chain.downcast_ref::<Chain<M>>());
        let chain = chain.map_or(&[][..], |Chain(chain)| chain);
        for (index, admission) in chain.iter().enumerate().skip(passed) {
            let at = Threshold::new(door, index + 1);
            envelope = match admission.admit(envelope, &at) {
                Admitted::Pass(envelope) => envelope,
                decided => return decided,
            };
        }
        Admitted::Pass(envelope)
    }

    fn check<M: Message>(&self, actor: &str, envelope: &Envelope<M>) -> Result<(), Failure> {
        let arrival = Arrival {
            actor,
            message_type: std::any::type_name::<M>(),
            meta: &envelope.meta,
            is_ask: envelope.responder.expects_answer(),
        };
        let mut guards = self.guards.iter();
        guards.try_for_each(|guard| guard.check(&arrival))
    }
}
