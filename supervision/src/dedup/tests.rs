//! The store against a map, over random sequences.

use std::collections::BTreeMap;

use callboard_core::clock::Instant;
use callboard_core::{Entropy, Verdict};
use proptest::prelude::*;

use super::few::Few;
use super::keyed::Keyed;
use super::store::{
    Bounds, Decision, ENTRY_BYTES, Gone, PutBack, Request, Run, Seen, Store, Waiting,
};
use super::waiters::Waiters;

const WINDOW: u64 = 100;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A request: key, payload, whether it is a tell.
    Admit(u8, u128, bool),
    /// The handler of that key begins. A waiter with an odd number has gone.
    Begin(u8),
    /// The attempt with that key ends with a stored outcome of that size.
    End(u8, usize),
    /// The attempt with that key breaks off, and may be made again.
    Break(u8),
    /// The attempt with that key did not run.
    Free(u8),
    /// The newest waiter of that key leaves.
    Leave(u8),
    /// It is settled that the key never runs.
    Seal(u8),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0u8..6;
    let step = prop_oneof![
        6 => (key.clone(), 0u128..2, prop::bool::weighted(0.1))
            .prop_map(|(key, print, tell)| Step::Admit(key, print, tell)),
        2 => key.clone().prop_map(Step::Begin),
        3 => (key.clone(), 0usize..600).prop_map(|(key, bytes)| Step::End(key, bytes)),
        2 => key.clone().prop_map(Step::Break),
        1 => key.clone().prop_map(Step::Free),
        1 => key.clone().prop_map(Step::Seal),
        1 => key.prop_map(Step::Leave),
        2 => (0u64..60).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..250)
}

#[derive(Debug, Clone, PartialEq)]
struct Model {
    record: u64,
    print: u128,
    attempts: u32,
    bytes: usize,
    state: State,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    Running {
        place: usize,
        epoch: u64,
        waiters: Vec<u64>,
        told: bool,
        reached: Verdict,
        broken: u32,
    },
    Ended {
        outcome: u64,
        due: u64,
    },
    Broken {
        due: u64,
    },
    Sealed {
        due: u64,
    },
}

impl State {
    fn due(&self) -> Option<u64> {
        match self {
            State::Running { .. } => None,
            State::Ended { due, .. } | State::Broken { due } | State::Sealed { due } => Some(*due),
        }
    }
}

struct Pair {
    bounds: Bounds,
    store: Store<u8, u64, u64>,
    model: BTreeMap<u8, Model>,
    now: u64,
    number: u64,
    gone: Few<Gone<u64>>,
}

impl Pair {
    fn new(bounds: Bounds) -> Self {
        Pair {
            bounds,
            store: Store::new(bounds, Keyed::new(&Entropy::seeded(1))),
            model: BTreeMap::new(),
            now: 0,
            number: 0,
            gone: Few::default(),
        }
    }

    fn model_bytes(&self) -> usize {
        self.model
            .values()
            .map(|entry| ENTRY_BYTES + entry.bytes)
            .sum()
    }

    fn has_room(&self) -> bool {
        self.model.len() < self.bounds.entries
            && self.model_bytes() + ENTRY_BYTES <= self.bounds.bytes
    }

    fn step(&mut self, step: Step) {
        self.number += 1;
        let number = self.number;
        match step {
            Step::Wait(span) => self.now += span,
            Step::Admit(key, print, tell) => self.admit(key, print, tell),
            Step::Begin(key) => self.begin(key),
            Step::End(key, bytes) => self.end(key, number, bytes),
            Step::Break(key) => {
                let due = self.now + WINDOW;
                self.leave_running(key, |store, place, epoch| {
                    store.break_off(place, epoch, at(due))
                });
                self.settle(key, State::Broken { due });
            }
            Step::Free(key) => self.free(key),
            Step::Leave(key) => self.leave(key),
            Step::Seal(key) => {
                let due = self.now + WINDOW;
                if self.store.look(&key).is_none() {
                    let sealed = self.store.seal(&key, number, at(due), &mut self.gone);
                    assert_eq!(sealed, self.has_room());
                    if sealed {
                        let entry = Model {
                            record: number,
                            print: 0,
                            attempts: 0,
                            bytes: 0,
                            state: State::Sealed { due },
                        };
                        self.model.insert(key, entry);
                    }
                }
            }
        }
        self.check();
    }

