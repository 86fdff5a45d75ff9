//! What a supervisor, its references and its children's events share.
//!
//! The loop of the supervisor ([`supervise`](crate::supervise)) decides; this holds what it decides about, so
//! that the tree can be looked at from any thread, and what is left when a supervisor is killed can be ended.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use callboard_core::clock::{Clock, Instant};
use callboard_core::{ChildEvent, ChildKind, Entropy, ExitReason, Incarnation, System};
use parking_lot::Mutex;

use crate::backoff::Backoff;
use crate::child::Child;
use crate::snapshot::{ChildState, TreeSnapshot};

type Then = Box<dyn FnOnce() + Send>;

pub(crate) struct Tree {
    pub(crate) label: Arc<str>,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) intensity: (usize, Duration),
    pub(crate) backoff: Backoff,
    pub(crate) children: Vec<Child>,
    state: Mutex<State>,
    above: Mutex<Weak<Tree>>,
}

/// How far an incarnation of the supervisor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// There is none.
    Gone,
    Starting,
    Up,
}

struct State {
    stage: Stage,
    was_up: bool,
    slots: Vec<Slot>,
    /// Events for the loop. At most two of each incarnation, and one incarnation of each child at a time.
    inbox: VecDeque<(usize, ChildEvent)>,
    stop: bool,
    /// The loop has ended, with all that could be stopped.
    done: bool,
    closed: bool,
    looping: Option<Waker>,
    waiting: Vec<Waker>,
    on_up: Option<Then>,
    on_idle: Option<Then>,
}

/// One child as it is now.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) stage: SlotStage,
    /// An incarnation was started and has not sent its last event.
    pub(crate) live: bool,
    pub(crate) restarts: u64,
    /// Waits in a row.
    pub(crate) attempt: u32,
    pub(crate) last: Option<ExitReason>,
    /// It is never started again.
    pub(crate) closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotStage {
    Waiting,
    Starting,
    Running { since: Instant },
    BackingOff { until: Instant },
    Stopping,
    Stopped,
    Failed,
    Stuck,
}

impl Slot {
    fn new() -> Self {
        Slot {
            stage: SlotStage::Waiting,
            live: false,
            restarts: 0,
            attempt: 0,
            last: None,
            closed: false,
        }
    }

    /// It has been up in this incarnation of the supervisor, or never will be: the next one's turn.
    pub(crate) fn settled(&self) -> bool {
        self.closed || matches!(self.stage, SlotStage::Running { .. })
    }

    fn shown(&self, now: Instant) -> ChildState {
        match self.stage {
            SlotStage::Waiting => ChildState::Waiting,
            SlotStage::Starting => ChildState::Starting,
            SlotStage::Running { .. } => ChildState::Running,
            SlotStage::BackingOff { until } => ChildState::BackingOff {
                retry_in_ms: u64::try_from(until.since(now).as_millis()).unwrap_or(u64::MAX),
                attempt: self.attempt,
            },
            SlotStage::Stopping => ChildState::Stopping,
            SlotStage::Stopped => ChildState::Stopped,
            SlotStage::Failed => ChildState::Failed,
            SlotStage::Stuck => ChildState::Stuck,
        }
    }
}

impl Tree {
    pub(crate) fn new(
        label: Arc<str>,
        system: &System,
        intensity: (usize, Duration),
        backoff: Backoff,
        children: Vec<Child>,
    ) -> Arc<Self> {
        let state = State {
            stage: Stage::Gone,
            was_up: false,
            slots: children.iter().map(|_| Slot::new()).collect(),
            inbox: VecDeque::new(),
            stop: false,
            done: false,
            closed: false,
            looping: None,
            waiting: Vec::new(),
            on_up: None,
            on_idle: None,
        };
        let tree = Arc::new(Tree {
            label,
            clock: system.clock().clone(),
            entropy: system.entropy().clone(),
            intensity,
            backoff,
            children,
            state: Mutex::new(state),
            above: Mutex::default(),
        });
        for below in tree.children.iter().filter_map(|child| child.tree.as_ref()) {
            *below.above.lock() = Arc::downgrade(&tree);
        }
        tree
    }

