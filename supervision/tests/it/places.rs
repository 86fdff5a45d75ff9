//! Places that a test drives: children without anything behind them, as slow, deaf or immortal as they are told to be.
//!
//! Each notes what is asked of it and when, and what a place may demand and doesn't get: see [`World::check`].

use std::sync::Arc;
use std::time::Duration;

use callboard::clock::Instant;
use callboard::{
    ChildEvent, ChildKind, ChildStatus, ExitReason, Fault, Incarnation, Place, Placement, System,
    Terms,
};
use parking_lot::Mutex;

/// All places of a test, and what happened to them.
#[derive(Clone)]
pub(crate) struct World {
    system: System,
    began: Instant,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    log: Vec<(Duration, String)>,
    wrong: Vec<String>,
    places: Vec<Arc<FakePlace>>,
}

/// How a place behaves from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ways {
    /// How long a start takes; without any time, its answer comes from inside the call.
    pub(crate) start: Duration,
    /// How many of the next starts fail.
    pub(crate) failing: u32,
    /// How they fail.
    pub(crate) fault: Fault,
    /// A start is answered by "nothing to do".
    pub(crate) ignores: bool,
    /// A start is never answered.
    pub(crate) mute: bool,
    pub(crate) stop: Duration,
    /// A request to stop is of no effect.
    pub(crate) deaf: bool,
    pub(crate) kill: Duration,
    /// Killing is of no effect.
    pub(crate) immortal: bool,
    /// It says everything twice, and the last of a life once more when the next one is up.
    pub(crate) chatters: bool,
}

impl Default for Ways {
    fn default() -> Self {
        Ways {
            start: Duration::ZERO,
            failing: 0,
            fault: "no luck".into(),
            ignores: false,
            mute: false,
            stop: Duration::ZERO,
            deaf: false,
            kill: Duration::ZERO,
            immortal: false,
            chatters: false,
        }
    }
}

/// One of them.
pub(crate) struct FakePlace {
    pub(crate) name: String,
    world: World,
    life: Mutex<Life>,
}

#[derive(Default)]
struct Life {
    ways: Ways,
    incarnation: u64,
    terms: Option<Terms>,
    up: bool,
    asked: bool,
    closed: Option<ExitReason>,
    starts: u32,
    /// What was said last of the life before.
    last_word: Option<(Terms, Incarnation, ChildEvent)>,
}

impl World {
    pub(crate) fn new(system: &System) -> Self {
        World {
            system: system.clone(),
            began: system.clock().now(),
            state: Arc::default(),
        }
    }

    pub(crate) fn place(&self, name: impl Into<String>) -> Arc<FakePlace> {
        let place = Arc::new(FakePlace {
            name: name.into(),
            world: self.clone(),
            life: Mutex::default(),
        });
        self.state.lock().places.push(Arc::clone(&place));
        place
    }

    /// What was asked of places, with the time since the world was made.
    pub(crate) fn log(&self) -> Vec<(Duration, String)> {
        self.state.lock().log.clone()
    }

    /// The same without times.
    pub(crate) fn lines(&self) -> Vec<String> {
        let log = self.log();
        log.into_iter().map(|(_, line)| line).collect()
    }

    /// The same, and forgets it.
    pub(crate) fn take_lines(&self) -> Vec<String> {
        let log = std::mem::take(&mut self.state.lock().log);
        log.into_iter().map(|(_, line)| line).collect()
    }

    pub(crate) fn now(&self) -> Duration {
        self.system.clock().now().since(self.began)
    }

    fn note(&self, line: String) {
        let now = self.now();
        self.state.lock().log.push((now, line));
    }

    fn wrong(&self, what: String) {
        self.note(format!("WRONG: {what}"));
        self.state.lock().wrong.push(what);
    }

    /// Fails if a supervisor did to a place what it may not. (A panic inside a place would be its own business: G10.)
    pub(crate) fn check(&self) {
        let state = self.state.lock();
        assert!(
            state.wrong.is_empty(),
            "{:?}\n{:#?}",
            state.wrong,
            state.log
        );
    }

    /// [`check`](World::check); besides no place lives, and each was closed.
    pub(crate) fn check_over(&self) {
        self.check();
        let state = self.state.lock();
        for place in &state.places {
            let life = place.life.lock();
            let over = life.terms.is_none() && life.closed.is_some();
            assert!(over, "`{}` is not over\n{:#?}", place.name, state.log);
        }
    }
}

impl FakePlace {
    /// Changes how it behaves.
    pub(crate) fn ways(&self, change: impl FnOnce(&mut Ways)) {
        change(&mut self.life.lock().ways);
    }

    pub(crate) fn starts(&self) -> u32 {
        self.life.lock().starts
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.life.lock().terms.is_some()
    }

    pub(crate) fn is_up(&self) -> bool {
        let life = self.life.lock();
        life.terms.is_some() && life.up
    }

    pub(crate) fn closed(&self) -> Option<ExitReason> {
        self.life.lock().closed.clone()
    }

    /// Ends by itself, if it lives: fails to start, where it isn't up.
    pub(crate) fn end(&self, reason: ExitReason) {
        let number = self.life.lock().incarnation;
        self.last(number, ChildEvent::Ended(reason));
    }

