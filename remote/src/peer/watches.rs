//! What is watched over there, over any number of sessions (G12).
//!
//! What is watched is a *subject*: a name and a message type. It has a number, under which the other side tells of
//! it, and any number of watchers here. Who ended is told by the *identity* of a subject: its node, that node's
//! incarnation, and its number in its process. So a name that leads to somebody else, after no session was there to
//! tell of it, is found to be another.
//!
//! Watchers are called without any lock, one event after the other. What happened while one is being called is
//! joined to what it doesn't know yet: the last restart, whether there is a connection, the end. So nothing piles up.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use callboard::{
    ActorId, ExitReason, Failure, Fault, Incarnation, LifeEvent, OnEnd, OnLife, Terminated, Unwatch,
};
use parking_lot::Mutex;

use crate::session::Session;
use crate::wire::frame::{Kind, put_frame};
use crate::wire::limits::MIN_MAX_FRAME;
use crate::wire::watching::{Life, Watch};

/// See the module.
#[derive(Default)]
pub(crate) struct Watches {
    inner: Mutex<Inner>,
    queue: Mutex<Queue>,
}

/// Those who are to be told by a task, each once.
#[derive(Default)]
struct Queue {
    watchers: Vec<Arc<Watcher>>,
    has_task: bool,
}

#[derive(Default)]
struct Inner {
    session: Option<Arc<Session>>,
    is_connected: bool,
    /// Why nothing can be watched any more.
    over: Option<ExitReason>,
    /// By the number that the other side knows.
    subjects: BTreeMap<u64, Subject>,
    numbers: HashMap<Target, u64>,
    /// Which subject a watcher watches.
    watchers: HashMap<u64, u64>,
    last_watcher: u64,
}

/// What is watched, as the other side finds it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub(super) name: Arc<str>,
    pub(super) type_name: &'static str,
    pub(super) version: u32,
    pub(super) id: ActorId,
    /// For people.
    pub(super) label: Arc<str>,
}

struct Subject {
    target: Target,
    /// Who it was when that was heard last.
    identity: Option<Identity>,
    incarnation: Incarnation,
    /// Whether the other side has said that it watches, in the session there is now.
    is_confirmed: bool,
    /// Whether nothing is heard from there.
    is_away: bool,
    /// Whether the other side says the same of itself.
    is_far: bool,
    watchers: BTreeMap<u64, Arc<Watcher>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    node: String,
    node_incarnation: Incarnation,
    /// In its process.
    number: u64,
}

/// What a watcher is called by.
pub(super) enum OnNews {
    End(OnEnd),
    Life(OnLife),
}

/// One watcher, and what it doesn't know yet.
pub(crate) struct Watcher {
    news: Mutex<News>,
}

struct News {
    target: Target,
    /// `None` once nothing more is to be told.
    to: Option<OnNews>,
    /// Somebody is telling it.
    is_busy: bool,
    is_queued: bool,
    restarted: Option<(Incarnation, ExitReason)>,
    is_away: bool,
    told_away: bool,
    ended: Option<(Incarnation, ExitReason)>,
}

/// Those who have something to hear, once no lock is held.
#[must_use = "nobody is told until `tell` is called"]
#[derive(Default)]
pub(crate) struct Told(Vec<Arc<Watcher>>);

impl Told {
    /// Tells them. Calls code of others.
    pub(crate) fn tell(self) {
        for watcher in self.0 {
            watcher.tell();
        }
    }
}

impl Watches {
    /// Begins a watch: its number, and who is told something at once. `None` if it is over with that.
    pub(super) fn add(
        &self,
        target: Target,
        to: OnNews,
        fresh_number: impl FnOnce() -> u64,
    ) -> (Option<u64>, Told) {
        let watcher = Watcher::new(&target, to);
        let told = Told(vec![Arc::clone(&watcher)]);
        let mut inner = self.inner.lock();
        if let Some(reason) = inner.over.clone() {
            drop(inner);
            watcher.end(Incarnation::default(), reason);
            return (None, told);
        }
        inner.last_watcher += 1;
        let number = inner.last_watcher;
        let subject = match inner.numbers.get(&target) {
            Some(subject) => *subject,
            None => inner.begin(target, fresh_number()),
        };
        inner.watchers.insert(number, subject);
        if let Some(subject) = inner.subjects.get_mut(&subject) {
            watcher.note_away(subject.is_away || subject.is_far);
            subject.watchers.insert(number, watcher);
        }
        (Some(number), told)
    }

