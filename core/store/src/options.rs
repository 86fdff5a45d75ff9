//! How a store is opened.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use callboard_core::System;
use callboard_core::journal::{JournalError, JournalErrorKind};

use crate::disk::{Disk, RealDisk};
use crate::format::{MARK, MAX_SEGMENT, RECORD_HEADER, SEGMENT_HEADER};
use crate::store::Store;

/// The size of a segment's file, unless another is set: 8 MiB.
pub const DEFAULT_SEGMENT_BYTES: u64 = 8 << 20;
/// How much may wait in memory to be written, unless another is set: 8 MiB.
pub const DEFAULT_PENDING_BYTES: usize = 8 << 20;
/// How long what only asked to be written may wait for its sync.
pub const WRITTEN_SYNC: Duration = Duration::from_secs(1);
/// The smallest size of a segment.
pub const MIN_SEGMENT_BYTES: u64 = 4 << 10;

/// What stays free at the end of a segment, so that space can be given back when there is no other.
pub(crate) const RESERVE: usize = 8 * MARK;

/// How a store is opened.
///
/// ```
/// use std::time::Duration;
///
/// use callboard_core::journal::{Change, Durability, Journals};
/// use callboard_store::Options;
///
/// # #[derive(Debug)] struct Dir(std::path::PathBuf);
/// # impl Drop for Dir { fn drop(&mut self) { let _ = std::fs::remove_dir_all(&self.0); } }
/// # let dir = Dir(std::env::temp_dir().join(format!("callboard-options-{}", std::process::id())));
/// # let dir = dir.0.clone();
/// let system = callboard_core::System::with_arbiters(1)?;
/// futures::executor::block_on(async {
///     let store = Options::new()
///         .segment_bytes(1 << 20)
///         .sync_every(Duration::from_millis(10))
///         .open(&system, dir)
///         .await?;
///     let opened = store.open("orders").await?;
///     let put = Change::Put { id: 1, head: b"v1", body: b"two coffees" };
///     opened.journal.append(&[put], Durability::Synced)?;
///     store.close().await?;
///     Ok::<(), callboard_core::journal::JournalError>(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Options {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) segment_bytes: u64,
    pub(crate) pending_bytes: usize,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) sync_every: Option<Duration>,
    pub(crate) spin: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            disk: Arc::new(RealDisk),
            segment_bytes: DEFAULT_SEGMENT_BYTES,
            pending_bytes: DEFAULT_PENDING_BYTES,
            max_bytes: None,
            sync_every: None,
            spin: Duration::ZERO,
        }
    }
}

impl Options {
    /// The defaults: the disk of the operating system, a sync as soon as anybody asks for one, no limit on the
    /// bytes on disk.
    pub fn new() -> Self {
        Options::default()
    }

    /// Another disk: one that is simulated, or wraps the real one.
    pub fn on(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = disk;
        self
    }

    /// The size of a segment's file in bytes, from [`MIN_SEGMENT_BYTES`] to 1 GiB. A record must fit into one.
    /// Space is given back a segment at a time.
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// How many bytes of a journal may wait in memory to be written; puts beyond that are refused as
    /// [`Busy`](JournalErrorKind::Busy), while notes and drops, which are small, are taken all the same. As much again is in the hands of the committer.
    pub fn pending_bytes(mut self, bytes: usize) -> Self {
        self.pending_bytes = bytes;
        self
    }

    /// How many bytes of disk a journal may take, at least four segments. Near that, puts are refused as
    /// [`Full`](JournalErrorKind::Full), while notes and drops still have room, so that a full journal can be
    /// emptied.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Relaxed: syncs only this often, however many ask for it. What asked to be synced is *told* to be only when
    /// it is, so it waits longer; who would rather not wait asks for
    /// [`Written`](callboard_core::journal::Durability::Written), and accepts that a loss of power takes what the
    /// last span brought. Redis calls that `everysec`, JetStream `sync_interval`.
    pub fn sync_every(mut self, span: Duration) -> Self {
        self.sync_every = Some(span);
        self
    }

    /// How long a committer looks for more before its thread sleeps; zero at first. A few tens of microseconds
    /// pay where somebody waits for each sync before appending again, and a core is to spare.
    pub fn committer_spin(mut self, span: Duration) -> Self {
        self.spin = span;
        self
    }

    /// Opens the store in a directory, and makes it if there is none.
    ///
    /// # Errors
    /// [`Invalid`](JournalErrorKind::Invalid) if an option is out of its range;
    /// [`InUse`](JournalErrorKind::InUse) if the store is open already, in this process or another; that the
    /// directory can't be made or written to.
    ///
    /// # Cancel safety
    /// Dropping this leaves the store closed.
    pub async fn open(
        self,
        system: &System,
        dir: impl Into<PathBuf>,
    ) -> Result<Store, JournalError> {
        self.check()?;
        Store::start(system, dir.into(), self).await
    }

    fn check(&self) -> Result<(), JournalError> {
        let invalid = |text: String| Err(JournalError::new(JournalErrorKind::Invalid, text));
        let segment = self.segment_bytes;
        if !(MIN_SEGMENT_BYTES..=MAX_SEGMENT).contains(&segment) {
            return invalid(format!(
                "segment_bytes is {segment}, which isn't from {MIN_SEGMENT_BYTES} to {MAX_SEGMENT}"
            ));
        }
        if self.pending_bytes < 2 * RECORD_HEADER {
            let pending = self.pending_bytes;
            return invalid(format!("pending_bytes is {pending}, which holds no record"));
        }
        if let Some(most) = self.max_bytes.filter(|most| *most < 4 * segment) {
            return invalid(format!(
                "max_bytes is {most}, which is less than four segments of {segment}"
            ));
        }
        Ok(())
    }

    /// The longest record, with header and padding.
    pub(crate) fn longest_record(&self) -> usize {
        // Each segment begins with its header and a mark, and keeps room for the marks of removals.
        let room = self.segment_bytes as usize - SEGMENT_HEADER - MARK - RESERVE;
        room.min(self.pending_bytes)
    }
}
