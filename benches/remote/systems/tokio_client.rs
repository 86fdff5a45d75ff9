//! What systems on tokio have in common: a runtime of one thread on either side.

use std::future::Future;

use common::run::Result;
use common::threads::{Layout, run_on_tokio};
use tokio::runtime::{Builder, Runtime};

use crate::workloads::ask::{self, Asks};
use crate::workloads::{Run, Work};

/// Runs `body` as a task of a fresh thread's runtime.
pub(super) fn on_client<F, Fut, T>(body: F) -> Result<T>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = Result<T>> + Send + 'static,
    T: Send + 'static,
{
    run_on_tokio(Layout::OneThread, move |_| body())
}

/// Runs a server until it ends, which it does with its process.
pub(super) fn on_server(serve: impl Future<Output = Result<()>>) -> Result<()> {
    runtime()?.block_on(serve)
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// The workloads of asks, over one client.
pub(super) async fn asks(client: impl Asks, work: Work, run: Run) -> Result<Vec<f64>> {
    match work {
        Work::Sequence(_) => ask::sequence(client, run).await,
        Work::InFlight(_, tasks) => ask::in_flight(client, tasks, run).await,
        Work::Allocations(_) => ask::allocations(client).await,
        Work::OneWay(..) | Work::Publish(..) | Work::Queue(..) => Err("no ask".into()),
    }
}
