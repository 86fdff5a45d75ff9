//! A pool that changes its size while messages come, against what must hold whatever the order: each ask
//! is answered once, no message is lost, and none runs twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use callboard::{
    Actor, Context, DropReason, Handler, Message, Placement, Pool, Routing, Simulation, System,
};
use futures::channel::oneshot;
use futures::future::join_all;
use parking_lot::Mutex;
use proptest::prelude::*;

type Seen = Arc<Mutex<BTreeMap<u64, u32>>>;

struct Clerk(Seen);
impl Actor for Clerk {}

/// Answered with its number, after a while.
#[derive(Message)]
#[message(reply = u64)]
struct Form {
    id: u64,
    micros: u64,
}

impl Handler<Form> for Clerk {
    async fn handle(&mut self, form: Form, ctx: &mut Context<Self>) -> u64 {
        *self.0.lock().entry(form.id).or_default() += 1;
        if form.micros > 0 {
            ctx.sleep(Duration::from_micros(form.micros)).await;
        }
        assert!(form.id % 11 != 10, "a form that no clerk can read");
        form.id
    }
}

/// What happens to a pool.
#[derive(Debug, Clone)]
enum Step {
    Ask { micros: u64 },
    Tell { micros: u64 },
    TryTell,
    Resize(usize),
    Wait { micros: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..200_u64).prop_map(|micros| Step::Ask { micros }),
        4 => (0..200_u64).prop_map(|micros| Step::Tell { micros }),
        2 => Just(Step::TryTell),
        3 => (1..6_usize).prop_map(Step::Resize),
        2 => (0..300_u64).prop_map(|micros| Step::Wait { micros }),
    ];
    proptest::collection::vec(step, 1..120)
}

/// Does all that, each send as a task of its own, then drains the pool and compares.
async fn play(system: System, steps: Vec<Step>, routing: Routing, capacity: usize) {
    let seen = Seen::default();
    let inner = Arc::clone(&seen);
    let pool = Pool::builder(&system, move || Clerk(Arc::clone(&inner)))
        .size(2)
        .mailbox(capacity)
        .routing(routing)
        .backoff(Duration::from_micros(50), Duration::from_micros(200))
        .start()
        .unwrap();
    let mut ends = Vec::new();
    let mut expected = Vec::new();
    for (id, step) in (0_u64..).zip(steps) {
        match step {
            Step::Ask { micros } | Step::Tell { micros } => {
                let asks = matches!(step, Step::Ask { .. });
                let (tx, rx) = oneshot::channel();
                let pool = pool.clone();
                system.spawn(Placement::Spread, move || async move {
                    let form = Form { id, micros };
                    let well = if asks {
                        let answer = pool.ask(form).await;
                        let reads = id % 11 != 10;
                        // One end, and the right one.
                        answer.is_ok_and(|answer| answer == id) == reads
                    } else {
                        pool.tell(form).await.is_ok()
                    };
                    let _ = tx.send(well);
                });
                ends.push(rx);
                expected.push(id);
            }
            Step::TryTell => match pool.try_tell(Form { id, micros: 0 }) {
                Ok(()) => expected.push(id),
                // It came back.
                Err(error) => assert_eq!(error.into_message().unwrap().id, id),
            },
            Step::Resize(size) => {
                pool.resize(size).unwrap();
                assert_eq!(pool.state().workers, size);
            }
            Step::Wait { micros } => {
                system.clock().sleep(Duration::from_micros(micros)).await;
            }
        }
    }
    assert!(join_all(ends).await.into_iter().all(|end| end == Ok(true)));
    let (weak, accepted) = (pool.clone(), expected.len() as u64);
    assert_eq!(weak.state().accepted, accepted);
    pool.drain();
    pool.wait().await;
    let seen = seen.lock();
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), expected);
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    assert_eq!(system.counters().drops(DropReason::Stopped), 0);
    assert_eq!(system.dead_letters().len(), 0);
    let state = pool.state();
    assert_eq!(
        (state.retiring, state.queued, state.waiting_senders),
        (0, 0, 0)
    );
}

fn routing() -> impl Strategy<Value = Routing> {
    prop_oneof![Just(Routing::LeastLoaded), Just(Routing::RoundRobin)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn g11_no_message_is_lost_or_run_twice_while_a_pool_changes_its_size(
        seed: u64,
        steps in steps(),
        routing in routing(),
        capacity in 1..5_usize,
    ) {
        let mut simulation = Simulation::new(seed);
        let system = simulation.system().clone();
        system.hand_off(seed.is_multiple_of(2));
        simulation.block_on(play(system, steps, routing, capacity));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn g11_the_same_on_real_arbiters(
        steps in steps(),
        routing in routing(),
        capacity in 1..5_usize,
    ) {
        callboard::run(|system| play(system, steps, routing, capacity)).unwrap();
    }
}
