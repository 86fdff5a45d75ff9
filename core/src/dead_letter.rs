//! Where messages go that reach no handler and can't go back to their sender (G3, G6).
//!
//! A message goes back to its sender or comes here, never both. What came can be looked at in three ways:
//!
//! - A bounded ring keeps the newest [`DEAD_LETTER_CAPACITY`] with the message itself; what falls out is only
//!   counted. [`take`](DeadLetters::take) empties it, and so does the end of the system.
//! - [`subscribe`](DeadLetters::subscribe) tells of each letter when it comes, as a topic does, with gap
//!   notices for who is slow (G27, G28). A notice says everything but the message.
//! - [`counts`](DeadLetters::counts) says how many came for which reason, and for whom.
//!
//! Nothing of this is an actor. Who buries a message never waits, and a dead letter can't make another, as it
//! could if the notices went through a mailbox. (Akka has the first half on its event stream, whose queues
//! have no bound.)
//!
//! ```
//! use callboard_core::topic::{SubscriberOptions, TopicEvent};
//! use callboard_core::{Actor, Context, DropReason, Handler, Message, Simulation, System};
//! use futures::StreamExt;
//!
//! struct Job;
//! impl Message for Job {
//!     type Reply = ();
//! }
//! struct Clerk;
//! impl Actor for Clerk {}
//! impl Handler<Job> for Clerk {
//!     async fn handle(&mut self, _: Job, _ctx: &mut Context<Self>) {}
//! }
//!
//! Simulation::new(1).block_on(async {
//!     let system = System::current().ok_or("no system")?;
//!     let mut dead = system
//!         .dead_letters()
//!         .subscribe("dead.stopped.*", SubscriberOptions::default())?;
//!     let clerk = system.actor(|| Clerk).label("clerk").start();
//!     clerk.tell(Job).await?;
//!     clerk.stop();
//!     let Some(TopicEvent::Message(notice)) = dead.next().await else {
//!         return Err("no notice".into());
//!     };
//!     assert_eq!(notice.subject(), "dead.stopped.clerk");
//!     assert_eq!((&*notice.target, notice.reason), ("clerk", DropReason::Stopped));
//!     Ok::<(), Box<dyn std::error::Error>>(())
//! })
//! # .unwrap();
//! ```

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

use crate::clock::Instant;
use crate::counters::{Counters, DropReason};
use crate::id::RequestKey;
use crate::replay::FailedAttempt;
use crate::topic::{
    Hub, MAX_SUBJECT, SubjectError, SubscriberOptions, Subscription, TopicOptions, as_level,
    check_pattern,
};

/// How many dead letters a system keeps.
pub const DEAD_LETTER_CAPACITY: usize = 1_024;

/// For how many targets a system counts dead letters apart; the letters of further ones are counted together.
pub const DEAD_LETTER_TARGETS: usize = 1_024;

/// A message that reached no handler.
pub struct DeadLetter {
    /// When it was given up.
    pub at: Instant,
    /// Whom it was for.
    pub target: String,
    /// The Rust type of the message.
    pub message_type: &'static str,
    /// Why.
    pub reason: DropReason,
    /// Its request key, if it had one.
    pub key: Option<RequestKey>,
    /// The attempts at it that crashed its actor, oldest first, if it was [replayed](crate::Spawn::replay) (G14).
    pub attempts: Vec<FailedAttempt>,
    /// The message itself.
    pub message: Box<dyn Any + Send>,
}

impl fmt::Debug for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("target", &self.target)
            .field("message_type", &self.message_type)
            .field("reason", &self.reason)
            .field("key", &self.key)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// A [`DeadLetter`] without its message: what subscribers get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadLetterNotice {
    /// When it was given up, on the system's clock.
    pub at: Instant,
    /// Whom it was for: the actor's label, or the exposed name.
    pub target: Arc<str>,
    /// The Rust type of the message.
    pub message_type: &'static str,
    /// Why.
    pub reason: DropReason,
    /// Its request key, if it had one.
    pub key: Option<RequestKey>,
    /// The attempts at it that crashed its actor, oldest first, if it was [replayed](crate::Spawn::replay) (G14).
    pub attempts: Vec<FailedAttempt>,
}

impl DeadLetterNotice {
    fn of(letter: &DeadLetter) -> Self {
        DeadLetterNotice {
            at: letter.at,
            target: letter.target.as_str().into(),
            message_type: letter.message_type,
            reason: letter.reason,
            key: letter.key,
            attempts: letter.attempts.clone(),
        }
    }

    /// The subject it is published to: `dead.<reason>.<target>`, such as `dead.drop_oldest.cart`. The reason
    /// is its [name](DropReason::name). In the target `_` stands for what a level can't have (dots,
    /// wildcards, white space), and a long one is cut.
    #[must_use]
    pub fn subject(&self) -> String {
        let mut subject = format!("dead.{}.", self.reason.name());
        let room = MAX_SUBJECT - subject.len();
        subject.push_str(&as_level(&self.target, room));
        subject
    }
}

/// How many dead letters came since the system started.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct DeadLetterCounts {
    /// By reason; reasons for which none came are not there.
    pub by_reason: BTreeMap<DropReason, u64>,
    /// By target, the one with the most first. At most [`DEAD_LETTER_TARGETS`], those that had one first.
    pub by_target: Vec<TargetCounts>,
    /// For all other targets together.
    pub elsewhere: BTreeMap<DropReason, u64>,
}

impl DeadLetterCounts {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_reason.values().sum()
    }
}