    fn admit(&mut self, key: u8, print: u128, tell: bool) {
        self.store.expire(at(self.now), &mut self.gone);
        let now = self.now;
        self.model
            .retain(|_, entry| entry.state.due().is_none_or(|due| due > now));
        let number = self.number;
        let mut waiter = (!tell).then_some(number);
        let (mut seen, mut asked_around) = (None, false);
        let decision = loop {
            let request = Request {
                key: &key,
                print,
                number,
                attempt: 1,
                waiter: waiter.take(),
                told: seen,
                asked_around,
            };
            match self.store.admit(request, &mut self.gone) {
                Decision::WouldJoin(own, reached) => {
                    assert_eq!(seen, None, "it joins, or not");
                    (waiter, seen) = (Some(own), Some(reached));
                }
                Decision::AskAround(own, place, epoch) => {
                    assert!(!asked_around, "there was no room");
                    // All say that they wait.
                    let (waiters, reached) = self.store.take_waiters(place, epoch, None).unwrap();
                    back(&mut self.store, place, epoch, waiters, reached);
                    (waiter, asked_around) = (Some(own), true);
                }
                decided => break decided,
            }
        };
        let waiter = (!tell).then_some(number);
        if let Decision::Run(run) = &decision {
            let run = *run;
            self.expect_run(key, print, waiter, run);
            return;
        }
        let (expected, reached) = self.expected(key, print, waiter);
        assert_eq!(decision, expected);
        assert_eq!(seen, reached, "a joiner is told how far it is");
    }

    fn expect_run(&mut self, key: u8, print: u128, waiter: Option<u64>, run: Run) {
        let number = self.number;
        let broken = match self.model.get(&key) {
            None => {
                assert!(self.has_room());
                0
            }
            Some(entry) => {
                assert!(matches!(entry.state, State::Broken { .. }), "{entry:?}");
                assert_eq!(entry.print, print);
                entry.attempts
            }
        };
        let record = self.model.get(&key).map_or(number, |entry| entry.record);
        assert_eq!((run.record, run.attempt), (record, broken + 1));
        let entry = Model {
            record,
            print,
            attempts: broken + 1,
            bytes: 0,
            state: State::Running {
                place: run.place,
                epoch: number,
                told: waiter.is_none(),
                waiters: waiter.into_iter().collect(),
                reached: Verdict::NotExecuted,
                broken,
            },
        };
        self.model.insert(key, entry);
    }

    fn expected(
        &mut self,
        key: u8,
        print: u128,
        waiter: Option<u64>,
    ) -> (Decision<u64, u64>, Option<Verdict>) {
        let Some(entry) = self.model.get_mut(&key) else {
            assert!(!self.has_room(), "it could have run");
            return (Decision::Full(waiter), None);
        };
        let same = entry.print == print;
        match (&mut entry.state, waiter) {
            (State::Sealed { .. }, waiter) => (Decision::Sealed(waiter), None),
            _ if !same => (Decision::KeyReused(waiter), None),
            (State::Ended { outcome, .. }, waiter) => (Decision::Ended(*outcome, waiter), None),
            (State::Broken { .. }, _) => panic!("it could have run again"),
            (State::Running { told, .. }, None) => {
                *told = true;
                (Decision::Joined, None)
            }
            (State::Running { waiters, .. }, waiter) if waiters.len() >= self.bounds.waiters => {
                (Decision::Crowded(waiter), None)
            }
            (
                State::Running {
                    waiters, reached, ..
                },
                Some(number),
            ) => {
                waiters.push(number);
                (Decision::Joined, Some(*reached))
            }
        }
    }

