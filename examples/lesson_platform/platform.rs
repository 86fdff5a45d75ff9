//! The platform: what it consists of, and how its parts are asked.

mod announced;
mod live;
pub(crate) mod policies;
mod report;
mod tree;
mod workdir;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use callboard::clock::Instant;
use callboard::prelude::*;
use callboard::queue::Queue;
use callboard::remote::{Node, PeerStats};
use callboard::supervision::{Answer, AskExt, Idempotent, Phase, Shutdown, TreeSnapshot};
use callboard::topic::Topic;
use callboard::{Failure, PoolError};
use tracing::Instrument;

use crate::calls::{Calls, Part};
use crate::lessons::Library;
use crate::messages::{
    Count, Counted, Counts, Enrol, EnrolError, Found, GetCounts, GetMetadata, GetSizes,
    GetThumbnail, GetViews, IndexJob, LESSON_VIEWED, Receipt, Render, Search, Size, Viewed,
};
use crate::metadata::Metadata;
use crate::spans::{self, PageTrace, Spans};
use crate::thumbnail::{Thumbnail, ThumbnailError};

use live::Live;
use policies::{OWN_POLICIES, Policies};
use tree::Tree;
use workdir::WorkDir;

/// How long all parts have to answer for the first time.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long a number may take to be counted: longer than any cut.
const COUNT_DEADLINE: Duration = Duration::from_secs(10);
/// How many views wait for the index workers; the oldest go first.
const JOBS: usize = 1_024;

/// A running platform.
pub(crate) struct Platform {
    pub(crate) system: System,
    pub(crate) library: Arc<Library>,
    pub(crate) folder: PathBuf,
    started: Instant,
    tree: Tree,
    jobs: Queue<IndexJob>,
    viewed: Topic<Viewed>,
    /// How the parts are asked: what a file says, which may change.
    pub(crate) policies: Policies,
    calls: Calls,
    /// The spans of the last pages, if they are kept.
    spans: Option<Spans>,
    pub(crate) live: Live,
    /// Exposes the topic; ends with the platform.
    node: Node,
    /// How all of it ends.
    pub(crate) shutdown: Shutdown,
    workdir: WorkDir,
}

impl Platform {
    /// Starts everything, and waits until every part has answered once. Without `policies`, a file of such, it has
    /// the one that comes with it, as a copy that may be edited.
    pub(crate) async fn start(
        system: &System,
        folder: PathBuf,
        library: Library,
        spans: Option<Spans>,
        policies: Option<PathBuf>,
    ) -> callboard::Result<Arc<Self>> {
        let library = Arc::new(library);
        let workdir = WorkDir::create()?;
        // First: with limits that nobody wrote nothing is started.
        let policies = match policies {
            Some(file) => file,
            None => {
                policies::write(&workdir.policies(), OWN_POLICIES)?;
                workdir.policies()
            }
        };
        let policies = Policies::watch(system, &policies).await?;
        let jobs = Queue::circular(system, "index jobs", JOBS);

        // ANCHOR: topic
        let viewed = Topic::start(system, LESSON_VIEWED);
        let node = Node::new(system, "academy")?;
        node.expose_topic(LESSON_VIEWED, &viewed)?;
        node.listen_unix(workdir.topic()).await?;
        // ANCHOR_END: topic

        let tree = Tree::plant(system, &folder, &library, &jobs, &workdir)?;
        let platform = Arc::new(Platform {
            system: system.clone(),
            library,
            folder,
            started: system.clock().now(),
            tree,
            jobs,
            viewed,
            policies,
            calls: Calls::default(),
            spans,
            live: Live::new(),
            node,
            shutdown: Shutdown::new(system),
            workdir,
        });
        platform.plan_shutdown();
        match platform.wait_until_up().await {
            Ok(()) => Ok(platform),
            Err(why) => {
                platform.shutdown.run().await;
                Err(why.into())
            }
        }
    }

    // ANCHOR: shutdown
    /// What is registered last is stopped first: the tree from its last child to its first, the pool beside it, then
    /// what both stood on. The web server puts its own part in.
    fn plan_shutdown(self: &Arc<Self>) {
        let node = self.node.clone();
        self.shutdown
            .on(Phase::Stop, "topic", || async move { node.close() });
        let renderers = self.tree.renderers.clone();
        self.shutdown.on(Phase::Stop, "renderers", || async move {
            renderers.stop();
            renderers.wait().await;
        });
        self.shutdown.tree(&self.tree.supervisor);

        let platform = Arc::downgrade(self);
        self.shutdown
            .on(Phase::StopTakingWork, "live views", || async move {
                if let Some(platform) = platform.upgrade() {
                    platform.live.close();
                }
            });
        let jobs = self.jobs.clone();
        let clock = self.system.clock().clone();
        self.shutdown
            .on(Phase::FinishWork, "index jobs", || async move {
                // Nobody offers any more. What isn't taken in this phase's time is cut off, and counted.
                while jobs.state().await.is_ok_and(|state| state.len > 0) {
                    clock.sleep(Duration::from_millis(5)).await;
                }
            });
    }
    // ANCHOR_END: shutdown

