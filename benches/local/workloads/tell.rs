//! Tells: one or more senders, one receiver, until the receiver has counted all.

use common::stopwatch::Stopwatch;
use common::tally::{Finish, Tally};
use common::threads::{Layout, yield_now};

use super::{Size, burst_is_over, millions, sum_below};
use crate::systems::{Family, System};

pub(super) fn measure<S: System>(system: &S, senders: u64, layout: Layout, size: Size) -> Vec<f64> {
    let share = size.pick(2_000_000, 80_000) / senders;
    let family = system.family();
    system.run(layout, move |stage| async move {
        let (finish, finished, _) = Finish::new(1);
        // One more than the tells: an ask for nothing, so that its start is not measured.
        let counter = S::start(&stage, Tally::of(1 + share * senders, &finish)).await;
        assert_eq!(S::ask(&counter, 0).await, 0);

        let begin = Stopwatch::start();
        for _ in 0..senders {
            S::spawn(&stage, send::<S>(counter.clone(), share, family));
        }
        let sum = finished.await.expect("the counter reports");
        let elapsed = begin.elapsed();

        assert_eq!(sum, sum_below(share) * senders, "messages lost or doubled");
        vec![millions(share * senders, elapsed)]
    })
}

async fn send<S: System>(counter: S::Counter, count: u64, family: Family) {
    for value in 0..count {
        S::tell(&counter, value).await;
        if burst_is_over(family, value + 1) {
            yield_now().await;
        }
    }
}
