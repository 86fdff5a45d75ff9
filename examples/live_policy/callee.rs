//! Who finds related pages, and how long that takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callboard::prelude::*;
use callboard::supervision::Idempotent;
use parking_lot::Mutex;

/// Which pages are related to this one? May be asked twice.
#[derive(Message, Clone)]
#[message(reply = Vec<&'static str>)]
pub(super) struct Related;
impl Idempotent for Related {}

/// How it is with what it looks them up in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// Ten to thirty milliseconds.
    Well,
    /// Six in ten take 0.4 to 1.6 s.
    Slow,
    /// All do.
    Worse,
}

/// What the callee and those who watch it share.
#[derive(Clone)]
pub(super) struct Shelf {
    health: Arc<Mutex<Health>>,
    reached: Arc<AtomicU64>,
}

impl Shelf {
    pub(super) fn new() -> Self {
        Shelf {
            health: Arc::new(Mutex::new(Health::Well)),
            reached: Arc::default(),
        }
    }

    pub(super) fn turn(&self, health: Health) {
        *self.health.lock() = health;
    }

    /// How many asks came to the callee.
    pub(super) fn reached(&self) -> u64 {
        self.reached.load(Ordering::Relaxed)
    }

    fn takes(&self, system: &System) -> Duration {
        let entropy = system.entropy();
        let is_slow = match *self.health.lock() {
            Health::Well => false,
            Health::Slow => entropy.below(10) < 6,
            Health::Worse => true,
        };
        let (least, spread) = if is_slow { (400, 1_200) } else { (10, 20) };
        Duration::from_millis(least) + entropy.jitter(Duration::from_millis(spread))
    }
}

/// Answers many at once; each waits for the shelf.
pub(super) struct Librarian(pub(super) Shelf);

impl Actor for Librarian {}

impl DeferredHandler<Related> for Librarian {
    async fn handle_deferred(
        &mut self,
        _: Related,
        asker: Responder<Vec<&'static str>>,
        ctx: &mut Context<Self>,
    ) {
        self.0.reached.fetch_add(1, Ordering::Relaxed);
        let found = ctx.sleep(self.0.takes(ctx.system()));
        ctx.spawn(async move {
            found.await;
            asker.send(vec!["mailboxes", "verdicts"]);
        });
    }
}
