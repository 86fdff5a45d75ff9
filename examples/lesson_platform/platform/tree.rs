//! Who starts whom, and starts it again.
//!
//! ```text
//! academy
//! |-- desk          enrolment: its duplicates are suppressed before they reach it
//! |-- pages         renderer, thumbnails (child process, pipe)
//! |-- facts         views (child process, Unix socket), metadata (child process, TCP)
//! `-- search        index, two workers
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use callboard::prelude::*;
use callboard::process::{ProcessPlace, ProcessSpec};
use callboard::queue::Queue;
use callboard::remote::{LinkConfig, Peer};
use callboard::supervision::{Backoff, Supervisor, SupervisorRef};
use tokio::io::AsyncReadExt;

use super::announced::Announced;
use super::workdir::WorkDir;
use crate::actors::{Enrolment, IndexActor, Renderer, Worker};
use crate::args::Role;
use crate::lessons::Library;
use crate::messages::{
    Enrol, GetMetadata, GetSizes, GetThumbnail, GetViews, IndexJob, PutEntry, Render, Search,
};
use crate::services::{METADATA, THUMBNAILS, VIEWS};

/// So many workers share the queue of index jobs.
pub(crate) const WORKERS: usize = 2;

/// The supervision tree, and references to all in it that is asked. They stay valid over restarts.
pub(crate) struct Tree {
    pub(crate) supervisor: SupervisorRef,
    pub(crate) enrolment: Recipient<Enrol>,
    pub(crate) renderer: Recipient<Render>,
    pub(crate) index: Recipient<Search>,
    pub(crate) thumbnails: Recipient<GetThumbnail>,
    pub(crate) sizes: Recipient<GetSizes>,
    pub(crate) views: Recipient<GetViews>,
    pub(crate) metadata: Recipient<GetMetadata>,
    /// The links under the last three.
    pub(crate) links: [Peer; 3],
}

impl Tree {
    pub(crate) fn plant(
        system: &System,
        folder: &Path,
        library: &Arc<Library>,
        jobs: &Queue<IndexJob>,
        workdir: &WorkDir,
    ) -> callboard::Result<Self> {
        // ANCHOR: actors
        let shared = Arc::clone(library);
        let make = move || Renderer {
            library: Arc::clone(&shared),
        };
        let (renderer, renderer_place) = system.actor(make).label("renderer").place();

        let (index, index_place) = system.actor(IndexActor::default).label("index").place();
        let mut search = Supervisor::builder("search").child(index_place);
        for number in 1..=WORKERS {
            let worker = worker(jobs, library, &index.recipient());
            let (_, place) = system
                .actor(worker)
                .label(format!("worker {number}"))
                .place();
            search = search.child(place);
        }
        // ANCHOR_END: actors

        let ledger = workdir.ledger();
        let make = move || Enrolment::new(ledger.clone());
        let (enrolment, enrolment_place) = system.actor(make).label("enrolment").place();

        // ANCHOR: sidecar
        // A pipe: the supervisor starts the process, and each start brings a new byte stream.
        let lessons = folder.to_owned();
        let sidecar = Peer::attached_with(system, THUMBNAILS, patient());
        let link = sidecar.clone();
        let thumbnails_place = ProcessPlace::new(
            system,
            child(&Role::Thumbnails {
                lessons: lessons.clone(),
            })?,
            move |stream, _| link.attach(stream),
        );
        // ANCHOR_END: sidecar

        // A Unix socket: the process listens where it is told, and is dialled until it answers.
        let counter = Peer::unix_with(system, workdir.views(), eager());
        let role = Role::Views {
            socket: workdir.views(),
            topic: workdir.topic(),
        };
        let views_place = ProcessPlace::new(system, child(&role)?, |mut stream, _| {
            // Its standard input is its lifeline: held for as long as it runs.
            tokio::spawn(async move { while stream.read_u8().await.is_ok() {} });
        });

        // TCP: the process takes a free port, and says which.
        let announced = Announced::new(METADATA);
        let service = Peer::dialled(system, announced.clone(), eager());
        let metadata_place = ProcessPlace::new(
            system,
            child(&Role::Metadata { lessons })?,
            move |stream, _| {
                let announced = announced.clone();
                tokio::spawn(async move { announced.listen(stream).await });
            },
        );

        // ANCHOR: tree
        let (_, desk) = Supervisor::builder("desk")
            .child(enrolment_place)
            .place(system);
        let (_, pages) = Supervisor::builder("pages")
            .child(renderer_place)
            .child(thumbnails_place)
            .place(system);
        let (_, facts) = Supervisor::builder("facts")
            .child(views_place)
            .child(metadata_place)
            .place(system);
        let (_, search) = search.place(system);
        let supervisor = Supervisor::builder("academy")
            .backoff(Backoff::default())
            .child(desk)
            .child(pages)
            .child(facts)
            .child(search)
            .start(system);
        // ANCHOR_END: tree

        Ok(Tree {
            supervisor,
            enrolment: enrolment.recipient(),
            renderer: renderer.recipient(),
            index: index.recipient(),
            thumbnails: sidecar.recipient(THUMBNAILS)?,
            sizes: sidecar.recipient(THUMBNAILS)?,
            views: counter.recipient(VIEWS)?,
            metadata: service.recipient(METADATA)?,
            links: [sidecar, counter, service],
        })
    }
}

fn worker(
    jobs: &Queue<IndexJob>,
    library: &Arc<Library>,
    index: &Recipient<PutEntry>,
) -> impl Fn() -> Worker + Send + Sync + 'static {
    let (jobs, library, index) = (jobs.clone(), Arc::clone(library), index.clone());
    move || Worker {
        jobs: jobs.clone(),
        library: Arc::clone(&library),
        index: index.clone(),
    }
}

/// This same executable, in another role.
fn child(role: &Role) -> std::io::Result<ProcessSpec> {
    let name = role.name();
    let program = std::env::current_exe()?;
    Ok(ProcessSpec::new(program).args(role.to_args()).label(name))
}

/// The sidecar answers once it has made all its thumbnails, which takes a slow machine a while.
fn patient() -> LinkConfig {
    let mut config = LinkConfig::default();
    config.handshake_timeout = Duration::from_secs(30);
    config
}

/// Neighbours on this host are dialled again soon: they are back in a moment, or not at all.
fn eager() -> LinkConfig {
    let mut config = LinkConfig::default();
    config.backoff = Duration::from_millis(10);
    config.backoff_cap = Duration::from_millis(100);
    config
}
