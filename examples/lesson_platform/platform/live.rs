//! Views as they happen, for those who look at a lesson right now.
//!
//! Each watcher has a subscription of its own to the topic that views are published to, with a small buffer:
//! one that doesn't keep up loses messages, not memory, and is told that it did. The number itself comes from
//! the process that counts, together with the number of the last message counted in; so a view that is both
//! in the count and on its way here is not counted twice, and one that is in neither yet is not forgotten.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use callboard::clock::{Clock, Sleep};
use callboard::supervision::Answer;
use callboard::topic::{SlowSubscriber, SubscriberOptions, Subscription, Topic, TopicEvent};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::Platform;
use crate::messages::{Counted, LESSON_VIEWED, Viewed};

/// So many watch at once; others are asked to come again later.
pub(crate) const WATCHERS: usize = 64;
/// After so much silence a watcher hears that there is nothing to hear, and the count is taken anew.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often a counter that is behind is asked again, and how long after each time.
const CATCHES_UP: u32 = 20;
const CATCH_UP: Duration = Duration::from_millis(10);
/// So many messages wait for a watcher that doesn't keep up.
const BUFFER: usize = 32;
/// So many views are remembered that the counter may not have heard of yet.
const ON_THEIR_WAY: usize = 1_024;

/// What a watcher is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beat {
    /// The lesson has been viewed so often.
    Views(u64),
    /// Nothing has changed.
    Still,
}

/// As server-sent events.
impl fmt::Display for Beat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Beat::Views(views) => write!(f, "event: views\ndata: {views}\n\n"),
            // A comment, which keeps proxies from hanging up.
            Beat::Still => f.write_str(": still here\n\n"),
        }
    }
}

/// Why somebody can't watch now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoWatch {
    #[error("{WATCHERS} visitors watch already; this page works without, or try again later")]
    Full,
    #[error("the platform is being stopped")]
    Stopping,
}

/// Who watches now.
pub(crate) struct Live {
    room: Arc<Semaphore>,
    over: watch::Sender<bool>,
}

/// Asks for the count of a lesson; nothing if nobody answers.
type Count = Box<dyn Fn() -> BoxFuture<'static, Option<Counted>> + Send + Sync>;

impl Live {
    pub(crate) fn new() -> Self {
        Live {
            room: Arc::new(Semaphore::new(WATCHERS)),
            over: watch::Sender::new(false),
        }
    }

    /// How many watch now.
    pub(crate) fn watchers(&self) -> usize {
        WATCHERS - self.room.available_permits()
    }

    /// Ends all of them, and takes no more.
    pub(crate) fn close(&self) {
        self.over.send_replace(true);
        self.room.close();
    }

    /// The views of a lesson: first how many there are, then each change. It ends with [`close`](Live::close),
    /// with the topic, or when it is dropped; its subscription and its place end with it.
    pub(crate) async fn watch(
        &self,
        clock: &Clock,
        topic: &Topic<Viewed>,
        slug: &str,
        count: Count,
    ) -> Result<BoxStream<'static, Beat>, NoWatch> {
        let seat = Arc::clone(&self.room).try_acquire_owned();
        let seat = seat.map_err(|_| match *self.over.borrow() {
            true => NoWatch::Stopping,
            false => NoWatch::Full,
        })?;
        // ANCHOR: subscribe
        // Before the count is asked for, so that nothing is between the two.
        let options = SubscriberOptions {
            capacity: BUFFER,
            policy: SlowSubscriber::DropOldest,
        };
        let viewed = topic.subscribe(LESSON_VIEWED, options).await;
        // ANCHOR_END: subscribe
        let watcher = Watcher {
            slug: slug.to_owned(),
            viewed: viewed.map_err(|_| NoWatch::Stopping)?,
            count,
            counted: None,
            through: 0,
            on_their_way: VecDeque::new(),
            told: None,
            heartbeat: clock.sleep(HEARTBEAT),
            clock: clock.clone(),
            over: self.over.subscribe(),
            _seat: seat,
        };
        let beats = stream::unfold(watcher, |mut watcher| async move {
            let beat = watcher.next().await?;
            Some((beat, watcher))
        });
        Ok(beats.boxed())
    }
}

