//! Which request an outcome belongs to.

use std::fmt;

use callboard_core::{Meta, Principal, RequestKey, WireMessage};

/// The scope of a request key, and the key: on whose behalf, at which target, with what type of message. Nobody gets what
/// was kept for another, and a key that a client uses for two kinds of calls is two requests.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId {
    principal: Option<Principal>,
    target: Box<str>,
    message: Box<str>,
    key: RequestKey,
    bytes: Box<[u8]>,
}

impl RequestId {
    /// The id of the message in hand, whose [`Meta`] [`Context::meta`](callboard_core::Context::meta) has: its key, and its
    /// principal where a boundary proved one. `None` if it has no key.
    ///
    /// `target` is a name for the receiver that stays the same over restarts and upgrades: the name under which it is
    /// exposed, not the id of an actor. The version of the message is no part of it: a request that is repeated over an
    /// upgrade is the same request.
    #[must_use]
    pub fn of<M: WireMessage>(target: &str, meta: &Meta) -> Option<Self> {
        let principal = meta.principal().cloned();
        Some(RequestId::new(principal, target, M::NAME, meta.key()?))
    }

    /// An id of these parts.
    #[must_use]
    pub fn new(principal: Option<Principal>, target: &str, message: &str, key: RequestKey) -> Self {
        let bytes = encode(principal.as_ref(), target, message, key);
        RequestId {
            principal,
            target: target.into(),
            message: message.into(),
            key,
            bytes,
        }
    }

    /// On whose behalf, where a boundary proved it.
    #[must_use]
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }

    /// The receiver.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The type of the message, by its name on the wire.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> RequestKey {
        self.key
    }

    /// The id as bytes, for one column that is the primary key: equal for equal ids and for no others, and the same in
    /// every build. (Four columns would do only if an absent principal isn't `NULL`, of which SQL lets a primary key
    /// have any number.) They begin with the key, so those of keys of version 7 sort by time, and new ones go
    /// to the end of the index.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The key, then each part behind its length, so that no two ids look alike; an absent principal has no length.
fn encode(
    principal: Option<&Principal>,
    target: &str,
    message: &str,
    key: RequestKey,
) -> Box<[u8]> {
    let mut bytes = key.as_uuid().as_bytes().to_vec();
    let mut part = |text: &str| {
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        bytes.extend_from_slice(&length.to_be_bytes()[4..]);
        bytes.extend_from_slice(text.as_bytes());
    };
    part(target);
    part(message);
    if let Some(principal) = principal {
        part(principal.name());
    }
    bytes.into_boxed_slice()
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

/// `bank.pay at bank, key 0199..., for uid:1000`.
impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}, key {}", self.message, self.target, self.key)?;
        match &self.principal {
            Some(principal) => write!(f, ", for {principal}"),
            None => Ok(()),
        }
    }
}
