//! What an actor weighs that does nothing: its share of the heap, and of the resident size of a process
//! that does nothing else (its state, 32 bytes here, included).

use common::alloc;
use common::machine::resident_bytes;
use common::tally::{Finish, Tally};
use common::threads::Layout;

use super::{Size, each};
use crate::systems::System;

pub(super) fn measure<S: System>(system: &S, used: bool, size: Size) -> Vec<f64> {
    let count = size.pick(100_000, 10_000);
    system.run(Layout::OneThread, move |stage| async move {
        let many = usize::try_from(count).expect("it fits");
        let (finish, finished, _) = Finish::new(many);
        // The references are the program's, not the actors': their room is neither counted nor, being
        // touched now, resident later.
        let mut counters: Vec<Option<S::Counter>> = vec![None; many];
        // Pools and lazily made parts are there before anything is counted.
        let first = S::start(&stage, Tally::endless()).await;
        assert_eq!(S::ask(&first, 1).await, 1);

        let resident = resident_bytes();
        alloc::start();
        for place in &mut counters {
            *place = Some(S::start(&stage, Tally::of(1, &finish)).await);
        }
        if used {
            for counter in counters.iter().flatten() {
                S::tell(counter, 1).await;
            }
            let sum = finished.await.expect("the counters report");
            assert_eq!(sum, count, "messages lost or doubled");
        }
        // Once the last one answers, all are idle.
        let last = counters.iter().flatten().last().expect("there is one");
        assert_eq!(S::ask(last, 1).await, 1 + u64::from(used));
        let heap = alloc::stop().live_bytes;
        let resident = resident_bytes() - resident;
        #[allow(clippy::cast_precision_loss)]
        let heap = heap as f64;
        vec![each(heap, count), each(resident, count)]
    })
}
