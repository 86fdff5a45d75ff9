//! A ring of actors on one thread and one token: what it costs to run another actor.

use common::stopwatch::Stopwatch;
use common::tally::{Finish, Tally};
use common::threads::Layout;

use super::{Size, millions};
use crate::systems::System;

const ACTORS: usize = 1_000;

pub(super) fn measure<S: System>(system: &S, size: Size) -> Vec<f64> {
    let hops = size.pick(2_000_000, 40_000);
    system.run(Layout::OneThread, move |stage| async move {
        let (finish, finished, _) = Finish::new(1);
        let mut ring = Vec::with_capacity(ACTORS);
        for _ in 0..ACTORS {
            ring.push(S::start(&stage, Tally::of(u64::MAX, &finish)).await);
        }
        for (counter, next) in ring.iter().zip(ring.iter().cycle().skip(1)) {
            S::link(counter, next.clone()).await;
            assert_eq!(S::ask(counter, 0).await, 0);
        }

        // The token knows its hops: it ends after exactly that many, or not at all.
        let begin = Stopwatch::start();
        S::pass(&ring[0], hops).await;
        finished.await.expect("the token ends");
        vec![millions(hops, begin.elapsed())]
    })
}
