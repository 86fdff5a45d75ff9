//! The driver of an arbiter: one task of its runtime that runs all of its actors and tasks, from a queue of
//! its own.
//!
//! What has something to do is put into the run queue of its arbiter: from the same thread by pushing to a
//! list, from another through the arbiter's injector and at most one wake-up, however many actors. What a
//! turn sends to other arbiters (messages that make actors run, replies that wake askers) is collected and
//! handed over once, at the end of the turn.

mod arbiter;
mod injector;
mod own;
mod stillness;
mod task;

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use crate::clock::{Instant, Sleep};
use crate::entropy::Entropy;
use crate::future_buffer::FutureBuffer;

pub use arbiter::ArbiterLoad;
pub(crate) use arbiter::{Arbiter, Parcel, Run, Tools, batches_wakes, enter, with_here};
pub(crate) use own::Stay;

/// How many turns actors and tasks get before the arbiter's other work (sockets, timers) gets one.
const TURNS: u32 = 256;
/// After how many turns the injector is looked at, when the queue doesn't run dry.
const LOOK: u32 = 32;

/// The task that gives turns. Dropping it ends the actors and tasks of its arbiter.
pub(crate) struct Driver {
    arbiter: Arc<Arbiter>,
    /// Wakes the driver when the next deadline may be due.
    alarm: Option<Sleep>,
    /// On the simulating executor: who is next is drawn, not queued.
    order: Option<Entropy>,
    /// Then, too, who has spent the budget of a turn lets as many others have theirs as wait for it (G5).
    spent: VecDeque<(usize, Arc<dyn Run>)>,
    /// Parcels being unpacked; kept for its memory.
    parcels: Vec<Parcel>,
    /// How many turns there have been, and looks at the injector.
    turn: u64,
    tools: Tools,
}

impl Driver {
    pub(crate) fn new(arbiter: Arc<Arbiter>, order: Option<Entropy>) -> Self {
        Driver {
            arbiter,
            alarm: None,
            order,
            spent: VecDeque::new(),
            parcels: Vec::new(),
            turn: 0,
            tools: Tools::new(FutureBuffer::new()),
        }
    }

    /// Its arbiter.
    pub(crate) fn arbiter(&self) -> &Arc<Arbiter> {
        &self.arbiter
    }

    /// Something else is in hand from now on: the watchdog counts its time anew.
    #[inline]
    fn begin_turn(&mut self) {
        self.turn += 1;
        self.arbiter.in_hand().set_turn(self.turn);
    }

    fn take_injected(&mut self) {
        let arbiter = &self.arbiter;
        if !arbiter.injector.take(&mut self.parcels) {
            return;
        }
        for parcel in self.parcels.drain(..) {
            match parcel {
                Parcel::Run(run) => {
                    if let Some(local) = arbiter.local.enter()
                        && run.note_queued()
                    {
                        local.queue.borrow_mut().push_back(run);
                    }
                }
                Parcel::Wake(waker) => waker.wake(),
                Parcel::Call(call) => call(),
            }
        }
    }

    #[inline]
    fn next(&mut self) -> Option<Arc<dyn Run>> {
        let local = self.arbiter.local.enter()?;
        let mut queue = local.queue.borrow_mut();
        match &self.order {
            None => queue.pop_front(),
            Some(order) => draw(order, &mut queue, &mut self.spent),
        }
    }

    fn mark(&self, awake: bool) {
        if let Some(local) = self.arbiter.local.enter() {
            local.awake.set(awake);
            local.in_turn.set(awake);
        }
    }

    /// Wakes the asks whose deadline has come.
    fn fire_deadlines(&mut self) {
        let arbiter = &self.arbiter;
        let earliest = arbiter.with_deadlines(|deadlines| deadlines.earliest());
        if earliest.is_none_or(|earliest| earliest == Instant::FAR)
            || !earliest.is_some_and(|earliest| arbiter.clock.has_passed(earliest))
        {
            return;
        }
        let now = arbiter.clock.now();
        let due = arbiter.with_deadlines(|deadlines| deadlines.fire(now));
        due.into_iter().flatten().for_each(Waker::wake);
    }

