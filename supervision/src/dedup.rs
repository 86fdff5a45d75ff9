//! What must not run twice doesn't: deduplication by request key, before the handler.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use callboard_core::journal::{JournalError, Journals};
use callboard_core::{
    Admission, Admitted, Envelope, Failure, FailureKind, Message, Responder, System, Threshold,
    Verdict,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

mod durable;
mod few;
mod fingerprint;
mod keyed;
pub(crate) mod print;
mod resolve;
mod shared;
mod sink;
mod store;
mod targets;
mod waiters;

#[cfg(test)]
mod tests;

use durable::Held;
pub use durable::open::DurableDedupBuilder;
use fingerprint::ByFingerprint;
pub use fingerprint::{FINGERPRINT_WINDOW, FingerprintStats};
use keyed::{Id, Target};
pub use resolve::{Resolution, Resolve, Resolver};
use shared::{Kept, Shared, envelope_of, finish};
use sink::Sink;
use store::{Bounds, Decision};

/// How long a finished request is remembered unless told otherwise: 10 minutes.
pub const DEFAULT_DEDUP_WINDOW: Duration = Duration::from_secs(600);
/// How many requests, running and finished, are remembered unless told otherwise.
pub const DEFAULT_DEDUP_ENTRIES: usize = 100_000;
/// How many bytes they take unless told otherwise: 64 MiB.
pub const DEFAULT_DEDUP_BYTES: usize = 64 * 1024 * 1024;
/// How many askers wait for one running request, the first included, unless told otherwise.
pub const DEFAULT_DEDUP_WAITERS: usize = 64;

/// How far the clocks of callers may be off, as far as [`Dedup::resolve`] relies on the time in their keys, unless
/// told otherwise: 1 minute.
pub const DEFAULT_CLOCK_MARGIN: Duration = Duration::from_secs(60);

/// A message that may be run again after an attempt that broke off in the middle: the handler notices, or running
/// the first half twice changes nothing more.
///
/// [`DedupBuilder::replay_safe`] needs it. It is a promise about the handler, which the compiler can't check.
pub trait ReplaySafe: Message {}

/// Stands before a handler and lets each keyed request run once. Clones share one store; keep one to read its
/// [`stats`](Dedup::stats).
///
/// # Guarantees
/// Effectively-once within the window, in this process's memory, as long as the process lives (G19); on disk, over its
/// end:
/// - A keyed request has one execution: at most one attempt runs at a time. A duplicate that comes meanwhile joins
///   it and is answered by its outcome, within its own deadline; one that comes after its end gets the stored
///   outcome, a failure as well as a success.
/// - The same key with another payload (compared by a 128-bit keyed hash) is `KeyReused`, `NotExecuted`, and never
///   runs.
/// - A running entry is never evicted. A full store refuses new keyed requests: `Overloaded`, `NotExecuted`. So
///   does a running request with too many waiters.
/// - An attempt that certainly did not run (it expired, everyone withdrew, the mailbox had no room, the handler
///   refused with `NotExecuted`) leaves nothing behind: the next one with that key runs.
/// - An attempt that began and brought no answer (a panic, a kill, a dropped responder) is `Indeterminate`, `Executed`,
///   for those that had joined and all later duplicates in the window; for a [`ReplaySafe`] type the next one
///   runs, as the next attempt ([`Meta::attempt`](callboard_core::Meta::attempt) counts on). The first asker is told
///   what happened.
/// - An answer whose askers have all gone is counted as a late reply, and recorded: asking again finds it (G8).
/// - Keys are apart for each [`Principal`](callboard_core::Principal), each target and each type of message: nobody
///   gets what was stored for another. Each actor before which the store, or a clone, stands is a target, unless the
///   store has [one of its own](DedupBuilder::target).
/// - Who lost an answer learns what became of the request: [`resolve`](Dedup::resolve).
///
/// A message without a key passes untouched, unless it is told from others
/// [by its fingerprint](DedupBuilder::by_fingerprint).
///
/// # On disk
/// A [durable](DedupBuilder::durable) store keeps that over `kill -9` and loss of power. A request is reserved on disk,
/// synced, before its handler runs, and its end is on disk, synced, before anybody is told. Many calls share a sync;
/// a call alone takes two. Answers are read from disk when a duplicate asks.
/// - A request that is found reserved after the process died may have run: it is `Indeterminate`, `Executed`, and runs
///   again only if the builder said [`replay_safe`](DedupBuilder::replay_safe). That is also what is found if the
///   process died before it could write down that an attempt certainly did not run.
/// - If the journal refuses, nothing keyed runs: `StorageFailed`, `NotExecuted`. If it fails when the handler has run,
///   the asker is told `StorageFailed`, `Executed`: an answer that a restart would not know is never given.
/// - Records that the journal reports as damaged are counted and never forgotten in silence: a request that isn't
///   there, and may be older than the damage, is `Indeterminate`, `MaybeExecuted`, until the window has passed.
/// - While a request is held for the disk it isn't in the mailbox, and its sender has been told that it was accepted,
///   or waits for the answer. Keyed messages keep their order among themselves, those without a key may overtake
///   them. One that finds no room afterwards waits for it in line, that of its actor, within its own deadline; what is refused then goes
///   to dead letters, and its asker is told. How much is held is bounded by the store's own bounds.
/// - Targets are told apart by name or label, since numbers of actors don't outlive the process; an actor that was
///   given none is refused. Payloads are compared encoded, so a message that has a new field is another one to a
///   retry from before.
///
/// # When it fails
/// A store in memory forgets with its process. An effect outside the process needs the key inside its own
/// transaction: no store can promise more than that an attempt was not begun twice. Choose a window longer than any
/// caller tries again and anything in between keeps a message.
///
/// The store stands before the actor's mailbox, not in an incarnation: it outlives restarts.
///
/// # Example
/// ```
/// use callboard_core::{Actor, Context, Handler, Message, RequestKey, Simulation};
/// use callboard_supervision::Dedup;
///
/// #[derive(Hash)]
/// struct Charge { cents: u64 }
/// impl Message for Charge {
///     type Reply = u64;
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
///     let dedup = Dedup::<Charge>::builder(&system).build();
///     let till = system.actor(|| Till(0)).admission(dedup.clone()).start();
///     let key = RequestKey::new();
///     for _ in 0..3 {
///         assert_eq!(till.ask(Charge { cents: 100 }).key(key).await.unwrap(), 100);
///     }
///     assert_eq!(dedup.stats().answered, 2);
/// });
/// ```
pub struct Dedup<M: Message> {
    shared: Arc<Shared<M>>,
    /// What has no key.
    by_fingerprint: Option<Arc<Shared<M>>>,
}

impl<M: Message> Dedup<M> {
    /// A store that compares payloads by their `Hash`.
    pub fn builder(system: &System) -> DedupBuilder<M>
    where
        M: Hash,
    {
        DedupBuilder::new(
            system,
            Box::new(|message, mut hasher| message.hash(&mut hasher)),
        )
    }

    /// A store that compares payloads by their encoded form, for messages that have no `Hash` (floats, say). What
    /// differs only in the order of a hash map counts as different.
    pub fn builder_encoded(system: &System) -> DedupBuilder<M>
    where
        M: Serialize,
    {
        DedupBuilder::new(system, Box::new(print_encoded))
    }

    /// What it holds and did so far. What is past its window goes first.
    #[must_use]
    pub fn stats(&self) -> DedupStats {
        DedupStats {
            by_fingerprint: FingerprintStats::of(self.by_fingerprint.as_deref()),
            ..self.shared.stats()
        }
    }

    /// Takes no new keyed requests from now on, waits until what it has taken is on disk, and gives its journal free.
    /// Without effect on a store in memory. Stop the actors behind it first: an attempt that ends later can't be
    /// stored, and its asker is told so.
    ///
    /// # Errors
    /// If the journal failed, or the system has ended.
    ///
    /// # Cancel safety
    /// Dropping it leaves the store closed to new requests, and the journal held until all clones are gone.
    pub async fn close(&self) -> Result<(), JournalError> {
        match &self.shared.durable {
            Some(durable) => durable.close().await,
            None => Ok(()),
        }
    }
}

fn print_encoded<M: Serialize>(message: &M, hasher: &mut dyn Hasher) {
    match callboard_core::codec::encode(message) {
        Ok(bytes) => hasher.write(&bytes),
        // Nothing else has this print, so such a message is deduplicated only with its like.
        Err(error) => hasher.write(error.to_string().as_bytes()),
    }
}

impl<M: Message> Clone for Dedup<M> {
    fn clone(&self) -> Self {
        Dedup {
            shared: Arc::clone(&self.shared),
            by_fingerprint: self.by_fingerprint.clone(),
        }
    }
}

impl<M: Message> fmt::Debug for Dedup<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dedup").finish_non_exhaustive()
    }
}