    async fn wait_until_up(&self) -> Result<(), String> {
        let due = self.system.clock().now() + START_DEADLINE;
        for part in [Part::Thumbnails, Part::Views, Part::Metadata] {
            while !self.probe(part).await {
                if self.system.clock().now() >= due
                    || self.tree.supervisor.actor().exit_reason().is_some()
                {
                    return Err(format!(
                        "the {part} process did not come up\n{}",
                        self.tree()
                    ));
                }
                self.system.clock().sleep(Duration::from_millis(10)).await;
            }
        }
        Ok(())
    }

    pub(crate) async fn render(&self, slug: &str) -> Result<String, Failure> {
        let render = Render {
            slug: slug.to_owned(),
        };
        self.ask(Part::Renderer, &self.tree.renderer, render).await
    }

    pub(crate) async fn search(&self, query: &str) -> Result<Found, Failure> {
        let search = Search {
            query: query.to_owned(),
        };
        self.ask(Part::Search, &self.tree.index, search).await
    }

    /// The sizes of thumbnails; those that can't be made have none.
    pub(crate) async fn sizes(&self, images: Vec<String>) -> Answer<BTreeMap<String, Size>> {
        let sizes = self.ask_or_without(Part::Thumbnails, &self.tree.sizes, GetSizes { images });
        let made =
            |(image, size): (String, Result<Size, ThumbnailError>)| Some((image, size.ok()?));
        sizes
            .await
            .map(|sizes| sizes.into_iter().filter_map(made).collect())
    }

    pub(crate) async fn views(&self, slugs: Vec<String>) -> Answer<BTreeMap<String, u64>> {
        self.counted(slugs).await.map(|counted| counted.counts)
    }

    /// The views, and up to which message of the topic they are counted.
    async fn counted(&self, slugs: Vec<String>) -> Answer<Counted> {
        self.ask_or_without(Part::Views, &self.tree.views, GetViews { slugs })
            .await
    }

    pub(crate) async fn metadata(&self, slugs: Vec<String>) -> Answer<BTreeMap<String, Metadata>> {
        self.ask_or_without(Part::Metadata, &self.tree.metadata, GetMetadata { slugs })
            .await
    }

    pub(crate) async fn thumbnail(
        &self,
        image: &str,
    ) -> Result<Result<Thumbnail, ThumbnailError>, Failure> {
        let get = GetThumbnail {
            image: image.to_owned(),
        };
        self.ask(Part::Thumbnails, &self.tree.thumbnails, get).await
    }

    // ANCHOR: viewed
    /// A lesson was shown: news for whoever subscribes, and work for one of the workers. Neither holds the
    /// page up.
    pub(crate) async fn viewed(&self, slug: &str) {
        let slug = slug.to_owned();
        let tell_them = async {
            // An error means that the platform is being stopped; the page is answered all the same.
            let _ = self
                .viewed
                .publish(LESSON_VIEWED, Viewed { slug: slug.clone() })
                .await;
            let _ = self.jobs.offer(IndexJob { slug }).await;
        };
        tell_them.instrument(spans::step("publish and offer")).await;
    }
    // ANCHOR_END: viewed

    // ANCHOR: enrol
    /// Charges a learner. The key is the caller's: it stays the same however often the caller repeats itself.
    pub(crate) async fn enrol(
        &self,
        key: RequestKey,
        enrol: Enrol,
    ) -> Result<Result<Receipt, EnrolError>, Failure> {
        let asked = async {
            let enrolled = self
                .tree
                .enrolment
                .ask(enrol)
                .key(key)
                .policy(self.policies.of(Part::Enrolment))
                .await;
            enrolled.map_err(Failure::from)
        };
        let verdict = |enrolled: &Result<_, Failure>| enrolled.as_ref().err().map(Failure::verdict);
        self.recorded(Part::Enrolment, asked, verdict).await
    }
    // ANCHOR_END: enrol

    // ANCHOR: ask
    /// Asks for a part that a page can do without, for as long as its policy says. Repeated while the deadline and
    /// the budget in it allow, since asking twice does no harm; in the end there is an answer in any case, perhaps
    /// an empty one that says why.
    async fn ask_or_without<M>(&self, part: Part, of: &Recipient<M>, message: M) -> Answer<M::Reply>
    where
        M: Message<Reply: Default> + Idempotent + Clone,
    {
        let asked = of
            .ask(message)
            .policy_idempotent(self.policies.of(part))
            .or_degraded(part.for_people(), M::Reply::default())
            .into_future();
        let verdict = |answer: &Answer<_>| answer.why().map(|why| why.verdict);
        self.recorded(part, asked, verdict).await
    }
    // ANCHOR_END: ask