    /// Fails in a way that a new start may help.
    pub(crate) fn crash(&self) {
        self.end(ExitReason::Failed("crash".into()));
    }

    /// Says something that is no end.
    pub(crate) fn say(&self, event: ChildEvent) {
        let (terms, number) = {
            let life = self.life.lock();
            (life.terms.clone(), Incarnation(life.incarnation))
        };
        if let Some(terms) = terms {
            terms.tell(number, event);
        }
    }

    /// The last word of that incarnation, unless it was said.
    fn last(&self, number: u64, event: ChildEvent) {
        let (terms, chatters) = {
            let mut life = self.life.lock();
            if life.incarnation != number {
                return;
            }
            let Some(terms) = life.terms.take() else {
                return;
            };
            life.up = false;
            life.asked = false;
            life.last_word = Some((terms.clone(), Incarnation(number), event.clone()));
            (terms, life.ways.chatters)
        };
        terms.tell(Incarnation(number), event.clone());
        if chatters {
            terms.tell(Incarnation(number), event);
        }
    }

    fn started(&self, number: u64) {
        let (terms, fails, ignores) = {
            let mut life = self.life.lock();
            if life.incarnation != number || life.terms.is_none() || life.ways.mute {
                return;
            }
            let fails = life.ways.failing > 0;
            life.ways.failing = life.ways.failing.saturating_sub(1);
            let fails = fails.then(|| life.ways.fault.clone());
            life.up = fails.is_none() && !life.ways.ignores;
            (life.terms.clone(), fails, life.ways.ignores)
        };
        let Some(terms) = terms else {
            return;
        };
        match fails {
            Some(fault) => self.last(number, ChildEvent::StartFailed(fault)),
            None if ignores => self.last(number, ChildEvent::Ignored),
            None => {
                terms.tell(Incarnation(number), ChildEvent::Started);
                let earlier = {
                    let life = self.life.lock();
                    life.last_word.clone().filter(|_| life.ways.chatters)
                };
                if let Some((terms_before, before, word)) = earlier {
                    terms.tell(Incarnation(number), ChildEvent::Started);
                    terms_before.tell(before, word);
                }
            }
        }
    }

    /// Does it after a while, or right away.
    fn later(self: &Arc<Self>, span: Duration, what: impl FnOnce(&Self) + Send + 'static) {
        if span.is_zero() {
            return what(self);
        }
        let place = Arc::clone(self);
        let sleep = self.world.system.clock().sleep(span);
        self.world
            .system
            .spawn(Placement::Spread, move || async move {
                sleep.await;
                what(&place);
            });
    }

    /// For a supervisor.
    pub(crate) fn of(self: &Arc<Self>) -> Arc<dyn Place> {
        Arc::new(Handle(Arc::clone(self)))
    }
}

/// What the supervisor has of it.
struct Handle(Arc<FakePlace>);

impl Place for Handle {
    fn label(&self) -> String {
        self.0.name.clone()
    }

    fn kind(&self) -> ChildKind {
        ChildKind::Task
    }

    fn start(&self, terms: Terms) {
        let place = &self.0;
        place.world.note(format!("start {}", place.name));
        let (number, span) = {
            let mut life = place.life.lock();
            if life.terms.is_some() {
                place
                    .world
                    .wrong(format!("{} started twice (G13)", place.name));
            }
            if life.closed.is_some() {
                place
                    .world
                    .wrong(format!("{} started after its end", place.name));
            }
            life.incarnation += 1;
            life.starts += 1;
            life.terms = Some(terms);
            (life.up, life.asked) = (false, false);
            (life.incarnation, life.ways.start)
        };
        place.later(span, move |place| place.started(number));
    }

    fn stop(&self) {
        let place = &self.0;
        place.world.note(format!("stop {}", place.name));
        let (number, span, deaf) = {
            let mut life = place.life.lock();
            if std::mem::replace(&mut life.asked, true) {
                place.world.wrong(format!("{} asked twice", place.name));
            }
            (life.incarnation, life.ways.stop, life.ways.deaf)
        };
        if !deaf {
            place.later(span, move |place| {
                place.last(number, ChildEvent::Ended(ExitReason::Stopped));
            });
        }
    }

    fn kill(&self) {
        let place = &self.0;
        place.world.note(format!("kill {}", place.name));
        let (number, span, immortal) = {
            let life = place.life.lock();
            (life.incarnation, life.ways.kill, life.ways.immortal)
        };
        if !immortal {
            place.later(span, move |place| {
                place.last(number, ChildEvent::Ended(ExitReason::Killed));
            });
        }
    }

    fn close(&self, reason: ExitReason) {
        let place = &self.0;
        place.world.note(format!("close {}", place.name));
        let mut life = place.life.lock();
        if life.terms.is_some() {
            place
                .world
                .wrong(format!("{} closed while it runs", place.name));
        }
        if life.closed.replace(reason).is_some() {
            place.world.wrong(format!("{} closed twice", place.name));
        }
    }

    fn status(&self) -> ChildStatus {
        ChildStatus::new(Incarnation(self.0.life.lock().incarnation))
    }
}
