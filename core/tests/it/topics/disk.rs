//! A disk in memory with journals on it, which can be slow, full, broken, and crash.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use callboard::journal::{
    Change, Durability, Journal, JournalError, JournalErrorKind, JournalState, Journals,
    OnProgress, OnRead, OpenedJournal, Progress, RecordId, Recovered, Ticket,
};
use callboard::{Rest, System, Worker};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;

/// Journals by name, over the ends of topics.
#[derive(Clone)]
pub(crate) struct Disk {
    system: System,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    journals: BTreeMap<String, Arc<Memory>>,
    /// Nothing is written or synced.
    held: bool,
    /// How many appends may wait.
    room: Option<usize>,
    syncs: u64,
}

impl Disk {
    pub(crate) fn new(system: &System) -> Self {
        Disk {
            system: system.clone(),
            shared: Arc::default(),
        }
    }

    fn each(&self) -> Vec<Arc<Memory>> {
        self.shared.lock().journals.values().cloned().collect()
    }

    /// Writes and syncs nothing while held.
    pub(crate) fn hold(&self, held: bool) {
        self.shared.lock().held = held;
        self.each().iter().for_each(|journal| journal.wake());
    }

    /// Takes no more appends than that before they are synced.
    pub(crate) fn room(&self, appends: usize) {
        self.shared.lock().room = Some(appends);
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.shared.lock().syncs
    }

    /// Completes when all that was appended is written.
    pub(crate) async fn written(&self) {
        while self.each().iter().any(|journal| !journal.is_idle()) {
            self.system.clock().sleep(Duration::from_micros(50)).await;
        }
    }

    /// Breaks all journals.
    pub(crate) fn fail(&self) {
        let error = JournalError::new(JournalErrorKind::SyncFailed, "the disk is broken");
        for journal in self.each() {
            journal.inner.lock().progress.failed = Some(error.clone());
            journal.tell();
        }
    }

    /// Damages the body of a record.
    pub(crate) fn damage(&self, id: RecordId) {
        for journal in self.each() {
            journal.inner.lock().damaged.push(id);
        }
    }

    pub(crate) fn records(&self, name: &str) -> usize {
        let journal = self.shared.lock().journals.get(name).cloned();
        journal.map_or(0, |journal| journal.inner.lock().all().len())
    }

    /// The process dies. What was not written is lost; with the power, what was not synced: then `keep` says how much
    /// of the `n` appends that nobody is sure of is there all the same.
    pub(crate) fn crash(&self, power: bool, keep: impl Fn(usize) -> usize) {
        for journal in self.each() {
            let mut inner = journal.inner.lock();
            let sure = if power {
                inner.progress.synced
            } else {
                inner.progress.written
            };
            let sure = inner.log.partition_point(|(ticket, _)| *ticket <= sure);
            let unsure = inner.log.len() - sure;
            inner.log.truncate(sure + keep(unsure));
            inner.dead = true;
        }
    }
}

/// A record: its head, its body and its note.
type Record = (Vec<u8>, Vec<u8>, Option<Vec<u8>>);

enum Logged {
    Put(RecordId, Vec<u8>, Vec<u8>),
    Note(RecordId, Vec<u8>),
    Drop(RecordId),
}

struct Memory {
    /// Which holds this.
    disk: Weak<Mutex<Shared>>,
    inner: Mutex<Inner>,
    worker: Mutex<Option<Worker>>,
}

#[derive(Default)]
struct Inner {
    log: Vec<(Ticket, Vec<Logged>)>,
    last: Ticket,
    wants_sync: bool,
    progress: Progress,
    observer: Option<Weak<dyn OnProgress>>,
    damaged: Vec<RecordId>,
    /// Its process has died: nothing more comes of it.
    dead: bool,
    open: bool,
}

impl Inner {
    fn all(&self) -> BTreeMap<RecordId, Record> {
        let mut records: BTreeMap<RecordId, Record> = BTreeMap::new();
        for change in self.log.iter().flat_map(|(_, changes)| changes) {
            match change {
                Logged::Put(id, head, body) => {
                    records.insert(*id, (head.clone(), body.clone(), None));
                }
                Logged::Note(id, note) => {
                    if let Some(record) = records.get_mut(id) {
                        record.2 = Some(note.clone());
                    }
                }
                Logged::Drop(id) => {
                    records.remove(id);
                }
            }
        }
        records
    }
}

impl Memory {
    fn wake(&self) {
        if let Some(worker) = &*self.worker.lock() {
            worker.wake();
        }
    }

    fn is_idle(&self) -> bool {
        let inner = self.inner.lock();
        inner.progress.written == inner.last
    }

