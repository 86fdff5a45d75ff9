//! Deduplication of what has no key: a message like an earlier one is taken for that one.
//!
//! The table of such requests is apart from that of keys: it has a window of its own, a key never meets a print, and
//! neither takes the other's room. What is said of an entry's life holds for both.

use std::sync::Arc;
use std::time::Duration;

use callboard_core::{Fingerprint, Message, System};
use serde::Serialize;

use super::shared::Shared;
use super::{Dedup, DedupBuilder, DedupStats};

/// A window for [`DedupBuilder::by_fingerprint`] that covers callers who try again at once or a few times: 5 seconds.
pub const FINGERPRINT_WINDOW: Duration = Duration::from_secs(5);

impl<M: Message + Fingerprint> Dedup<M> {
    /// A store that compares payloads by their [`Fingerprint`]: for messages with floats or hash maps, and for those
    /// in which something differs from one attempt to the next although the key is the same (it is left out of the
    /// fingerprint).
    pub fn builder_fingerprint(system: &System) -> DedupBuilder<M> {
        DedupBuilder {
            print_lasts: true,
            ..DedupBuilder::new(system, Box::new(M::fingerprint_into))
        }
    }
}

impl<M: Message + Fingerprint> DedupBuilder<M> {
    /// Takes a message without a key for the same request as an earlier one without a key, if both have the same
    /// [`Fingerprint`] and come from the same principal to the same actor, and the earlier one runs or has ended less
    /// than `window` ago. For callers who can't give keys: old clients, webhooks. Without this a message without a key
    /// passes untouched, and one with a key always goes by its key alone.
    ///
    /// What has been said of keyed requests holds (G19): the later one joins the earlier one while that runs, gets its
    /// stored end after that, a failure as well as a success, and `Indeterminate` if it broke off in the middle. A
    /// window of zero only lets them join. The bounds of the store hold for these requests apart from the keyed ones,
    /// and so does what happens at the bound. They are counted in [`DedupStats::by_fingerprint`].
    ///
    /// # What goes wrong
    /// A fingerprint is a guess at what somebody meant; a key is their word. So this is for a message type of which it
    /// is known that equal ones soon after each other are one, and the window is short:
    /// [5 seconds](FINGERPRINT_WINDOW), and not longer than callers go on trying.
    /// - **Equal and meant twice.** "Add 1" and "add 1" become one, and the second caller can't see it: its answer is
    ///   the first one's. That includes tells. Give keys, or put in what tells them apart: a sequence number, the
    ///   number of the order.
    /// - **Callers without a name.** Inside the process nobody has a principal, so all callers there count as one, and
    ///   so do all users behind one gateway. Put in on whose behalf it is asked.
    /// - **Never equal.** A timestamp, trace id or random number that each attempt makes anew, and nothing is ever
    ///   found. Leave it out: `#[fingerprint(skip)]`. If [`joined`](FingerprintStats::joined) and
    ///   [`answered`](FingerprintStats::answered) stay 0 while callers do retry, look for that.
    /// - **The world moves on.** A read, and an effect that was undone meanwhile, are answered from the store until the
    ///   window ends.
    /// - **Only in memory.** A process that dies forgets, also where keyed requests are kept on disk.
    ///
    /// # Example
    /// ```
    /// # extern crate callboard_core as callboard;
    /// use callboard_core::{Actor, Context, Fingerprint, Handler, Message, Simulation};
    /// use callboard_supervision::{Dedup, FINGERPRINT_WINDOW};
    ///
    /// #[derive(Message, Fingerprint, Hash)]
    /// #[message(reply = u64)]
    /// struct Charge {
    ///     order: u64,
    ///     cents: u64,
    ///     #[fingerprint(skip)]
    ///     sent_at_ms: u64,
    /// }
    ///
    /// struct Till(u64);
    /// impl Actor for Till {}
    /// impl Handler<Charge> for Till {
    ///     async fn handle(&mut self, charge: Charge, _: &mut Context<Self>) -> u64 {
    ///         self.0 += charge.cents;
    ///         self.0
    ///     }
    /// }
    ///
    /// let mut simulation = Simulation::new(1);
    /// let system = simulation.system().clone();
    /// simulation.block_on(async move {
    ///     let dedup = Dedup::<Charge>::builder(&system).by_fingerprint(FINGERPRINT_WINDOW).build();
    ///     let till = system.actor(|| Till(0)).admission(dedup.clone()).start();
    ///     let charge = |order, sent_at_ms| Charge { order, cents: 100, sent_at_ms };
    ///     assert_eq!(till.ask(charge(1, 0)).await.unwrap(), 100);
    ///     assert_eq!(till.ask(charge(1, 700)).await.unwrap(), 100); // an old client tries again
    ///     assert_eq!(till.ask(charge(2, 800)).await.unwrap(), 200); // another order
    ///     assert_eq!(dedup.stats().by_fingerprint.answered, 1);
    /// });
    /// ```
    pub fn by_fingerprint(mut self, window: Duration) -> Self {
        let print = M::fingerprint_into;
        self.by_fingerprint = Some(ByFingerprint { window, print });
        self
    }
}