    /// Changes the state, then tells who waits for a change, here and above.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state.lock());
        self.tell_waiting();
        changed
    }

    fn tell_waiting(&self) {
        let waiting = std::mem::take(&mut self.state.lock().waiting);
        waiting.into_iter().for_each(Waker::wake);
        let above = self.above.lock().upgrade();
        if let Some(above) = above {
            above.tell_waiting();
        }
    }

    pub(crate) fn slot(&self, index: usize) -> Slot {
        self.state.lock().slots[index].clone()
    }

    pub(crate) fn change_slot<T>(&self, index: usize, change: impl FnOnce(&mut Slot) -> T) -> T {
        self.change(|state| change(&mut state.slots[index]))
    }

    /// A new incarnation of the supervisor begins. None of the children lives.
    pub(crate) fn begin(&self) {
        self.change(|state| {
            state.stage = Stage::Starting;
            state.was_up = false;
            state.inbox.clear();
            state.stop = false;
            state.done = false;
            for slot in state.slots.iter_mut().filter(|slot| !slot.closed) {
                slot.stage = SlotStage::Waiting;
                slot.attempt = 0;
            }
        });
    }

    /// Every child is up, or has been and is not wanted any more.
    pub(crate) fn up(&self) {
        let then = self.change(|state| {
            state.stage = Stage::Up;
            state.was_up = true;
            state.on_up.take()
        });
        if let Some(then) = then {
            then();
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.state.lock().stage == Stage::Up
    }

    /// Whether this incarnation, or the last if there is none, was ever up.
    pub(crate) fn was_up(&self) -> bool {
        self.state.lock().was_up
    }

    /// Does something once every child is up; never, if the incarnation ends before.
    pub(crate) fn when_up(&self, then: Then) {
        let mut state = self.state.lock();
        if state.stage == Stage::Up {
            drop(state);
            then();
        } else {
            state.on_up = Some(then);
        }
    }

    /// The loop has ended.
    pub(crate) fn finish(&self) {
        self.change(|state| state.done = true);
    }

    /// The supervisor's value is gone. If its loop did not end before (a kill), its children are killed.
    pub(crate) fn leave(&self) {
        let orphans = self.change(|state| {
            state.stage = Stage::Gone;
            state.on_up = None;
            state.looping = None;
            if state.done {
                return Vec::new();
            }
            state.done = true;
            let mut orphans = Vec::new();
            for (index, slot) in state.slots.iter_mut().enumerate() {
                if slot.live {
                    slot.stage = SlotStage::Stopping;
                    orphans.push(index);
                } else if !slot.closed {
                    slot.stage = SlotStage::Stopped;
                }
            }
            orphans
        });
        for index in orphans.into_iter().rev() {
            self.children[index].place.kill();
        }
    }

    /// Does something once no child lives, when the supervisor itself is gone.
    pub(crate) fn when_idle(&self, then: Then) {
        let mut state = self.state.lock();
        if state.slots.iter().any(|slot| slot.live) {
            state.on_idle = Some(then);
        } else {
            drop(state);
            then();
        }
    }

    /// No incarnation of the supervisor follows: its children's references end, the last one's first.
    pub(crate) fn close(&self, reason: &ExitReason) {
        for (index, child) in self.children.iter().enumerate().rev() {
            let last = self.change(|state| {
                let slot = &mut state.slots[index];
                let closed = std::mem::replace(&mut slot.closed, true);
                if matches!(slot.stage, SlotStage::Waiting) {
                    slot.stage = SlotStage::Stopped;
                }
                (!closed).then(|| slot.last.clone())
            });
            if let Some(last) = last {
                child.place.close(last.unwrap_or_else(|| reason.clone()));
            }
        }
        self.change(|state| state.closed = true);
    }

    /// Ends the supervisor's loop in order.
    pub(crate) fn request_stop(&self) {
        let looping = self.change(|state| {
            state.stop = true;
            state.looping.take()
        });
        looping.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn stop_requested(&self) -> bool {
        self.state.lock().stop
    }

    /// An event of a child, on whatever thread it ended.
    pub(crate) fn event(&self, index: usize, event: ChildEvent) {
        let (looping, idle) = self.change(|state| {
            let slot = &mut state.slots[index];
            if !slot.live {
                // A place that says more than it should.
                return (None, None);
            }
            let last = match &event {
                ChildEvent::Ended(reason) => Some(reason.clone()),
                ChildEvent::StartFailed(why) => Some(ExitReason::Failed(why.clone())),
                _ => None,
            };
            if let Some(reason) = last {
                slot.live = false;
                if state.done {
                    slot.stage = ended_stage(&reason);
                }
                slot.last = Some(reason);
            }
            if !state.done {
                state.inbox.push_back((index, event));
            }
            let idle = !state.slots.iter().any(|slot| slot.live);
            let idle = if idle { state.on_idle.take() } else { None };
            (state.looping.take(), idle)
        });
        looping.into_iter().for_each(Waker::wake);
        if let Some(idle) = idle {
            idle();
        }
    }

    pub(crate) fn take_event(&self) -> Option<(usize, ChildEvent)> {
        self.state.lock().inbox.pop_front()
    }

    /// Waits for an event, a request to stop if that is heeded, or a point in time.
    pub(crate) async fn wait(&self, until: Instant, heed_stop: bool) {
        let mut due = self.clock.sleep_until(until);
        poll_fn(|cx| {
            let mut state = self.state.lock();
            if !state.inbox.is_empty() || (heed_stop && state.stop) {
                return Poll::Ready(());
            }
            state.looping = Some(cx.waker().clone());
            drop(state);
            std::pin::Pin::new(&mut due).poll(cx)
        })
        .await;
    }

    /// Waits until the tree looks as wanted. Looks again after each change, here and below.
    pub(crate) async fn until<T>(&self, mut wanted: impl FnMut(&Self) -> Option<T>) -> T {
        poll_fn(|cx| {
            let mut state = self.state.lock();
            if !state
                .waiting
                .iter()
                .any(|waker| waker.will_wake(cx.waker()))
            {
                state.waiting.push(cx.waker().clone());
            }
            drop(state);
            wanted(self).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state.lock().done
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// The supervisor is gone and what is left of its children can't be ended.
    pub(crate) fn only_stuck(&self) -> bool {
        let state = self.state.lock();
        let mut live = state.slots.iter().filter(|slot| slot.live).peekable();
        state.stage == Stage::Gone
            && live.peek().is_some()
            && live.all(|slot| slot.stage == SlotStage::Stuck)
    }

    /// The children as they are now.
    pub(crate) fn snapshot(&self) -> Vec<TreeSnapshot> {
        let now = self.clock.now();
        let slots = self.state.lock().slots.clone();
        let nodes = self.children.iter().zip(slots);
        nodes
            .map(|(child, slot)| {
                let status = child.place.status();
                TreeSnapshot {
                    label: child.place.label(),
                    kind: child.place.kind(),
                    state: slot.shown(now),
                    incarnation: status.incarnation,
                    restarts: slot.restarts,
                    last_cause: slot.last.as_ref().map(ToString::to_string),
                    mailbox: status.mailbox,
                    pid: status.pid,
                    children: child
                        .tree
                        .as_ref()
                        .map_or(Vec::new(), |tree| tree.snapshot()),
                }
            })
            .collect()
    }

    /// The supervisor itself, as the root of what it sees.
    pub(crate) fn root(
        &self,
        incarnation: Incarnation,
        mailbox: callboard_core::MailboxState,
        exit: Option<ExitReason>,
    ) -> TreeSnapshot {
        let state = self.state.lock();
        let shown = match (&exit, state.stage, state.stop) {
            (Some(ExitReason::Stopped), ..) => ChildState::Stopped,
            (Some(_), ..) => ChildState::Failed,
            (None, _, true) => ChildState::Stopping,
            (None, Stage::Up, _) => ChildState::Running,
            (None, ..) => ChildState::Starting,
        };
        drop(state);
        TreeSnapshot {
            label: self.label.to_string(),
            kind: ChildKind::Supervisor,
            state: shown,
            incarnation,
            restarts: incarnation.0.saturating_sub(1),
            last_cause: exit.map(|exit| exit.to_string()),
            mailbox: Some(mailbox),
            pid: None,
            children: self.snapshot(),
        }
    }
}

/// How a child that is not started again is shown.
pub(crate) fn ended_stage(reason: &ExitReason) -> SlotStage {
    if reason.is_normal() {
        SlotStage::Stopped
    } else {
        SlotStage::Failed
    }
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree")
            .field("label", &self.label)
            .field("children", &self.children)
            .finish_non_exhaustive()
    }
}