    fn tell(&self) {
        let inner = self.inner.lock();
        let (observer, progress) = (inner.observer.clone(), inner.progress.clone());
        drop(inner);
        if let Some(observer) = observer.and_then(|observer| observer.upgrade()) {
            observer.progressed(&progress);
        }
    }

    /// One step: writes all there is, and syncs if anybody wants that.
    fn step(&self) -> Rest {
        let Some(disk) = self.disk.upgrade() else {
            return Rest::Ended;
        };
        if disk.lock().held {
            return Rest::UntilWoken;
        }
        let mut inner = self.inner.lock();
        if inner.dead || inner.progress.failed.is_some() {
            return Rest::Ended;
        }
        if inner.progress.written == inner.last {
            return Rest::UntilWoken;
        }
        inner.progress.written = inner.last;
        if std::mem::take(&mut inner.wants_sync) {
            inner.progress.synced = inner.last;
            disk.lock().syncs += 1;
        }
        drop(inner);
        self.tell();
        Rest::Not
    }
}

impl Journal for Memory {
    fn append(
        &self,
        changes: &[Change<'_>],
        durability: Durability,
    ) -> Result<Ticket, JournalError> {
        let room = self.disk.upgrade().and_then(|disk| disk.lock().room);
        let mut inner = self.inner.lock();
        if let Some(error) = &inner.progress.failed {
            return Err(error.clone());
        }
        let waiting = inner.last.0 - inner.progress.written.0;
        if room.is_some_and(|room| waiting >= room as u64) {
            return Err(JournalError::new(JournalErrorKind::Busy, "busy"));
        }
        let ticket = Ticket(inner.last.0 + 1);
        inner.last = ticket;
        inner.wants_sync |= durability == Durability::Synced;
        let changes = changes.iter().map(|change| match change {
            Change::Put { id, head, body } => Logged::Put(*id, head.to_vec(), body.to_vec()),
            Change::Note { id, note } => Logged::Note(*id, note.to_vec()),
            Change::Drop { id } => Logged::Drop(*id),
        });
        let changes = changes.collect();
        if !inner.dead {
            inner.log.push((ticket, changes));
        }
        drop(inner);
        self.wake();
        Ok(ticket)
    }

    fn read(&self, ids: &[RecordId], done: OnRead) {
        let inner = self.inner.lock();
        let all = inner.all();
        let read = ids.iter().map(|id| match all.get(id) {
            Some(_) if inner.damaged.contains(id) => {
                Err(JournalError::new(JournalErrorKind::Damaged, "damaged"))
            }
            Some((_, body, _)) => Ok(body.clone()),
            None => Err(JournalError::new(JournalErrorKind::NotFound, "not found")),
        });
        let read = read.collect();
        drop(inner);
        done(read);
    }

    fn progress(&self) -> Progress {
        self.inner.lock().progress.clone()
    }

    fn observe(&self, observer: Weak<dyn OnProgress>) {
        self.inner.lock().observer = Some(observer);
    }

    fn state(&self) -> JournalState {
        JournalState::default()
    }
}

impl Journals for Disk {
    /// What was there of the one before, which its process has left.
    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<OpenedJournal, JournalError>> {
        async move {
            let before = self.shared.lock().journals.remove(name);
            let mut inner = Inner::default();
            if let Some(before) = before {
                let mut before = before.inner.lock();
                before.dead = true;
                inner.log = std::mem::take(&mut before.log);
                inner.last = before.last;
                inner.progress.written = before.last;
                inner.progress.synced = before.last;
                inner.damaged = before.damaged.clone();
            }
            inner.open = true;
            let records = inner
                .all()
                .into_iter()
                .map(|(id, (head, body, note))| Recovered {
                    id,
                    head,
                    note,
                    body_len: u32::try_from(body.len()).unwrap(),
                });
            let records = records.collect();
            let journal = Arc::new(Memory {
                disk: Arc::downgrade(&self.shared),
                inner: Mutex::new(inner),
                worker: Mutex::new(None),
            });
            let works = Arc::downgrade(&journal);
            let worker = Worker::start(&self.system, "disk", Duration::ZERO, move || {
                works
                    .upgrade()
                    .map_or(Rest::Ended, |journal| journal.step())
            });
            *journal.worker.lock() = Some(worker.unwrap());
            let mut shared = self.shared.lock();
            shared
                .journals
                .insert(name.to_owned(), Arc::clone(&journal));
            Ok(OpenedJournal { journal, records })
        }
        .boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>, JournalError>> {
        let names = self.shared.lock().journals.keys().cloned().collect();
        futures::future::ready(Ok(names)).boxed()
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), JournalError>> {
        self.shared.lock().journals.remove(name);
        futures::future::ready(Ok(())).boxed()
    }
}
