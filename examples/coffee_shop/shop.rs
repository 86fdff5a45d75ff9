//! What everybody in the shop knows: orders, the counter, the till, and the diary.

use std::fmt;
use std::time::Duration;

use callboard::clock::{Clock, Instant};
use callboard::prelude::*;
use callboard::queue::{Dead, OpenError, Queue, QueueState};
use callboard::{Entropy, Failure};

use super::till::{Books, Close, Till};

/// Nobody holds an order for longer without saying that it goes on.
pub(super) const LEASE: Duration = Duration::from_millis(100);
/// Nobody waits for longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// Fewer than there are orders: the customers wait for room.
const COUNTER: usize = 4;

/// An order, as it lies on the counter.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) number: u32,
    pub(super) table: usize,
    pub(super) drink: Drink,
    /// What befalls the first barista who makes it.
    pub(super) accident: Option<Accident>,
}

/// What a customer gets: the cup, or why there is none.
pub(super) type Served = (u32, Result<Drink, &'static str>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drink {
    Espresso,
    FlatWhite,
    Cappuccino,
    /// There is none.
    Beer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accident {
    DropsMidCup,
    IsAway,
    DropsOncePoured,
}

impl Drink {
    pub(super) fn draw(entropy: &Entropy) -> Self {
        match entropy.below(3) {
            0 => Drink::Espresso,
            1 => Drink::FlatWhite,
            _ => Drink::Cappuccino,
        }
    }

    /// How long it takes. `None`: it isn't on the menu.
    pub(super) fn takes(self) -> Option<Duration> {
        let millis = match self {
            Drink::Espresso => 13,
            Drink::FlatWhite => 29,
            Drink::Cappuccino => 37,
            Drink::Beer => return None,
        };
        Some(Duration::from_millis(millis))
    }
}

impl fmt::Display for Drink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Drink::Espresso => "an espresso",
            Drink::FlatWhite => "a flat white",
            Drink::Cappuccino => "a cappuccino",
            Drink::Beer => "a beer",
        })
    }
}

/// The shop while it is open. Clones are the same shop.
#[derive(Clone)]
pub(super) struct Shop {
    pub(super) system: System,
    pub(super) counter: Queue<Order>,
    pub(super) till: ActorRef<Till>,
    pub(super) diary: Diary,
}

/// What is known when it has closed.
pub(super) struct Kept {
    pub(super) books: Books,
    pub(super) counter: QueueState,
    pub(super) refused: Vec<Dead<Order>>,
}

impl Shop {
    pub(super) fn open(system: &System, diary: &Diary) -> Result<Self, OpenError> {
        let counter = system
            .queue("counter")
            .capacity(COUNTER)
            .lease(LEASE)
            // Whoever failed has gone: no reason to wait before the next one tries.
            .retry(Duration::ZERO, Duration::ZERO)
            .open()?;
        Ok(Shop {
            system: system.clone(),
            counter,
            till: system.start(Till::default()),
            diary: diary.clone(),
        })
    }

    /// Completes when the counter is empty. A customer can have its cup before the barista has acknowledged the order,
    /// and if that took longer than the lease, somebody has to look at it once more. Whatever takes too long for that
    /// shows in the report.
    pub(super) async fn is_done(&self) -> Result<(), Failure> {
        for _ in 0..PATIENCE.as_millis() {
            let counter = self.counter.state().await?;
            if counter.len + counter.in_flight == 0 {
                break;
            }
            self.system.clock().sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Closes it, and answers what the day was like.
    pub(super) async fn close(&self) -> callboard::Result<Kept> {
        let counter = self.counter.state().await?;
        let mut refused = Vec::new();
        if let Some(dead) = self.counter.dead_letters() {
            while let Some(order) = dead.poll().deadline(Duration::ZERO).await? {
                refused.push(order);
            }
        }
        self.counter.stop();
        let books = self.till.ask(Close).await?;
        Ok(Kept {
            books,
            counter,
            refused,
        })
    }
}

/// Who did what and when. Clones write into the same one.
#[derive(Clone)]
pub(super) struct Diary {
    entries: Queue<Option<Entry>>,
    clock: Clock,
    opened: Instant,
}

/// A line of the diary.
#[derive(Debug)]
pub(super) struct Entry {
    /// In milliseconds since the shop opened.
    pub(super) at: u128,
    pub(super) who: String,
    pub(super) what: String,
}

impl Diary {
    /// The diary, and the queue that its entries come from: `None` is the last.
    pub(super) fn open(system: &System) -> (Self, Queue<Option<Entry>>) {
        let entries = Queue::bounded(system, "diary", 64);
        let clock = system.clock().clone();
        let diary = Diary {
            entries: entries.clone(),
            opened: clock.now(),
            clock,
        };
        (diary, entries)
    }

    /// Waits for room.
    pub(super) async fn note(&self, who: &str, what: impl fmt::Display) {
        let entry = Entry {
            at: self.clock.now().since(self.opened).as_millis(),
            who: who.to_owned(),
            what: what.to_string(),
        };
        // An error: nobody reads it any more.
        let _ = self.entries.offer(Some(entry)).await;
    }

    pub(super) async fn close(&self) {
        let _ = self.entries.offer(None).await;
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>5} ms  {:<10} {}", self.at, self.who, self.what)
    }
}
