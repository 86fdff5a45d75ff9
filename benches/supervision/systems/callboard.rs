//! Callboard: all that is on by default stays on, but for the back-off between restarts.

mod tells;

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use callboard::{
    Actor, ActorRef, Context, ExitReason, Handler, Message, Overflow, Place, Placement, Terms,
};
use callboard_supervision::{Backoff, Child, Supervisor, SupervisorBuilder, SupervisorRef};
use futures::future::join_all;

use common::threads::{HUNG_AFTER, Layout, on_fresh_thread};

use super::{CAPACITY, Family, System};
use crate::roll::{Job, Kit, Roll, Worker};
use crate::workloads::Work;

pub(crate) use tells::tells;

/// Under a supervisor, which has a thread of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Supervised {
    /// Children that are there from the start: started in order, stopped in reverse, each after the one before.
    OneForOne,
    /// Children that are added at run time, and are all alike.
    Dynamic,
}

/// Without a supervisor: a child is started again by the code that is told of its end, on its own thread. What restarts
/// cost below the supervisor, and without its thread.
pub(crate) struct ByHand;

impl Message for Job {
    type Reply = ();
}

pub(crate) struct Hand(Worker);

impl Actor for Hand {}

impl Handler<Job> for Hand {
    async fn handle(&mut self, job: Job, _ctx: &mut Context<Self>) {
        self.0.handle(job);
    }
}

/// Drivers run on arbiter 0.
const DRIVER: Placement = Placement::Pinned(0);

pub(crate) struct Stage {
    system: callboard::System,
    /// Where children live.
    children: Placement,
    how: Supervised,
}

impl Stage {
    fn place(&self, kit: Kit) -> (ActorRef<Hand>, Arc<dyn Place>) {
        let spawn = self.system.actor(move || Hand(Worker::new(kit.clone())));
        let spawn = spawn.mailbox(CAPACITY, Overflow::Wait);
        spawn.placement(self.children).place()
    }
}

/// Runs `body` as a task of the first arbiter of a fresh system, and tears all down.
fn on_system<F, Fut>(layout: Layout, how: Supervised, body: F) -> Fut::Output
where
    F: FnOnce(Stage) -> Fut + Send + 'static,
    Fut: Future<Output: Send> + 'static,
{
    on_fresh_thread(move || {
        let (arbiters, children) = match layout {
            Layout::OneThread => (1, DRIVER),
            Layout::TwoThreads => (2, Placement::Pinned(1)),
        };
        let system = callboard::System::with_arbiters(arbiters).expect("arbiters");
        let stage = Stage {
            system: system.clone(),
            children,
            how,
        };
        let (done, wait) = mpsc::sync_channel(1);
        let task = move || async move {
            // Nobody waits only if the run was given up.
            let _ = done.send(body(stage).await);
        };
        assert!(system.spawn(DRIVER, task), "the system runs");
        let output = wait.recv_timeout(HUNG_AFTER).expect("the run ended");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let killed = runtime.block_on(system.shutdown());
        assert!(killed.is_empty(), "actors that would not stop: {killed:?}");
        output
    })
}

/// As many restarts as there are.
fn supervisor() -> SupervisorBuilder {
    Supervisor::builder("supervisor")
        .intensity(usize::MAX, Duration::from_secs(1))
        .backoff(Backoff::none())
}

/// A crash, and a job behind it.
async fn crash(child: &ActorRef<Hand>) {
    child.tell(Job::Crash).await.expect("it lives");
    child.tell(Job::Next).await.expect("it lives");
}

impl System for Supervised {
    type Stage = Stage;
    type Child = ActorRef<Hand>;
    type Tree = SupervisorRef;

