//! What is registered, and how far the run is. Behind one lock, so that parts register and remove from any thread
//! while the run takes what is next.

use std::fmt;
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;

use callboard_core::{Placement, Rest, System, Worker};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{BoxFuture, Shared};
use futures::task::AtomicWaker;
use parking_lot::Mutex;

use super::drive;
use super::report::{ShutdownCause, ShutdownReport};
use super::signals::{SecondSignal, Signal};
use super::work::Work;
use super::{Phase, SupervisorRef};

/// The run of a plan: polled by everybody who waits for it, and by a thread that does nothing else.
pub(super) type Run = Shared<BoxFuture<'static, Arc<ShutdownReport>>>;

pub(super) struct Plan {
    pub(super) system: System,
    state: Mutex<State>,
    /// Completes when the run begins, since its sender is dropped then.
    begun: Shared<oneshot::Receiver<()>>,
    /// The run: something was registered, or all is to be cut off.
    changed: AtomicWaker,
}

struct State {
    next_id: u64,
    stage: Stage,
    deadlines: [Duration; Phase::ALL.len()],
    second_signal: SecondSignal,
    /// In the order of registration.
    parts: Vec<Part>,
    /// Names of what has begun and not ended.
    running: Vec<(u64, String)>,
    /// Of what is registered or runs.
    trees: Vec<(u64, SupervisorRef)>,
    cut: bool,
    second: Option<Signal>,
    begun: Option<oneshot::Sender<()>>,
    run: Option<Run>,
    /// Keeps the thread that polls the run.
    thread: Option<Worker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    In(Phase),
    /// The system itself is shut down, or has been.
    Over,
}

/// Something to be done.
pub(super) struct Part {
    pub(super) id: u64,
    pub(super) phase: Phase,
    pub(super) name: String,
    pub(super) work: Work,
}

impl Plan {
    pub(super) fn new(system: &System) -> Arc<Self> {
        let (begun_tx, begun) = oneshot::channel();
        let state = State {
            next_id: 1,
            stage: Stage::Waiting,
            deadlines: Phase::ALL.map(Phase::default_deadline),
            second_signal: SecondSignal::default(),
            parts: Vec::new(),
            running: Vec::new(),
            trees: Vec::new(),
            cut: false,
            second: None,
            begun: Some(begun_tx),
            run: None,
            thread: None,
        };
        Arc::new(Plan {
            system: system.clone(),
            state: Mutex::new(state),
            begun: begun.shared(),
            changed: AtomicWaker::new(),
        })
    }

    pub(super) fn add(self: &Arc<Self>, phase: Phase, name: String, work: Work) -> ShutdownTask {
        let mut state = self.state.lock();
        let handle = |id| ShutdownTask {
            plan: Arc::downgrade(self),
            id,
        };
        if state.stage == Stage::Over {
            drop(state);
            tracing::warn!(
                target: "callboard::shutdown", name, %phase, "registered when the shutdown was over: not done"
            );
            return handle(None);
        }
        let id = state.next_id;
        state.next_id += 1;
        if let Work::Tree(tree) = &work {
            state.trees.push((id, tree.clone()));
        }
        state.parts.push(Part {
            id,
            phase,
            name,
            work,
        });
        drop(state);
        self.changed.wake();
        handle(Some(id))
    }

    fn remove(&self, id: u64) -> bool {
        let mut state = self.state.lock();
        let Some(place) = state.parts.iter().position(|part| part.id == id) else {
            return false;
        };
        let part = state.parts.remove(place);
        state.trees.retain(|(tree, _)| *tree != id);
        drop(state);
        self.changed.wake();
        // Outside the lock: what the task holds may use the plan when it is dropped.
        drop(part);
        true
    }

    pub(super) fn set_deadline(&self, phase: Phase, span: Duration) {
        self.state.lock().deadlines[phase as usize] = span;
    }

    pub(super) fn deadline(&self, phase: Phase) -> Duration {
        self.state.lock().deadlines[phase as usize]
    }

    pub(super) fn set_second_signal(&self, what: SecondSignal) {
        self.state.lock().second_signal = what;
    }

    pub(super) fn second_signal(&self) -> SecondSignal {
        self.state.lock().second_signal
    }

    /// Begins the run, unless it has begun, and has it polled by somebody.
    pub(super) fn begin(self: &Arc<Self>, cause: ShutdownCause) -> Run {
        let mut state = self.state.lock();
        if let Some(run) = &state.run {
            return run.clone();
        }
        let run = drive::run(Arc::clone(self), cause).boxed().shared();
        state.run = Some(run.clone());
        state.stage = Stage::In(Phase::StopTakingWork);
        let begun = state.begun.take();
        drop(state);
        drop(begun);
        self.have_polled(&run);
        run
    }

    /// Gives the run somebody who polls it: whoever called may be on an arbiter that blocks, or stop waiting.
    fn have_polled(&self, run: &Run) {
        let polled = run.clone();
        if self.system.clock().is_manual() {
            // If there is nobody left for it, whoever waits for the run polls it alone.
            let _ = self.system.spawn(Placement::Control, move || async move {
                polled.await;
            });
            return;
        }
        let mut polled = Some(polled);
        let work = move || {
            if let Some(run) = polled.take() {
                futures::executor::block_on(run);
            }
            Rest::Ended
        };
        match Worker::start(&self.system, "callboard-shutdown", Duration::ZERO, work) {
            Ok(thread) => self.state.lock().thread = Some(thread),
            Err(error) => tracing::warn!(
                target: "callboard::shutdown", %error, "the shutdown has no thread of its own"
            ),
        }
    }

