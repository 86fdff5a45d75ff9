//! The loop of one incarnation of a supervisor: one-for-one.
//!
//! It runs beside the supervisor's handlers, so that neither a full mailbox nor a slow observer delays a restart
//! (G4), and it never waits for anything but its inbox, a request to stop and the next back-off: a request to
//! stop is served during all of them (G16).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use callboard_core::clock::Instant;
use callboard_core::{ChildEvent, ExitReason, FailureClass, Terms};

use crate::child::Restart;
use crate::intensity::Intensity;
use crate::tree::{SlotStage, Tree, ended_stage};

/// How long a killed child has to end before it is reported as stuck. Only code that never yields, or a process
/// the kernel can't end, takes longer (G11).
const KILL_GRACE: Duration = Duration::from_secs(5);

/// How an incarnation of a supervisor ended. Its children have, too.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It was asked to.
    Stopped,
    /// Too many restarts; the cause chain.
    GaveUp(String),
}

/// Starts the children in order, restarts what fails, and stops all in reverse at the end.
pub(crate) async fn run(tree: &Arc<Tree>) -> Ended {
    let (max, period) = tree.intensity;
    let mut intensity = Intensity::new(max, period);
    // How many children have been started for the first time.
    let mut started = 0;
    loop {
        // An order to stop goes before what has happened to the children (G4).
        if tree.stop_requested() {
            stop_all(tree).await;
            return Ended::Stopped;
        }
        while let Some((index, event)) = tree.take_event() {
            if let Err(cause) = handle(tree, &mut intensity, index, event) {
                tracing::error!(target: "callboard::supervisor", supervisor = %tree.label, %cause, "gave up");
                stop_all(tree).await;
                return Ended::GaveUp(cause);
            }
        }
        start_next(tree, &mut started);
        if started == tree.children.len()
            && !tree.is_up()
            && (started == 0 || tree.slot(started - 1).settled())
        {
            tracing::info!(target: "callboard::supervisor", supervisor = %tree.label, "up");
            tree.up();
        }
        let due = start_due(tree);
        tree.wait(due, true).await;
    }
}

/// Starts children for the first time, each once the one before it is up (G15).
fn start_next(tree: &Arc<Tree>, started: &mut usize) {
    while *started < tree.children.len() && (*started == 0 || tree.slot(*started - 1).settled()) {
        let index = *started;
        *started += 1;
        if !tree.slot(index).closed {
            start(tree, index);
        }
    }
}

/// Starts what has waited long enough. When the next one has.
fn start_due(tree: &Arc<Tree>) -> Instant {
    let mut next = Instant::FAR;
    for index in 0..tree.children.len() {
        if let SlotStage::BackingOff { until } = tree.slot(index).stage {
            if tree.clock.now() >= until {
                start(tree, index);
            } else {
                next = next.min(until);
            }
        }
    }
    next
}

fn start(tree: &Arc<Tree>, index: usize) {
    tree.change_slot(index, |slot| {
        slot.stage = SlotStage::Starting;
        slot.live = true;
    });
    let told = Arc::clone(tree);
    let place = &tree.children[index].place;
    let start = AssertUnwindSafe(|| {
        let terms = Terms::new(Arc::new(move |_, event| told.event(index, event)));
        place.start(terms.resume_after(FailureClass::Benign));
    });
    if catch_unwind(start).is_err() {
        // Without effect if the child's last event has come all the same.
        let why = "its place panicked while starting it".to_owned();
        tree.event(index, ChildEvent::StartFailed(why.into()));
    }
}

