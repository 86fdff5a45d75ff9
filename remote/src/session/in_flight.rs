//! Asks of one session between their arrival and their answer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use callboard::{DropReason, Failure, FailureKind, Outcome, Responder, SharedSink, Verdict, codec};
use parking_lot::Mutex;
use serde::Serialize;

use super::Session;
use super::scratch::{self, Raw, finish_frame, put_large, shape};
use crate::rights::Decision;
use crate::wire::WireError;
use crate::wire::body::PACKED;
use crate::wire::frame::{HEADER, Kind};

/// What is called when the asker of a request gives up.
type OnWithdraw = Box<dyn FnOnce() + Send>;

/// The asks in flight on one session.
#[derive(Default)]
pub(crate) struct InFlight {
    running: Mutex<HashMap<u64, Option<OnWithdraw>, Spread>>,
    /// How many were withdrawn and have a responder that doesn't know it yet: while there are none, all are wanted.
    /// Changed under the lock.
    unwanted: AtomicUsize,
}

/// Hashes numbers that peers choose: one multiplication, by a number that they don't know.
#[derive(Clone, Copy)]
struct Spread(u64);

impl Default for Spread {
    fn default() -> Self {
        // Odd, so that different numbers stay different.
        Spread(RandomState::new().hash_one(0_u64) | 1)
    }
}

impl BuildHasher for Spread {
    type Hasher = Spreading;

    fn build_hasher(&self) -> Spreading {
        Spreading {
            by: self.0,
            hash: 0,
        }
    }
}

struct Spreading {
    by: u64,
    hash: u64,
}

impl Hasher for Spreading {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.hash ^ number) * u128::from(self.by);
        // Both halves: tables look at the upper bits and at the lower ones.
        let halves = product ^ (product >> 64);
        self.hash = u64::try_from(halves & u128::from(u64::MAX)).unwrap_or(0);
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

/// Why an ask can't be taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// An unanswered ask has that number.
    Repeated,
    Full,
}

impl InFlight {
    pub(crate) fn begin(&self, ask: u64, most: usize) -> Result<(), NotTaken> {
        let mut running = self.running.lock();
        let is_full = running.len() >= most;
        match running.entry(ask) {
            Entry::Occupied(_) => Err(NotTaken::Repeated),
            Entry::Vacant(_) if is_full => Err(NotTaken::Full),
            Entry::Vacant(place) => {
                place.insert(None);
                Ok(())
            }
        }
    }

    /// The asker gave up. Answers whether there was such an ask.
    pub(crate) fn withdraw(&self, ask: u64) -> bool {
        let mut running = self.running.lock();
        let removed = running.remove(&ask);
        if removed.is_some() {
            self.unwanted.fetch_add(1, Ordering::Relaxed);
        }
        drop(running);
        match removed {
            Some(hook) => {
                hook.into_iter().for_each(|hook| hook());
                true
            }
            None => false,
        }
    }

    /// The session is over: all askers are gone.
    pub(crate) fn withdraw_all(&self) {
        let mut running = self.running.lock();
        let all = std::mem::take(&mut *running);
        self.unwanted.fetch_add(all.len(), Ordering::Relaxed);
        drop(running);
        all.into_values().flatten().for_each(|hook| hook());
    }

    pub(crate) fn len(&self) -> usize {
        self.running.lock().len()
    }

    fn is_wanted(&self, ask: u64) -> bool {
        self.unwanted.load(Ordering::Relaxed) == 0 || self.running.lock().contains_key(&ask)
    }

    /// Its responder has come to its end. Answers whether the asker still waits.
    fn end(&self, ask: u64) -> bool {
        let mut running = self.running.lock();
        let removed = running.remove(&ask);
        if removed.is_none() {
            let unwanted = self.unwanted.load(Ordering::Relaxed);
            let left = unwanted.saturating_sub(1);
            self.unwanted.store(left, Ordering::Relaxed);
        }
        drop(running);
        removed.is_some()
    }