/// The dead letters for one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetCounts {
    /// The actor's label, or the exposed name.
    pub target: String,
    /// All of them.
    pub total: u64,
    /// By reason.
    pub by_reason: BTreeMap<DropReason, u64>,
}

/// The dead letters of one system.
pub struct DeadLetters {
    counters: Arc<Counters>,
    kept: Mutex<Kept>,
    /// Has ended once the system has been shut down.
    hub: Arc<Hub<DeadLetterNotice>>,
}

#[derive(Default)]
struct Kept {
    /// The system has been shut down: nothing is kept any more.
    over: bool,
    ring: VecDeque<DeadLetter>,
    targets: BTreeMap<String, BTreeMap<DropReason, u64>>,
    elsewhere: BTreeMap<DropReason, u64>,
}

impl Kept {
    fn count(&mut self, letter: &DeadLetter) {
        let counts = if let Some(counts) = self.targets.get_mut(&letter.target) {
            counts
        } else if self.targets.len() < DEAD_LETTER_TARGETS {
            self.targets.entry(letter.target.clone()).or_default()
        } else {
            &mut self.elsewhere
        };
        *counts.entry(letter.reason).or_default() += 1;
    }
}

impl DeadLetters {
    pub(crate) fn new(counters: Arc<Counters>) -> Self {
        DeadLetters {
            counters,
            kept: Mutex::default(),
            hub: Arc::new(Hub::new(
                "dead letters".into(),
                TopicOptions::default(),
                None,
            )),
        }
    }

    /// Takes a message that nobody else will have: counts it under its reason, keeps it, and tells the
    /// subscribers. Never waits for anybody.
    pub fn push(&self, letter: DeadLetter) {
        self.counters.count_drop(letter.reason);
        tracing::debug!(
            target: "callboard::dead_letter",
            receiver = %letter.target, message = letter.message_type, reason = ?letter.reason
        );
        self.publish(&letter);
        let mut kept = self.kept.lock();
        kept.count(&letter);
        if kept.over {
            drop(kept);
            return self.let_go(letter);
        }
        let oldest = if kept.ring.len() >= DEAD_LETTER_CAPACITY {
            kept.ring.pop_front()
        } else {
            None
        };
        kept.ring.push_back(letter);
        drop(kept);
        if let Some(oldest) = oldest {
            self.counters.count_drop(DropReason::DeadLetterOverflow);
            self.let_go(oldest);
        }
    }

    /// Drops a message: a user's `Drop` runs outside the lock, and behind a fence, since whoever is here has
    /// nothing to do with that message (G10).
    fn let_go(&self, letter: DeadLetter) {
        if catch_unwind(AssertUnwindSafe(|| drop(letter))).is_err() {
            self.counters.count_panic();
            tracing::warn!(target: "callboard::dead_letter", "the drop of a message panicked");
        }
    }

    fn publish(&self, letter: &DeadLetter) {
        self.hub.publish_made(|| {
            let notice = DeadLetterNotice::of(letter);
            (notice.subject(), notice)
        });
    }

    /// Tells of each letter that comes from now on, if its [subject](DeadLetterNotice::subject) is one that
    /// the pattern matches: `*` stands for one level, a last `>` for the rest, so `dead.>` is all of them.
    ///
    /// The numbers of the events are those of all dead letters of the system. Who doesn't keep up misses
    /// notices, as its options say, and is told which (G28); the letters are counted and kept all the same.
    /// The subscription ends when it is dropped, or when the system has been shut down.
    ///
    /// # Errors
    /// If the pattern is malformed.
    pub fn subscribe(
        &self,
        pattern: &str,
        options: SubscriberOptions,
    ) -> Result<Subscription<DeadLetterNotice>, SubjectError> {
        check_pattern(pattern)?;
        Ok(self.hub.subscribe_plain(pattern, options))
    }

    /// The system is over: no more is told to subscribers, and no message is kept any more. One that holds a
    /// reference would keep its actor, and with it the system, for ever.
    pub(crate) fn end(&self) {
        self.hub.end();
        let mut kept = self.kept.lock();
        kept.over = true;
        let ring = std::mem::take(&mut kept.ring);
        drop(kept);
        ring.into_iter().for_each(|letter| self.let_go(letter));
    }

    /// How many are kept now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.lock().ring.len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes all that are kept, oldest first. The counts stay.
    #[must_use]
    pub fn take(&self) -> Vec<DeadLetter> {
        std::mem::take(&mut self.kept.lock().ring).into()
    }

    /// How many came, by reason and by target, whether they are still kept or not.
    #[must_use]
    pub fn counts(&self) -> DeadLetterCounts {
        let kept = self.kept.lock();
        let (targets, elsewhere) = (kept.targets.clone(), kept.elsewhere.clone());
        drop(kept);
        let mut by_reason = elsewhere.clone();
        for (reason, count) in targets.values().flatten() {
            *by_reason.entry(*reason).or_default() += count;
        }
        let mut by_target: Vec<_> = targets
            .into_iter()
            .map(|(target, by_reason)| TargetCounts {
                target,
                total: by_reason.values().sum(),
                by_reason,
            })
            .collect();
        // Stable: those with as many stay sorted by name.
        by_target.sort_by_key(|counts| std::cmp::Reverse(counts.total));
        DeadLetterCounts {
            by_reason,
            by_target,
            elsewhere,
        }
    }
}

impl Drop for DeadLetters {
    /// However the system ends, who listens sees the end.
    fn drop(&mut self) {
        self.hub.end();
    }
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
