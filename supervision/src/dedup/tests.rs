//! The store against a map, over random sequences.

use std::collections::BTreeMap;

use callboard_core::Verdict;
use callboard_core::clock::Instant;
use proptest::prelude::*;

use super::store::{Bounds, Decision, ENTRY_BYTES, Store};

const WINDOW: u64 = 100;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A request: key, payload, whether it is a tell.
    Admit(u8, u128, bool),
    /// The handler of that key begins. A waiter with an odd number has gone.
    Begin(u8),
    /// The attempt with that key ends with a stored outcome of that size.
    End(u8, usize),
    /// The attempt with that key did not run.
    Free(u8),
    /// The newest waiter of that key leaves.
    Leave(u8),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0u8..6;
    let step = prop_oneof![
        6 => (key.clone(), 0u128..2, prop::bool::weighted(0.1))
            .prop_map(|(key, print, tell)| Step::Admit(key, print, tell)),
        2 => key.clone().prop_map(Step::Begin),
        3 => (key.clone(), 0usize..600).prop_map(|(key, bytes)| Step::End(key, bytes)),
        1 => key.clone().prop_map(Step::Free),
        1 => key.prop_map(Step::Leave),
        2 => (0u64..60).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..200)
}

#[derive(Debug, Clone, PartialEq)]
enum Model {
    Running {
        epoch: u64,
        print: u128,
        waiters: Vec<u64>,
        told: bool,
        reached: Verdict,
    },
    Ended {
        print: u128,
        outcome: u64,
        bytes: usize,
        due: u64,
    },
}

impl Model {
    fn print(&self) -> u128 {
        match self {
            Model::Running { print, .. } | Model::Ended { print, .. } => *print,
        }
    }
}

struct Pair {
    bounds: Bounds,
    store: Store<u8, u64, u64>,
    model: BTreeMap<u8, Model>,
    now: u64,
    number: u64,
}

impl Pair {
    fn new(bounds: Bounds) -> Self {
        Pair {
            bounds,
            store: Store::new(bounds),
            model: BTreeMap::new(),
            now: 0,
            number: 0,
        }
    }

    fn model_bytes(&self) -> usize {
        let bytes = |entry: &Model| match entry {
            Model::Running { .. } => ENTRY_BYTES,
            Model::Ended { bytes, .. } => ENTRY_BYTES + bytes,
        };
        self.model.values().map(bytes).sum()
    }

    fn step(&mut self, step: Step) {
        self.number += 1;
        let number = self.number;
        let mut gone = Vec::new();
        match step {
            Step::Wait(span) => self.now += span,
            Step::Admit(key, print, tell) => {
                self.store.expire(at(self.now), &mut gone);
                let now = self.now;
                self.model
                    .retain(|_, entry| !matches!(entry, Model::Ended { due, .. } if *due <= now));
                let waiter = (!tell).then_some(number);
                let mut seen = None;
                let told = |_: &mut u64, reached| seen = Some(reached);
                let decision = self
                    .store
                    .admit(&key, print, number, waiter, told, &mut gone);
                let (expected, reached) = self.expected(key, print, waiter);
                assert_eq!(decision, expected);
                assert_eq!(seen, reached, "a joiner is told how far it is");
            }
            Step::Begin(key) => {
                if let Some(Model::Running {
                    epoch,
                    waiters,
                    told,
                    reached,
                    ..
                }) = self.model.get_mut(&key)
                {
                    *reached = Verdict::Executed;
                    waiters.retain(|waiter| waiter % 2 == 0);
                    let wanted = *told || !waiters.is_empty();
                    let still = |waiter: &mut u64, _| waiter.is_multiple_of(2);
                    let mut left = Vec::new();
                    let got =
                        self.store
                            .progress(&key, *epoch, Verdict::Executed, still, &mut left);
                    assert_eq!(got, wanted);
                    assert!(left.iter().all(|waiter| waiter % 2 == 1));
                }
            }
            Step::End(key, bytes) => self.end(key, Some((number, bytes))),
            Step::Free(key) => self.end(key, None),
            Step::Leave(key) => {
                if let Some(Model::Running {
                    epoch,
                    waiters,
                    told,
                    ..
                }) = self.model.get_mut(&key)
                    && let Some(last) = waiters.pop()
                {
                    let alone = (waiters.is_empty() && !*told).then_some(*epoch);
                    assert_eq!(self.store.leave(&key, last), Some((last, alone)));
                }
                assert_eq!(self.store.leave(&key, u64::MAX), None);
            }
        }
        self.check();
    }

