//! The one thread of a log that writes: takes what was appended, writes it at once, syncs it at once.
//!
//! Everything that changes the log goes through here in one order, which is the order on disk: appends, what
//! compaction copies, marks. So the index always says what reading the log from front to back would say.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use callboard_core::Rest;
use callboard_core::clock::Instant;
use callboard_core::journal::{JournalError, JournalErrorKind, Ticket};
use futures::channel::oneshot;

use super::Shared;
use super::compact::Copying;
use crate::disk::DiskFile;
use crate::format::{MARK, Mark};
use crate::index::Segment;
use crate::options::WRITTEN_SYNC;

/// How long a log waits before it asks a full disk again.
const FULL_RETRY: Duration = Duration::from_millis(250);

/// The segment that is written to.
pub(super) struct Active {
    pub(super) number: u64,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) size: u64,
    /// Where the next record goes.
    pub(super) at: u64,
}

/// What was taken from the front.
#[derive(Default)]
pub(super) struct Batch {
    /// Room for a mark, and records.
    pub(super) bytes: Vec<u8>,
    /// How much of it is written.
    pub(super) done: usize,
    /// The last ticket in it.
    pub(super) last: Ticket,
}

impl Batch {
    pub(super) fn is_done(&self) -> bool {
        self.done >= self.bytes.len()
    }
}

/// Why a step of the committer did not come to its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// There is no segment to write to yet.
    NoSegment,
    /// The log has failed.
    Failed(JournalError),
}

pub(crate) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) active: Active,
    pub(super) identity: u64,
    /// Of the last record.
    pub(super) sequence: u64,
    pub(super) oldest: u64,
    pub(super) batch: Batch,
    /// Up to where the log is synced.
    pub(super) synced: (u64, u64),
    /// What the last mark said.
    pub(super) marked: Mark,
    /// Behind the last record that isn't a mark.
    pub(super) data_end: (u64, u64),
    /// Since when something is written that isn't synced.
    pub(super) unsynced_since: Option<Instant>,
    /// Somebody waits for a sync.
    pub(super) wants_sync: bool,
    pub(super) written: Ticket,
    /// The next segment, made in advance.
    pub(super) next: Option<Segment>,
    /// A segment is being made.
    pub(super) ordered: bool,
    /// One is needed at once.
    pub(super) needs_segment: bool,
    pub(super) retry_at: Option<Instant>,
    pub(super) copying: Option<Copying>,
    /// Bytes that were written since compaction last looked.
    pub(super) committed: u64,
    /// For copies, used again and again.
    pub(super) scratch: Vec<u8>,
    ended: Option<oneshot::Sender<()>>,
}

