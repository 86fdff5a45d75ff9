//! What is exposed: name, then message type, then version.

use std::any::Any;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::{Bound, Deref};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use callboard::codec::CodecError;
use callboard::{
    ActorId, DeadLetter, DropReason, Envelope, Failure, FailureKind, Message, Meta, OnLife,
    Recipient, Refused, Responder, System, Verdict, Watch, WatchHandle, WireMessage,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard, RwLock};

use super::topics::ServeTopic;
use crate::admin::{Named, Thing, Things};
use crate::error::{NameError, check_name};
use crate::reference::{arriving, handing_over};
use crate::session::in_flight::Answer;

/// Completes when a message that found no room has gone its way.
pub(crate) type Held = BoxFuture<'static, ()>;

/// The payload of a message.
#[derive(Clone)]
pub(crate) enum Payload<'a> {
    /// In the buffer of the connection.
    Passing(&'a [u8]),
    /// In memory of its own.
    Kept(Bytes),
}

impl Deref for Payload<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Payload::Passing(bytes) => bytes,
            Payload::Kept(bytes) => bytes,
        }
    }
}

/// Decodes a message of one type and hands it on, without waiting: what finds no room is waited for elsewhere.
pub(crate) trait Dispatch: Send + Sync {
    /// Answers the ask itself, sooner or later, once the payload is decoded; if that fails, it is for who calls to
    /// answer.
    fn ask(
        &self,
        payload: Payload<'_>,
        meta: Meta,
        answer: Answer,
    ) -> Result<Option<Held>, Failure>;

    /// Delivers a tell, or loses it with a count.
    fn tell(&self, payload: Payload<'_>, meta: Meta, session: u64)
    -> Result<Option<Held>, Failure>;

    /// Who takes the messages: somebody else has another id.
    fn id(&self) -> ActorId;

    /// The recipient itself, whose type who asks knows.
    fn recipient(&self) -> Box<dyn Any>;

    /// Tells of each event in the life of who takes them.
    fn watch_life(&self, on_event: OnLife) -> WatchHandle;

    /// The shapes of the message and of its reply; 0 where it is unknown.
    fn schemas(&self) -> (u64, u64) {
        (0, 0)
    }
}

/// What is exposed by name: actors, and apart from them topics.
#[derive(Default)]
pub(crate) struct Exposed {
    /// Grows with each change.
    generation: AtomicU64,
    pub(crate) actors: Table<dyn Dispatch>,
    pub(crate) topics: Table<dyn ServeTopic>,
    /// What of it can be looked into.
    pub(crate) things: Things,
    /// Held by who changes what one name stands for, which is several entries.
    changes: Mutex<()>,
}

/// What stood behind a name. Dropped outside the locks, as it has code of the program in it.
type Taken = (
    Option<Types<dyn Dispatch>>,
    Option<Types<dyn ServeTopic>>,
    Option<Named>,
);

impl Exposed {
    /// Changes when what has been found may no longer be what is exposed.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn add(
        &self,
        add: impl FnOnce(&Self) -> Result<(), NameError>,
    ) -> Result<(), NameError> {
        add(self)?;
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Until it is dropped, nobody else changes what a name stands for.
    pub(crate) fn changing(&self) -> MutexGuard<'_, ()> {
        self.changes.lock()
    }

    pub(crate) fn remove(&self, name: &str) -> bool {
        let changing = self.changing();
        let (actors, topics, things) = self.take(name);
        drop(changing);
        drop(things);
        actors.is_some() || topics.is_some()
    }

    /// The same, if the name is still that thing's.
    pub(crate) fn remove_thing(&self, name: &str, thing: &Arc<dyn Thing>) {
        let changing = self.changing();
        let taken = self.things.has(name, thing).then(|| self.take(name));
        drop(changing);
        drop(taken);
    }

    fn take(&self, name: &str) -> Taken {
        let taken = (
            self.actors.remove(name),
            self.topics.remove(name),
            self.things.remove(name),
        );
        self.generation.fetch_add(1, Ordering::Release);
        taken
    }

    /// Up to `most` names that stand behind that one, in order.
    pub(crate) fn names_after(&self, after: Option<&str>, most: usize) -> Vec<Arc<str>> {
        let mut names = self.actors.names_after(after, most);
        names.extend(self.topics.names_after(after, most));
        names.sort_unstable();
        names.dedup();
        names.truncate(most);
        names
    }

    pub(crate) fn list(&self) -> Vec<String> {
        let mut lines = self.actors.list();
        lines.extend(self.topics.list());
        lines
    }
}

type Types<D> = BTreeMap<&'static str, BTreeMap<u32, Arc<D>>>;

