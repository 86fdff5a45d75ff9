//! Two ways of making the same call, in turn: how long each takes, and how much more one takes than the other.
//!
//! A batch is so short that the machine hardly changes between it and the one beside it, and so long that reading the
//! clock twice doesn't count.

use common::alloc;
use common::results::Spread;
use common::size::{Size, each};
use common::stopwatch::Stopwatch;

/// A way of making a call.
pub(crate) trait Caller {
    /// Before each batch, outside the time that is measured.
    fn prepare(&mut self, _calls: u64) {}

    /// One call.
    async fn call(&mut self);
}

/// A caller that needs no preparation.
pub(crate) struct Calls<F>(pub(crate) F);

impl<F: AsyncFnMut()> Caller for Calls<F> {
    #[inline]
    async fn call(&mut self) {
        (self.0)().await;
    }
}

/// How many calls are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Batches each.
    pub(crate) rounds: u64,
    /// Calls in a batch.
    pub(crate) batch: u64,
}

/// Calls before anything is timed: pools are filled, and latencies are known.
const WARM_UP: u64 = 1_000;

impl Shape {
    pub(crate) fn of(size: Size) -> Self {
        Shape {
            rounds: size.pick(1_000, 50),
            batch: 100,
        }
    }

    /// How often each of the two is called in all.
    pub(crate) fn calls(self) -> u64 {
        WARM_UP + self.rounds * self.batch
    }

    /// How often the one that is compared is called besides, to count its allocations.
    pub(crate) fn counted(self) -> u64 {
        self.batch * 10
    }
}

/// Mean and median of the nanoseconds a call by `other`, the median of what it takes more than `base`, and its
/// allocations a call.
pub(crate) async fn compare(
    shape: Shape,
    base: &mut impl Caller,
    other: &mut impl Caller,
) -> Vec<f64> {
    base.prepare(WARM_UP);
    batch(base, WARM_UP).await;
    other.prepare(WARM_UP);
    batch(other, WARM_UP).await;

    let mut others = Vec::new();
    let mut added = Vec::new();
    for round in 0..shape.rounds {
        base.prepare(shape.batch);
        other.prepare(shape.batch);
        let (bare, measured);
        if round % 2 == 0 {
            bare = batch(base, shape.batch).await;
            measured = batch(other, shape.batch).await;
        } else {
            measured = batch(other, shape.batch).await;
            bare = batch(base, shape.batch).await;
        }
        others.push(measured);
        added.push(measured - bare);
    }

    other.prepare(shape.counted());
    alloc::start();
    batch(other, shape.counted()).await;
    let counted = alloc::stop();
    #[allow(clippy::cast_precision_loss)]
    let allocations = each(counted.allocations as f64, shape.counted());
    vec![mean(&others), median(&others), median(&added), allocations]
}

/// Nanoseconds a call.
#[allow(clippy::cast_precision_loss)]
pub(crate) async fn batch(caller: &mut impl Caller, calls: u64) -> f64 {
    let begin = Stopwatch::start();
    for _ in 0..calls {
        caller.call().await;
    }
    each(begin.elapsed().as_nanos() as f64, calls)
}

pub(crate) fn median(values: &[f64]) -> f64 {
    Spread::of(values).expect("there are some").median
}

#[allow(clippy::cast_precision_loss)]
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
