//! The sessions of a node, with and without a connection, and the ids of those that are over.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::LinkErrorKind;
use crate::session::Session;

/// How many ended sessions are remembered: what was recorded of one can't be played again as a new one.
const REMEMBERED: usize = 16_384;

type Id = [u8; 16];

/// See the module.
#[derive(Default)]
pub(crate) struct Sessions {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    live: HashMap<Id, Arc<Session>>,
    over: HashSet<Id>,
    /// In the order in which they ended.
    order: VecDeque<Id>,
}

/// What is known of a session by its id.
pub(crate) enum Known {
    Live(Arc<Session>),
    Over,
    Unknown,
}

impl Sessions {
    pub(crate) fn find(&self, id: Id) -> Known {
        let inner = self.inner.lock();
        match inner.live.get(&id) {
            Some(session) => Known::Live(Arc::clone(session)),
            None if inner.over.contains(&id) => Known::Over,
            None => Known::Unknown,
        }
    }

    /// Keeps a new session. `false` if one has that id, or there are `most`.
    pub(crate) fn add(&self, session: &Arc<Session>, most: usize) -> bool {
        let mut inner = self.inner.lock();
        if inner.live.len() >= most || inner.live.contains_key(&session.id) {
            return false;
        }
        inner.live.insert(session.id, Arc::clone(session));
        true
    }

    /// A session has ended.
    pub(crate) fn remove(&self, session: &Session) {
        let mut inner = self.inner.lock();
        let is_it = |live: &Arc<Session>| live.number == session.number;
        if !inner.live.get(&session.id).is_some_and(is_it) {
            return;
        }
        inner.live.remove(&session.id);
        if inner.over.insert(session.id) {
            inner.order.push_back(session.id);
        }
        if inner.order.len() > REMEMBERED
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.over.remove(&oldest);
        }
    }

    pub(crate) fn end_all(&self, why: &LinkErrorKind) {
        let live: Vec<_> = self.inner.lock().live.values().cloned().collect();
        for session in live {
            session.end(why);
        }
    }

    pub(crate) fn list(&self) -> Vec<Arc<Session>> {
        self.inner.lock().live.values().cloned().collect()
    }
}
