//! Giving space back, the oldest segment first.
//!
//! **Why a drop may go with its segment.** Segments go oldest first only, so what is on disk is always the end of
//! the log: from some segment on, everything. A drop stands behind each put of its record. When the segment of the
//! drop goes, all before it have gone, and with them every one of those puts; there is nothing left that could come
//! back. Copies don't break that: only live records are copied, so a copy of a dropped record is never written
//! behind its drop. And files vanish in any order when power is lost, but a mark with the new oldest segment is on
//! disk before the first of them is removed, and recovery ignores what is older.
//!
//! **Why nothing live is lost.** A segment goes when nothing in it is live. What replaced, dropped or copied its
//! records stands behind it and is synced, by the sync of the mark, before its file is removed. A loss of power in
//! between leaves a record twice; the later one counts, as in any log.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use callboard_core::journal::JournalErrorKind;

use super::committer::{Batch, Committer, Stop};
use crate::disk::read_full;
use crate::error::io_error;
use crate::format::{Format, Kind, Look, MARK, Record, encode_copy, look};
use crate::index::{Place, Segment};
use crate::recover::{segment_path, set_aside};
use crate::scan::next_header;

/// Segments that are left alone, however little of them lives: the log is no smaller than that.
const LEFT_ALONE: u64 = 4;
/// How much is read at once.
const WINDOW: usize = 256 << 10;
/// How much is copied at once, so that appends don't wait for long.
const PORTION: usize = 128 << 10;

/// The oldest segment, whose live records are being copied.
pub(super) struct Copying {
    segment: Segment,
    at: u64,
    /// Whether a window that ends with the segment was looked at in vain.
    whole: bool,
}

/// How far a portion went.
enum Copied {
    /// To the end of the segment.
    All,
    Some,
    /// Nowhere: there is no segment to copy to yet.
    NoRoom,
}

impl Committer {
    /// Gives back what can be, and copies a portion: more of it after a large commit, so that space comes back as
    /// quickly as it is used. Answers whether there is more to do.
    pub(super) fn compact(&mut self) -> Result<bool, Stop> {
        let committed = std::mem::take(&mut self.committed);
        let mut budget = u64::max(WINDOW as u64, 2 * committed);
        loop {
            match self.give_back() {
                // Later, then: a new segment brings room for the mark.
                Err(Stop::NoSegment) => return Ok(false),
                given => given?,
            }
            if self.copying.is_none() {
                self.copying = self.worth_copying();
            }
            let Some(mut copying) = self.copying.take() else {
                return Ok(false);
            };
            let from = copying.at;
            let copied = self.copy_portion(&mut copying)?;
            budget = budget.saturating_sub(copying.at - from + 1);
            match copied {
                Copied::All => self.settle_rest(&copying.segment)?,
                Copied::Some => self.copying = Some(copying),
                Copied::NoRoom => {
                    self.needs_segment = true;
                    self.copying = Some(copying);
                    return Ok(false);
                }
            }
            if budget == 0 {
                return Ok(true);
            }
        }
    }

    /// Removes the segments at the front in which nothing lives.
    pub(super) fn give_back(&mut self) -> Result<(), Stop> {
        let index = self.shared.index.lock();
        let dead = index
            .segments
            .iter()
            .take_while(|segment| segment.live == 0 && segment.number < self.active.number)
            .count();
        let Some(first_kept) = index.segments.get(dead).map(|segment| segment.number) else {
            return Ok(());
        };
        drop(index);
        if dead == 0 {
            return Ok(());
        }
        let oldest = std::mem::replace(&mut self.oldest, first_kept);
        if let Err(stop) = self.write_mark(true) {
            self.oldest = oldest;
            return Err(stop);
        }
        self.sync_file()?;
        self.publish(Some(self.written));
        let dead: Vec<u64> = {
            let mut index = self.shared.index.lock();
            index
                .segments
                .drain(..dead)
                .map(|segment| segment.number)
                .collect()
        };
        for number in dead {
            self.shared.order_removal(number);
        }
        // There is room that there was not.
        self.retry_at = None;
        self.update_full();
        Ok(())
    }

    /// The oldest segment, if what lives is small beside what is on disk: then each byte that is copied gives at
    /// least one other back.
    fn worth_copying(&self) -> Option<Copying> {
        let is_full = self.shared.front.lock().full.is_some();
        let index = self.shared.index.lock();
        let oldest = index.segments.front()?;
        if oldest.number >= self.active.number {
            return None;
        }
        let sealed = index.segments.iter().rev().skip(1);
        let used: u64 = sealed.map(|segment| segment.used).sum();
        let segment = self.shared.options.segment_bytes;
        let spread_thin = index.size() > LEFT_ALONE * segment && index.live() < used / 2;
        let pressed = is_full && used.saturating_sub(index.live()) > segment;
        (spread_thin || pressed).then(|| Copying {
            at: oldest.format.first_record() as u64,
            segment: oldest.clone(),
            whole: false,
        })
    }

