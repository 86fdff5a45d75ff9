//! What outlives the incarnations of an actor: its id, its mailbox, its watchers; and, at home on its
//! arbiter, its body.
//!
//! References point here, so they stay valid over restarts, and what is queued is kept (G13).

mod body;
mod door;
mod hand_off;
mod letter;
mod life;
mod notice;
mod observed;
mod progress;
mod replaying;
mod special;
mod turn;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Wake;
use std::time::Duration;

use parking_lot::Mutex;

use crate::actor::{Actor, Receives};
use crate::admission::{Admissions, Admitted, Panicked};
use crate::boundary::{Boundary, Verdict};
use crate::clock::Instant;
use crate::counters::{Counters, DropReason};
use crate::current::Inherited;
use crate::dead_letter::DeadLetter;
use crate::driver::{Arbiter, Parcel};
use crate::envelope::Envelope;
use crate::error::{Failure, FailureKind};
use crate::fault::Fault;
use crate::id::{ActorId, Incarnation};
use crate::mailbox::records::{Record, Records};
use crate::mailbox::{
    Claim, Control, Dropped, Mailbox, MailboxState, Overflow, PushWaiting, Rejected,
};
use crate::message::Message;
use crate::progress::{Progress, Teller};
use crate::replay::Replays;
use crate::responder::Answerer;
use crate::route::{AskTerms, Asked, Refused};
use crate::spawn::{START_LIMIT, STASH_CAPACITY};
use crate::stamp;
use crate::sync::Home;
use crate::system::{StartError, System};
#[cfg(feature = "test")]
use crate::testing::FaultPoint;
use crate::watch::{ExitReason, OnEnd, WatchHandle};

use body::Body;
pub(crate) use body::Ended;
use door::AtDoor;
pub(crate) use letter::{ActorKind, Full};
use letter::{Lean, Use};
use life::Life;
pub(crate) use life::OnIncarnationEnd;

/// Who is told how an incarnation fares, at home. Dropping it untold is an end, too.
pub(crate) trait Owner: Send {
    fn started(&self);
    /// Whether the incarnation goes on after that failure; if so, the owner has taken note of it.
    fn resumes(&self, fault: &Fault) -> bool {
        let _ = fault;
        false
    }
    /// What tells it, from any thread, that a handler takes too long.
    fn teller(&self) -> Option<Teller> {
        None
    }
    fn ended(self: Box<Self>, ended: Ended);
}

/// A start on its way to the actor's home.
struct Start<A: Actor> {
    cell: Option<Arc<Cell<A>>>,
    owner: Option<Box<dyn Owner>>,
}

impl<A: Actor> Start<A> {
    fn run(mut self, make: impl FnOnce() -> A) {
        let owner = self.owner.take();
        if let Some(cell) = self.cell.take() {
            cell.move_in(make, owner);
        }
    }
}

impl<A: Actor> Drop for Start<A> {
    fn drop(&mut self) {
        if let Some(cell) = self.cell.take() {
            // The arbiter has ended: so has the incarnation, which had begun with its number.
            cell.report(self.owner.take(), Ended::Ran(ExitReason::Killed));
        }
    }
}

pub(crate) struct Cell<A: Actor> {
    pub(crate) mailbox: Mailbox<ActorKind<A>>,
    body: Home<Body<A>>,
    /// The handler's waker has fired since it was last polled.
    woken: AtomicBool,
    /// The end has begun; what is queued is being given up.
    ending: AtomicBool,
    /// It is in the run queue of its arbiter. Touched by that arbiter's thread only.
    queued: AtomicBool,
    /// A supervisor owns its incarnations; the system's shutdown leaves it to that supervisor.
    owned: bool,
    /// Its place in the list of its arbiter.
    place: AtomicU32,
    pub(crate) id: ActorId,
    home: Arc<Arbiter>,
    system: System,
    /// What few actors have.
    rare: Option<Box<Rare>>,
    life: Mutex<Life>,
}

struct Rare {
    label: Option<Arc<str>>,
    admissions: Option<Box<Admissions>>,
    start_limit: Option<Duration>,
    stash_capacity: usize,
    progress: Option<Arc<Progress>>,
    replays: Option<Box<Replays>>,
}

