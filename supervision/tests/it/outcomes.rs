//! G19 with the key in the effect's own transaction, in handlers that panic, are killed, overtake each other and are
//! asked again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use callboard::{
    Actor, ActorRef, Context, DeferredHandler, Failure, FailureKind, Message, RequestKey,
    Responder, System, Verdict,
};
use callboard_supervision::{
    AskExt, CallPolicy, OutcomeStore, OutcomeTx, RequestId, Supervisor, SupervisorRef,
};
use futures::channel::oneshot;
use futures::future::{Either, join_all, select};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::common::brisk;

/// Answered with how much has been paid then.
#[derive(Message, Debug, Clone, Serialize, Deserialize)]
#[message(reply = u64, name = "till.pay")]
struct Pay {
    cents: u64,
}

/// A database that all tills share: what is committed, in the order of its commits.
#[derive(Clone, Default)]
struct Database(Arc<Mutex<Committed>>);

#[derive(Clone, Default)]
struct Committed {
    paid: Vec<u64>,
    outcomes: BTreeMap<Vec<u8>, Vec<u8>>,
}

#[derive(Debug, thiserror::Error)]
#[error("somebody else has kept an outcome under that id")]
struct Taken;

struct Tx {
    database: Database,
    seen: Committed,
    paid: Vec<u64>,
    kept: Vec<(Vec<u8>, Vec<u8>)>,
}

impl OutcomeStore for Database {
    type Error = Taken;
    type Tx<'s> = Tx;

    async fn begin(&mut self) -> Result<Tx, Taken> {
        Ok(Tx {
            seen: self.0.lock().clone(),
            database: self.clone(),
            paid: Vec::new(),
            kept: Vec::new(),
        })
    }

    async fn forget_older_than(&mut self, _: Duration) -> Result<u64, Taken> {
        Ok(0) // no test lasts that long
    }
}

impl OutcomeTx for Tx {
    type Error = Taken;

    async fn find(&mut self, id: &RequestId) -> Result<Option<Vec<u8>>, Taken> {
        Ok(self.seen.outcomes.get(id.as_bytes()).cloned())
    }

    async fn keep(&mut self, id: &RequestId, outcome: &[u8]) -> Result<(), Taken> {
        self.kept.push((id.as_bytes().to_vec(), outcome.to_vec()));
        Ok(())
    }

    async fn commit(self) -> Result<(), Taken> {
        let mut committed = self.database.0.lock();
        let mut kept = self.kept.iter();
        if kept.any(|(id, _)| committed.outcomes.contains_key(id)) {
            return Err(Taken);
        }
        committed.paid.extend(self.paid);
        committed.outcomes.extend(self.kept);
        Ok(())
    }
}

/// What goes wrong with the next effects, after they have done their part.
enum Trouble {
    Panic,
    /// Waits, until the other end is dropped.
    Wait(oneshot::Sender<()>, oneshot::Receiver<()>),
}

type Troubles = Arc<Mutex<Vec<Trouble>>>;

struct Till {
    database: Database,
    troubles: Troubles,
}

impl Actor for Till {}

impl DeferredHandler<Pay> for Till {
    async fn handle_deferred(
        &mut self,
        pay: Pay,
        responder: Responder<u64>,
        ctx: &mut Context<Self>,
    ) {
        let Some(id) = RequestId::of::<Pay>("till", ctx.meta()) else {
            let failure = Failure::new(FailureKind::BadPayload, Verdict::NotExecuted);
            return responder.fail(failure);
        };
        let effect = async |tx: &mut Tx| {
            tx.paid.push(pay.cents);
            let trouble = self.troubles.lock().pop();
            match trouble {
                Some(Trouble::Panic) => panic!("the drawer is stuck"),
                Some(Trouble::Wait(here, until)) => {
                    let _ = here.send(());
                    let _ = until.await;
                }
                None => {}
            }
            let before: u64 = tx.seen.paid.iter().sum();
            Ok::<u64, Taken>(before + pay.cents)
        };
        match self.database.once(&id, &pay, effect).await {
            Ok(total) => responder.send(total.into_inner()),
            Err(error) => responder.fail(error.into()),
        }
    }
}

struct Shop {
    database: Database,
    troubles: Troubles,
    tills: Vec<ActorRef<Till>>,
    _tree: SupervisorRef,
}

/// Tills that are started again when they fail, over one database.
fn shop(system: &System, tills: usize, replays: u32) -> Shop {
    let (database, troubles) = (Database::default(), Troubles::default());
    let mut tree = Supervisor::builder("shop").backoff(brisk());
    let mut references = Vec::new();
    for _ in 0..tills {
        let (database, troubles) = (database.clone(), Arc::clone(&troubles));
        let till = system.actor(move || Till {
            database: database.clone(),
            troubles: Arc::clone(&troubles),
        });
        let (till, place) = till.replay::<Pay>(replays).place();
        tree = tree.child(place);
        references.push(till);
    }
    Shop {
        database,
        troubles,
        tills: references,
        _tree: tree.start(system).unwrap(),
    }
}

