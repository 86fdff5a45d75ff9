//! A store: a directory with a log for each journal.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, Weak};

use callboard_core::journal::{JournalError, JournalErrorKind, Journals, OpenedJournal};
use callboard_core::{System, Worker};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{BoxFuture, Shared as SharedFuture};
use parking_lot::Mutex;

use crate::disk::Disk;
use crate::error::io_error;
use crate::format::{Format, SEGMENT_HEADER};
use crate::jobs::Jobs;
use crate::log::committer::{Committer, Start};
use crate::log::{Front, Log, Shared, make_segment};
use crate::names::{escape, unescape};
use crate::options::Options;
use crate::recover::{DAMAGED, Mode, Recovery, recover};
use crate::report::Report;

/// The file whose lock says that a store is open.
pub(crate) const LOCK: &str = ".lock";
/// What the name of a directory begins with that is being removed.
const REMOVED: &str = ".removed-";

/// A directory of journals: each name has a log of its own, with a thread that commits it.
///
/// A handle; clones are handles to the same store. What a journal has taken is written and synced also when the
/// handles are dropped, in the background; [`close`](Store::close) waits for that.
///
/// Two stores must not have one directory at the same time, in one process or two: the second is refused.
///
/// ```
/// use callboard_core::journal::{Change, Durability, Journals};
/// use callboard_store::Store;
///
/// # #[derive(Debug)] struct Dir(std::path::PathBuf);
/// # impl Drop for Dir { fn drop(&mut self) { let _ = std::fs::remove_dir_all(&self.0); } }
/// # let dir = Dir(std::env::temp_dir().join(format!("callboard-store-{}", std::process::id())));
/// # let dir = &dir.0;
/// let system = callboard_core::System::with_arbiters(1)?;
/// futures::executor::block_on(async {
///     let store = Store::open(&system, dir).await?;
///     let orders = store.open_journal("orders").await?.0.journal;
///     let order = Change::Put { id: 7, head: b"coffee/1", body: b"two, to take away" };
///     orders.append(&[order], Durability::Synced)?;
///     store.close().await?;
///
///     let store = Store::open(&system, dir).await?;
///     let opened = store.open("orders").await?;
///     assert_eq!(opened.records[0].id, 7);
///     assert_eq!(opened.records[0].head, b"coffee/1");
///     store.close().await
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    system: System,
    dir: PathBuf,
    options: Options,
    /// Reads, segments in the making, removals.
    jobs: Arc<Jobs>,
    /// Openings, which may take long.
    openings: Jobs,
    lock: Arc<Lock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    closed: bool,
    /// Journals that are being opened or removed.
    busy: HashSet<String>,
    open: HashMap<String, OpenLog>,
}

#[derive(Clone)]
struct OpenLog {
    shared: Weak<Shared>,
    ended: SharedFuture<oneshot::Receiver<()>>,
}

/// The lock on a store's directory, until it is taken out.
pub(crate) struct Lock(Mutex<Option<Box<dyn Any + Send + Sync>>>);

impl Store {
    /// Opens the store in a directory with the default [`Options`], and makes it if there is none.
    ///
    /// # Errors
    /// See [`Options::open`].
    ///
    /// # Cancel safety
    /// Dropping this leaves the store closed.
    pub async fn open(system: &System, dir: impl Into<PathBuf>) -> Result<Store, JournalError> {
        Options::new().open(system, dir).await
    }

    pub(crate) async fn start(
        system: &System,
        dir: PathBuf,
        options: Options,
    ) -> Result<Store, JournalError> {
        let jobs = Arc::new(Jobs::start(system, "callboard-disk")?);
        let openings = Jobs::start(system, "callboard-open")?;
        let disk = Arc::clone(&options.disk);
        let at = dir.clone();
        let lock = openings.run(move || prepare(&*disk, &at)).await?;
        Ok(Store {
            inner: Arc::new(Inner {
                system: system.clone(),
                dir,
                options,
                jobs,
                openings,
                lock: Arc::new(Lock(Mutex::new(Some(lock)))),
                state: Mutex::default(),
            }),
        })
    }

    /// Opens a journal and says what was found: what [`Journals::open`] does, and more.
    ///
    /// Damage is also logged as an event of `tracing`, and counted in
    /// [`JournalState`](callboard_core::journal::JournalState).
    ///
    /// # Errors
    /// [`InUse`](JournalErrorKind::InUse) if it is open; [`Invalid`](JournalErrorKind::Invalid) if the name is
    /// empty or too long; [`Format`](JournalErrorKind::Format) if a segment was written by a later version or
    /// belongs to another journal; [`Closed`](JournalErrorKind::Closed) after [`close`](Store::close); those of
    /// the disk.
    ///
    /// # Cancel safety
    /// Dropping this leaves the journal closed.
    pub async fn open_journal(&self, name: &str) -> Result<(OpenedJournal, Report), JournalError> {
        let inner = &self.inner;
        let busy = self.reserve(name).await?;
        let dir = inner.dir.join(escape(name)?);
        let disk = Arc::clone(&inner.options.disk);
        let size = inner.options.segment_bytes;
        let fresh = inner.system.entropy().next_u64();
        let at = dir.clone();
        let (recovery, start) = inner
            .openings
            .run(move || open_log(&*disk, &at, size, fresh))
            .await?;
        let opened = self.start_log(name, dir, recovery, start)?;
        drop(busy);
        Ok(opened)
    }

