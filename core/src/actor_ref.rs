//! References: to an actor of a known type, and to whoever takes messages of one type.

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
use crate::boundary::{Boundary, Verdict};
use crate::cell::Cell;
use crate::clock::Instant;
use crate::counters::DropReason;
use crate::envelope::Envelope;
use crate::error::{Failure, FailureKind, SendError};
use crate::id::{ActorId, Incarnation};
use crate::letter::Letter;
use crate::mailbox::{Control, MailboxState};
use crate::message::Message;
use crate::route::{Refused, Route};
use crate::send::{Ask, Tell};
use crate::system::System;
use crate::watch::{ExitReason, OnEnd, Watch};

/// A reference to an actor of this process. It can be cloned, sent and used from any thread and any
/// runtime, or none, and stays valid over restarts (G13).
pub struct ActorRef<A: Actor> {
    cell: Arc<Cell<A>>,
}

impl<A: Actor> ActorRef<A> {
    pub(crate) fn new(cell: Arc<Cell<A>>) -> Self {
        ActorRef { cell }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> ActorId {
        self.cell.id
    }

    /// Its name, or its type's.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.cell.label
    }

    /// What lies between the calling code and the actor.
    #[must_use]
    pub fn boundary(&self) -> Boundary {
        self.cell.boundary()
    }

    /// The arbiter it lives on.
    #[must_use]
    pub fn arbiter(&self) -> usize {
        self.cell.arbiter
    }

    /// How full its mailbox is.
    #[must_use]
    pub fn mailbox(&self) -> MailboxState {
        self.cell.mailbox.state()
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
    pub fn tell<M, How>(&self, message: M) -> Tell<M>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        self.recipient().tell(message)
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
        self.recipient().try_tell(message)
    }

    /// Puts a message into room of its own, past the bound: for what was promised room before.
    pub(crate) fn tell_reserved<M, How>(&self, message: M)
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        let letter = Letter::<M, How>::boxed(Envelope::tell(message));
        if let Err(record) = self.cell.mailbox.push_reserved(letter) {
            record.discard(DropReason::Stopped, &self.cell);
        }
    }

    /// Sends a message and waits for the answer. See [`Ask`].
    pub fn ask<M, How>(&self, message: M) -> Ask<M>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        self.recipient().ask(message)
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
        Recipient::new(Arc::new(CellRoute::<A, How> {
            cell,
            how: PhantomData,
        }))
    }

    /// Lets the message in hand finish, then ends the actor; what is queued goes to dead letters (G11).
    pub fn stop(&self) {
        self.cell.mailbox.control(Control::Stop);
    }

    /// Refuses new messages from now on, handles what is queued, then ends the actor (G11).
    pub fn drain(&self) {
        self.cell.mailbox.drain();
    }

    /// Drops the handler at its next `.await` and ends the actor (G11). Code that never yields can't be
    /// killed: it ends when it yields or returns.
    pub fn kill(&self) {
        self.cell.mailbox.control(Control::Kill);
    }

    /// Waits until the actor has truly ended: its value dropped, its mailbox given up.
    pub async fn wait(&self) -> ExitReason {
        let (tx, rx) = futures::channel::oneshot::channel();
        self.cell.watch(Box::new(move |notice| {
            // The waiter may be gone; nobody else wants to know.
            let _ = tx.send(notice.reason);
        }));
        rx.await.unwrap_or(ExitReason::Stopped)
    }

    /// Why it ended; `None` while it lives.
    #[must_use]
    pub fn exit_reason(&self) -> Option<ExitReason> {
        self.cell.exit()
    }
}

