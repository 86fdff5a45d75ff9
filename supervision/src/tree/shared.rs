//! What a supervisor, its references and its children's events share.
//!
//! The [engine](super::engine) decides; this holds it under one lock and feeds it. Whoever brings an event or an order has
//! the engine decide there and then, on its own thread, and does what came of it outside the lock: a restart crosses
//! no thread that it needn't cross. What is to be done is done in the order in which it was decided, by one thread at a
//! time: who comes meanwhile leaves its part to that one. The [loop](super::runner) on the supervisor's own thread is
//! there for what is due at some time.
//!
//! Nothing that is done here blocks or runs the code of children: an actor's factory runs in a turn of its own arbiter.
//! So no child that blocks its thread delays another's restart (G4).

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Poll, Waker};

use callboard_core::clock::{Clock, Instant};
use callboard_core::topic::Topic;
use callboard_core::{ChildEvent, ExitReason, Incarnation, System, Terms};
use parking_lot::Mutex;

use super::child::Spec;
use super::engine::{Action, ChildErrorKind, ChildId, End, Engine, Order, Rules, Waiter};
use super::event::{Happened, TreeEvent};

type Then = Box<dyn FnOnce() + Send>;

/// How much one caller does of what others have decided, before the supervisor's own thread goes on with it.
const BUDGET: usize = 256;

/// One life of one child. Its number is the machine's own, so that what a place says of an earlier one, late or twice,
/// is never taken for the end of this.
type Life = (ChildId, u64);

pub(crate) struct Tree {
    pub(crate) label: Arc<str>,
    pub(crate) clock: Clock,
    pub(crate) rules: Rules,
    state: Mutex<State>,
    above: Mutex<Weak<Tree>>,
    /// Made when somebody wants to listen.
    events: OnceLock<Topic<TreeEvent>>,
}

pub(crate) struct State {
    pub(crate) engine: Engine,
    /// There is an incarnation of the supervisor.
    pub(crate) present: bool,
    /// What was decided and is to be done, and whether somebody is about it.
    todo: Vec<Action>,
    performing: bool,
    /// Orders that wait for the first incarnation: as many as there may be children.
    orders: VecDeque<(Order, Waiter)>,
    pub(crate) stop: bool,
    /// No incarnation has begun as yet: orders wait for the first.
    fresh: bool,
    /// The loop has ended, with all that could be stopped.
    done: bool,
    closed: bool,
    looping: Option<Waker>,
    /// Until when the loop sleeps.
    sleeps_until: Instant,
    /// Those that look again after each change, by their numbers.
    waiting: Vec<(u64, Waker)>,
    last_waiting: u64,
    on_up: Option<Then>,
    on_idle: Option<Then>,
    on_stuck: Option<Then>,
}

impl Tree {
    pub(crate) fn new(
        label: Arc<str>,
        system: &System,
        rules: Rules,
        children: Vec<Arc<Spec>>,
    ) -> Arc<Self> {
        let mut engine = Engine::new(rules, system.entropy().clone());
        let below: Vec<_> = children.iter().map(Arc::clone).collect();
        for spec in children {
            engine.add(spec);
        }
        let state = State {
            engine,
            present: false,
            todo: Vec::new(),
            performing: false,
            orders: VecDeque::new(),
            stop: false,
            fresh: true,
            done: true,
            closed: false,
            looping: None,
            sleeps_until: Instant::FAR,
            waiting: Vec::new(),
            last_waiting: 0,
            on_up: None,
            on_idle: None,
            on_stuck: None,
        };
        let tree = Arc::new(Tree {
            label,
            clock: system.clock().clone(),
            rules,
            state: Mutex::new(state),
            above: Mutex::default(),
            events: OnceLock::new(),
        });
        below.iter().for_each(|spec| tree.adopt(spec));
        tree
    }

    /// A supervisor below tells this one of its changes.
    fn adopt(self: &Arc<Self>, spec: &Spec) {
        if let Some(below) = &spec.supervisor {
            *below.tree().above.lock() = Arc::downgrade(self);
        }
    }

