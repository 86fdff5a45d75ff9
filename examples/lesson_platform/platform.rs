//! The platform: what it consists of, and how its parts are asked.

mod announced;
mod policies;
mod report;
mod tree;
mod workdir;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use callboard::Failure;
use callboard::clock::Instant;
use callboard::prelude::*;
use callboard::queue::Queue;
use callboard::remote::Node;
use callboard::supervision::{Answer, AskExt, Idempotent, TreeSnapshot};
use callboard::topic::Topic;

use crate::calls::{Calls, Part};
use crate::lessons::Library;
use crate::messages::{
    Enrol, EnrolError, Found, GetMetadata, GetSizes, GetThumbnail, GetViews, IndexJob,
    LESSON_VIEWED, Receipt, Render, Search, Size, Viewed,
};
use crate::metadata::Metadata;
use crate::thumbnail::{Thumbnail, ThumbnailError};

use policies::Policies;
use tree::Tree;
use workdir::WorkDir;

/// How long a page waits for one of its parts, repetitions included. A page that is whole is better than
/// one that isn't, and one that comes is better than both.
const PART_DEADLINE: Duration = Duration::from_millis(400);
/// An enrolment may take longer: somebody pays.
const ENROL_DEADLINE: Duration = Duration::from_secs(10);
/// How long all parts have to answer for the first time.
const START_DEADLINE: Duration = Duration::from_secs(30);
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
    policies: Policies,
    calls: Calls,
    /// Exposes the topic; ends with the platform.
    node: Node,
    workdir: WorkDir,
}

impl Platform {
    /// Starts everything, and waits until every part has answered once.
    pub(crate) async fn start(
        system: &System,
        folder: PathBuf,
        library: Library,
    ) -> callboard::Result<Arc<Self>> {
        let library = Arc::new(library);
        let workdir = WorkDir::create()?;
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
            policies: Policies::default(),
            calls: Calls::default(),
            node,
            workdir,
        });
        match platform.wait_until_up().await {
            Ok(()) => Ok(platform),
            Err(why) => {
                platform.stop().await;
                Err(why.into())
            }
        }
    }

    /// Stops everything in order: the tree from its last child to its first, then what it stood on.
    pub(crate) async fn stop(&self) {
        self.tree.supervisor.stop();
        self.tree.supervisor.wait().await;
        self.node.close();
    }

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
        // An error means that the platform is being stopped; the page is answered all the same.
        let _ = self
            .viewed
            .publish(LESSON_VIEWED, Viewed { slug: slug.clone() })
            .await;
        let _ = self.jobs.offer(IndexJob { slug }).await;
    }
    // ANCHOR_END: viewed

    // ANCHOR: enrol
    /// Charges a learner. The key is the caller's: it stays the same however often the caller repeats itself.
    pub(crate) async fn enrol(
        &self,
        key: RequestKey,
        enrol: Enrol,
    ) -> Result<Result<Receipt, EnrolError>, Failure> {
        let from = self.system.clock().now();
        let enrolled = self
            .tree
            .enrolment
            .ask(enrol)
            .key(key)
            .deadline(ENROL_DEADLINE)
            .await
            .map_err(Failure::from);
        self.record(
            Part::Enrolment,
            from,
            enrolled.as_ref().err().map(Failure::verdict),
        );
        enrolled
    }
    // ANCHOR_END: enrol

    // ANCHOR: ask
    /// Asks for a part that a page can do without. Repeated while the deadline and the policy's budget allow,
    /// since asking twice does no harm; in the end there is an answer in any case, perhaps an empty one that
    /// says why.
    async fn ask_or_without<M>(&self, part: Part, of: &Recipient<M>, message: M) -> Answer<M::Reply>
    where
        M: Message<Reply: Default> + Idempotent + Clone,
    {
        let from = self.system.clock().now();
        let answer = of
            .ask(message)
            .deadline(PART_DEADLINE)
            .retry_idempotent(self.policies.of(part))
            .or_degraded(part.for_people(), M::Reply::default())
            .await;
        self.record(part, from, answer.why().map(|why| why.verdict));
        answer
    }
    // ANCHOR_END: ask

    /// Asks for something that nothing can stand in for.
    async fn ask<M>(&self, part: Part, of: &Recipient<M>, message: M) -> Result<M::Reply, Failure>
    where
        M: Message + Idempotent + Clone,
    {
        let from = self.system.clock().now();
        let asked = of.ask(message).deadline(PART_DEADLINE);
        let answered = asked
            .retry_idempotent(self.policies.of(part))
            .await
            .map_err(Failure::from);
        self.record(part, from, answered.as_ref().err().map(Failure::verdict));
        answered
    }

    fn record(&self, part: Part, from: Instant, failed: Option<Verdict>) {
        let took = self.system.clock().now().since(from);
        self.calls.record(part, took, failed);
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

    pub(crate) async fn views_published(&self) -> u64 {
        self.viewed.state().await.map_or(0, |state| state.published)
    }
}
