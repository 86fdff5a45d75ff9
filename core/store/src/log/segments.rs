//! Segments in the making: made in advance and by another thread, so that a commit doesn't wait for it.

use std::path::Path;
use std::sync::Arc;

use callboard_core::journal::JournalError;

use super::Shared;
use crate::disk::{Disk, DiskFile, write_all, write_zeros};
use crate::error::io_error;
use crate::format::{Format, SEGMENT_HEADER, segment_header};
use crate::index::Segment;
use crate::recover::segment_path;

/// A segment that was made, or why there is none.
pub(crate) type Made = Result<Segment, JournalError>;

/// Makes a segment: its header and zeros to its end, synced, and its name synced in its directory. So a segment
/// without a header is a damaged one, and writing to it needs no more room on the disk.
pub(crate) fn make(
    disk: &dyn Disk,
    dir: &Path,
    number: u64,
    identity: u64,
    size: u64,
) -> Result<Segment, JournalError> {
    let path = segment_path(dir, number);
    let made = disk.create(&path).and_then(|file| {
        write_zeros(&*file, 0, size)?;
        write_all(&*file, &segment_header(number, identity), 0)?;
        file.sync()?;
        disk.sync_dir(dir)?;
        Ok(file)
    });
    match made {
        Ok(file) => Ok(segment(number, file, size)),
        Err(error) => {
            // Half a segment helps nobody, and on a full disk its bytes are needed. If that fails, too, the next
            // opening removes it.
            if error.kind() != std::io::ErrorKind::AlreadyExists {
                let _ = disk.remove(&path);
            }
            Err(io_error("making the segment", &path, &error))
        }
    }
}

fn segment(number: u64, file: Arc<dyn DiskFile>, size: u64) -> Segment {
    Segment {
        number,
        format: Format::V1,
        file,
        size,
        used: SEGMENT_HEADER as u64,
        live: 0,
    }
}

impl Shared {
    /// Has the segment of that number made. The committer is woken when it is, or can't be.
    pub(crate) fn order_segment(self: &Arc<Self>, number: u64, identity: u64) {
        let shared = Arc::clone(self);
        self.jobs.submit(move || {
            let size = shared.options.segment_bytes;
            let made = make(&*shared.disk, &shared.dir, number, identity, size);
            shared.front.lock().made = Some(made);
            shared.wake();
        });
    }

    /// Has the file of a segment removed. That it stays for a while, or after a loss of power, does no harm: the
    /// marks say that it doesn't count.
    pub(crate) fn order_removal(self: &Arc<Self>, number: u64) {
        let shared = Arc::clone(self);
        self.jobs.submit(move || {
            let path = segment_path(&shared.dir, number);
            if let Err(error) = shared.disk.remove(&path) {
                tracing::warn!(journal = %shared.name, path = %path.display(), %error, "not removed");
            }
        });
    }
}
