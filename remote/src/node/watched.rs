//! What the other side of a session watches here (G12).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use callboard::{Failure, FailureKind, Incarnation, LifeEvent, OnLife, Verdict, WatchHandle};

use super::Core;
use crate::rights::Decision;
use crate::session::Session;
use crate::wire::frame::{Kind, put_frame};
use crate::wire::limits::MIN_MAX_FRAME;
use crate::wire::watching::{End, Life, OwnedWatch};

/// The watches of one session, by the numbers that the other side gave them. With it they end.
#[derive(Default)]
pub(crate) struct Watched {
    handles: HashMap<u64, WatchHandle>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.handles.values().for_each(WatchHandle::cancel);
    }
}

impl Watched {
    /// Begins a watch, or answers why not. Whoever may send to a name may watch it.
    pub(crate) fn watch(&mut self, session: &Arc<Session>, number: u64, wanted: OwnedWatch) {
        let node = session.node();
        let refuse = |failure: &Failure| {
            if let Some(node) = &node {
                node.counters.failed(failure.kind());
            }
            session.fail(number, failure);
        };
        let not = |kind, detail: &str| {
            Failure::new(kind, Verdict::NotExecuted).with_detail(detail.to_owned())
        };
        if self.handles.contains_key(&number) {
            return refuse(&not(FailureKind::NoAnswer, "a watch has that number"));
        }
        if self.handles.len() >= session.config.watches {
            return refuse(&not(FailureKind::Full, "too many watches on this session"));
        }
        let watching = Watching {
            session: Arc::downgrade(session),
            number,
            wanted,
            is_over: AtomicBool::new(false),
        };
        let name = &watching.wanted.name;
        let Some(node) = &node else {
            return watching.never_existed(session);
        };
        if let Err(failure) = watching.may(node, session) {
            return refuse(&failure);
        }
        // Queues and locks are no actors, though messages go to them.
        if watching.wanted.type_name.starts_with("callboard.") {
            return refuse(&not(FailureKind::UnknownType, name));
        }
        let OwnedWatch {
            version, type_name, ..
        } = &watching.wanted;
        let found = node.exposed.actors.find(name, type_name, *version);
        let Ok((_, watched)) = found else {
            return watching.never_existed(session);
        };
        send(session, number, &Life::Holds(watched.id().as_u64()));
        let on_life: OnLife = Arc::new(move |event| watching.tell(event));
        self.handles.insert(number, watched.watch_life(on_life));
    }

    /// The other side wants to know no more, or knows all.
    pub(crate) fn forget(&mut self, number: u64) {
        if let Some(handle) = self.handles.remove(&number) {
            handle.cancel();
        }
    }
}

/// One watch, as the watched sees it.
struct Watching {
    session: Weak<Session>,
    number: u64,
    wanted: OwnedWatch,
    is_over: AtomicBool,
}

impl Watching {
    fn may(&self, node: &Core, session: &Session) -> Result<(), Failure> {
        let OwnedWatch {
            name, type_name, ..
        } = &self.wanted;
        let mut decision = Decision::default();
        node.gate
            .check(&mut decision, &session.subject, type_name, name)
    }

    fn never_existed(&self, session: &Session) {
        let life = Life::Terminated(Incarnation::default(), End::NeverExisted);
        send(session, self.number, &life);
    }

    /// Passes an event on, on the thread where it happened.
    fn tell(&self, event: LifeEvent) {
        let Some(session) = self.session.upgrade() else {
            return;
        };
        if self.is_over.load(Ordering::Relaxed) {
            return;
        }
        let life = match event {
            LifeEvent::Restarted {
                incarnation,
                reason,
                ..
            } => Life::Restarted(incarnation, End::from(&reason)),
            LifeEvent::NoConnection { .. } => Life::NoConnection,
            LifeEvent::Reconnected { .. } => Life::Reconnected,
            LifeEvent::Terminated(notice) => {
                Life::Terminated(notice.incarnation, End::from(&notice.reason))
            }
            // Of a kind that peers don't know yet.
            _ => return,
        };
        // Rights may have changed since it began.
        let allowed = session.node().map(|node| self.may(node, &session));
        if let Some(Err(failure)) = &allowed {
            session.fail(self.number, failure);
        } else {
            send(&session, self.number, &life);
        }
        let is_last = matches!(life, Life::Terminated(..)) || matches!(allowed, Some(Err(_)));
        if is_last {
            self.is_over.store(true, Ordering::Relaxed);
            session.work.watch_is_over(self.number);
        }
    }
}

fn send(session: &Session, number: u64, life: &Life) {
    let mut frame = Vec::new();
    let put = put_frame(&mut frame, Kind::Life, 0, number, MIN_MAX_FRAME, |out| {
        life.put(out);
    });
    // It has always the same length.
    if put.is_ok() {
        session.answer(frame);
    }
}