struct Watcher {
    slug: String,
    viewed: Subscription<Viewed>,
    count: Count,
    /// What the counter said last.
    counted: Option<u64>,
    /// The number of the last message that is in it.
    through: u64,
    /// The numbers of the views that came after that.
    on_their_way: VecDeque<u64>,
    /// What the watcher was told last.
    told: Option<u64>,
    heartbeat: Sleep,
    clock: Clock,
    over: watch::Receiver<bool>,
    _seat: OwnedSemaphorePermit,
}

impl Watcher {
    async fn next(&mut self) -> Option<Beat> {
        let mut over = self.over.clone();
        tokio::select! {
            biased;
            // The sender may be gone, too.
            _ = over.wait_for(|over| *over) => None,
            beat = self.beat() => beat,
        }
    }

    /// The next beat; none if the topic has ended. Dropping it half-way loses no view: what was taken from the
    /// subscription has been noted.
    async fn beat(&mut self) -> Option<Beat> {
        if self.told.is_none() {
            self.take_first_count().await;
        }
        loop {
            if let Some(beat) = self.news() {
                self.heartbeat = self.clock.sleep(HEARTBEAT);
                return Some(beat);
            }
            tokio::select! {
                biased;
                event = self.viewed.next() => self.hear(event?).await,
                () = &mut self.heartbeat => {
                    self.take_count().await;
                    self.heartbeat = self.clock.sleep(HEARTBEAT);
                    return Some(self.news().unwrap_or(Beat::Still));
                }
            }
        }
    }

    /// Takes in one event, and all that are there already: a number that is out of date needn't be told.
    async fn hear(&mut self, event: TopicEvent<Viewed>) {
        let mut next = Some(event);
        let mut missed = false;
        while let Some(event) = next {
            match event {
                TopicEvent::Message(viewed) if viewed.slug == self.slug => {
                    self.note(viewed.sequence());
                }
                TopicEvent::Message(_) => {}
                TopicEvent::Gap { .. } => missed = true,
            }
            // The end of the topic is seen by whoever looks next.
            next = self.viewed.next().now_or_never().flatten();
        }
        // What was missed is in the count, or will be by the next heartbeat.
        if missed || self.counted.is_none() {
            self.take_count().await;
        }
    }

    fn note(&mut self, sequence: u64) {
        if sequence <= self.through {
            return;
        }
        if self.on_their_way.len() == ON_THEIR_WAY {
            // The counter has it by now, or has ended.
            self.on_their_way.pop_front();
            self.counted = self.counted.map(|counted| counted + 1);
        }
        self.on_their_way.push_back(sequence);
    }

    /// Asks the counter until it has heard of all that was viewed before this watcher began to listen: it runs behind,
    /// if only by a moment. One that is away or starting anew isn't waited for; the next heartbeat asks again.
    async fn take_first_count(&mut self) {
        for _ in 0..CATCHES_UP {
            self.take_count().await;
            if self.counted.is_none() || self.through >= self.viewed.since() {
                return;
            }
            self.clock.sleep(CATCH_UP).await;
        }
    }

    /// Asks the counter. If it is away, what was known stays.
    async fn take_count(&mut self) {
        if let Some(Counted { counts, through }) = (self.count)().await {
            self.counted = Some(counts.get(&self.slug).copied().unwrap_or(0));
            self.through = through;
            self.on_their_way.retain(|sequence| *sequence > through);
        }
    }

    fn news(&mut self) -> Option<Beat> {
        let now = self.counted? + self.on_their_way.len() as u64;
        let is_new = self.told.replace(now) != Some(now);
        is_new.then_some(Beat::Views(now))
    }
}

impl Platform {
    /// The views of a lesson as they happen.
    pub(crate) async fn watch_views(
        self: &Arc<Self>,
        slug: &str,
    ) -> Result<BoxStream<'static, Beat>, NoWatch> {
        let (platform, of) = (Arc::clone(self), slug.to_owned());
        let count: Count = Box::new(move || {
            let (platform, of) = (Arc::clone(&platform), of.clone());
            Box::pin(async move {
                match platform.counted(vec![of]).await {
                    Answer::Full(counted) => Some(counted),
                    Answer::Degraded(..) => None,
                }
            })
        });
        self.live
            .watch(self.system.clock(), &self.viewed, slug, count)
            .await
    }
}

#[cfg(test)]
mod tests;
