//! How much of a node one principal takes up, over all its sessions.
//!
//! Limits of one session are those of [`LinkConfig`](crate::LinkConfig); these here keep a principal from getting more
//! by beginning more sessions. A place is given back when its guard is dropped, and is free at that moment for the
//! next who asks. It is the session that counts, not the connection: what it takes up stays while it waits for the
//! next connection, and is given back at once when the peer says that it is over, also if answers are still owed to it.
//!
//! Peers of whom nothing is proved have an account for each session, since nothing says which belong together; how
//! many there are in all is the node's limit. Our own user is counted and not limited: it can stop this process
//! anyway.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use callboard::{Failure, FailureKind, Verdict};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::subject::{Standing, Subject};
use crate::config::LinkConfig;

#[cfg(test)]
mod tests;

/// What one principal may take up at a time.
///
/// It is `Deserialize`; what a file leaves out has its default, and words that it doesn't know are errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PeerLimits {
    /// Sessions, those included that wait for their next connection. 256.
    pub sessions: usize,
    /// Subscriptions, of all its sessions together. 1,024.
    pub subscriptions: usize,
    /// Queues that it has made and that are still there. 64.
    pub queues: usize,
    /// Topics that it has made and that are still there. 64.
    pub topics: usize,
    /// Unanswered asks of one session, at least 1, where that is less than [`LinkConfig::in_flight`]. Read when a
    /// session begins. 16,384.
    pub in_flight: usize,
    /// Bytes of one message, at least 4,096, where that is less than [`LinkConfig::max_message`]. Read when a session begins. 16 MiB.
    pub message_bytes: u32,
}

impl Default for PeerLimits {
    fn default() -> Self {
        PeerLimits {
            sessions: 256,
            subscriptions: 1_024,
            queues: 64,
            topics: 64,
            in_flight: 16_384,
            message_bytes: 16 * 1024 * 1024,
        }
    }
}

impl PeerLimits {
    fn of(&self, kind: PlaceKind) -> usize {
        match kind {
            PlaceKind::Session => self.sessions,
            PlaceKind::Subscription => self.subscriptions,
            PlaceKind::Queue => self.queues,
            PlaceKind::Topic => self.topics,
        }
    }
}

/// What a place is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlaceKind {
    /// A session.
    Session,
    /// A subscription.
    Subscription,
    /// A queue that it made.
    Queue,
    /// A topic that it made.
    Topic,
}

impl PlaceKind {
    /// All kinds.
    pub const ALL: [PlaceKind; 4] = [
        PlaceKind::Session,
        PlaceKind::Subscription,
        PlaceKind::Queue,
        PlaceKind::Topic,
    ];
}

impl fmt::Display for PlaceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PlaceKind::Session => "sessions",
            PlaceKind::Subscription => "subscriptions",
            PlaceKind::Queue => "queues",
            PlaceKind::Topic => "topics",
        })
    }
}

/// A principal that has taken up all it may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{who} has its {most} {kind}")]
pub struct NoPlace {
    who: String,
    kind: PlaceKind,
    most: usize,
}

impl NoPlace {
    /// Places of which kind.
    #[must_use]
    pub fn kind(&self) -> PlaceKind {
        self.kind
    }

    /// How many it may take.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }
}

impl From<NoPlace> for Failure {
    fn from(none: NoPlace) -> Failure {
        Failure::new(FailureKind::Full, Verdict::NotExecuted).with_detail(none.to_string())
    }
}

/// What principals take up of a node, by the sessions in which they connected to it. Of a node that is
/// [offered](crate::Peer::offer) over a peer that this side dialled nothing is counted: whom it dials is its own choice.
/// Clones share it; each node has its own, see [`Node::places`](crate::Node::places).
///
/// ```
/// use callboard::Principal;
/// use callboard_remote::{PeerLimits, PlaceKind, Places, Proof, Subject};
/// # extern crate callboard_core as callboard;
///
/// let mut limits = PeerLimits::default();
/// limits.subscriptions = 1;
/// let places = Places::new(limits);
/// let billing = Subject::new(&Proof::encrypted(Some(Principal::new("cert:billing"))));
/// let account = places.open(&billing)?;
/// let first = account.take(PlaceKind::Subscription)?;
/// let error = account.take(PlaceKind::Subscription).unwrap_err();
/// assert_eq!(error.to_string(), "cert:billing has its 1 subscriptions");
/// drop(first);
/// assert!(account.take(PlaceKind::Subscription).is_ok());
/// # Ok::<(), callboard_remote::NoPlace>(())
/// ```
#[derive(Clone)]
pub struct Places {
    shared: Arc<Shared>,
}

struct Shared {
    limits: ArcSwap<PeerLimits>,
    /// Those of proved principals, which are found again by their name. Each lives as long as something of it.
    accounts: Mutex<HashMap<Subject, Weak<Counts>>>,
    refused: [AtomicU64; PlaceKind::ALL.len()],
}

/// What one principal takes up.
struct Counts {
    shared: Arc<Shared>,
    subject: Subject,
    taken: [AtomicUsize; PlaceKind::ALL.len()],
}

/// One session of a principal, with its place. Clones are the same session; it is given back with the last.
#[derive(Clone)]
pub struct Account {
    counts: Arc<Counts>,
    /// Of the session.
    _place: Arc<Place>,
}

/// A place that is taken until this is dropped. It is free then at once.
#[must_use = "dropping it gives the place back"]
pub struct Place {
    counts: Arc<Counts>,
    kind: PlaceKind,
}

/// What one principal takes up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AccountSnapshot {
    /// Who.
    pub principal: String,
    /// How many places of each kind, in the order of [`PlaceKind::ALL`]; kinds of which it has none are left out.
    pub taken: Vec<(PlaceKind, usize)>,
}

