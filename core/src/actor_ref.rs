//! References: to an actor of a known type, and to whoever takes messages of one type.

#[cfg(feature = "test")]
mod faulty;

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use futures::future::BoxFuture;

use crate::actor::{Actor, Receives};
use crate::admission::Admitted;
use crate::blocking::{self, BlockingError};
use crate::boundary::{Boundary, Verdict};
use crate::cell::{AnyCell, Cell, Opens};
use crate::clock::Instant;
use crate::counters::DropReason;
use crate::driver::Arbiter;
use crate::envelope::{Envelope, Meta};
use crate::error::{Failure, FailureKind, SendError};
use crate::executor;
use crate::id::{ActorId, Incarnation};
use crate::mailbox::{Control, MailboxState};
use crate::message::Message;
use crate::responder::Responder;
use crate::route::{AskTerms, Asked, Refused, Route, WeakRoute};
use crate::send::{Ask, Tell};
use crate::stamp;
use crate::system::System;
use crate::watch::{ExitReason, OnEnd, OnLife, Watch, WatchHandle};
use crate::weak::WeakDirect;

/// A reference to an actor of this process. It can be cloned, sent and used from any thread and any
/// runtime, or none, and stays valid over restarts (G13).
pub struct ActorRef<A: Actor> {
    cell: Arc<Cell<A>>,
}

impl<A: Actor> ActorRef<A> {
    pub(crate) fn new(cell: Arc<Cell<A>>) -> Self {
        ActorRef { cell }
    }

    pub(crate) fn cell(&self) -> &Arc<Cell<A>> {
        &self.cell
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> ActorId {
        self.cell.id
    }

    /// The system it lives in.
    #[must_use]
    pub fn system(&self) -> &System {
        self.cell.system()
    }

    /// Its name, or its type's.
    #[must_use]
    pub fn label(&self) -> Arc<str> {
        self.cell.label()
    }

    /// What lies between the calling code and the actor.
    #[must_use]
    pub fn boundary(&self) -> Boundary {
        self.cell.boundary()
    }

    pub(crate) fn home(&self) -> &Arc<Arbiter> {
        self.cell.home()
    }

    /// The arbiter it lives on.
    #[must_use]
    pub fn arbiter(&self) -> usize {
        self.cell.home().index()
    }

    /// How full its mailbox is.
    #[must_use]
    pub fn mailbox(&self) -> MailboxState {
        self.cell.mailbox.state()
    }

    /// Whether somebody decides about its end: a supervisor, a pool, the actor whose child it is. One that is
    /// supervised may be started again when it ends.
    #[must_use]
    pub fn is_owned(&self) -> bool {
        self.cell.is_owned()
    }

    /// How often it has been started.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.cell.incarnation()
    }

