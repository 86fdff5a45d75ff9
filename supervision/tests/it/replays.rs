//! G14 under a supervisor, and with what deduplicates: an execution includes its replays.

use std::sync::Arc;

use callboard::{
    Actor, ActorRef, Context, DropReason, FailureKind, Handler, Message, RequestKey, System,
    Verdict,
};
use callboard_supervision::{Dedup, Supervisor, SupervisorRef};
use futures::channel::oneshot;
use futures::future::join;
use parking_lot::Mutex;

use crate::common::{brisk, ms, secs};

/// Crashes in its first attempts. Answered with the attempt.
#[derive(Message, Debug, Clone, Hash)]
#[message(reply = u32)]
struct Charge {
    cents: u64,
    crashes: u32,
}

type Gate = Arc<Mutex<Option<oneshot::Receiver<()>>>>;

struct Till {
    /// What the next attempt waits for.
    gate: Gate,
    charges: Arc<Mutex<Vec<u64>>>,
}

impl Actor for Till {}

impl Handler<Charge> for Till {
    async fn handle(&mut self, charge: Charge, ctx: &mut Context<Self>) -> u32 {
        let attempt = ctx.meta().attempt();
        self.charges.lock().push(charge.cents);
        let gate = self.gate.lock().take();
        if let Some(gate) = gate {
            // Whoever holds it lets it go, one way or the other.
            let _ = gate.await;
        }
        assert!(attempt > charge.crashes, "the drawer is stuck");
        attempt
    }
}

struct Shop {
    till: ActorRef<Till>,
    dedup: Dedup<Charge>,
    charges: Arc<Mutex<Vec<u64>>>,
    gate: Gate,
    _tree: SupervisorRef,
}

fn shop(system: &System, times: u32) -> Shop {
    let dedup = Dedup::builder(system).build();
    let (gate, charges) = (Gate::default(), Arc::default());
    let own = (Arc::clone(&gate), Arc::clone(&charges));
    let make = move || Till {
        gate: Arc::clone(&own.0),
        charges: Arc::clone(&own.1),
    };
    let spawn = system.actor(make).label("till").admission(dedup.clone());
    let (till, place) = spawn.replay::<Charge>(times).place();
    let tree = Supervisor::builder("shop")
        .intensity(1_000, secs(10))
        .backoff(brisk())
        .child(place);
    Shop {
        till,
        dedup,
        charges,
        gate,
        _tree: tree.start(system).unwrap(),
    }
}

#[callboard::test(both)]
async fn g14_a_supervisor_offers_it_again(system: System) {
    let shop = shop(&system, 2);
    let charge = Charge {
        cents: 100,
        crashes: 2,
    };
    assert_eq!(shop.till.ask(charge).await.unwrap(), 3);
    assert_eq!(*shop.charges.lock(), [100; 3]);
}

#[callboard::test(both)]
async fn g19_an_execution_includes_its_replays(system: System) {
    let shop = shop(&system, 2);
    let (open, gate) = oneshot::channel();
    *shop.gate.lock() = Some(gate);
    let key = RequestKey::new();
    let charge = Charge {
        cents: 100,
        crashes: 2,
    };
    let asks = (0..5).map(|_| shop.till.ask(charge.clone()).key(key).into_future());
    let asks = futures::future::join_all(asks);
    let opened = async {
        while shop.dedup.stats().joined < 4 {
            system.clock().sleep(ms(1)).await;
        }
        open.send(()).unwrap();
    };
    let (answers, ()) = join(asks, opened).await;
    for answer in answers {
        assert_eq!(answer.unwrap(), 3);
    }
    // A late duplicate gets the stored answer: of the attempt that gave one.
    assert_eq!(shop.till.ask(charge).key(key).await.unwrap(), 3);
    assert_eq!(*shop.charges.lock(), [100; 3]);
    let stats = shop.dedup.stats();
    assert_eq!((stats.started, stats.joined, stats.answered), (1, 4, 1));
    assert_eq!((stats.running, stats.stored), (0, 1));
}

#[callboard::test(both)]
async fn g19_poison_leaves_open_what_it_did(system: System) {
    let shop = shop(&system, 1);
    let key = RequestKey::new();
    let charge = Charge {
        cents: 100,
        crashes: u32::MAX,
    };
    let error = shop.till.ask(charge.clone()).key(key).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Panicked);
    assert_eq!(error.verdict(), Verdict::Executed);
    assert_eq!(system.counters().drops(DropReason::Poison), 1);
    // A duplicate doesn't run it again.
    let error = shop.till.ask(charge).key(key).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Indeterminate);
    assert_eq!(*shop.charges.lock(), [100; 2]);
}