/// How a cell is made.
pub(crate) struct CellOptions {
    pub(crate) label: Option<Arc<str>>,
    pub(crate) capacity: usize,
    pub(crate) overflow: Overflow,
    pub(crate) admissions: Option<Box<Admissions>>,
    pub(crate) start_limit: Option<Duration>,
    pub(crate) stash_capacity: usize,
    pub(crate) handler_limit: Option<Duration>,
    pub(crate) replays: Option<Box<Replays>>,
    pub(crate) owned: bool,
}

impl<A: Actor> Cell<A> {
    pub(crate) fn new(system: &System, home: Arc<Arbiter>, options: CellOptions) -> Arc<Self> {
        let common = options.label.is_none()
            && options.admissions.is_none()
            && options.replays.is_none()
            && options.start_limit == Some(START_LIMIT)
            && options.stash_capacity == STASH_CAPACITY
            && options.handler_limit.is_none();
        let rare = (!common).then(|| {
            Box::new(Rare {
                label: options.label,
                admissions: options.admissions,
                start_limit: options.start_limit,
                stash_capacity: options.stash_capacity,
                progress: options.handler_limit.map(Progress::new),
                replays: options.replays,
            })
        });
        let cell = Arc::new(Cell {
            mailbox: Mailbox::new(home.number(), options.capacity, options.overflow),
            body: Home::new(home.number(), Body::new()),
            woken: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            queued: AtomicBool::new(false),
            owned: options.owned,
            place: AtomicU32::new(0),
            id: ActorId::fresh(),
            home,
            system: system.clone(),
            rare,
            life: Mutex::default(),
        });
        let place = cell.home.enlist(Arc::clone(&cell) as Arc<dyn AnyCell>);
        cell.place.store(place, Ordering::Relaxed);
        cell.list_progress();
        cell
    }

    pub(crate) fn system(&self) -> &System {
        &self.system
    }

    pub(crate) fn home(&self) -> &Arc<Arbiter> {
        &self.home
    }

    /// Its name for people: given, or its type's.
    pub(crate) fn label(&self) -> Arc<str> {
        self.given_label()
            .cloned()
            .unwrap_or_else(|| short_type_name::<A>().into())
    }

    pub(crate) fn given_label(&self) -> Option<&Arc<str>> {
        self.rare.as_ref()?.label.as_ref()
    }

    /// How long `starting` may take.
    fn start_limit(&self) -> Option<Duration> {
        let rare = self.rare.as_ref();
        rare.map_or(Some(START_LIMIT), |rare| rare.start_limit)
    }

    /// How many messages may be stashed.
    pub(crate) fn stash_capacity(&self) -> usize {
        let rare = self.rare.as_ref();
        rare.map_or(STASH_CAPACITY, |rare| rare.stash_capacity)
    }

    /// What is offered again after a crash.
    pub(crate) fn replays(&self) -> Option<&Replays> {
        self.rare.as_ref()?.replays.as_deref()
    }

    pub(crate) fn boundary(&self) -> Boundary {
        if self.home.is_here() {
            Boundary::SameThread
        } else {
            Boundary::SameProcess
        }
    }

    /// Sees to it that its arbiter has a thread, if it is to have one of its own.
    pub(crate) fn give_thread(&self) -> Result<(), StartError> {
        if !self.home.is_own() {
            return Ok(());
        }
        let own = self.system.own_threads();
        own.run(&self.home, &self.label(), &self.system)
    }

    /// Starts an incarnation at home, now or by a parcel. Should the arbiter have ended, dropping the owner
    /// is all that happens; without an owner the actor ends.
    pub(crate) fn start(
        self: &Arc<Self>,
        make: impl FnOnce() -> A + Send + 'static,
        owner: Option<Box<dyn Owner>>,
    ) {
        if !self.home.is_here() {
            return self.start_in_turn(make, owner);
        }
        let start = Start {
            cell: Some(Arc::clone(self)),
            owner,
        };
        start.run(make);
    }

    /// The same, but never on the stack of who calls: for those who must not be held up by the actor's factory.
    pub(crate) fn start_in_turn(
        self: &Arc<Self>,
        make: impl FnOnce() -> A + Send + 'static,
        owner: Option<Box<dyn Owner>>,
    ) {
        let start = Start {
            cell: Some(Arc::clone(self)),
            owner,
        };
        let call = move || start.run(make);
        self.home.send(Parcel::Call(Box::new(call)));
    }

