//! The systems that are measured, behind one trait.

mod actix;
mod broadcast;
mod callboard;
mod channels;
mod jetstream;
mod raw;
mod redis;
mod stores;

use common::run::Result;
use common::server;

use crate::workloads::{Run, Work};

/// A system under test.
pub(crate) trait Candidate {
    fn name(&self) -> &'static str;

    /// Whether this workload says something about it.
    fn takes(&self, work: Work) -> bool;

    /// Why it isn't measured on this machine, if it isn't.
    fn missing(&self) -> Option<String> {
        None
    }

    /// Whether it answers a durable offer after a sync.
    fn syncs(&self) -> bool {
        true
    }

    /// Runs a workload once; one value per column of its cell.
    ///
    /// # Errors
    /// What went wrong, an item that was lost included.
    fn measure(&self, work: Work, run: &Run) -> Result<Vec<f64>>;
}

/// All systems, in the order of the tables.
pub(crate) fn all() -> Vec<Box<dyn Candidate>> {
    vec![
        Box::new(callboard::Callboard),
        Box::new(raw::Raw::Plain),
        Box::new(raw::Raw::Committer),
        Box::new(raw::Raw::Gathering),
        Box::new(raw::Raw::Unsynced),
        Box::new(channels::Raw::<channels::AsyncChannel>::new()),
        Box::new(channels::Raw::<channels::Kanal>::new()),
        Box::new(channels::Raw::<channels::Flume>::new()),
        Box::new(channels::Raw::<channels::Tokio>::new()),
        Box::new(stores::Store::<stores::Fjall>::called("fjall")),
        Box::new(stores::Store::<stores::Sqlite>::called("SQLite (full)")),
        Box::new(stores::Store::<stores::Redb>::called("redb")),
        Box::new(redis::Redis),
        Box::new(jetstream::JetStream::Unsynced),
        Box::new(jetstream::JetStream::Synced),
        Box::new(actix::Actix),
        Box::new(broadcast::Broadcast),
    ]
}

/// Servers that are installed, with their versions.
pub(crate) fn server_versions() -> Vec<String> {
    let programs = [redis::PROGRAM, jetstream::PROGRAM];
    programs.into_iter().filter_map(server::version).collect()
}
