//! The limit: the smallest append there can be. A file that was filled with zeros and synced once, so that
//! neither its size nor its blocks change; one write and one `fdatasync`. No checksum, no index, no recovery.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::run::Result;

use super::Candidate;
use crate::item::{Item, LENGTH};
use crate::workloads::durable::{self, Engine, Gather};
use crate::workloads::{BATCH, Run, Work};

/// Which limit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Raw {
    /// One producer on the thread that syncs; many through a committer that takes what waits.
    Plain,
    /// One producer through a committer's thread: what it costs never to block the producer's.
    Committer,
    /// Many, through a committer that waits a little for those whom it has just answered.
    Gathering,
    /// What was taken is written, not synced: the limit of those whose acknowledgements survive the end of
    /// the process, but not of power.
    Unsynced,
}

/// Long enough for 64 tasks to come back, short against a sync on most disks.
const GATHER: Duration = Duration::from_micros(60);

impl Candidate for Raw {
    fn name(&self) -> &'static str {
        match self {
            Raw::Plain => crate::plan::LIMIT,
            Raw::Committer => "raw append (committer)",
            Raw::Gathering => "raw append (gathering)",
            Raw::Unsynced => "raw append (acks not synced)",
        }
    }

    fn takes(&self, work: Work) -> bool {
        match self {
            Raw::Plain => matches!(work, Work::DurableOffer { .. } | Work::DurableTake),
            Raw::Committer => work == Work::DurableOffer { producers: 1 },
            Raw::Gathering => matches!(work, Work::DurableOffer { producers } if producers > 1),
            Raw::Unsynced => work == Work::DurableTake,
        }
    }

    fn measure(&self, work: Work, run: &Run) -> Result<Vec<f64>> {
        match (work, self) {
            (Work::DurableOffer { producers: 1 }, Raw::Plain) => durable::offer_one::<Append>(run),
            (Work::DurableOffer { producers }, Raw::Gathering) => {
                durable::offer_many::<Append>(producers, Gather::UpTo(GATHER), run)
            }
            (Work::DurableOffer { producers }, _) => {
                durable::offer_many::<Append>(producers, Gather::Nothing, run)
            }
            (Work::DurableTake, Raw::Unsynced) => durable::take::<Append<false>>(run),
            (Work::DurableTake, _) => durable::take::<Append>(run),
            _ => Err("an append doesn't do that".into()),
        }
    }
}

/// The bytes that are filled with zeros once; more than one run writes.
const SIZE: u64 = 96 << 20;
/// Whose record it is, and its number.
const HEAD: usize = 16;
const RECORD: usize = HEAD + LENGTH;
/// A record of what was taken: whose, and up to which number.
const MARK: usize = 16;

/// The file. All runs write to the same one, each from its beginning and under a stamp of its own: filling it
/// with zeros each time would take longer than they do.
struct Append<const SYNC_TAKEN: bool = true> {
    file: File,
    stamp: u64,
    buffer: Vec<u8>,
    /// Where the next record goes.
    end: u64,
    /// How many were put and taken.
    put: u64,
    taken: u64,
}

impl<const SYNC_TAKEN: bool> Engine for Append<SYNC_TAKEN> {
    fn open(folder: &Path) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let parent = folder.parent().ok_or("the folder has no parent")?;
        let path = parent.join("raw-append");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        if file.metadata()?.len() < SIZE {
            let zeros = vec![0; 1 << 20];
            for _ in 0..SIZE / zeros.len() as u64 {
                file.write_all(&zeros)?;
            }
            file.sync_all()?;
        }
        Ok(Append {
            file,
            stamp: NEXT.fetch_add(1, Ordering::Relaxed) << 32 | u64::from(std::process::id()),
            buffer: Vec::new(),
            end: 0,
            put: 0,
            taken: 0,
        })
    }

    fn put(&mut self, items: &[Item]) -> Result<()> {
        self.buffer.clear();
        for item in items {
            self.buffer.extend_from_slice(&self.stamp.to_le_bytes());
            self.buffer.extend_from_slice(&self.put.to_le_bytes());
            self.buffer.extend_from_slice(&item.0);
            self.put += 1;
        }
        self.append(true)
    }

    fn take(&mut self, items: &mut Vec<Item>) -> Result<()> {
        let count = BATCH.min(usize::try_from(self.put - self.taken)?);
        self.buffer.resize(count * RECORD, 0);
        let from = self.taken * RECORD as u64;
        self.file.read_exact_at(&mut self.buffer, from)?;
        for record in self.buffer.chunks_exact(RECORD) {
            items.push(Item::from_bytes(&record[HEAD..]).ok_or("a short record")?);
        }
        self.taken += count as u64;
        self.buffer.clear();
        self.buffer.extend_from_slice(&self.stamp.to_le_bytes());
        self.buffer.extend_from_slice(&self.taken.to_le_bytes());
        self.append(SYNC_TAKEN)
    }

    /// Reads the file, up to the first record that isn't one of this run.
    fn stored(&mut self) -> Result<u64> {
        let mut count = 0_u64;
        let mut record = [0; RECORD];
        let mut at = 0;
        while at < self.put * RECORD as u64 {
            self.file.read_exact_at(&mut record, at)?;
            let expected = [self.stamp.to_le_bytes(), count.to_le_bytes()].concat();
            if record[..HEAD] != expected {
                break;
            }
            count += 1;
            at += RECORD as u64;
        }
        if self.taken > 0 {
            let mut mark = [0; MARK];
            self.file.read_exact_at(&mut mark, self.end - MARK as u64)?;
            let expected = [self.stamp.to_le_bytes(), self.taken.to_le_bytes()].concat();
            if mark[..] != expected {
                return Err("what was taken isn't there".into());
            }
        }
        Ok(count - self.taken)
    }
}

impl<const SYNC_TAKEN: bool> Append<SYNC_TAKEN> {
    fn append(&mut self, sync: bool) -> Result<()> {
        if self.end + self.buffer.len() as u64 > SIZE {
            return Err("the file of the raw append is full".into());
        }
        self.file.write_all_at(&self.buffer, self.end)?;
        if sync {
            self.file.sync_data()?;
        }
        self.end += self.buffer.len() as u64;
        Ok(())
    }
}
