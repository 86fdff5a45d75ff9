//! The line of a lock, against a model that knows no index: a list of leases and a list of those who wait.

use std::sync::{Arc, Weak};
use std::time::Duration;

use proptest::prelude::*;

use super::line::{Entry, Leaving, Line, Request};
use super::*;
use crate::clock::Instant;

const UNITS: u32 = 4;
const WAITERS: usize = 3;

/// What happens to a line. Numbers choose among those there are.
#[derive(Debug, Clone)]
enum Step {
    Enter { units: u32, lease: u64 },
    Leave(usize),
    Lose(usize),
    Release(usize),
    Renew { which: usize, lease: u64 },
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..=UNITS, 1..20_u64).prop_map(|(units, lease)| Step::Enter { units, lease }),
        1 => any::<usize>().prop_map(Step::Leave),
        1 => any::<usize>().prop_map(Step::Lose),
        3 => any::<usize>().prop_map(Step::Release),
        2 => (any::<usize>(), 1..20_u64).prop_map(|(which, lease)| Step::Renew { which, lease }),
        2 => (0..10_u64).prop_map(Step::Pass),
    ]
}

struct Nobody;

impl OnLost for Nobody {
    fn lost(&self, _: Lost) {}
}

fn request(units: u32, lease: u64) -> Request {
    let nobody: Weak<dyn OnLost> = Weak::<Nobody>::new();
    Request {
        units,
        lease: Duration::from_nanos(lease),
        holder: None,
        on_lost: nobody,
    }
}

/// A party, as the model knows it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Party {
    id: u64,
    units: u32,
    lease: u64,
    /// It has gone, and the line doesn't know.
    gone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Lease {
    token: u64,
    units: u32,
    ends: u64,
}

#[derive(Default)]
struct Model {
    now: u64,
    newest: u64,
    leases: Vec<Lease>,
    waiting: Vec<Party>,
    /// Who got which token, in order.
    granted: Vec<(u64, u64)>,
}

impl Model {
    fn free(&self) -> u32 {
        UNITS - self.leases.iter().map(|lease| lease.units).sum::<u32>()
    }

    fn grant(&mut self, party: Party) {
        self.newest += 1;
        self.granted.push((party.id, self.newest));
        self.leases.push(Lease {
            token: self.newest,
            units: party.units,
            ends: self.now + party.lease,
        });
    }

    fn settle(&mut self) {
        self.leases.retain(|lease| lease.ends > self.now);
        while let Some(first) = self.waiting.first().copied()
            && first.units <= self.free()
        {
            self.waiting.remove(0);
            if !first.gone {
                self.grant(first);
            }
        }
    }
}

/// The line and what the actor does with it.
struct Subject {
    line: Line<u64>,
    /// Tickets of those who wait.
    tickets: Vec<(u64, u64)>,
    granted: Vec<(u64, u64)>,
}

impl Subject {
    fn settle(&mut self, now: Instant, gone: &[u64]) {
        while self.line.expire(now).is_some() {}
        while let Some((id, grant)) = self.line.serve(now, |id| !gone.contains(id)) {
            self.granted.push((id, grant.token.0));
        }
    }
}

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

/// The element that a number chooses.
fn choose<T: Copy>(of: &[T], number: usize) -> Option<T> {
    (!of.is_empty()).then(|| of[number % of.len()])
}

