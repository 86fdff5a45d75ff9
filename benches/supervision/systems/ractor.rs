//! ractor: a supervisor that respawns by hand in `handle_supervisor_evt`, as its examples do.
//!
//! A mailbox ends with its actor there, and what is queued with it. So the supervisor sends the job behind a crash, and
//! keeps what a program would have to: which child an id belongs to, and where others find its present reference.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;

use common::threads::{Layout, TokioStage, run_on_tokio};

use super::{Family, System};
use crate::roll::{Job, Kit, Roll, Worker};
use crate::workloads::Work;

pub(crate) struct Ractor;

/// With the feature that the benchmark `remote` needs, ractor no longer takes everything for a message.
#[cfg(feature = "remote")]
impl ractor::Message for Job {}

struct Hand;

impl Actor for Hand {
    type Msg = Job;
    type State = Worker;
    type Arguments = Kit;

    async fn pre_start(&self, _me: ActorRef<Job>, kit: Kit) -> Result<Worker, ActorProcessingErr> {
        Ok(Worker::new(kit))
    }

    async fn handle(
        &self,
        _me: ActorRef<Job>,
        job: Job,
        worker: &mut Worker,
    ) -> Result<(), ActorProcessingErr> {
        worker.handle(job);
        Ok(())
    }
}

/// The present reference to each child.
type Directory = Arc<Vec<Mutex<Option<ActorRef<Job>>>>>;

struct Boss;

struct Hands {
    directory: Directory,
    kits: HashMap<ActorId, Kit>,
}

impl Hands {
    async fn spawn(
        &mut self,
        kit: Kit,
        boss: &ActorRef<()>,
    ) -> Result<ActorRef<Job>, ActorProcessingErr> {
        let (hand, _) = Actor::spawn_linked(None, Hand, kit.clone(), boss.get_cell()).await?;
        let mut entry = self.directory[kit.number()]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *entry = Some(hand.clone());
        drop(entry);
        self.kits.insert(hand.get_id(), kit);
        Ok(hand)
    }
}

impl Actor for Boss {
    type Msg = ();
    type State = Hands;
    type Arguments = (Arc<Roll>, oneshot::Sender<Directory>);

    async fn pre_start(
        &self,
        me: ActorRef<()>,
        (roll, started): Self::Arguments,
    ) -> Result<Hands, ActorProcessingErr> {
        let entries = (0..roll.len()).map(|_| Mutex::new(None));
        let mut hands = Hands {
            directory: Arc::new(entries.collect()),
            kits: HashMap::new(),
        };
        for kit in roll.kits() {
            hands.spawn(kit, &me).await?;
        }
        // Nobody waits only if the run was given up.
        let _ = started.send(Arc::clone(&hands.directory));
        Ok(hands)
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<()>,
        event: SupervisionEvent,
        hands: &mut Hands,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(hand, _) = event
            && let Some(kit) = hands.kits.remove(&hand.get_id())
        {
            hands.spawn(kit, &me).await?.cast(Job::Next)?;
        }
        Ok(())
    }
}

/// One entry of the directory.
pub(crate) struct Child {
    directory: Directory,
    number: usize,
}

pub(crate) struct Tree(ActorRef<()>);

impl System for Ractor {
    type Stage = TokioStage;
    type Child = Child;
    type Tree = Tree;

    fn name(&self) -> &'static str {
        "ractor (by hand)"
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

    async fn start(stage: &TokioStage, roll: &Arc<Roll>, children: &mut Vec<Child>) -> Tree {
        let (tell, started) = oneshot::channel();
        let args = (Arc::clone(roll), tell);
        let boss = Actor::spawn(None, Boss, args);
        let spawned = stage.receivers.spawn(boss).await.expect("it starts");
        let (boss, _) = spawned.expect("it starts");
        let directory = started.await.expect("they start");
        children.extend((0..roll.len()).map(|number| Child {
            directory: Arc::clone(&directory),
            number,
        }));
        Tree(boss)
    }

    async fn crash(child: &Child) {
        let entry = child.directory[child.number].lock();
        let entry = entry.unwrap_or_else(PoisonError::into_inner);
        let hand = entry.as_ref().expect("it has been started");
        hand.cast(Job::Crash).expect("it lives");
    }

    async fn stop(Tree(boss): Tree, children: Vec<Child>) {
        boss.stop_children_and_wait(None, None).await;
        boss.stop_and_wait(None, None).await.expect("it stops");
        drop(children);
    }
}