/// By name, then by message type, then by version.
pub(crate) struct Table<D: ?Sized> {
    names: RwLock<BTreeMap<Arc<str>, Types<D>>>,
}

impl<D: ?Sized> Default for Table<D> {
    fn default() -> Self {
        Table {
            names: RwLock::default(),
        }
    }
}

impl<D: ?Sized> Table<D> {
    pub(crate) fn add<M: WireMessage>(&self, name: &str, entry: Arc<D>) -> Result<(), NameError> {
        check_name(name)?;
        check_name(M::NAME)?;
        let mut names = self.names.write();
        let types = names.entry(Arc::from(name)).or_default();
        let versions = types.entry(M::NAME).or_default();
        if versions.contains_key(&M::VERSION) {
            return Err(NameError::Taken {
                name: name.to_owned(),
                type_name: M::NAME,
                version: M::VERSION,
            });
        }
        versions.insert(M::VERSION, entry);
        Ok(())
    }

    fn remove(&self, name: &str) -> Option<Types<D>> {
        self.names.write().remove(name)
    }

    fn names_after(&self, after: Option<&str>, most: usize) -> Vec<Arc<str>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let names = self.names.read();
        let behind = names.range::<str, _>((from, Bound::Unbounded));
        behind
            .take(most)
            .map(|(name, _)| Arc::clone(name))
            .collect()
    }

    /// The types that a name takes, each in each of its versions.
    pub(crate) fn types(&self, name: &str) -> Vec<(&'static str, u32)> {
        let names = self.names.read();
        let types = names.get(name).into_iter().flatten();
        let each = types.flat_map(|(type_name, versions)| {
            versions.keys().map(|version| (*type_name, *version))
        });
        each.collect()
    }

    fn list(&self) -> Vec<String> {
        let names = self.names.read();
        let mut lines = Vec::new();
        for (name, types) in names.iter() {
            for (type_name, versions) in types {
                let line = |version| format!("{name}: {type_name} v{version}");
                lines.extend(versions.keys().map(line));
            }
        }
        lines
    }

    /// What takes that type in that version under that name, or which of the three is unknown (G34).
    pub(crate) fn find(
        &self,
        name: &str,
        type_name: &str,
        version: u32,
    ) -> Result<(Arc<str>, Arc<D>), Failure> {
        let refuse = |kind, detail: String| {
            Err(Failure::new(kind, Verdict::NotExecuted).with_detail(detail))
        };
        let names = self.names.read();
        let Some((name, types)) = names.get_key_value(name) else {
            return refuse(FailureKind::UnknownName, name.to_owned());
        };
        let Some(versions) = types.get(type_name) else {
            let detail = format!("{name} does not take {type_name}");
            return refuse(FailureKind::UnknownType, detail);
        };
        match versions.get(&version) {
            Some(entry) => Ok((Arc::clone(name), Arc::clone(entry))),
            None => {
                let known: Vec<String> = versions.keys().map(ToString::to_string).collect();
                let known = known.join(", ");
                let detail = format!("{name} takes {type_name} in version {known}, not {version}");
                refuse(FailureKind::WrongVersion, detail)
            }
        }
    }
}

/// Hands what it decoded to a recipient.
pub(crate) struct ToRecipient<M: WireMessage>(pub(crate) Recipient<M>);

/// Decodes what came from a peer.
pub(crate) fn decode<M: WireMessage>(payload: Payload<'_>, session: u64) -> Result<M, Failure> {
    // A hand-written `Deserialize` may panic.
    match catch_unwind(AssertUnwindSafe(|| take(payload, session))) {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(error)) => Err(undecodable::<M>(&error.to_string())),
        Err(_) => Err(undecodable::<M>("decoding it panicked")),
    }
}

#[inline]
fn take<M: WireMessage>(payload: Payload<'_>, session: u64) -> Result<M, CodecError> {
    arriving(session, || match payload {
        Payload::Passing(bytes) => M::take(bytes),
        Payload::Kept(bytes) => M::take_owned(bytes),
    })
}

/// What serde says names types of this side, so it stays in the log.
#[cold]
fn undecodable<M: WireMessage>(why: &str) -> Failure {
    tracing::debug!(target: "callboard::remote", message = M::NAME, why, "bad payload");
    let failure = Failure::new(FailureKind::BadPayload, Verdict::NotExecuted);
    failure.with_detail(format!("the payload of {} v{}", M::NAME, M::VERSION))
}

/// What came of a message behind its fence.
enum Handed<M: Message> {
    Over,
    Undecodable(CodecError),
    Refused(Refused<M>),
}

