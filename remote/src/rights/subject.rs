//! Whose request it is.

use std::fmt;

use callboard::Principal;
use serde::Serialize;

use crate::transport::{Channel, Proof};

/// Where a peer stands before any rule says something of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// On this host, and the kernel says that it is of our own user: it could read our memory anyway.
    OwnUser,
    /// On this host, and proved to be somebody else.
    OtherLocal,
    /// On this host, and nobody says who it is: a pipe, memory, TCP on loopback.
    UnprovedLocal,
    /// Off this host, or behind TLS, which is the same: who has only the loopback needs no TLS.
    Remote,
}

/// A peer as rules see it: what its transport proved, worked out once for each connection.
///
/// On a [plain](Channel::Plain) channel nothing is proved, whatever the proof says: anybody on the way can put words
/// into the peer's mouth.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    principal: Option<Principal>,
    standing: Standing,
}

impl Subject {
    /// The other side of a connection, as proved.
    #[must_use]
    pub fn new(proof: &Proof) -> Self {
        let principal = match proof.channel {
            Channel::Local | Channel::Encrypted => proof.principal.clone(),
            Channel::Plain => None,
        };
        let standing = match (proof.channel, &principal) {
            (Channel::Encrypted | Channel::Plain, _) => Standing::Remote,
            (Channel::Local, None) => Standing::UnprovedLocal,
            (Channel::Local, Some(principal)) if *principal == own_user() => Standing::OwnUser,
            (Channel::Local, Some(_)) => Standing::OtherLocal,
        };
        Subject {
            principal,
            standing,
        }
    }

    /// Who it is, if it proved that.
    #[must_use]
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }

    /// Where it stands before any rule.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }
}

impl From<&Proof> for Subject {
    fn from(proof: &Proof) -> Self {
        Subject::new(proof)
    }
}

/// Its principal, or where it stands.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.principal, self.standing) {
            (Some(principal), _) => principal.fmt(f),
            (None, Standing::Remote) => f.write_str("an unproved peer"),
            (None, _) => f.write_str("an unproved peer of this host"),
        }
    }
}

/// The principal that a Unix socket proves of a process of our own user.
pub(super) fn own_user() -> Principal {
    // The effective one: that is what the kernel tells the other side of a socket.
    let uid = rustix::process::geteuid().as_raw();
    Principal::new(format!("uid:{uid}"))
}
