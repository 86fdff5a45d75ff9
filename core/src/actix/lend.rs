//! References of Callboard as recipients of actix.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, Waker};

use ::actix::dev::channel::channel;
use ::actix::dev::{MessageResponse, OneshotSender};
use ::actix::{Actor, Addr, AsyncContext, Context, Handler};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::check_executor;
use super::letter::OWED_ANSWERS;
use crate::actor_ref::Recipient;
use crate::counters::DropReason;
use crate::dead_letter::DeadLetter;
use crate::error::{FailureKind, SendError};
use crate::executor;
use crate::message::Message;
use crate::route::Route;
use crate::send::{Ask, Asking, Tell};
use crate::spawn::Placement;
use crate::system::StartError;

/// How many messages the mailbox of a lent recipient holds before `try_send` is refused; actix's default. Its
/// bound is as soft as every mailbox of actix is.
const CAPACITY: usize = 16;

/// Lends a Callboard reference to code that speaks actix: a recipient of the same message, so that the code
/// stays as it is.
///
/// Behind it is a small actix actor on an arbiter of the receiver's system: the one of the calling code if it
/// runs on one, else the next in turn. It passes messages on in order (G2):
///
/// - `do_send` and `try_send` become a tell. Without room at the receiver it waits, and takes nothing more
///   meanwhile: its own mailbox fills, and `try_send` answers `Full` with the message. (`do_send` goes past every
///   bound of actix.) What can't be delivered becomes a dead letter.
/// - `send` becomes an ask, with the deadline that asks have by default (G9). Up to
///   [`OWED_ANSWERS`] wait for their answer at a time. A failure is `MailboxError::Closed` to the
///   sender, because actix has no other word for it: [`to_actix_checked`] tells more. A message that
///   came back becomes a dead letter (G6). Dropping the request withdraws the ask.
///
/// It lives as long as somebody holds a clone. It stays valid over restarts of the receiver (G13); when the
/// receiver has ended, `connected()` goes on to say `true`, and messages fail one by one.
///
/// What it costs: actix's queue and box for each message, its way back for a `send`, and at the receiver what a
/// tell or an ask costs. Between threads that is one hop more than the reference itself, none if the receiver
/// lives on the same arbiter as the forwarder.
///
/// # Errors
/// [`StartError::NoActix`] on the simulating executor, [`StartError::ShutDown`].
///
/// # Example
/// See the [module](crate::actix).
pub fn to_actix<M>(recipient: &Recipient<M>) -> Result<::actix::Recipient<M>, StartError>
where
    M: Message + ::actix::Message<Result = <M as Message>::Reply>,
{
    Ok(start(recipient)?.recipient())
}

/// [`to_actix`] with the failures: each message is wrapped in [`Checked`], and a `send` is answered with what an
/// ask would be answered with, the verdict and the returned message included.
///
/// # Errors
/// As [`to_actix`].
pub fn to_actix_checked<M: Message>(
    recipient: &Recipient<M>,
) -> Result<::actix::Recipient<Checked<M>>, StartError> {
    Ok(start(recipient)?.recipient())
}

/// A Callboard message as actix sends it, if the sender wants to know how it ended: see [`to_actix_checked`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked<M>(pub M);

impl<M: Message> ::actix::Message for Checked<M> {
    type Result = Result<M::Reply, SendError<M>>;
}

fn start<M: Message>(recipient: &Recipient<M>) -> Result<Addr<Forwarder<M>>, StartError> {
    let route = Arc::clone(recipient.route());
    let system = route.system().clone();
    check_executor(&system)?;
    let here = executor::here().filter(|here| here.system.is(&system));
    let placement = here.map_or(Placement::Spread, |here| {
        Placement::Pinned(here.arbiter.index())
    });
    let (tx, rx) = channel(CAPACITY);
    let forwarder = Forwarder {
        route,
        owed: Arc::new(Semaphore::new(OWED_ANSWERS)),
    };
    let run = move || Context::with_receiver(rx).into_future(forwarder);
    if system.is_closed() || !system.spawn(placement, run) {
        return Err(StartError::ShutDown);
    }
    Ok(Addr::new(tx))
}

/// Passes on what it gets.
struct Forwarder<M: Message> {
    route: Arc<dyn Route<M>>,
    /// Places for asks that wait for their answer.
    owed: Arc<Semaphore>,
}

// Nothing in it is pinned.
impl<M: Message> Unpin for Forwarder<M> {}

impl<M: Message> Actor for Forwarder<M> {
    type Context = Context<Self>;
}

impl<M> Handler<M> for Forwarder<M>
where
    M: Message + ::actix::Message<Result = <M as Message>::Reply>,
{
    type Result = Relay<M>;

    fn handle(&mut self, message: M, _: &mut Context<Self>) -> Relay<M> {
        self.relay(message)
    }
}

impl<M: Message> Handler<Checked<M>> for Forwarder<M> {
    type Result = Relay<M>;

    fn handle(&mut self, Checked(message): Checked<M>, _: &mut Context<Self>) -> Relay<M> {
        self.relay(message)
    }
}

impl<M: Message> Forwarder<M> {
    fn relay(&self, message: M) -> Relay<M> {
        Relay {
            route: Arc::clone(&self.route),
            owed: Arc::clone(&self.owed),
            message,
        }
    }
}

/// A message to be passed on, once it is known whether somebody waits for an answer.
struct Relay<M: Message> {
    route: Arc<dyn Route<M>>,
    owed: Arc<Semaphore>,
    message: M,
}

