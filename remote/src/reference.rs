//! References inside messages: who may be answered, or sent to, travels with the message.
//!
//! A [`Reference`] is what of a recipient can travel: the name of its node, which start of it that is, the name under
//! which it is exposed there, and the type of its messages. It is made by a node ([`Node::lend`], for somebody
//! who has no name; [`Node::reference`], for what is exposed anyway), and made a [`Recipient`] again by who gets it:
//!
//! | it came | made a recipient by |
//! |---|---|
//! | with a message to what a node exposes, also inside an item for its queue | [`Node::resolve`]: over the session that it came by |
//! | with a reply, or in any other way | [`Peer::resolve`]: over that peer |
//!
//! Names of nodes are their own word, which anybody can give. So a reference never chooses a way by itself: it is
//! resolved over the session it came by, if it is of the node at its end, or over a peer that the program names. One
//! of a third node is an error that says which. What a reference gives is no right: rights are asked by the name
//! that it leads to, as for all messages (G35).

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::thread::LocalKey;

use callboard::{Incarnation, Recipient, WireMessage};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::entrance::unguessable;
use crate::error::{NameError, check_name};
use crate::node::{self, Node};
use crate::peer::Peer;

thread_local! {
    /// The session whose payload is being decoded on this thread; 0 for none.
    static ARRIVING: Cell<u64> = const { Cell::new(0) };
    /// The session whose message is being handed over on this thread; 0 for none.
    static HANDING_OVER: Cell<u64> = const { Cell::new(0) };
}

/// Decodes what came over that session: references in it know where they come from.
pub(crate) fn arriving<T>(session: u64, decode: impl FnOnce() -> T) -> T {
    during(&ARRIVING, session, decode)
}

/// Hands over a message that came over that session. What is decoded meanwhile didn't come with it: handlers may run
/// here that have nothing to do with it.
pub(crate) fn handing_over<T>(session: u64, hand_over: impl FnOnce() -> T) -> T {
    during(&HANDING_OVER, session, hand_over)
}

/// The session whose message is being handed over; for who decodes a part of that message later. 0 for none.
pub(crate) fn came_by() -> u64 {
    HANDING_OVER.get()
}

fn during<T>(cell: &'static LocalKey<Cell<u64>>, session: u64, work: impl FnOnce() -> T) -> T {
    /// Also if it panics.
    struct Before(&'static LocalKey<Cell<u64>>, u64);

    impl Drop for Before {
        fn drop(&mut self) {
            self.0.set(self.1);
        }
    }

    let _before = Before(cell, cell.replace(session));
    work()
}

/// A recipient as it travels in a message; see [`Node::lend`].
///
/// It is data: it keeps nobody alive and holds nothing open, and can be compared, kept, and sent on (to whoever has a
/// way to its node).
///
/// ```
/// # extern crate callboard_core as callboard;
/// use callboard::{Actor, Context, Handler, Message, System};
/// use callboard_remote::{Node, Peer, Reference};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[message(reply = (), name = "cafe.ready")]
/// struct Ready(String);
///
/// /// The answer comes later, to whom it says.
/// #[derive(Message, Serialize, Deserialize)]
/// #[message(reply = (), name = "cafe.order")]
/// struct Order {
///     drink: String,
///     call: Reference<Ready>,
/// }
///
/// struct Barista(Node);
/// impl Actor for Barista {}
/// impl Handler<Order> for Barista {
///     async fn handle(&mut self, order: Order, _ctx: &mut Context<Self>) {
///         if let Ok(guest) = order.call.resolve(&self.0) {
///             guest.tell(Ready(order.drink)).await.ok();
///         }
///     }
/// }
///
/// struct Guest(Option<futures::channel::oneshot::Sender<String>>);
/// impl Actor for Guest {}
/// impl Handler<Ready> for Guest {
///     async fn handle(&mut self, Ready(drink): Ready, _ctx: &mut Context<Self>) {
///         self.0.take().map(|tx| tx.send(drink));
///     }
/// }
///
/// async fn both(system: System) -> Result<(), Box<dyn std::error::Error>> {
///     let cafe = Node::new(&system, "cafe")?;
///     let barista = system.start(Barista(cafe.clone()));
///     cafe.expose("bar", &barista.recipient::<Order, _>())?;
///     let listener = cafe.listen_tcp("127.0.0.1:0".parse()?).await?;
///
///     let street = Node::new(&system, "street")?;
///     let peer = Peer::tcp(&system, listener.socket_addr().ok_or("no address")?)?;
///     peer.offer(&street);
///     peer.connected().await?;
///     let (tx, ready) = futures::channel::oneshot::channel();
///     let guest = system.start(Guest(Some(tx)));
///     let lent = street.lend(&guest.recipient::<Ready, _>())?;
///     let order = Order { drink: "a flat white".into(), call: lent.reference() };
///     peer.recipient::<Order>("bar")?.ask(order).await?;
///     assert_eq!(ready.await?, "a flat white");
///     Ok(())
/// }
///
/// callboard::run(both).unwrap().unwrap();
/// ```
pub struct Reference<M> {
    to: To,
    from: Origin,
    message: PhantomData<fn(M)>,
}

/// Who answers for a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// This process, where it was made.
    Here,
    /// Who is at the other end of that session, by which it came.
    Session(u64),
    /// Nobody: it was read, and from where isn't known.
    Unknown,
}

