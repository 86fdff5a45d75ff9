//! Callers with request keys before an actor whose dedup store is on disk, and beside them the smallest append there can
//! be: in turn, because the same disk is fast at one time and slow at another.
//!
//! A call stores two records: that it begins, synced before the handler, and how it ended, synced before the answer. The
//! raw log writes records of the same size, as many a sync as the store had, one `write` and one `fdatasync` each.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use callboard::journal::{Journal, JournalError, Journals, OpenedJournal};
use callboard::{ActorRef, RequestKey, System};
use callboard_store::Store;
use callboard_supervision::Dedup;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use common::folder::Folder;
use common::run::Result;
use common::size::Size;
use common::stopwatch::Stopwatch;

use super::local::answered;
use crate::clerk::{Clerk, FIRST, Next, check_handled, on_system};
use crate::meter::median;

/// How often the two take turns in a run.
const TURNS: usize = 4;

/// Answers thousands of calls a second, calls a sync, thousands of calls a second that the raw log has room for, and
/// the first through the third.
pub(crate) fn measure(callers: usize, size: Size) -> Result<Vec<f64>> {
    let span = Duration::from_millis(size.pick(300, 60));
    let files = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = Folder::new(files)?;
    let (path, raw) = (folder.path().to_owned(), files.join("raw-append"));
    let run = move |system| turns(system, path, raw, callers, span);
    let (figures, calls) = on_system(1, true, run)?;
    let path = folder.path().to_owned();
    let stored = on_system(1, true, move |system| stored(system, path))?;
    if stored != calls {
        return Err(format!("{calls} calls were answered, and {stored} are on disk").into());
    }
    Ok(figures)
}

async fn turns(
    system: System,
    path: PathBuf,
    raw: PathBuf,
    callers: usize,
    span: Duration,
) -> Result<(Vec<f64>, u64)> {
    let opened = Opened::open(&system, path).await?;
    let clerk = system.actor(Clerk::default).admission(opened.dedup.clone());
    let clerk = clerk.placement(FIRST).start();
    let mut raw = Raw::open(&raw)?;
    let mut calls = 0;
    let mut columns = [const { Vec::new() }; 4];
    // The first turn warms up.
    for turn in 0..=TURNS {
        let syncs_before = opened.journals.syncs();
        let (count, elapsed) = all_call(&system, &clerk, callers, span).await?;
        let syncs = opened.journals.syncs() - syncs_before;
        calls += count;
        let rate = thousands(count, elapsed);
        let a_sync = ratio(count, syncs);
        let bytes = opened.journals.bytes_a_record();
        let (mut other, beside) = (raw, span / 2);
        // Not on the arbiter: it blocks.
        let (done, ended) = oneshot::channel();
        thread::spawn(move || {
            let rate = other.rate(2.0 * a_sync, bytes, beside);
            // Nobody waits only if the run was given up.
            let _ = done.send((other, rate));
        });
        let limit;
        (raw, limit) = ended.await?;
        let limit = limit? / 2.0;
        if turn > 0 {
            let figures = [rate, a_sync, limit, rate / limit];
            columns
                .iter_mut()
                .zip(figures)
                .for_each(|(all, one)| all.push(one));
        }
    }
    check_handled(&clerk, calls).await?;
    clerk.stop();
    clerk.wait().await;
    opened.close().await?;
    Ok((columns.iter().map(|all| median(all)).collect(), calls))
}

/// How many finished calls a store has when it is opened again.
async fn stored(system: System, path: PathBuf) -> Result<u64> {
    let opened = Opened::open(&system, path).await?;
    let stored = opened.dedup.stats().stored as u64;
    opened.close().await?;
    Ok(stored)
}

struct Opened {
    journals: Arc<Watched>,
    dedup: Dedup<Next>,
}

impl Opened {
    async fn open(system: &System, path: PathBuf) -> Result<Self> {
        let journals = Arc::new(Watched {
            store: Store::open(system, path).await?,
            journal: Mutex::default(),
        });
        let dedup = Dedup::builder(system)
            .max_entries(10_000_000)
            .max_bytes(usize::MAX)
            .target("clerk")
            .durable("calls", Arc::clone(&journals) as _);
        let dedup = dedup.open().await?;
        Ok(Opened { journals, dedup })
    }

