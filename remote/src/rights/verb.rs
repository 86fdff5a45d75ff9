//! What can be done with a name.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a peer does with a name. Each request is one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Tells, asks and watches an actor; takes and gives back a lock.
    Execute,
    /// Puts items into a queue.
    Offer,
    /// Takes items from a queue, leases and settles them.
    Poll,
    /// Publishes to a topic.
    Publish,
    /// Subscribes to a topic.
    Subscribe,
    /// Lists, creates, removes and inspects.
    Admin,
}

impl Verb {
    /// All verbs.
    pub const ALL: [Verb; 6] = [
        Verb::Execute,
        Verb::Offer,
        Verb::Poll,
        Verb::Publish,
        Verb::Subscribe,
        Verb::Admin,
    ];

    /// Its name, as rules in a file have it: `execute`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Verb::Execute => "execute",
            Verb::Offer => "offer",
            Verb::Poll => "poll",
            Verb::Publish => "publish",
            Verb::Subscribe => "subscribe",
            Verb::Admin => "admin",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of verbs.
///
/// ```
/// use callboard_remote::{Verb, Verbs};
///
/// let verbs = Verbs::OFFER | Verbs::POLL;
/// assert!(verbs.has(Verb::Poll));
/// assert_eq!(verbs.to_string(), "offer, poll");
/// assert_eq!(Verbs::ALL.without(Verbs::USE), Verbs::ADMIN);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Verbs(u8);

impl Verbs {
    /// No verb.
    pub const NONE: Verbs = Verbs(0);
    /// [`Verb::Execute`].
    pub const EXECUTE: Verbs = Verbs::only(Verb::Execute);
    /// [`Verb::Offer`].
    pub const OFFER: Verbs = Verbs::only(Verb::Offer);
    /// [`Verb::Poll`].
    pub const POLL: Verbs = Verbs::only(Verb::Poll);
    /// [`Verb::Publish`].
    pub const PUBLISH: Verbs = Verbs::only(Verb::Publish);
    /// [`Verb::Subscribe`].
    pub const SUBSCRIBE: Verbs = Verbs::only(Verb::Subscribe);
    /// [`Verb::Admin`].
    pub const ADMIN: Verbs = Verbs::only(Verb::Admin);
    /// All verbs.
    pub const ALL: Verbs = Verbs((1 << Verb::ALL.len()) - 1);
    /// All but [`Verb::Admin`]: what it takes to use things, but not to manage them.
    pub const USE: Verbs = Verbs::ALL.without(Verbs::ADMIN);

    /// The set of one verb.
    #[must_use]
    pub const fn only(verb: Verb) -> Self {
        Verbs(1 << verb as u8)
    }

    /// Whether the verb is in it.
    #[must_use]
    #[inline]
    pub const fn has(self, verb: Verb) -> bool {
        self.0 & Verbs::only(verb).0 != 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The verbs of either.
    #[must_use]
    pub const fn with(self, other: Verbs) -> Self {
        Verbs(self.0 | other.0)
    }

    /// The verbs that the other hasn't got.
    #[must_use]
    pub const fn without(self, other: Verbs) -> Self {
        Verbs(self.0 & !other.0)
    }

    /// The verbs of both.
    #[must_use]
    pub const fn and(self, other: Verbs) -> Self {
        Verbs(self.0 & other.0)
    }

    /// Its verbs, in the order of [`Verb::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Verb> {
        Verb::ALL.into_iter().filter(move |verb| self.has(*verb))
    }
}

impl From<Verb> for Verbs {
    fn from(verb: Verb) -> Self {
        Verbs::only(verb)
    }
}

impl BitOr for Verbs {
    type Output = Verbs;

    fn bitor(self, other: Verbs) -> Verbs {
        self.with(other)
    }
}

impl BitOrAssign for Verbs {
    fn bitor_assign(&mut self, other: Verbs) {
        *self = self.with(other);
    }
}

impl FromIterator<Verb> for Verbs {
    fn from_iter<I: IntoIterator<Item = Verb>>(verbs: I) -> Self {
        verbs
            .into_iter()
            .fold(Verbs::NONE, |set, verb| set.with(verb.into()))
    }
}

/// `offer, poll`; `nothing` if there is none.
impl fmt::Display for Verbs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing");
        }
        for (at, verb) in self.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{verb}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Verbs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// As a list of names.
impl Serialize for Verbs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// From a list of names.
impl<'de> Deserialize<'de> for Verbs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let verbs = Vec::<Verb>::deserialize(deserializer)?;
        Ok(verbs.into_iter().collect())
    }
}
