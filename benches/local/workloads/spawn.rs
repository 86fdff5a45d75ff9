//! Starting and stopping many actors on one thread, until the last one's state has been dropped.

use common::stopwatch::Stopwatch;
use common::tally::{Finish, Tally};
use common::threads::Layout;

use super::{Size, each};
use crate::systems::System;

pub(super) fn measure<S: System>(system: &S, size: Size) -> Vec<f64> {
    let count = size.pick(100_000, 10_000);
    system.run(Layout::OneThread, move |stage| async move {
        let many = usize::try_from(count).expect("it fits");
        let (finish, _, gone) = Finish::new(many);
        let mut counters = Vec::with_capacity(many);

        let begin = Stopwatch::start();
        for _ in 0..count {
            counters.push(S::start(&stage, Tally::of(u64::MAX, &finish)).await);
        }
        // Once the last one answers, all have started.
        let last = counters.last().expect("there is one");
        assert_eq!(S::ask(last, 1).await, 1);
        counters.into_iter().for_each(S::stop);
        gone.await.expect("all end");
        #[allow(clippy::cast_precision_loss)]
        let nanoseconds = begin.elapsed().as_nanos() as f64;
        vec![each(nanoseconds, count)]
    })
}
