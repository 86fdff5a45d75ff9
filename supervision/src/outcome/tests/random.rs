//! Attempts of a few requests, side by side, overtaking each other, failing and dying at random.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use proptest::prelude::*;

use super::bank::{Bank, Broken, Fault, add, block_on, turn};
use super::{OutcomeStore, RequestId, id};
use crate::outcome::{Once, OnceError};

/// So many requests; each pays into an account of its own.
const REQUESTS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    /// One more attempt of that request, with its payload or with another one.
    Attempt { request: usize, payload: u8 },
    /// The attempt in that place of the list gets a turn.
    Turn(usize),
    /// It dies.
    Dies(usize),
    /// The database fails at the next such point.
    Fault(Fault),
    /// Somebody settles what became of that request.
    Resolve(usize),
    /// The process dies with all attempts, and starts again.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let fault = prop::sample::select(vec![
        Fault::Begin,
        Fault::Find,
        Fault::Keep,
        Fault::CommitNotDone,
        Fault::CommitDone,
    ]);
    prop_oneof![
        4 => (0..REQUESTS, prop::sample::select(vec![0, 0, 0, 1]))
            .prop_map(|(request, payload)| Step::Attempt { request, payload }),
        16 => (0_usize..8).prop_map(Step::Turn),
        2 => (0_usize..8).prop_map(Step::Dies),
        2 => fault.prop_map(Step::Fault),
        1 => (0..REQUESTS).prop_map(Step::Resolve),
        1 => Just(Step::Restart),
    ]
}

type Ended = Result<Once<(u8, u32)>, OnceError<Broken, Broken>>;

/// One attempt, on a connection of its own. Its answer says which attempt it was, and with what payload.
fn attempt(
    bank: &Bank,
    id: &RequestId,
    payload: u8,
    number: u32,
) -> LocalBoxFuture<'static, Ended> {
    let (mut bank, id) = (bank.connect(), id.clone());
    let attempt = async move {
        let effect = bank.once(&id, &payload, async |tx| {
            add(tx, &id.to_string(), 1);
            turn().await;
            Ok((payload, number))
        });
        effect.await
    };
    attempt.boxed_local()
}

/// What was learnt of a request.
#[derive(Default)]
struct Known {
    answer: Option<(u8, u32)>,
    firsts: u32,
    is_sealed: bool,
}

impl Known {
    fn learn(&mut self, payload: u8, ended: &Ended) {
        let answer = match ended {
            Ok(Once::First(answer)) => {
                self.firsts += 1;
                *answer
            }
            Ok(Once::Again(answer)) => *answer,
            // Sealed by somebody who died before it knew, perhaps.
            Err(OnceError::Sealed(_)) => {
                assert_eq!(self.answer, None, "refused what has run");
                self.is_sealed = true;
                return;
            }
            Err(OnceError::KeyReused(_)) => {
                let other = self.answer.is_none_or(|answer| answer.0 != payload);
                assert!(other, "refused the payload that it has run with");
                return;
            }
            Err(_) => return,
        };
        assert!(
            !self.is_sealed,
            "has run, and it was settled that it never does"
        );
        assert_eq!(
            answer.0, payload,
            "answered with the answer to another payload"
        );
        assert!(self.firsts <= 1, "had its effect twice");
        let known = *self.answer.get_or_insert(answer);
        assert_eq!(known, answer, "two answers to one request");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn g19_one_effect_whatever_fails_dies_or_overtakes(steps in prop::collection::vec(step(), 1..120)) {
        let bank = Bank::default();
        let ids: Vec<RequestId> = (0..REQUESTS).map(|_| id()).collect();
        let mut known: Vec<Known> = (0..REQUESTS).map(|_| Known::default()).collect();
        let mut running: Vec<(usize, u8, LocalBoxFuture<'static, Ended>)> = Vec::new();
        let mut number = 0;
        for step in steps {
            match step {
                Step::Attempt { request, payload } => {
                    number += 1;
                    let attempt = attempt(&bank, &ids[request], payload, number);
                    running.push((request, payload, attempt));
                }
                Step::Turn(place) if place < running.len() => {
                    let (request, payload, attempt) = &mut running[place];
                    if let Some(ended) = attempt.now_or_never() {
                        known[*request].learn(*payload, &ended);
                        drop(running.remove(place));
                    }
                }
                Step::Dies(place) if place < running.len() => drop(running.remove(place)),
                Step::Fault(fault) => bank.fail_once(fault),
                Step::Resolve(request) => {
                    let known = &mut known[request];
                    match block_on(bank.connect().resolve::<(u8, u32)>(&ids[request])) {
                        Ok(Some(answer)) => known.learn(answer.0, &Ok(Once::Again(answer))),
                        Ok(None) => {
                            prop_assert_eq!(known.answer, None, "settled as not run, and has");
                            known.is_sealed = true;
                        }
                        Err(_) => {}
                    }
                }
                Step::Restart => running.clear(),
                Step::Turn(_) | Step::Dies(_) => {}
            }
            for id in &ids {
                prop_assert!(bank.balance(&id.to_string()) <= 1, "had its effect twice");
            }
        }
        running.clear();
        bank.cancel_fault();
        // Whoever goes on asking gets an answer, and there was one effect.
        for (id, known) in ids.iter().zip(&mut known) {
            number += 1;
            let payload = known.answer.map_or(0, |answer| answer.0);
            let ended = block_on(attempt(&bank, id, payload, number));
            known.learn(payload, &ended);
            let is_known =
                matches!(ended, Ok(_) | Err(OnceError::KeyReused(_) | OnceError::Sealed(_)));
            prop_assert!(is_known, "{ended:?}");
            let effects = i64::from(!known.is_sealed);
            prop_assert_eq!(bank.balance(&id.to_string()), effects);
        }
        prop_assert_eq!(bank.kept(), REQUESTS);
    }
}

#[test]
fn what_is_forgotten_runs_again_and_nothing_else_does() {
    let mut bank = Bank::default();
    let (old, young) = (id(), id());
    let second = Duration::from_secs(1);
    let run = |bank: &Bank, id: &RequestId| block_on(attempt(bank, id, 0, 0)).unwrap();
    run(&bank, &old);
    bank.pass(10 * second);
    run(&bank, &young);
    bank.pass(5 * second);
    assert_eq!(block_on(bank.forget_older_than(15 * second)), Ok(0));
    assert_eq!(block_on(bank.forget_older_than(14 * second)), Ok(1));
    let runs: BTreeMap<&str, bool> = BTreeMap::from([
        ("old", run(&bank, &old).is_first()),
        ("young", run(&bank, &young).is_first()),
    ]);
    assert_eq!(runs, BTreeMap::from([("old", true), ("young", false)]));
}
