//! Records on their way to disk, and from one segment to the next.

use callboard_core::journal::{JournalError, JournalErrorKind};

use super::committer::{Active, Batch, Committer, Stop};
use crate::disk::write_all;
use crate::error::io_error;
use crate::format::{MARK, Mark, SEGMENT_HEADER, encode_mark, seal, shape};
use crate::index::Place;
use crate::options::RESERVE;

impl Committer {
    pub(super) fn write_batch(&mut self) -> Result<(), Stop> {
        let mut batch = std::mem::take(&mut self.batch);
        let written = self.write(&mut batch);
        self.batch = batch;
        written
    }

    /// Writes what of the batch isn't written yet, each part with one call.
    pub(super) fn write(&mut self, batch: &mut Batch) -> Result<(), Stop> {
        batch.done = batch.done.max(MARK);
        while !batch.is_done() {
            let with_mark = self.active.at == SEGMENT_HEADER as u64 || self.marked != self.mark();
            let first = batch.done;
            let mut len = if with_mark { MARK } else { 0 };
            let room = self.room();
            let mut end = first;
            while end < batch.bytes.len() {
                let record = shape(&batch.bytes[end..]).ok_or_else(bug)?.len;
                if len + record > room {
                    break;
                }
                len += record;
                end += record;
            }
            if end == first {
                self.roll()?;
                continue;
            }
            // What is before the first record is room for a mark, or written already.
            let from = if with_mark { first - MARK } else { first };
            if with_mark {
                encode_mark(self.mark(), &mut batch.bytes[from..first]);
            }
            self.seal_all(&mut batch.bytes[from..end])?;
            self.write_bytes(&batch.bytes[from..end])?;
            self.apply_all(&batch.bytes[from..end]);
            if with_mark {
                self.marked = self.mark();
            }
            self.active.at += len as u64;
            self.committed += len as u64;
            self.data_end = (self.active.number, self.active.at);
            if self.unsynced_since.is_none() {
                self.unsynced_since = Some(self.shared.clock.now());
            }
            batch.done = end;
        }
        Ok(())
    }

    /// What a mark says now.
    fn mark(&self) -> Mark {
        Mark {
            synced: self.synced,
            oldest: self.oldest,
        }
    }

    /// The bytes that records may take in this segment.
    fn room(&self) -> usize {
        let free = self.active.size.saturating_sub(self.active.at);
        usize::try_from(free)
            .unwrap_or(usize::MAX)
            .saturating_sub(RESERVE)
    }

    /// Whether that much can be written now.
    pub(super) fn has_room(&self, len: usize) -> bool {
        self.next.is_some() || len <= self.room()
    }

    fn seal_all(&mut self, mut bytes: &mut [u8]) -> Result<(), Stop> {
        while !bytes.is_empty() {
            let shape = shape(bytes).ok_or_else(bug)?;
            let (record, rest) = bytes.split_at_mut_checked(shape.len).ok_or_else(bug)?;
            self.sequence += 1;
            seal(record, &shape, self.active.number, self.sequence);
            bytes = rest;
        }
        Ok(())
    }

    fn write_bytes(&self, bytes: &[u8]) -> Result<(), Stop> {
        let written = write_all(&*self.active.file, bytes, self.active.at);
        written.map_err(|error| {
            let doing = format!("writing {} bytes at {} of", bytes.len(), self.active.at);
            Stop::Failed(io_error(doing, &self.path(), &error))
        })
    }

    fn apply_all(&self, bytes: &[u8]) {
        let mut index = self.shared.index.lock();
        let mut at = 0;
        while let Some(shape) = bytes.get(at..).and_then(shape) {
            let place = Place {
                segment: self.active.number,
                // Segments are no larger than 1 GiB.
                offset: u32::try_from(self.active.at + at as u64).unwrap_or(u32::MAX),
                len: u32::try_from(shape.len).unwrap_or(u32::MAX),
            };
            index.apply(shape.kind, shape.id, place);
            at += shape.len;
        }
    }

