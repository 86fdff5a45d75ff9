//! The callers of one link: one for each name and message type, however many recipients lead there (G3).
//!
//! A caller has a slot in the session, which is opened by a frame and takes memory at both ends. So all recipients of
//! one name and type share one, and one that nobody holds any more is kept for a while: who makes a recipient for
//! each message finds it again. Of those that rest, the oldest gives its slot back for another name.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;
use std::sync::{Arc, Weak};

use callboard::{ActorId, WireMessage};
use parking_lot::Mutex;

use super::Core;
use super::caller::Caller;

/// How many callers that nobody holds keep their slots.
const RESTING: usize = 1_024;
/// Names are looked through for those that nobody knows any more when there are so many, or twice as many as after
/// the last time.
const NAMES: usize = 4 * RESTING;

/// See the module.
#[derive(Default)]
pub(crate) struct Callers {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    names: HashMap<Arc<str>, Named>,
    /// In the order in which they were given up.
    resting: BTreeMap<u64, (Arc<str>, TypeId)>,
    last_rest: u64,
    /// How many names there may be until they are looked through.
    most_names: usize,
}

struct Named {
    /// The same for all types; for watchers.
    id: ActorId,
    types: Vec<Known>,
}

struct Known {
    of: TypeId,
    caller: Arc<dyn Rests>,
    handles: usize,
    /// Since when nobody holds it.
    rests: Option<u64>,
}

/// What gives its slot back.
pub(super) trait Rests: Any + Send + Sync {
    /// Gives it back, for good; `false` if asks still wait for answers.
    fn give_back(&self) -> bool;
}

/// A caller that is in use. The last one that is dropped lets it rest.
pub(crate) struct Handle<M: WireMessage> {
    caller: Arc<Caller<M>>,
    callers: Arc<Callers>,
}

impl Callers {
    /// The caller of a name, as long as the handle lives; and the id that goes with the name.
    pub(super) fn hold<M: WireMessage>(
        self: &Arc<Self>,
        core: &Weak<Core>,
        name: &str,
    ) -> (Handle<M>, ActorId) {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        // Shared by all who know it.
        let key: Arc<str> = match inner.names.get_key_value(name) {
            Some((key, _)) => Arc::clone(key),
            None => {
                inner.tidy();
                Arc::from(name)
            }
        };
        let named = inner
            .names
            .entry(Arc::clone(&key))
            .or_insert_with(|| Named {
                id: ActorId::fresh(),
                types: Vec::new(),
            });
        let of = TypeId::of::<M>();
        if let Some(known) = named.types.iter_mut().find(|known| known.of == of) {
            let any: Arc<dyn Any + Send + Sync> = Arc::clone(&known.caller) as _;
            if let Ok(caller) = any.downcast::<Caller<M>>() {
                known.handles += 1;
                if let Some(rested) = known.rests.take() {
                    inner.resting.remove(&rested);
                }
                return (self.handle(caller), named.id);
            }
        }
        let caller = Caller::<M>::new(core, key);
        named.types.push(Known {
            of,
            caller: Arc::clone(&caller) as _,
            handles: 1,
            rests: None,
        });
        (self.handle(caller), named.id)
    }

    fn handle<M: WireMessage>(self: &Arc<Self>, caller: Arc<Caller<M>>) -> Handle<M> {
        let callers = Arc::clone(self);
        Handle { caller, callers }
    }

    fn change(&self, name: &str, of: TypeId, change: impl FnOnce(&mut Known)) {
        let mut inner = self.inner.lock();
        let named = inner.names.get_mut(name);
        let known = named.and_then(|named| named.types.iter_mut().find(|known| known.of == of));
        if let Some(known) = known {
            change(known);
        }
    }

    /// One handle fewer.
    fn dropped(&self, name: &Arc<str>, of: TypeId) {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        let Some(named) = inner.names.get_mut(name) else {
            return;
        };
        let Some(known) = named.types.iter_mut().find(|known| known.of == of) else {
            return;
        };
        known.handles -= 1;
        if known.handles > 0 {
            return;
        }
        inner.last_rest += 1;
        known.rests = Some(inner.last_rest);
        inner
            .resting
            .insert(inner.last_rest, (Arc::clone(name), of));
        let gone = if inner.resting.len() > RESTING {
            inner.send_off()
        } else {
            None
        };
        drop(guard);
        drop(gone);
    }