    /// Copies the next live records to the end of the log.
    fn copy_portion(&mut self, copying: &mut Copying) -> Result<Copied, Stop> {
        let Segment {
            number,
            format,
            used,
            ..
        } = copying.segment;
        let left = usize::try_from(used.saturating_sub(copying.at)).unwrap_or(0);
        let mut window = vec![
            0;
            if copying.whole {
                left
            } else {
                left.min(WINDOW)
            }
        ];
        let read = read_full(&*copying.segment.file, &mut window, copying.at);
        let path = segment_path(&self.shared.dir, number);
        let read = read.map_err(|error| Stop::Failed(io_error("reading", &path, &error)))?;
        window.truncate(read);

        let mut copies = std::mem::take(&mut self.scratch);
        copies.clear();
        copies.resize(MARK, 0);
        // A part of a segment, or one record however long it is: it fits into a fresh one in any case.
        let part = usize::try_from(self.active.size / 8).unwrap_or(PORTION);
        let most = PORTION.min(part);
        let mut at = 0;
        while at < window.len() && copies.len() - MARK < most {
            match look(format, number, &window[at..]) {
                Look::Whole(record) => {
                    let offset = copying.at + at as u64;
                    let before = copies.len();
                    self.copy(number, offset, &record, &mut copies)?;
                    if copies.len() - MARK > most && before > MARK {
                        // Too much for one portion; it begins the next.
                        copies.truncate(before);
                        break;
                    }
                    at += record.len;
                }
                Look::Broken { len, .. } => at += len,
                Look::Nothing if at > 0 => break,
                // Longer than the window, or no record.
                Look::Nothing if window.len() < left => {
                    copying.whole = true;
                    self.scratch = copies;
                    return Ok(Copied::Some);
                }
                Look::Nothing => match next_header(&window, format, number, at) {
                    Some(next) => at = next,
                    None => at = window.len(),
                },
            }
        }
        let mut batch = Batch {
            bytes: copies,
            ..Batch::default()
        };
        let len = batch.bytes.len() - MARK;
        if len > 0 && !self.has_room(len + MARK) {
            self.scratch = batch.bytes;
            return Ok(Copied::NoRoom);
        }
        let written = match len {
            0 => Ok(()),
            _ => self.write(&mut batch),
        };
        self.scratch = batch.bytes;
        written?;
        copying.whole = false;
        copying.at += at as u64;
        Ok(if copying.at < used {
            Copied::Some
        } else {
            Copied::All
        })
    }

    /// Appends a copy of a record with its note, if this is where the live record stands.
    fn copy(
        &self,
        segment: u64,
        offset: u64,
        record: &Record<'_>,
        copies: &mut Vec<u8>,
    ) -> Result<(), Stop> {
        if !matches!(record.kind, Kind::Put | Kind::PutWithNote) {
            return Ok(());
        }
        let entry = self.shared.index.lock().get(record.id);
        let Some(entry) = entry
            .filter(|entry| entry.put.segment == segment && u64::from(entry.put.offset) == offset)
        else {
            return Ok(());
        };
        match entry.note {
            None => encode_copy(record.id, record.head, record.body, record.note(), copies),
            Some(place) => {
                let bytes = self.load(place)?;
                let format = self.format_of(place);
                let note = match look(format, place.segment, &bytes) {
                    Look::Whole(note) => note.note(),
                    // A note is worth less than its record.
                    _ => {
                        self.count_damage(place.segment, u64::from(place.offset), &bytes)?;
                        None
                    }
                };
                encode_copy(record.id, record.head, record.body, note, copies);
            }
        }
        Ok(())
    }

    fn format_of(&self, place: Place) -> Format {
        let index = self.shared.index.lock();
        let segment = index.segment(place.segment);
        segment.map_or(Format::V1, |segment| segment.format)
    }

    fn load(&self, place: Place) -> Result<Vec<u8>, Stop> {
        let file = {
            let index = self.shared.index.lock();
            index
                .segment(place.segment)
                .map(|segment| Arc::clone(&segment.file))
        };
        let mut bytes = vec![0; place.len as usize];
        if let Some(file) = file {
            let read = read_full(&*file, &mut bytes, u64::from(place.offset));
            let path = segment_path(&self.shared.dir, place.segment);
            read.map_err(|error| Stop::Failed(io_error("reading", &path, &error)))?;
        }
        Ok(bytes)
    }

    /// What lives in a segment that was copied could not be read: it is set aside, counted, and gone.
    fn settle_rest(&mut self, segment: &Segment) -> Result<(), Stop> {
        let left = {
            let index = self.shared.index.lock();
            let live = index.segment(segment.number).map_or(0, |now| now.live);
            if live == 0 {
                return Ok(());
            }
            index.ids_in(segment.number)
        };
        for id in left {
            let entry = self.shared.index.lock().get(id);
            if let Some(entry) = entry {
                let bytes = self.load(entry.put)?;
                let offset = u64::from(entry.put.offset);
                self.count_damage(segment.number, offset, &bytes)?;
                self.shared.index.lock().remove(id);
            }
        }
        Ok(())
    }

    fn count_damage(&self, segment: u64, offset: u64, bytes: &[u8]) -> Result<(), Stop> {
        let shared = &self.shared;
        shared.damaged.fetch_add(1, Ordering::Relaxed);
        let aside = set_aside(&*shared.disk, &shared.dir, segment, offset, bytes);
        match aside {
            Ok(aside) => {
                let aside = aside.display();
                tracing::error!(journal = %shared.name, segment, offset, %aside, "damaged bytes set aside");
                Ok(())
            }
            // What can't be set aside stays where it is, and with it the segment.
            Err(error) if error.kind() == JournalErrorKind::Full => Err(Stop::NoSegment),
            Err(error) => Err(Stop::Failed(error)),
        }
    }
}