    /// What the model says about a request, and does.
    fn expected(
        &mut self,
        key: u8,
        print: u128,
        waiter: Option<u64>,
    ) -> (Decision<u64, u64>, Option<Verdict>) {
        let room = self.model.len() < self.bounds.entries
            && self.model_bytes() + ENTRY_BYTES <= self.bounds.bytes;
        match self.model.get_mut(&key) {
            Some(entry) if entry.print() != print => (Decision::KeyReused(waiter), None),
            Some(Model::Ended { outcome, .. }) => (Decision::Ended(*outcome, waiter), None),
            Some(Model::Running {
                waiters,
                told,
                reached,
                ..
            }) => match waiter {
                None => {
                    *told = true;
                    (Decision::Joined, None)
                }
                Some(_) if waiters.len() >= self.bounds.waiters => (Decision::Full(waiter), None),
                Some(number) => {
                    waiters.push(number);
                    (Decision::Joined, Some(*reached))
                }
            },
            None if !room => (Decision::Full(waiter), None),
            None => {
                let entry = Model::Running {
                    epoch: self.number,
                    print,
                    told: waiter.is_none(),
                    waiters: waiter.into_iter().collect(),
                    reached: Verdict::NotExecuted,
                };
                self.model.insert(key, entry);
                (Decision::Run, None)
            }
        }
    }

    fn end(&mut self, key: u8, outcome: Option<(u64, usize)>) {
        let mut gone = Vec::new();
        let due = self.now + WINDOW;
        let Some(Model::Running {
            epoch,
            print,
            waiters,
            told,
            ..
        }) = self.model.get(&key).cloned()
        else {
            return;
        };
        // What belongs to another attempt is ignored.
        let other = self
            .store
            .end(&key, epoch + 1_000_000, at(due), outcome, &mut gone);
        assert!(other.is_none());
        let fits = self.model_bytes() + outcome.map_or(0, |(_, bytes)| bytes) <= self.bounds.bytes;
        match outcome {
            None => {
                self.model.remove(&key);
            }
            Some((outcome, bytes)) => {
                let bytes = if fits { bytes } else { 0 };
                let entry = Model::Ended {
                    print,
                    outcome,
                    bytes,
                    due,
                };
                self.model.insert(key, entry);
            }
        }
        let waiting = self
            .store
            .end(&key, epoch, at(due), outcome, &mut gone)
            .unwrap();
        let numbers: Vec<u64> = waiting.waiters.iter().map(|(number, _)| *number).collect();
        assert_eq!((numbers, waiting.told), (waiters, told));
        assert_eq!(waiting.too_large, outcome.is_some() && !fits);
    }

    fn check(&self) {
        let (running, ended, bytes) = self.store.counts();
        let is_running = |entry: &&Model| matches!(entry, Model::Running { .. });
        assert_eq!(running, self.model.values().filter(is_running).count());
        assert_eq!(running + ended, self.model.len());
        assert_eq!(bytes, self.model_bytes());
        assert!(running + ended <= self.bounds.entries);
        assert!(bytes <= self.bounds.bytes);
    }
}

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

proptest! {
    #[test]
    fn g19_the_store_is_a_map(
        steps in steps(), entries in 1usize..6, kib in 1usize..4, waiters in 1usize..4,
    ) {
        let bounds = Bounds { entries, bytes: kib * 512, waiters, forget_oldest: false };
        let mut pair = Pair::new(bounds);
        for step in steps {
            pair.step(step);
        }
    }

    /// Forgetting the oldest finished ones makes room without touching what runs.
    #[test]
    fn g19_what_runs_is_never_forgotten(
        requests in prop::collection::vec((any::<bool>(), 0usize..300), 1..60),
    ) {
        let bounds = Bounds { entries: 5, bytes: 2_000, waiters: 1, forget_oldest: true };
        let mut store: Store<usize, usize, u64> = Store::new(bounds);
        let (mut running, mut gone) = (Vec::new(), Vec::new());
        for (key, (ends, bytes)) in requests.into_iter().enumerate() {
            let number = key as u64;
            match store.admit(&key, 0, number, Some(number), |_, _| {}, &mut gone) {
                Decision::Run if ends => {
                    let outcome = Some((key, bytes));
                    prop_assert!(store.end(&key, number, at(1), outcome, &mut gone).is_some());
                }
                Decision::Run => running.push(key),
                Decision::Full(_) => prop_assert!(running.len() >= 5),
                other => prop_assert!(false, "{other:?}"),
            }
            for key in &running {
                let again = store.admit(key, 0, u64::MAX, None, |_, _| {}, &mut gone);
                prop_assert_eq!(again, Decision::Joined);
            }
            let (_, _, bytes) = store.counts();
            prop_assert!(bytes <= 2_000);
        }
    }
}