/// How requests without a key are told apart.
#[derive(Debug)]
pub(super) struct ByFingerprint<M> {
    window: Duration,
    print: fn(&M, &mut dyn std::hash::Hasher),
}

impl<M: Message> ByFingerprint<M> {
    /// The table of such requests, if there is to be one. Its prints have a key of their own.
    pub(super) fn table(builder: &DedupBuilder<M>) -> Option<Shared<M>> {
        let ByFingerprint { window, print } = *builder.by_fingerprint.as_ref()?;
        let own = DedupBuilder {
            weigh: Arc::clone(&builder.weigh),
            bounds: builder.bounds,
            replay_safe: builder.replay_safe,
            target: builder.target.clone(),
            ..DedupBuilder::new(&builder.system, Box::new(print)).window(window)
        };
        Some(own.in_memory())
    }
}

/// What a [`Dedup`] holds and did of requests without a key. All zero if they aren't told apart
/// [by fingerprint](DedupBuilder::by_fingerprint).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct FingerprintStats {
    /// Requests that were like no other, and let through.
    pub started: u64,
    /// Those that were like a running one, and joined it.
    pub joined: u64,
    /// Those that were like a finished one, and answered from the store.
    pub answered: u64,
    /// Those that were refused because the store was full, or too many waited already.
    pub overloaded: u64,
    /// Attempts that began and brought no answer.
    pub indeterminate: u64,
    /// Answers that found nobody waiting, and were recorded (G8).
    pub late: u64,
    /// Finished requests that were forgotten at the end of their window.
    pub expired: u64,
    /// Finished requests that were forgotten before, to make room ([`DedupBuilder::forget_oldest`]).
    pub forgotten: u64,
    /// Requests that run, or wait for their turn to.
    pub running: usize,
    /// Finished requests that are remembered.
    pub stored: usize,
    /// The bytes all of them take, as far as known.
    pub bytes: usize,
}

impl FingerprintStats {
    pub(super) fn of<M: Message>(table: Option<&Shared<M>>) -> Self {
        let stats = table.map_or_else(DedupStats::default, Shared::stats);
        FingerprintStats {
            started: stats.started,
            joined: stats.joined,
            answered: stats.answered,
            overloaded: stats.overloaded,
            indeterminate: stats.indeterminate,
            late: stats.late,
            expired: stats.expired,
            forgotten: stats.forgotten,
            running: stats.running,
            stored: stats.stored,
            bytes: stats.bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use callboard_core::Simulation;

    use super::*;

    struct Pay(u64);
    impl Message for Pay {
        type Reply = ();
    }
    impl Fingerprint for Pay {
        fn fingerprint(&self, to: &mut callboard_core::Fingerprinter<'_>) {
            self.0.fingerprint(to);
        }
    }

    /// So nobody can find two messages that look alike by trying them out elsewhere.
    #[test]
    fn g19_each_store_hashes_under_a_key_of_its_own() {
        let simulation = Simulation::new(1);
        let build = || {
            let builder = Dedup::<Pay>::builder_fingerprint(simulation.system());
            builder.by_fingerprint(FINGERPRINT_WINDOW).build()
        };
        let (one, other) = (build(), build());
        let by_fingerprint =
            |dedup: &Dedup<Pay>| Arc::clone(dedup.by_fingerprint.as_ref().unwrap());
        let tables = [
            by_fingerprint(&one),
            by_fingerprint(&other),
            one.shared,
            other.shared,
        ];
        let prints = tables.each_ref().map(|table| table.print(&Pay(1)));
        for (at, print) in prints.iter().enumerate() {
            assert_eq!(*print, tables[at].print(&Pay(1)));
            assert_ne!(*print, tables[at].print(&Pay(2)));
            assert!(!prints[..at].contains(print), "two tables print alike");
        }
    }
}