    /// Keeps them for a task. Answers whether one has to be started.
    pub(super) fn queue(&self, told: Told) -> bool {
        let mut queue = self.queue.lock();
        for watcher in told.0 {
            let was_queued = std::mem::replace(&mut watcher.news.lock().is_queued, true);
            if !was_queued {
                queue.watchers.push(watcher);
            }
        }
        let starts = !queue.has_task && !queue.watchers.is_empty();
        queue.has_task |= starts;
        starts
    }

    /// What that task does.
    pub(super) fn tell_queued(&self) {
        loop {
            let mut queue = self.queue.lock();
            let watchers = std::mem::take(&mut queue.watchers);
            queue.has_task = !watchers.is_empty();
            drop(queue);
            if watchers.is_empty() {
                return;
            }
            for watcher in watchers {
                watcher.news.lock().is_queued = false;
                watcher.tell();
            }
        }
    }

    /// Ends a watch from this side.
    fn remove(&self, watcher: u64) {
        let mut inner = self.inner.lock();
        let Some(number) = inner.watchers.remove(&watcher) else {
            return;
        };
        let Some(subject) = inner.subjects.get_mut(&number) else {
            return;
        };
        let removed = subject.watchers.remove(&watcher);
        if subject.watchers.is_empty() {
            inner.take(number);
            if let Some(session) = &inner.session {
                session.say(Kind::Unwatch, number);
            }
        }
        drop(inner);
        if let Some(watcher) = removed {
            watcher.forget();
        }
    }

    /// A new session: everything is watched again, and what was at the end of another node has ended.
    pub(super) fn began(&self, session: &Arc<Session>) -> Told {
        let mut inner = self.inner.lock();
        // Whoever ends it looks for it here only after it has said that it has ended.
        if inner.over.is_some() || session.ended().is_some() {
            return Told::default();
        }
        inner.session = Some(Arc::clone(session));
        inner.is_connected = session.is_attached();
        let theirs = &session.theirs;
        let is_gone = |subject: &Subject| {
            let identity = subject.identity.as_ref();
            identity.is_some_and(|was| {
                was.node != theirs.node || was.node_incarnation != theirs.incarnation
            })
        };
        let gone: Vec<u64> = inner.those(is_gone);
        let why = format!(
            "its node came back as {} ({})",
            theirs.node, theirs.incarnation
        );
        let told = inner.end(&gone, &lost(why));
        for (number, subject) in &mut inner.subjects {
            subject.is_confirmed = false;
            session.answer(subject.target.frame(*number));
        }
        told
    }

    /// A connection of the session was lost, or is there again: which of the two is looked up here, so that the last
    /// who comes is right.
    pub(super) fn refresh(&self, session: &Session) -> Told {
        let mut inner = self.inner.lock();
        if !inner.is_current(session) {
            return Told::default();
        }
        let is_connected = session.is_attached();
        inner.is_connected = is_connected;
        inner.change(|subject| {
            if !is_connected {
                subject.is_away = true;
            } else if subject.is_confirmed {
                subject.is_away = false;
            }
        })
    }

    /// The session has ended. If there can't be another that leads to the same process, so has everybody there.
    pub(super) fn session_ended(&self, session: &Session, and_all: Option<&str>) -> Told {
        let mut inner = self.inner.lock();
        if !inner.is_current(session) {
            return Told::default();
        }
        inner.session = None;
        inner.is_connected = false;
        if let Some(why) = and_all {
            let all = inner.those(|subject| subject.identity.is_some());
            let mut told = inner.end(&all, &lost(why));
            told.0.extend(inner.go_away().0);
            return told;
        }
        inner.go_away()
    }

