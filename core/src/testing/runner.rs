//! What runs a test: under several seeds, on several executors.

use std::fmt::Debug;
use std::future::Future;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use crate::executor::Simulation;
use crate::system::{self, System};

/// Under how many seeds a test runs, unless it or the environment says otherwise.
pub const SEEDS: u64 = 16;
/// How long a test may take on real arbiters before it fails, unless it says otherwise. In a simulation a test
/// that can't go on is noticed at once.
pub const TEST_LIMIT: Duration = Duration::from_secs(120);

/// How many arbiters a simulation has unless a test says otherwise.
const SIMULATED_ARBITERS: usize = 2;

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

/// A test in preparation. This is what `#[callboard::test]` expands to; write it out where a test is a closure.
///
/// ```
/// use callboard_core::testing::{On, Test};
///
/// Test::new(On::Both).seeds(4).arbiters(3).run(|system| async move {
///     assert_eq!(system.arbiter_count(), 3);
/// });
/// ```
#[derive(Debug, Clone)]
#[must_use = "no test runs until `run` is called"]
pub struct Test {
    on: On,
    seeds: Range<u64>,
    arbiters: Option<usize>,
    limit: Duration,
}

impl Test {
    /// A test on that executor, with the defaults: [`SEEDS`] seeds, two simulated arbiters or one real one for
    /// each core, [`TEST_LIMIT`].
    pub fn new(on: On) -> Self {
        Test {
            on,
            seeds: 0..SEEDS,
            arbiters: None,
            limit: TEST_LIMIT,
        }
    }

    /// Under how many seeds it runs, from 0 on, where it is simulated.
    pub fn seeds(mut self, count: u64) -> Self {
        self.seeds = 0..count;
        self
    }

    /// How many arbiters its system has, on either executor; at least one.
    pub fn arbiters(mut self, count: usize) -> Self {
        self.arbiters = Some(count.max(1));
        self
    }

    /// How long it may take on real arbiters; [`TEST_LIMIT`] unless said otherwise. It fails when it waits for
    /// longer. Code that blocks the thread it runs on is not noticed.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it.
    ///
    /// # Panics
    /// When the test fails: by its own panic, by the error it returns, or because it would never end. Where it
    /// was simulated, the seed is printed, with what repeats that run. Also if it has no seed to run under, or
    /// the environment names one that is no number.
    pub fn run<F, Fut>(self, body: F)
    where
        F: Fn(System) -> Fut,
        Fut: Future<Output: Outcome>,
    {
        if matches!(self.on, On::Simulated | On::Both) {
            simulate(
                self.seeds.clone(),
                self.arbiters.unwrap_or(SIMULATED_ARBITERS),
                &body,
            );
        }
        if matches!(self.on, On::Arbiters | On::Both) {
            for hand_off in [true, false] {
                self.run_on_arbiters(hand_off, &body);
            }
        }
    }

    fn run_on_arbiters<F, Fut>(&self, hand_off: bool, body: &F)
    where
        F: Fn(System) -> Fut,
        Fut: Future<Output: Outcome>,
    {
        let limit = self.limit;
        let limited = |system: System| async move {
            system.hand_off(hand_off);
            let due = std::pin::pin!(system.clock().sleep(limit));
            let body = std::pin::pin!(body(system.clone()));
            match futures::future::select(body, due).await {
                futures::future::Either::Left((outcome, _)) => Ok(outcome),
                futures::future::Either::Right(_) => Err(super::with_mail(&system)),
            }
        };
        // Only now, so that the system is shut down when the test fails.
        match system::run_on(self.arbiters, limited) {
            Ok(Ok(outcome)) => outcome.check(),
            Ok(Err(state)) => {
                panic!(
                    "on arbiters (hand-off {hand_off}) the test has not ended within {limit:?}: {state}"
                )
            }
            Err(error) => panic!("on arbiters (hand-off {hand_off}): {error}"),
        }
    }
}

