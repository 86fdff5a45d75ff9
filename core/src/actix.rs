//! The bridge to actix: its actors are welcome as they are (feature `actix`).
//!
//! A program on actix 0.13 moves one actor at a time. What is moved first can be either end:
//!
//! - [`adopt`] makes an actix actor a Callboard actor without touching it. It gets a bounded mailbox, deadlines,
//!   verdicts, watchers and a supervisor that restarts it after a panic, and is reached by an
//!   [`ActorRef`](crate::ActorRef) or a [`Recipient`](crate::Recipient) like any other.
//! - [`adopt_addr`] does what can be done for an actor that lives elsewhere, of which only the address is known: on
//!   a `SyncArbiter`, say.
//! - [`to_actix`] lends a Callboard reference to actix code as an `actix::Recipient`.
//!
//! The messages stay what they are and get one more derive: a type that is a message in both worlds, with the same
//! answer, crosses the bridge in both directions. For types of other crates there is [`FromActix`].
//!
//! ```
//! # extern crate callboard_core as callboard;
//! use callboard::actix::{adopt, to_actix};
//! use callboard::{Message, System};
//!
//! #[derive(Message, actix::Message)] // `Message` is new
//! #[message(reply = u64)] // and so is this line
//! #[rtype(result = "u64")]
//! struct Add(u64);
//!
//! struct Counter(u64);
//!
//! impl actix::Actor for Counter {
//!     type Context = actix::Context<Self>;
//! }
//!
//! impl actix::Handler<Add> for Counter {
//!     type Result = u64;
//!
//!     fn handle(&mut self, Add(n): Add, _: &mut actix::Context<Self>) -> u64 {
//!         self.0 += n;
//!         self.0
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! callboard::run(|system: System| async move {
//!     let counter = system.actor(adopt(|| Counter(0))).start();
//!     counter.tell(Add(1)).await?;
//!     assert_eq!(counter.ask(Add(2)).await?, 3);
//!
//!     // Code that wasn't moved goes on to speak actix.
//!     let lent: actix::Recipient<Add> = to_actix(&counter.recipient())?;
//!     assert_eq!(lent.send(Add(1)).await?, 4);
//!     Ok(())
//! })?
//! # }
//! ```
//!
//! # What an adopted actor is
//!
//! A Callboard actor that holds actix's own future of the actor, with its context, timers and streams, and polls it
//! on its arbiter, which is an arbiter of actix-rt. Messages don't go through actix's mailbox: the handler is called
//! directly, with the actor and its context, when the message's turn has come. So the bound holds, the deadline is
//! looked at just before the handler, and whether the handler began is known. What it costs over a Callboard actor:
//! an allocation for each message, one more for each ask, a task for an answer that comes later, and a poll of the
//! actor's timers and streams.
//!
//! Being a Callboard actor, it can do what others can: its recipient is exposed to other processes, a task that
//! polls a queue tells it the items, and a [`Subscription`](crate::topic::Subscription) is a stream that it adds
//! to its context (`ctx.add_stream`).
//!
//! What actix can't do stays so: handlers don't hold `&mut self` over an await (`AtomicResponse` does that), timers
//! and streams wait while native senders keep the actix mailbox filled, and what an `async` part of a handler asks
//! in turn doesn't inherit the deadline. A cycle of asks in which one waits in an `AtomicResponse` isn't found: the
//! deadline ends it.
//!
//! In an adopted actor `actix::System::current()` is the system of actix-rt under Callboard's arbiters. Its
//! `stop()` ends all of them: stop the actor instead, or [shut the system down](crate::System::shutdown).
//!
//! # What it is not for
//!
//! The simulating executor: actix has no virtual time and no seed there (G38). Starting an adopted actor there
//! fails, with the text of [`StartError::NoActix`].

mod address;
mod adopted;
mod lend;
mod letter;
mod life;

pub use address::{ADDR_WINDOW, AdoptedAddr, adopt_addr, adopt_addr_with_window};
pub use adopted::{Adopted, NativeAddr, adopt, adopt_with};
pub use lend::{Checked, to_actix, to_actix_checked};
pub use letter::OWED_ANSWERS;

use crate::executor::Executor;
use crate::message::Message;
use crate::system::{StartError, System};
use crate::watch::{LifeEvent, Terminated};

/// A Callboard message that actix actors take. Not implemented by hand: it follows from being a message in both
/// worlds with the same answer, and [`FromActix`] is one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no message of both Callboard and actix",
    note = "derive both, with the same answer: `#[derive(callboard::Message, actix::Message)]`, `#[message(reply = T)]`, `#[rtype(result = \"T\")]`",
    note = "or wrap it: `callboard::actix::FromActix(message)`"
)]
pub trait ActixMessage: Message {
    /// What the actix actor handles.
    type Native: ::actix::Message<Result = Self::Reply> + Send + 'static;

    /// The message as the actix actor gets it.
    fn into_native(self) -> Self::Native;
}

impl<M: Message + ::actix::Message<Result = <M as Message>::Reply>> ActixMessage for M {
    type Native = M;

    #[inline]
    fn into_native(self) -> M {
        self
    }
}

/// A message of actix that can't be a Callboard message as well, because its type belongs to another crate:
/// `counter.ask(FromActix(Add(2)))`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromActix<M>(pub M);

#[diagnostic::do_not_recommend]
impl<M: ::actix::Message<Result: Send> + Send + 'static> Message for FromActix<M> {
    type Reply = M::Result;
}

impl<M: ::actix::Message<Result: Send> + Send + 'static> ActixMessage for FromActix<M> {
    type Native = M;

    fn into_native(self) -> M {
        self.0
    }
}

/// So that an adopted actor can be told of the end of others: by
/// `other.watch(Box::new(move |notice| drop(adopted.try_tell(notice))))`.
impl ::actix::Message for Terminated {
    type Result = ();
}

/// The same for [`watch_life`](crate::Watch::watch_life).
impl ::actix::Message for LifeEvent {
    type Result = ();
}

/// Whether the system has what actix needs.
fn check_executor(system: &System) -> Result<(), StartError> {
    match system.executor() {
        Executor::Arbiters(_) => Ok(()),
        Executor::Simulated(_) => Err(StartError::NoActix),
    }
}
