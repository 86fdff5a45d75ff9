//! The route over a pool: one of its workers, or room anywhere.

use std::borrow::Borrow;
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures::future::BoxFuture;

use super::Held;
use super::roster::{Roster, Table};
use crate::actor::{Actor, Receives};
use crate::actor_ref::Recipient;
use crate::boundary::{Boundary, Verdict};
use crate::clock::Instant;
use crate::envelope::Envelope;
use crate::error::{Failure, FailureKind, SendError};
use crate::id::ActorId;
use crate::mailbox::Claimed;
use crate::message::Message;
use crate::route::{AskTerms, Asked, Refused, Route, WeakRoute};
use crate::system::System;
use crate::watch::{OnEnd, Watch, WatchHandle};

/// The route to a pool, by any pointer to what holds it.
pub(super) struct Pooled<P, A, How> {
    held: P,
    how: PhantomData<fn() -> (A, How)>,
}

impl<P: Clone, A, How> Clone for Pooled<P, A, How> {
    fn clone(&self) -> Self {
        Pooled {
            held: self.held.clone(),
            how: PhantomData,
        }
    }
}

/// What ends the wait for room.
enum Waited {
    /// The worker with that index has some.
    Room(usize),
    /// Workers came or went: look again.
    Changed,
    Late,
}

impl<P, A, How> Pooled<P, A, How>
where
    P: Borrow<Arc<Held<A>>> + Send + Sync,
    A: Actor,
    How: 'static,
{
    pub(super) fn new(held: P) -> Self {
        Pooled {
            held,
            how: PhantomData,
        }
    }

    fn held(&self) -> &Arc<Held<A>> {
        self.held.borrow()
    }

    fn roster(&self) -> &Roster<A> {
        &self.held().roster
    }

    pub(super) fn try_tell<M>(&self, message: M) -> Result<(), SendError<M>>
    where
        A: Receives<M, How>,
        M: Message,
    {
        self.send_lean(message).or_else(|message| {
            self.send(Envelope::tell(message))
                .map_err(Refused::into_error)
        })
    }

    /// Offers a message to all workers of a table, the chosen one first.
    fn offer<M>(&self, table: &Table<A>, envelope: Envelope<M>) -> Result<(), Refused<M>>
    where
        A: Receives<M, How>,
        M: Message,
    {
        let mut refused = Refused::for_good(envelope, self.stopped());
        if table.is_empty() {
            return Err(refused);
        }
        let first = self.roster().choose(table);
        for offset in 0..table.len() {
            let worker = &table[(first + offset) % table.len()];
            match worker.actor.route::<M, How>().send(refused.envelope) {
                Ok(()) => {
                    self.roster().count_accepted();
                    return Ok(());
                }
                // Who has retired since says no for good; who is full may have room later.
                Err(other) if other.may_wait || refused.may_wait => {
                    let full = Failure::new(FailureKind::Full, Verdict::NotExecuted);
                    refused = Refused {
                        envelope: other.envelope,
                        failure: full.with_detail(self.roster().label().to_string()),
                        may_wait: true,
                    };
                }
                Err(other) => refused.envelope = other.envelope,
            }
        }
        Err(refused)
    }

    fn stopped(&self) -> Failure {
        Failure::new(FailureKind::Stopped, Verdict::NotExecuted)
            .with_detail(self.roster().label().to_string())
    }

    /// Waits for room in any worker, no longer than the message's own deadline.
    async fn line_up<M>(&self, mut envelope: Envelope<M>) -> Result<(), Refused<M>>
    where
        A: Receives<M, How>,
        M: Message,
    {
        let roster = self.roster();
        let deadline = envelope.meta.deadline.unwrap_or(Instant::FAR);
        let mut due = roster.system().clock().sleep_until(deadline);
        let _counted = InLine::enter(roster.waiting());
        loop {
            // Listens before it looks.
            let mut changed = pin!(roster.changed());
            envelope = match self.send(envelope) {
                Err(refused) if refused.may_wait => refused.envelope,
                sent => return sent,
            };
            let table = roster.table();
            let cells = table.iter().map(|worker| worker.actor.cell());
            let mut claims: Vec<_> = cells.map(|cell| Some(cell.mailbox.claim())).collect();
            let waited = std::future::poll_fn(|cx: &mut Context<'_>| {
                for (at, slot) in claims.iter_mut().enumerate() {
                    let Some(claim) = slot else { continue };
                    match claim.poll_room(cx) {
                        Poll::Ready(Claimed::Room) => return Poll::Ready(Waited::Room(at)),
                        // It retires, and the table has changed or is about to.
                        Poll::Ready(Claimed::Closed) => *slot = None,
                        Poll::Pending => {}
                    }
                }
                let hopeless = claims.iter().all(Option::is_none);
                if hopeless || changed.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Waited::Changed);
                }
                Pin::new(&mut due).poll(cx).map(|()| Waited::Late)
            })
            .await;
            match waited {
                Waited::Room(at) => {
                    let Some(claim) = claims.swap_remove(at) else {
                        continue;
                    };
                    let worker = &table[at];
                    let cell = worker.actor.cell();
                    match cell.put_claimed::<M, How>(claim, envelope) {
                        Ok(()) => {
                            self.roster().count_accepted();
                            return Ok(());
                        }
                        // It has retired since.
                        Err(refused) => envelope = refused.envelope,
                    }
                }
                Waited::Changed => {}
                Waited::Late => {
                    let why = format!("waiting for room in {}", roster.label());
                    let late = Failure::new(FailureKind::DeadlineExceeded, Verdict::NotSent);
                    return Err(Refused::for_good(envelope, late.with_detail(why)));
                }
            }
        }
    }
}

