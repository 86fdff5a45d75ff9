//! Asks: in sequence, and many in flight.

use common::size::percentile;
use common::stopwatch::Stopwatch;
use common::tally::{Finish, Tally};
use common::threads::Layout;

use super::{Size, millions};
use crate::systems::System;

/// How many asks warm up pools and caches before any is timed.
const WARM_UP: u64 = 1_000;

pub(super) fn in_sequence<S: System>(system: &S, layout: Layout, size: Size) -> Vec<f64> {
    let count = match layout {
        Layout::OneThread => size.pick(1_000_000, 40_000),
        Layout::TwoThreads => size.pick(60_000, 3_000),
    };
    system.run(layout, move |stage| async move {
        let counter = S::start(&stage, Tally::endless()).await;
        let mut sum = 0;
        for _ in 0..WARM_UP {
            sum += 1;
            assert_eq!(S::ask(&counter, 1).await, sum);
        }

        let mut right = true;
        let begin = Stopwatch::start();
        for _ in 0..count {
            sum += 1;
            right &= S::ask(&counter, 1).await == sum;
        }
        let rate = millions(count, begin.elapsed());

        // A pass of its own: each figure includes one reading of the clock, about 25 ns.
        let mut nanoseconds = Vec::with_capacity(usize::try_from(count / 4).expect("it fits"));
        for _ in 0..count / 4 {
            sum += 1;
            let begin = Stopwatch::start();
            let answer = S::ask(&counter, 1).await;
            nanoseconds.push(u64::try_from(begin.elapsed().as_nanos()).expect("it fits"));
            right &= answer == sum;
        }
        assert!(right, "an ask got another's answer");
        nanoseconds.sort_unstable();
        vec![
            rate,
            percentile(&nanoseconds, 50),
            percentile(&nanoseconds, 99),
        ]
    })
}

pub(super) fn in_flight<S: System>(
    system: &S,
    askers: u64,
    layout: Layout,
    size: Size,
) -> Vec<f64> {
    let share = size.pick(1_000_000, 40_000) / askers;
    system.run(layout, move |stage| async move {
        let counter = S::start(&stage, Tally::endless()).await;
        for sum in 1..=WARM_UP {
            assert_eq!(S::ask(&counter, 1).await, sum);
        }
        let parties = usize::try_from(askers).expect("it fits");
        let (finish, finished, _) = Finish::new(parties);

        let begin = Stopwatch::start();
        for _ in 0..askers {
            let counter = counter.clone();
            let finish = finish.clone();
            S::spawn(&stage, async move {
                let mut last = 0;
                let mut answered = 0;
                for _ in 0..share {
                    let sum = S::ask(&counter, 1).await;
                    // Sums only grow, and each is given to one asker.
                    answered += u64::from(sum > last);
                    last = sum;
                }
                finish.report(answered);
            });
        }
        let answered = finished.await.expect("the askers report");
        let elapsed = begin.elapsed();

        assert_eq!(answered, share * askers, "an ask got another's answer");
        let asked = S::ask(&counter, 0).await - WARM_UP;
        assert_eq!(asked, share * askers, "asks lost or doubled");
        vec![millions(share * askers, elapsed)]
    })
}
