//! Random trees under random trouble: what must hold whatever happens (G7, G13, G15, G16).

use std::collections::BTreeMap;
use std::future::IntoFuture;

use callboard::{ActorRef, System};
use callboard_supervision::{Backoff, Child, Supervisor, SupervisorRef};

use crate::common::{Bench, Crash, Failing, Leave, Note, Worker, ms, secs};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

struct Tree {
    top: SupervisorRef,
    inner: SupervisorRef,
    workers: Vec<(ActorRef<Worker>, Failing)>,
}

/// Three workers under `inner`, three more beside it, with random limits.
fn plant(system: &System, bench: &Bench) -> Tree {
    let draw = |bound| system.entropy().below(bound);
    let backoff = Backoff {
        base: ms(draw(2) * draw(50)),
        cap: ms(200),
        stable: ms(500),
    };
    let mut workers = Vec::new();
    let mut child = |index: usize| {
        let (worker, place, failing) = bench.worker(NAMES[index]);
        workers.push((worker, failing));
        let child = match draw(4) {
            0 => Child::transient(place),
            1 => Child::temporary(place),
            _ => Child::permanent(place),
        };
        child.shutdown_time(ms(draw(20)))
    };
    let limit = |max: u64| usize::try_from(max).unwrap_or(0);
    let mut inner = Supervisor::builder("inner")
        .intensity(limit(1 + draw(4)), ms(300))
        .backoff(backoff);
    for index in 0..3 {
        inner = inner.child(child(index));
    }
    let (inner, inner_child) = inner.place(system).unwrap();
    let mut top = Supervisor::builder("top")
        .intensity(limit(3 + draw(20)), secs(1))
        .backoff(backoff)
        .child(inner_child);
    for index in 3..6 {
        top = top.child(child(index));
    }
    Tree {
        top: top.start(system).unwrap(),
        inner,
        workers,
    }
}

#[callboard::test]
async fn g13_trees_keep_their_promises_under_random_trouble(system: System) {
    for _ in 0..12 {
        let bench = Bench::new(&system).slow(ms(system.entropy().below(6)));
        let tree = plant(&system, &bench);
        let mut asks = Vec::new();
        for _ in 0..system.entropy().below(80) {
            let draw = system.entropy().below(6);
            let (worker, failing) = &tree.workers[usize::try_from(draw).unwrap()];
            match system.entropy().below(12) {
                0..4 => asks.push(worker.ask(Note(1)).deadline(secs(60)).into_future()),
                4..6 => drop(worker.try_tell(Crash)),
                6 => drop(worker.try_tell(Leave)),
                7 => worker.kill(),
                8 => failing.next(2),
                9 if system.entropy().below(3) == 0 => tree.inner.actor().kill(),
                _ => {
                    let pause = ms(system.entropy().below(60));
                    let asked = futures::future::join_all(std::mem::take(&mut asks));
                    let answered = futures::future::select(asked, system.clock().sleep(pause));
                    // Those that have no answer in that time are given up.
                    drop(answered.await);
                }
            }
        }
        tree.top.stop();
        let before = system.clock().now();
        tree.top.wait().await;
        // Six workers, each at most 20 ms to stop, each stop at most 5 ms; no back-off is waited for.
        assert!(system.clock().now().since(before) <= ms(300));
        // G7: every ask that was waited for has ended.
        let ends = futures::future::join_all(asks).await;
        drop(ends);
        check(&bench, &tree);
    }
}

fn check(bench: &Bench, tree: &Tree) {
    let lines = bench.log.lines();
    let mut alive: BTreeMap<&str, i32> = BTreeMap::new();
    for line in &lines {
        let name = line.split(' ').next().unwrap_or_default();
        let count = alive.entry(name).or_default();
        if line.contains(" starts ") || line.contains(" fails to start") {
            *count += 1;
            // G13: never two incarnations at once. (A value that is killed in `starting` only drops.)
            assert!(*count <= 1, "{lines:?}");
        } else if line.ends_with(" dropped") {
            *count = 0;
        }
    }
    assert!(alive.values().all(|count| *count == 0), "{lines:?}");
    for (worker, _) in &tree.workers {
        assert!(!worker.is_alive() && worker.exit_reason().is_some());
        assert_eq!(worker.mailbox().len, 0);
    }
    let drawn = tree.top.observe().to_string();
    assert!(
        !drawn.contains("running") && !drawn.contains("backing off"),
        "{drawn}"
    );
    assert!(!drawn.contains("stuck"), "{drawn}");
}