    /// Looks at the state, or changes it, and does what came of it.
    fn with<T>(self: &Arc<Self>, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let done = work(&mut state);
        state.collect();
        if state.performing || state.todo.is_empty() {
            return done;
        }
        state.performing = true;
        let mut performed = 0;
        while !state.todo.is_empty() {
            if performed >= BUDGET
                && !state.done
                && let Some(looping) = state.looping.take()
            {
                // What others have decided meanwhile is not all this thread's to do (G5).
                state.performing = false;
                drop(state);
                looping.wake();
                return done;
            }
            let todo = std::mem::take(&mut state.todo);
            performed += todo.len();
            drop(state);
            for action in todo {
                self.perform_fenced(action);
            }
            state = self.state.lock();
        }
        state.performing = false;
        done
    }

    /// Only looks.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock())
    }

    /// The same as [`with`](Self::with), and tells who waits for a change, here and above.
    fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = self.with(change);
        self.tell_waiting();
        changed
    }

    pub(crate) fn tell_waiting(&self) {
        let waiting = std::mem::take(&mut self.state.lock().waiting);
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
        let above = self.above.lock().upgrade();
        if let Some(above) = above {
            above.tell_waiting();
        }
    }

    /// A new incarnation of the supervisor begins. None of the children lives.
    pub(crate) fn begin(self: &Arc<Self>) {
        let stuck = self.change(|state| {
            state.present = true;
            state.sleeps_until = Instant::FAR;
            state.stop = false;
            state.fresh = false;
            state.done = false;
            state.engine.begin();
            let now = self.clock.now();
            while let Some((order, waiter)) = state.orders.pop_front() {
                state.engine.order(order, waiter, now);
            }
            state.on_stuck.take()
        });
        drop(stuck);
    }

    /// Does all that can be done now. How it ended, if it has; else when to go on.
    pub(crate) fn step(self: &Arc<Self>) -> Result<End, Instant> {
        self.change(|state| {
            state.go_on(self.clock.now(), |_, _| {});
            match state.engine.outcome() {
                Some(end) => Ok(end.clone()),
                None => Err(state.engine.next_due()),
            }
        })
    }

    /// Has the engine take something in and decide, here and now; wakes the loop if that leads to something for it.
    fn decide(self: &Arc<Self>, feed: impl FnOnce(&mut State, Instant)) {
        let looping = self.change(|state| {
            state.go_on(self.clock.now(), feed);
            let earlier = state.engine.next_due() < state.sleeps_until;
            let wanted = earlier || state.engine.outcome().is_some();
            // Left there, too: to it goes what becomes too much for this thread. Woken once is enough.
            let looping = state.looping.clone().filter(|_| wanted);
            if looping.is_some() {
                state.sleeps_until = Instant::default();
            }
            looping
        });
        looping.into_iter().for_each(Waker::wake);
    }

    /// Whether this incarnation, or the last if there is none, was ever up.
    pub(crate) fn was_up(&self) -> bool {
        self.look(|state| state.engine.was_up())
    }

    /// Does something once every child is up; never, if the incarnation ends before.
    pub(crate) fn when_up(&self, then: Then) {
        let mut state = self.state.lock();
        if state.present && state.engine.is_up() {
            drop(state);
            then();
        } else {
            let before = state.on_up.replace(then);
            drop(state);
            drop(before);
        }
    }

    /// The loop has ended.
    pub(crate) fn finish(self: &Arc<Self>) {
        self.change(|state| {
            state.done = true;
            state.engine.leave();
        });
    }

    /// The supervisor's value is gone. If its loop did not end before (a kill), its children are killed.
    pub(crate) fn leave(self: &Arc<Self>) {
        let now = self.clock.now();
        // What they hold is dropped outside the lock: it may be the last to hold a supervisor.
        let over = self.change(|state| {
            state.present = false;
            if !std::mem::replace(&mut state.done, true) {
                state.engine.abandon(now);
            }
            (state.on_up.take(), state.looping.take())
        });
        drop(over);
        self.check_idle();
    }

    /// The supervisor is gone: calls those of its children stuck that were killed and have not ended in time. When to
    /// look again, if there are others.
    pub(crate) fn overdue(self: &Arc<Self>) -> Option<Instant> {
        let now = self.clock.now();
        let next = self.change(|state| {
            let gone = !state.present;
            gone.then(|| state.engine.overdue(now)).flatten()
        });
        self.check_idle();
        next
    }

    /// The same when nobody can wait that long.
    pub(crate) fn overdue_at_once(self: &Arc<Self>) {
        self.change(|state| {
            if !state.present {
                state.engine.overdue(Instant::FAR);
            }
        });
        self.check_idle();
    }

    /// Does something once no child lives, when the supervisor itself is gone; and something else when those that are
    /// left can't be ended.
    pub(crate) fn when_idle(&self, idle: Then, stuck: Then) {
        let mut state = self.state.lock();
        let before = (state.on_idle.replace(idle), state.on_stuck.replace(stuck));
        drop(state);
        drop(before);
        self.check_idle();
    }

    /// No incarnation of the supervisor follows: its children's references end, the last one's first.
    pub(crate) fn close(self: &Arc<Self>, reason: &ExitReason) {
        self.change(|state| {
            state.fresh = false;
            state.refuse_orders();
            state.engine.close(reason);
        });
    }

    /// They have.
    fn closed(&self) {
        self.state.lock().closed = true;
        self.tell_waiting();
        if let Some(events) = self.events.get() {
            events.stop();
        }
    }

    /// Ends the supervisor's loop in order.
    pub(crate) fn request_stop(self: &Arc<Self>) {
        self.state.lock().stop = true;
        self.decide(|_, _| {});
    }

    /// Gives the loop an order.
    pub(crate) fn order(self: &Arc<Self>, order: Order, waiter: Waiter) {
        let max = self.rules.max_children;
        self.decide(|state, now| {
            if state.fresh && state.orders.len() >= max {
                state
                    .engine
                    .refuse_for(order, waiter, ChildErrorKind::TooMany(max));
            } else if state.fresh {
                state.orders.push_back((order, waiter));
            } else if state.done {
                state.engine.refuse(order, waiter);
            } else {
                state.engine.order(order, waiter, now);
            }
        });
    }

    /// An event of a child, on whatever thread it happened.
    fn event(self: &Arc<Self>, life: Life, number: Incarnation, event: ChildEvent) {
        if let ChildEvent::Resumed(fault) = event {
            return self.resumed(life.0, number, fault);
        }
        self.decide(|state, now| {
            if state.done {
                state.note_end(life, &event);
            } else {
                state.engine.event(life.0, life.1, event, number, now);
            }
        });
        self.check_idle();
    }

    /// Noted here and not by the loop, which has nothing to decide: a child that complains a lot fills nothing.
    fn resumed(self: &Arc<Self>, id: ChildId, number: Incarnation, fault: callboard_core::Fault) {
        let cause = fault.to_string();
        let spec = self.change(|state| {
            let slot = state.engine.resumed(id, fault)?;
            Some(Arc::clone(&slot.spec))
        });
        if let Some(spec) = spec {
            let what = super::event::TreeEventKind::Resumed { cause };
            self.tell(&Happened {
                spec,
                incarnation: number.0,
                what,
            });
        }
    }

    fn check_idle(&self) {
        let mut state = self.state.lock();
        let (then, over) = if !state.done {
            (None, None)
        } else if !state.engine.lives() {
            (state.on_idle.take(), state.on_stuck.take())
        } else if !state.present && state.engine.only_stuck() {
            (state.on_stuck.take(), None)
        } else {
            (None, None)
        };
        drop(state);
        drop(over);
        if let Some(then) = then {
            then();
        }
    }

    /// Does what was decided. Places and those who listen are the code of others: a panic in it ends no supervisor (G10).
    fn perform_fenced(self: &Arc<Self>, action: Action) {
        let spec = action.spec().map(Arc::clone);
        if catch_unwind(AssertUnwindSafe(|| self.perform(action))).is_err() {
            let child = spec.as_ref().map_or("", |spec| &spec.label);
            tracing::error!(
                target: "callboard::supervisor",
                supervisor = %self.label, child, "the code of others panicked"
            );
        }
    }

    fn perform(self: &Arc<Self>, action: Action) {
        match action {
            Action::Start(id, life, spec) => self.start((id, life), &spec),
            Action::Stop(spec) => spec.place.stop(),
            Action::Kill(spec) => spec.place.kill(),
            Action::Close(spec, reason) => spec.place.close(reason),
            Action::Up => self.up(),
            Action::Closed => self.closed(),
            Action::Answer(answer) => answer.send(),
            Action::Tell(happened) => self.tell(&happened),
            Action::Forget(spec) => drop(spec),
        }
    }

    fn start(self: &Arc<Self>, life: Life, spec: &Spec) {
        self.adopt(spec);
        let told = Arc::clone(self);
        let on_event = move |number, event| told.event(life, number, event);
        let terms = spec.terms(Terms::new(Arc::new(on_event)));
        let start = AssertUnwindSafe(|| spec.place.start(terms));
        if catch_unwind(start).is_err() {
            // Without effect if the child's last event has come all the same.
            let why = "its place panicked while starting it".into();
            let status = catch_unwind(AssertUnwindSafe(|| spec.place.status()));
            let number = status.map_or(Incarnation(0), |status| status.incarnation);
            self.event(life, number, ChildEvent::StartFailed(why));
        }
    }

    fn up(&self) {
        tracing::info!(target: "callboard::supervisor", supervisor = %self.label, "up");
        let mut state = self.state.lock();
        // It may have been decided for an incarnation that is over, and another one begun meanwhile.
        let up = state.engine.was_up();
        let then = state.on_up.take_if(|_| up);
        drop(state);
        if let Some(then) = then {
            then();
        }
    }

    /// Tells the log, and those who listen, here and above.
    fn tell(&self, happened: &Happened) {
        let Happened {
            spec,
            incarnation,
            what,
        } = happened;
        if what.is_trouble() {
            tracing::warn!(target: "callboard::supervisor", supervisor = %self.label, child = %spec.label, "{what}");
        } else {
            tracing::info!(target: "callboard::supervisor", supervisor = %self.label, child = %spec.label, "{what}");
        }
        // Most trees have no listener: nothing is collected for one.
        let mut listeners: Vec<_> = self.events.get().cloned().into_iter().collect();
        let mut above = self.above.lock().upgrade();
        while let Some(tree) = above {
            listeners.extend(tree.events.get().cloned());
            above = tree.above.lock().upgrade();
        }
        if listeners.is_empty() {
            return;
        }
        let event = TreeEvent {
            at: self.clock.now(),
            supervisors: self.path(),
            child: spec.label.to_string(),
            kind: spec.kind,
            incarnation: *incarnation,
            what: what.clone(),
        };
        let subject = what.subject();
        for topic in listeners {
            // An error means that the topic has ended with its supervisor.
            let _ = topic.try_publish(&subject, event.clone());
        }
    }

    /// The labels of those above it and its own, from the top.
    fn path(&self) -> Vec<String> {
        let mut supervisors = vec![self.label.to_string()];
        let mut above = self.above.lock().upgrade();
        while let Some(tree) = above {
            supervisors.push(tree.label.to_string());
            above = tree.above.lock().upgrade();
        }
        supervisors.reverse();
        supervisors
    }

    /// The topic of what happens here and below.
    pub(crate) fn events(&self, system: &System) -> Topic<TreeEvent> {
        let make = || Topic::start(system, format!("events of {}", self.label));
        let events = self.events.get_or_init(make).clone();
        if self.is_closed() {
            // Nothing happens any more; who closed the tree may have looked before there was a topic.
            events.stop();
        }
        events
    }

    /// Waits for a point in time, or until something is due earlier, or all has ended.
    pub(crate) async fn wait(&self, until: Instant) {
        let mut due = self.clock.sleep_until(until);
        poll_fn(|cx| {
            let mut state = self.state.lock();
            let left = !state.todo.is_empty() && !state.performing;
            if left || state.engine.next_due() < until || state.engine.outcome().is_some() {
                return Poll::Ready(());
            }
            state.sleeps_until = until;
            state.looping = Some(cx.waker().clone());
            drop(state);
            std::pin::Pin::new(&mut due).poll(cx)
        })
        .await;
    }

    /// Waits until the tree looks as wanted. Looks again after each change, here and below.
    pub(crate) async fn until<T>(&self, mut wanted: impl FnMut(&Self) -> Option<T>) -> T {
        let looks = Looks::new(self);
        poll_fn(|cx| {
            looks.wait(cx.waker());
            wanted(self).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    pub(crate) fn is_up(&self) -> bool {
        self.look(|state| state.present && state.engine.is_up())
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state.lock().done
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Its place is gone, so nobody can start it any more: ends the references to it and to its children, unless it
    /// runs.
    pub(crate) fn place_gone(self: &Arc<Self>) {
        if self.look(|state| state.done && !state.closed && !state.engine.lives()) {
            self.close(&ExitReason::Stopped);
        }
    }

    /// Whether it is that one, or below it.
    pub(crate) fn is_at_or_below(self: &Arc<Self>, other: &Arc<Tree>) -> bool {
        let mut next = Some(Arc::clone(self));
        while let Some(tree) = next {
            if Arc::ptr_eq(&tree, other) {
                return true;
            }
            next = tree.above.lock().upgrade();
        }
        false
    }

    /// The supervisor is gone and what is left of its children can't be ended.
    pub(crate) fn only_stuck(&self) -> bool {
        self.look(|state| !state.present && state.engine.only_stuck())
    }
}

impl State {
    /// Has the engine take something in, and do what it can.
    fn go_on(&mut self, now: Instant, feed: impl FnOnce(&mut State, Instant)) {
        // A request to stop goes before what has happened to the children (G4).
        if self.stop && !self.done {
            self.engine.finish(End::Stopped);
        }
        feed(self, now);
        if !self.done {
            self.engine.go_on(now);
        }
    }

    /// Takes what was decided, behind what is still to be done.
    fn collect(&mut self) {
        let mut actions = self.engine.take_actions();
        self.todo.append(&mut actions);
    }

    /// An event when nothing is decided any more.
    fn note_end(&mut self, (id, life): Life, event: &ChildEvent) {
        match event {
            ChildEvent::StartFailed(why) => {
                self.engine
                    .note_end(id, life, ExitReason::Failed(why.clone()));
            }
            ChildEvent::Ignored => self.engine.note_end(id, life, ExitReason::Stopped),
            ChildEvent::Ended(reason) => self.engine.note_end(id, life, reason.clone()),
            ChildEvent::Stuck => self.engine.note_stuck(id, life),
            _ => {}
        }
    }

    fn refuse_orders(&mut self) {
        while let Some((order, waiter)) = self.orders.pop_front() {
            self.engine.refuse(order, waiter);
        }
    }
}

/// Somebody who looks at the tree after each change, until this is dropped.
struct Looks<'a> {
    tree: &'a Tree,
    number: u64,
}

impl<'a> Looks<'a> {
    fn new(tree: &'a Tree) -> Self {
        let mut state = tree.state.lock();
        state.last_waiting += 1;
        Looks {
            tree,
            number: state.last_waiting,
        }
    }

    fn wait(&self, waker: &Waker) {
        let mut state = self.tree.state.lock();
        let mut waiting = state.waiting.iter_mut();
        let before = match waiting.find(|(number, _)| *number == self.number) {
            Some((_, before)) if before.will_wake(waker) => None,
            Some((_, before)) => Some(std::mem::replace(before, waker.clone())),
            None => {
                state.waiting.push((self.number, waker.clone()));
                None
            }
        };
        drop(state);
        // Dropping a waker is the code of others.
        drop(before);
    }
}

impl Drop for Looks<'_> {
    fn drop(&mut self) {
        let mut state = self.tree.state.lock();
        let mut waiting = state.waiting.iter();
        let place = waiting.position(|(number, _)| *number == self.number);
        let gone = place.map(|place| state.waiting.swap_remove(place));
        drop(state);
        drop(gone);
    }
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree")
            .field("label", &self.label)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}