    async fn close(self) -> Result<()> {
        self.dedup.close().await?;
        drop(self.journals.journal().take());
        Ok(self.journals.store.close().await?)
    }
}

/// All make calls for that long, each its next one after the answer. How many those were, and how long it took.
async fn all_call(
    system: &System,
    clerk: &ActorRef<Clerk>,
    callers: usize,
    span: Duration,
) -> Result<(u64, Duration)> {
    let begin = Stopwatch::start();
    let mut ends = Vec::new();
    for _ in 0..callers {
        let clerk = clerk.clone();
        let (done, end) = oneshot::channel();
        let task = move || async move {
            let mut count = 0;
            while begin.elapsed() < span {
                answered(clerk.ask(Next(1)).key(RequestKey::new()).await);
                count += 1;
            }
            // Nobody waits only if the run was given up.
            let _ = done.send(count);
        };
        assert!(system.spawn(FIRST, task), "the system runs");
        ends.push(end);
    }
    let mut count = 0_u64;
    for end in ends {
        count += end.await?;
    }
    Ok((count, begin.elapsed()))
}

type Journaled<T> = std::result::Result<T, JournalError>;

/// A store that lets one look into its journal.
struct Watched {
    store: Store,
    journal: Mutex<Option<Arc<dyn Journal>>>,
}

impl Watched {
    fn journal(&self) -> MutexGuard<'_, Option<Arc<dyn Journal>>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn syncs(&self) -> u64 {
        let journal = self.journal();
        journal.as_ref().map_or(0, |journal| journal.state().syncs)
    }

    fn bytes_a_record(&self) -> usize {
        let journal = self.journal();
        let state = journal.as_ref().map(|journal| journal.state());
        let bytes = state.map_or(0, |state| state.live_bytes / state.records.max(1));
        usize::try_from(bytes).expect("records are small")
    }
}

impl Journals for Watched {
    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Journaled<OpenedJournal>> {
        Box::pin(async move {
            let opened = Journals::open(&self.store, name).await?;
            *self.journal() = Some(Arc::clone(&opened.journal));
            Ok(opened)
        })
    }

    fn list(&self) -> BoxFuture<'_, Journaled<Vec<String>>> {
        self.store.list()
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Journaled<()>> {
        self.store.remove(name)
    }
}

/// A file that was filled with zeros once, so that neither its size nor its blocks change.
struct Raw {
    file: File,
    end: u64,
}

/// The bytes of the file; who comes to its end begins anew.
const SIZE: u64 = 16 << 20;

impl Raw {
    fn open(path: &Path) -> Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false);
        let file = file.open(path)?;
        if file.metadata()?.len() < SIZE {
            let zeros = vec![0; 1 << 20];
            for at in (0..SIZE).step_by(zeros.len()) {
                file.write_all_at(&zeros, at)?;
            }
            file.sync_all()?;
        }
        Ok(Raw { file, end: 0 })
    }

    /// Thousands of records a second, so many a sync. Batches have no parts of records: the sizes around that number
    /// take turns.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn rate(&mut self, batch: f64, bytes: usize, span: Duration) -> Result<f64> {
        let begin = Stopwatch::start();
        let mut due = 0.0;
        let mut records = 0_u64;
        while begin.elapsed() < span {
            due += batch.max(1.0);
            let count = due as u64;
            due -= count as f64;
            let buffer = vec![b'.'; count as usize * bytes];
            if self.end + buffer.len() as u64 > SIZE {
                self.end = 0;
            }
            self.file.write_all_at(&buffer, self.end)?;
            self.file.sync_data()?;
            self.end += buffer.len() as u64;
            records += count;
        }
        Ok(thousands(records, begin.elapsed()))
    }
}

#[allow(clippy::cast_precision_loss)]
fn thousands(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64() / 1e3
}

#[allow(clippy::cast_precision_loss)]
fn ratio(one: u64, other: u64) -> f64 {
    one as f64 / other.max(1) as f64
}