    /// Nothing more will be heard: every watch ends, and so does each that is begun from now on.
    pub(super) fn close(&self, reason: &ExitReason) -> Told {
        let mut inner = self.inner.lock();
        if inner.over.is_some() {
            return Told::default();
        }
        inner.over = Some(reason.clone());
        inner.session = None;
        let all = inner.those(|_| true);
        inner.end(&all, reason)
    }

    /// The other side tells of a subject. Of one that isn't watched any more that may still be on its way.
    pub(super) fn life(&self, session: &Session, number: u64, life: Life) -> Told {
        let mut inner = self.inner.lock();
        if !inner.is_current(session) {
            return Told::default();
        }
        let Some(subject) = inner.subjects.get_mut(&number) else {
            return Told::default();
        };
        match life {
            Life::Holds(theirs) => {
                let identity = Identity {
                    node: session.theirs.node.clone(),
                    node_incarnation: session.theirs.incarnation,
                    number: theirs,
                };
                if subject.identity.get_or_insert_with(|| identity.clone()) != &identity {
                    session.say(Kind::Unwatch, number);
                    return inner.end(&[number], &lost("somebody else has its name now"));
                }
                subject.is_confirmed = true;
                (subject.is_away, subject.is_far) = (false, false);
                subject.news()
            }
            Life::Restarted(incarnation, end) => {
                subject.incarnation = incarnation;
                for watcher in subject.watchers.values() {
                    watcher.restarted(incarnation, end.into());
                }
                subject.news()
            }
            Life::NoConnection => {
                subject.is_far = true;
                subject.news()
            }
            Life::Reconnected => {
                subject.is_far = false;
                subject.news()
            }
            Life::Terminated(incarnation, end) => {
                let mut reason = ExitReason::from(end);
                if reason == ExitReason::NeverExisted && subject.identity.is_some() {
                    // It did.
                    reason = lost("nothing has its name any more");
                }
                subject.incarnation = incarnation;
                inner.end(&[number], &reason)
            }
        }
    }

    /// The other side refuses to tell of a subject. `None` if there is none with that number.
    pub(super) fn refused(
        &self,
        session: &Session,
        number: u64,
        failure: &Failure,
    ) -> Option<Told> {
        let mut inner = self.inner.lock();
        if !inner.is_current(session) || !inner.subjects.contains_key(&number) {
            return None;
        }
        let reason = ExitReason::Failed(Fault::fatal(format!("it can't be watched: {failure}")));
        Some(inner.end(&[number], &reason))
    }
}

impl Unwatch for Watches {
    fn unwatch(&self, number: u64) {
        self.remove(number);
    }
}

/// That it has ended is certain, and how is not known.
pub(super) fn lost(why: impl fmt::Display) -> ExitReason {
    ExitReason::Failed(Fault::from(format!("its process was lost: {why}")))
}

impl Inner {
    fn is_current(&self, session: &Session) -> bool {
        let current = self.session.as_ref();
        current.is_some_and(|current| current.number == session.number)
    }

    fn begin(&mut self, target: Target, number: u64) -> u64 {
        if let Some(session) = &self.session {
            session.answer(target.frame(number));
        }
        self.numbers.insert(target.clone(), number);
        let subject = Subject {
            target,
            identity: None,
            incarnation: Incarnation::default(),
            is_confirmed: false,
            is_away: !self.is_connected,
            is_far: false,
            watchers: BTreeMap::new(),
        };
        self.subjects.insert(number, subject);
        number
    }

    fn take(&mut self, number: u64) -> Option<Subject> {
        let subject = self.subjects.remove(&number)?;
        self.numbers.remove(&subject.target);
        for watcher in subject.watchers.keys() {
            self.watchers.remove(watcher);
        }
        Some(subject)
    }

    fn those(&self, are: impl Fn(&Subject) -> bool) -> Vec<u64> {
        let subjects = self.subjects.iter();
        let those = subjects.filter(|(_, subject)| are(subject));
        those.map(|(number, _)| *number).collect()
    }