    /// How many names are known, and how many callers.
    #[cfg(test)]
    fn len(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        let callers = inner.names.values().map(|named| named.types.len()).sum();
        (inner.names.len(), callers)
    }
}

impl Inner {
    /// Parts with who has rested longest; if its asks still wait, it rests anew.
    fn send_off(&mut self) -> Option<Arc<dyn Rests>> {
        let (_, (name, of)) = self.resting.pop_first()?;
        let named = self.names.get_mut(&name)?;
        let at = named.types.iter().position(|known| known.of == of)?;
        let known = named.types.get_mut(at)?;
        if !known.caller.give_back() {
            self.last_rest += 1;
            known.rests = Some(self.last_rest);
            self.resting.insert(self.last_rest, (name, of));
            return None;
        }
        Some(named.types.swap_remove(at).caller)
    }

    /// Forgets names that nobody knows any more: who has one keeps its text. Their ids went with them.
    fn tidy(&mut self) {
        if self.names.len() < self.most_names.max(NAMES) {
            return;
        }
        let is_known = |name: &Arc<str>, named: &mut Named| {
            !named.types.is_empty() || Arc::strong_count(name) > 1
        };
        self.names.retain(is_known);
        self.most_names = 2 * self.names.len();
    }
}

impl<M: WireMessage> Deref for Handle<M> {
    type Target = Arc<Caller<M>>;

    fn deref(&self) -> &Arc<Caller<M>> {
        &self.caller
    }
}

impl<M: WireMessage> Clone for Handle<M> {
    fn clone(&self) -> Self {
        let one_more = |known: &mut Known| known.handles += 1;
        self.callers
            .change(self.caller.name(), TypeId::of::<M>(), one_more);
        self.callers.handle(Arc::clone(&self.caller))
    }
}

impl<M: WireMessage> Drop for Handle<M> {
    fn drop(&mut self) {
        self.callers.dropped(self.caller.name(), TypeId::of::<M>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, callboard::Message, serde::Serialize, serde::Deserialize)]
    #[message(reply = u64, name = "test.add")]
    struct Add(u64);

    #[derive(Debug, callboard::Message, serde::Serialize, serde::Deserialize)]
    #[message(name = "test.note")]
    struct Note(u64);

    fn hold<M: WireMessage>(callers: &Arc<Callers>, name: &str) -> (Handle<M>, ActorId) {
        callers.hold::<M>(&Weak::new(), name)
    }

    #[test]
    fn g03_recipients_of_one_name_and_type_share_a_caller_also_after_a_while_without_any() {
        let callers = Arc::new(Callers::default());
        let (one, id) = hold::<Add>(&callers, "a");
        let (two, same) = hold::<Add>(&callers, "a");
        let (other, also_same) = hold::<Note>(&callers, "a");
        assert!(Arc::ptr_eq(&one, &two));
        assert_eq!((id, id), (same, also_same));
        assert_eq!(callers.len(), (1, 2));
        let first = Arc::clone(&one);
        let third = one.clone();
        drop((one, two, other, third));
        let (again, same) = hold::<Add>(&callers, "a");
        assert!(Arc::ptr_eq(&again, &first));
        assert_eq!(same, id);
        assert_eq!(callers.inner.lock().resting.len(), 1);
    }

    #[test]
    fn g03_names_that_nobody_holds_are_forgotten_and_those_that_are_held_are_not() {
        let callers = Arc::new(Callers::default());
        let (held, id) = hold::<Add>(&callers, "held");
        for n in 0..50_000 {
            drop(hold::<Add>(&callers, &format!("lent.{n}")));
        }
        let (names, known) = callers.len();
        assert!(names <= NAMES && known == RESTING + 1, "{names} {known}");
        let (again, same) = hold::<Add>(&callers, "held");
        assert!(Arc::ptr_eq(&again, &held));
        assert_eq!(same, id);
    }
}