type Print<M> = Box<dyn Fn(&M, &mut dyn Hasher) + Send + Sync>;
type Weigh<R> = Arc<dyn Fn(&R) -> usize + Send + Sync>;

/// A dedup store in preparation. Made by [`Dedup::builder`].
#[must_use = "nothing is deduplicated until it is built and put before an actor"]
pub struct DedupBuilder<M: Message> {
    system: System,
    print: Print<M>,
    /// Prints are the same in every build.
    print_lasts: bool,
    weigh: Weigh<M::Reply>,
    window: Duration,
    bounds: Bounds,
    replay_safe: bool,
    by_fingerprint: Option<ByFingerprint<M>>,
    target: Option<Arc<str>>,
    clock_margin: Duration,
}

impl<M: Message> DedupBuilder<M> {
    fn new(system: &System, print: Print<M>) -> Self {
        DedupBuilder {
            system: system.clone(),
            print,
            print_lasts: false,
            weigh: Arc::new(|_| size_of::<M::Reply>()),
            window: DEFAULT_DEDUP_WINDOW,
            bounds: Bounds {
                entries: DEFAULT_DEDUP_ENTRIES,
                bytes: DEFAULT_DEDUP_BYTES,
                waiters: DEFAULT_DEDUP_WAITERS,
                forget_oldest: false,
            },
            replay_safe: false,
            by_fingerprint: None,
            target: None,
            clock_margin: DEFAULT_CLOCK_MARGIN,
        }
    }

