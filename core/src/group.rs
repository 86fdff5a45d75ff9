//! Groups: recipients of one message type that come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::{Mutex, RwLock};

use crate::actor_ref::Recipient;
use crate::boundary::{Boundary, Verdict};
use crate::envelope::Envelope;
use crate::error::{Failure, FailureKind, SendError};
use crate::id::{ActorId, Incarnation};
use crate::message::Message;
use crate::route::{Refused, Route};
use crate::system::System;
use crate::watch::{ExitReason, OnEnd, Terminated, Unwatch, Watch, WatchHandle};

mod gather;

pub use gather::{Gathered, TooFew};

/// Recipients of one message type that join and leave: actors, pools, exposed names of other processes.
///
/// Clones are handles to the same group; any thread may use them. A member leaves by
/// [`leave`](Group::leave), or by itself when it has ended. Nobody is a member twice, and members have the
/// order in which they joined. (Erlang's `pg`, kept within one group value: there is no global table of
/// groups. Who needs to find a group by name hands out clones, or registers [`next`](Group::next).)
///
/// # To one, to all
///
/// | | waits for room | what comes back |
/// |---|---|---|
/// | [`broadcast`](Group::broadcast) | never | how many got it, and an error with the message for each other |
/// | [`tell_all`](Group::tell_all) | at each member by itself, up to a deadline | the same |
/// | [`next`](Group::next) | never: a full member is skipped | what any recipient gives, from the next member in turn |
/// | [`ask_all`](Group::ask_all) | up to the deadline | every member's answer or failure |
/// | [`ask_first`](Group::ask_first) | the same | the first answer; the other asks are withdrawn |
/// | [`ask_quorum`](Group::ask_quorum) | the same | that many answers, or why not |
///
/// A slow or full member delays no other in any of them. Who is a member is looked at once, when the message
/// is sent: who joins later doesn't get it.
///
/// ```
/// use std::time::Duration;
/// use callboard_core::{Actor, Context, Group, Handler, Message, Simulation};
///
/// #[derive(Clone)]
/// struct Price(&'static str);
/// impl Message for Price {
///     type Reply = u32;
/// }
///
/// struct Shop(u32);
/// impl Actor for Shop {}
/// impl Handler<Price> for Shop {
///     async fn handle(&mut self, _: Price, _ctx: &mut Context<Self>) -> u32 {
///         self.0
///     }
/// }
///
/// let mut simulation = Simulation::new(1);
/// let system = simulation.system().clone();
/// simulation.block_on(async {
///     let shops = Group::new(&system, "shops");
///     for price in [30, 20, 25] {
///         shops.join(&system.start(Shop(price)).recipient());
///     }
///     let offers = shops.ask_all(Price("globe"), Duration::from_secs(1)).await;
///     assert_eq!(offers.replies().min(), Some(&20));
///     assert_eq!(shops.next().ask(Price("globe")).await?, 30);
///     assert_eq!(shops.next().ask(Price("globe")).await?, 20);
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })
/// # .unwrap();
/// ```
pub struct Group<M: Message> {
    inner: Arc<Inner<M>>,
}

struct Inner<M: Message> {
    me: Weak<Inner<M>>,
    system: System,
    id: ActorId,
    label: Arc<str>,
    /// Changed under the lock of `life` only, and read by each send.
    members: RwLock<Members<M>>,
    life: Mutex<Life>,
    /// Whose turn it is.
    cursor: AtomicUsize,
}

type Members<M> = Arc<[Recipient<M>]>;

#[derive(Default)]
struct Life {
    closed: bool,
    /// Those that say when they end: once for each, however often they join and leave.
    watched: BTreeSet<ActorId>,
    /// Who wants to know when the group is closed.
    watchers: BTreeMap<u64, OnEnd>,
    last_watch: u64,
}

/// What came of telling all members.
#[derive(Debug)]
#[non_exhaustive]
pub struct Broadcast<M> {
    /// How many members have it in their mailbox; what a tell's Ok means (G6).
    pub told: usize,
    /// The others, each with why not and its copy of the message.
    pub failed: Vec<(ActorId, SendError<M>)>,
}