    /// Whether it takes messages. It may have ended a moment later.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.cell.mailbox.is_closed()
    }

    /// Sends a message, waiting for room. See [`Tell`].
    #[inline]
    pub fn tell<M, How>(
        &self,
        message: M,
    ) -> Tell<'_, M, impl Route<M> + Clone + use<'_, A, M, How>>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        Tell::new(Direct::<_, A, How>::new(&self.cell), message)
    }

    /// Sends a message without waiting.
    ///
    /// # Errors
    /// Gives the message back if there is no room or the actor has stopped (G6).
    pub fn try_tell<M, How>(&self, message: M) -> Result<(), SendError<M>>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        let route = Direct::<_, A, How>::new(&self.cell);
        route.send_lean(message).or_else(|message| {
            route
                .send(Envelope::tell(message))
                .map_err(Refused::into_error)
        })
    }

    /// Puts a message into room of its own, past the bound: for what was promised room before.
    pub(crate) fn tell_reserved<M, How>(&self, message: M)
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        self.cell.put_reserved::<M, How>(message);
    }

    /// The same for a message whose answer goes to `responder`, which is told also if the actor ends first.
    pub(crate) fn ask_reserved<M, How>(&self, message: M, responder: Responder<M::Reply>)
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        self.cell.put_reserved_full::<M, How>(Envelope {
            message,
            meta: Meta::default(),
            responder,
        });
    }

    /// Takes a message that was held back past those admissions that it hasn't seen, to the mailbox.
    pub(crate) fn send_behind<M, How>(
        &self,
        envelope: Envelope<M>,
        passed: usize,
    ) -> Result<(), Refused<M>>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        match self.cell.admit::<M, How>(envelope, passed) {
            Admitted::Pass(envelope) => self.cell.put::<M, How>(envelope),
            Admitted::Taken => Ok(()),
            Admitted::Refused(envelope, failure) => Err(Refused::for_good(envelope, failure)),
        }
    }

    /// The same for one that has passed all, and waits for room.
    pub(crate) async fn wait_behind<M, How>(&self, envelope: Envelope<M>) -> Result<(), Refused<M>>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        let direct = Direct::<_, A, How>::new(&self.cell);
        direct.line_up(envelope).await
    }

    /// Sends a message; if it can't be delivered, there is nobody to give it back to. Answers whether it is
    /// worth sending another: no more messages are taken once it ends.
    pub(crate) async fn tell_or_bury<M, How>(&self, message: M) -> bool
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        let Err(error) = self.tell(message).await else {
            return true;
        };
        let reason = match error.kind() {
            FailureKind::Full => DropReason::DropNewest,
            _ => DropReason::Stopped,
        };
        let stopped = error.kind() == FailureKind::Stopped;
        if let Some(message) = error.into_message() {
            self.cell.bury(Envelope::tell(message), reason);
        }
        !stopped
    }

    /// Sends a message and waits for the answer. See [`Ask`].
    #[inline]
    pub fn ask<M, How>(&self, message: M) -> Ask<'_, M, impl Route<M> + Clone + use<'_, A, M, How>>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        Ask::new(Direct::<_, A, How>::new(&self.cell), message)
    }

    /// The route to it, for routes that lead over it.
    #[inline]
    pub(crate) fn route<M, How>(&self) -> impl Route<M> + use<'_, A, M, How>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        Direct::<_, A, How>::new(&self.cell)
    }

    /// The same actor as a recipient of one message type.
    #[must_use]
    pub fn recipient<M, How>(&self) -> Recipient<M>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        let cell = Arc::clone(&self.cell);
        Recipient::new(Arc::new(Direct::<_, A, How>::new(cell)))
    }

    /// Lets the message in hand finish, then ends the actor; what is queued goes to dead letters (G11).
    pub fn stop(&self) {
        self.cell.signal(Control::Stop);
    }

    /// Refuses new messages from now on, handles what is queued, then ends the actor (G11).
    pub fn drain(&self) {
        self.cell.drain();
    }

    /// Drops the handler at its next `.await` and ends the actor (G11). Code that never yields can't be
    /// killed: it ends when it yields or returns.
    pub fn kill(&self) {
        self.cell.signal(Control::Kill);
    }

    /// Waits until the actor has truly ended: its value dropped, its mailbox given up (G12).
    ///
    /// # Cancel safety
    /// Dropping it changes nothing but that nobody waits.
    pub async fn wait(&self) -> ExitReason {
        let (tx, rx) = futures::channel::oneshot::channel();
        let _waits = Waits(self.cell.watch(Box::new(move |notice| {
            // The waiter may be gone; nobody else wants to know.
            let _ = tx.send(notice.reason);
        })));
        rx.await.unwrap_or(ExitReason::Stopped)
    }

    /// [`wait`](ActorRef::wait) for a thread that is no arbiter, which it blocks.
    ///
    /// # Errors
    /// [`BlockingError::OnArbiter`] on the thread of an arbiter, of any system: nothing there would go on
    /// meanwhile, and the actor itself might be among it.
    pub fn wait_blocking(&self) -> Result<ExitReason, BlockingError> {
        blocking::check(self.cell.system())?;
        Ok(executor::block_on(self.wait()))
    }

    /// Why it ended; `None` while it lives.
    #[must_use]
    pub fn exit_reason(&self) -> Option<ExitReason> {
        self.cell.exit()
    }
}

/// Ends the watch of somebody who waits no longer.
struct Waits(WatchHandle);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl<A: Actor> Watch for ActorRef<A> {
    fn watch(&self, on_end: OnEnd) -> WatchHandle {
        self.cell.watch(on_end)
    }

    fn watch_life(&self, on_event: OnLife) -> WatchHandle {
        self.cell.watch_life(on_event)
    }
}

impl<A: Actor> Clone for ActorRef<A> {
    fn clone(&self) -> Self {
        ActorRef {
            cell: Arc::clone(&self.cell),
        }
    }
}

impl<A: Actor> fmt::Debug for ActorRef<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActorRef({}{})", self.cell.label(), self.cell.id)
    }
}

/// Whoever takes messages of one type: an actor here, an exposed name in another process, a pool. The
/// program doesn't change; [`boundary`](Recipient::boundary) and the errors tell.
pub struct Recipient<M: Message> {
    route: Arc<dyn Route<M>>,
}