impl<A: Actor> Watch for ActorRef<A> {
    fn watch(&self, on_end: OnEnd) {
        self.cell.watch(on_end);
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
        write!(f, "ActorRef({}{})", self.cell.label, self.cell.id)
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
    pub fn tell(&self, message: M) -> Tell<M> {
        Tell::new(Arc::clone(&self.route), message)
    }

    /// Sends a message without waiting.
    ///
    /// # Errors
    /// Gives the message back if there is no room or the receiver has stopped (G6).
    pub fn try_tell(&self, message: M) -> Result<(), SendError<M>> {
        self.route
            .send(Envelope::tell(message))
            .map_err(Refused::into_error)
    }

    /// Sends a message and waits for the answer. See [`Ask`].
    pub fn ask(&self, message: M) -> Ask<M> {
        Ask::new(Arc::clone(&self.route), message)
    }

    /// The route itself: for layers that add metadata or another way back.
    #[must_use]
    pub fn route(&self) -> &Arc<dyn Route<M>> {
        &self.route
    }
}

impl<M: Message> Watch for Recipient<M> {
    fn watch(&self, on_end: OnEnd) {
        self.route.watch(on_end);
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

by_id!(ActorRef, A: Actor);
by_id!(Recipient, M: Message);

/// The route to an actor of this process.
struct CellRoute<A: Actor, How> {
    cell: Arc<Cell<A>>,
    how: PhantomData<fn() -> How>,
}

impl<A: Actor, How: 'static> CellRoute<A, How> {
    /// Waits in line for room, no longer than the message's own deadline.
    async fn wait_for_room<M>(&self, envelope: Envelope<M>) -> Result<(), Refused<M>>
    where
        A: Receives<M, How>,
        M: Message,
    {
        let clock = self.cell.system().clock();
        let mut due = clock.sleep_until(envelope.meta.deadline.unwrap_or(Instant::FAR));
        let letter = Letter::<M, How>::boxed(envelope);
        let mut push = self.cell.mailbox.push_waiting(letter);
        let waited = std::future::poll_fn(|cx| match Pin::new(&mut push).poll(cx) {
            Poll::Ready(waited) => Poll::Ready(Some(waited)),
            Poll::Pending => Pin::new(&mut due).poll(cx).map(|()| None),
        })
        .await;
        match waited {
            Some(waited) => waited.map_err(|rejected| self.cell.refuse::<M, How>(rejected)),
            None => match push.take_record() {
                None => Ok(()),
                Some(record) => {
                    let failure = Failure::new(FailureKind::DeadlineExceeded, Verdict::NotSent)
                        .with_detail(format!("waiting for room in {}", self.cell.label));
                    Err(Refused::for_good(Letter::<M, How>::unbox(record), failure))
                }
            },
        }
    }
}

impl<A: Actor, How> Watch for CellRoute<A, How> {
    fn watch(&self, on_end: OnEnd) {
        self.cell.watch(on_end);
    }
}

impl<A, M, How> Route<M> for CellRoute<A, How>
where
    A: Receives<M, How>,
    M: Message,
    How: 'static,
{
    fn id(&self) -> ActorId {
        self.cell.id
    }

    fn label(&self) -> String {
        self.cell.label.to_string()
    }

    fn boundary(&self) -> Boundary {
        self.cell.boundary()
    }

    fn system(&self) -> &System {
        self.cell.system()
    }

    fn send(&self, envelope: Envelope<M>) -> Result<(), Refused<M>> {
        match self.cell.admit(envelope) {
            Admitted::Pass(envelope) => self.cell.put::<M, How>(envelope),
            Admitted::Taken => Ok(()),
            Admitted::Refused(envelope, failure) => Err(Refused::for_good(envelope, failure)),
        }
    }

    fn send_waiting(&self, envelope: Envelope<M>) -> BoxFuture<'_, Result<(), Refused<M>>> {
        Box::pin(async move {
            let envelope = match self.cell.admit(envelope) {
                Admitted::Pass(envelope) => envelope,
                Admitted::Taken => return Ok(()),
                Admitted::Refused(envelope, failure) => {
                    return Err(Refused::for_good(envelope, failure));
                }
            };
            let refused = match self.cell.put::<M, How>(envelope) {
                Err(refused) if refused.may_wait => refused,
                done => return done,
            };
            self.wait_for_room(refused.envelope).await
        })
    }
}
