//! The actors that live in the platform's own process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use callboard::prelude::*;
use callboard::queue::Queue;
use callboard::{ExitReason, Observable, StartFailure};
use parking_lot::Mutex;
use serde::Serialize;

use crate::index::{Entry, Index};
use crate::ledger::{Charge, Ledger, LedgerError};
use crate::lessons::Library;
use crate::markdown;
use crate::messages::{Enrol, EnrolError, Found, IndexJob, PutEntry, Receipt, Render, Search};

/// What a lesson costs.
const PRICE_CENTS: u32 = 4_900;
/// The payment provider takes its time, so that impatient clients have time to repeat themselves.
const PAYMENT_TAKES: Duration = Duration::from_millis(150);
/// A worker without work looks up this often whether it was asked to stop.
const LOOK_UP: Duration = Duration::from_millis(250);

// ANCHOR: renderer
/// Turns Markdown into HTML. One of a pool.
pub(crate) struct Renderer {
    library: Arc<Library>,
    state: RendererState,
}

impl Renderer {
    pub(crate) fn new(library: &Arc<Library>) -> Self {
        Renderer {
            library: Arc::clone(library),
            state: RendererState::default(),
        }
    }
}

impl Actor for Renderer {}

impl Handler<Render> for Renderer {
    async fn handle(&mut self, Render { slug }: Render, _ctx: &mut Context<Self>) -> String {
        let Some(lesson) = self.library.lesson(&slug) else {
            return String::new();
        };
        self.state.rendered += 1;
        self.state.last = slug;
        markdown::to_html(&lesson.markdown, |image| {
            let known = lesson.images.iter().any(|name| name == image);
            known.then(|| format!("/images/{image}"))
        })
    }
}
// ANCHOR_END: renderer

// ANCHOR: observable
/// What a renderer shows of itself on the system page: counts rather than contents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct RendererState {
    rendered: u64,
    last: String,
}

impl Observable for Renderer {
    type State = RendererState;

    fn observe(&self) -> RendererState {
        self.state.clone()
    }
}
// ANCHOR_END: observable

/// Answers searches, and takes in what the workers prepare.
#[derive(Default)]
pub(crate) struct IndexActor {
    index: Index,
    searches: u64,
}

impl Actor for IndexActor {}

/// What the index shows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct IndexState {
    lessons: usize,
    keywords: usize,
    searches: u64,
}

impl Observable for IndexActor {
    type State = IndexState;

    fn observe(&self) -> IndexState {
        IndexState {
            lessons: self.index.len(),
            keywords: self.index.keywords(),
            searches: self.searches,
        }
    }
}

impl Handler<PutEntry> for IndexActor {
    async fn handle(&mut self, PutEntry(entry): PutEntry, _ctx: &mut Context<Self>) {
        self.index.put(entry);
    }
}

impl Handler<Search> for IndexActor {
    async fn handle(&mut self, Search { query }: Search, _ctx: &mut Context<Self>) -> Found {
        self.searches += 1;
        Found {
            hits: self.index.search(&query),
            known: self.index.len(),
        }
    }
}

// ANCHOR: worker
/// Polls the queue of jobs, one after the other. Any number of workers can share one queue: each job goes
/// to one of them.
pub(crate) struct Worker {
    jobs: Queue<IndexJob>,
    library: Arc<Library>,
    index: Recipient<PutEntry>,
    state: WorkerState,
}

/// What a worker shows of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct WorkerState {
    jobs_done: u64,
    last: String,
}

impl Worker {
    pub(crate) fn new(
        jobs: &Queue<IndexJob>,
        library: &Arc<Library>,
        index: &Recipient<PutEntry>,
    ) -> Self {
        Worker {
            jobs: jobs.clone(),
            library: Arc::clone(library),
            index: index.clone(),
            state: WorkerState::default(),
        }
    }
}

impl Observable for Worker {
    type State = WorkerState;

