//! Allocations per message in the steady state, one thread.

use common::alloc;
use common::tally::Tally;
use common::threads::{Layout, yield_now};

use super::{Size, burst_is_over, each, settle, sum_below};
use crate::systems::System;

/// Enough to bring every buffer to its final size.
const WARM_UP: u64 = 20_000;

pub(super) fn per_tell<S: System>(system: &S, size: Size) -> Vec<f64> {
    let count = size.pick(200_000, 40_000);
    let family = system.family();
    system.run(Layout::OneThread, move |stage| async move {
        let counter = S::start(&stage, Tally::endless()).await;
        for round in [WARM_UP, count] {
            let before = S::ask(&counter, 0).await;
            alloc::start();
            for value in 0..round {
                S::tell(&counter, value).await;
                if burst_is_over(family, value + 1) {
                    yield_now().await;
                }
            }
            settle::<S>(&counter, before + sum_below(round)).await;
        }
        // The last round's; those of its few asks in the end vanish in the division.
        vec![each(as_f64(alloc::stop().allocations), count)]
    })
}

pub(super) fn per_ask<S: System>(system: &S, size: Size) -> Vec<f64> {
    let count = size.pick(200_000, 40_000);
    system.run(Layout::OneThread, move |stage| async move {
        let counter = S::start(&stage, Tally::endless()).await;
        let mut sum = 0;
        for round in [WARM_UP, count] {
            alloc::start();
            for _ in 0..round {
                sum += 1;
                assert_eq!(S::ask(&counter, 1).await, sum);
            }
        }
        vec![each(as_f64(alloc::stop().allocations), count)]
    })
}

#[allow(clippy::cast_precision_loss)]
fn as_f64(count: u64) -> f64 {
    count as f64
}