    fn admissions(&self) -> Option<&Admissions> {
        self.rare.as_ref()?.admissions.as_deref()
    }

    /// The faults that a test has put on it.
    #[cfg(feature = "test")]
    #[inline]
    pub(crate) fn faults(&self) -> Option<&FaultPoint> {
        self.admissions()?.faults.as_ref()
    }

    /// Whether something stands before the mailbox.
    #[inline]
    pub(crate) fn has_admissions(&self) -> bool {
        self.rare.is_some() && self.admissions().is_some()
    }

    /// Runs what stands before the mailbox, but for what the message has passed already.
    #[inline]
    pub(crate) fn admit<M, How>(
        self: &Arc<Self>,
        envelope: Envelope<M>,
        passed: usize,
    ) -> Admitted<M>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        let Some(admissions) = self.admissions() else {
            return Admitted::Pass(envelope);
        };
        match admissions.admit(&AtDoor::<A, How>::of(self), envelope, passed) {
            Ok(admitted) => admitted,
            Err(panicked) => {
                self.admission_panicked::<M>(&panicked);
                Admitted::Taken
            }
        }
    }

    /// The message was dropped with its admission; an asker has been told.
    #[cold]
    fn admission_panicked<M: Message>(&self, Panicked(text): &Panicked) {
        let counters = self.system.counters();
        counters.count_panic();
        counters.count_drop(DropReason::AdmissionPanicked);
        tracing::warn!(
            target: "callboard::actor",
            actor = %self.label(), message = std::any::type_name::<M>(), panic = %text,
            "an admission panicked"
        );
    }

    /// Puts an admitted message into the mailbox, or says why not.
    #[inline]
    pub(crate) fn put<M, How>(self: &Arc<Self>, envelope: Envelope<M>) -> Result<(), Refused<M>>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        if envelope.is_lean() {
            self.push(Lean::<M, How>::of(envelope.message))
        } else {
            self.push(Full::<M, How>::new(envelope))
        }
    }

    /// Whether nothing stands before the mailbox, and nobody looks on.
    #[inline]
    fn takes_lean(&self) -> bool {
        !stamp::is_on() && !self.has_admissions()
    }

    /// Puts a message with nothing beside it into the mailbox, if there is room and nothing else to do.
    #[inline]
    pub(crate) fn put_lean<M, How>(self: &Arc<Self>, message: M) -> Result<(), M>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        if !self.takes_lean() {
            return Err(message);
        }
        let Some(open) = self.mailbox.open() else {
            return Err(message);
        };
        if open.put(Lean::<M, How>::of(message)) {
            self.schedule();
        }
        Ok(())
    }

    /// Asks with nothing beside the message but these terms, if that takes no thinking.
    #[inline]
    pub(crate) fn ask_lean<M, How>(self: &Arc<Self>, message: M, terms: AskTerms) -> Asked<M>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        if !self.takes_lean() {
            return Asked::NotYet(message);
        }
        // What is too late already is given up like any message that expires.
        let Some(request) = Inherited::of_ask(terms, self.system.clock()) else {
            return Asked::NotYet(message);
        };
        match self.hand_off::<M, How>(message, request) {
            Asked::NotYet(message) => self.queue_ask::<M, How>(message, request),
            asked => asked,
        }
    }

    #[inline]
    fn queue_ask<M, How>(self: &Arc<Self>, message: M, mut request: Inherited) -> Asked<M>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        if !A::NEEDS_RESPONDER && self.system.waits().would_close_cycle(self.id) {
            return Asked::NotYet(message);
        }
        let deadline = request.deadline(self.system.clock());
        let deadline = deadline.unwrap_or(Instant::FAR);
        let Some(open) = self.mailbox.open() else {
            return Asked::NotYet(message);
        };
        let (answerer, slot) = Answerer::slot();
        if open.put(letter::Asked::<M, How>::new(message, answerer, request)) {
            self.schedule();
        }
        Asked::Waits(slot, deadline)
    }

    #[inline]
    fn push<R: Opens<A>>(self: &Arc<Self>, record: R) -> Result<(), Refused<R::Message>> {
        match self.mailbox.push(record) {
            Ok(pushed) => {
                if pushed.schedule {
                    self.schedule();
                }
                match pushed.dropped {
                    Dropped::None => {}
                    Dropped::Newest(record) => {
                        self.bury(record.open(), DropReason::DropNewest);
                    }
                    Dropped::Oldest(mut records) => {
                        self.discard_all(&mut records, DropReason::DropOldest);
                    }
                }
                Ok(())
            }
            Err(rejected) => Err(self.refuse(rejected)),
        }
    }

    /// Puts a message into room of its own, past the bound: for what was promised room before.
    pub(crate) fn put_reserved<M, How>(self: &Arc<Self>, message: M)
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        match self.mailbox.push_reserved(Lean::<M, How>::of(message)) {
            Ok(true) => self.schedule(),
            Ok(false) => {}
            Err(record) => self.bury(Opens::<A>::open(record), DropReason::Stopped),
        }
    }

    /// The same for a message whose answer somebody waits for.
    pub(crate) fn put_reserved_full<M, How>(self: &Arc<Self>, envelope: Envelope<M>)
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        match self.mailbox.push_reserved(Full::<M, How>::new(envelope)) {
            Ok(true) => self.schedule(),
            Ok(false) => {}
            Err(record) => self.bury(Opens::<A>::open(record), DropReason::Stopped),
        }
    }

    /// Waits in line for room.
    pub(crate) fn put_waiting<M, How>(
        &self,
        envelope: Envelope<M>,
    ) -> PushWaiting<'_, ActorKind<A>, Full<M, How>>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        self.mailbox.push_waiting(Full::<M, How>::new(envelope))
    }

    /// Puts a message into room that was claimed for it.
    pub(crate) fn put_claimed<M, How>(
        self: &Arc<Self>,
        claim: Claim<'_, ActorKind<A>>,
        envelope: Envelope<M>,
    ) -> Result<(), Refused<M>>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        match claim.put(Full::<M, How>::new(envelope)) {
            Ok(schedule) => {
                if schedule {
                    self.schedule();
                }
                Ok(())
            }
            Err(record) => Err(self.refuse(Rejected::Closed(record))),
        }
    }

    /// Turns a rejection back into the message it was.
    #[cold]
    pub(crate) fn refuse<R: Opens<A>>(&self, rejected: Rejected<R>) -> Refused<R::Message> {
        let (record, kind, may_wait) = match rejected {
            Rejected::MustWait(record) => (record, FailureKind::Full, true),
            Rejected::Full(record) => (record, FailureKind::Full, false),
            Rejected::Closed(record) => (record, FailureKind::Stopped, false),
        };
        let mut failure = Failure::new(kind, Verdict::NotExecuted);
        if !may_wait {
            failure = failure.with_detail(self.label().to_string());
        }
        Refused {
            envelope: record.open(),
            failure,
            may_wait,
        }
    }

    pub(crate) fn schedule(self: &Arc<Self>) {
        self.home
            .schedule(Arc::clone(self) as Arc<dyn crate::driver::Run>);
    }

    pub(crate) fn signal(self: &Arc<Self>, control: Control) {
        if self.mailbox.control(control) {
            self.schedule();
        }
    }

    pub(crate) fn drain(self: &Arc<Self>) {
        if self.mailbox.drain() {
            self.schedule();
        }
    }

    /// Gives a message up: its asker is told, and it goes to dead letters.
    #[cold]
    pub(crate) fn bury<M: Message>(&self, envelope: Envelope<M>, reason: DropReason) {
        let kind = match reason {
            DropReason::Expired => FailureKind::DeadlineExceeded,
            DropReason::Withdrawn => FailureKind::Withdrawn,
            DropReason::DropNewest | DropReason::DropOldest | DropReason::StashFull => {
                FailureKind::Full
            }
            _ => FailureKind::Stopped,
        };
        let began_before = !envelope.meta.failed_attempts().is_empty();
        // It may have been put off by its handler. One that nobody waited for any more didn't begin, unless it is
        // offered again.
        let verdict = match (reason, envelope.responder.reached()) {
            _ if began_before => Verdict::Executed,
            (DropReason::Withdrawn, _) => Verdict::NotExecuted,
            (_, Verdict::Executed) => Verdict::Executed,
            _ => Verdict::NotExecuted,
        };
        let failure = Failure::new(kind, verdict).with_detail(self.label().to_string());
        self.give_up(envelope, reason, failure);
    }

    /// Gives a message up with that failure.
    #[cold]
    fn give_up<M: Message>(&self, envelope: Envelope<M>, reason: DropReason, failure: Failure) {
        let Envelope {
            message,
            meta,
            responder,
        } = envelope;
        responder.fail(failure);
        self.system.dead_letters().push(DeadLetter {
            at: self.system.clock().now(),
            target: self.label().to_string(),
            message_type: std::any::type_name::<M>(),
            reason,
            key: meta.key(),
            attempts: meta.failed_attempts().to_vec(),
            message: Box::new(message),
        });
    }

    fn discard_all(&self, records: &mut Records<ActorKind<A>>, reason: DropReason) {
        while !records.is_empty() {
            // Telling an asker can run code of others.
            self.fenced(|| {
                records.consume_first(Use::Discard(self, reason));
            });
        }
    }
}

