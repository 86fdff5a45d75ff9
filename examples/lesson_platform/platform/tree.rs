//! Who starts whom, and starts it again.
//!
//! ```text
//! academy
//! |-- desk          enrolment: its duplicates are suppressed before they reach it
//! |-- pages         thumbnails (child process, pipe)
//! |-- facts         views (child process, Unix socket), metadata (child process, TCP)
//! `-- search
//!     |-- index
//!     `-- workers   two of them
//!
//! renderers         a pool: as many renderers as there are arbiters
//! ```
//!
//! Who stands under one supervisor shares its patience: what fails too often there ends together, and is started again
//! together. So each part of a page has a supervisor of its own, and the workers have one below the index's:
//! a lesson that no worker survives must not empty the index by exhausting its supervisor.
//!
//! All of them are one-for-one, which is a statement: nobody here holds anything of a sibling that a restart of that
//! sibling would make wrong. References stay valid, what a worker asks of an index that is down waits in its mailbox,
//! and `views` and `metadata` don't know each other. (Under rest-for-one a worker that waits for the index would have
//! to be stopped before the index can come back.) The order counts all the same: the desk is up before the first
//! page, and is the last to go.
//!
//! A failure of the desk can be fatal: a ledger that was damaged is no better at the next start. Then nobody can
//! enrol until somebody has looked at it, and all other pages go on.
//!
//! The pool stands beside the tree. It makes a renderer that fails anew by itself, and there is nothing to
//! escalate: a renderer has no state that another one lacks.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use callboard::prelude::*;
use callboard::process::{ProcessPlace, ProcessSpec};
use callboard::queue::Queue;
use callboard::remote::{LinkConfig, Peer};
use callboard::supervision::{Child, Decision, Dedup, Supervisor, SupervisorRef};
use callboard::{FailureClass, Place, Pool};

use super::announced::Announced;
use super::workdir::WorkDir;
use crate::actors::{Enrolment, IndexActor, Renderer, Worker};
use crate::args::Role;
use crate::calls::Part;
use crate::lessons::Library;
use crate::messages::{
    Count, Enrol, GetCounts, GetMetadata, GetSizes, GetThumbnail, GetViews, IndexJob, PutEntry,
    Render, Search,
};
use crate::services::{METADATA, TALLY, THUMBNAILS, VIEWS};

/// Longer than anybody presses a button again, and than any proxy repeats a request.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);
/// So many workers share the queue of index jobs.
pub(crate) const WORKERS: usize = 2;
/// So often a part of the platform as a whole may be started again ...
const ESCALATIONS: usize = 2;
/// ... within this time.
const ESCALATIONS_WITHIN: Duration = Duration::from_secs(60);
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
    /// Beside the metadata, for the drill.
    pub(crate) count: Recipient<Count>,
    pub(crate) counts: Recipient<GetCounts>,
    /// What dials the metadata service.
    pub(crate) announced: Announced,
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
        let mut workers = Supervisor::builder("workers");
        for number in 1..=WORKERS {
            let worker = worker(jobs, library, &index.recipient());
            let (_, place) = system
                .actor(worker)
                .label(format!("worker {number}"))
                .observable()
                .place();
            workers = workers.child(place);
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
        let listening = announced.clone();
        let metadata_place = ProcessPlace::new(
            system,
            child(&Role::Metadata { lessons })?,
            move |stream, _| {
                let announced = listening.clone();
                tokio::spawn(async move { announced.listen(stream).await });
            },
        );

        // ANCHOR: tree
        // Below, five restarts in ten seconds are no news (the default). What comes up here wasn't healed by
        // them, and a third time in a minute somebody should be called.
        let supervisor = Supervisor::builder("academy")
            .intensity(ESCALATIONS, ESCALATIONS_WITHIN)
            .child(desk(enrolment_place))
            .child(Supervisor::builder("pages").child(thumbnails_place))
            .child(
                Supervisor::builder("facts")
                    .child(views_place)
                    .child(metadata_place),
            )
            .child(
                Supervisor::builder("search")
                    .child(index_place)
                    .child(workers),
            )
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
            count: service.recipient(TALLY)?,
            counts: service.recipient(TALLY)?,
            announced,
            links: [
                (Part::Thumbnails, sidecar),
                (Part::Views, counter),
                (Part::Metadata, service),
            ],
        })
    }
}

/// The desk closes for good if its failure is fatal; the pages go on without it.
fn desk(enrolment: Arc<dyn Place>) -> Child {
    Child::permanent(Supervisor::builder("desk").child(enrolment))
        .on_failure(FailureClass::Fatal, Decision::Stop)
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

#[cfg(test)]
mod tests {
    use callboard::supervision::ChildState;

    use super::*;
    use crate::lessons::tests::Folder;

    #[test]
    fn a_damaged_ledger_closes_the_desk_and_nothing_else() {
        let folder = Folder::new("desk");
        let ledger = folder.0.join("ledger.tsv");
        std::fs::write(&ledger, "no charge\n").unwrap();
        callboard::run(|system| async move {
            let enrolment = system.actor(move || Enrolment::new(ledger.clone()));
            let (enrolment, place) = enrolment.label("enrolment").place();
            let (index, index_place) = system.actor(IndexActor::default).place();
            let academy = Supervisor::builder("academy")
                .child(desk(place))
                .child(index_place)
                .start(&system)
                .unwrap();
            let closed = academy
                .until(|tree| tree.children[0].state == ChildState::Failed)
                .await;
            let why = closed.children[0].last_cause.clone().unwrap();
            assert!(why.contains("line 1 is no charge"), "{why}");
            assert_eq!(academy.restarts(), 0, "a fresh start won't help");

            let enrol = Enrol {
                lesson: "intro".to_owned(),
                learner: "Mira".to_owned(),
            };
            let refused = enrolment.ask(enrol).await.unwrap_err();
            assert_eq!(refused.verdict(), Verdict::NotExecuted);
            let query = "actor".to_owned();
            assert!(index.ask(Search { query }).await.is_ok());
            academy.stop();
            academy.wait().await;
        })
        .unwrap();
    }
}
