//! Queues: the same workload with the queue in another process, and in this one.

use std::path::PathBuf;
use std::sync::Arc;

use callboard::System;
use callboard::queue::Queue;
use callboard_remote::{Node, Peer};
use callboard_store::Store;
use common::folder::Folder;
use common::run::Result;
use futures::future::BoxFuture;

use super::{ARBITER, on_arbiter};
use crate::server::{Role, Server};
use crate::systems::{Candidate, Family};
use crate::workloads::queue::{self, CAPACITY, Ends, Item};
use crate::workloads::{Batch, Keeping, Run, Service, Work};

const QUEUE: &str = "items";

/// A queue, and what it is kept in.
pub(super) struct Opened {
    queue: Queue<Item>,
    _store: Option<Arc<Store>>,
}

impl Opened {
    async fn open(system: &System, keeping: Keeping, folder: PathBuf) -> Result<Self> {
        let builder = system.queue(QUEUE).capacity(CAPACITY);
        let store = match keeping {
            Keeping::Memory => None,
            Keeping::Disk => Some(Arc::new(Store::open(system, folder).await?)),
        };
        let queue = match &store {
            None => builder.open()?,
            Some(store) => builder.durable(Arc::clone(store) as _).open().await?,
        };
        Ok(Opened {
            queue,
            _store: store,
        })
    }
}

/// The server's queue, if its role has one.
pub(super) async fn expose(system: &System, node: &Node, role: &Role) -> Result<Option<Opened>> {
    let keeping = match role.service {
        Service::Queue => Keeping::Memory,
        Service::DurableQueue => Keeping::Disk,
        Service::Echo | Service::Sink | Service::Topic => return Ok(None),
    };
    let opened = Opened::open(system, keeping, role.disk.clone()).await?;
    node.expose_queue(QUEUE, &opened.queue)?;
    Ok(Some(opened))
}

/// Producer and consumer have a connection each, as if each were a process.
pub(super) async fn measure(
    system: System,
    producer: &Peer,
    server: &mut Server,
    batch: Batch,
    run: Run,
) -> Result<Vec<f64>> {
    let consumer = super::connect(&system, server)?;
    consumer.connected().await?;
    let ends = Ends {
        producer: producer.queue(QUEUE).await?,
        consumer: consumer.queue(QUEUE).await?,
        spawn: spawn_on(system),
        batch,
    };
    queue::measure(ends, run).await
}

fn spawn_on(system: System) -> impl Fn(BoxFuture<'static, ()>) + Send + Sync {
    move |task| assert!(system.spawn(ARBITER, move || task), "the system runs")
}

/// The same without a second process: what a queue elsewhere is compared with.
pub(crate) struct InProcess;

impl Candidate for InProcess {
    fn name(&self) -> &'static str {
        crate::plan::IN_PROCESS
    }

    fn family(&self) -> Family {
        Family::Callboard
    }

    fn takes(&self, work: Work) -> bool {
        matches!(work, Work::Queue(..))
    }

    fn serve(&self, _: &Role) -> Result<()> {
        Err("it needs no server".into())
    }

    fn measure(&self, work: Work, run: &Run) -> Result<Vec<f64>> {
        let Work::Queue(keeping, batch) = work else {
            return Err("no queue".into());
        };
        let folder = Folder::new(env!("CARGO_TARGET_TMPDIR").as_ref())?;
        let (path, run) = (folder.path().to_owned(), *run);
        on_arbiter(move |system| async move {
            let opened = Opened::open(&system, keeping, path).await?;
            let ends = Ends {
                producer: opened.queue.clone(),
                consumer: opened.queue.clone(),
                spawn: spawn_on(system),
                batch,
            };
            queue::measure(ends, run).await
        })
    }
}
