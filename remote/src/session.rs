//! What outlives connections: the state that both ends keep of what they have told each other (G32, G33).
//!
//! A session begins with the first connection between two nodes and goes on over any number of them. Each side
//! numbers the frames that it sends, keeps them until the other has acknowledged them ([`log`]), and sends them again
//! over the next connection from where the other says; so each arrives once and in order. It ends
//! - by intent: one side says `Bye`;
//! - when the other side is no longer the same: it answers that it doesn't know the session, or with another
//!   incarnation;
//! - when no connection came for the session's time;
//! - when the other side breaks the protocol, or leaves too much unread.
//!
//! Then each message in flight ends with its verdict: `NotSent` if certainly no byte of it has left, else
//! `MaybeExecuted`.
//!
//! | part | what it is |
//! |---|---|
//! | [`ours`] | the slots that this side has opened, and whose they are |
//! | [`outbox`] | what waits to be taken by the connection, in lanes, with credit |
//! | [`log`] | what was taken and isn't acknowledged |
//! | [`inbox`] | what has arrived: numbers, slots, pieces, messages that wait for their receiver |
//! | [`table`] | the slots that the other side has opened, and the lines of their messages |
//! | [`in_flight`] | asks of the other side that aren't answered |
//! | [`work`] | one task a session: receivers that were full, subscriptions |
//! | [`connection`] | one byte stream: reads, writes, keeps time |
//! | [`buffers`] | memory for large payloads |
//! | [`busy_poll`] | a look-out for what comes next, before a thread sleeps |
//! | [`shake`] | how one begins |

pub(crate) mod buffers;
mod busy_poll;
pub(crate) mod connection;
mod heartbeat;
pub(crate) mod in_flight;
pub(crate) mod inbox;
mod life;
pub(crate) mod log;
mod lost;
mod ours;
pub(crate) mod outbox;
mod pack;
pub(crate) mod scratch;
pub(crate) mod shake;
mod slots;
mod table;
pub(crate) mod work;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use callboard::clock::Instant;
use callboard::{Failure, Incarnation, Meta, Placement, Principal, System};
use parking_lot::{Mutex, RwLock};

use crate::config::LinkConfig;
use crate::error::LinkErrorKind;
use crate::node::{self, SessionSnapshot};
use crate::peer::{self, Offer};
use crate::rights::{Account, Subject};
use crate::stats::Traffic;
use crate::transport::{Channel, Proof};
use crate::wire::body::{PACKED, put_failure};
use crate::wire::frame::{HEADER, Kind, bare, put_frame};
use crate::wire::handshake::{Hello, LZ4, SessionHello};

use buffers::Buffers;
use connection::EndSignal;
use in_flight::InFlight;
use inbox::Inbox;
pub(crate) use life::{Attachment, Pass};
use log::Log;
pub(crate) use ours::Given;
use ours::Ours;
use outbox::{Outbox, Waits};
use pack::Worth;
use work::Work;

/// The other side of a session, as it introduced itself.
#[derive(Debug, Clone)]
pub(crate) struct Theirs {
    pub(crate) node: String,
    pub(crate) incarnation: Incarnation,
    /// The largest body of a message that it takes.
    pub(crate) max_message: u32,
    pub(crate) lz4: bool,
    pub(crate) window: u64,
}

/// See the module.
pub(crate) struct Session {
    pub(crate) system: System,
    pub(crate) config: LinkConfig,
    /// Drawn by who connects; both sides call it so.
    pub(crate) id: [u8; 16],
    /// Never given twice in this process.
    pub(crate) number: u64,
    pub(crate) theirs: Theirs,
    pub(crate) proof: Proof,
    /// The other side as rights see it.
    pub(crate) subject: Subject,
    /// What it takes up of a node that it connected to, until it ends.
    pub(crate) account: Mutex<Option<Account>>,
    /// How long it outlives a broken connection.
    pub(crate) outlives: Duration,
    /// What asks over it, here.
    pub(crate) peer: Arc<peer::Core>,
    /// What the other side may address here.
    pub(crate) offer: Offer,
    pub(crate) outbox: Outbox,
    pub(crate) log: Mutex<Log>,
    inbox: Mutex<Inbox>,
    /// Bytes that wait in the inbox: who asks must not wait for it.
    waiting: Arc<AtomicUsize>,
    pub(crate) in_flight: InFlight,
    pub(crate) work: Work,
    /// What large payloads lie in.
    pub(crate) buffers: Arc<Buffers>,
    /// Whether compressing helps.
    worth: Worth,
    /// What all messages that come over it have beside them.
    origin: Meta,
    /// The slots that this side has opened.
    ours: RwLock<Ours>,
    attached: Mutex<Attached>,
    ended: OnceLock<LinkErrorKind>,
    /// Too much was left unread: it is about to end.
    is_unread: AtomicBool,
    /// Whether this side connects.
    pub(crate) is_dialler: bool,
}