    fn hook(&self, ask: u64, hook: OnWithdraw) {
        let mut running = self.running.lock();
        let Some(place) = running.get_mut(&ask) else {
            drop(running);
            // Withdrawn already.
            return hook();
        };
        let old = place.replace(hook);
        drop(running);
        drop(old);
    }
}

/// The way back of the asks of one slot.
pub(crate) struct Answers {
    pub(crate) session: Arc<Session>,
    /// The exposed name: what a peer may know of the receiver.
    pub(crate) name: Arc<str>,
    /// The asker takes structs as arrays.
    pub(crate) positional: bool,
    /// Of what may wait for long before it is granted: the right to it is asked for again then.
    pub(crate) standing: Option<Standing>,
}

/// The right of who waits in line for a queue or a lock.
pub(crate) struct Standing {
    pub(crate) type_name: String,
    pub(crate) decision: Mutex<Decision>,
}

/// The way back of one ask.
pub(crate) struct Answer {
    pub(crate) answers: Arc<Answers>,
    pub(crate) number: u64,
}

impl Answer {
    /// Ends the ask without an answer.
    pub(crate) fn fail(self, failure: &Failure) {
        if self.answers.session.in_flight.end(self.number) {
            self.answers.send_failure(self.number, failure);
        }
    }

    /// As the responder of a message. Takes no memory of its own.
    pub(crate) fn responder<R: Serialize + Send + 'static>(self) -> Responder<R> {
        Responder::shared(self.answers, self.number)
    }
}

impl Answers {
    /// Whether the asker may still do this: its right may have been taken away while it waited.
    fn is_allowed(&self) -> bool {
        let (Some(standing), Some(node)) = (&self.standing, self.session.node()) else {
            return true;
        };
        let (gate, subject) = (&node.gate, &self.session.subject);
        // A refusal is told to whoever listens: not under the lock.
        let mut decision = *standing.decision.lock();
        let checked = gate.check(&mut decision, subject, &standing.type_name, &self.name);
        *standing.decision.lock() = decision;
        checked.is_ok()
    }

    fn send_failure(&self, number: u64, failure: &Failure) {
        if let Some(node) = self.session.node() {
            node.counters.failed(failure.kind());
        }
        self.session.fail(number, failure);
    }

    fn send_reply<R: Serialize + 'static>(&self, number: u64, reply: &R) {
        let refuse = |kind, why: String| {
            Failure::new(kind, Verdict::Executed)
                .with_detail(format!("the reply of {}: {why}", self.name))
        };
        let session = &self.session;
        let most = session.theirs.max_message;
        let sent = scratch::with(|frame| {
            frame.resize(HEADER, 0);
            match put_large(codec::as_raw(reply), session, most, frame) {
                Some(Raw::Uncopied(bytes)) => {
                    finish_frame(frame, bytes.len(), Kind::Reply, 0, number);
                    session.answer_with(std::mem::take(frame), bytes);
                    return Ok(());
                }
                Some(Raw::Packed) => {
                    finish_frame(frame, 0, Kind::Reply, PACKED, number);
                    session.answer_from(frame);
                    return Ok(());
                }
                None => {}
            }
            // A hand-written `Serialize` may refuse, and may panic: the asker is told, and the actor is none the worse.
            let shape = shape(self.positional);
            let put = catch_unwind(AssertUnwindSafe(|| codec::put(reply, frame, shape)));
            let put = put.map_or_else(
                |_| Err("encoding it panicked".to_owned()),
                |put| put.map_err(|error| error.to_string()),
            );
            put.map_err(|error| {
                tracing::warn!(target: "callboard::remote", name = %self.name, %error, "bad reply");
                refuse(FailureKind::BadPayload, "it can't be encoded".to_owned())
            })?;
            let len = u32::try_from(frame.len() - HEADER).unwrap_or(u32::MAX);
            if len > most {
                let error = WireError::FrameTooLarge {
                    len: len.into(),
                    max: most,
                };
                return Err(refuse(FailureKind::TooLarge, error.to_string()));
            }
            let flags = session.pack(frame);
            finish_frame(frame, 0, Kind::Reply, flags, number);
            session.answer_from(frame);
            Ok(())
        });
        match sent {
            Ok(()) => {
                if let Some(node) = session.node() {
                    node.counters.replies();
                }
            }
            Err(failure) => self.send_failure(number, &failure),
        }
    }

    /// A failure as a peer may see it. The runtime's own details name actors and types of this process;
    /// those of admissions and handlers are meant for the asker.
    fn for_peers(&self, failure: Failure) -> Failure {
        match failure.kind() {
            FailureKind::KeyReused
            | FailureKind::Indeterminate
            | FailureKind::Overloaded
            | FailureKind::NotAuthorised => failure,
            _ => failure.with_detail(&*self.name),
        }
    }
}