impl<M: Message> Recipient<M> {
    /// A recipient over a route. For those who write routes.
    #[must_use]
    pub fn new(route: Arc<dyn Route<M>>) -> Self {
        Recipient { route }
    }

    /// Who receives.
    #[must_use]
    pub fn id(&self) -> ActorId {
        self.route.id()
    }

    /// The receiver's name for people.
    #[must_use]
    pub fn label(&self) -> String {
        self.route.label()
    }

    /// What lies between the calling code and the receiver.
    #[must_use]
    pub fn boundary(&self) -> Boundary {
        self.route.boundary()
    }

    /// Sends a message, waiting for room. See [`Tell`].
    pub fn tell(&self, message: M) -> Tell<'_, M, &dyn Route<M>> {
        Tell::new(&*self.route, message)
    }

    /// Sends a message without waiting.
    ///
    /// # Errors
    /// Gives the message back if there is no room or the receiver has stopped (G6).
    pub fn try_tell(&self, message: M) -> Result<(), SendError<M>> {
        let mut envelope = Envelope::tell(message);
        stamp::hand_down(&mut envelope.meta);
        self.route.send(envelope).map_err(Refused::into_error)
    }

    /// Sends a message and waits for the answer. See [`Ask`].
    pub fn ask(&self, message: M) -> Ask<'_, M, &dyn Route<M>> {
        Ask::new(&*self.route, message)
    }

    pub(crate) fn into_route(self) -> Arc<dyn Route<M>> {
        self.route
    }

    /// The route itself: for layers that add metadata or another way back.
    #[must_use]
    pub fn route(&self) -> &Arc<dyn Route<M>> {
        &self.route
    }
}

impl<M: Message> Watch for Recipient<M> {
    fn watch(&self, on_end: OnEnd) -> WatchHandle {
        self.route.watch(on_end)
    }

    fn watch_life(&self, on_event: OnLife) -> WatchHandle {
        self.route.watch_life(on_event)
    }
}

impl<M: Message> Clone for Recipient<M> {
    fn clone(&self) -> Self {
        Recipient {
            route: Arc::clone(&self.route),
        }
    }
}

impl<M: Message> fmt::Debug for Recipient<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({}{})", self.label(), self.id())
    }
}

/// Equality, order and hash of references are those of the receiver's id.
macro_rules! by_id {
    ($name:ident, $param:ident: $bound:ident) => {
        impl<$param: $bound> PartialEq for $name<$param> {
            fn eq(&self, other: &Self) -> bool {
                self.id() == other.id()
            }
        }

        impl<$param: $bound> Eq for $name<$param> {}

        impl<$param: $bound> PartialOrd for $name<$param> {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl<$param: $bound> Ord for $name<$param> {
            fn cmp(&self, other: &Self) -> Ordering {
                self.id().cmp(&other.id())
            }
        }

        impl<$param: $bound> Hash for $name<$param> {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.id().hash(state);
            }
        }
    };
}

pub(crate) use by_id;

by_id!(ActorRef, A: Actor);
by_id!(Recipient, M: Message);

/// The route to an actor of this process, by any pointer to its cell.
struct Direct<P, A, How> {
    cell: P,
    how: PhantomData<fn() -> (A, How)>,
}

impl<P: Clone, A, How> Clone for Direct<P, A, How> {
    fn clone(&self) -> Self {
        Direct {
            cell: self.cell.clone(),
            how: PhantomData,
        }
    }
}

