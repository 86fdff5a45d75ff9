//! Reading bodies, by the thread for jobs.

use std::collections::HashMap;
use std::sync::Arc;

use callboard_core::journal::{JournalError, JournalErrorKind, OnRead, RecordId, Ticket};

use super::Shared;
use crate::disk::{DiskFile, read_full};
use crate::error::io_error;
use crate::format::{Format, Look, look};
use crate::index::Place;
use crate::recover::segment_path;

/// How much is read at once where records that are asked for may lie side by side.
const AHEAD: usize = 64 << 10;

/// Somebody who asked for bodies.
pub(crate) struct Read {
    ids: Vec<RecordId>,
    done: OnRead,
}

/// Bytes of a segment that were read.
struct Window {
    segment: u64,
    from: u64,
    bytes: Vec<u8>,
}

/// Where a record is, and the file it is in.
#[derive(Clone)]
struct Spot {
    place: Place,
    format: Format,
    file: Arc<dyn DiskFile>,
}

impl Shared {
    /// A read sees all that was appended before it, so it may have to wait until that is written.
    pub(crate) fn read(self: &Arc<Self>, ids: Vec<RecordId>, done: OnRead) {
        let read = Read { ids, done };
        let mut front = self.front.lock();
        let last = front.last;
        if front.progress.written < last && front.progress.failed.is_none() {
            front.waiting.push((last, read));
        } else {
            drop(front);
            self.serve(read);
        }
    }

    /// Serves those who waited for what is written by now; all of them once the log has failed.
    pub(crate) fn serve_waiting(self: &Arc<Self>) {
        let mut front = self.front.lock();
        if front.waiting.is_empty() {
            return;
        }
        let served = match front.progress.failed {
            Some(_) => front.waiting.len(),
            None => {
                let written = front.progress.written;
                front
                    .waiting
                    .partition_point(|(needs, _)| *needs <= written)
            }
        };
        let served: Vec<(Ticket, Read)> = front.waiting.drain(..served).collect();
        drop(front);
        for (_, read) in served {
            self.serve(read);
        }
    }

    fn serve(self: &Arc<Self>, read: Read) {
        let shared = Arc::clone(self);
        self.jobs.submit(move || {
            let bodies = shared.bodies(&read.ids);
            (read.done)(bodies);
        });
    }

    fn spot(&self, id: RecordId) -> Option<Spot> {
        let index = self.index.lock();
        let place = index.get(id)?.put;
        let segment = index.segment(place.segment)?;
        Some(Spot {
            place,
            format: segment.format,
            file: Arc::clone(&segment.file),
        })
    }

    fn bodies(&self, ids: &[RecordId]) -> Vec<Result<Vec<u8>, JournalError>> {
        // All places first: what is read ahead later holds them whole.
        let spots: HashMap<RecordId, Spot> = ids
            .iter()
            .filter_map(|id| Some((*id, self.spot(*id)?)))
            .collect();
        let many = ids.len() > 1;
        let mut window = Window {
            segment: 0,
            from: 0,
            bytes: Vec::new(),
        };
        let bodies = ids.iter().map(|id| {
            let mut spot = spots.get(id).cloned().ok_or_else(|| self.not_found(*id))?;
            loop {
                let body = self.body(*id, &spot, many, &mut window);
                if body.is_ok() {
                    return body;
                }
                // Compaction may have moved it meanwhile, and the file may be gone.
                match self.spot(*id) {
                    None => return Err(self.not_found(*id)),
                    Some(now) if now.place != spot.place => spot = now,
                    Some(_) => return body,
                }
            }
        });
        bodies.collect()
    }

    fn not_found(&self, id: RecordId) -> JournalError {
        let failed = self.front.lock().progress.failed.clone();
        failed.unwrap_or_else(|| {
            let text = format!("there is no record {id}");
            self.refuse(JournalErrorKind::NotFound, &text)
        })
    }

    fn body(
        &self,
        id: RecordId,
        spot: &Spot,
        many: bool,
        window: &mut Window,
    ) -> Result<Vec<u8>, JournalError> {
        let Place {
            segment,
            offset,
            len,
        } = spot.place;
        let (offset, len) = (u64::from(offset), len as usize);
        let inside = window.segment == segment
            && offset >= window.from
            && offset + len as u64 <= window.from + window.bytes.len() as u64;
        if !inside {
            let amount = if many { len.max(AHEAD) } else { len };
            window.segment = segment;
            window.from = offset;
            window.bytes.resize(amount, 0);
            let read = read_full(&*spot.file, &mut window.bytes, offset);
            let path = segment_path(&self.dir, segment);
            let read = read.map_err(|error| {
                window.bytes.clear();
                io_error(format_args!("reading record {id} in"), &path, &error)
            })?;
            window.bytes.truncate(read);
        }
        let from = usize::try_from(offset - window.from).unwrap_or(usize::MAX);
        let bytes = window.bytes.get(from..).unwrap_or(&[]);
        match look(spot.format, segment, bytes.get(..len).unwrap_or(bytes)) {
            Look::Whole(record) if record.id == id => Ok(record.body.to_vec()),
            _ => {
                let path = segment_path(&self.dir, segment);
                let text = format!("record {id} is damaged: {} at {offset}", path.display());
                tracing::error!(journal = %self.name, record = id, segment, offset, "a damaged record");
                Err(JournalError::new(JournalErrorKind::Damaged, text))
            }
        }
    }
}