/// Takes note of an event, and decides. `Err` with the cause chain if that was one restart too many.
fn handle(
    tree: &Tree,
    intensity: &mut Intensity,
    index: usize,
    event: ChildEvent,
) -> Result<(), String> {
    let now = tree.clock.now();
    let child = &tree.children[index];
    let label = child.place.label();
    let (reason, came_up) = match event {
        ChildEvent::Started => {
            tree.change_slot(index, |slot| slot.stage = SlotStage::Running { since: now });
            tracing::info!(target: "callboard::supervisor", supervisor = %tree.label, child = label, "started");
            return Ok(());
        }
        ChildEvent::StartFailed(why) => (ExitReason::Failed(why), false),
        ChildEvent::Ended(reason) => (reason, true),
        // An event this version doesn't know is no end.
        _ => return Ok(()),
    };
    let wanted = match child.restart {
        Restart::Permanent => true,
        Restart::Transient => !reason.is_normal(),
        Restart::Temporary => false,
    };
    if !wanted {
        tracing::info!(target: "callboard::supervisor", supervisor = %tree.label, child = label, %reason, "ended");
        tree.change_slot(index, |slot| {
            slot.stage = ended_stage(&reason);
            slot.closed = true;
        });
        child.place.close(reason);
        return Ok(());
    }
    if !intensity.restart(now) {
        tree.change_slot(index, |slot| slot.stage = SlotStage::Failed);
        let (max, period) = tree.intensity;
        let what = if came_up { "ended" } else { "did not start" };
        return Err(format!(
            "child `{label}` ({}) {what}, and more than {max} restarts within {period:?} are too many: {reason}",
            child.place.kind()
        ));
    }
    let backoff = child.backoff.unwrap_or(tree.backoff);
    let delay = tree.change_slot(index, |slot| {
        let ran = match slot.stage {
            SlotStage::Running { since } => now.since(since),
            _ => Duration::ZERO,
        };
        if came_up && ran >= backoff.stable {
            slot.attempt = 0;
        }
        let delay = backoff.delay(slot.attempt, &tree.entropy);
        slot.attempt = slot.attempt.saturating_add(1);
        slot.restarts += 1;
        slot.stage = SlotStage::BackingOff { until: now + delay };
        delay
    });
    tracing::warn!(
        target: "callboard::supervisor",
        supervisor = %tree.label, child = label, %reason, ?delay, "restarting"
    );
    Ok(())
}

/// Stops all children, the last one first, each in its shutdown time; then kills it.
async fn stop_all(tree: &Tree) {
    for (index, child) in tree.children.iter().enumerate().rev() {
        note_ends(tree);
        let live = tree.change_slot(index, |slot| {
            if slot.live {
                slot.stage = SlotStage::Stopping;
            } else if !slot.closed && slot.stage != SlotStage::Failed {
                slot.stage = SlotStage::Stopped;
            }
            slot.live
        });
        if !live {
            continue;
        }
        child.place.stop();
        let limit = child
            .shutdown
            .map_or(Instant::FAR, |span| tree.clock.now() + span);
        if ended_by(tree, index, limit).await {
            continue;
        }
        let label = child.place.label();
        tracing::warn!(target: "callboard::supervisor", supervisor = %tree.label, child = label, "killed: too late");
        child.place.kill();
        if !ended_by(tree, index, tree.clock.now() + KILL_GRACE).await {
            tracing::error!(target: "callboard::supervisor", supervisor = %tree.label, child = label, "can't be ended");
            tree.change_slot(index, |slot| slot.stage = SlotStage::Stuck);
        }
    }
    note_ends(tree);
}

/// Waits for the end of a child, but no longer than `limit`.
async fn ended_by(tree: &Tree, index: usize, limit: Instant) -> bool {
    loop {
        note_ends(tree);
        if !tree.slot(index).live {
            return true;
        }
        if tree.clock.now() >= limit {
            return false;
        }
        tree.wait(limit, false).await;
    }
}

/// Takes note of what ended, when nothing is restarted any more.
fn note_ends(tree: &Tree) {
    while let Some((index, event)) = tree.take_event() {
        let reason = match event {
            ChildEvent::Ended(reason) => reason,
            ChildEvent::StartFailed(why) => ExitReason::Failed(why),
            _ => continue,
        };
        tree.change_slot(index, |slot| slot.stage = ended_stage(&reason));
    }
}