/// Which connection feeds it.
#[derive(Default)]
struct Attached {
    /// Grows with each connection.
    generation: u64,
    end: Option<Arc<EndSignal>>,
    /// Since when none has carried anything.
    alone_since: Option<Instant>,
    /// A task waits for the end of its time.
    lingers: bool,
}

/// What a new session is made of.
pub(crate) struct Begin {
    pub(crate) peer: Arc<peer::Core>,
    pub(crate) offer: Offer,
    pub(crate) theirs: Hello,
    /// Of the other side.
    pub(crate) session: SessionHello,
    pub(crate) proof: Proof,
    pub(crate) config: LinkConfig,
    pub(crate) account: Option<Account>,
    pub(crate) is_dialler: bool,
}

impl Session {
    pub(crate) fn new(begin: Begin) -> Arc<Self> {
        let Begin {
            peer,
            offer,
            theirs,
            session,
            proof,
            config,
            account,
            is_dialler,
        } = begin;
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let most_asks = config.in_flight.min(session.in_flight as usize);
        let their_time = Duration::from_millis(session.session_millis.into());
        let on_way = config.compress_above.is_some() && proof.channel != Channel::Local;
        let waiting = Arc::default();
        Arc::new_cyclic(|this| Session {
            system: peer.system.clone(),
            id: session.id,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            outlives: config.session_time.min(their_time),
            outbox: Outbox::new(&config, session.session_window, most_asks),
            inbox: Mutex::new(Inbox::new(&config, Arc::clone(&waiting))),
            waiting,
            work: Work::new(this.clone()),
            buffers: Arc::default(),
            worth: Worth::default(),
            origin: origin_of(&proof),
            theirs: Theirs {
                node: theirs.node,
                incarnation: theirs.incarnation,
                max_message: theirs.max_message,
                lz4: on_way && theirs.features & LZ4 != 0,
                window: session.window,
            },
            config,
            subject: Subject::new(&proof),
            account: Mutex::new(account),
            proof,
            peer,
            offer,
            log: Mutex::default(),
            in_flight: InFlight::default(),
            ours: RwLock::default(),
            attached: Mutex::default(),
            ended: OnceLock::new(),
            is_unread: AtomicBool::new(false),
            is_dialler,
        })
    }

    /// The node whose exposed names the other side may address.
    pub(crate) fn node(&self) -> Option<&Arc<node::Core>> {
        self.offer.node.as_ref()
    }

    /// Whom the transport, or a login, proved the other side to be.
    pub(crate) fn principal(&self) -> Option<&Principal> {
        self.subject.principal()
    }

    pub(crate) fn traffic<R>(&self, count: impl FnOnce(&Traffic) -> R) -> R {
        match self.node() {
            Some(node) if !self.is_dialler => count(&node.counters.traffic),
            _ => count(&self.peer.counters.traffic),
        }
    }

    /// Whether nothing has arrived over it yet.
    pub(crate) fn is_untouched(&self) -> bool {
        self.with_inbox(|inbox| inbox.is_untouched())
    }

    /// Works with what has arrived. What is handed on meanwhile may be handled on this very thread, and ask for the
    /// state of this session, or end it: nothing of that waits for the inbox.
    fn with_inbox<R>(&self, work: impl FnOnce(&mut Inbox) -> R) -> R {
        let mut inbox = self.inbox.lock();
        let result = work(&mut inbox);
        drop(inbox);
        if self.ended.get().is_some() {
            self.leave_inbox();
        }
        result
    }

    /// Why it ended, if it has.
    pub(crate) fn ended(&self) -> Option<&LinkErrorKind> {
        self.ended.get()
    }

    /// Puts in an answer; a peer that leaves too much unread is cut off.
    pub(crate) fn answer(&self, frame: Vec<u8>) {
        if let Err(bytes) = self.outbox.push_answer(frame) {
            self.left_unread(bytes);
        }
    }

    /// The same for one in a buffer of the caller's.
    pub(crate) fn answer_from(&self, frame: &[u8]) {
        if let Err(bytes) = self.outbox.push_answer_from(frame) {
            self.left_unread(bytes);
        }
    }

    /// Ends it, but not here: who answers may be the reader in the midst of its frames, or anybody's handler.
    fn left_unread(&self, bytes: usize) {
        if self.is_unread.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(session) = self.work.session() {
            self.system.spawn(Placement::Spread, move || async move {
                session.end(&LinkErrorKind::Unread(bytes));
            });
        }
    }

    /// Compresses the payload of an answer, all of its body, if that helps. The flags that say so.
    fn pack(&self, frame: &mut Vec<u8>) -> u8 {
        self.pack_from(frame, HEADER)
    }

