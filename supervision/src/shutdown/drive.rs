//! The run: phase after phase, then the system, then the report.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use callboard_core::DropReason;
use callboard_core::clock::{Instant, Sleep};
use futures::future::{BoxFuture, Either, join_all, select};
use futures::stream::{FuturesUnordered, StreamExt};

use super::plan::{Part, Plan};
use super::report::{
    LateChild, PartReport, PhaseReport, ShutdownCause, ShutdownReport, SystemEnd, WorkEnd,
};
use super::work::{Begun, Work};
use super::{Phase, SupervisorRef, signals};
use crate::tree::{ChildState, TreeSnapshot};

/// How long killed trees have to end, all together. Only code that never yields, or a process the kernel can't end,
/// takes longer.
const KILL_GRACE: Duration = Duration::from_secs(1);
/// How long the system's other actors have at least to stop in order, when the phases took all of their time.
const SYSTEM_GRACE: Duration = Duration::from_secs(1);
/// What the system gives those that it kills.
const SYSTEM_KILL_GRACE: Duration = Duration::from_secs(1);
/// What may come on top of the deadlines.
pub(super) const GRACES: Duration = KILL_GRACE
    .saturating_add(SYSTEM_GRACE)
    .saturating_add(SYSTEM_KILL_GRACE);

type Letters = BTreeMap<DropReason, u64>;

pub(super) async fn run(plan: Arc<Plan>, cause: ShutdownCause) -> Arc<ShutdownReport> {
    let clock = plan.system.clock().clone();
    let began = clock.now();
    let letters = plan.system.dead_letters().counts().by_reason;
    tracing::info!(target: "callboard::shutdown", %cause, "begun");
    let mut phases = Vec::new();
    let mut due = began;
    for phase in Phase::ALL {
        let deadline = plan.deadline(phase);
        due = clock.now() + deadline;
        phases.push(InPhase::new(&plan, phase, deadline, due).run().await);
    }
    let system = end_system(&plan, due).await;
    signals::forget(&plan);
    let report = ShutdownReport {
        cause,
        second_signal: plan.second(),
        cut_short: plan.is_cut(),
        took: clock.now().since(began),
        phases,
        system,
        given_up: since(&letters, &plan.system.dead_letters().counts().by_reason),
    };
    if report.is_clean() {
        tracing::info!(target: "callboard::shutdown", took = ?report.took, "over");
    } else {
        tracing::warn!(target: "callboard::shutdown", took = ?report.took, "over, with losses: {report}");
    }
    Arc::new(report)
}

/// Shuts the system down, in what is left of the last phase, but at least in [`SYSTEM_GRACE`].
async fn end_system(plan: &Plan, due: Instant) -> SystemEnd {
    let clock = plan.system.clock();
    let began = clock.now();
    let grace = due.since(began).max(SYSTEM_GRACE);
    let late = {
        let stop = pin!(plan.system.shutdown_within(grace));
        let cut = pin!(poll_fn(|cx| {
            plan.heed(cx.waker());
            if plan.is_cut() {
                return Poll::Ready(());
            }
            Poll::Pending
        }));
        match select(cut, stop).await {
            Either::Left(((), _)) => None,
            Either::Right((late, _)) => Some(late),
        }
    };
    let late = match late {
        Some(late) => late,
        None => plan.system.shutdown_within(Duration::ZERO).await,
    };
    SystemEnd {
        took: clock.now().since(began),
        late,
    }
}

fn since(before: &Letters, now: &Letters) -> Letters {
    let more = now.iter().map(|(reason, count)| {
        let before = before.get(reason).copied().unwrap_or(0);
        (*reason, count.saturating_sub(before))
    });
    more.filter(|(_, count)| *count > 0).collect()
}

/// One phase while it lasts.
struct InPhase<'a> {
    plan: &'a Plan,
    phase: Phase,
    deadline: Duration,
    began: Instant,
    due: Sleep,
    /// What was begun, in that order; the reports of what has ended.
    parts: Vec<Running>,
    ends: FuturesUnordered<BoxFuture<'static, (usize, WorkEnd)>>,
}