impl<M> MessageResponse<Forwarder<M>, M> for Relay<M>
where
    M: Message + ::actix::Message<Result = <M as Message>::Reply>,
{
    fn handle(self, ctx: &mut Context<Forwarder<M>>, tx: Option<OneshotSender<M::Reply>>) {
        match tx {
            Some(tx) => self.ask(ctx, Unchecked(tx)),
            None => self.tell(ctx),
        }
    }
}

impl<M: Message> MessageResponse<Forwarder<M>, Checked<M>> for Relay<M> {
    fn handle(
        self,
        ctx: &mut Context<Forwarder<M>>,
        tx: Option<OneshotSender<Result<M::Reply, SendError<M>>>>,
    ) {
        match tx {
            Some(tx) => self.ask(ctx, tx),
            None => self.tell(ctx),
        }
    }
}

impl<M: Message> Relay<M> {
    fn tell(self, ctx: &mut Context<Forwarder<M>>) {
        let route = Arc::clone(&self.route);
        first(ctx, async move {
            if let Err(error) = Tell::new(self.route, self.message).await {
                bury(&*route, error);
            }
        });
    }

    fn ask(self, ctx: &mut Context<Forwarder<M>>, back: impl WayBack<M>) {
        let route = Arc::clone(&self.route);
        first(ctx, async move {
            let mut asked = Asked {
                // It is never closed.
                _place: self.owed.acquire_owned().await.ok(),
                asking: Ask::new(self.route, self.message).into_future(),
                back,
            };
            match asked.send().await {
                Some(Ok(end)) => asked.back.end(&*route, end),
                Some(Err(Gone)) => {}
                None => {
                    let waits = async move {
                        if let Ok(end) = asked.end().await {
                            asked.back.end(&*route, end);
                        }
                    };
                    // The forwarder runs on an arbiter, which it takes for this, too.
                    if let Some(here) = executor::here() {
                        here.arbiter.spawn_here(Box::pin(waits));
                    }
                }
            }
        });
    }
}

/// Does something before the forwarder takes its next message: now, if that takes no waiting.
fn first<M: Message>(ctx: &mut Context<Forwarder<M>>, todo: impl Future<Output = ()> + 'static) {
    let mut todo = Box::pin(todo);
    let mut cx = task::Context::from_waker(Waker::noop());
    if todo.as_mut().poll(&mut cx).is_pending() {
        ctx.wait(::actix::fut::wrap_future(todo));
    }
}

/// The asker gave up.
struct Gone;

type End<M> = Result<<M as Message>::Reply, SendError<M>>;

/// An ask for somebody who waits in actix.
struct Asked<M: Message, B> {
    asking: Asking<'static, M, Arc<dyn Route<M>>>,
    back: B,
    _place: Option<OwnedSemaphorePermit>,
}

impl<M: Message, B: WayBack<M>> Asked<M, B> {
    /// Waits until the message has been handed over: then `None`. Or until it is over before.
    async fn send(&mut self) -> Option<Result<End<M>, Gone>> {
        std::future::poll_fn(|cx| match self.poll(cx) {
            Poll::Ready(end) => Poll::Ready(Some(end)),
            Poll::Pending if self.asking.is_sent() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Waits for the end.
    async fn end(&mut self) -> Result<End<M>, Gone> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<End<M>, Gone>> {
        if let Poll::Ready(end) = Pin::new(&mut self.asking).poll(cx) {
            return Poll::Ready(Ok(end));
        }
        self.back.poll_gone(cx).map(|()| Err(Gone))
    }
}

/// The way back to an asker in actix.
trait WayBack<M: Message>: 'static {
    fn end(self, route: &dyn Route<M>, end: End<M>);

    /// Ready when nobody waits any more.
    fn poll_gone(&mut self, cx: &mut task::Context<'_>) -> Poll<()>;
}

impl<M: Message> WayBack<M> for OneshotSender<End<M>> {
    fn end(self, route: &dyn Route<M>, end: End<M>) {
        // Who has just gone can't be told; a message that came back is nobody's then.
        if let Err(Err(error)) = self.send(end) {
            bury(route, error);
        }
    }

    fn poll_gone(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        self.poll_closed(cx)
    }
}

/// To one who knows the reply only: a failure drops the way back.
struct Unchecked<R>(OneshotSender<R>);

impl<M: Message> WayBack<M> for Unchecked<M::Reply> {
    fn end(self, route: &dyn Route<M>, end: End<M>) {
        match end {
            // An error means that the asker has just gone.
            Ok(reply) => drop(self.0.send(reply)),
            Err(error) => bury(route, error),
        }
    }

    fn poll_gone(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        self.0.poll_closed(cx)
    }
}

/// Gives a message up that came back to somebody who has nobody to give it to.
fn bury<M: Message>(route: &dyn Route<M>, error: SendError<M>) {
    let (failure, message) = error.into_parts();
    let reason = match failure.kind() {
        FailureKind::DeadlineExceeded => DropReason::Expired,
        FailureKind::Full => DropReason::DropNewest,
        FailureKind::Withdrawn => DropReason::Withdrawn,
        FailureKind::Stopped => DropReason::Stopped,
        _ => DropReason::Undelivered,
    };
    if let Some(message) = message {
        route.system().dead_letters().push(DeadLetter {
            at: route.system().clock().now(),
            target: route.label(),
            message_type: std::any::type_name::<M>(),
            reason,
            key: None,
            attempts: Vec::new(),
            message: Box::new(message),
        });
    }
}

impl<M: Message> fmt::Debug for Forwarder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Forwarder({})", self.route.label())
    }
}