    fn begin(&mut self, key: u8) {
        let Some(State::Running {
            place,
            epoch,
            waiters,
            told: told_one,
            reached: model_reached,
            ..
        }) = self.model.get_mut(&key).map(|entry| &mut entry.state)
        else {
            return;
        };
        *model_reached = Verdict::Executed;
        waiters.retain(|waiter| waiter % 2 == 0);
        let begun = Some(Verdict::Executed);
        let (mut told, reached) = self.store.take_waiters(*place, *epoch, begun).unwrap();
        let count = told.len();
        assert_eq!(reached, Verdict::Executed);
        // One that waits still leaves while it is away.
        let leaver = waiters.pop();
        if let Some(leaver) = leaver {
            assert_eq!(self.store.leave(&key, leaver), None);
        }
        let mut left = Vec::new();
        told.retain(|waiter| waiter.is_multiple_of(2), &mut left);
        let back = self.store.put_back(*place, *epoch, count, told, &mut left);
        let wanted = *told_one || !waiters.is_empty();
        assert!(matches!(back, PutBack::There { wanted: got, .. } if got == wanted));
        let leaves = |waiter: &u64| waiter % 2 == 1 || Some(*waiter) == leaver;
        assert!(left.iter().all(leaves));
    }

    fn end(&mut self, key: u8, outcome: u64, bytes: usize) {
        let due = self.now + WINDOW;
        let fits = self.model_bytes() + bytes <= self.bounds.bytes;
        let mut gone = Few::default();
        let ended = self.leave_running(key, |store, place, epoch| {
            assert_eq!(store.weigh(place, epoch, bytes, &mut gone), fits);
            store.end(place, epoch, at(due), outcome)
        });
        if ended
            && fits
            && let Some(entry) = self.model.get_mut(&key)
        {
            entry.bytes = bytes;
        }
        self.settle(key, State::Ended { outcome, due });
    }

    fn free(&mut self, key: u8) {
        let due = self.now + WINDOW;
        let mut record = None;
        self.leave_running(key, |store, place, epoch| {
            let (waiting, freed) = store.forget(place, epoch, at(due))?;
            record = freed;
            Some(waiting)
        });
        let Some(State::Running { broken, .. }) = self.model.get(&key).map(|it| it.state.clone())
        else {
            return;
        };
        if broken == 0 {
            let entry = self.model.remove(&key);
            assert_eq!(record, entry.map(|entry| entry.record));
            return;
        }
        assert_eq!(record, None, "what earlier attempts did is remembered");
        if let Some(entry) = self.model.get_mut(&key) {
            entry.attempts = broken;
            entry.state = State::Broken { due };
        }
    }

    /// Ends the attempt of a key, if there is one, and looks who is told.
    fn leave_running(
        &mut self,
        key: u8,
        mut end: impl FnMut(&mut Store<u8, u64, u64>, usize, u64) -> Option<Waiting<u64>>,
    ) -> bool {
        let Some(State::Running {
            place,
            epoch,
            waiters,
            told,
            ..
        }) = self.model.get(&key).map(|entry| entry.state.clone())
        else {
            return false;
        };
        // What belongs to another attempt is ignored.
        let other = self
            .store
            .end(place, epoch + 1_000_000, at(self.now + WINDOW), 0);
        assert!(other.is_none());
        let waiting = end(&mut self.store, place, epoch).unwrap();
        assert_eq!(waiting.told, told);
        let numbers: Vec<u64> = waiting.waiters.into_iter().map(|(own, _)| own).collect();
        assert_eq!(numbers, waiters);
        true
    }

    fn settle(&mut self, key: u8, state: State) {
        if let Some(entry) = self.model.get_mut(&key)
            && matches!(entry.state, State::Running { .. })
        {
            entry.state = state;
        }
    }

