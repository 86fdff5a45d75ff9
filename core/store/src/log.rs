//! One journal: what its owner calls, and what its committer shares with that.
//!
//! An append encodes into the front's buffer, under a short lock. The committer takes the whole buffer, leaves an
//! empty one of the same size in its place, writes and syncs with no lock held, and says how far it is.

pub(crate) mod committer;
mod compact;
pub(crate) mod reading;
mod segments;
mod writing;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use callboard_core::clock::Clock;
use callboard_core::journal::{
    Change, Durability, Journal, JournalError, JournalErrorKind, JournalState, OnProgress, OnRead,
    Progress, RecordId, Ticket,
};
use callboard_core::{Worker, journal};
use parking_lot::Mutex;

use crate::disk::Disk;
use crate::format::{MARK, encode, encoded_len};
use crate::index::Index;
use crate::jobs::Jobs;
use crate::options::Options;
use crate::store::Lock;
use reading::Read;
use segments::Made;
pub(crate) use segments::make as make_segment;

/// The owner's end of a log. When it is dropped the log writes and syncs what it has and closes.
pub(crate) struct Log {
    pub(crate) shared: Arc<Shared>,
}

/// What the owner, the committer and the reader of a log share.
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: Options,
    pub(crate) clock: Clock,
    pub(crate) jobs: Arc<Jobs>,
    pub(crate) front: Mutex<Front>,
    pub(crate) index: Mutex<Index>,
    pub(crate) observer: Mutex<Option<Weak<dyn OnProgress>>>,
    pub(crate) committer: OnceLock<Worker>,
    pub(crate) syncs: AtomicU64,
    pub(crate) torn_bytes: AtomicU64,
    pub(crate) damaged: AtomicU64,
    /// The store's, which is free again when all its logs have ended.
    pub(crate) _lock: Arc<Lock>,
}

/// What appends change.
#[derive(Default)]
pub(crate) struct Front {
    /// Room for a mark, and records that aren't sealed yet.
    pub(crate) pending: Vec<u8>,
    /// Whether one of them is to be synced.
    pub(crate) wants_sync: bool,
    /// The last ticket that was given.
    pub(crate) last: Ticket,
    pub(crate) progress: Progress,
    /// Why puts are refused for now.
    pub(crate) full: Option<JournalError>,
    pub(crate) closing: bool,
    /// Reads of what isn't written yet, in the order of the tickets they wait for.
    pub(crate) waiting: Vec<(Ticket, Read)>,
    /// A segment that was made in advance.
    pub(crate) made: Option<Made>,
}

impl Front {
    pub(crate) fn new() -> Self {
        Front {
            pending: vec![0; MARK],
            ..Front::default()
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending.len() <= MARK
    }
}

impl Shared {
    pub(crate) fn wake(&self) {
        if let Some(committer) = self.committer.get() {
            committer.wake();
        }
    }

    /// Writes and syncs what there is, then ends.
    pub(crate) fn close(&self) {
        self.front.lock().closing = true;
        self.wake();
    }

    /// Tells the observer, under no lock.
    pub(crate) fn tell(&self, progress: &Progress) {
        let observer = self.observer.lock().as_ref().and_then(Weak::upgrade);
        if let Some(observer) = observer {
            let told = catch_unwind(AssertUnwindSafe(|| observer.progressed(progress)));
            if told.is_err() {
                tracing::error!(journal = %self.name, "an observer of a journal panicked");
            }
        }
    }

    fn refuse(&self, kind: JournalErrorKind, text: &str) -> JournalError {
        JournalError::new(kind, format!("journal {:?}: {text}", self.name))
    }

    /// The bytes that a change takes.
    fn measure(&self, change: &Change<'_>) -> Result<usize, JournalError> {
        let longest = self.options.longest_record();
        match encoded_len(change) {
            Some(len) if len <= longest => Ok(len),
            _ => Err(self.refuse(
                JournalErrorKind::TooLarge,
                &format!(
                    "a change {change} is larger than what the log takes: a head and a note have at most 65535 \
                     bytes, a record with its header {longest}",
                    change = Named(change)
                ),
            )),
        }
    }
}

/// A change without its bytes.
struct Named<'a>(&'a Change<'a>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Change::Put { id, head, body } => write!(
                f,
                "(put {id}, head of {} bytes, body of {})",
                head.len(),
                body.len()
            ),
            Change::Note { id, note } => write!(f, "(note of {} bytes to {id})", note.len()),
            Change::Drop { id } => write!(f, "(drop {id})"),
        }
    }
}

impl Journal for Log {
    fn append(
        &self,
        changes: &[Change<'_>],
        durability: Durability,
    ) -> Result<Ticket, JournalError> {
        let shared = &self.shared;
        let mut len = 0_usize;
        let mut puts = false;
        for change in changes {
            len = len.saturating_add(shared.measure(change)?);
            puts |= matches!(change, Change::Put { .. });
        }
        let most = shared.options.pending_bytes;
        if len > most {
            let text = format!("changes of {len} bytes at once, and only {most} may wait");
            return Err(shared.refuse(JournalErrorKind::TooLarge, &text));
        }
        let mut front = shared.front.lock();
        if let Some(failed) = &front.progress.failed {
            return Err(failed.clone());
        }
        if front.closing {
            return Err(shared.refuse(JournalErrorKind::Closed, "it is closed"));
        }
        if puts && let Some(full) = &front.full {
            return Err(full.clone());
        }
        let pending = front.pending.len() - MARK;
        // What goes along with records that are here already isn't turned away: an acknowledgement say.
        if puts && pending + len > most {
            let text = format!("{pending} bytes wait to be written, and {len} more don't fit");
            return Err(shared.refuse(JournalErrorKind::Busy, &text));
        }
        for change in changes {
            encode(change, &mut front.pending);
        }
        front.last.0 += 1;
        front.wants_sync |= durability == Durability::Synced;
        let ticket = front.last;
        drop(front);
        shared.wake();
        Ok(ticket)
    }

    fn read(&self, ids: &[RecordId], done: OnRead) {
        Shared::read(&self.shared, ids.to_vec(), done);
    }

    fn progress(&self) -> Progress {
        self.shared.front.lock().progress.clone()
    }

    fn observe(&self, observer: Weak<dyn OnProgress>) {
        *self.shared.observer.lock() = Some(observer);
    }

    fn state(&self) -> JournalState {
        let shared = &self.shared;
        let appends = shared.front.lock().last.0;
        let index = shared.index.lock();
        journal::JournalState {
            records: index.len() as u64,
            live_bytes: index.live(),
            disk_bytes: index.size(),
            appends,
            syncs: shared.syncs.load(Ordering::Relaxed),
            torn_bytes: shared.torn_bytes.load(Ordering::Relaxed),
            damaged: shared.damaged.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}
