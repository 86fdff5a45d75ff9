//! Calls of an async function: what the stacks of others cost by themselves, without an ask in them.

use std::convert::Infallible;
use std::hint::black_box;

use common::run::Result;
use common::size::Size;
use common::threads::on_fresh_thread;
use tokio::runtime::Builder;

use super::local::answered;
use crate::clerk::Next;
use crate::meter::{Calls, Shape, compare};
use crate::systems::peers::Peer;

#[inline(never)]
async fn next(Next(number): Next) -> std::result::Result<u64, Infallible> {
    Ok(black_box(number) + 1)
}

pub(crate) fn bare(size: Size) -> Result<Vec<f64>> {
    on_runtime(async move || {
        let mut base = Calls(async || answered(next(black_box(Next(1))).await));
        let mut other = Calls(async || answered(next(black_box(Next(1))).await));
        compare(Shape::of(size), &mut base, &mut other).await
    })
}

pub(crate) fn by_peer(peer: Peer, size: Size) -> Result<Vec<f64>> {
    on_runtime(async move || {
        let mut base = Calls(async || answered(next(black_box(Next(1))).await));
        peer.compare(Shape::of(size), &mut base, next).await
    })
}

/// As the root future: nothing in here waits, so nothing is woken.
fn on_runtime(body: impl AsyncFnOnce() -> Vec<f64> + Send + 'static) -> Result<Vec<f64>> {
    on_fresh_thread(move || {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        Ok(runtime.block_on(body()))
    })
}
