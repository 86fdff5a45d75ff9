//! One child, one crash at a time, each with a job queued behind it.

use common::size::{Size, percentile};
use common::threads::Layout;

use crate::roll::Roll;
use crate::systems::System;

pub(crate) fn crashes(size: Size) -> usize {
    usize::try_from(size.pick(10_000, 500)).expect("it fits")
}

pub(super) fn measure<S: System>(system: &S, layout: Layout, size: Size) -> Vec<f64> {
    let crashes = crashes(size);
    system.run(layout, move |stage| async move {
        let roll = Roll::new(1, crashes);
        let mut children = Vec::with_capacity(1);
        let tree = S::start(&stage, &roll, &mut children).await;
        for crash in 1..=crashes {
            S::crash(&children[0]).await;
            roll.until_handled(crash).await;
        }
        S::stop(tree, children).await;
        roll.until_live(0).await;
        figures(&roll, crashes)
    })
}

/// Median and 99th percentile in microseconds.
pub(crate) fn figures(roll: &Roll, crashes: usize) -> Vec<f64> {
    let nanoseconds = roll.took(crashes);
    [50, 99]
        .map(|percent| percentile(&nanoseconds, percent) / 1e3)
        .to_vec()
}
