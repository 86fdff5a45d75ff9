//! kameo: `supervise` with its one-for-one strategy, on the supervisor's runtime; no tracing, which is its best case.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kameo::actor::{Actor, ActorRef, Spawn};
use kameo::error::Infallible;
use kameo::mailbox;
use kameo::message::{Context, Message};
use kameo::supervision::SupervisionStrategy;

use common::threads::{Layout, TokioStage, run_on_tokio};

use super::{CAPACITY, Family, System};
use crate::roll::{Job, Kit, Roll, Worker};
use crate::workloads::Work;

pub(crate) struct Kameo;

struct Boss;

impl Actor for Boss {
    type Args = ();
    type Error = Infallible;

    fn supervision_strategy() -> SupervisionStrategy {
        SupervisionStrategy::OneForOne
    }

    async fn on_start((): (), _me: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(Boss)
    }
}

pub(crate) struct Hand(Worker);

impl Actor for Hand {
    type Args = Kit;
    type Error = Infallible;

    async fn on_start(kit: Kit, _me: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(Hand(Worker::new(kit)))
    }
}

impl Message<Job> for Hand {
    type Reply = ();

    async fn handle(&mut self, job: Job, _ctx: &mut Context<Self, ()>) {
        self.0.handle(job);
    }
}

pub(crate) struct Tree(ActorRef<Boss>);

impl System for Kameo {
    type Stage = TokioStage;
    type Child = ActorRef<Hand>;
    type Tree = Tree;

    fn name(&self) -> &'static str {
        "kameo"
    }

    fn family(&self) -> Family {
        Family::Actors
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
        children: &mut Vec<ActorRef<Hand>>,
    ) -> Tree {
        let mut room = std::mem::take(children);
        let all = Arc::clone(roll);
        let there = async move {
            let boss = Boss::spawn_with_mailbox((), mailbox::bounded(CAPACITY));
            for kit in all.kits() {
                let hand = Hand::supervise(&boss, kit)
                    .restart_limit(u32::MAX, Duration::from_secs(1))
                    .spawn_with_mailbox(mailbox::bounded(CAPACITY));
                room.push(hand.await);
            }
            all.until_live(all.len()).await;
            (Tree(boss), room)
        };
        let (tree, room) = stage.receivers.spawn(there).await.expect("they start");
        *children = room;
        tree
    }

    async fn crash(child: &ActorRef<Hand>) {
        child.tell(Job::Crash).send().await.expect("it lives");
        child.tell(Job::Next).send().await.expect("it lives");
    }

    async fn stop(Tree(boss): Tree, children: Vec<ActorRef<Hand>>) {
        boss.stop_gracefully().await.expect("it lives");
        boss.wait_for_shutdown().await;
        drop(children);
    }
}
