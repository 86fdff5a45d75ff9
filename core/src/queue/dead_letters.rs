//! The dead-letter queue that every queue has (G23).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::browse::Browsed;
use super::dead::{Dead, DeadInfo, DeadReason};
use super::engine::{Extra, Item, New, Stage};
use super::keeper::Owner;
use super::local::{DeadHome, Haul, Local, Payload, Taken};
use super::state::QueueState;
use super::take::{Lease, LeaseMany, Poll};
use super::{Inner, Queue};
use crate::clock::Instant;
use crate::error::Failure;

/// The items that a queue gave up, oldest first: a queue itself, which nothing is offered to.
///
/// It has no limit of deliveries: what is rejected here comes back here after a pause, and what is
/// [buried](super::Delivery::bury) here goes to the system's dead letters. When it is full its oldest item goes
/// there, and is counted.
pub struct DeadLetterQueue<T: Send + 'static> {
    dead: Queue<Dead<T>>,
    local: Arc<Local<Dead<T>>>,
    home: Arc<Local<T>>,
}

impl<T: Send + 'static> DeadLetterQueue<T> {
    pub(super) fn new(
        local: Arc<Local<Dead<T>>>,
        home: Arc<Local<T>>,
        owner: Arc<dyn Owner>,
    ) -> Self {
        let inner = Inner::Local {
            local: Arc::clone(&local),
            owner,
            dead: None,
        };
        DeadLetterQueue {
            dead: Queue { inner },
            local,
            home,
        }
    }

    /// Takes the oldest away: see [`Queue::poll`].
    pub fn poll(&self) -> Poll<Dead<T>> {
        self.dead.poll()
    }

    /// What it holds and has seen.
    #[must_use]
    pub fn state(&self) -> QueueState {
        self.local.state()
    }

    /// Offers up to `max` of those that nobody has in hand to the queue again, oldest first: at their old places,
    /// with no failures counted. Answers how many; fewer if the queue has no room for more.
    ///
    /// # Errors
    /// If the queue has stopped.
    pub fn redrive(&self, max: usize) -> Result<usize, Failure> {
        if let Some(ended) = self.home.inside.lock().ended.clone() {
            return Err(ended);
        }
        let mut moved = 0;
        while moved < max {
            let next = self.local.with(|inside, _, now| {
                let item = inside.engine.take(now)?;
                inside.uncache(&item);
                Some(item)
            });
            let Some(item) = next else {
                break;
            };
            match self.home.take_back(item) {
                Ok(()) => moved += 1,
                Err((failure, item)) => {
                    // As if it had not been looked at.
                    self.local.with(|inside, afterwards, now| {
                        inside.cache(&item);
                        if let Some(taken) = Taken::gone(*item) {
                            inside.hand_back(Haul::One(taken), afterwards, now);
                            inside.settle(&self.local, afterwards, now);
                        }
                    });
                    return failure.map_or(Ok(moved), Err);
                }
            }
        }
        Ok(moved)
    }

    /// Removes all that nobody has in hand, for good. Answers how many.
    pub fn purge(&self) -> usize {
        self.local.purge()
    }
}

impl<T: Clone + Send + 'static> DeadLetterQueue<T> {
    /// Takes the oldest in hand: see [`Queue::lease`].
    pub fn lease(&self) -> Lease<Dead<T>> {
        self.dead.lease()
    }

    /// Takes several in hand: see [`Queue::lease_many`].
    pub fn lease_many(&self, max: usize) -> LeaseMany<Dead<T>> {
        self.dead.lease_many(max)
    }

    /// Looks at items without taking them: see [`Queue::browse`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn browse(
        &self,
        from: super::Sequence,
        max: usize,
    ) -> Result<Vec<Browsed<Dead<T>>>, Failure> {
        self.dead.browse(from, max).await
    }
}

impl<T: Send + 'static> Clone for DeadLetterQueue<T> {
    fn clone(&self) -> Self {
        DeadLetterQueue {
            dead: self.dead.clone(),
            local: Arc::clone(&self.local),
            home: Arc::clone(&self.home),
        }
    }
}

impl<T: Send + 'static> fmt::Debug for DeadLetterQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeadLetterQueue({})", self.home.name)
    }
}

impl<T: Send + 'static> DeadHome<T> for Local<Dead<T>> {
    fn bury(&self, dead: Vec<(Item<Payload<T>>, DeadReason)>) {
        let died = self.time_of_day(self.clock.coarse_now());
        for (item, reason) in dead {
            self.take_in(item, reason, died);
        }
    }

    fn progressed(&self) {
        self.journal_progressed();
    }

    fn end(&self, failure: &Failure) {
        Local::end(self, failure);
    }
}

