//! The loop of one incarnation: start, take what is next, end (G1, G4, G5, G10, G11).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;

use futures::FutureExt;

use crate::actor::{Actor, StartFailure};
use crate::cell::Cell;
use crate::context::Context;
use crate::current;
use crate::executor;
use crate::letter::{Record, Turn, panic_text};
use crate::mailbox::{Control, Next};
use crate::watch::ExitReason;

/// How many messages an actor handles before others of its thread get a turn (G5).
const TURN_BUDGET: u32 = 64;

/// How an incarnation ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It never handled a message: the factory or `starting` failed.
    StartFailed(String),
    /// It ran, and ended for this reason.
    Ran(ExitReason),
}

impl Ended {
    pub(crate) fn into_reason(self) -> ExitReason {
        match self {
            Ended::StartFailed(why) => ExitReason::Failed(why),
            Ended::Ran(reason) => reason,
        }
    }
}

/// Runs one incarnation to its true end: when this returns, the actor's value is gone and its tasks are
/// cancelled. The mailbox stays as it is.
pub(crate) async fn run<A: Actor>(
    cell: Arc<Cell<A>>,
    make: impl FnOnce() -> A,
    on_started: impl FnOnce(),
) -> Ended {
    let mut actor = match catch_unwind(AssertUnwindSafe(make)) {
        Ok(actor) => actor,
        Err(payload) => return Ended::StartFailed(panic_text(payload.as_ref())),
    };
    let mut ctx = Context::new(Arc::clone(&cell));
    let ended = match start(&cell, &mut actor, &mut ctx).await {
        Err(ended) => ended,
        Ok(()) => {
            on_started();
            let reason = serve(&cell, &mut actor, &mut ctx).await;
            if reason.is_normal() {
                farewell(&cell, &mut actor, &reason).await;
            }
            Ended::Ran(reason)
        }
    };
    ctx.cancel_tasks();
    drop_fenced(&cell, actor);
    ended
}

async fn start<A: Actor>(cell: &Cell<A>, actor: &mut A, ctx: &mut Context<A>) -> Result<(), Ended> {
    let starting = async { actor.starting(ctx).await };
    let mut starting = Box::pin(AssertUnwindSafe(starting).catch_unwind());
    let started = std::future::poll_fn(|cx| match cell.mailbox.poll_kill(cx) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => starting.as_mut().poll(cx).map(Some),
    })
    .await;
    drop(starting);
    match started {
        Some(Ok(Ok(()))) => match ctx.take_failure() {
            None => Ok(()),
            Some(why) => Err(Ended::StartFailed(why)),
        },
        Some(Ok(Err(failure))) => Err(Ended::StartFailed(StartFailure::to_string(&failure))),
        Some(Err(payload)) => Err(Ended::StartFailed(panic_text(payload.as_ref()))),
        None => Err(Ended::Ran(ExitReason::Killed)),
    }
}

async fn serve<A: Actor>(cell: &Cell<A>, actor: &mut A, ctx: &mut Context<A>) -> ExitReason {
    let mut budget = TURN_BUDGET;
    loop {
        match std::future::poll_fn(|cx| cell.mailbox.poll_next(cx)).await {
            Next::Control(Control::Kill) => return ExitReason::Killed,
            Next::Control(Control::Stop) | Next::Drained => return ExitReason::Stopped,
            Next::Message(record) => {
                if let Some(reason) = turn(cell, record, actor, ctx).await {
                    return reason;
                }
                if let Some(why) = ctx.take_failure() {
                    return ExitReason::Failed(why);
                }
            }
        }
        budget -= 1;
        if budget == 0 {
            budget = TURN_BUDGET;
            executor::yield_now().await;
        }
    }
}

/// Handles one message. A reason to end, if that gave one.
async fn turn<A: Actor>(
    cell: &Cell<A>,
    record: Box<dyn Record<A>>,
    actor: &mut A,
    ctx: &mut Context<A>,
) -> Option<ExitReason> {
    let message_type = record.message_type();
    let mut turn = record.deliver(actor, ctx);
    let ended = std::future::poll_fn(|cx| match cell.mailbox.poll_kill(cx) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => turn.as_mut().poll(cx).map(Some),
    })
    .await;
    match ended {
        None => {
            current::killing(|| drop_fenced(cell, turn));
            Some(ExitReason::Killed)
        }
        Some(Turn::Handled) => {
            cell.system().counters().count_handled();
            None
        }
        Some(Turn::Skipped) => None,
        Some(Turn::Panicked(text)) => {
            cell.system().counters().count_handled();
            cell.system().counters().count_panic();
            tracing::warn!(
                target: "callboard::actor",
                actor = %cell.label, message = message_type, panic = %text, "handler panicked"
            );
            Some(ExitReason::Failed(text))
        }
    }
}

async fn farewell<A: Actor>(cell: &Cell<A>, actor: &mut A, reason: &ExitReason) {
    let stopped = async { actor.stopped(reason).await };
    let mut stopped = Box::pin(AssertUnwindSafe(stopped).catch_unwind());
    let ended = std::future::poll_fn(|cx| match cell.mailbox.poll_kill(cx) {
        Poll::Ready(()) => Poll::Ready(Ok(())),
        Poll::Pending => stopped.as_mut().poll(cx),
    })
    .await;
    if ended.is_err() {
        cell.system().counters().count_panic();
        tracing::warn!(target: "callboard::actor", actor = %cell.label, "`stopped` panicked");
    }
}

/// Drops user values behind the fence: their `Drop` may panic.
fn drop_fenced<A: Actor, T>(cell: &Cell<A>, value: T) {
    if catch_unwind(AssertUnwindSafe(|| drop(value))).is_err() {
        cell.system().counters().count_panic();
        tracing::warn!(target: "callboard::actor", actor = %cell.label, "a drop panicked");
    }
}