    /// How long a finished request is remembered, from its end.
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// How many requests, running and finished, are remembered at most; at least 1.
    pub fn max_entries(mut self, entries: usize) -> Self {
        self.bounds.entries = entries.max(1);
        self
    }

    /// How many bytes they take at most: about 256 for each, and what [`weigh`](DedupBuilder::weigh) says of stored
    /// replies. A reply for which there is no room is not stored: its duplicates are told that it ran.
    ///
    /// Messages aren't weighed: those that a durable store holds until they are on disk, or there is room for them in
    /// their mailbox, are bounded by [`max_entries`](DedupBuilder::max_entries) alone.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.bounds.bytes = bytes;
        self
    }

    /// How many askers wait for one running request at most, the first included.
    pub fn max_waiters(mut self, waiters: usize) -> Self {
        self.bounds.waiters = waiters.max(1);
        self
    }

    /// How large a reply is, in bytes, its heap included. Without it the size of its type.
    pub fn weigh(mut self, weigh: impl Fn(&M::Reply) -> usize + Send + Sync + 'static) -> Self {
        self.weigh = Arc::new(weigh);
        self
    }

    /// At the bound the oldest finished requests are forgotten before their window ends, instead of new ones being
    /// refused. Then the window is what the bounds leave of it: a late duplicate may run again.
    pub fn forget_oldest(mut self) -> Self {
        self.bounds.forget_oldest = true;
        self
    }

    /// All actors behind this store are one target of that name: for equal actors, any of which may get the retry of
    /// what another one ran (the members of a group that the program started itself, each with a clone of the store;
    /// the workers of a pool take no admissions), and for a [durable](DedupBuilder::durable) store before an actor
    /// without a name. Without it each actor is a target of its own.
    ///
    /// [`Dedup::resolve`] then takes the caller's word for it that what was asked about went to one of them.
    pub fn target(mut self, name: impl Into<Arc<str>>) -> Self {
        self.target = Some(name.into());
        self
    }

    /// How far the clocks of callers may be off from this one's, as far as [`Dedup::resolve`] relies on the time in
    /// their keys.
    pub fn clock_margin(mut self, margin: Duration) -> Self {
        self.clock_margin = margin;
        self
    }

    /// After an attempt that broke off in the middle the next one with its key runs, as the attempt after it.
    pub fn replay_safe(mut self) -> Self
    where
        M: ReplaySafe,
    {
        self.replay_safe = true;
        self
    }

    /// A store that outlives the process, in the journal of that name: see [`Dedup`], "On disk". Payloads are compared
    /// encoded, unless the store was begun by [`builder_fingerprint`](Dedup::builder_fingerprint): those prints last,
    /// too. Stay with one of the two: to the other what is stored looks like a reused key.
    ///
    /// A journal is for one type of message; actors before which the store stands are told apart by their names.
    pub fn durable(
        mut self,
        name: impl Into<Arc<str>>,
        journals: Arc<dyn Journals>,
    ) -> DurableDedupBuilder<M>
    where
        M: Serialize,
        M::Reply: Serialize + DeserializeOwned,
    {
        if !self.print_lasts {
            self.print = Box::new(print_encoded);
        }
        DurableDedupBuilder::new(self, name.into(), journals)
    }

    /// The store. Give it, or a clone, to [`Spawn::admission`](callboard_core::Spawn::admission).
    pub fn build(self) -> Dedup<M>
    where
        M::Reply: Clone,
    {
        Dedup {
            by_fingerprint: ByFingerprint::table(&self).map(Arc::new),
            shared: Arc::new(self.in_memory()),
        }
    }

    fn in_memory(self) -> Shared<M> {
        let entropy = self.system.entropy();
        let key = (u128::from(entropy.next_u64()) << 64) | u128::from(entropy.next_u64());
        Shared::new(self, key.to_le_bytes(), None)
    }
}