impl<M: WireMessage> Dispatch for ToRecipient<M> {
    fn ask(
        &self,
        payload: Payload<'_>,
        meta: Meta,
        answer: Answer,
    ) -> Result<Option<Held>, Failure> {
        let session = answer.answers.session.number;
        let sent = self.fenced(|decoded| {
            let message = match take(payload, session) {
                Ok(message) => message,
                Err(error) => return Handed::Undecodable(error),
            };
            decoded.set(true);
            let envelope = Envelope {
                message,
                meta,
                responder: answer.responder(),
            };
            self.send(envelope, session)
        });
        self.see_to(sent?, |refused, _| {
            refused.envelope.responder.fail(refused.failure);
        })
    }

    fn tell(
        &self,
        payload: Payload<'_>,
        meta: Meta,
        session: u64,
    ) -> Result<Option<Held>, Failure> {
        let sent = self.fenced(|decoded| {
            let mut message = match take(payload, session) {
                Ok(message) => message,
                Err(error) => return Handed::Undecodable(error),
            };
            decoded.set(true);
            if meta.is_plain() {
                message = match handing_over(session, || self.0.route().send_lean(message)) {
                    Ok(()) => return Handed::Over,
                    Err(message) => message,
                };
            }
            let envelope = Envelope {
                message,
                meta,
                responder: Responder::nowhere(),
            };
            self.send(envelope, session)
        });
        self.see_to(sent?, |refused, recipient| {
            bury(recipient.route().system(), &recipient.label(), refused);
        })
    }

    fn id(&self) -> ActorId {
        self.0.id()
    }

    fn recipient(&self) -> Box<dyn Any> {
        Box::new(self.0.clone())
    }

    fn watch_life(&self, on_event: OnLife) -> WatchHandle {
        self.0.watch_life(on_event)
    }

    fn schemas(&self) -> (u64, u64) {
        crate::peer::schemas::<M>()
    }
}

impl<M: WireMessage> ToRecipient<M> {
    /// Decodes a message and hands it on, behind a fence: both is code of users, and others share this connection
    /// (G10). If it panics once the message is decoded, what that dropped has answered the ask.
    #[inline]
    fn fenced(&self, hand_on: impl FnOnce(&Cell<bool>) -> Handed<M>) -> Result<Handed<M>, Failure> {
        let decoded = Cell::new(false);
        match catch_unwind(AssertUnwindSafe(|| hand_on(&decoded))) {
            Ok(handed) => Ok(handed),
            Err(_) if decoded.get() => {
                panicked::<M>();
                Ok(Handed::Over)
            }
            Err(_) => Err(undecodable::<M>("decoding it panicked")),
        }
    }

    #[inline]
    fn send(&self, envelope: Envelope<M>, session: u64) -> Handed<M> {
        match handing_over(session, || self.0.route().send(envelope)) {
            Ok(()) => Handed::Over,
            Err(refused) => Handed::Refused(refused),
        }
    }

    /// What is left to do: if there was no room, what waits for that (G33).
    #[inline]
    fn see_to(
        &self,
        handed: Handed<M>,
        lost: impl FnOnce(Refused<M>, &Recipient<M>) + Send + 'static,
    ) -> Result<Option<Held>, Failure> {
        let refused = match handed {
            Handed::Over => return Ok(None),
            Handed::Undecodable(error) => return Err(undecodable::<M>(&error.to_string())),
            Handed::Refused(refused) => refused,
        };
        if !refused.may_wait {
            lost(refused, &self.0);
            return Ok(None);
        }
        let recipient = self.0.clone();
        Ok(Some(Box::pin(async move {
            let waiting = recipient.route().wait_for_room(refused.envelope);
            // Behind a fence as well.
            match AssertUnwindSafe(waiting).catch_unwind().await {
                Ok(Ok(())) => {}
                Ok(Err(refused)) => lost(refused, &recipient),
                Err(_) => panicked::<M>(),
            }
        })))
    }
}

fn panicked<M: WireMessage>() {
    tracing::error!(target: "callboard::remote", message = M::NAME, "an admission panicked");
}

/// A tell that found no room, or nobody: its sender was told long ago that it was accepted.
fn bury<M: WireMessage>(system: &System, target: &str, refused: Refused<M>) {
    let reason = match refused.failure.kind() {
        FailureKind::Stopped => DropReason::Stopped,
        FailureKind::DeadlineExceeded => DropReason::Expired,
        FailureKind::Full => DropReason::DropNewest,
        _ => DropReason::Undelivered,
    };
    system.dead_letters().push(DeadLetter {
        at: system.clock().now(),
        target: target.to_owned(),
        message_type: std::any::type_name::<M>(),
        reason,
        key: refused.envelope.meta.key(),
        attempts: Vec::new(),
        message: Box::new(refused.envelope.message),
    });
}
