//! What a supervised child weighs that does nothing, its supervisor's share included.

use common::alloc;
use common::machine::resident_bytes;
use common::size::{Size, each};
use common::threads::Layout;

use crate::roll::Roll;
use crate::systems::System;

pub(super) fn measure<S: System>(system: &S, size: Size) -> Vec<f64> {
    let count = size.pick(10_000, 1_000);
    system.run(Layout::OneThread, move |stage| async move {
        let many = usize::try_from(count).expect("it fits");
        // Pools and lazily made parts are there before anything is counted.
        let first = Roll::new(1, 0);
        let mut firsts = Vec::with_capacity(1);
        let tree = S::start(&stage, &first, &mut firsts).await;
        S::stop(tree, firsts).await;
        first.until_live(0).await;

        let roll = Roll::new(many, 0);
        // The references are the program's, not the children's: their room is not counted, and touched before.
        let mut children = Vec::with_capacity(many);
        let resident = resident_bytes();
        alloc::start();
        let tree = S::start(&stage, &roll, &mut children).await;
        roll.until_live(many).await;
        let heap = alloc::stop().live_bytes;
        let resident = resident_bytes() - resident;

        S::stop(tree, children).await;
        roll.until_live(0).await;
        assert!(roll.took(0).is_empty());
        #[allow(clippy::cast_precision_loss)]
        let heap = heap as f64;
        vec![each(heap, count), each(resident, count)]
    })
}
