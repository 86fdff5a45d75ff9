//! What became of a request whose answer was lost.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use callboard_core::{
    Actor, ActorRef, Context, DeferredHandler, Message, Outcome, Principal, Recipient, RequestKey,
    Responder, System, WireMessage,
};
use futures::channel::oneshot;
use serde::{Deserialize, Serialize};

use super::Dedup;
use super::durable::outcome as form;
use super::few::Few;
use super::keyed::Target;
use super::shared::{Kept, Shared, indeterminate};
use super::store::Seen;

/// What became of a request, by its key: what [`Dedup::resolve`] answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "snake_case",
    bound(serialize = "R: Serialize", deserialize = "R: Deserialize<'de>")
)]
#[non_exhaustive]
pub enum Resolution<R> {
    /// It ran, and this is how it ended: an answer, the handler's own failure, or `Indeterminate` if it broke off in
    /// the middle.
    Executed(#[serde(with = "form")] Outcome<R>),
    /// It did not run. From [`resolve`](Dedup::resolve) that is true for good, within the store's window: should it
    /// arrive later, it is refused.
    NotExecuted,
    /// It runs, or waits for its turn. Ask again, or send it again with its key: it joins.
    Running,
    /// Nobody can tell: the store may have forgotten it, or has no room to settle that it never runs.
    Unknown,
}

/// Asks a store what became of a request: the message of a [`Resolver`], so that it can be asked from another process.
///
/// On the wire its name is `resolve.` and the name of `M`.
///
/// ```
/// use callboard_core::{Message, RequestKey, WireMessage};
/// use callboard_supervision::Resolve;
/// use serde::{Deserialize, Serialize};
/// # extern crate callboard_core as callboard;
///
/// #[derive(Message, Clone, Serialize, Deserialize)]
/// #[message(reply = u64, name = "bank.pay")]
/// struct Pay(u64);
///
/// assert_eq!(Resolve::<Pay>::NAME, "resolve.bank.pay");
/// let settles = Resolve::<Pay>::new(RequestKey::new());
/// # let _ = settles;
/// ```
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Resolve<M> {
    key: RequestKey,
    /// Whether a key that isn't there is sealed.
    seals: bool,
    #[serde(skip)]
    of: PhantomData<fn() -> M>,
}

impl<M> Resolve<M> {
    /// As [`Dedup::resolve`]: what never ran never will.
    #[must_use]
    pub fn new(key: RequestKey) -> Self {
        Resolve {
            key,
            seals: true,
            of: PhantomData,
        }
    }

    /// As [`Dedup::peek`]: only looks.
    #[must_use]
    pub fn peek(key: RequestKey) -> Self {
        Resolve {
            seals: false,
            ..Resolve::new(key)
        }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> RequestKey {
        self.key
    }
}

impl<M> Clone for Resolve<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Resolve<M> {}

impl<M> fmt::Debug for Resolve<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolve")
            .field("key", &self.key)
            .field("seals", &self.seals)
            .finish_non_exhaustive()
    }
}

impl<M: Message> Message for Resolve<M> {
    type Reply = Resolution<M::Reply>;
}

impl<M: WireMessage> WireMessage for Resolve<M> {
    const NAME: &'static str = text(Self::NAME_BYTES);
    const VERSION: u32 = M::VERSION;
}

const PREFIX: &[u8] = b"resolve.";
/// No name on the wire is longer.
const LONGEST: usize = 255;

impl<M: WireMessage> Resolve<M> {
    const NAME_BYTES: &'static ([u8; LONGEST], usize) = &joined(M::NAME);
}

const fn joined(name: &str) -> ([u8; LONGEST], usize) {
    let name = name.as_bytes();
    let length = PREFIX.len() + name.len();
    assert!(
        length <= LONGEST,
        "the wire name of the message is too long for `Resolve`"
    );
    let mut bytes = [0; LONGEST];
    let mut at = 0;
    while at < length {
        bytes[at] = if at < PREFIX.len() {
            PREFIX[at]
        } else {
            name[at - PREFIX.len()]
        };
        at += 1;
    }
    (bytes, length)
}