    /// The same for what stands in a frame from `at` on.
    pub(crate) fn pack_from(&self, frame: &mut Vec<u8>, at: usize) -> u8 {
        if self.packs(frame.len() - at) && self.worth.attempt(|| pack::pack(frame, at)) {
            PACKED
        } else {
            0
        }
    }

    /// The plain bytes of a payload that was compressed.
    pub(crate) fn unpack(&self, payload: &[u8]) -> Result<Vec<u8>, Failure> {
        pack::unpack(payload, self.config.message_limit())
    }

    /// The same for one whose body ends with `rest`, which is not copied.
    fn answer_with(&self, frame: Vec<u8>, rest: Bytes) {
        if let Err(bytes) = self.outbox.push_answer_with(frame, rest) {
            self.left_unread(bytes);
        }
    }

    /// Whether a payload of that many bytes is compressed, if that helps.
    pub(crate) fn packs(&self, len: usize) -> bool {
        let above = self.config.compress_above.filter(|_| self.theirs.lz4);
        above.is_some_and(|above| len > above)
    }

    /// Puts in a frame without a body.
    pub(crate) fn say(&self, kind: Kind, correlation: u64) {
        self.answer(bare(kind, correlation));
    }

    /// Ends an ask, a subscription or a watch of the other side without an answer.
    pub(crate) fn fail(&self, number: u64, failure: &Failure) {
        self.answer(failed(number, failure));
    }

    /// Ends a subscription of the other side behind its events; with a failure if there is one.
    pub(crate) fn end_subscription(&self, number: u64, failure: Option<&Failure>) {
        let frame = match failure {
            Some(failure) => failed(number, failure),
            None => bare(Kind::Ended, number),
        };
        if let Err(bytes) = self.outbox.push_last(number, frame) {
            self.left_unread(bytes);
        }
    }

    /// A slot for the asks and tells of one caller. `None` if the session has no more.
    pub(crate) fn open(
        &self,
        caller: Arc<dyn Waits>,
        open: impl FnOnce(&mut Vec<u8>),
    ) -> Option<Given> {
        let lane = lane_of(caller.target().0);
        let acked = self.log.lock().acked();
        // Until its `Open` is queued: they are in the order of their slots.
        let mut ours = self.ours.write();
        let given = ours.open(caller, lane, self.theirs.window, &self.outbox, acked)?;
        let mut frame = Vec::new();
        let slot = given.slot.into();
        // Two names and some numbers: always below the limit.
        let _ = put_frame(&mut frame, Kind::Open, 0, slot, MAX_FAILURE, open);
        self.answer(frame);
        Some(given)
    }

    /// Nobody sends to that slot any more, and nobody waits for answers. No ticket had a turn from this one on.
    pub(crate) fn give_back(&self, slot: u32, turn: u32) {
        self.ours.write().give_back(slot, turn, &self.outbox);
    }

    /// The other side has answered an `Open`: whose slot that is.
    pub(crate) fn opened(&self, slot: u32) -> Option<Arc<dyn Waits>> {
        self.ours.write().confirmed(slot)
    }

    /// Whose slot that is.
    pub(crate) fn caller(&self, slot: u32) -> Option<Arc<dyn Waits>> {
        self.ours.read().caller(slot).cloned()
    }

    pub(crate) fn snapshot(&self) -> SessionSnapshot {
        let is_connected = self.attached.lock().end.is_some();
        SessionSnapshot {
            peer: self.theirs.node.clone(),
            principal: self.principal().map(ToString::to_string),
            is_connected,
            waiting_bytes: self.waiting(),
            outbox_bytes: self.outbox.load().0,
            unacknowledged: self.unacknowledged(),
            in_flight: self.in_flight.len(),
        }
    }

    /// Bytes that have arrived and wait here.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Bytes that are kept until they are acknowledged.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.log.lock().bytes()
    }
}

/// On whose behalf messages come.
fn origin_of(proof: &Proof) -> Meta {
    let mut origin = Meta::default();
    if let Some(principal) = Subject::new(proof).principal() {
        origin.set_principal(principal.clone());
    }
    origin
}

/// The end of what has that number.
fn failed(number: u64, failure: &Failure) -> Vec<u8> {
    let mut frame = Vec::new();
    // It fits: its texts are cut.
    let _ = put_frame(&mut frame, Kind::Failed, 0, number, MAX_FAILURE, |out| {
        put_failure(out, failure);
    });
    frame
}

/// What the messages to one name have in common (G2). That two names have the same makes one wait for large messages
/// of the other, and nothing else.
fn lane_of(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// The largest body of a frame that has no payload.
const MAX_FAILURE: u32 = 4_096;