/// Where a log is when its committer starts.
pub(crate) struct Start {
    pub(crate) number: u64,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) size: u64,
    pub(crate) at: u64,
    /// The segment before and where it ends, if this one is new.
    pub(crate) synced: (u64, u64),
    pub(crate) identity: u64,
    pub(crate) sequence: u64,
    pub(crate) oldest: u64,
}

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>, start: Start, ended: oneshot::Sender<()>) -> Self {
        Committer {
            shared,
            identity: start.identity,
            sequence: start.sequence,
            oldest: start.oldest,
            batch: Batch::default(),
            synced: start.synced,
            marked: Mark::default(),
            data_end: start.synced,
            unsynced_since: None,
            wants_sync: false,
            written: Ticket::default(),
            next: None,
            ordered: false,
            needs_segment: false,
            retry_at: None,
            copying: None,
            committed: 0,
            scratch: Vec::new(),
            active: Active {
                number: start.number,
                file: start.file,
                size: start.size,
                at: start.at,
            },
            ended: Some(ended),
        }
    }

    /// One step. Called whenever the committer is woken or has asked to go on.
    pub(crate) fn step(&mut self) -> Rest {
        if self.ended.is_none() {
            return Rest::Ended;
        }
        let has_failed = self.shared.front.lock().progress.failed.is_some();
        let more = match has_failed {
            true => Ok(false),
            false => self.commit(),
        };
        let rest = match more {
            Ok(true) => Rest::Not,
            Ok(false) => self.rest(),
            Err(Stop::NoSegment) => match self.make_room() {
                Ok(()) | Err(Stop::NoSegment) => self.rest(),
                Err(Stop::Failed(error)) => {
                    self.fail(error);
                    self.rest()
                }
            },
            Err(Stop::Failed(error)) => {
                self.fail(error);
                self.rest()
            }
        };
        if rest == Rest::Ended {
            // Whoever waits for that may take the files from here on.
            self.ended.take();
        }
        rest
    }

    /// Writes, syncs, looks after the segments. Answers whether there is more to do at once.
    fn commit(&mut self) -> Result<bool, Stop> {
        self.take_segment()?;
        if self.batch.is_done() {
            self.take_batch();
        }
        if !self.batch.is_done() {
            self.write_batch()?;
            self.written = self.batch.last;
            self.publish(None);
        }
        if self.sync_is_due() {
            self.sync()?;
        }
        let more = self.compact()?;
        self.order_segment();
        let waiting = !self.shared.front.lock().is_empty();
        Ok(more || waiting)
    }

    /// What can be done while there is no segment to write to.
    fn make_room(&mut self) -> Result<(), Stop> {
        match self.give_back() {
            // No room for its mark either: the segment that is ordered now brings it.
            Err(Stop::NoSegment) => {}
            given => given?,
        }
        self.order_segment();
        Ok(())
    }

    /// Swaps buffers with the front.
    fn take_batch(&mut self) {
        let mut front = self.shared.front.lock();
        if front.is_empty() {
            // Tickets for no changes are written as soon as all before them are.
            self.batch.last = front.last;
            self.wants_sync |= std::mem::take(&mut front.wants_sync);
            if self.written < front.last {
                self.written = front.last;
                drop(front);
                self.publish(None);
            }
            return;
        }
        self.batch.bytes.clear();
        self.batch.bytes.resize(MARK, 0);
        std::mem::swap(&mut self.batch.bytes, &mut front.pending);
        self.batch.done = 0;
        self.batch.last = front.last;
        self.wants_sync |= std::mem::take(&mut front.wants_sync);
    }

    /// Says how far the log is.
    pub(super) fn publish(&self, synced: Option<Ticket>) {
        let mut front = self.shared.front.lock();
        front.progress.written = self.written;
        if let Some(synced) = synced {
            front.progress.synced = synced;
        }
        let progress = front.progress.clone();
        drop(front);
        self.shared.tell(&progress);
        self.shared.serve_waiting();
    }

    fn fail(&mut self, error: JournalError) {
        tracing::error!(journal = %self.shared.name, %error, "the log takes nothing more");
        let mut front = self.shared.front.lock();
        front.progress.failed = Some(error);
        front.pending = Vec::new();
        let progress = front.progress.clone();
        drop(front);
        self.batch = Batch::default();
        self.copying = None;
        self.shared.tell(&progress);
        self.shared.serve_waiting();
    }

    fn sync_is_due(&self) -> bool {
        let waits = match self.shared.options.sync_every {
            None if self.wants_sync => return true,
            None => WRITTEN_SYNC,
            Some(every) => every,
        };
        match self.unsynced_since {
            // Nothing was written since, so what somebody waits for is synced.
            None => self.wants_sync,
            Some(since) => self.shared.clock.has_passed(since + waits),
        }
    }

    /// What to do next, when there is nothing to do at once.
    fn rest(&mut self) -> Rest {
        let front = self.shared.front.lock();
        let failed = front.progress.failed.is_some();
        let closing = front.closing;
        let behind = front.last > self.written;
        drop(front);
        let stuck = !self.batch.is_done();
        if closing && failed {
            return Rest::Ended;
        }
        if closing && !(stuck && self.ordered) {
            if stuck {
                // Nobody was told that these are written.
                let text = "closed while there was no room to write";
                self.fail(self.shared.refuse(JournalErrorKind::Full, text));
            } else if behind {
                // Appended between the last look and the closing.
                return Rest::Not;
            } else if let Err(Stop::Failed(error)) = self.finish() {
                self.fail(error);
            }
            return Rest::Ended;
        }
        if failed {
            return Rest::UntilWoken;
        }
        let now = self.shared.clock.now();
        let span = self.shared.options.sync_every.unwrap_or(WRITTEN_SYNC);
        let sync_at = self.unsynced_since.map(|since| since + span);
        let times = [sync_at, self.retry_at];
        match times.into_iter().flatten().min() {
            Some(due) => Rest::For(due.since(now)),
            None if self.is_marked() => Rest::UntilWoken,
            // So that damage in what was synced last is told from a torn end by the next opening.
            None => match self.write_mark(false) {
                Ok(()) => Rest::UntilWoken,
                Err(Stop::Failed(error)) => {
                    self.fail(error);
                    Rest::UntilWoken
                }
                Err(Stop::NoSegment) => Rest::UntilWoken,
            },
        }
    }

    /// The last words of a log: all is synced, and says so.
    fn finish(&mut self) -> Result<(), Stop> {
        if self.unsynced_since.is_some() || self.wants_sync {
            self.sync()?;
        }
        if !self.is_marked() {
            match self.write_mark(true) {
                // A mark less; what it would have said is so without it.
                Err(Stop::NoSegment) => {}
                written => {
                    written?;
                    self.sync_file()?;
                }
            }
        }
        Ok(())
    }

    /// Whether a mark says that all there is was synced.
    fn is_marked(&self) -> bool {
        self.unsynced_since.is_some() || self.marked.synced >= self.data_end
    }

    pub(super) fn sync(&mut self) -> Result<(), Stop> {
        self.sync_file()?;
        self.wants_sync = false;
        self.publish(Some(self.written));
        Ok(())
    }

    pub(super) fn sync_file(&mut self) -> Result<(), Stop> {
        let synced = self.active.file.sync();
        synced.map_err(|error| Stop::Failed(crate::error::sync_error(&self.path(), &error)))?;
        self.shared.syncs.fetch_add(1, Ordering::Relaxed);
        self.synced = (self.active.number, self.active.at);
        self.unsynced_since = None;
        Ok(())
    }

    pub(super) fn retry_later(&mut self) {
        self.retry_at = Some(self.shared.clock.now() + FULL_RETRY);
    }

    pub(super) fn path(&self) -> std::path::PathBuf {
        crate::recover::segment_path(&self.shared.dir, self.active.number)
    }
}