/// A record that can be turned back into the message it was made from.
pub(crate) trait Opens<A: Actor>: Record<ActorKind<A>> {
    type Message: Message;

    fn open(self) -> Envelope<Self::Message>;
}

impl<A: Actor> Wake for Cell<A> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        if self.mailbox.wake() {
            self.schedule();
        }
    }
}

impl<A: Actor> fmt::Debug for Cell<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell")
            .field("id", &self.id)
            .field("label", &self.label())
            .field("mailbox", &self.mailbox)
            .finish_non_exhaustive()
    }
}

/// One actor as a list of all actors shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ActorSnapshot {
    /// Its id.
    pub id: ActorId,
    /// Its name, or its type's.
    pub label: String,
    /// The arbiter it runs on.
    pub arbiter: usize,
    /// How often it has been started.
    pub incarnation: Incarnation,
    /// How full its mailbox is.
    pub mailbox: MailboxState,
}

/// A cell whose actor type doesn't matter.
pub(crate) trait AnyCell: Send + Sync {
    fn id(&self) -> ActorId;
    fn snapshot(&self) -> ActorSnapshot;
    fn is_owned(&self) -> bool;
    fn counters(&self) -> &Counters;
    fn send_signal(self: Arc<Self>, control: Control);
    fn on_end(self: Arc<Self>, on_end: OnEnd) -> WatchHandle;
    /// Ends it without its thread's help; at home, its body too.
    fn abandon(self: Arc<Self>);
}