impl<M: Message> fmt::Debug for DedupBuilder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DedupBuilder")
            .field("window", &self.window)
            .field("bounds", &self.bounds)
            .field("replay_safe", &self.replay_safe)
            .finish_non_exhaustive()
    }
}

/// What a [`Dedup`] holds and did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct DedupStats {
    /// Keyed requests that were let through.
    pub started: u64,
    /// Duplicates that joined a running request.
    pub joined: u64,
    /// Duplicates that were answered from the store.
    pub answered: u64,
    /// Requests refused because their key was used with another payload.
    pub key_reused: u64,
    /// Requests refused because the store was full, or too many waited already.
    pub overloaded: u64,
    /// Attempts that were made again after one that broke off ([`DedupBuilder::replay_safe`]); also in `started`.
    pub run_again: u64,
    /// Keys of which it was settled that they never run ([`Dedup::resolve`]).
    pub sealed: u64,
    /// Requests refused because of that.
    pub refused_sealed: u64,
    /// Answers that could not be stored on disk, and were not given.
    pub storage_failed: u64,
    /// Records that were damaged when the store was opened, as far as its journal says.
    pub damaged: u64,
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
    /// The same of what has no key, if that is told apart [by fingerprint](DedupBuilder::by_fingerprint). None of it
    /// is in the other numbers.
    pub by_fingerprint: FingerprintStats,
}