impl Shop {
    fn paid(&self) -> Vec<u64> {
        self.database.0.lock().paid.clone()
    }

    /// The next effect stops in the middle. Tells when it is there, and lets it go on when dropped.
    fn stop_next(&self) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
        let (here, is_here) = oneshot::channel();
        let (until, waits) = oneshot::channel();
        self.troubles.lock().push(Trouble::Wait(here, waits));
        (is_here, until)
    }
}

#[callboard::test(both)]
async fn g19_a_panic_in_the_effect_leaves_nothing_and_asking_again_pays(system: System) {
    let shop = shop(&system, 1, 0);
    let (till, key) = (&shop.tills[0], RequestKey::new());
    shop.troubles.lock().push(Trouble::Panic);
    let error = till.ask(Pay { cents: 100 }).key(key).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Panicked);
    assert_eq!(error.verdict(), Verdict::Executed);
    assert!(shop.paid().is_empty());
    for _ in 0..3 {
        let total = till.ask(Pay { cents: 100 }).key(key).await.unwrap();
        assert_eq!(total, 100);
    }
    assert_eq!(shop.paid(), [100]);
}

#[callboard::test(both)]
async fn g19_a_replay_after_a_crash_in_the_effect_pays_once_and_nobody_notices(system: System) {
    let shop = shop(&system, 1, 2);
    shop.troubles
        .lock()
        .extend([Trouble::Panic, Trouble::Panic]);
    let ask = shop.tills[0].ask(Pay { cents: 100 });
    assert_eq!(ask.key(RequestKey::new()).await.unwrap(), 100);
    assert_eq!(shop.paid(), [100]);
}

#[callboard::test(both)]
async fn g19_a_kill_in_the_effect_leaves_nothing_and_asking_again_pays(system: System) {
    let shop = shop(&system, 1, 0);
    let (till, key) = (&shop.tills[0], RequestKey::new());
    let (is_here, _goes_on) = shop.stop_next();
    let killed = async {
        is_here.await.unwrap();
        till.kill();
    };
    let (asked, ()) = futures::join!(till.ask(Pay { cents: 100 }).key(key).into_future(), killed);
    assert_eq!(asked.unwrap_err().kind(), FailureKind::Killed);
    assert!(shop.paid().is_empty());
    assert_eq!(till.ask(Pay { cents: 100 }).key(key).await.unwrap(), 100);
    assert_eq!(shop.paid(), [100]);
}

#[callboard::test(both)]
async fn g19_tills_that_overtake_each_other_pay_once_and_all_askers_learn_it(system: System) {
    let shop = shop(&system, 3, 0);
    let key = RequestKey::new();
    let policy = CallPolicy::with_defaults("pay");
    let (is_here, goes_on) = shop.stop_next();
    let pay = |till: usize| {
        shop.tills[till]
            .ask(Pay { cents: 100 })
            .key(key)
            .policy(&policy)
    };
    // The first till stands in the middle of its effect when the others run theirs.
    let others = async {
        is_here.await.unwrap();
        let totals = join_all((1..3).map(|till| pay(till).into_future())).await;
        drop(goes_on);
        totals
    };
    let (first, others) = futures::join!(pay(0).into_future(), others);
    for total in others.into_iter().chain([first]) {
        assert_eq!(total.unwrap(), 100);
    }
    assert_eq!(shop.paid(), [100]);
    assert!(policy.stats().retries > 0, "nobody was overtaken");
}

#[callboard::test(both)]
async fn g19_an_answer_that_nobody_waited_for_is_found(system: System) {
    let shop = shop(&system, 1, 0);
    let (till, key) = (&shop.tills[0], RequestKey::new());
    let (is_here, goes_on) = shop.stop_next();
    let impatient = till.ask(Pay { cents: 100 }).key(key);
    // Gives up when the effect has begun, which goes on.
    match select(impatient.into_future(), is_here).await {
        Either::Left((answered, _)) => panic!("answered too early: {answered:?}"),
        Either::Right((is_here, _)) => is_here.unwrap(),
    }
    drop(goes_on);
    assert_eq!(till.ask(Pay { cents: 100 }).key(key).await.unwrap(), 100);
    assert_eq!(shop.paid(), [100]);

    let other = till.ask(Pay { cents: 70 }).key(key).await.unwrap_err();
    assert_eq!(other.kind(), FailureKind::KeyReused);
    let keyless = till.ask(Pay { cents: 70 }).await.unwrap_err();
    assert_eq!(keyless.verdict(), Verdict::NotExecuted);
    assert_eq!(shop.paid(), [100]);
}
