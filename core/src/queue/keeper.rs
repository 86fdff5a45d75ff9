//! The actor of a queue: it keeps the time, and with it the queue ends.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use futures::future::BoxFuture;
use futures::task::AtomicWaker;

use super::dead::Dead;
use super::local::{Local, stopped};
use crate::actor::Actor;
use crate::actor_ref::ActorRef;
use crate::context::Context;
use crate::id::ActorId;
use crate::system::System;

/// Wakes the keeper when something is due before it would have looked.
#[derive(Default)]
pub(super) struct Alarm {
    rung: AtomicBool,
    keeper: AtomicWaker,
}

impl Alarm {
    pub(super) fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        self.keeper.wake();
    }
}

pub(super) struct Keeper<T: Send + 'static> {
    local: Arc<Local<T>>,
    dead: Arc<Local<Dead<T>>>,
}

impl<T: Send + 'static> Keeper<T> {
    pub(super) fn new(local: Arc<Local<T>>, dead: Arc<Local<Dead<T>>>) -> Self {
        Keeper { local, dead }
    }
}

impl<T: Send + 'static> Actor for Keeper<T> {
    async fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.spawn(keep_time(Arc::clone(&self.local)));
        ctx.spawn(keep_time(Arc::clone(&self.dead)));
    }
}

/// The actor of a queue, for those who end it or wait for its end. It doesn't name the type of the items, so that these
/// may hold a reference to their own queue.
pub(super) trait Owner: Send + Sync {
    fn id(&self) -> ActorId;
    fn system(&self) -> &System;
    fn stop(&self);
    fn wait(&self) -> BoxFuture<'_, ()>;
}

impl<T: Send + 'static> Owner for ActorRef<Keeper<T>> {
    fn id(&self) -> ActorId {
        ActorRef::id(self)
    }

    fn system(&self) -> &System {
        ActorRef::system(self)
    }

    fn stop(&self) {
        ActorRef::stop(self);
    }

    fn wait(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            ActorRef::wait(self).await;
        })
    }
}

/// In place of the actor of a queue that was to be opened when its system had ended.
pub(super) struct NoOwner {
    id: ActorId,
    system: System,
}

impl NoOwner {
    pub(super) fn new(system: &System) -> Self {
        NoOwner {
            id: ActorId::fresh(),
            system: system.clone(),
        }
    }
}

impl Owner for NoOwner {
    fn id(&self) -> ActorId {
        self.id
    }

    fn system(&self) -> &System {
        &self.system
    }

    fn stop(&self) {}

    fn wait(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

async fn keep_time<T: Send + 'static>(local: Arc<Local<T>>) {
    loop {
        let due = local.tick();
        let mut sleep = pin!(local.clock.sleep_until(due));
        poll_fn(|cx| {
            local.alarm.keeper.register(cx.waker());
            if local.alarm.rung.swap(false, Ordering::AcqRel) {
                return Poll::Ready(());
            }
            sleep.as_mut().poll(cx)
        })
        .await;
    }
}

impl<T: Send + 'static> Drop for Keeper<T> {
    /// However the queue ends, its items go to dead letters and whoever waits is told.
    fn drop(&mut self) {
        let system = self.local.end(&stopped(&self.local.name));
        if let Some(system) = system {
            system.queues().forget_ended(&self.local.name);
        }
    }
}
