//! What a watch costs, with its notice: actors started and stopped on one thread, without and with another
//! actor that watches each of them.

use common::stopwatch::Stopwatch;
use common::tally::{Finish, Tally};
use common::threads::Layout;

use super::{Size, each};
use crate::systems::System;

pub(super) fn measure<S: System>(system: &S, size: Size) -> Vec<f64> {
    let count = size.pick(100_000, 10_000);
    [false, true]
        .map(|watched| {
            system.run(Layout::OneThread, move |stage| {
                run::<S>(stage, count, watched)
            })
        })
        .to_vec()
}

async fn run<S: System>(stage: S::Stage, count: u64, watched: bool) -> f64 {
    let many = usize::try_from(count).expect("it fits");
    let (finish, _, gone) = Finish::new(many);
    let mut counters = Vec::with_capacity(many);

    let begin = Stopwatch::start();
    for _ in 0..count {
        counters.push(S::start(&stage, Tally::of(u64::MAX, &finish)).await);
    }
    let told = match watched {
        true => Some(S::watch(&stage, counters.clone()).await.expect("it can")),
        false => None,
    };
    // Once the last one answers, all have started.
    let last = counters.last().expect("there is one");
    assert_eq!(S::ask(last, 1).await, 1);
    counters.into_iter().for_each(S::stop);
    gone.await.expect("all end");
    if let Some(told) = told {
        told.await.expect("a notice of each");
    }
    #[allow(clippy::cast_precision_loss)]
    let nanoseconds = begin.elapsed().as_nanos() as f64;
    each(nanoseconds, count)
}