    fn name(&self) -> &'static str {
        match self {
            Supervised::OneForOne => "callboard",
            Supervised::Dynamic => "callboard (dynamic)",
        }
    }

    fn family(&self) -> Family {
        Family::Callboard
    }

    fn takes(&self, work: Work) -> bool {
        match self {
            Supervised::OneForOne => true,
            Supervised::Dynamic => matches!(work, Work::Many | Work::Bytes),
        }
    }

    fn run<F, Fut>(&self, layout: Layout, body: F) -> Fut::Output
    where
        F: FnOnce(Stage) -> Fut + Send + 'static,
        Fut: Future<Output: Send> + Send + 'static,
    {
        on_system(layout, *self, body)
    }

    async fn start(
        stage: &Stage,
        roll: &Arc<Roll>,
        children: &mut Vec<ActorRef<Hand>>,
    ) -> SupervisorRef {
        let places = roll.kits().map(|kit| {
            let (child, place) = stage.place(kit);
            children.push(child);
            place
        });
        let system = &stage.system;
        match stage.how {
            Supervised::OneForOne => {
                let builder = supervisor().children(places);
                let tree = builder.start(system).expect("it makes sense");
                tree.up().await.expect("all come up");
                tree
            }
            Supervised::Dynamic => {
                let tree = supervisor()
                    .dynamic()
                    .start(system)
                    .expect("it makes sense");
                tree.up().await.expect("it comes up");
                let adds = places.map(|place| tree.add(Child::permanent(place)));
                for added in join_all(adds).await {
                    added.expect("it comes up");
                }
                tree
            }
        }
    }

    async fn crash(child: &ActorRef<Hand>) {
        crash(child).await;
    }

    async fn stop(tree: SupervisorRef, children: Vec<ActorRef<Hand>>) {
        tree.stop();
        let reason = tree.wait().await;
        assert!(reason.is_normal(), "{reason}");
        drop(children);
    }
}

/// Starts its place again when that says that its child has ended.
pub(crate) struct Keeper {
    place: Arc<dyn Place>,
    stops: AtomicBool,
}

impl Keeper {
    fn start(self: &Arc<Self>) {
        let keeper = Arc::clone(self);
        let on_event = move |_, event: callboard::ChildEvent| {
            if !event.is_last() {
                return;
            }
            if keeper.stops.load(Ordering::Acquire) {
                keeper.place.close(ExitReason::Stopped);
            } else {
                keeper.start();
            }
        };
        self.place.start(Terms::new(Arc::new(on_event)));
    }
}

impl System for ByHand {
    type Stage = Stage;
    type Child = ActorRef<Hand>;
    type Tree = Vec<Arc<Keeper>>;

    fn name(&self) -> &'static str {
        "callboard (no supervisor)"
    }

    fn family(&self) -> Family {
        Family::Floor
    }

    fn takes(&self, work: Work) -> bool {
        !matches!(work, Work::Tell { .. })
    }

    fn run<F, Fut>(&self, layout: Layout, body: F) -> Fut::Output
    where
        F: FnOnce(Stage) -> Fut + Send + 'static,
        Fut: Future<Output: Send> + Send + 'static,
    {
        on_system(layout, Supervised::OneForOne, body)
    }

    async fn start(
        stage: &Stage,
        roll: &Arc<Roll>,
        children: &mut Vec<ActorRef<Hand>>,
    ) -> Vec<Arc<Keeper>> {
        let mut keepers = Vec::with_capacity(roll.len());
        for kit in roll.kits() {
            let (child, place) = stage.place(kit);
            let keeper = Arc::new(Keeper {
                place,
                stops: AtomicBool::new(false),
            });
            keeper.start();
            keepers.push(keeper);
            children.push(child);
        }
        roll.until_live(children.len()).await;
        keepers
    }

    async fn crash(child: &ActorRef<Hand>) {
        crash(child).await;
    }

    async fn stop(keepers: Vec<Arc<Keeper>>, children: Vec<ActorRef<Hand>>) {
        for keeper in &keepers {
            keeper.stops.store(true, Ordering::Release);
            keeper.place.stop();
        }
        for child in children {
            assert!(child.wait().await.is_normal());
        }
    }
}