struct Running {
    id: u64,
    began: Instant,
    begun: Option<Begun>,
    /// A tree as it was before.
    tree: Option<(SupervisorRef, TreeSnapshot)>,
    report: PartReport,
}

enum Step {
    Ended(usize, WorkEnd),
    /// Something was registered or removed.
    Look,
    TimeIsUp,
}

impl<'a> InPhase<'a> {
    fn new(plan: &'a Plan, phase: Phase, deadline: Duration, due: Instant) -> Self {
        let clock = plan.system.clock();
        InPhase {
            plan,
            phase,
            deadline,
            began: clock.now(),
            due: clock.sleep_until(due),
            parts: Vec::new(),
            ends: FuturesUnordered::new(),
        }
    }

    async fn run(mut self) -> PhaseReport {
        loop {
            if self.plan.is_cut() {
                // Whatever is still to come isn't even begun.
                self.cut_off().await;
            }
            for part in self.plan.take_next(self.phase) {
                self.begin(part);
            }
            if self.ends.is_empty() {
                if self.plan.leave(self.phase) {
                    return self.report();
                }
                continue;
            }
            match self.step().await {
                Step::Ended(index, end) => self.ended(index, end),
                Step::Look => {}
                Step::TimeIsUp => self.cut_off().await,
            }
        }
    }

    fn begin(&mut self, part: Part) {
        let kind = part.work.kind();
        let tree = match &part.work {
            Work::Tree(tree) => Some((tree.clone(), tree.observe())),
            Work::Task(_) | Work::Drain(_) => None,
        };
        let (begun, end) = part.work.begin(&self.plan.system);
        let index = self.parts.len();
        self.parts.push(Running {
            id: part.id,
            began: self.plan.system.clock().now(),
            begun: Some(begun),
            tree,
            report: PartReport::new(part.name, kind),
        });
        self.ends.push(Box::pin(async move { (index, end.await) }));
    }

    /// What happens next. Ends go before the deadline: what was done in time is done.
    async fn step(&mut self) -> Step {
        let InPhase {
            plan, due, ends, ..
        } = self;
        let mut looked = false;
        poll_fn(|cx| {
            if let Poll::Ready(Some((index, end))) = ends.poll_next_unpin(cx) {
                return Poll::Ready(Step::Ended(index, end));
            }
            plan.heed(cx.waker());
            if plan.is_cut() || std::pin::Pin::new(&mut *due).poll(cx).is_ready() {
                return Poll::Ready(Step::TimeIsUp);
            }
            // Polled again for neither of these: the plan has changed.
            if std::mem::replace(&mut looked, true) {
                return Poll::Ready(Step::Look);
            }
            Poll::Pending
        })
        .await
    }

    fn ended(&mut self, index: usize, end: WorkEnd) {
        let now = self.plan.system.clock().now();
        let part = &mut self.parts[index];
        // Nothing to cut off any more.
        part.begun = None;
        part.report.took = now.since(part.began);
        part.report.end = end;
        if let Some((tree, before)) = part.tree.take() {
            part.report.late = late_children(&before, &tree.observe());
        }
        self.plan.ended(part.id);
    }

    /// The time is up. What runs is ended at once, the last one first, and what waits for its turn is given up.
    async fn cut_off(&mut self) {
        let now = self.plan.system.clock().now();
        let mut killed = Vec::new();
        for index in (0..self.parts.len()).rev() {
            let part = &mut self.parts[index];
            let Some(begun) = part.begun.take() else {
                continue;
            };
            part.report.messages_left = begun.cut();
            part.report.end = WorkEnd::CutOff;
            part.report.took = now.since(part.began);
            killed.extend(part.tree.take().map(|(tree, before)| (index, tree, before)));
        }
        self.give_up_rest(&mut killed);
        self.ends.clear();
        let gone = join_all(killed.iter().map(|(_, tree, _)| tree.wait()));
        let grace = self.plan.system.clock().sleep(KILL_GRACE);
        // Whichever is first.
        drop(select(gone, grace).await);
        for (index, tree, before) in killed {
            self.parts[index].report.late = late_children(&before, &tree.observe());
        }
        for part in &self.parts {
            self.plan.ended(part.id);
        }
    }

