//! What stands before a handler: sees key, principal, deadline and payload, and may let the message
//! pass, answer it, or refuse it.
//!
//! Deduplication, rights and shedding are admissions; a program can write its own (logging, validation)
//! and put it on an actor with [`Spawn::admission`](crate::Spawn::admission). An admission runs on the
//! sender's thread when the message arrives, before it takes room in the mailbox: a duplicate costs the
//! receiver nothing.

use crate::envelope::Envelope;
use crate::error::Failure;
use crate::message::Message;

/// What an admission decided.
#[derive(Debug)]
pub enum Admitted<M: Message> {
    /// On to the mailbox, perhaps with another responder or other metadata.
    Pass(Envelope<M>),
    /// Taken care of: answered, or joined to a request that is running.
    Taken,
    /// Given back with the reason.
    Refused(Envelope<M>, Failure),
}

/// Stands before the handlers of an actor for messages of one type.
pub trait Admission<M: Message>: Send + Sync + 'static {
    /// Decides about one message. Must not block: it runs on the sender's thread.
    fn admit(&self, envelope: Envelope<M>) -> Admitted<M>;
}