/// What travels. Names are short because there may be many.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct To {
    #[serde(rename = "n")]
    node: Arc<str>,
    #[serde(rename = "i")]
    incarnation: Incarnation,
    #[serde(rename = "e")]
    name: Arc<str>,
    #[serde(rename = "t")]
    type_name: Arc<str>,
    #[serde(rename = "v")]
    version: u32,
}

/// Why a reference leads nowhere from here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// It takes messages of another type or version than it is read as.
    #[error("{reference} takes {theirs}, not {ours}")]
    OtherType {
        /// The reference.
        reference: String,
        /// What it takes.
        theirs: String,
        /// What it is read as.
        ours: String,
    },
    /// It is of another node than the one at the other end: a third one, or another start of it. Resolve it over a
    /// peer that leads there.
    #[error(
        "{reference} is not of {there}, which is at the other end: resolve it over a peer that leads there"
    )]
    OtherNode {
        /// The reference.
        reference: String,
        /// Who is at the other end.
        there: String,
    },
    /// The session that it came by is over, or it came by none of this node's.
    #[error("{reference} came by no session of this node that is still there")]
    NoSession {
        /// The reference.
        reference: String,
    },
    /// It is of this very node, which doesn't expose that (any more), or not to who sent the reference.
    #[error("{reference} is not exposed")]
    Concealed {
        /// The reference.
        reference: String,
    },
    /// It was made by somebody who doesn't keep to names.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// A recipient that a node exposes under a name of its own, which nobody can guess, as long as this is kept. Made by
/// [`Node::lend`]. Dropping it takes it back: who sends there then is told `UnknownName`.
#[must_use = "what is lent is taken back when this is dropped"]
pub struct Lent<M> {
    node: Arc<node::Core>,
    reference: Reference<M>,
}

impl Node {
    /// Exposes a recipient under a fresh name, `lent.` and 32 random hexadecimal digits, for who gets the
    /// [`Reference`]. Rights that name it name `lent.>`; without such a rule only processes of this host can
    /// use it (G35).
    ///
    /// Lend an actor once and send its reference as often as you like: each name that is sent to takes a slot in
    /// the session that carries the messages, as long as somebody holds a recipient of it, and a session has 65,536.
    ///
    /// # Errors
    /// [`NameError`], if the name of the message type is malformed or reserved.
    pub fn lend<M: WireMessage>(&self, recipient: &Recipient<M>) -> Result<Lent<M>, NameError> {
        let name = format!("lent.{}", unguessable(self.system()).simple());
        self.expose(&name, recipient)?;
        Ok(Lent {
            node: self.core(),
            reference: self.reference(&name)?,
        })
    }

    /// A reference to what is, or will be, exposed here under that name.
    ///
    /// # Errors
    /// [`NameError::Malformed`].
    pub fn reference<M: WireMessage>(&self, name: &str) -> Result<Reference<M>, NameError> {
        check_name(name)?;
        check_name(M::NAME)?;
        let core = self.core();
        Ok(Reference {
            to: To {
                node: Arc::from(&*core.name),
                incarnation: core.incarnation,
                name: Arc::from(name),
                type_name: Arc::from(M::NAME),
                version: M::VERSION,
            },
            from: Origin::Here,
            message: PhantomData,
        })
    }

    /// Makes a reference a recipient: one of this node is what is exposed here, if who sent it may use that; any
    /// other is reached over the session that it came by, and must be of the node that [offers](Peer::offer) itself at
    /// its other end. That recipient is good as long as the session (G32): afterwards messages come back as
    /// `NoConnection`.
    ///
    /// It came by a session if it was in a message, a reply, an event, or an item that was offered to a queue of this
    /// process over it. One that was read from anywhere else, such as the items of a durable queue, has nobody whose
    /// rights could be asked (G35): it came by none, also if it is of this node.
    ///
    /// # Errors
    /// [`ReferenceError`].
    pub fn resolve<M: WireMessage>(
        &self,
        reference: &Reference<M>,
    ) -> Result<Recipient<M>, ReferenceError> {
        reference.check()?;
        let core = self.core();
        let to = &reference.to;
        let is_own = *to.node == *core.name && to.incarnation == core.incarnation;
        if is_own && reference.from == Origin::Here {
            return reference.here(&core);
        }
        let sessions = core.sessions.list();
        let session = sessions
            .iter()
            .find(|session| reference.from == Origin::Session(session.number));
        let session = session.ok_or_else(|| ReferenceError::NoSession {
            reference: reference.to_string(),
        })?;
        if is_own {
            // Whoever sent it may not reach by us what it couldn't reach itself.
            if !core.gate.may(&session.subject, M::NAME, &to.name) {
                return Err(reference.concealed());
            }
            return reference.here(&core);
        }
        let theirs = &session.theirs;
        reference.is_of(&theirs.node, theirs.incarnation)?;
        Ok(Peer::guest(&session.peer).recipient(&to.name)?)
    }