impl<T: Send + 'static> Local<Dead<T>> {
    /// One more is dead. If there are too many, the oldest goes.
    pub(super) fn take_in(&self, item: Item<Payload<T>>, reason: DeadReason, died: Duration) {
        let info = info_of(&item, reason, died);
        let Item {
            record,
            offered,
            payload,
            extra,
            ..
        } = item;
        let payload = match payload {
            Some(Payload::Live(item)) => Payload::Live(Dead {
                item,
                info: info.clone(),
            }),
            Some(Payload::Stored(bytes)) => Payload::Stored(bytes),
            None => return,
        };
        // Kept for its return: here the order is that of the deaths.
        let (reply_to, priority) =
            extra.map_or((None, 0), |extra| (extra.reply_to, extra.priority));
        let extra = Some(Box::new(Extra {
            reply_to,
            priority,
            dead: Some(Arc::new(info)),
            ..Extra::default()
        }));
        self.with(|inside, afterwards, now| {
            if !inside.engine.has_room() {
                inside.engine.evict(now);
                inside.file_gone(self, afterwards);
            }
            let payload = inside.within_cache(payload);
            let due = None;
            let place = inside.engine.store(
                New {
                    payload,
                    due,
                    extra,
                },
                now,
            );
            if let Some(item) = inside.engine.items.get_mut(place) {
                item.record = record;
                item.offered = offered;
            }
            if inside.ended.is_some() {
                // It ended while the item was on its way here: to where the others went.
                if let Some(late) = inside.engine.remove(place, now) {
                    afterwards.letter_live(late);
                }
                return;
            }
            inside.engine.admit(place, now);
            inside.settle(self, afterwards, now);
        });
    }
}

/// A failure to say and the item, which stays dead.
type NotTaken<T> = (Option<Failure>, Box<Item<Payload<Dead<T>>>>);

impl<T: Send + 'static> Local<T> {
    /// An item that was dead is offered again, at its old place.
    fn take_back(&self, dead: Item<Payload<Dead<T>>>) -> Result<(), NotTaken<T>> {
        self.with(|inside, afterwards, now| {
            let ended = inside.ended.clone();
            if ended.is_some() || !inside.engine.has_room() {
                return Err((ended, Box::new(dead)));
            }
            let info = dead.extra.as_ref().and_then(|extra| extra.dead.clone());
            let (Some(info), Some(payload)) = (info, dead.payload) else {
                return Ok(());
            };
            let payload = match payload {
                Payload::Live(dead) => Payload::Live(dead.item),
                Payload::Stored(bytes) => inside.within_cache(Payload::Stored(bytes)),
            };
            let (reply_to, priority) = dead
                .extra
                .map_or((None, 0), |extra| (extra.reply_to, extra.priority));
            let redriven = self.durable.is_some();
            let plain = info.key.is_none()
                && info.group.is_none()
                && priority == 0
                && reply_to.is_none()
                && !redriven;
            let extra = (!plain).then(|| {
                Box::new(Extra {
                    group: info.group.clone(),
                    key: info.key,
                    priority,
                    reply_to,
                    redriven,
                    ..Extra::default()
                })
            });
            if let Some(durable) = &self.durable {
                // An error is one that everybody is told of anyway.
                let _ = durable.revive(dead.record);
            }
            let place = inside.engine.put(Item {
                sequence: info.sequence,
                record: dead.record,
                payload: Some(payload),
                offered: info.offered,
                first_seen: Duration::ZERO,
                attempt: 0,
                failed: 0,
                stage: Stage::Behind(Instant::default()),
                extra,
            });
            inside.engine.admit(place, now);
            inside.settle(self, afterwards, now);
            Ok(())
        })
    }
}

fn info_of<T>(item: &Item<Payload<T>>, reason: DeadReason, died: Duration) -> DeadInfo {
    let history = item.history();
    DeadInfo {
        reason,
        detail: history.map_or_else(|| Arc::from(""), |history| Arc::clone(&history.reason)),
        sequence: item.sequence,
        attempts: item.attempt,
        failed: item.failed,
        offered: item.offered,
        first_failure: history.map(|history| history.first),
        last_failure: history.map(|history| history.last),
        died,
        key: item.key(),
        group: item.group().cloned(),
    }
}