    /// Writes a mark by itself. Not synced; `reserve` says whether it may take of what is kept free.
    pub(super) fn write_mark(&mut self, reserve: bool) -> Result<(), Stop> {
        let spare = if reserve { RESERVE } else { 0 };
        if self.room() + spare < MARK || self.active.at + MARK as u64 > self.active.size {
            return Err(Stop::NoSegment);
        }
        let mark = self.mark();
        let mut bytes = [0; MARK];
        encode_mark(mark, &mut bytes);
        self.seal_all(&mut bytes)?;
        self.write_bytes(&bytes)?;
        self.active.at += MARK as u64;
        self.marked = mark;
        Ok(())
    }

    /// Goes on in the next segment. All of this one is synced before anything is written there: so only the last
    /// segment can have an end that isn't whole.
    fn roll(&mut self) -> Result<(), Stop> {
        if self.next.is_none() {
            self.needs_segment = true;
            return Err(Stop::NoSegment);
        }
        self.sync_file()?;
        self.publish(Some(self.written));
        let Some(next) = self.next.take() else {
            return Err(Stop::NoSegment);
        };
        let mut index = self.shared.index.lock();
        if let Some(segment) = index.segment_mut(self.active.number) {
            segment.used = self.active.at;
        }
        self.active = Active {
            number: next.number,
            file: std::sync::Arc::clone(&next.file),
            size: next.size,
            at: SEGMENT_HEADER as u64,
        };
        index.segments.push_back(next);
        Ok(())
    }

    /// Takes the segment that was ordered, if it has come.
    pub(super) fn take_segment(&mut self) -> Result<(), Stop> {
        let Some(made) = self.shared.front.lock().made.take() else {
            return Ok(());
        };
        self.ordered = false;
        match made {
            Ok(segment) => {
                self.needs_segment = false;
                self.retry_at = None;
                self.next = Some(segment);
                self.update_full();
                Ok(())
            }
            Err(error) if error.kind() == JournalErrorKind::Full => {
                self.refuse_puts(Some(error));
                self.retry_later();
                Ok(())
            }
            Err(error) => Err(Stop::Failed(error)),
        }
    }

    /// Has the next segment made once this one is half full, if there may be another.
    pub(super) fn order_segment(&mut self) {
        let half_full = self.active.at > self.active.size / 2;
        if self.next.is_some() || self.ordered || !(half_full || self.needs_segment) {
            return;
        }
        if let Some(at) = self.retry_at {
            if !self.shared.clock.has_passed(at) {
                return;
            }
            self.retry_at = None;
        }
        if self.over_limit(self.shared.options.segment_bytes) {
            self.update_full();
            self.retry_later();
            return;
        }
        self.ordered = true;
        self.shared
            .order_segment(self.active.number + 1, self.identity);
    }

    /// Whether that many bytes more on disk are too many.
    fn over_limit(&self, more: u64) -> bool {
        let next = self.next.as_ref().map_or(0, |next| next.size);
        let size = self.shared.index.lock().size() + next;
        let most = self.shared.options.max_bytes;
        most.is_some_and(|most| size + more > most)
    }

    /// Puts are refused while there may be no segment behind the next one: that one is for notes, drops and
    /// what compaction copies.
    pub(super) fn update_full(&mut self) {
        let full = self.over_limit(self.shared.options.segment_bytes).then(|| {
            let most = self.shared.options.max_bytes.unwrap_or(0);
            let text = format!("it has as much on disk as it may have, {most} bytes");
            self.shared.refuse(JournalErrorKind::Full, &text)
        });
        self.refuse_puts(full);
    }

    fn refuse_puts(&self, full: Option<JournalError>) {
        let mut front = self.shared.front.lock();
        if front.full.is_some() != full.is_some() {
            let journal = &self.shared.name;
            match &full {
                Some(why) => tracing::warn!(%journal, %why, "puts are refused"),
                None => tracing::info!(%journal, "puts are taken again"),
            }
        }
        front.full = full;
    }
}

/// What the front encoded isn't what the committer reads.
fn bug() -> Stop {
    let text = "bug: a record in the buffer of a log has no shape";
    Stop::Failed(JournalError::new(JournalErrorKind::Io, text))
}
