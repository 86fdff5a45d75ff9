//! The test runner behind `#[callboard::test]`.
//!
//! A test gets a system of its own. On the simulating executor it runs under several seeds, so several
//! schedules; a failure prints the seed, and `CALLBOARD_SEED=<seed>` runs that one again.

use std::fmt::Debug;
use std::future::Future;

use crate::executor::Simulation;
use crate::system::{self, System};

/// Under how many seeds a test runs unless `CALLBOARD_SEED` names one.
const SEEDS: u64 = 16;

/// Which executor a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// The simulating one, in virtual time, under several seeds.
    Simulated,
    /// Real arbiters, once with hand-off and once without.
    Arbiters,
    /// Both.
    Both,
}

/// What a test may return: nothing, or a `Result` whose error fails it.
pub trait Outcome {
    /// Panics if the test failed.
    fn check(self);
}

impl Outcome for () {
    fn check(self) {}
}

impl<E: Debug> Outcome for Result<(), E> {
    fn check(self) {
        if let Err(error) = self {
            panic!("the test returned an error: {error:?}");
        }
    }
}

/// Runs a test body. This is what `#[callboard::test]` expands to.
///
/// # Panics
/// When the test fails.
pub fn run<Fut>(on: On, body: fn(System) -> Fut)
where
    Fut: Future<Output: Outcome>,
{
    if matches!(on, On::Simulated | On::Both) {
        let seeds = match std::env::var("CALLBOARD_SEED") {
            Ok(text) => {
                let seed = text.parse::<u64>();
                let seed = seed.unwrap_or_else(|_| panic!("CALLBOARD_SEED={text} is no number"));
                seed..seed + 1
            }
            Err(_) => 0..SEEDS,
        };
        for seed in seeds {
            let _print = PrintSeed(seed);
            let mut simulation = Simulation::new(seed);
            let system = simulation.system().clone();
            // What is observable must not depend on hand-offs: half of the schedules do without.
            system.hand_off(seed.is_multiple_of(2));
            simulation.block_on(async move {
                body(system.clone()).await.check();
                system.shutdown().await;
            });
        }
    }
    if matches!(on, On::Arbiters | On::Both) {
        for hand_off in [true, false] {
            let run = |system: System| {
                system.hand_off(hand_off);
                body(system)
            };
            match system::run(run) {
                Ok(outcome) => outcome.check(),
                Err(error) => panic!("hand-off {hand_off}: {error}"),
            }
        }
    }
}

struct PrintSeed(u64);

impl Drop for PrintSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to repeat this run: CALLBOARD_SEED={}", self.0);
        }
    }
}
