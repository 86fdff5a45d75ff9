//! What one actor showed last, and the one question that may wait in its mailbox.

use std::marker::PhantomData;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, Either, Shared, select};
use parking_lot::Mutex;

use super::{ByObserving, Look, Observable, Observation, ObservedState, render};
use crate::actor_ref::ActorRef;
use crate::cell::AnyCell;
use crate::clock::{Clock, Instant};
use crate::weak::WeakRef;

/// The question that waits, for all who want to know. `None` is the answer of an actor that gave none.
type Question = Shared<BoxFuture<'static, Option<Arc<ObservedState>>>>;

pub(super) struct Last<A: Observable> {
    actor: WeakRef<A>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    state: Option<Arc<ObservedState>>,
    /// Asked, and not known to be answered.
    question: Option<Question>,
}

impl Known {
    /// Notes an answer, unless a later one is known.
    fn note(&mut self, seen: Arc<ObservedState>) {
        let is_newer = |known: &Arc<ObservedState>| known.at > seen.at;
        if !self.state.as_ref().is_some_and(is_newer) {
            self.state = Some(seen);
        }
    }
}

impl<A: Observable> Last<A> {
    pub(super) fn of(actor: &ActorRef<A>) -> Self {
        Last {
            actor: actor.downgrade(),
            known: Mutex::default(),
        }
    }

    pub(super) async fn observe(&self, clock: &Clock, due: Instant) -> Option<Observation> {
        let actor = self.actor.upgrade()?;
        let question = self.ask(&actor);
        let answer = match select(question.clone(), clock.sleep_until(due)).await {
            Either::Left((answer, _)) => {
                self.answered(&question);
                answer
            }
            Either::Right(_) => None,
        };
        if !actor.is_alive() && answer.is_none() {
            return None;
        }
        let mut known = self.known.lock();
        let is_fresh = answer.is_some();
        if let Some(seen) = answer {
            known.note(seen);
        }
        let state = known.state.clone();
        drop(known);
        Some(Observation {
            actor: AnyCell::snapshot(&**actor.cell()),
            state,
            is_fresh,
        })
    }

    /// The question that waits, or a new one. An answer to one of before, that nobody waited for any more,
    /// is what is known last.
    fn ask(&self, actor: &ActorRef<A>) -> Question {
        let before = self.known.lock().question.clone();
        // Outside the lock: the first poll of a question may run the actor itself.
        let answered = before
            .as_ref()
            .map(|question| question.clone().now_or_never());
        let mut known = self.known.lock();
        match (before, answered) {
            (Some(before), Some(None)) => return before,
            (Some(before), Some(Some(answer))) => {
                if let Some(seen) = answer {
                    known.note(seen);
                }
                if let Some(other) = known.question.as_ref().filter(|now| !now.ptr_eq(&before)) {
                    return other.clone();
                }
            }
            _ => {
                if let Some(other) = &known.question {
                    return other.clone();
                }
            }
        }
        let question = question(actor.clone());
        known.question = Some(question.clone());
        question
    }

    fn answered(&self, question: &Question) {
        let mut known = self.known.lock();
        let mut done = None;
        if known
            .question
            .as_ref()
            .is_some_and(|now| now.ptr_eq(question))
        {
            done = known.question.take();
        }
        drop(known);
        drop(done);
    }
}

/// Asks without a deadline, since who waits has one, and shows the answer where it is waited for, not on the
/// actor's time.
fn question<A: Observable>(actor: ActorRef<A>) -> Question {
    let ask = async move {
        let look = actor.ask::<_, ByObserving>(Look::<A>(PhantomData));
        let (at, state) = look.no_deadline().await.ok()?;
        Some(Arc::new(render::show(at, state)))
    };
    ask.boxed().shared()
}
