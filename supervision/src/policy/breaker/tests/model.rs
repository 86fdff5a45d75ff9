//! The breaker beside the rules as its docs tell them, written down without a thought for speed.

use std::time::Duration;

use callboard_core::clock::Instant;
use proptest::prelude::*;

use crate::policy::breaker::{Breaker, BreakerState, Ended, Pass};
use crate::policy::settings::BreakerSettings;

#[derive(Debug, Clone, Copy)]
enum Step {
    Wait(u64),
    /// An attempt begins.
    Enter,
    /// One of those under way ends.
    End(prop::sample::Index, Ended),
    Look,
    /// Other settings from here on.
    Change(usize),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Closed,
    Open { until: u64 },
    HalfOpen,
}

/// All in nanoseconds.
struct Model {
    state: State,
    /// Each state has its own; an attempt remembers which let it in.
    generation: u32,
    row: u32,
    /// When each attempt ended while this closed state lasts, and whether it failed.
    ends: Vec<(u64, bool)>,
    times: u32,
    open_for: u64,
    closed_at: u64,
    under_way: u32,
    succeeded: u32,
}

/// Of the model: by which generation, and whether it is a probe.
type ModelPass = (u32, bool);

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap()
}

impl Model {
    fn new() -> Self {
        Model {
            state: State::Closed,
            generation: 0,
            row: 0,
            ends: Vec::new(),
            times: 0,
            open_for: 0,
            closed_at: 0,
            under_way: 0,
            succeeded: 0,
        }
    }

    fn enter_state(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
        (self.under_way, self.succeeded) = (0, 0);
    }

    fn look(&mut self, now: u64, settings: &BreakerSettings) -> Result<(), u64> {
        match self.state {
            State::Closed => Ok(()),
            State::Open { until } if now >= until => Ok(()),
            State::Open { until } => {
                let until = until.min(now + nanos(settings.max_open));
                self.state = State::Open { until };
                Err(until - now)
            }
            State::HalfOpen => {
                let enough = self.succeeded >= settings.probes;
                let room = self.under_way + self.succeeded < settings.probes;
                (enough || room).then_some(()).ok_or(nanos(settings.open))
            }
        }
    }

    fn enter(&mut self, now: u64, settings: &BreakerSettings) -> Result<ModelPass, u64> {
        self.look(now, settings)?;
        if let State::Open { .. } = self.state {
            self.enter_state(State::HalfOpen);
        }
        if self.state == State::HalfOpen && self.succeeded >= settings.probes {
            self.close(now);
        }
        let probe = self.state == State::HalfOpen;
        self.under_way += u32::from(probe);
        Ok((self.generation, probe))
    }

    fn ended(&mut self, pass: ModelPass, now: u64, settings: &BreakerSettings, how: Ended) {
        let (generation, probe) = pass;
        if generation != self.generation {
            return;
        }
        if probe {
            self.under_way -= 1;
            match how {
                Ended::Nothing => {}
                Ended::Failed => self.open(now, settings),
                Ended::Good => {
                    self.succeeded += 1;
                    if self.succeeded >= settings.probes {
                        self.close(now);
                    }
                }
            }
            return;
        }
        match how {
            Ended::Nothing => {}
            Ended::Good => {
                self.row = 0;
                self.ends.push((now, false));
            }
            Ended::Failed => {
                self.row += 1;
                self.ends.push((now, true));
                let (calls, failures) = self.within(now, settings);
                let share = failures as f64 / calls as f64;
                let by_rate = calls >= u64::from(settings.min_calls) && share >= settings.rate;
                if self.row >= settings.consecutive || by_rate {
                    self.open(now, settings);
                }
            }
        }
    }

    fn open(&mut self, now: u64, settings: &BreakerSettings) {
        let spell = self.open_for.min(nanos(settings.max_open));
        let spell = spell.max(nanos(settings.window));
        if self.state == State::Closed && now - self.closed_at >= spell {
            self.times = 0;
        }
        let doubled = nanos(settings.open).saturating_mul(1 << self.times.min(31));
        self.open_for = doubled.min(nanos(settings.max_open));
        self.times += 1;
        self.enter_state(State::Open {
            until: now + self.open_for,
        });
    }

    fn close(&mut self, now: u64) {
        self.closed_at = now;
        self.row = 0;
        self.ends.clear();
        self.enter_state(State::Closed);
    }