    fn end(&mut self, numbers: &[u64], reason: &ExitReason) -> Told {
        let mut told = Told::default();
        for number in numbers {
            let Some(subject) = self.take(*number) else {
                continue;
            };
            for watcher in subject.watchers.into_values() {
                watcher.end(subject.incarnation, reason.clone());
                told.0.push(watcher);
            }
        }
        told
    }

    fn go_away(&mut self) -> Told {
        self.change(|subject| {
            subject.is_confirmed = false;
            (subject.is_away, subject.is_far) = (true, false);
        })
    }

    fn change(&mut self, change: impl Fn(&mut Subject)) -> Told {
        let mut told = Told::default();
        for subject in self.subjects.values_mut() {
            change(subject);
            told.0.extend(subject.news().0);
        }
        told
    }
}

impl Subject {
    fn news(&self) -> Told {
        let is_away = self.is_away || self.is_far;
        let watchers = self.watchers.values();
        let told = watchers.map(|watcher| {
            watcher.note_away(is_away);
            Arc::clone(watcher)
        });
        Told(told.collect())
    }
}

impl Target {
    fn frame(&self, number: u64) -> Vec<u8> {
        let watch = Watch {
            version: self.version,
            name: &self.name,
            type_name: self.type_name,
        };
        let mut frame = Vec::new();
        // Two names: always below the smallest limit.
        let _ = put_frame(&mut frame, Kind::Watch, 0, number, MIN_MAX_FRAME, |out| {
            watch.put(out);
        });
        frame
    }
}

impl Watcher {
    fn new(target: &Target, to: OnNews) -> Arc<Self> {
        Arc::new(Watcher {
            news: Mutex::new(News {
                target: target.clone(),
                to: Some(to),
                is_busy: false,
                is_queued: false,
                restarted: None,
                is_away: false,
                told_away: false,
                ended: None,
            }),
        })
    }

    fn note_away(&self, is_away: bool) {
        self.news.lock().is_away = is_away;
    }

    fn restarted(&self, incarnation: Incarnation, reason: ExitReason) {
        self.news.lock().restarted = Some((incarnation, reason));
    }

    fn end(&self, incarnation: Incarnation, reason: ExitReason) {
        self.news.lock().ended = Some((incarnation, reason));
    }

    /// Tells nothing any more.
    fn forget(&self) {
        let to = self.news.lock().to.take();
        // Code of others.
        drop(to);
    }

    /// Tells what it doesn't know yet, unless somebody is at it, who will tell this too.
    fn tell(&self) {
        let mut news = self.news.lock();
        if news.is_busy {
            return;
        }
        while let Some(call) = news.next() {
            news.is_busy = true;
            drop(news);
            // One that panics keeps nobody from being told, and harms nobody of this thread (G10).
            if catch_unwind(AssertUnwindSafe(call)).is_err() {
                tracing::error!(target: "callboard::remote", "a watcher panicked");
            }
            news = self.news.lock();
            news.is_busy = false;
        }
    }
}

impl News {
    /// What to do next.
    fn next(&mut self) -> Option<Box<dyn FnOnce()>> {
        if let Some((incarnation, reason)) = self.ended.take() {
            let notice = Terminated {
                id: self.target.id,
                label: self.target.label.to_string(),
                reason,
                incarnation,
            };
            return Some(match self.to.take()? {
                OnNews::End(on_end) => Box::new(move || on_end(notice)),
                OnNews::Life(on_life) => Box::new(move || on_life(LifeEvent::Terminated(notice))),
            });
        }
        let Some(OnNews::Life(on_life)) = &self.to else {
            return None;
        };
        let (id, label) = (self.target.id, self.target.label.to_string());
        let event = if let Some((incarnation, reason)) = self.restarted.take() {
            LifeEvent::Restarted {
                id,
                label,
                incarnation,
                reason,
            }
        } else if self.is_away && !self.told_away {
            LifeEvent::NoConnection { id, label }
        } else if !self.is_away && self.told_away {
            LifeEvent::Reconnected { id, label }
        } else {
            return None;
        };
        if !matches!(event, LifeEvent::Restarted { .. }) {
            self.told_away = self.is_away;
        }
        let on_life = Arc::clone(on_life);
        Some(Box::new(move || on_life(event)))
    }
}
