//! Asks with request keys to an actor of the same thread, with and without a store before it.

use callboard::{ActorRef, RequestKey};
use callboard_supervision::DedupStats;

use common::run::Result;
use common::size::Size;

use super::local::{answered, start};
use crate::clerk::{Clerk, FIRST, Next, check_handled, on_system};
use crate::meter::{Caller, Shape, compare};
use crate::systems::dedups::{Dedups, SMALL};

pub(crate) fn bare(size: Size) -> Result<Vec<f64>> {
    on_system(1, true, move |system| async move {
        let shape = Shape::of(size);
        let clerk = start(&system, FIRST);
        let mut base = Fresh::asks(&clerk);
        let mut other = Fresh::asks(&clerk);
        let figures = compare(shape, &mut base, &mut other).await;
        check_handled(&clerk, 2 * shape.calls() + shape.counted()).await?;
        Ok(figures)
    })
}

pub(crate) fn deduplicated(dedups: Dedups, size: Size) -> Result<Vec<f64>> {
    on_system(1, true, move |system| async move {
        let shape = Shape::of(size);
        let calls = shape.calls() + shape.counted();
        let bare = start(&system, FIRST);
        let store = dedups.store(&system);
        let guarded = system.actor(Clerk::default).admission(store.clone());
        let guarded = guarded.placement(FIRST).start();
        let mut base = Fresh::asks(&bare);
        let (figures, handled, met) = match dedups {
            Dedups::First => {
                let figures = compare(shape, &mut base, &mut Fresh::asks(&guarded)).await;
                let met = |stats: &DedupStats| stats.stored as u64 == calls;
                (figures, calls, met(&store.stats()))
            }
            Dedups::FirstWhenFull => {
                let mut fresh = Fresh::asks(&guarded);
                fresh.fill(SMALL).await;
                let figures = compare(shape, &mut base, &mut fresh).await;
                let stats = store.stats();
                let met = stats.forgotten == calls && stats.stored == SMALL;
                (figures, calls + SMALL as u64, met)
            }
            Dedups::Duplicate => {
                let mut known = Known::asks(&guarded).await;
                let figures = compare(shape, &mut base, &mut known).await;
                (figures, KNOWN as u64, store.stats().answered == calls)
            }
            _ => return Err("that one isn't about keys in memory".into()),
        };
        check_handled(&bare, shape.calls()).await?;
        check_handled(&guarded, handled).await?;
        if !met {
            return Err(format!("the store did something else: {:?}", store.stats()).into());
        }
        Ok(figures)
    })
}

pub(crate) fn bare_without(size: Size) -> Result<Vec<f64>> {
    on_system(1, true, move |system| async move {
        let shape = Shape::of(size);
        let clerk = start(&system, FIRST);
        let mut base = Numbered::asks(&clerk, 1);
        let mut other = Numbered::asks(&clerk, 1);
        let figures = compare(shape, &mut base, &mut other).await;
        check_handled(&clerk, 2 * shape.calls() + shape.counted()).await?;
        Ok(figures)
    })
}

pub(crate) fn by_fingerprint(dedups: Dedups, size: Size) -> Result<Vec<f64>> {
    on_system(1, true, move |system| async move {
        let shape = Shape::of(size);
        let calls = shape.calls() + shape.counted();
        let bare = start(&system, FIRST);
        let store = dedups.store(&system);
        let guarded = system.actor(Clerk::default).admission(store.clone());
        let guarded = guarded.placement(FIRST).start();
        // By how much each call differs from the one before.
        let step = u64::from(dedups == Dedups::Unlike);
        let mut base = Numbered::asks(&bare, step);
        let mut other = Numbered::asks(&guarded, step);
        let figures = compare(shape, &mut base, &mut other).await;
        let stats = store.stats().by_fingerprint;
        let started = if step == 0 { 1 } else { calls };
        if (stats.started, stats.answered) != (started, calls - started) {
            return Err(format!("the store did something else: {stats:?}").into());
        }
        check_handled(&bare, shape.calls()).await?;
        check_handled(&guarded, started).await?;
        Ok(figures)
    })
}

/// Calls without keys, each with its number.
struct Numbered<'a> {
    clerk: &'a ActorRef<Clerk>,
    number: u64,
    step: u64,
}

impl<'a> Numbered<'a> {
    fn asks(clerk: &'a ActorRef<Clerk>, step: u64) -> Self {
        Numbered {
            clerk,
            number: 0,
            step,
        }
    }
}

impl Caller for Numbered<'_> {
    #[inline]
    async fn call(&mut self) {
        let number = self.number;
        self.number += self.step;
        let answer = self.clerk.ask(Next(number)).await;
        assert_eq!(answer.expect("it is answered"), number + 1);
    }
}

/// Calls with keys that nobody had. They are made before a batch: who calls has its key already.
struct Fresh<'a> {
    clerk: &'a ActorRef<Clerk>,
    keys: Vec<RequestKey>,
}

impl<'a> Fresh<'a> {
    fn asks(clerk: &'a ActorRef<Clerk>) -> Self {
        Fresh {
            clerk,
            keys: Vec::new(),
        }
    }

    async fn fill(&mut self, calls: usize) {
        self.prepare(calls as u64);
        for _ in 0..calls {
            self.call().await;
        }
    }
}

impl Caller for Fresh<'_> {
    fn prepare(&mut self, calls: u64) {
        self.keys.clear();
        self.keys.extend((0..calls).map(|_| RequestKey::new()));
    }

    #[inline]
    async fn call(&mut self) {
        let key = self.keys.pop().expect("there is one for each call");
        answered(self.clerk.ask(Next(1)).key(key).await);
    }
}

/// How many keys are known to the store when duplicates are measured.
const KNOWN: usize = 1_000;

/// Calls with keys that are answered already, one after the other.
struct Known<'a> {
    clerk: &'a ActorRef<Clerk>,
    keys: Vec<RequestKey>,
    at: usize,
}

impl<'a> Known<'a> {
    async fn asks(clerk: &'a ActorRef<Clerk>) -> Self {
        let keys: Vec<RequestKey> = (0..KNOWN).map(|_| RequestKey::new()).collect();
        for key in &keys {
            answered(clerk.ask(Next(1)).key(*key).await);
        }
        Known { clerk, keys, at: 0 }
    }
}

impl Caller for Known<'_> {
    #[inline]
    async fn call(&mut self) {
        let key = self.keys[self.at];
        self.at = (self.at + 1) % KNOWN;
        answered(self.clerk.ask(Next(1)).key(key).await);
    }
}