    /// By tenths of the window, each for as long as its beginning lies within.
    fn within(&self, now: u64, settings: &BreakerSettings) -> (u64, u64) {
        let window = nanos(settings.window);
        let tenth = window / 10;
        let live = self
            .ends
            .iter()
            .filter(|(ended, _)| ended / tenth * tenth + window > now);
        live.fold((0, 0), |(calls, failures), (_, failed)| {
            (calls + 1, failures + u64::from(*failed))
        })
    }

    fn shown(&self, now: u64, settings: &BreakerSettings) -> BreakerState {
        match self.state {
            State::Closed => {
                let (calls, failures) = self.within(now, settings);
                BreakerState::Closed {
                    failures_in_a_row: self.row,
                    calls,
                    failures,
                }
            }
            State::Open { until } => BreakerState::Open {
                until: Instant::from_nanos(until),
                times: self.times,
            },
            State::HalfOpen => BreakerState::HalfOpen {
                under_way: self.under_way,
                succeeded: self.succeeded,
                times: self.times,
            },
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let how = prop_oneof![
        4 => Just(Ended::Good),
        5 => Just(Ended::Failed),
        1 => Just(Ended::Nothing),
    ];
    let step = prop_oneof![
        2 => (0u64..300).prop_map(Step::Wait),
        1 => (0u64..6_000).prop_map(Step::Wait),
        6 => Just(Step::Enter),
        5 => (any::<prop::sample::Index>(), how).prop_map(|(which, how)| Step::End(which, how)),
        1 => Just(Step::Look),
        1 => (0usize..3).prop_map(Step::Change),
    ];
    prop::collection::vec(step, 0..400)
}

fn settings(window: u64) -> impl Strategy<Value = BreakerSettings> {
    let open = prop_oneof![1u64..50, 100u64..3_000];
    (1u32..8, 1u32..10, 1u32..12, open, 0u64..8_000, 1u32..4).prop_map(
        move |(consecutive, rate, min_calls, open, more, probes)| BreakerSettings {
            consecutive,
            rate: f64::from(rate) / 10.0,
            min_calls,
            window: Duration::from_millis(window),
            open: Duration::from_millis(open),
            max_open: Duration::from_millis(open + more),
            probes,
            ..BreakerSettings::default()
        },
    )
}

fn three_settings() -> impl Strategy<Value = [BreakerSettings; 3]> {
    (100u64..3_000).prop_flat_map(|window| [settings(window), settings(window), settings(window)])
}

proptest! {
    /// Every answer and every state is the model's; and never are more probes under way than may be.
    #[test]
    fn it_does_what_its_docs_say(steps in steps(), settings in three_settings()) {
        let (breaker, mut model) = (Breaker::new(), Model::new());
        let mut now = 0u64;
        let mut current = &settings[0];
        let mut under_way: Vec<(Pass, ModelPass)> = Vec::new();
        for step in steps {
            let at = Instant::from_nanos(now);
            match step {
                Step::Wait(ms) => now += ms * 1_000_000,
                Step::Change(which) => current = &settings[which],
                Step::Look => {
                    let looked = breaker.look(at, current).map_err(|no| nanos(no.retry_after));
                    prop_assert_eq!(looked, model.look(now, current));
                }
                Step::Enter => {
                    let looked = breaker.look(at, current).is_ok();
                    let entered = breaker.enter(at, current);
                    prop_assert_eq!(looked, entered.is_ok(), "look says what enter does");
                    match (entered, model.enter(now, current)) {
                        (Ok(pass), Ok(expected)) => under_way.push((pass, expected)),
                        (Err(no), Err(expected)) => {
                            prop_assert_eq!(nanos(no.retry_after), expected);
                        }
                        (entered, expected) => {
                            prop_assert!(false, "{entered:?} instead of {expected:?}");
                        }
                    }
                }
                Step::End(which, how) => if !under_way.is_empty() {
                    let (pass, expected) = under_way.swap_remove(which.index(under_way.len()));
                    breaker.ended(pass, at, current, how);
                    model.ended(expected, now, current, how);
                }
            }
            let at = Instant::from_nanos(now);
            prop_assert_eq!(breaker.state(at), model.shown(now, current));
        }
    }
}