    /// Asks for something that nothing can stand in for.
    async fn ask<M>(&self, part: Part, of: &Recipient<M>, message: M) -> Result<M::Reply, Failure>
    where
        M: Message + Idempotent + Clone,
    {
        let asked = async {
            let answered = of
                .ask(message)
                .policy_idempotent(self.policies.of(part))
                .await;
            answered.map_err(Failure::from)
        };
        let verdict = |answered: &Result<_, Failure>| answered.as_ref().err().map(Failure::verdict);
        self.recorded(part, asked, verdict).await
    }

    /// Counts a call with the time it took, in a span below the page's.
    async fn recorded<T>(
        &self,
        part: Part,
        asked: impl Future<Output = T>,
        verdict: impl FnOnce(&T) -> Option<Verdict>,
    ) -> T {
        let call = async {
            let from = self.system.clock().now();
            let answered = asked.await;
            let failed = verdict(&answered);
            if let Some(failed) = failed {
                spans::failed(failed);
            }
            let took = self.system.clock().now().since(from);
            self.calls.record(part, took, failed);
            answered
        };
        call.instrument(spans::part(part)).await
    }

    /// The slowest page since the start, if spans are kept.
    pub(crate) fn slowest_page(&self) -> Option<PageTrace> {
        self.spans.as_ref()?.kept().slowest
    }

    /// Makes it that many renderers, while they work.
    pub(crate) fn resize_renderers(&self, size: usize) -> Result<(), PoolError> {
        self.tree.renderers.resize(size)
    }

    /// Whether a part behind a process boundary answers now. Not retried and not counted.
    pub(crate) async fn probe(&self, part: Part) -> bool {
        const PATIENCE: Duration = Duration::from_millis(100);
        match part {
            Part::Thumbnails => {
                let get = GetSizes { images: Vec::new() };
                self.tree.sizes.ask(get).deadline(PATIENCE).await.is_ok()
            }
            Part::Views => {
                let get = GetViews { slugs: Vec::new() };
                self.tree.views.ask(get).deadline(PATIENCE).await.is_ok()
            }
            Part::Metadata => {
                let get = GetMetadata { slugs: Vec::new() };
                self.tree.metadata.ask(get).deadline(PATIENCE).await.is_ok()
            }
            Part::Renderer | Part::Search | Part::Enrolment => true,
        }
    }

    /// Cuts the connection to a part in the middle of whatever it carries; the process isn't harmed. `false` if there
    /// is none that can be cut.
    pub(crate) fn cut(&self, part: Part) -> bool {
        part == Part::Metadata && self.tree.announced.cut()
    }

    /// What the link to a part has done.
    pub(crate) fn link(&self, part: Part) -> PeerStats {
        let link = self.tree.links.iter().find(|(to, _)| *to == part);
        link.map(|(_, peer)| peer.state().stats).unwrap_or_default()
    }

    /// How many requests to a part have no answer yet.
    pub(crate) fn in_flight(&self, part: Part) -> u64 {
        let link = self.tree.links.iter().find(|(to, _)| *to == part);
        link.map_or(0, |(_, peer)| peer.state().in_flight as u64)
    }

    /// Has a number counted at the other end of the link to the metadata. Asked once, whatever happens.
    pub(crate) async fn count(&self, number: u64) -> Result<u64, Failure> {
        let asked = self
            .tree
            .count
            .ask(Count { number })
            .deadline(COUNT_DEADLINE);
        asked.await.map_err(Failure::from)
    }

    /// What has become of the numbers.
    pub(crate) async fn counts(&self) -> Result<Counts, Failure> {
        let asked = self.tree.counts.ask(GetCounts).deadline(COUNT_DEADLINE);
        asked.await.map_err(Failure::from)
    }

    /// The process that a part runs in, if it is one of its own and up.
    pub(crate) fn pid(&self, part: Part) -> Option<u32> {
        self.tree().find(&part.to_string())?.pid
    }

    pub(crate) fn tree(&self) -> TreeSnapshot {
        self.tree.supervisor.observe()
    }

    /// Where charges are written.
    pub(crate) fn ledger(&self) -> PathBuf {
        self.workdir.ledger()
    }

    /// Whether the workers have done all that was offered, waiting for it a while.
    pub(crate) async fn index_is_idle(&self, patience: Duration) -> bool {
        let due = self.system.clock().now() + patience;
        while self.system.clock().now() < due {
            let state = self.jobs.state().await.unwrap_or_default();
            if state.len == 0 && state.waiting_pollers == tree::WORKERS {
                return true;
            }
            self.system.clock().sleep(Duration::from_millis(5)).await;
        }
        false
    }

    pub(crate) fn views_published(&self) -> u64 {
        self.viewed.state().published
    }
}
