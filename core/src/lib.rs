//! Actors, mailboxes, queues, topics and locks of Callboard; one process.
//!
//! Programs use the facade crate `callboard`. This crate is the part that opens no socket and no file:
//! what an actor is ([`Actor`], [`Handler`]), how it is reached ([`ActorRef`], [`Recipient`]), what every
//! failure means ([`Verdict`]), and the seams through which supervision and the remote layer take part:
//! [`Route`] (where a message goes), [`Watch`] (how an end is noticed), [`Place`] (start, stop and status
//! of a child), [`Admission`] (what stands before a handler) and [`Leases`](locks::Leases) (who may hold
//! something, and until when).

#[cfg(all(panic = "abort", not(feature = "no-panic-fence")))]
compile_error!(
    "with `panic = \"abort\"` a panic ends the process, and no actor can be fenced off (G10): \
     build with unwinding, or give the guarantee up by the feature `no-panic-fence`"
);

// The macros name this crate by its facade's name.
extern crate self as callboard;

#[cfg(feature = "actix")]
pub mod actix;
mod actor;
mod actor_ref;
mod admission;
mod blocking;
mod boundary;
mod cell;
pub mod clock;
pub mod codec;
mod context;
mod counters;
mod current;
mod dead_letter;
mod deadlines;
mod driver;
mod entropy;
mod envelope;
mod error;
mod executor;
mod fault;
mod fingerprint;
mod future_buffer;
mod group;
mod id;
pub mod journal;
mod lease;
pub mod locks;
mod mailbox;
mod message;
#[cfg(feature = "metrics")]
pub mod metrics;
mod names;
mod observe;
mod panics;
mod place;
mod pool;
pub mod process;
mod progress;
pub mod queue;
mod replay;
mod responder;
mod route;
mod send;
mod spawn;
mod stamp;
mod streamed;
mod sync;
mod system;
#[cfg(feature = "test")]
pub mod testing;
pub mod topic;
mod trace_parent;
mod waits;
mod watch;
mod watchdog;
mod weak;

pub use actor::{
    Actor, ByResponder, ByReturn, DeferredHandler, Handler, LeftBehind, Receives, StartFailure,
};
pub use actor_ref::{ActorRef, Recipient};
pub use admission::{Admission, Admitted, Arrival, Guard, Onward, Threshold};
pub use blocking::BlockingError;
pub use boundary::{Boundary, Verdict};
#[cfg(feature = "test")]
pub use callboard_macros::test;
pub use callboard_macros::{Fingerprint, Message, main};
pub use cell::ActorSnapshot;
pub use codec::Blob;
pub use context::{Context, Link, TaskHandle, Watching};
pub use counters::{Counters, DropReason};
pub use current::inherited_deadline;
pub use dead_letter::{
    DEAD_LETTER_CAPACITY, DEAD_LETTER_TARGETS, DeadLetter, DeadLetterCounts, DeadLetterNotice,
    DeadLetters, TargetCounts,
};
pub use driver::ArbiterLoad;
pub use entropy::Entropy;
pub use envelope::{Envelope, Meta};
pub use error::{Failure, FailureKind, SendError};
pub use executor::{OWN_THREADS, Rest, Simulation, Worker};
pub use fault::{Classified, FailureClass, Fault};
pub use fingerprint::{Fingerprint, FingerprintFields, Fingerprinter};
pub use group::{Broadcast, Gathered, Group, TooFew};
pub use id::{ActorId, Incarnation, Principal, RequestKey};
pub use mailbox::{DEFAULT_MAILBOX_CAPACITY, MailboxState, Overflow};
pub use message::{Message, WireMessage};
pub use names::{
    BadName, HolderOf, MAX_NAME, NameSnapshot, NameTaken, NamedStartError, Names, RegisterError,
    WrongType,
};
pub use observe::{
    ByObserving, OBSERVED_BYTES, OBSERVED_TEXT, Observable, Observation, Observe, ObservedState,
};
pub use place::{
    ABANDONED_THREADS, ChildEvent, ChildKind, ChildStatus, OnChildEvent, Place, StopSignal,
    TaskPlace, Terms, ThreadPlace,
};
pub use pool::{MAX_POOL_SIZE, Pool, PoolBuilder, PoolError, PoolState, Routing};
pub use progress::Frozen;
pub use replay::{FailedAttempt, MAX_REPLAYS};
pub use responder::{Outcome, ReplySink, ReplySlot, Responder, SharedSink, Withdrawals};
pub use route::{AskTerms, Asked, Refused, Route, WeakRoute};
pub use send::{
    Ask, AskParts, Asking, DEFAULT_LOCAL_DEADLINE, DEFAULT_REMOTE_DEADLINE, Tell, Telling,
};
pub use spawn::{Placement, START_LIMIT, STASH_CAPACITY, Spawn};
pub use streamed::{AnswerSink, AnswerStream, answer_stream};
pub use system::{SHUTDOWN_GRACE, StartError, System, run};
pub use trace_parent::{BadTraceParent, TraceParent};
pub use watch::{ExitReason, LifeEvent, OnEnd, OnLife, Terminated, Unwatch, Watch, WatchHandle};
pub use watchdog::{BLOCK_LIMIT, Blocked};
pub use weak::{WeakRecipient, WeakRef};