    /// The ways back to who is connected to this node, one for each session, with a connection or waiting for one:
    /// what they [offer](Peer::offer) can be asked from here. Such a peer dials nobody and ends with its session;
    /// dropping it changes nothing, and [closing](Peer::close) it ends the session.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        let sessions = self.core().sessions.list();
        sessions.iter().map(|it| Peer::guest(&it.peer)).collect()
    }
}

impl Peer {
    /// Makes a reference a recipient that is reached over this peer. It must be of the node that is, or was last, at
    /// the other end.
    ///
    /// # Errors
    /// [`ReferenceError::OtherNode`], also before the first connection; [`ReferenceError::OtherType`].
    pub fn resolve<M: WireMessage>(
        &self,
        reference: &Reference<M>,
    ) -> Result<Recipient<M>, ReferenceError> {
        reference.check()?;
        let Some(there) = self.state().remote else {
            return Err(ReferenceError::OtherNode {
                reference: reference.to_string(),
                there: "nobody yet".to_owned(),
            });
        };
        reference.is_of(&there.name, there.incarnation)?;
        Ok(self.recipient(&reference.to.name)?)
    }
}

impl<M: WireMessage> Reference<M> {
    /// The same as [`Node::resolve`].
    ///
    /// # Errors
    /// [`ReferenceError`].
    pub fn resolve(&self, node: &Node) -> Result<Recipient<M>, ReferenceError> {
        node.resolve(self)
    }

    /// What this node exposes.
    fn here(&self, core: &node::Core) -> Result<Recipient<M>, ReferenceError> {
        let found = core.exposed.actors.find(&self.to.name, M::NAME, M::VERSION);
        let (_, here) = found.map_err(|_| self.concealed())?;
        let recipient = here.recipient().downcast::<Recipient<M>>();
        recipient
            .map(|recipient| *recipient)
            .map_err(|_| self.concealed())
    }

    fn concealed(&self) -> ReferenceError {
        ReferenceError::Concealed {
            reference: self.to_string(),
        }
    }

    fn check(&self) -> Result<(), ReferenceError> {
        let To {
            type_name, version, ..
        } = &self.to;
        if **type_name == *M::NAME && *version == M::VERSION {
            return Ok(());
        }
        Err(ReferenceError::OtherType {
            reference: self.to_string(),
            theirs: format!("{type_name} version {version}"),
            ours: format!("{} version {}", M::NAME, M::VERSION),
        })
    }
}

impl<M> Reference<M> {
    /// The name of its node.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.to.node
    }

    /// Which start of the node it is of.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.to.incarnation
    }

    /// The name under which its node exposes it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.to.name
    }

    fn is_of(&self, node: &str, incarnation: Incarnation) -> Result<(), ReferenceError> {
        if *self.to.node == *node && self.to.incarnation == incarnation {
            return Ok(());
        }
        Err(ReferenceError::OtherNode {
            reference: self.to_string(),
            there: format!("{node} ({incarnation})"),
        })
    }
}

impl<M> Lent<M> {
    /// What to send.
    #[must_use]
    pub fn reference(&self) -> Reference<M> {
        self.reference.clone()
    }
}

impl<M> Drop for Lent<M> {
    fn drop(&mut self) {
        self.node.exposed.remove(&self.reference.to.name);
    }
}

impl<M> fmt::Debug for Lent<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lent").field(&self.reference).finish()
    }
}

impl<M> Clone for Reference<M> {
    fn clone(&self) -> Self {
        Reference {
            to: self.to.clone(),
            from: self.from,
            message: PhantomData,
        }
    }
}

/// Equal are those that lead to the same, whichever way they came.
impl<M> PartialEq for Reference<M> {
    fn eq(&self, other: &Self) -> bool {
        self.to == other.to
    }
}

impl<M> Eq for Reference<M> {}

/// `bar at cafe`.
impl<M> fmt::Display for Reference<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.to.name, self.to.node)
    }
}

impl<M> fmt::Debug for Reference<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reference({self})")
    }
}

impl<M> Serialize for Reference<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to.serialize(serializer)
    }
}

impl<'de, M> Deserialize<'de> for Reference<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Reference {
            to: To::deserialize(deserializer)?,
            from: match ARRIVING.get() {
                0 => Origin::Unknown,
                session => Origin::Session(session),
            },
            message: PhantomData,
        })
    }
}
