//! A dedup store that outlives the process: how its entries lie in a journal, and who waits for the disk.
//!
//! An entry is a record under its number. It is put when the request arrives, and the request goes on to its handler
//! when that is synced; it is put again with the outcome as its body, and who waits is answered when that is synced,
//! too. All that wait share a sync: the journal says how far it is. Then the [`pump`] does what comes next, on a task
//! of its own, in the order in which the journal took it.
//!
//! Two locks: that of the entries first, then that of what waits. The journal's observer takes the second alone.

pub(super) mod head;
pub(super) mod open;
pub(super) mod outcome;
pub(super) mod pump;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use callboard_core::journal::{
    Change, Durability, Journal, JournalError, JournalErrorKind, OnProgress, Progress, Ticket,
};
use callboard_core::{
    ActorId, Envelope, Failure, FailureKind, Message, Onward, Outcome, Responder, Verdict,
};
use futures::channel::oneshot;
use parking_lot::Mutex;

use super::few::Few;
use super::keyed::Id;
use super::shared::{Inner, Shared, finish, lost};
use super::store::Run;
use head::{Head, State, broken_note};
use pump::Bell;

/// How many duplicates may wait for an answer to be read from disk; the next one is refused (G3).
const READS: usize = 1_024;

pub(super) struct Durable<M: Message> {
    pub(super) name: Arc<str>,
    codec: Codec<M::Reply>,
    /// Nothing that was ever stored has been forgotten when it was opened.
    remembers_all: bool,
    /// Records were damaged; what isn't there and may be older than this may have been one of them.
    suspect: Option<Duration>,
    disk: Mutex<Disk<M>>,
    reading: AtomicUsize,
    pub(super) bell: Arc<Bell>,
}

/// How outcomes become bytes.
pub(super) struct Codec<R> {
    pub(super) encode: fn(&Outcome<R>) -> Result<Vec<u8>, String>,
    pub(super) decode: fn(&[u8]) -> Result<Outcome<R>, String>,
}

struct Disk<M: Message> {
    /// Until it is closed.
    journal: Option<Arc<dyn Journal>>,
    /// What is on its way to the disk, in the order of tickets.
    storing: VecDeque<(Ticket, Step<M>)>,
    /// Ends that the journal had no room for.
    stalled: VecDeque<Ending<M::Reply>>,
    /// What has got there, or never will.
    ready: VecDeque<Ready<M>>,
    /// It takes nothing any more.
    closed: bool,
    /// Nobody does what is ready.
    ended: bool,
}

/// What is to be done when something is on disk.
pub(super) enum Step<M: Message> {
    /// A request goes on to its handler.
    Go(Box<Held<M>>),
    /// Who waits for the end of an attempt is answered.
    End(Box<Ending<M::Reply>>),
    /// Somebody is told.
    Tell(oneshot::Sender<Result<(), JournalError>>),
}

/// Whether something got to the disk, when that is known.
type Told = oneshot::Receiver<Result<(), JournalError>>;

type Ready<M> = (Step<M>, Result<(), JournalError>);

/// A request that is held.
pub(super) struct Held<M: Message> {
    pub(super) to: ActorId,
    pub(super) envelope: Envelope<M>,
    pub(super) onward: Onward<M>,
}

/// The end of an attempt.
pub(super) struct Ending<R> {
    pub(super) place: usize,
    pub(super) epoch: u64,
    pub(super) record: u64,
    pub(super) outcome: Outcome<R>,
    pub(super) kept: KeptAs,
    head: Head,
    body: Vec<u8>,
}

/// What is kept of an outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeptAs {
    Body,
    /// There was no room for it.
    TooLarge,
    /// It could not be encoded, and why.
    Lost(String),
}

impl<M: Message> Durable<M> {
    pub(super) fn new(
        name: Arc<str>,
        journal: Arc<dyn Journal>,
        codec: Codec<M::Reply>,
        remembers_all: bool,
        suspect: Option<Duration>,
    ) -> Self {
        Durable {
            name,
            codec,
            remembers_all,
            suspect,
            disk: Mutex::new(Disk {
                journal: Some(journal),
                storing: VecDeque::new(),
                stalled: VecDeque::new(),
                ready: VecDeque::new(),
                closed: false,
                ended: false,
            }),
            reading: AtomicUsize::new(0),
            bell: Arc::default(),
        }
    }

