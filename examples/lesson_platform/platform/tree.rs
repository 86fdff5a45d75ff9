//! Who starts whom, and starts it again.
//!
//! ```text
//! academy
//! |-- desk          enrolment: its duplicates are suppressed before they reach it
//! |-- pages         thumbnails (child process, pipe)
//! |-- facts         views (child process, Unix socket), metadata (child process, TCP)
//! `-- search        index, two workers
//!
//! renderers         a pool: as many renderers as there are arbiters
//! ```
//!
//! The pool stands beside the tree. It makes a renderer that fails anew by itself, and there is nothing to
//! escalate: a renderer has no state that another one lacks.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use callboard::Pool;
use callboard::prelude::*;
use callboard::process::{ProcessPlace, ProcessSpec};
use callboard::queue::Queue;
use callboard::remote::{LinkConfig, Peer};
use callboard::supervision::{Backoff, Dedup, Supervisor, SupervisorRef};

use super::announced::Announced;
use super::workdir::WorkDir;
use crate::actors::{Enrolment, IndexActor, Renderer, Worker};
use crate::args::Role;
use crate::calls::Part;
use crate::lessons::Library;
use crate::messages::{
    Enrol, GetMetadata, GetSizes, GetThumbnail, GetViews, IndexJob, PutEntry, Render, Search,
};
use crate::services::{METADATA, THUMBNAILS, VIEWS};

/// Longer than anybody presses a button again, and than any proxy repeats a request.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);
/// So many workers share the queue of index jobs.
pub(crate) const WORKERS: usize = 2;
/// Few messages wait at one renderer, and the others for whichever is free first.
const RENDERER_MAILBOX: usize = 4;

/// The supervision tree, and references to all in it that is asked. They stay valid over restarts.
pub(crate) struct Tree {
    pub(crate) supervisor: SupervisorRef,
    pub(crate) enrolment: Recipient<Enrol>,
    /// What stands before it; kept for its figures.
    pub(crate) dedup: Dedup<Enrol>,
    /// Beside the supervisor: its failed workers are its own business.
    pub(crate) renderers: Pool<Renderer>,
    pub(crate) renderer: Recipient<Render>,
    pub(crate) index: Recipient<Search>,
    pub(crate) thumbnails: Recipient<GetThumbnail>,
    pub(crate) sizes: Recipient<GetSizes>,
    pub(crate) views: Recipient<GetViews>,
    pub(crate) metadata: Recipient<GetMetadata>,
    /// The links that these lead over.
    pub(crate) links: [(Part, Peer); 3],
}

impl Tree {
    pub(crate) fn plant(
        system: &System,
        folder: &Path,
        library: &Arc<Library>,
        jobs: &Queue<IndexJob>,
        workdir: &WorkDir,
    ) -> callboard::Result<Self> {
        // ANCHOR: pool
        // Rendering takes time and no memory of what was before: any renderer will do, one for each arbiter.
        // Whoever asks knows a recipient, as if there were one.
        let shared = Arc::clone(library);
        let renderers = Pool::builder(system, move || Renderer::new(&shared))
            .label("renderers")
            .mailbox(RENDERER_MAILBOX)
            .observable()
            .start()?;
        // ANCHOR_END: pool

        // ANCHOR: actors
        let (index, index_place) = system
            .actor(IndexActor::default)
            .label("index")
            .observable()
            .place();
        let mut search = Supervisor::builder("search").child(index_place);
        for number in 1..=WORKERS {
            let worker = worker(jobs, library, &index.recipient());
            let (_, place) = system
                .actor(worker)
                .label(format!("worker {number}"))
                .observable()
                .place();
            search = search.child(place);
        }
        // ANCHOR_END: actors

        // ANCHOR: dedup
        // Before the desk's mailbox: a request whose key runs already joins it, one whose key has ended gets
        // the same receipt again, and the desk hears of neither.
        let dedup = Dedup::<Enrol>::builder(system).window(REMEMBERED).build();
        let ledger = workdir.ledger();
        let (enrolment, enrolment_place) = system
            .actor(move || Enrolment::new(ledger.clone()))
            .label("enrolment")
            .admission(dedup.clone())
            .observable()
            .place();
        // ANCHOR_END: dedup

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
        // It speaks no protocol over its pipes: its standard input is its lifeline only.
        let views_place = ProcessPlace::plain(system, child(&role)?);

        // TCP: the process takes a free port, and says which.
        let announced = Announced::new();
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
        let supervisor = Supervisor::builder("academy")
            .backoff(Backoff::default())
            .child(Supervisor::builder("desk").child(enrolment_place))
            .child(Supervisor::builder("pages").child(thumbnails_place))
            .child(
                Supervisor::builder("facts")
                    .child(views_place)
                    .child(metadata_place),
            )
            .child(search)
            .start(system)?;
        // ANCHOR_END: tree

        Ok(Tree {
            supervisor,
            enrolment: enrolment.recipient(),
            dedup,
            renderer: renderers.recipient(),
            renderers,
            index: index.recipient(),
            thumbnails: sidecar.recipient(THUMBNAILS)?,
            sizes: sidecar.recipient(THUMBNAILS)?,
            views: counter.recipient(VIEWS)?,
            metadata: service.recipient(METADATA)?,
            links: [
                (Part::Thumbnails, sidecar),
                (Part::Views, counter),
                (Part::Metadata, service),
            ],
        })
    }
}

fn worker(
    jobs: &Queue<IndexJob>,
    library: &Arc<Library>,
    index: &Recipient<PutEntry>,
) -> impl Fn() -> Worker + Send + Sync + 'static {
    let (jobs, library, index) = (jobs.clone(), Arc::clone(library), index.clone());
    move || Worker::new(&jobs, &library, &index)
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