/// Runs a closure in a simulation of two arbiters under each of these seeds: for a plain `#[test]`, and for tests
/// that draw something else, too. `CALLBOARD_SEED` and `CALLBOARD_SEEDS` choose as they do for
/// `#[callboard::test]`.
///
/// ```
/// use callboard_core::testing;
///
/// testing::seeds(0..100, |system| async move {
///     let draw = system.entropy().below(6);
///     assert!(draw < 6);
/// });
/// ```
///
/// # Panics
/// As [`Test::run`].
pub fn seeds<F, Fut>(seeds: Range<u64>, body: F)
where
    F: Fn(System) -> Fut,
    Fut: Future<Output: Outcome>,
{
    simulate(seeds, SIMULATED_ARBITERS, &body);
}

fn simulate<F, Fut>(seeds: Range<u64>, arbiters: usize, body: &F)
where
    F: Fn(System) -> Fut,
    Fut: Future<Output: Outcome>,
{
    let one = std::env::var("CALLBOARD_SEED").ok();
    let many = std::env::var("CALLBOARD_SEEDS").ok();
    let seeds = choose(seeds, one.as_deref(), many.as_deref());
    let seeds = seeds.unwrap_or_else(|problem| panic!("{problem}"));
    for seed in seeds {
        let print = PrintSeed(seed);
        let mut simulation = Simulation::with_arbiters(seed, arbiters);
        let system = simulation.system().clone();
        // What is observable must not depend on hand-offs: half of the schedules do without.
        system.hand_off(seed.is_multiple_of(2));
        simulation.block_on(async move {
            body(system.clone()).await.check();
            system.shutdown().await;
        });
        drop(print);
    }
}

/// Which seeds to run under: those of the test, unless the environment chooses.
fn choose(
    seeds: Range<u64>,
    one: Option<&str>,
    many: Option<&str>,
) -> Result<RangeInclusive<u64>, String> {
    let number = |name: &str, text: &str| {
        let number = text.trim().parse::<u64>();
        number.map_err(|_| format!("{name}={text} is no number from 0 to {}", u64::MAX))
    };
    let chosen = match (one, many) {
        (Some(text), _) => {
            let seed = number("CALLBOARD_SEED", text)?;
            return Ok(seed..=seed);
        }
        (None, Some(text)) => {
            let count = number("CALLBOARD_SEEDS", text)?;
            seeds.start..seeds.start.saturating_add(count)
        }
        (None, None) => seeds,
    };
    if chosen.is_empty() {
        return Err("a test without a seed to run under proves nothing".to_owned());
    }
    Ok(chosen.start..=chosen.end - 1)
}

/// Prints how to repeat a run that failed.
struct PrintSeed(u64);

impl Drop for PrintSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The runner of the standard library names the thread after the test.
            let thread = std::thread::current();
            let test = thread.name().unwrap_or_default();
            eprintln!(
                "failed under seed {seed}; to repeat this run: CALLBOARD_SEED={seed} cargo test {test}",
                seed = self.0
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_chooses_one_seed_or_how_many() {
        let check = |one, many, expected: RangeInclusive<u64>| {
            assert_eq!(choose(5..10, one, many), Ok(expected), "{one:?} {many:?}");
        };
        check(None, None, 5..=9);
        check(Some("77"), None, 77..=77);
        check(None, Some("100"), 5..=104);
        check(Some("77"), Some("100"), 77..=77);
        check(Some("18446744073709551615"), None, u64::MAX..=u64::MAX);
    }

    #[test]
    fn no_seed_at_all_and_what_is_no_number_are_refused() {
        let check = |seeds, one, many, wrong: &str| {
            let problem = choose(seeds, one, many).unwrap_err();
            assert!(problem.contains(wrong), "{problem}");
        };
        check(3..3, None, None, "proves nothing");
        check(0..16, None, Some("0"), "proves nothing");
        check(
            0..16,
            Some("seven"),
            None,
            "CALLBOARD_SEED=seven is no number",
        );
        check(0..16, None, Some("-1"), "CALLBOARD_SEEDS=-1 is no number");
    }
}