const fn text(joined: &'static ([u8; LONGEST], usize)) -> &'static str {
    let (name, _) = joined.0.split_at(joined.1);
    match str::from_utf8(name) {
        Ok(name) => name,
        // Two texts, one behind the other, are a text.
        Err(_) => "",
    }
}

/// Answers [`Resolve`] for one target of a store, to each principal about its own requests only. Made by
/// [`Dedup::resolver`]; expose its recipient beside that of the target, under the same name.
pub struct Resolver<M: Message> {
    dedup: Dedup<M>,
    target: Recipient<M>,
}

impl<M: Message> fmt::Debug for Resolver<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl<M: Message> Actor for Resolver<M> {}

impl<M: Message<Reply: Clone>> DeferredHandler<Resolve<M>> for Resolver<M> {
    async fn handle_deferred(
        &mut self,
        resolve: Resolve<M>,
        responder: Responder<Resolution<M::Reply>>,
        ctx: &mut Context<Self>,
    ) {
        let principal = ctx.meta().principal().cloned();
        let of = principal.as_ref();
        let resolution = if resolve.seals {
            self.dedup.resolve_for(of, &self.target, resolve.key).await
        } else {
            self.dedup.peek_for(of, &self.target, resolve.key).await
        };
        responder.send(resolution);
    }
}

impl<M: Message<Reply: Clone>> Dedup<M> {
    /// What became of the request with that key that was sent to `target` in this process: for who lost its answer
    /// (`MaybeExecuted`).
    ///
    /// A key that isn't there is sealed: a message with it that arrives later is refused (`Withdrawn`,
    /// `NotExecuted`), until the window has passed. So `NotExecuted` is true for good, and the request can be made
    /// again under a new key.
    ///
    /// The store knows only what it remembers. A key of version 7 says when it was made; one that is older than what
    /// the store can remember is [`Unknown`](Resolution::Unknown), and so is one that says nothing, unless nothing
    /// was ever forgotten. A store in memory remembers since it was made. Clocks of callers may be off by
    /// [`clock_margin`](super::DedupBuilder::clock_margin).
    ///
    /// Nor does it know what went past it. `target` is the actor before which it stands, and not a pool, a group or a
    /// remote name that leads there: those are `Unknown`. So is an actor none of whose keyed requests this store has
    /// seen since it was made or opened, of the last 4,096 that it saw; a store with a
    /// [target of its own](super::DedupBuilder::target) answers at once.
    ///
    /// # Cancel safety
    /// Dropping it may leave the key sealed.
    pub async fn resolve(&self, target: &Recipient<M>, key: RequestKey) -> Resolution<M::Reply> {
        self.resolve_for(None, target, key).await
    }

    /// The same for a request that came on behalf of a principal, as the remote layer sets it.
    pub async fn resolve_for(
        &self,
        principal: Option<&Principal>,
        target: &Recipient<M>,
        key: RequestKey,
    ) -> Resolution<M::Reply> {
        let shared = &self.shared;
        let label = target.label();
        let id = shared.id(principal, self.target(target, &label), key);
        if let Some(seen) = shared.look(&id) {
            return self.resolution_of(seen).await;
        }
        let mut gone = Few::default();
        let sealed = {
            let mut inner = shared.inner.lock();
            match inner.store.look(&id) {
                // It has come meanwhile.
                Some(seen) => Sealed::Not(Some(seen)),
                None if !self.stands_before(target) || !shared.would_remember(&inner, &id) => {
                    Sealed::Not(None)
                }
                None => {
                    let number = inner.next_number;
                    inner.next_number += 1;
                    let due = shared.due();
                    if !inner.store.seal(&id, number, due, &mut gone) {
                        Sealed::Not(None)
                    } else if let Some(durable) = &shared.durable {
                        let synced = shared.put_seal(&mut inner, durable, &id, number);
                        synced.map_or(Sealed::Not(None), Sealed::OnDisk)
                    } else {
                        inner.stats.sealed += 1;
                        Sealed::Here
                    }
                }
            }
        };
        shared.drop_records(&gone);
        drop(gone);
        match sealed {
            Sealed::Here => Resolution::NotExecuted,
            Sealed::OnDisk(synced) => match synced.await {
                Ok(Ok(())) => Resolution::NotExecuted,
                // A restart might not know of it.
                _ => Resolution::Unknown,
            },
            Sealed::Not(Some(seen)) => self.resolution_of(seen).await,
            Sealed::Not(None) => Resolution::Unknown,
        }
    }

    /// What is known of the request with that key that was sent to `target` in this process. Changes nothing: for a
    /// key that isn't there, which may be on its way, the answer is [`Unknown`](Resolution::Unknown).
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn peek(&self, target: &Recipient<M>, key: RequestKey) -> Resolution<M::Reply> {
        self.peek_for(None, target, key).await
    }

    /// The same for a request that came on behalf of a principal.
    pub async fn peek_for(
        &self,
        principal: Option<&Principal>,
        target: &Recipient<M>,
        key: RequestKey,
    ) -> Resolution<M::Reply> {
        let label = target.label();
        let id = self.shared.id(principal, self.target(target, &label), key);
        match self.shared.look(&id) {
            Some(seen) => self.resolution_of(seen).await,
            None => Resolution::Unknown,
        }
    }

    /// Starts an actor that answers [`Resolve`] about what was sent to `target`, to each principal about its own
    /// requests. Expose it under the name of the target, so that who lost an answer can ask from afar.
    #[must_use]
    pub fn resolver(&self, system: &System, target: &Recipient<M>) -> ActorRef<Resolver<M>> {
        let (dedup, target) = (self.clone(), target.clone());
        let label = format!("{} (resolver)", target.label());
        let make = move || Resolver { dedup, target };
        system.actor(make).label(label).start()
    }

    /// Whether what was sent to that target came by here for certain. A pool, a group or a remote name has a number of
    /// its own, which no request is ever seen with.
    fn stands_before(&self, target: &Recipient<M>) -> bool {
        self.shared.has_target() || self.shared.targets.has_seen(target.id())
    }

    fn target<'a>(&self, target: &Recipient<M>, label: &'a str) -> Target<'a> {
        match &self.shared.durable {
            Some(_) => Target::Named(label),
            None => Target::Actor(target.id()),
        }
    }

    async fn resolution_of(&self, seen: Seen<Kept<M::Reply>>) -> Resolution<M::Reply> {
        match seen {
            Seen::Running => Resolution::Running,
            Seen::Sealed => self.until_synced().await,
            Seen::Broken => Resolution::Executed(Err(indeterminate("it may run again"))),
            Seen::Ended(Kept::Here(stored)) => {
                let stored = stored.lock().clone();
                Resolution::Executed(stored.outcome())
            }
            Seen::Ended(Kept::OnDisk(record)) => read(&self.shared, record).await,
        }
    }

    /// A key is sealed; perhaps the disk doesn't know yet.
    async fn until_synced(&self) -> Resolution<M::Reply> {
        let Some(durable) = &self.shared.durable else {
            return Resolution::NotExecuted;
        };
        match durable.tell_when_synced(&[]).await {
            Ok(Ok(())) => Resolution::NotExecuted,
            _ => Resolution::Unknown,
        }
    }
}

enum Sealed<R> {
    /// In memory, which is where the store is.
    Here,
    /// When that is told.
    OnDisk(oneshot::Receiver<Result<(), callboard_core::journal::JournalError>>),
    Not(Option<Seen<Kept<R>>>),
}

async fn read<M: Message<Reply: Clone>>(
    shared: &Arc<Shared<M>>,
    record: u64,
) -> Resolution<M::Reply> {
    let Some(durable) = &shared.durable else {
        return Resolution::Unknown;
    };
    if !durable.may_read() {
        return Resolution::Unknown;
    }
    let (tx, rx) = oneshot::channel();
    durable.read(shared, record, move |outcome| {
        // An error: who asked has left.
        drop(tx.send(outcome));
    });
    rx.await.map_or(Resolution::Unknown, Resolution::Executed)
}