    /// What the phase did not come to: trees and actors are killed, tasks dropped.
    fn give_up_rest(&mut self, killed: &mut Vec<(usize, SupervisorRef, TreeSnapshot)>) {
        for Part { id, name, work, .. } in self.plan.take_rest(self.phase) {
            let mut report = PartReport::new(name, work.kind());
            report.end = WorkEnd::NotBegun;
            let index = self.parts.len();
            match work {
                // What it holds is the program's: a panic in its drop must not end the run (G10).
                Work::Task(task) => drop(catch_unwind(AssertUnwindSafe(|| drop(task)))),
                Work::Drain(actor) => report.messages_left = actor.cut(),
                Work::Tree(tree) => {
                    let before = tree.observe();
                    tree.actor().kill();
                    killed.push((index, tree, before));
                }
            }
            self.parts.push(Running {
                id,
                began: self.plan.system.clock().now(),
                begun: None,
                tree: None,
                report,
            });
        }
    }

    fn report(self) -> PhaseReport {
        PhaseReport {
            phase: self.phase,
            deadline: self.deadline,
            took: self.plan.system.clock().now().since(self.began),
            parts: self.parts.into_iter().map(|part| part.report).collect(),
        }
    }
}

/// The children, and theirs, that did not end in order: they were killed for being late, or can't be ended.
fn late_children(before: &TreeSnapshot, after: &TreeSnapshot) -> Vec<LateChild> {
    let mut late = Vec::new();
    collect_late(Some(before), after, &after.label, &mut late);
    late
}

fn collect_late(
    before: Option<&TreeSnapshot>,
    after: &TreeSnapshot,
    path: &str,
    late: &mut Vec<LateChild>,
) {
    for (index, child) in after.children.iter().enumerate() {
        let path = format!("{path}/{}", child.label);
        // By place and label: a dynamic child may have come or gone meanwhile.
        let before = before.and_then(|before| {
            let same = before.children.get(index);
            same.filter(|same| same.label == child.label).or_else(|| {
                before
                    .children
                    .iter()
                    .find(|same| same.label == child.label)
            })
        });
        let was_so = before.is_some_and(|before| fate(before) == fate(child));
        if let Some(ended) = fate(child).filter(|_| !was_so) {
            late.push(LateChild {
                path: path.clone(),
                ended,
            });
        }
        collect_late(before, child, &path, late);
    }
}

/// Whether a child was killed (`true`), or should have ended and lives (`false`).
fn fate(child: &TreeSnapshot) -> Option<bool> {
    match child.state {
        ChildState::Stuck | ChildState::Stopping => Some(false),
        ChildState::Failed if child.last_cause.as_deref() == Some(KILLED) => Some(true),
        _ => None,
    }
}

/// How [`ExitReason::Killed`] is written in a snapshot.
const KILLED: &str = "killed";

#[cfg(test)]
mod tests {
    use callboard_core::ExitReason;

    use super::*;

    #[test]
    fn the_word_for_a_kill_is_the_snapshots() {
        assert_eq!(ExitReason::Killed.to_string(), KILLED);
    }

    #[test]
    fn what_was_given_up_is_the_difference() {
        let before = Letters::from([(DropReason::Stopped, 2), (DropReason::Expired, 1)]);
        let mut now = before.clone();
        now.insert(DropReason::Stopped, 5);
        now.insert(DropReason::LateReply, 1);
        let expected = Letters::from([(DropReason::Stopped, 3), (DropReason::LateReply, 1)]);
        assert_eq!(since(&before, &now), expected);
    }
}
