//! Calls of an async function: what the stacks of others cost by themselves, without an ask in them.

use std::convert::Infallible;
use std::hint::black_box;

use common::run::Result;
use common::size::Size;
use common::threads::{Layout, run_on_tokio};

use super::local::answered;
use crate::clerk::Next;
use crate::meter::{Calls, Shape, compare};
use crate::systems::peers::Peer;

#[inline(never)]
async fn next(Next(number): Next) -> std::result::Result<u64, Infallible> {
    Ok(black_box(number) + 1)
}

pub(crate) fn bare(size: Size) -> Result<Vec<f64>> {
    run_on_tokio(Layout::OneThread, move |_| async move {
        let mut base = Calls(async || answered(next(black_box(Next(1))).await));
        let mut other = Calls(async || answered(next(black_box(Next(1))).await));
        Ok(compare(Shape::of(size), &mut base, &mut other).await)
    })
}

pub(crate) fn by_peer(peer: Peer, size: Size) -> Result<Vec<f64>> {
    run_on_tokio(Layout::OneThread, move |_| async move {
        let mut base = Calls(async || answered(next(black_box(Next(1))).await));
        Ok(peer.compare(Shape::of(size), &mut base, next).await)
    })
}