impl<P, A, How> Direct<P, A, How>
where
    P: Borrow<Arc<Cell<A>>> + Send + Sync,
    A: Actor,
    How: 'static,
{
    #[inline]
    fn new(cell: P) -> Self {
        Direct {
            cell,
            how: PhantomData,
        }
    }

    #[inline]
    fn cell(&self) -> &Arc<Cell<A>> {
        self.cell.borrow()
    }

    /// Takes a message past the admission to the mailbox, or to the actor itself.
    #[inline]
    fn send_on<M>(&self, envelope: Envelope<M>) -> Result<(), Refused<M>>
    where
        A: Receives<M, How>,
        M: Message,
    {
        let cell = self.cell();
        if cell.has_admissions() {
            return match cell.admit::<M, How>(envelope, 0) {
                Admitted::Pass(envelope) => self.send_admitted(envelope),
                Admitted::Taken => Ok(()),
                Admitted::Refused(envelope, failure) => Err(Refused::for_good(envelope, failure)),
            };
        }
        self.send_admitted(envelope)
    }

    #[inline]
    fn send_admitted<M>(&self, envelope: Envelope<M>) -> Result<(), Refused<M>>
    where
        A: Receives<M, How>,
        M: Message,
    {
        let cell = self.cell();
        if envelope.responder.expects_answer()
            && let Some(idle) = cell.idle_for_full::<M, How>()
        {
            cell.hand_off_full::<M, How>(idle, envelope);
            return Ok(());
        }
        cell.put::<M, How>(envelope)
    }

    /// Waits in line for room, no longer than the message's own deadline.
    async fn line_up<M>(&self, envelope: Envelope<M>) -> Result<(), Refused<M>>
    where
        A: Receives<M, How>,
        M: Message,
    {
        let cell = self.cell();
        let clock = cell.system().clock();
        let mut due = clock.sleep_until(envelope.meta.deadline.unwrap_or(Instant::FAR));
        let _blocked = Blocked {
            cell,
            since: clock.now(),
        };
        let mut push = cell.put_waiting::<M, How>(envelope);
        let waited = std::future::poll_fn(|cx| match Pin::new(&mut push).poll(cx) {
            Poll::Ready(waited) => Poll::Ready(Some(waited)),
            Poll::Pending => Pin::new(&mut due).poll(cx).map(|()| None),
        })
        .await;
        match waited {
            Some(Ok(schedule)) => {
                if schedule {
                    cell.schedule();
                }
                Ok(())
            }
            Some(Err(rejected)) => Err(cell.refuse(rejected)),
            None => match push.take_record() {
                None => Ok(()),
                Some(record) => {
                    let failure = Failure::new(FailureKind::DeadlineExceeded, Verdict::NotSent)
                        .with_detail(format!("waiting for room in {}", cell.label()));
                    Err(Refused::for_good(Opens::<A>::open(record), failure))
                }
            },
        }
    }
}

/// Counts the time that a sender waits for room, however that ends.
struct Blocked<'a, A: Actor> {
    cell: &'a Cell<A>,
    since: Instant,
}

impl<A: Actor> Drop for Blocked<'_, A> {
    fn drop(&mut self) {
        let now = self.cell.system().clock().now();
        self.cell.mailbox.count_blocked(now.since(self.since));
    }
}

impl<P, A, How> Watch for Direct<P, A, How>
where
    P: Borrow<Arc<Cell<A>>> + Send + Sync,
    A: Actor,
    How: 'static,
{
    fn watch(&self, on_end: OnEnd) -> WatchHandle {
        self.cell().watch(on_end)
    }

    fn watch_life(&self, on_event: OnLife) -> WatchHandle {
        self.cell().watch_life(on_event)
    }
}

impl<P, A, M, How> Route<M> for Direct<P, A, How>
where
    P: Borrow<Arc<Cell<A>>> + Send + Sync,
    A: Receives<M, How>,
    M: Message,
    How: 'static,
{
    fn id(&self) -> ActorId {
        self.cell().id
    }

    fn label(&self) -> String {
        self.cell().label().to_string()
    }

    #[inline]
    fn boundary(&self) -> Boundary {
        self.cell().boundary()
    }

    #[inline]
    fn system(&self) -> &System {
        self.cell().system()
    }

    #[inline]
    fn send(&self, mut envelope: Envelope<M>) -> Result<(), Refused<M>> {
        if stamp::is_on() {
            self.cell().stamp(&mut envelope);
        }
        #[cfg(feature = "test")]
        if let Some(faults) = self.cell().faults() {
            let direct = Direct::<Arc<Cell<A>>, A, How>::new(Arc::clone(self.cell()));
            return direct.send_faulty(faults, envelope);
        }
        self.send_on(envelope)
    }

    #[inline]
    fn send_lean(&self, message: M) -> Result<(), M> {
        self.cell().put_lean::<M, How>(message)
    }

    #[inline]
    fn ask_lean(&self, message: M, terms: AskTerms) -> Asked<M> {
        self.cell().ask_lean::<M, How>(message, terms)
    }

    fn wait_for_room(&self, envelope: Envelope<M>) -> BoxFuture<'_, Result<(), Refused<M>>> {
        Box::pin(self.line_up(envelope))
    }

    #[inline]
    fn waits_for(&self) -> Option<ActorId> {
        (!A::NEEDS_RESPONDER).then(|| self.cell().id)
    }

    fn downgrade(&self) -> Option<Arc<dyn WeakRoute<M>>> {
        Some(WeakDirect::<A, How>::new(self.cell()))
    }
}