impl<M> Admission<M> for Dedup<M>
where
    M: Message<Reply: Clone>,
{
    fn admit(&self, envelope: Envelope<M>, at: &Threshold<'_, M>) -> Admitted<M> {
        let key = envelope.meta.key();
        let (shared, number, print) = match (key, &self.by_fingerprint) {
            (Some(key), _) => {
                let print = self.shared.print(&envelope.message);
                (&self.shared, key.as_uuid().as_u128(), print)
            }
            // The print is all there is to it.
            (None, Some(shared)) => (shared, shared.print(&envelope.message), 0),
            (None, None) => return Admitted::Pass(envelope),
        };
        let name = match &shared.durable {
            Some(durable) if !shared.has_target() => {
                let Some(name) = at.name() else {
                    let why = format!(
                        "the dedup store {} outlives the process, and its target {} has no name that does: \
                         give the actor a label or a name, or the store a target",
                        durable.name,
                        at.actor()
                    );
                    let failure = Failure::new(FailureKind::StorageFailed, Verdict::NotExecuted);
                    return Admitted::Refused(envelope, failure.with_detail(why));
                };
                Some(name)
            }
            _ => None,
        };
        if !shared.has_target() {
            shared.targets.saw(at.actor());
        }
        let target = name
            .as_deref()
            .map_or(Target::Actor(at.actor()), Target::Named);
        let id = Id {
            scope: shared.scope(envelope.meta.principal(), target),
            key: number,
        };
        let Envelope {
            message,
            meta,
            responder,
        } = envelope;
        let attempt = meta.attempt();
        let waiter = responder.expects_answer().then_some(responder);
        // Until it is held.
        let mut rest = Some((message, meta));
        let decided = Shared::admit(shared, &id, print, attempt, waiter, |number, run| {
            let Some(durable) = &shared.durable else {
                return Ok(());
            };
            durable.reserve(shared, &id, print, number, run, || {
                let sink = Sink::new(shared, run.place, number);
                let responder = Responder::new(Box::new(sink));
                let (message, mut meta) = rest.take()?;
                if run.attempt > attempt {
                    meta.set_attempt(run.attempt);
                }
                let envelope = Envelope {
                    message,
                    meta,
                    responder,
                };
                Some(Held {
                    to: at.actor(),
                    envelope,
                    onward: at.later(),
                })
            })
        });
        let Some((message, mut meta)) = rest else {
            return Admitted::Taken;
        };
        let (number, decision) = match decided {
            Ok(decided) => decided,
            Err((failure, waiter)) => {
                return Admitted::Refused(envelope_of(message, meta, waiter), failure);
            }
        };
        let refused = |kind| Failure::new(kind, Verdict::NotExecuted);
        let key = || key.map_or_else(String::new, |key| key.to_string());
        let (waiter, failure) = match decision {
            Decision::Run(run) => {
                if run.attempt > attempt {
                    meta.set_attempt(run.attempt);
                }
                let sink = Sink::new(shared, run.place, number);
                let responder = Responder::new(Box::new(sink));
                return Admitted::Pass(Envelope {
                    message,
                    meta,
                    responder,
                });
            }
            Decision::Joined => return Admitted::Taken,
            Decision::Ended(Kept::Here(stored), waiter) => {
                if let Some(mut waiter) = waiter {
                    waiter.progress(Verdict::Executed);
                    let stored = stored.lock().clone();
                    finish(waiter, stored.outcome());
                }
                return Admitted::Taken;
            }
            Decision::Ended(Kept::OnDisk(record), waiter) => match &shared.durable {
                Some(durable) if durable.may_read() => {
                    durable.answer(shared, record, waiter);
                    return Admitted::Taken;
                }
                _ => {
                    let why = "too many wait for answers to be read";
                    (waiter, refused(FailureKind::Overloaded).with_detail(why))
                }
            },
            Decision::Sealed(waiter) => {
                let why = format!("{} was resolved as not executed, and never will be", key());
                (waiter, refused(FailureKind::Withdrawn).with_detail(why))
            }
            Decision::KeyReused(waiter) => {
                let failure = refused(FailureKind::KeyReused).with_detail(key());
                (waiter, failure)
            }
            Decision::Full(waiter) => {
                let failure = refused(FailureKind::Overloaded);
                let failure = failure.with_detail("the dedup store has no room");
                let failure = match shared.room_after() {
                    Some(span) => failure.with_retry_after(span),
                    None => failure,
                };
                (waiter, failure)
            }
            Decision::Crowded(waiter) => {
                let why = "too many wait for that request";
                (waiter, refused(FailureKind::Overloaded).with_detail(why))
            }
            // It joins, or not.
            Decision::WouldJoin(waiter, _) | Decision::AskAround(waiter, ..) => {
                (Some(waiter), refused(FailureKind::Overloaded))
            }
        };
        Admitted::Refused(envelope_of(message, meta, waiter), failure)
    }
}
