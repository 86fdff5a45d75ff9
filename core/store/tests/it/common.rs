//! What the tests share: a place for a store, an observer to wait on, an owner in short words.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use callboard_core::System;
use callboard_core::journal::{
    Change, Durability, Journal, JournalError, OnProgress, Progress, RecordId, Recovered, Ticket,
};
use callboard_store::{Disk, Options, RealDisk, Report, SimDisk, Store};
use futures::channel::oneshot;
use parking_lot::Mutex;

/// Small segments, so that tests see many of them.
pub const SEGMENT: u64 = 8 << 10;

/// A place for a store, on a disk that suits the executor.
pub struct Home {
    pub disk: Arc<dyn Disk>,
    pub sim: Option<SimDisk>,
    pub dir: PathBuf,
}

impl Home {
    /// In the simulation a simulated disk with its seed; else a directory of its own.
    pub fn new(system: &System) -> Home {
        if system.clock().is_manual() {
            return Home::on(&SimDisk::new(system.entropy().next_u64()));
        }
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("callboard-store-it-{}-{number}", std::process::id());
        Home {
            disk: Arc::new(RealDisk),
            sim: None,
            dir: std::env::temp_dir().join(name),
        }
    }

    pub fn on(disk: &SimDisk) -> Home {
        Home {
            disk: Arc::new(disk.clone()),
            sim: Some(disk.clone()),
            dir: PathBuf::from("/store"),
        }
    }

    pub fn options(&self) -> Options {
        Options::new()
            .on(Arc::clone(&self.disk))
            .segment_bytes(SEGMENT)
    }

    pub async fn store(&self, system: &System) -> Store {
        self.options().open(system, &self.dir).await.unwrap()
    }

    pub fn journal_dir(&self) -> PathBuf {
        self.dir.join("j")
    }

    /// The names of the segments there are.
    pub fn segments(&self) -> Vec<String> {
        let names = self.disk.list(&self.journal_dir()).unwrap();
        names
            .into_iter()
            .filter(|name| name.ends_with(".seg"))
            .collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.sim.is_none() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// Lets tests wait for progress.
#[derive(Default)]
pub struct Watcher {
    state: Mutex<(Progress, Vec<oneshot::Sender<()>>)>,
}

impl OnProgress for Watcher {
    fn progressed(&self, progress: &Progress) {
        let mut state = self.state.lock();
        assert!(progress.written >= state.0.written && progress.synced >= state.0.synced);
        state.0 = progress.clone();
        for waiter in state.1.drain(..) {
            let _ = waiter.send(());
        }
    }
}

impl Watcher {
    pub async fn until(&self, done: impl Fn(&Progress) -> bool) -> Progress {
        loop {
            let (tx, rx) = oneshot::channel();
            {
                let mut state = self.state.lock();
                if done(&state.0) {
                    return state.0.clone();
                }
                state.1.push(tx);
            }
            rx.await.unwrap();
        }
    }

    pub fn last(&self) -> Progress {
        self.state.lock().0.clone()
    }
}

/// A journal called "j", and what was found in it.
pub struct Owner {
    pub journal: Arc<dyn Journal>,
    pub records: Vec<Recovered>,
    pub report: Report,
    pub watcher: Arc<Watcher>,
}

impl Owner {
    pub async fn open(store: &Store) -> Owner {
        Owner::try_open(store).await.unwrap()
    }

    pub async fn try_open(store: &Store) -> Result<Owner, JournalError> {
        let (opened, report) = store.open_journal("j").await?;
        let watcher = Arc::new(Watcher::default());
        let observer = Arc::downgrade(&watcher);
        opened.journal.observe(observer);
        Ok(Owner {
            journal: opened.journal,
            records: opened.records,
            report,
            watcher,
        })
    }

    pub fn put(&self, id: RecordId, body: &[u8]) -> Result<Ticket, JournalError> {
        let head = id.to_le_bytes();
        let put = Change::Put {
            id,
            head: &head,
            body,
        };
        self.journal.append(&[put], Durability::Synced)
    }

    pub fn note(&self, id: RecordId, note: &[u8]) -> Result<Ticket, JournalError> {
        let note = Change::Note { id, note };
        self.journal.append(&[note], Durability::Synced)
    }

    pub fn drop(&self, id: RecordId) -> Result<Ticket, JournalError> {
        self.journal
            .append(&[Change::Drop { id }], Durability::Synced)
    }

    pub async fn synced(&self, ticket: Ticket) {
        let progress = self
            .watcher
            .until(|progress| progress.synced >= ticket || progress.failed.is_some());
        assert_eq!(progress.await.failed, None);
    }

    pub async fn failed(&self) -> JournalError {
        let progress = self.watcher.until(|progress| progress.failed.is_some());
        progress.await.failed.unwrap()
    }

    pub async fn read(&self, ids: &[RecordId]) -> Vec<Result<Vec<u8>, JournalError>> {
        let (tx, rx) = oneshot::channel();
        self.journal.read(
            ids,
            Box::new(move |bodies| {
                let _ = tx.send(bodies);
            }),
        );
        rx.await.unwrap()
    }

    pub fn ids(&self) -> Vec<RecordId> {
        self.records.iter().map(|record| record.id).collect()
    }
}

/// A body that tells which record it is of.
pub fn bytes_of(id: RecordId, len: usize) -> Vec<u8> {
    let first = id.wrapping_mul(31) as usize;
    (0..len).map(|at| first.wrapping_add(at) as u8).collect()
}

pub fn segment(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.seg"))
}