    pub(super) async fn begins(&self) {
        // An error: the sender is dropped, never used.
        let _ = self.begun.clone().await;
    }

    pub(super) fn has_begun(&self) -> bool {
        self.state.lock().stage != Stage::Waiting
    }

    pub(super) fn phase(&self) -> Option<Phase> {
        match self.state.lock().stage {
            Stage::In(phase) => Some(phase),
            Stage::Waiting | Stage::Over => None,
        }
    }

    /// Waits until somebody has begun the run, and for its end. Polls the run, too.
    pub(super) async fn over(self: &Arc<Self>) -> Arc<ShutdownReport> {
        self.begins().await;
        // It has begun: for whatever cause it was, not this one.
        self.begin(ShutdownCause::Call).await
    }

    pub(super) fn is_over(&self) -> bool {
        self.state.lock().stage == Stage::Over
    }

    pub(super) fn cut_short(&self, signal: Option<Signal>) {
        let mut state = self.state.lock();
        if state.stage == Stage::Waiting {
            return;
        }
        state.cut = true;
        state.second = state.second.or(signal);
        drop(state);
        self.changed.wake();
    }

    /// What has begun or was still to come, by name, and the trees among it.
    pub(super) fn unfinished(&self) -> (Vec<String>, Vec<SupervisorRef>) {
        let state = self.state.lock();
        let names = state.running.iter().map(|(_, name)| name.clone());
        let waiting = state.parts.iter().map(|part| part.name.clone());
        let trees = state.trees.iter().map(|(_, tree)| tree.clone());
        (names.chain(waiting).collect(), trees.collect())
    }
}

/// What the run does with the plan.
impl Plan {
    pub(super) fn heed(&self, waker: &Waker) {
        self.changed.register(waker);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.state.lock().cut
    }

    pub(super) fn second(&self) -> Option<Signal> {
        self.state.lock().second
    }

    /// Takes what is to be begun now: in the last phase the one registered last, if nothing runs; before, all there
    /// is for this phase and for those that are over.
    pub(super) fn take_next(&self, phase: Phase) -> Vec<Part> {
        let mut state = self.state.lock();
        let mut taken = Vec::new();
        if phase == Phase::Stop {
            if state.running.is_empty() {
                taken.extend(state.parts.pop());
            }
        } else {
            let parts = std::mem::take(&mut state.parts);
            let (now, later): (Vec<_>, Vec<_>) =
                parts.into_iter().partition(|part| part.phase <= phase);
            state.parts = later;
            taken = now;
        }
        let begun = taken.iter().map(|part| (part.id, part.name.clone()));
        state.running.extend(begun);
        taken
    }

    /// Takes what a phase has no time for any more, the one registered last first.
    pub(super) fn take_rest(&self, phase: Phase) -> Vec<Part> {
        let mut state = self.state.lock();
        let parts = std::mem::take(&mut state.parts);
        let (rest, later): (Vec<_>, Vec<_>) =
            parts.into_iter().partition(|part| part.phase <= phase);
        state.parts = later;
        rest.into_iter().rev().collect()
    }

    pub(super) fn ended(&self, id: u64) {
        let mut state = self.state.lock();
        state.running.retain(|(running, _)| *running != id);
        state.trees.retain(|(tree, _)| *tree != id);
    }

    /// Goes on to the next phase, unless something has been registered for this one. Nothing of it runs.
    pub(super) fn leave(&self, phase: Phase) -> bool {
        let mut state = self.state.lock();
        if state.parts.iter().any(|part| part.phase <= phase) {
            return false;
        }
        state.stage = match phase {
            Phase::StopTakingWork => Stage::In(Phase::FinishWork),
            Phase::FinishWork => Stage::In(Phase::Stop),
            Phase::Stop => Stage::Over,
        };
        true
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        let parts: Vec<_> = state
            .parts
            .iter()
            .map(|part| (part.phase, part.name.as_str()))
            .collect();
        f.debug_struct("Shutdown")
            .field("stage", &state.stage)
            .field("parts", &parts)
            .field("running", &state.running)
            .finish_non_exhaustive()
    }
}

/// A handle to what was registered. Dropping it changes nothing.
#[derive(Clone)]
pub struct ShutdownTask {
    plan: Weak<Plan>,
    /// `None` if it came too late.
    id: Option<u64>,
}

impl ShutdownTask {
    /// Takes it out of the plan. Answers `false` if it has begun, or is gone.
    pub fn remove(&self) -> bool {
        match (self.plan.upgrade(), self.id) {
            (Some(plan), Some(id)) => plan.remove(id),
            _ => false,
        }
    }

    /// Whether the shutdown was over when it was registered: it is never done.
    #[must_use]
    pub fn is_too_late(&self) -> bool {
        self.id.is_none()
    }
}

impl fmt::Debug for ShutdownTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShutdownTask")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