    pub(super) fn remembers_all(&self) -> bool {
        self.remembers_all
    }

    pub(super) fn encode(&self, outcome: &Outcome<M::Reply>) -> Result<Vec<u8>, String> {
        (self.codec.encode)(outcome)
    }

    fn journal(&self) -> Option<Arc<dyn Journal>> {
        self.disk.lock().journal.clone()
    }

    /// What is forgotten needs no place on disk. Should that not get there, it is forgotten again at the next start.
    pub(super) fn drop_records(&self, records: impl IntoIterator<Item = u64>) {
        let drops: Vec<_> = records.into_iter().map(|id| Change::Drop { id }).collect();
        self.append_soon(&drops);
    }

    /// An attempt broke off, and how. The record says already that it began, so nobody waits for this.
    pub(super) fn note_broken(&self, record: u64, at: Duration, seen: &str) {
        let note = broken_note(at, seen);
        self.append_soon(&[Change::Note {
            id: record,
            note: &note,
        }]);
    }

    pub(super) fn append_soon(&self, changes: &[Change<'_>]) {
        if let Some(journal) = self.journal()
            && let Err(error) = journal.append(changes, Durability::Written)
        {
            tracing::debug!(target: "callboard::dedup", store = %self.name, %error, "not written down");
        }
    }

    /// Has somebody told when all that was appended, and these changes, are synced.
    pub(super) fn tell_when_synced(&self, changes: &[Change<'_>]) -> Told {
        self.tell_soon(changes).unwrap_or_else(told_at_once)
    }

    /// The same, and says at once if nothing was appended.
    fn tell_soon(&self, changes: &[Change<'_>]) -> Result<Told, JournalError> {
        self.disk.lock().tell_soon(changes)
    }

    /// A request is about to run: it is held until that is on disk.
    pub(super) fn reserve(
        &self,
        shared: &Shared<M>,
        id: &Id,
        print: u128,
        number: u64,
        run: Run,
        held: impl FnOnce() -> Option<Held<M>>,
    ) -> Result<(), Failure> {
        // What runs again was there. Which attempt its sender says it is says nothing: callers count theirs.
        let was_there = run.record != number;
        if let Some(since) = self.suspect
            && !was_there
            && !shared.is_made_after(id, since)
            && shared.time_of_day(shared.now()) < since + shared.window
        {
            let why = format!(
                "records of the dedup store {} were damaged, and this request may have been among them",
                self.name
            );
            let failure = Failure::new(FailureKind::Indeterminate, Verdict::MaybeExecuted);
            return Err(failure.with_detail(why));
        }
        let head = Head {
            state: State::Reserved,
            attempts: run.attempt,
            id: *id,
            print,
            at: shared.time_of_day(shared.now()),
        };
        let put = Change::Put {
            id: run.record,
            head: &head.encode(),
            body: &[],
        };
        let mut disk = self.disk.lock();
        let ticket = disk.append(&[put]).map_err(|error| self.refusal(&error))?;
        if let Some(held) = held() {
            disk.storing.push_back((ticket, Step::Go(Box::new(held))));
        }
        Ok(())
    }

    /// What a request is told that could not be reserved.
    fn refusal(&self, error: &JournalError) -> Failure {
        let kind = match error.kind() {
            JournalErrorKind::Busy => FailureKind::Overloaded,
            JournalErrorKind::Closed => FailureKind::Stopped,
            _ => FailureKind::StorageFailed,
        };
        Failure::new(kind, Verdict::NotExecuted)
            .with_detail(format!("the dedup store {}: {error}", self.name))
    }

    /// Whether an answer can be read now; if so, [`read`](Durable::read) must follow.
    pub(super) fn may_read(&self) -> bool {
        let more = |reading| (reading < READS).then_some(reading + 1);
        let order = Ordering::Relaxed;
        self.reading.fetch_update(order, order, more).is_ok()
    }

    /// Reads an outcome from disk, and gives it to `done`.
    pub(super) fn read(
        &self,
        shared: &Arc<Shared<M>>,
        record: u64,
        done: impl FnOnce(Outcome<M::Reply>) + Send + 'static,
    ) {
        let Some(journal) = self.journal() else {
            self.reading.fetch_sub(1, Ordering::Relaxed);
            return done(Err(lost("the store is closed")));
        };
        let decode = self.codec.decode;
        let shared = Arc::downgrade(shared);
        let read = move |bodies: Vec<Result<Vec<u8>, JournalError>>| {
            if let Some(durable) = shared.upgrade().as_ref().and_then(|it| it.durable.as_ref()) {
                durable.reading.fetch_sub(1, Ordering::Relaxed);
            }
            let body = bodies.into_iter().next();
            let body = body.unwrap_or_else(|| {
                let none = "nothing was read";
                Err(JournalError::new(JournalErrorKind::NotFound, none))
            });
            done(match body {
                Ok(body) => decode(&body).unwrap_or_else(|why| Err(lost(&why))),
                Err(error) => Err(lost(&error.to_string())),
            });
        };
        journal.read(&[record], Box::new(read));
    }

    /// Reads an outcome for a duplicate.
    pub(super) fn answer(
        &self,
        shared: &Arc<Shared<M>>,
        record: u64,
        waiter: Option<Responder<M::Reply>>,
    ) {
        let Some(mut waiter) = waiter else {
            self.reading.fetch_sub(1, Ordering::Relaxed);
            return;
        };
        waiter.progress(Verdict::Executed);
        self.read(shared, record, move |outcome| finish(waiter, outcome));
    }

    /// The journal takes no more from now on. It is given free when what it has taken is synced.
    pub(super) async fn close(&self) -> Result<(), JournalError> {
        let synced = {
            // Under one lock: nothing comes behind what is waited for.
            let mut disk = self.disk.lock();
            let synced = disk.tell_soon(&[]).unwrap_or_else(told_at_once);
            disk.closed = true;
            synced
        };
        let ended = synced.await.unwrap_or_else(|_| {
            let gone = "the system has ended";
            Err(JournalError::new(JournalErrorKind::Closed, gone))
        });
        let journal = self.disk.lock().journal.take();
        drop(journal);
        self.bell.ring();
        ended
    }

    /// What is to be done now.
    pub(super) fn take_ready(&self) -> VecDeque<Ready<M>> {
        std::mem::take(&mut self.disk.lock().ready)
    }

    pub(super) fn is_closed(&self) -> bool {
        let disk = self.disk.lock();
        let rests = disk.storing.is_empty() && disk.stalled.is_empty() && disk.ready.is_empty();
        disk.journal.is_none() && rests
    }

    /// Nobody is there any more who would do anything. What is left to do, all of which has failed.
    pub(super) fn abandon(&self) -> VecDeque<Ready<M>> {
        let mut disk = self.disk.lock();
        disk.closed = true;
        disk.ended = true;
        let journal = disk.journal.take();
        let closed = JournalError::new(JournalErrorKind::Closed, "the system has ended");
        disk.fail_all(&closed);
        let ready = std::mem::take(&mut disk.ready);
        drop(disk);
        drop(journal);
        ready
    }
}

fn told_at_once(error: JournalError) -> Told {
    let (tx, rx) = oneshot::channel();
    // Its other end is here.
    drop(tx.send(Err(error)));
    rx
}

impl<M: Message> Drop for Durable<M> {
    fn drop(&mut self) {
        // So that the pump sees that nobody needs it.
        self.bell.ring();
    }
}

impl<M: Message> Disk<M> {
    fn append(&mut self, changes: &[Change<'_>]) -> Result<Ticket, JournalError> {
        match &self.journal {
            Some(journal) if !self.closed => journal.append(changes, Durability::Synced),
            _ => Err(JournalError::new(
                JournalErrorKind::Closed,
                "the store is closed",
            )),
        }
    }

    fn tell_soon(&mut self, changes: &[Change<'_>]) -> Result<Told, JournalError> {
        let (tx, rx) = oneshot::channel();
        let ticket = self.append(changes)?;
        self.storing.push_back((ticket, Step::Tell(tx)));
        Ok(rx)
    }

    /// Puts an end down. One that the journal has no room for waits.
    fn put_end(&mut self, mut ending: Ending<M::Reply>) {
        let put = Change::Put {
            id: ending.record,
            head: &ending.head.encode(),
            body: &ending.body,
        };
        match self.append(&[put]) {
            Ok(ticket) => {
                ending.body = Vec::new();
                let step = Step::End(Box::new(ending));
                self.storing.push_back((ticket, step));
            }
            Err(error) if error.kind() == JournalErrorKind::Busy => {
                self.stalled.push_back(ending);
            }
            Err(error) if error.kind() == JournalErrorKind::TooLarge && !ending.body.is_empty() => {
                // That it ran is known at least.
                ending.kept = KeptAs::TooLarge;
                ending.head.state = State::TooLarge;
                ending.body = Vec::new();
                self.put_end(ending);
            }
            Err(error) => {
                let step = Step::End(Box::new(ending));
                self.ready.push_back((step, Err(error)));
            }
        }
    }

    fn fail_all(&mut self, error: &JournalError) {
        let stalled = self.stalled.drain(..);
        let stalled = stalled.map(|ending| Step::End(Box::new(ending)));
        let steps = self.storing.drain(..).map(|(_, step)| step).chain(stalled);
        self.ready
            .extend(steps.map(|step| (step, Err(error.clone()))));
    }
}

impl<M: Message<Reply: Clone>> Shared<M> {
    /// An attempt has ended: its askers are told when that is on disk.
    pub(super) fn store_end(
        &self,
        durable: &Durable<M>,
        place: usize,
        epoch: u64,
        outcome: Outcome<M::Reply>,
        encoded: Result<Vec<u8>, String>,
    ) {
        let mut gone = Few::default();
        let mut inner = self.inner.lock();
        let (kept, body) = match encoded {
            Ok(body) if inner.store.weigh(place, epoch, body.len(), &mut gone) => {
                (KeptAs::Body, body)
            }
            Ok(_) => (KeptAs::TooLarge, Vec::new()),
            Err(why) => (KeptAs::Lost(why), Vec::new()),
        };
        self.drop_records(&gone);
        inner.stats.forgotten += gone.len() as u64;
        let state = match kept {
            KeptAs::Body => State::Done,
            KeptAs::TooLarge => State::TooLarge,
            KeptAs::Lost(_) => State::Lost,
        };
        let at = self.time_of_day(self.now());
        let ending = inner.store.view(place, epoch).map(|view| Ending {
            place,
            epoch,
            record: view.record,
            outcome,
            kept,
            head: Head {
                state,
                attempts: view.attempts,
                id: *view.key,
                print: view.print,
                at,
            },
            body,
        });
        let hook = inner.take_hook(epoch);
        let (mut rings, mut ended) = (false, VecDeque::new());
        if let Some(ending) = ending {
            let mut disk = durable.disk.lock();
            disk.put_end(ending);
            rings = !disk.ready.is_empty();
            if disk.ended {
                ended = std::mem::take(&mut disk.ready);
            }
        }
        drop(inner);
        drop((gone, hook));
        for (step, stored) in ended {
            self.settle(step, stored);
        }
        if rings {
            durable.bell.ring();
        }
    }
}

impl<M: Message> Shared<M> {
    /// Settles that a key which isn't there never runs, also on disk. If the journal takes no more, nothing was
    /// settled: a seal that is only in memory would be taken for one that lasts.
    pub(super) fn put_seal(
        &self,
        inner: &mut Inner<M::Reply>,
        durable: &Durable<M>,
        id: &Id,
        record: u64,
    ) -> Option<Told> {
        let head = Head {
            state: State::Sealed,
            attempts: 0,
            id: *id,
            print: 0,
            at: self.time_of_day(self.now()),
        };
        let put = Change::Put {
            id: record,
            head: &head.encode(),
            body: &[],
        };
        let Ok(synced) = durable.tell_soon(&[put]) else {
            inner.store.unseal(id);
            return None;
        };
        inner.stats.sealed += 1;
        Some(synced)
    }
}

impl<M: Message> OnProgress for Shared<M> {
    fn progressed(&self, progress: &Progress) {
        let Some(durable) = &self.durable else { return };
        let mut disk = durable.disk.lock();
        let synced = progress.synced;
        while disk
            .storing
            .front()
            .is_some_and(|(ticket, _)| *ticket <= synced)
        {
            if let Some((_, step)) = disk.storing.pop_front() {
                disk.ready.push_back((step, Ok(())));
            }
        }
        if let Some(error) = &progress.failed {
            disk.fail_all(error);
        }
        for _ in 0..disk.stalled.len() {
            let Some(ending) = disk.stalled.pop_front() else {
                break;
            };
            disk.put_end(ending);
        }
        let rings = !disk.ready.is_empty();
        drop(disk);
        if rings {
            durable.bell.ring();
        }
    }
}
