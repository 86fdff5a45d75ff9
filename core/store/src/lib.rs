//! The log on disk of Callboard: records that outlive the process.
//!
//! A [`Store`] is a directory. It implements [`Journals`](callboard_core::journal::Journals), the seam of the core
//! through which durable queues and topics keep what they must not lose: each journal is a log in a directory of
//! its own, with one thread that commits it.
//!
//! **Group commit.** An append copies into a buffer and returns. The committer takes all that has come, writes it
//! with one call, syncs it with one call, and says how far it is; meanwhile the next buffer fills. So the price of
//! a sync is shared by all who wait for it, and no arbiter waits for a disk.
//!
//! **What survives what.** *Written* survives the end of the process, *synced* the end of power (G25). Until a
//! journal is told to be that far, nothing is promised; after it, nothing is taken back.
//!
//! **Opening** reads the log from front to back. An end that was torn by a loss of power is cut, counted and
//! reported. Damage inside is reported with its place, its bytes are kept in a file, and what is around it is
//! still there: see [`Report`]. [`check`], [`repair`] and [`dump`] do that for people, and the command
//! `callboard-log` does it from a shell.
//!
//! **Space** comes back a segment at a time, oldest first, while the log runs: what still lives in the oldest
//! segment is copied to the end once what lives is small beside what is on disk. So the time to open grows with
//! what is live.
//!
//! **Failure.** A disk that is full refuses puts until there is room; notes and drops are taken meanwhile. A write
//! or a sync that fails ends the log for good, with the reason, until it is opened again.
//!
//! **Tests.** The feature `test` brings `SimDisk`, whose power can be cut at any point.
//!
//! The bytes are described in the guide's page "The log's format".

mod check;
mod disk;
mod error;
mod format;
mod index;
mod jobs;
mod log;
mod names;
mod options;
mod recover;
mod report;
mod scan;
mod store;

pub use check::{check, dump, repair};
pub use disk::{Disk, DiskFile, RealDisk};
#[cfg(feature = "test")]
pub use disk::{Op, SECTOR, SimDisk};
pub use options::{
    DEFAULT_PENDING_BYTES, DEFAULT_SEGMENT_BYTES, MIN_SEGMENT_BYTES, Options, WRITTEN_SYNC,
};
pub use report::{Damage, Report, Torn};
pub use store::Store;