impl Places {
    /// Nothing is taken.
    #[must_use]
    pub fn new(limits: PeerLimits) -> Self {
        let shared = Shared {
            limits: ArcSwap::from_pointee(limits),
            accounts: Mutex::default(),
            refused: Default::default(),
        };
        Places {
            shared: Arc::new(shared),
        }
    }

    /// Takes the place of a session, and gives what the rest is taken from.
    ///
    /// # Errors
    /// [`NoPlace`].
    pub fn open(&self, subject: &Subject) -> Result<Account, NoPlace> {
        let counts = self.counts(subject);
        let place = Arc::new(counts.take(PlaceKind::Session)?);
        Ok(Account {
            counts,
            _place: place,
        })
    }

    /// Takes a place of a principal without a session of it: for the other side of a link that this process made.
    pub(crate) fn take(&self, subject: &Subject, kind: PlaceKind) -> Result<Place, NoPlace> {
        self.counts(subject).take(kind)
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> PeerLimits {
        **self.shared.limits.load()
    }

    /// Sets other limits. Who has more already keeps it, and gets no more until it is below.
    pub fn set_limits(&self, limits: PeerLimits) {
        self.shared.limits.store(Arc::new(limits));
    }

    /// How often there was no place, by kind; kinds of which there always was one are left out.
    #[must_use]
    pub fn refused(&self) -> Vec<(PlaceKind, u64)> {
        let counts = self.shared.refused.iter();
        let counts = counts.map(|count| count.load(Ordering::Relaxed));
        let all = PlaceKind::ALL.into_iter().zip(counts);
        all.filter(|(_, count)| *count > 0).collect()
    }

    /// What proved principals take up, by name. Those that have nothing are not there.
    #[must_use]
    pub fn accounts(&self) -> Vec<AccountSnapshot> {
        let alive: Vec<Arc<Counts>> = {
            let accounts = self.shared.accounts.lock();
            accounts.values().filter_map(Weak::upgrade).collect()
        };
        let mut snapshots: Vec<_> = alive.iter().map(|counts| counts.snapshot()).collect();
        snapshots.sort_by(|one, other| one.principal.cmp(&other.principal));
        snapshots
    }

    fn counts(&self, subject: &Subject) -> Arc<Counts> {
        let fresh = || {
            Arc::new(Counts {
                shared: Arc::clone(&self.shared),
                subject: subject.clone(),
                taken: Default::default(),
            })
        };
        if subject.principal().is_none() {
            return fresh();
        }
        let mut accounts = self.shared.accounts.lock();
        if let Some(counts) = accounts.get(subject).and_then(Weak::upgrade) {
            return counts;
        }
        let counts = fresh();
        accounts.insert(subject.clone(), Arc::downgrade(&counts));
        counts
    }
}

impl Account {
    /// Takes a place.
    ///
    /// # Errors
    /// [`NoPlace`].
    pub fn take(&self, kind: PlaceKind) -> Result<Place, NoPlace> {
        self.counts.take(kind)
    }

    /// The configuration of one session, where its principal is allowed less.
    pub(crate) fn narrow(&self, mut config: LinkConfig) -> LinkConfig {
        if self.counts.subject.standing() != Standing::OwnUser {
            let limits = **self.counts.shared.limits.load();
            config.in_flight = config.in_flight.min(limits.in_flight);
            config.max_message = config.max_message.min(limits.message_bytes);
            config = config.within_range();
        }
        config
    }

    /// Whose it is.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.counts.subject
    }

    /// What its principal takes up, with all sessions.
    #[must_use]
    pub fn snapshot(&self) -> AccountSnapshot {
        self.counts.snapshot()
    }
}

impl Counts {
    fn take(self: &Arc<Self>, kind: PlaceKind) -> Result<Place, NoPlace> {
        let most = match self.subject.standing() {
            Standing::OwnUser => usize::MAX,
            _ => self.shared.limits.load().of(kind),
        };
        // Relaxed: only the number matters, and no more than `most` succeed in one order or another.
        let taken =
            self.taken[kind as usize].fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < most).then_some(taken + 1)
            });
        match taken {
            Ok(_) => Ok(Place {
                counts: Arc::clone(self),
                kind,
            }),
            Err(_) => {
                self.shared.refused[kind as usize].fetch_add(1, Ordering::Relaxed);
                Err(NoPlace {
                    who: self.subject.to_string(),
                    kind,
                    most,
                })
            }
        }
    }

    fn snapshot(&self) -> AccountSnapshot {
        let counts = self.taken.iter();
        let counts = counts.map(|count| count.load(Ordering::Relaxed));
        let all = PlaceKind::ALL.into_iter().zip(counts);
        AccountSnapshot {
            principal: self.subject.to_string(),
            taken: all.filter(|(_, count)| *count > 0).collect(),
        }
    }
}

impl Drop for Counts {
    fn drop(&mut self) {
        if self.subject.principal().is_none() {
            return;
        }
        let mut accounts = self.shared.accounts.lock();
        // A successor may have its place already.
        let is_over = |counts: &Weak<Counts>| counts.strong_count() == 0;
        if accounts.get(&self.subject).is_some_and(is_over) {
            accounts.remove(&self.subject);
        }
    }
}

impl Place {
    pub(crate) fn kind(&self) -> PlaceKind {
        self.kind
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.counts.taken[self.kind as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places")
            .field("limits", &self.limits())
            .field("accounts", &self.accounts())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AccountSnapshot { principal, taken } = self.snapshot();
        f.debug_struct("Account")
            .field("principal", &principal)
            .field("taken", &taken)
            .finish()
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({} of {})", self.kind, self.counts.subject)
    }
}
