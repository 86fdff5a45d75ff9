//! Without any framework: a task around a channel, started again by one that waits for it; and what a panic costs.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use common::alloc;
use common::size::Size;
use common::threads::{Layout, TokioStage, on_fresh_thread, run_on_tokio};

use super::{CAPACITY, Candidate, Family, System};
use crate::plan::FLOOR;
use crate::roll::{Job, Kit, Roll, Worker};
use crate::workloads::Work;
use crate::workloads::crash::Crashes;

/// A tokio task that panics, a second one that waits for its `JoinHandle` and spawns it again with the same channel.
pub(crate) struct Respawn;

type Jobs = Arc<Mutex<mpsc::Receiver<Job>>>;

async fn work(mut worker: Worker, jobs: Jobs) {
    let mut jobs = jobs.lock().await;
    while let Some(job) = jobs.recv().await {
        worker.handle(job);
    }
}

async fn keep(kit: Kit, jobs: mpsc::Receiver<Job>) {
    let jobs = Arc::new(Mutex::new(jobs));
    loop {
        let worker = Worker::new(kit.clone());
        let ended = tokio::spawn(work(worker, Arc::clone(&jobs))).await;
        if ended.is_ok() {
            return;
        }
    }
}

impl System for Respawn {
    type Stage = TokioStage;
    type Child = mpsc::Sender<Job>;
    type Tree = JoinSet<()>;

    fn name(&self) -> &'static str {
        FLOOR
    }

    fn family(&self) -> Family {
        Family::Floor
    }

    fn takes(&self, work: Work) -> bool {
        !matches!(work, Work::Tell { .. })
    }

    fn run<F, Fut>(&self, layout: Layout, body: F) -> Fut::Output
    where
        F: FnOnce(TokioStage) -> Fut + Send + 'static,
        Fut: Future<Output: Send> + Send + 'static,
    {
        run_on_tokio(layout, body)
    }

    async fn start(
        stage: &TokioStage,
        roll: &Arc<Roll>,
        children: &mut Vec<mpsc::Sender<Job>>,
    ) -> JoinSet<()> {
        let mut keepers = JoinSet::new();
        for kit in roll.kits() {
            let (child, jobs) = mpsc::channel(CAPACITY);
            keepers.spawn_on(keep(kit, jobs), &stage.receivers);
            children.push(child);
        }
        roll.until_live(roll.len()).await;
        keepers
    }

    async fn crash(child: &mpsc::Sender<Job>) {
        child.send(Job::Crash).await.expect("it lives");
        child.send(Job::Next).await.expect("it lives");
    }

    /// A task whose channel has no senders ends.
    async fn stop(mut keepers: JoinSet<()>, children: Vec<mpsc::Sender<Job>>) {
        drop(children);
        while let Some(ended) = keepers.join_next().await {
            ended.expect("it ends");
        }
    }
}

/// A panic that is caught where it is made, and a new worker in place of the old one. No task, no channel.
pub(crate) struct CatchUnwind;

impl Candidate for CatchUnwind {
    fn name(&self) -> &'static str {
        "catch_unwind alone"
    }

    fn family(&self) -> Family {
        Family::Floor
    }

    fn takes(&self, work: Work) -> bool {
        matches!(
            work,
            Work::Crash {
                layout: Layout::OneThread
            }
        )
    }

    fn measure(&self, _: Work, size: Size) -> Vec<f64> {
        let crashes = Crashes::of(size);
        on_fresh_thread(move || {
            let roll = Roll::new(1, crashes.all());
            let kit = roll.kits().next().expect("there is one");
            let mut worker = Worker::new(kit.clone());
            for crash in 1..=crashes.all() {
                crashes.begin(crash);
                let crash = AssertUnwindSafe(|| worker.handle(Job::Crash));
                assert!(catch_unwind(crash).is_err(), "it panics");
                worker = Worker::new(kit.clone());
                worker.handle(Job::Next);
            }
            crashes.figures(&roll, alloc::stop())
        })
    }
}