    /// Waits until all journals are written, synced and closed, and gives the directory free. Their handles refuse
    /// from then on.
    ///
    /// # Errors
    /// The reason for which a journal failed, if one had failed or does now. The directory is free all the same.
    ///
    /// # Cancel safety
    /// The journals close also if this is dropped; the directory is free when the handles are gone, too.
    pub async fn close(&self) -> Result<(), JournalError> {
        let open: Vec<OpenLog> = {
            let mut state = self.inner.state.lock();
            state.closed = true;
            state.open.drain().map(|(_, log)| log).collect()
        };
        let shared: Vec<Arc<Shared>> = open.iter().filter_map(|log| log.shared.upgrade()).collect();
        shared.iter().for_each(|log| log.close());
        for log in open {
            // An error: its sender is dropped, never used.
            let _ = log.ended.await;
        }
        // What was ordered before.
        let waited = self.inner.jobs.run(|| Ok(())).await;
        self.inner.lock.0.lock().take();
        waited?;
        let failed = shared
            .iter()
            .find_map(|log| log.front.lock().progress.failed.clone());
        failed.map_or(Ok(()), Err)
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// Makes sure that nobody else has or opens the journal.
    async fn reserve(&self, name: &str) -> Result<Busy<'_>, JournalError> {
        let inner = &self.inner;
        escape(name)?;
        let in_use = |text: &str| {
            let text = format!("journal {name:?} is {text}");
            Err(JournalError::new(JournalErrorKind::InUse, text))
        };
        let before = {
            let mut state = inner.state.lock();
            if state.closed {
                let text = "the store is closed";
                return Err(JournalError::new(JournalErrorKind::Closed, text));
            }
            if !state.busy.insert(name.to_owned()) {
                return in_use("being opened or removed");
            }
            state.open.get(name).cloned()
        };
        let busy = Busy {
            state: &inner.state,
            name: name.to_owned(),
        };
        if let Some(before) = before {
            let shared = before.shared.upgrade();
            if shared.is_some_and(|log| !log.front.lock().closing) {
                return in_use("open already");
            }
            // Its owner is gone; it writes what it has.
            let _ = before.ended.await;
            inner.state.lock().open.remove(name);
        }
        // What it ordered.
        inner.jobs.run(|| Ok(())).await?;
        Ok(busy)
    }

    fn start_log(
        &self,
        name: &str,
        dir: PathBuf,
        recovery: Recovery,
        start: Start,
    ) -> Result<(OpenedJournal, Report), JournalError> {
        let inner = &self.inner;
        let (ended_tx, ended_rx) = oneshot::channel();
        let ended = ended_rx.shared();
        let Recovery {
            index,
            records,
            report,
            ..
        } = recovery;
        log_report(name, &report);
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            dir,
            disk: Arc::clone(&inner.options.disk),
            options: inner.options.clone(),
            clock: inner.system.clock().clone(),
            jobs: Arc::clone(&inner.jobs),
            front: Mutex::new(Front::new()),
            index: Mutex::new(index),
            observer: Mutex::new(None),
            committer: OnceLock::new(),
            syncs: AtomicU64::new(0),
            torn_bytes: AtomicU64::new(report.torn.as_ref().map_or(0, |torn| torn.bytes)),
            damaged: AtomicU64::new((report.damaged.len() + report.missing.len()) as u64),
            _lock: Arc::clone(&inner.lock),
        });
        let mut committer = Committer::new(Arc::clone(&shared), start, ended_tx);
        let spin = inner.options.spin;
        let thread = format!("log {name}");
        let worker = Worker::start(&inner.system, &thread, spin, move || committer.step());
        let worker = worker.map_err(|error| {
            let text = format!("journal {name:?}: starting its thread: {error}");
            JournalError::new(JournalErrorKind::Io, text)
        })?;
        // It ends by itself when the owner's end is dropped; the committer holds what this is kept in.
        let _ = shared.committer.set(worker);
        shared.wake();
        let log = OpenLog {
            shared: Arc::downgrade(&shared),
            ended,
        };
        let mut state = inner.state.lock();
        if state.closed {
            shared.close();
            let text = "the store is closed";
            return Err(JournalError::new(JournalErrorKind::Closed, text));
        }
        state.open.insert(name.to_owned(), log);
        drop(state);
        let journal = Arc::new(Log { shared });
        Ok((OpenedJournal { journal, records }, report))
    }
}