    /// Sees to it that the driver wakes for the next deadline.
    fn set_alarm(&mut self, cx: &mut Context<'_>) {
        let Some(local) = self.arbiter.local.enter() else {
            return;
        };
        let earliest = local.deadlines.borrow().earliest();
        // An alarm that is too early does no harm: it finds the next one to set.
        if earliest >= local.alarm.get() && self.alarm.as_ref().is_some_and(Sleep::is_armed) {
            return;
        }
        drop(local);
        self.alarm = None;
        let mut due = Instant::FAR;
        if earliest != Instant::FAR {
            let mut alarm = self.arbiter.clock.sleep_until(earliest);
            if Pin::new(&mut alarm).poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            } else {
                due = earliest;
                self.alarm = Some(alarm);
            }
        }
        if let Some(local) = self.arbiter.local.enter() {
            local.alarm.set(due);
        }
    }

    /// Gives turns until nobody has anything to do, or the budget is spent. Answers how many.
    fn give_turns(&mut self) -> u32 {
        let mut turns = 0;
        while turns < TURNS {
            if turns % LOOK == 0 {
                self.take_injected();
                self.tools.forget_time();
            }
            let mut next = self.next();
            if next.is_none() {
                // The last look before it rests.
                self.take_injected();
                next = self.next();
            }
            let Some(run) = next else { break };
            turns += 1;
            self.give_turn(run);
        }
        turns
    }

    #[inline]
    fn give_turn(&mut self, run: Arc<dyn Run>) {
        crate::current::reset_streak();
        self.begin_turn();
        let again = run.turn(&mut self.tools);
        let Some(local) = self.arbiter.local.enter() else {
            return;
        };
        if let Some(run) = again.filter(|run| run.note_queued()) {
            let mut queue = local.queue.borrow_mut();
            if self.order.is_some() && !queue.is_empty() {
                self.spent.push_back((queue.len(), run));
            } else {
                queue.push_back(run);
            }
        }
        let has_mail = {
            let outgoing = local.outgoing.borrow();
            outgoing.iter().any(|outbox| !outbox.parcels.is_empty())
        };
        drop(local);
        if has_mail {
            self.flush();
        }
    }

    /// Hands over what the turn has for other arbiters, each once.
    fn flush(&self) {
        let Some(local) = self.arbiter.local.enter() else {
            return;
        };
        // Nobody puts anything out meanwhile: handing over runs no code of others but a waker's.
        let mut outgoing = local.outgoing.take();
        drop(local);
        for outbox in outgoing
            .iter_mut()
            .filter(|outbox| !outbox.parcels.is_empty())
        {
            outbox.to.inject(outbox.parcels.drain(..));
        }
        if let Some(local) = self.arbiter.local.enter() {
            let meanwhile = local.outgoing.replace(outgoing);
            drop(local);
            for outbox in meanwhile {
                outbox.to.inject(outbox.parcels);
            }
        }
    }
}

/// Draws who is next. Those who have spent a budget are in the draw again once so many others were drawn as
/// waited then.
fn draw(
    order: &Entropy,
    queue: &mut VecDeque<Arc<dyn Run>>,
    spent: &mut VecDeque<(usize, Arc<dyn Run>)>,
) -> Option<Arc<dyn Run>> {
    if queue.is_empty() {
        queue.extend(spent.drain(..).map(|(_, run)| run));
    }
    let index = match queue.len() {
        0 | 1 => 0,
        many => usize::try_from(order.below(many as u64)).unwrap_or(0),
    };
    let run = queue.remove(index)?;
    for _ in 0..spent.len() {
        match spent.pop_front() {
            Some((others @ 2.., run)) => spent.push_back((others - 1, run)),
            Some((_, run)) => queue.push_back(run),
            None => {}
        }
    }
    Some(run)
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.arbiter.driver.register(cx.waker());
        self.arbiter.injector.listen();
        // Before it takes anything in.
        self.arbiter.stillness.moves();
        self.mark(true);
        self.begin_turn();
        self.fire_deadlines();
        let turns = self.give_turns();
        self.set_alarm(cx);
        let arbiter = &self.arbiter;
        let counted = arbiter.turns.load(Ordering::Relaxed) + u64::from(turns);
        arbiter.turns.store(counted, Ordering::Relaxed);
        self.flush();
        self.mark(false);
        self.arbiter.in_hand().set_turn(0);
        // From here on who hands something over wakes this task; what came before, and a spent budget, it must
        // see to itself.
        let missed = self.arbiter.injector.rest();
        if turns == TURNS || missed {
            cx.waker().wake_by_ref();
        } else {
            self.arbiter.stillness.rests();
        }
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let arbiter = &self.arbiter;
        let before = enter(Some(Arc::clone(arbiter)));
        arbiter.refuse_parcels();
        for cell in arbiter.cells() {
            cell.abandon();
        }
        let tasks = arbiter
            .local
            .enter()
            .map(|local| local.tasks.borrow_mut().take());
        for task in tasks.into_iter().flatten() {
            task.end();
        }
        self.spent.clear();
        if let Some(local) = arbiter.local.enter() {
            let queue = local.queue.take();
            drop(local);
            drop(queue);
        }
        self.flush();
        // Arbiters of one system know each other by these; nobody would be freed.
        let outgoing = arbiter.local.enter().map(|local| local.outgoing.take());
        drop(outgoing);
        enter(before);
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("arbiter", &self.arbiter)
            .finish_non_exhaustive()
    }
}