impl<M: Message> Group<M> {
    /// A group without members. The label is for people.
    #[must_use]
    pub fn new(system: &System, label: impl Into<Arc<str>>) -> Self {
        Group {
            inner: Arc::new_cyclic(|me: &Weak<Inner<M>>| Inner {
                me: Weak::clone(me),
                system: system.clone(),
                id: ActorId::fresh(),
                label: label.into(),
                members: RwLock::new(Arc::default()),
                life: Mutex::default(),
                cursor: AtomicUsize::new(0),
            }),
        }
    }

    /// Its name for people.
    #[must_use]
    pub fn label(&self) -> Arc<str> {
        Arc::clone(&self.inner.label)
    }

    /// Makes it a member, until it leaves or ends; one that has ended already leaves at once. `false` if it
    /// is one already, or the group is closed.
    pub fn join(&self, member: &Recipient<M>) -> bool {
        let id = member.id();
        let mut life = self.inner.life.lock();
        let members = self.inner.members();
        if life.closed || members.contains(member) {
            return false;
        }
        let joined = members.iter().chain([member]).cloned().collect();
        let before = std::mem::replace(&mut *self.inner.members.write(), joined);
        let watched = !life.watched.insert(id);
        drop(life);
        drop(before);
        if !watched {
            let group = Arc::downgrade(&self.inner);
            // Called here and now, if it has ended.
            member.watch(Box::new(move |_| {
                if let Some(group) = group.upgrade() {
                    group.forget(id);
                }
            }));
        }
        true
    }

    /// Ends a membership. `false` if there is none.
    pub fn leave(&self, member: ActorId) -> bool {
        let life = self.inner.life.lock();
        self.inner.remove(member, life)
    }

    /// Who is a member now, in the order they joined.
    #[must_use]
    pub fn members(&self) -> Vec<Recipient<M>> {
        self.inner.members().to_vec()
    }

    /// How many members there are now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.members().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells all members, without waiting for anybody: a member without room doesn't get it, and its copy
    /// comes back. (A member whose mailbox drops messages by its own policy counts as told.)
    pub fn broadcast(&self, message: M) -> Broadcast<M>
    where
        M: Clone,
    {
        let mut broadcast = Broadcast::new();
        for (member, message) in copies(&self.inner.members(), message) {
            broadcast.note(member.id(), member.try_tell(message));
        }
        broadcast
    }

    /// Tells all members; each that is full is waited for up to `deadline`, all of them at the same time.
    /// What waits in a mailbox for longer than that expires, as with any [tell](crate::Tell::deadline).
    ///
    /// # Cancel safety
    /// Dropping it drops the copies that were not sent yet.
    pub async fn tell_all(&self, message: M, deadline: Duration) -> Broadcast<M>
    where
        M: Clone,
    {
        let members = self.inner.members();
        let mut tells: FuturesUnordered<_> = copies(&members, message)
            .map(|(member, message)| async move {
                (member.id(), member.tell(message).deadline(deadline).await)
            })
            .collect();
        let mut broadcast = Broadcast::new();
        while let Some((id, told)) = tells.next().await {
            broadcast.note(id, told);
        }
        broadcast
    }

    /// The group as one recipient, which hands each message to the next member in turn.
    ///
    /// A member that has ended, is full, or can't be reached now is skipped. It never waits for room: when no
    /// member takes it, the message comes back, as `Full` if any of them may have room later, else as
    /// `Stopped`. It holds the group as a clone does, and can be watched: it ends when the group is closed.
    #[must_use]
    pub fn next(&self) -> Recipient<M> {
        Recipient::new(Arc::clone(&self.inner) as Arc<dyn Route<M>>)
    }

    /// Closes it: all members leave, nobody can join any more, sends fail as `Stopped`, and who watches
    /// [`next`](Group::next) is told. Happens by itself when the last handle is dropped. The members go on.
    pub fn close(&self) {
        self.inner.close();
    }
}

impl<M: Message> Inner<M> {
    fn members(&self) -> Members<M> {
        Arc::clone(&self.members.read())
    }

    /// A member has ended.
    fn forget(&self, member: ActorId) {
        let mut life = self.life.lock();
        life.watched.remove(&member);
        self.remove(member, life);
    }

    fn remove(&self, member: ActorId, life: parking_lot::MutexGuard<'_, Life>) -> bool {
        let members = self.members();
        let rest = members.iter().filter(|other| other.id() != member);
        let rest: Members<M> = rest.cloned().collect();
        let was_one = rest.len() < members.len();
        let before = was_one.then(|| std::mem::replace(&mut *self.members.write(), rest));
        drop(life);
        // What a recipient keeps may be anybody's code: outside the lock.
        drop(before);
        was_one
    }

