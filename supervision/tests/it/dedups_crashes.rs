//! Power cut, and processes killed, at any point: what ran runs no second time, and what was answered is answered so
//! again (G19).
//!
//! A run is several processes, one after the other on one disk that ends at a change that is drawn; clients ask for
//! the same few requests over and over, while the actor panics and is killed. What ran is counted in a ledger of the
//! test's own. `CALLBOARD_CRASHES` says how many runs there are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use callboard::{Entropy, Failure, FailureKind, Simulation, System};
use callboard_store::SimDisk;
use futures::future::{join, join_all};
use parking_lot::Mutex;

use crate::common::{ms, secs};
use crate::dedups_durable::{
    Build, Ledger, Pay, Placed, Receipt, Shop, Then, key_without_time, plain, replay_safe,
};

/// How many runs there are of each kind, unless the environment says otherwise.
const RUNS: u64 = 120;
/// Of how many requests the clients choose.
const REQUESTS: u64 = 12;

fn runs() -> u64 {
    let set = std::env::var("CALLBOARD_CRASHES").ok();
    set.map_or(RUNS, |set| set.parse().unwrap())
}

/// What a request is stays the same over all its attempts.
fn request(number: u64) -> Pay {
    let then = match number % 6 {
        0 => Then::Panic,
        1 => Then::Fail,
        2 | 3 => Then::Slow,
        _ => Then::Answer,
    };
    Pay { number, then }
}

/// What clients were told, and how often each request had run by then.
#[derive(Default)]
struct Told {
    ends: BTreeMap<u64, (Result<Receipt, Failure>, usize)>,
    in_doubt: BTreeSet<u64>,
    not_run: BTreeSet<u64>,
}

struct Run {
    ledger: Ledger,
    told: Mutex<Told>,
    runs_again: bool,
}

impl Run {
    fn executions(&self, number: u64) -> usize {
        let lines = self.ledger.lines.lock();
        lines.iter().filter(|(ran, _)| *ran == number).count()
    }

    /// Checks what a client was told against all that was told before, and against the ledger.
    fn check(&self, number: u64, end: Result<Receipt, Failure>) {
        let ran = self.executions(number);
        let mut told = self.told.lock();
        let is_end = match &end {
            Ok(_) => true,
            // The handler's own failure.
            Err(failure) => failure.detail() == Some("no paper"),
        };
        if let Some((before, at)) = told.ends.get(&number) {
            assert_eq!(ran, *at, "{number} ran again after it was answered");
            if is_end {
                assert_eq!(&end, before, "{number} has two ends");
            } else if let Err(failure) = &end {
                assert_ne!(failure.kind(), FailureKind::Indeterminate, "{number}");
            }
        }
        if is_end {
            assert!(ran > 0, "{number} was answered and never ran");
            assert!(
                self.runs_again || !told.in_doubt.contains(&number),
                "{number} was in doubt, and isn't any more"
            );
            told.ends.entry(number).or_insert((end, ran));
        } else if let Err(failure) = end {
            match failure.kind() {
                FailureKind::Indeterminate => drop(told.in_doubt.insert(number)),
                FailureKind::KeyReused => panic!("{number} is always the same"),
                _ if failure.verdict().is_safe_to_resend() => drop(told.not_run.insert(number)),
                _ => {}
            }
        }
    }
}

/// Five clients, until each has asked enough.
async fn work(run: &Run, shop: &Shop, system: &System, entropy: &Entropy) {
    let clients = (0..5).map(|_| async {
        for _ in 0..=entropy.below(12) {
            let number = entropy.below(REQUESTS);
            let key = key_without_time(number);
            let asked = shop.till.ask(request(number)).key(key).deadline(secs(2));
            let end = asked.await.map_err(|error| error.failure().clone());
            run.check(number, end);
            system.clock().sleep(ms(entropy.below(3))).await;
        }
    });
    let chaos = async {
        for _ in 0..entropy.below(3) {
            system.clock().sleep(ms(entropy.below(40))).await;
            shop.till.kill();
        }
    };
    join(join_all(clients), chaos).await;
}

fn run(seed: u64, runs_again: bool) -> (usize, usize) {
    let entropy = Entropy::seeded(seed);
    let build: Build = if runs_again { replay_safe } else { plain };
    let (ledger, _begun) = Ledger::new();
    let run = Arc::new(Run {
        ledger,
        told: Mutex::default(),
        runs_again,
    });
    let mut disk = SimDisk::new(entropy.next_u64());
    let processes = 2 + entropy.below(3);
    for process in 0..=processes {
        let is_last = process == processes;
        let mut simulation = Simulation::new(entropy.next_u64());
        let system = simulation.system().clone();
        if !is_last {
            disk.cut_at(1 + entropy.below(90));
        }
        simulation.block_on(async {
            let opened = Shop::try_open(&system, &disk, &run.ledger, build, |spawn| spawn).await;
            let Ok(mut shop) = opened else {
                assert!(disk.is_off(), "seed {seed}: it can't be opened");
                return;
            };
            let own = run.ledger.clone();
            let spawn = system.actor(move || crate::dedups_durable::Till(own.clone()));
            let spawn = spawn.label("till").admission(shop.dedup.clone());
            shop.till = spawn.placed(&system);
            if is_last {
                let told: Vec<u64> = run.told.lock().ends.keys().copied().collect();
                for number in told {
                    let end = shop.pay(request(number), key_without_time(number)).await;
                    assert_eq!(
                        Some(&end),
                        run.told.lock().ends.get(&number).map(|it| &it.0)
                    );
                }
            }
            work(&run, &shop, &system, &entropy).await;
        });
        disk = if entropy.below(2) == 0 {
            disk.power_loss()
        } else {
            disk.kill()
        };
    }
    let told = run.told.lock();
    for number in 0..REQUESTS {
        let lines = run.ledger.lines.lock();
        let attempts: Vec<u32> = lines
            .iter()
            .filter(|(ran, _)| *ran == number)
            .map(|(_, attempt)| *attempt)
            .collect();
        drop(lines);
        if !runs_again {
            assert!(attempts.len() <= 1, "{number} ran {} times", attempts.len());
        }
        assert!(
            attempts.windows(2).all(|pair| pair[0] < pair[1]),
            "{number}: attempts count on: {attempts:?}"
        );
    }
    (told.ends.len(), told.in_doubt.len())
}

fn all(runs_again: bool, from: u64) -> (usize, usize) {
    let mut sums = (0, 0);
    for seed in from..from + runs() {
        let one = std::panic::AssertUnwindSafe(|| run(seed, runs_again));
        match std::panic::catch_unwind(one) {
            Ok((ended, in_doubt)) => sums = (sums.0 + ended, sums.1 + in_doubt),
            Err(panic) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    sums
}

#[test]
fn g19_no_request_runs_twice_wherever_power_or_process_end() {
    let (ended, in_doubt) = all(false, 0);
    assert!(ended > 100 && in_doubt > 20, "{ended}, {in_doubt}");
}

#[test]
fn g19_what_may_run_again_does_until_it_is_answered_and_no_longer() {
    let (ended, _) = all(true, 1 << 40);
    assert!(ended > 100, "{ended}");
}