impl Journals for Store {
    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<OpenedJournal, JournalError>> {
        async move { Ok(self.open_journal(name).await?.0) }.boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>, JournalError>> {
        let disk = Arc::clone(&self.inner.options.disk);
        let dir = self.inner.dir.clone();
        let listed = self.inner.openings.run(move || {
            let names = disk.list(&dir);
            let names = names.map_err(|error| io_error("reading the directory", &dir, &error))?;
            let mut names: Vec<String> = names.iter().filter_map(|name| unescape(name)).collect();
            names.sort();
            Ok(names)
        });
        listed.boxed()
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), JournalError>> {
        async move {
            let _busy = self.reserve(name).await?;
            let escaped = escape(name)?;
            let disk = Arc::clone(&self.inner.options.disk);
            let dir = self.inner.dir.clone();
            let removed = move || remove_journal(&*disk, &dir, &escaped);
            self.inner.openings.run(removed).await
        }
        .boxed()
    }
}

/// A name that nobody else may open or remove.
struct Busy<'a> {
    state: &'a Mutex<State>,
    name: String,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.state.lock().busy.remove(&self.name);
    }
}

/// Makes the directory, takes its lock, and finishes removals that were cut short.
fn prepare(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn Any + Send + Sync>, JournalError> {
    let made = disk.create_dir(dir).and_then(|()| match dir.parent() {
        Some(above) => disk.sync_dir(above),
        None => Ok(()),
    });
    made.map_err(|error| io_error("making the directory", dir, &error))?;
    let path = dir.join(LOCK);
    let lock = disk.lock(&path);
    let lock = lock.map_err(|error| io_error("locking", &path, &error))?;
    let Some(lock) = lock else {
        let text = format!("the store in {} is open already", dir.display());
        return Err(JournalError::new(JournalErrorKind::InUse, text));
    };
    let names = disk.list(dir);
    let names = names.map_err(|error| io_error("reading the directory", dir, &error))?;
    for name in names.iter().filter(|name| name.starts_with(REMOVED)) {
        remove_all(disk, &dir.join(name))?;
    }
    Ok(lock)
}

/// What the directory holds, and where the log goes on.
fn open_log(
    disk: &dyn Disk,
    dir: &Path,
    size: u64,
    fresh: u64,
) -> Result<(Recovery, Start), JournalError> {
    let made = disk.create_dir(dir).and_then(|()| match dir.parent() {
        Some(above) => disk.sync_dir(above),
        None => Ok(()),
    });
    made.map_err(|error| io_error("making the directory", dir, &error))?;
    let mut recovery = recover(disk, dir, Mode::Mend, fresh)?;
    let identity = recovery.identity.unwrap_or(fresh);
    let last = recovery.index.segments.back().cloned();
    let synced = last
        .as_ref()
        .map_or((0, 0), |last| (last.number, last.used));
    let active = match last {
        // Segments of an older format are not written to.
        Some(last) if last.format == Format::V1 => last,
        last => {
            let number = last.map_or(recovery.highest, |last| last.number) + 1;
            let made = make_segment(disk, dir, number, identity, size)?;
            recovery.index.segments.push_back(made.clone());
            made
        }
    };
    let start = Start {
        number: active.number,
        file: active.file,
        size: active.size,
        at: active.used.max(SEGMENT_HEADER as u64),
        synced,
        identity,
        sequence: recovery.sequence,
        // No mark said so yet: a new log, or one in an older format.
        oldest: match recovery.oldest {
            0 => recovery
                .index
                .segments
                .front()
                .map_or(0, |first| first.number),
            oldest => oldest,
        },
    };
    Ok((recovery, start))
}

fn remove_journal(disk: &dyn Disk, dir: &Path, escaped: &str) -> Result<(), JournalError> {
    let from = dir.join(escaped);
    let to = dir.join(format!("{REMOVED}{escaped}"));
    match disk.list(&from) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error("reading the directory", &from, &error)),
        Ok(_) => {}
    }
    // Renamed first: there is no time at which a part of it is there under its name.
    let renamed = disk.rename(&from, &to).and_then(|()| disk.sync_dir(dir));
    renamed.map_err(|error| io_error("removing", &from, &error))?;
    remove_all(disk, &to)
}

fn remove_all(disk: &dyn Disk, dir: &Path) -> Result<(), JournalError> {
    let failed = |error| io_error("removing", dir, &error);
    for name in disk.list(dir).map_err(failed)? {
        let path = dir.join(&name);
        if name == DAMAGED {
            remove_all(disk, &path)?;
        } else {
            disk.remove(&path).map_err(failed)?;
        }
    }
    disk.remove_dir(dir).map_err(failed)
}

fn log_report(name: &str, report: &Report) {
    if let Some(torn) = &report.torn {
        tracing::warn!(
            journal = name,
            segment = torn.segment,
            offset = torn.offset,
            bytes = torn.bytes,
            records = torn.records,
            "a torn end was cut"
        );
    }
    for damage in &report.damaged {
        tracing::error!(journal = name, %damage, "damage inside a log");
    }
    for segment in &report.missing {
        tracing::error!(journal = name, segment, "a segment is missing");
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("dir", &self.inner.dir)
            .finish_non_exhaustive()
    }
}
