//! The systems that are measured, behind one trait.
//!
//! In both processes all of a system lives on one thread if it can: a current-thread runtime of tokio, or one arbiter. On
//! two cores that is the best case of nearly every peer.

mod callboard;
mod certificates;
mod kameo;
mod nats;
mod quinn;
mod ractor;
mod raw;
mod sockets;
mod tarpc;
mod tokio_client;
mod tonic;
mod zmq;

use std::panic::RefUnwindSafe;

use common::run::Result;
use common::server;

use crate::server::Role;
use crate::workloads::{Run, Work};

/// A system under test.
pub(crate) trait Candidate: RefUnwindSafe {
    fn name(&self) -> &'static str;

    /// What kind of system it is; goals compare Callboard with peers only.
    fn family(&self) -> Family {
        Family::Peer
    }

    /// Whether this workload says something about it.
    fn takes(&self, work: Work) -> bool;

    /// Why it isn't measured on this machine, if it isn't.
    fn missing(&self) -> Option<String> {
        None
    }

    /// Whether a process can be its client only once.
    fn needs_own_process(&self) -> bool {
        false
    }

    /// Is the server of a run, until its process is ended.
    ///
    /// # Errors
    /// What went wrong.
    fn serve(&self, role: &Role) -> Result<()>;

    /// Starts a server and runs a workload against it once; one value per column of its cell.
    ///
    /// # Errors
    /// What went wrong, a message that was lost included.
    fn measure(&self, work: Work, run: &Run) -> Result<Vec<f64>>;
}

/// What kind of system it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Callboard,
    /// What programs would use in its place.
    Peer,
    /// A socket with nothing on top: what nobody can do without.
    Floor,
}

/// All systems, in the order of the tables.
pub(crate) fn all() -> Vec<Box<dyn Candidate>> {
    vec![
        Box::new(callboard::Callboard),
        Box::new(callboard::InProcess),
        Box::new(raw::Raw),
        Box::new(tarpc::Tarpc),
        Box::new(quinn::Quinn),
        Box::new(zmq::ZeroMq),
        Box::new(ractor::Ractor),
        Box::new(tonic::Tonic),
        Box::new(kameo::Kameo),
        Box::new(nats::Nats),
    ]
}

/// Servers that are installed, with their versions.
pub(crate) fn server_versions() -> Vec<String> {
    server::version(nats::PROGRAM).into_iter().collect()
}