fn run(steps: &[Step]) {
    let mut model = Model::default();
    let mut subject = Subject {
        line: Line::new(Arc::from("line"), UNITS, Token(0), WAITERS),
        tickets: Vec::new(),
        granted: Vec::new(),
    };
    let mut gone = Vec::new();
    for (id, step) in (0..).zip(steps) {
        let now = at(model.now);
        match *step {
            Step::Enter { units, lease } => {
                let entry = subject.line.entry(units);
                let party = Party {
                    id,
                    units,
                    lease,
                    gone: false,
                };
                if model.waiting.is_empty() && units <= model.free() {
                    assert_eq!(entry, Entry::Free);
                    model.grant(party);
                    let grant = subject.line.grant(request(units, lease), now);
                    assert_eq!(grant.ends, at(model.now + lease));
                    subject.granted.push((id, grant.token.0));
                } else if model.waiting.len() < WAITERS {
                    assert_eq!(entry, Entry::Wait);
                    model.waiting.push(party);
                    subject.tickets.push((id, subject.line.next_ticket()));
                    subject.line.wait(request(units, lease), id, now);
                } else {
                    assert_eq!(entry, Entry::Full);
                }
            }
            Step::Leave(number) => {
                if let Some((id, ticket)) = choose(&subject.tickets, number) {
                    model.waiting.retain(|party| party.id != id);
                    subject.line.leave(ticket, Leaving::Withdrew);
                }
            }
            Step::Lose(number) => {
                if let Some(lost) = choose(&model.waiting, number) {
                    gone.push(lost.id);
                    let waiting = model.waiting.iter_mut();
                    waiting
                        .filter(|party| party.id == lost.id)
                        .for_each(|party| party.gone = true);
                }
            }
            Step::Release(number) => {
                let token = number as u64 % (model.newest + 2);
                let held = model.leases.iter().any(|lease| lease.token == token);
                model.leases.retain(|lease| lease.token != token);
                let released = subject.line.release(Token(token));
                let stale = Stale {
                    token: Token(token),
                    current: Token(model.newest),
                };
                assert_eq!(released, if held { Ok(()) } else { Err(stale) });
            }
            Step::Renew { which, lease } => {
                let token = which as u64 % (model.newest + 2);
                let held = model.leases.iter_mut().find(|lease| lease.token == token);
                let expected = held.map(|held| {
                    held.ends = held.ends.max(model.now + lease);
                    at(held.ends)
                });
                let lease = Duration::from_nanos(lease);
                let renewed = subject.line.renew(Token(token), lease, now);
                assert_eq!(renewed.ok(), expected);
            }
            Step::Pass(span) => model.now += span,
        }
        model.settle();
        subject.settle(at(model.now), &gone);
        check(&model, &subject);
    }
}

fn check(model: &Model, subject: &Subject) {
    assert_eq!(subject.granted, model.granted, "who got it, in which order");
    assert!(subject.granted.is_sorted_by_key(|(_, token)| *token));
    let state = subject.line.state(usize::MAX);
    let held: Vec<Lease> = state
        .held
        .iter()
        .map(|held| Lease {
            token: held.token.0,
            units: held.units,
            ends: held.ends.as_nanos(),
        })
        .collect();
    assert_eq!(held, model.leases);
    assert_eq!(
        (state.free, state.waiting),
        (model.free(), model.waiting.len())
    );
    let first_end = model.leases.iter().map(|lease| at(lease.ends)).min();
    assert_eq!(subject.line.next_end(), first_end);
    let counts = state.counts;
    let ended = counts.releases + counts.expiries;
    assert_eq!(counts.grants - ended, state.held.len() as u64);
}

proptest! {
    #[test]
    fn g31_a_line_is_like_its_model(steps in proptest::collection::vec(step(), 1..80)) {
        run(&steps);
    }
}

#[test]
fn nobody_passes_those_who_wait() {
    let mut line = Line::new(Arc::from("line"), 3, Token(0), 8);
    let now = at(0);
    let light = line.grant(request(1, 100), now);
    assert_eq!(line.entry(3), Entry::Wait);
    line.wait(request(3, 100), "heavy", now);
    // Two units are free, and are kept for the heavy one.
    assert_eq!(line.entry(1), Entry::Wait);
    line.wait(request(1, 100), "light", now);
    assert!(line.serve(now, |_| true).is_none());
    line.release(light.token).unwrap();
    let (who, heavy) = line.serve(now, |_| true).unwrap();
    assert_eq!((who, heavy.token), ("heavy", Token(2)));
    assert!(line.serve(now, |_| true).is_none());
    line.release(heavy.token).unwrap();
    assert_eq!(line.serve(now, |_| true).unwrap().0, "light");
}

#[test]
fn spans_outside_the_range_mean_the_nearest() {
    assert_eq!(clamped(Duration::ZERO), MIN_LEASE);
    assert_eq!(clamped(Duration::MAX), MAX_LEASE);
    assert_eq!(clamped(DEFAULT_LEASE), DEFAULT_LEASE);
}

#[test]
fn g31_a_fence_refuses_what_is_older_than_what_it_saw() {
    let mut fence = Fence::after(Token(7));
    let stale = Stale {
        token: Token(6),
        current: Token(7),
    };
    assert_eq!(fence.check(Token(6)), Err(stale));
    assert_eq!(fence.check(Token(7)), Ok(()));
    assert_eq!(fence.check(Token(9)), Ok(()));
    assert_eq!(fence.check(Token(8)).unwrap_err().current, Token(9));
    assert_eq!(fence.highest(), Token(9));
    assert_eq!(stale.verdict(), crate::Verdict::NotExecuted);
}