    fn observe(&self) -> WorkerState {
        self.state.clone()
    }
}

/// To itself: look for the next job.
#[derive(Message)]
struct NextJob;

impl Actor for Worker {
    async fn starting(&mut self, ctx: &mut Context<Self>) -> Result<(), StartFailure> {
        Ok(ctx.me().try_tell(NextJob)?)
    }
}

impl Handler<NextJob> for Worker {
    async fn handle(&mut self, _: NextJob, ctx: &mut Context<Self>) {
        match self.jobs.poll().deadline(LOOK_UP).await {
            Ok(Some(job)) => {
                if let Some(lesson) = self.library.lesson(&job.slug) {
                    // An index that is being restarted gets the lesson with its next view.
                    let _ = self.index.ask(PutEntry(Entry::of(lesson))).await;
                }
                self.state.jobs_done += 1;
                self.state.last = job.slug;
            }
            Ok(None) => {}
            Err(_) => return ctx.stop(),
        }
        // A message to itself, in place of a loop: between two jobs the worker can be stopped.
        let _ = ctx.me().try_tell(NextJob);
    }
}
// ANCHOR_END: worker

// ANCHOR: enrolment
/// Charges learners. It runs one request at a time and writes each charge down; that no request runs
/// twice is the business of the admission in front of it.
pub(crate) struct Enrolment {
    pub(crate) path: PathBuf,
    /// Shared with the threads that write, because writing blocks.
    ledger: Option<Arc<Mutex<Ledger>>>,
    /// The number of the last charge of this incarnation.
    last_receipt: Option<u64>,
}

impl Enrolment {
    pub(crate) fn new(path: PathBuf) -> Self {
        Enrolment {
            path,
            ledger: None,
            last_receipt: None,
        }
    }
}

/// What the desk shows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DeskState {
    is_open: bool,
    last_receipt: Option<u64>,
}

impl Observable for Enrolment {
    type State = DeskState;

    fn observe(&self) -> DeskState {
        DeskState {
            is_open: self.ledger.is_some(),
            last_receipt: self.last_receipt,
        }
    }
}

impl Actor for Enrolment {
    async fn starting(&mut self, _ctx: &mut Context<Self>) -> Result<(), StartFailure> {
        let path = self.path.clone();
        let ledger = off_the_arbiter(move || Ledger::open(&path)).await;
        // With its class, which a question mark alone would leave behind.
        let ledger = ledger.map_err(StartFailure::new)?;
        self.ledger = Some(Arc::new(Mutex::new(ledger)));
        Ok(())
    }

    async fn stopped(&mut self, _reason: &ExitReason) {
        self.ledger = None;
    }
}

impl Handler<Enrol> for Enrolment {
    async fn handle(
        &mut self,
        Enrol { lesson, learner }: Enrol,
        ctx: &mut Context<Self>,
    ) -> Result<Receipt, EnrolError> {
        let key = ctx.key().ok_or(EnrolError::NoKey)?;
        ctx.sleep(PAYMENT_TAKES).await;
        let charge = Charge {
            key,
            lesson: lesson.clone(),
            learner: learner.clone(),
            cents: PRICE_CENTS,
        };
        let ledger = self.ledger.clone();
        let written = off_the_arbiter(move || match ledger {
            Some(ledger) => ledger.lock().append(&charge),
            None => Err(LedgerError::Closed),
        });
        let number = written
            .await
            .map_err(|error| EnrolError::Ledger(error.to_string()))?;
        self.last_receipt = Some(number);
        Ok(Receipt {
            number,
            lesson,
            learner,
            cents: PRICE_CENTS,
        })
    }
}
// ANCHOR_END: enrolment

/// Runs what blocks on a thread of its own, because nothing may block an arbiter.
async fn off_the_arbiter<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LedgerError> + Send + 'static,
) -> Result<T, LedgerError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(LedgerError::Closed))
}
