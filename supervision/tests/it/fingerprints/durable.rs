//! Fingerprints and a store that outlives the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use callboard::{
    Actor, ActorRef, Context, FailureKind, Fingerprint, Handler, Message, RequestKey, System,
};
use callboard_store::{Options, SimDisk, Store};
use callboard_supervision::{Dedup, FINGERPRINT_WINDOW};
use serde::{Deserialize, Serialize};

#[derive(Message, Fingerprint, Serialize, Deserialize)]
#[message(reply = u64, name = "bank.pay")]
struct Pay {
    cents: u64,
    #[fingerprint(skip)]
    sent_at_ms: u64,
}

/// Has what it took in so far where a test's restart doesn't reach it.
struct Bank(Arc<AtomicU64>);
impl Actor for Bank {}
impl Handler<Pay> for Bank {
    async fn handle(&mut self, pay: Pay, _: &mut Context<Self>) -> u64 {
        let before = self.0.fetch_add(pay.cents, Ordering::SeqCst);
        before + pay.cents
    }
}

async fn open(
    system: &System,
    disk: &SimDisk,
    money: &Arc<AtomicU64>,
) -> (ActorRef<Bank>, Dedup<Pay>, Store) {
    let options = Options::new().on(Arc::new(disk.clone()));
    let store = options.open(system, "/store").await.unwrap();
    let builder = Dedup::builder_fingerprint(system).by_fingerprint(FINGERPRINT_WINDOW);
    let dedup = builder.durable("pays", Arc::new(store.clone()));
    let dedup = dedup.open().await.unwrap();
    let own = Arc::clone(money);
    let spawn = system.actor(move || Bank(Arc::clone(&own)));
    let bank = spawn.label("bank").admission(dedup.clone()).start();
    (bank, dedup, store)
}

async fn close((bank, dedup, store): (ActorRef<Bank>, Dedup<Pay>, Store)) {
    bank.stop();
    bank.wait().await;
    dedup.close().await.unwrap();
    drop(dedup);
    store.close().await.unwrap();
}

/// A keyed payload is compared by its fingerprint over a restart, too. What has no key is not on disk, and runs again.
#[callboard::test]
async fn g19_a_restart_knows_the_prints_of_keyed_payloads_and_forgets_the_rest(system: System) {
    let disk = SimDisk::new(1);
    let money = Arc::default();
    let key = RequestKey::new();
    let pay = |cents, sent_at_ms| Pay { cents, sent_at_ms };
    let first = open(&system, &disk, &money).await;
    assert_eq!(first.0.ask(pay(1, 10)).key(key).await.unwrap(), 1);
    assert_eq!(first.0.ask(pay(10, 20)).await.unwrap(), 11);
    assert_eq!(first.0.ask(pay(10, 30)).await.unwrap(), 11);
    assert_eq!(first.1.stats().by_fingerprint.answered, 1);
    close(first).await;

    let second = open(&system, &disk, &money).await;
    assert_eq!(second.0.ask(pay(1, 40)).key(key).await.unwrap(), 1);
    let reused = second.0.ask(pay(2, 10)).key(key).await.unwrap_err();
    assert_eq!(reused.kind(), FailureKind::KeyReused);
    assert_eq!(second.0.ask(pay(10, 50)).await.unwrap(), 21);
    close(second).await;
}