impl<R: Serialize + 'static> SharedSink<R> for Answers {
    fn progress(&self, ticket: u64, _verdict: Verdict) -> bool {
        self.session.in_flight.is_wanted(ticket) && self.is_allowed()
    }

    fn finish(&self, ticket: u64, outcome: Outcome<R>) {
        if !self.session.in_flight.end(ticket) {
            // The asker gave up, or its session is over (G8).
            if outcome.is_ok() {
                self.session
                    .system
                    .counters()
                    .count_drop(DropReason::LateReply);
            }
            return;
        }
        match outcome {
            Ok(reply) => self.send_reply(ticket, &reply),
            Err(failure) => self.send_failure(ticket, &self.for_peers(failure)),
        }
    }

    fn on_withdraw(&self, ticket: u64, withdraw: OnWithdraw) {
        self.session.in_flight.hook(ticket, withdraw);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g36_numbers_that_a_peer_picks_spread_over_the_table() {
        // As a peer picks them: the place in the low bits, or all in the high ones.
        for shift in [0, 16, 44] {
            let spread = Spread::default();
            let mut buckets = [0_u32; 64];
            for number in 0..6_400_u64 {
                let hash = spread.hash_one(number << shift);
                buckets[usize::try_from(hash % 64).unwrap()] += 1;
            }
            let most = buckets.iter().max().unwrap();
            assert!(*most < 400, "{shift}: {buckets:?}");
        }
    }

    #[test]
    fn g08_who_withdrew_already_is_told_at_once() {
        let asks = InFlight::default();
        asks.begin(1, 10).unwrap();
        assert!(asks.withdraw(1));
        let told = Arc::new(Mutex::new(0));
        let mine = Arc::clone(&told);
        asks.hook(1, Box::new(move || *mine.lock() += 1));
        assert_eq!(*told.lock(), 1);
    }

    #[test]
    fn g08_who_is_not_wanted_any_more_is_known_until_its_end() {
        let asks = InFlight::default();
        for ask in 1..=4 {
            asks.begin(ask, 4).unwrap();
        }
        assert_eq!(asks.begin(2, 9), Err(NotTaken::Repeated));
        assert_eq!(asks.begin(5, 4), Err(NotTaken::Full));
        assert!(asks.withdraw(2));
        assert!(!asks.withdraw(2) && !asks.withdraw(9));
        let wanted = |asks: &InFlight| [1, 2, 3, 4].map(|ask| asks.is_wanted(ask));
        assert_eq!(wanted(&asks), [true, false, true, true]);
        // Others end as they do.
        assert!(asks.end(1));
        assert_eq!(wanted(&asks), [false, false, true, true]);
        assert!(!asks.end(2));
        assert_eq!(asks.unwanted.load(Ordering::Relaxed), 0);
        // All that are left, at once.
        asks.withdraw_all();
        assert_eq!(wanted(&asks), [false; 4]);
        assert!(!asks.end(3) && !asks.end(4));
        assert_eq!(asks.unwanted.load(Ordering::Relaxed), 0);
    }
}