    fn close(&self) {
        let mut life = self.life.lock();
        life.closed = true;
        let watchers = std::mem::take(&mut life.watchers);
        let members = std::mem::take(&mut *self.members.write());
        drop(life);
        drop(members);
        for on_end in watchers.into_values() {
            on_end(self.notice());
        }
    }

    fn notice(&self) -> Terminated {
        Terminated {
            id: self.id,
            label: self.label.to_string(),
            reason: ExitReason::Stopped,
            incarnation: Incarnation(1),
        }
    }
}

impl<M: Message> Drop for Inner<M> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<M: Message> Watch for Inner<M> {
    fn watch(&self, on_end: OnEnd) -> WatchHandle {
        let mut life = self.life.lock();
        if life.closed {
            drop(life);
            on_end(self.notice());
            return WatchHandle::over();
        }
        life.last_watch += 1;
        let number = life.last_watch;
        life.watchers.insert(number, on_end);
        let me: Weak<Self> = Weak::clone(&self.me);
        WatchHandle::new(me, number)
    }
}

impl<M: Message> Unwatch for Inner<M> {
    fn unwatch(&self, number: u64) {
        let watcher = self.life.lock().watchers.remove(&number);
        drop(watcher);
    }
}

/// Whether another member may take what one refused for this.
fn is_skipped(kind: FailureKind) -> bool {
    use FailureKind::{Full, NoConnection, Overloaded, Stopped};
    matches!(kind, Full | Stopped | NoConnection | Overloaded)
}

/// To the next member in turn.
impl<M: Message> Route<M> for Inner<M> {
    fn id(&self) -> ActorId {
        self.id
    }

    fn label(&self) -> String {
        self.label.to_string()
    }

    /// That of the member that is farthest away.
    fn boundary(&self) -> Boundary {
        let members = self.members();
        let farthest = members.iter().map(Recipient::boundary).max();
        farthest.unwrap_or(Boundary::SameProcess)
    }

    fn system(&self) -> &System {
        &self.system
    }

    fn send(&self, mut envelope: Envelope<M>) -> Result<(), Refused<M>> {
        let members = self.members();
        let first = self.cursor.fetch_add(1, Ordering::Relaxed);
        let mut kind = FailureKind::Stopped;
        for offset in 0..members.len() {
            let member = &members[first.wrapping_add(offset) % members.len()];
            match member.route().send(envelope) {
                Ok(()) => return Ok(()),
                Err(refused) if is_skipped(refused.failure.kind()) => {
                    if refused.failure.kind() != FailureKind::Stopped {
                        kind = FailureKind::Full;
                    }
                    envelope = refused.envelope;
                }
                // What is wrong with this message is wrong with it everywhere.
                Err(refused) => {
                    return Err(Refused {
                        may_wait: false,
                        ..refused
                    });
                }
            }
        }
        let why = format!("none of the {} members of {}", members.len(), self.label);
        let failure = Failure::new(kind, Verdict::NotExecuted).with_detail(why);
        Err(Refused::for_good(envelope, failure))
    }
}

/// Each member with a copy of the message; the last one with the message itself.
fn copies<M: Message + Clone>(
    members: &[Recipient<M>],
    message: M,
) -> impl Iterator<Item = (&Recipient<M>, M)> {
    let mut message = Some(message);
    let last = members.len().saturating_sub(1);
    members.iter().enumerate().filter_map(move |(at, member)| {
        let copy = if at == last {
            message.take()
        } else {
            message.clone()
        };
        Some((member, copy?))
    })
}

impl<M> Broadcast<M> {
    fn new() -> Self {
        Broadcast {
            told: 0,
            failed: Vec::new(),
        }
    }

    fn note(&mut self, member: ActorId, told: Result<(), SendError<M>>) {
        match told {
            Ok(()) => self.told += 1,
            Err(error) => self.failed.push((member, error)),
        }
    }

    /// Whether every member has it.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }
}

impl<M: Message> Clone for Group<M> {
    fn clone(&self) -> Self {
        Group {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<M: Message> fmt::Debug for Group<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("label", &self.inner.label)
            .field("members", &self.inner.members())
            .finish_non_exhaustive()
    }
}