impl<A: Actor> AnyCell for Cell<A> {
    fn id(&self) -> ActorId {
        self.id
    }

    fn snapshot(&self) -> ActorSnapshot {
        ActorSnapshot {
            id: self.id,
            label: self.label().to_string(),
            arbiter: self.home.index(),
            incarnation: self.incarnation(),
            mailbox: self.mailbox.state(),
        }
    }

    fn is_owned(&self) -> bool {
        self.owned
    }

    fn counters(&self) -> &Counters {
        self.system.counters()
    }

    fn send_signal(self: Arc<Self>, control: Control) {
        Cell::signal(&self, control);
    }

    fn on_end(self: Arc<Self>, on_end: OnEnd) -> WatchHandle {
        Cell::watch(&self, on_end)
    }

    fn abandon(self: Arc<Self>) {
        self.vacate();
        self.end(ExitReason::Killed);
    }
}

/// The last part of a type's path: `app::shop::Cart<app::Item>` is `Cart<Item>`.
pub(crate) fn short_type_name<T>() -> String {
    shortened(std::any::type_name::<T>())
}

/// The same of a type's full name.
pub(crate) fn shortened(full: &str) -> String {
    let mut short = String::with_capacity(full.len());
    let mut part = 0;
    for (place, byte) in full.bytes().enumerate() {
        match byte {
            b':' => part = place + 1,
            b'<' | b'>' | b',' | b' ' | b'(' | b')' | b'[' | b']' | b'&' | b'*' | b';' => {
                short.push_str(&full[part..=place]);
                part = place + 1;
            }
            _ => {}
        }
    }
    short.push_str(&full[part..]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_names_are_shortened_inside_generics_too() {
        let short = short_type_name::<Vec<std::collections::BTreeMap<String, u8>>>();
        assert_eq!(short, "Vec<BTreeMap<String, u8>>");
        let short = short_type_name::<[Option<&'static std::path::Path>; 3]>();
        assert_eq!(short, "[Option<&Path>; 3]");
    }
}
