//! Requests with and without keys in random order, against a map.

use std::collections::HashMap;

use callboard::{FailureKind, RequestKey, SendError, Simulation, Verdict};
use callboard_supervision::FINGERPRINT_WINDOW;
use proptest::prelude::*;

use super::{Bench, Charge, Then, on_behalf};

#[derive(Debug, Clone, Copy)]
enum Step {
    /// What is charged; in steps of the window's half, how long to wait before; on whose behalf.
    Ask(u8, u8, bool),
    Keyed(u8, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_u8..4, 0_u8..4, any::<bool>()).prop_map(|(what, wait, who)| Step::Ask(what, wait, who)),
        1 => (0_u8..3, 0_u8..4).prop_map(|(key, what)| Step::Keyed(key, what)),
    ];
    prop::collection::vec(step, 0..40)
}

/// What a caller is told.
type Told = Result<usize, (FailureKind, Verdict)>;

/// What should come of it, in a map.
#[derive(Default)]
struct Model {
    now: u8,
    runs: usize,
    by_print: HashMap<(u8, bool), (u8, Told)>,
    by_key: HashMap<u8, (u8, Told)>,
}

impl Model {
    /// It is run: what is told, and whether that is an end.
    fn run(&mut self, what: u8) -> (Told, bool) {
        self.runs += 1;
        match then(what) {
            Then::Fail => (Err((FailureKind::Overloaded, Verdict::Executed)), true),
            Then::Refuse => (Err((FailureKind::Overloaded, Verdict::NotExecuted)), false),
            _ => (Ok(self.runs), true),
        }
    }

    fn step(&mut self, step: Step) -> Told {
        match step {
            Step::Ask(what, wait, who) => {
                self.now += wait;
                if let Some((end, told)) = self.by_print.get(&(what, who))
                    && self.now < end + 2
                {
                    return *told;
                }
                let (told, is_end) = self.run(what);
                if is_end {
                    self.by_print.insert((what, who), (self.now, told));
                }
                told
            }
            Step::Keyed(key, what) => match self.by_key.get(&key) {
                Some((other, _)) if *other != what => {
                    Err((FailureKind::KeyReused, Verdict::NotExecuted))
                }
                Some((_, told)) => *told,
                None => {
                    let (told, is_end) = self.run(what);
                    if is_end {
                        self.by_key.insert(key, (what, told));
                    }
                    told
                }
            },
        }
    }
}

fn then(what: u8) -> Then {
    match what {
        2 => Then::Fail,
        3 => Then::Refuse,
        _ => Then::Answer,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn g19_by_fingerprint_is_a_map_with_a_window(steps in steps(), seed in any::<u64>()) {
        let mut simulation = Simulation::new(seed);
        let system = simulation.system().clone();
        let (told, expected) = simulation.block_on(async move {
            let bench = Bench::new(&system);
            let keys: [RequestKey; 3] = std::array::from_fn(|_| RequestKey::new());
            let mut model = Model::default();
            let (mut told, mut expected) = (Vec::new(), Vec::new());
            for step in steps {
                let asked: Result<usize, SendError<Charge>> = match step {
                    Step::Ask(what, wait, who) => {
                        system.clock().sleep(FINGERPRINT_WINDOW / 2 * wait.into()).await;
                        let ask = bench.ask(what.into(), then(what));
                        if who { on_behalf(ask, "uid:1").await } else { ask.await }
                    }
                    Step::Keyed(key, what) => {
                        bench.ask(what.into(), then(what)).key(keys[usize::from(key)]).await
                    }
                };
                told.push(asked.map_err(|error| (error.kind(), error.verdict())));
                expected.push(model.step(step));
            }
            told.push(Ok(bench.charges()));
            expected.push(Ok(model.runs));
            (told, expected)
        });
        prop_assert_eq!(told, expected);
    }
}
