//! The last good answer in place of none.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use callboard_core::clock::{Clock, Instant};
use callboard_core::{Failure, Message, SendError};
use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::{Answer, Asking, Why};

/// How many answers a [`LastAnswers`] keeps unless told otherwise.
pub const DEFAULT_LAST_ANSWERS: usize = 1_000;

/// The last answers that were given, by what they were about, for calls that fail. Clones share them.
///
/// Answers are cloned under a lock, so their `Clone` must not come back here.
///
/// Bounded: at most so many, each for at most so long; at the bound the oldest goes. It is no cache in front of a
/// callee: the callee is asked each time, and an answer from here is [`Answer::Degraded`], with its age.
///
/// ```
/// # use std::time::Duration;
/// # use callboard_core::{Message, Recipient, SendError};
/// # use callboard_supervision::{Answer, AskExt, CallPolicy, LastAnswers};
/// # #[derive(Clone)] struct Price(&'static str);
/// # impl Message for Price { type Reply = u64; }
/// # async fn example(
/// #     prices: Recipient<Price>, policy: &CallPolicy, last: &LastAnswers<&'static str, u64>,
/// # ) -> Result<(), SendError<Price>> {
/// let answer = prices.ask(Price("tea")).policy(policy).or_last("today's price", last, "tea").await?;
/// if let Some(why) = answer.why() {
///     println!("{}, from {:?} ago", answer.value(), why.age.unwrap_or_default());
/// }
/// # Ok(()) }
/// ```
pub struct LastAnswers<K, R> {
    shared: Arc<Shared<K, R>>,
}

struct Shared<K, R> {
    capacity: usize,
    max_age: Duration,
    kept: Mutex<Kept<K, R>>,
}

struct Kept<K, R> {
    answers: BTreeMap<K, (u64, Instant, R)>,
    /// By the order in which they came.
    order: BTreeMap<u64, K>,
    next: u64,
}

impl<K: Ord + Clone, R: Clone> LastAnswers<K, R> {
    /// Keeps [`DEFAULT_LAST_ANSWERS`] answers, each for `max_age`.
    #[must_use]
    pub fn new(max_age: Duration) -> Self {
        LastAnswers::with_capacity(DEFAULT_LAST_ANSWERS, max_age)
    }

    /// Keeps `capacity` answers (at least 1), each for `max_age`.
    #[must_use]
    pub fn with_capacity(capacity: usize, max_age: Duration) -> Self {
        let kept = Kept {
            answers: BTreeMap::new(),
            order: BTreeMap::new(),
            next: 0,
        };
        LastAnswers {
            shared: Arc::new(Shared {
                capacity: capacity.max(1),
                max_age,
                kept: Mutex::new(kept),
            }),
        }
    }

    /// How many it keeps now, those that are too old included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.kept.lock().answers.len()
    }

    /// Whether it keeps none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn keep(&self, about: &K, now: Instant, answer: &R) {
        // Code of users (`clone`, `drop`) runs outside the lock where it can.
        let (about, answer) = (about.clone(), answer.clone());
        let mut gone = Vec::new();
        let mut kept = self.shared.kept.lock();
        let number = kept.next;
        kept.next += 1;
        kept.order.insert(number, about.clone());
        if let Some(before) = kept.answers.insert(about, (number, now, answer)) {
            kept.order.remove(&before.0);
            gone.push(before);
        }
        while kept.answers.len() > self.shared.capacity
            && let Some((_, oldest)) = kept.order.pop_first()
        {
            gone.extend(kept.answers.remove(&oldest));
        }
        drop(kept);
        drop(gone);
    }

    fn recall(&self, about: &K, now: Instant) -> Option<(R, Duration)> {
        let kept = self.shared.kept.lock();
        let (_, since, answer) = kept.answers.get(about)?;
        let age = now.since(*since);
        (age <= self.shared.max_age).then(|| (answer.clone(), age))
    }
}

impl<K, R> Clone for LastAnswers<K, R> {
    fn clone(&self) -> Self {
        LastAnswers {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<K, R> fmt::Debug for LastAnswers<K, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastAnswers")
            .field("capacity", &self.shared.capacity)
            .field("max_age", &self.shared.max_age)
            .finish_non_exhaustive()
    }
}

/// A call that falls back upon the last answer. Await it. Made by [`Call::or_last`](crate::Call::or_last).
///
/// # Errors
/// That of the call, if there is no last answer, or it is too old.
///
/// # Cancel safety
/// Dropping it withdraws the call.
#[must_use = "nothing is sent until it is awaited"]
pub struct FromLast<'r, M: Message, K> {
    asking: Asking<'r, M>,
    part: String,
    last: LastAnswers<K, M::Reply>,
    about: K,
    clock: Clock,
}

impl<'r, M: Message, K> FromLast<'r, M, K> {
    pub(crate) fn new(
        asking: Asking<'r, M>,
        part: String,
        last: LastAnswers<K, M::Reply>,
        about: K,
        clock: Clock,
    ) -> Self {
        FromLast {
            asking,
            part,
            last,
            about,
            clock,
        }
    }
}

impl<'r, M, K> IntoFuture for FromLast<'r, M, K>
where
    M: Message<Reply: Clone>,
    K: Ord + Clone + Send + 'static,
{
    type Output = Result<Answer<M::Reply>, SendError<M>>;
    type IntoFuture = RecallingLast<'r, M>;

    fn into_future(self) -> Self::IntoFuture {
        let FromLast {
            asking,
            part,
            last,
            about,
            clock,
        } = self;
        RecallingLast(Box::pin(async move {
            match asking.await {
                Ok(reply) => {
                    last.keep(&about, clock.now(), &reply);
                    Ok(Answer::Full(reply))
                }
                Err(error) => match last.recall(&about, clock.now()) {
                    Some((answer, age)) => {
                        let mut why = Why::new(part, &Failure::from(error));
                        why.age = Some(age);
                        Ok(Answer::Degraded(answer, why))
                    }
                    None => Err(error),
                },
            }
        }))
    }
}

impl<M: Message, K> fmt::Debug for FromLast<'_, M, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromLast")
            .field("part", &self.part)
            .finish_non_exhaustive()
    }
}

type Answered<M> = Result<Answer<<M as Message>::Reply>, SendError<M>>;

/// The future of a [`FromLast`].
#[must_use = "futures do nothing unless polled"]
pub struct RecallingLast<'r, M: Message>(BoxFuture<'r, Answered<M>>);

impl<M: Message> Future for RecallingLast<'_, M> {
    type Output = Answered<M>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered<M>> {
        self.0.as_mut().poll(cx)
    }
}

impl<M: Message> fmt::Debug for RecallingLast<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecallingLast").finish_non_exhaustive()
    }
}