    fn leave(&mut self, key: u8) {
        if let Some(State::Running {
            epoch,
            waiters,
            told,
            ..
        }) = self.model.get_mut(&key).map(|entry| &mut entry.state)
            && let Some(number) = waiters.pop()
        {
            let alone = (waiters.is_empty() && !*told).then_some(*epoch);
            assert_eq!(self.store.leave(&key, number), Some((number, alone)));
            assert_eq!(self.store.leave(&key, number), None);
        }
    }

    fn check(&self) {
        let (running, rest, bytes) = self.store.counts();
        let is_running = |entry: &&Model| entry.state.due().is_none();
        assert_eq!(running, self.model.values().filter(is_running).count());
        assert_eq!(running + rest, self.model.len());
        assert_eq!(bytes, self.model_bytes());
        assert!(running + rest <= self.bounds.entries);
        assert!(bytes <= self.bounds.bytes);
        for (key, entry) in &self.model {
            let seen = match entry.state {
                State::Running { .. } => Seen::Running,
                State::Ended { outcome, .. } => Seen::Ended(outcome),
                State::Broken { .. } => Seen::Broken,
                State::Sealed { .. } => Seen::Sealed,
            };
            assert_eq!(self.store.look(key), Some(seen));
        }
    }
}

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn request(key: &usize, number: u64, waiter: Option<u64>) -> Request<'_, usize, u64> {
    Request {
        key,
        print: 0,
        number,
        attempt: 1,
        waiter,
        told: Some(Verdict::NotExecuted),
        asked_around: true,
    }
}

/// Puts all back that were taken out.
fn back(
    store: &mut Store<u8, u64, u64>,
    place: usize,
    epoch: u64,
    waiters: Waiters<u64>,
    reached: Verdict,
) {
    let (count, mut left) = (waiters.len(), Vec::new());
    let back = store.put_back(place, epoch, count, waiters, &mut left);
    assert!(matches!(back, PutBack::There { wanted: true, reached: now } if now == reached));
    assert!(left.is_empty());
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
        let keyed = Keyed::new(&Entropy::seeded(1));
        let mut store: Store<usize, usize, u64> = Store::new(bounds, keyed);
        let (mut running, mut gone) = (Vec::new(), Few::default());
        for (key, (ends, bytes)) in requests.into_iter().enumerate() {
            let number = key as u64;
            let asked = request(&key, number, Some(number));
            match store.admit(asked, &mut gone) {
                Decision::Run(run) if ends => {
                    store.weigh(run.place, number, bytes, &mut gone);
                    prop_assert!(store.end(run.place, number, at(1), key).is_some());
                }
                Decision::Run(_) => running.push(key),
                Decision::Full(_) => prop_assert!(running.len() >= 5),
                other => prop_assert!(false, "{other:?}"),
            }
            for key in &running {
                let again = request(key, u64::MAX, None);
                let again = store.admit(again, &mut gone);
                prop_assert_eq!(again, Decision::Joined);
            }
            let (_, _, bytes) = store.counts();
            prop_assert!(bytes <= 2_000);
        }
    }
}

/// A key that breaks off again and again stands in the line a bounded number of times.
#[test]
fn g03_what_runs_again_leaves_no_trail() {
    let bounds = Bounds {
        entries: 5,
        bytes: 10_000,
        waiters: 1,
        forget_oldest: false,
    };
    let keyed = Keyed::new(&Entropy::seeded(1));
    let mut store: Store<usize, usize, u64> = Store::new(bounds, keyed);
    let mut gone = Few::default();
    for number in 1..10_000 {
        let asked = request(&7, number, None);
        let Decision::Run(run) = store.admit(asked, &mut gone) else {
            panic!("it may run again");
        };
        assert_eq!(u64::from(run.attempt), number);
        store.break_off(run.place, number, at(number)).unwrap();
        assert!(store.line_len() < 200, "{}", store.line_len());
    }
    assert_eq!(store.expire(at(20_000), &mut gone), 1);
    assert_eq!((store.counts(), gone.len()), ((0, 0, 0), 1));
}
