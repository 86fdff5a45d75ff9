//! One child, one crash at a time, each with a job queued behind it.

use common::alloc::{self, Counted};
use common::size::{Size, each, percentile};
use common::threads::Layout;

use crate::roll::Roll;
use crate::systems::System;

/// How many crashes are timed, and behind these how many are counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crashes {
    timed: usize,
    counted: usize,
}

impl Crashes {
    pub(crate) fn of(size: Size) -> Self {
        let timed = usize::try_from(size.pick(10_000, 500)).expect("it fits");
        Crashes {
            timed,
            counted: timed / 5,
        }
    }

    pub(crate) fn all(self) -> usize {
        self.timed + self.counted
    }

    /// Before each crash, by its number from 1: what is counted begins behind what is timed.
    pub(crate) fn begin(self, crash: usize) {
        if crash == self.timed + 1 {
            alloc::start();
        }
    }

    /// Median and 99th percentile in microseconds, and allocations for each crash.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn figures(self, roll: &Roll, counted: Counted) -> Vec<f64> {
        let mut nanoseconds = roll.took(self.all());
        nanoseconds.truncate(self.timed);
        nanoseconds.sort_unstable();
        vec![
            percentile(&nanoseconds, 50) / 1e3,
            percentile(&nanoseconds, 99) / 1e3,
            each(counted.allocations as f64, self.counted as u64),
        ]
    }
}

pub(super) fn measure<S: System>(system: &S, layout: Layout, size: Size) -> Vec<f64> {
    let crashes = Crashes::of(size);
    system.run(layout, move |stage| async move {
        let roll = Roll::new(1, crashes.all());
        let mut children = Vec::with_capacity(1);
        let tree = S::start(&stage, &roll, &mut children).await;
        for crash in 1..=crashes.all() {
            crashes.begin(crash);
            S::crash(&children[0]).await;
            roll.until_handled(crash).await;
        }
        let counted = alloc::stop();
        S::stop(tree, children).await;
        roll.until_live(0).await;
        crashes.figures(&roll, counted)
    })
}