impl<P, A, How> Watch for Pooled<P, A, How>
where
    P: Borrow<Arc<Held<A>>> + Send + Sync,
    A: Actor,
    How: 'static,
{
    fn watch(&self, on_end: OnEnd) -> WatchHandle {
        self.held().keeper.watch(on_end)
    }
}

impl<P, A, M, How> Route<M> for Pooled<P, A, How>
where
    P: Borrow<Arc<Held<A>>> + Send + Sync,
    A: Receives<M, How>,
    M: Message,
    How: 'static,
{
    fn id(&self) -> ActorId {
        self.held().keeper.id()
    }

    fn label(&self) -> String {
        self.roster().label().to_string()
    }

    /// As far as any worker may be.
    fn boundary(&self) -> Boundary {
        Boundary::SameProcess
    }

    fn system(&self) -> &System {
        self.roster().system()
    }

    fn send(&self, envelope: Envelope<M>) -> Result<(), Refused<M>> {
        // The table may be an old one by the time it is used. The first workers of a pool are never retired
        // before it ends, so that it is never one of which all say no for good.
        self.offer(&self.roster().table(), envelope)
    }

    fn send_lean(&self, message: M) -> Result<(), M> {
        let roster = self.roster();
        let table = roster.table();
        if table.is_empty() {
            return Err(message);
        }
        let worker = &table[roster.choose(&table)];
        let sent = worker.actor.route::<M, How>().send_lean(message);
        match &sent {
            Ok(()) => roster.count_accepted(),
            Err(_) => roster.give_turn_back(),
        }
        sent
    }

    fn ask_lean(&self, message: M, terms: AskTerms) -> Asked<M> {
        let roster = self.roster();
        let table = roster.table();
        if table.is_empty() {
            return Asked::NotYet(message);
        }
        let worker = &table[roster.choose(&table)];
        let asked = worker.actor.route::<M, How>().ask_lean(message, terms);
        match &asked {
            Asked::NotYet(_) => roster.give_turn_back(),
            Asked::Ended(_) | Asked::Waits(..) => roster.count_accepted(),
        }
        asked
    }

    fn wait_for_room(&self, envelope: Envelope<M>) -> BoxFuture<'_, Result<(), Refused<M>>> {
        Box::pin(self.line_up(envelope))
    }

    fn downgrade(&self) -> Option<Arc<dyn WeakRoute<M>>> {
        Some(Arc::new(WeakPooled::<A, How> {
            held: Arc::downgrade(self.held()),
            how: PhantomData,
        }))
    }
}

/// To a pool, without holding it.
struct WeakPooled<A: Actor, How> {
    held: Weak<Held<A>>,
    how: PhantomData<fn() -> How>,
}

impl<A, M, How> WeakRoute<M> for WeakPooled<A, How>
where
    A: Receives<M, How>,
    M: Message,
    How: 'static,
{
    fn upgrade(&self) -> Option<Arc<dyn Route<M>>> {
        let held = self.held.upgrade()?;
        if held.keeper.exit_reason().is_some() {
            return None;
        }
        let pool = super::Pool { held };
        let recipient: Recipient<M> = pool.recipient::<M, How>();
        Some(recipient.into_route())
    }
}

/// Counts a sender that waits, however that ends.
struct InLine<'a>(&'a AtomicUsize);

impl<'a> InLine<'a> {
    fn enter(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        InLine(waiting)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
