//! Many children under one supervisor, on one thread: start, crash a tenth, stop.

use std::time::Duration;

use common::size::Size;
use common::stopwatch::Stopwatch;
use common::threads::Layout;

use crate::roll::Roll;
use crate::systems::System;

pub(super) fn measure<S: System>(system: &S, size: Size) -> Vec<f64> {
    let count = usize::try_from(size.pick(10_000, 500)).expect("it fits");
    let crashes = count / 10;
    system.run(Layout::OneThread, move |stage| async move {
        let roll = Roll::new(count, crashes);
        let mut children = Vec::with_capacity(count);

        let begin = Stopwatch::start();
        let tree = S::start(&stage, &roll, &mut children).await;
        let start = begin.elapsed();
        roll.until_live(count).await;

        let begin = Stopwatch::start();
        for child in children.iter().step_by(10) {
            S::crash(child).await;
        }
        roll.until_handled(crashes).await;
        let crash = begin.elapsed();

        let begin = Stopwatch::start();
        S::stop(tree, children).await;
        roll.until_live(0).await;
        let stop = begin.elapsed();

        assert_eq!(roll.took(crashes).len(), crashes);
        let mut figures = Vec::with_capacity(6);
        figures.extend(both(start, count));
        figures.extend(both(crash, crashes));
        figures.extend(both(stop, count));
        figures
    })
}

/// Milliseconds in all, and microseconds each.
#[allow(clippy::cast_precision_loss)]
fn both(elapsed: Duration, count: usize) -> [f64; 2] {
    let seconds = elapsed.as_secs_f64();
    [seconds * 1e3, seconds * 1e6 / count as f64]
}
