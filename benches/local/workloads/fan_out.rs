//! One sender, many receivers: each round tells each of them once.

use common::stopwatch::Stopwatch;
use common::tally::{Finish, Tally};
use common::threads::{Layout, yield_now};

use super::{Size, burst_is_over, millions, sum_below};
use crate::systems::System;

const RECEIVERS: u64 = 100;

pub(super) fn measure<S: System>(system: &S, layout: Layout, size: Size) -> Vec<f64> {
    let rounds = size.pick(20_000, 800);
    let family = system.family();
    system.run(layout, move |stage| async move {
        let (finish, finished, _) = Finish::new(usize::try_from(RECEIVERS).expect("it fits"));
        let mut counters = Vec::new();
        for _ in 0..RECEIVERS {
            // One more than the rounds: an ask for nothing, so that starts are not measured.
            let counter = S::start(&stage, Tally::of(1 + rounds, &finish)).await;
            assert_eq!(S::ask(&counter, 0).await, 0);
            counters.push(counter);
        }

        let begin = Stopwatch::start();
        let mut sent = 0;
        for round in 0..rounds {
            for counter in &counters {
                S::tell(counter, round).await;
                sent += 1;
                if burst_is_over(family, sent) {
                    yield_now().await;
                }
            }
        }
        let sum = finished.await.expect("the counters report");
        let elapsed = begin.elapsed();

        assert_eq!(sum, sum_below(rounds) * RECEIVERS, "lost or doubled");
        vec![millions(rounds * RECEIVERS, elapsed)]
    })
}
