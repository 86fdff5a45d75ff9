//! The actors that live in the platform's own process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use callboard::prelude::*;
use callboard::queue::Queue;
use callboard::{ExitReason, StartFailure};
use parking_lot::Mutex;

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
/// Turns Markdown into HTML.
pub(crate) struct Renderer {
    pub(crate) library: Arc<Library>,
}

impl Actor for Renderer {}

impl Handler<Render> for Renderer {
    async fn handle(&mut self, Render { slug }: Render, _ctx: &mut Context<Self>) -> String {
        let Some(lesson) = self.library.lesson(&slug) else {
            return String::new();
        };
        markdown::to_html(&lesson.markdown, |image| {
            let known = lesson.images.iter().any(|name| name == image);
            known.then(|| format!("/images/{image}"))
        })
    }
}
// ANCHOR_END: renderer

/// Answers searches, and takes in what the workers prepare.
#[derive(Default)]
pub(crate) struct IndexActor {
    index: Index,
}

impl Actor for IndexActor {}

impl Handler<PutEntry> for IndexActor {
    async fn handle(&mut self, PutEntry(entry): PutEntry, _ctx: &mut Context<Self>) {
        self.index.put(entry);
    }
}

impl Handler<Search> for IndexActor {
    async fn handle(&mut self, Search { query }: Search, _ctx: &mut Context<Self>) -> Found {
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
    pub(crate) jobs: Queue<IndexJob>,
    pub(crate) library: Arc<Library>,
    pub(crate) index: Recipient<PutEntry>,
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
}

impl Enrolment {
    pub(crate) fn new(path: PathBuf) -> Self {
        Enrolment { path, ledger: None }
    }
}

impl Actor for Enrolment {
    async fn starting(&mut self, _ctx: &mut Context<Self>) -> Result<(), StartFailure> {
        let path = self.path.clone();
        let ledger = off_the_arbiter(move || Ledger::open(&path)).await?;
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
