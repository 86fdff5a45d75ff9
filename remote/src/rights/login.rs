//! What a peer says to prove itself by a secret, and what comes of it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use callboard::clock::Instant;
use serde::Serialize;

use super::secret::Secret;
use super::secrets::{SecretError, check_name};
use crate::error::LinkErrorKind;
use crate::transport::Channel;
use crate::wire::handshake::{self as wire, Hello, printable};
use crate::wire::limits::cut;

/// The pattern that all refused logins match. One is published under `login.<why>`.
pub const REFUSED_LOGINS: &str = "login.>";

/// A name and its secret, as a peer gives them in the handshake. Its `Debug` hides the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    name: Arc<str>,
    secret: Secret,
}

impl Login {
    /// A name and its secret.
    ///
    /// # Errors
    /// [`SecretError::Name`], [`SecretError::Length`].
    pub fn new(name: &str, secret: impl AsRef<[u8]>) -> Result<Self, SecretError> {
        check_name(name)?;
        Ok(Login {
            name: Arc::from(name),
            secret: Secret::new(secret)?,
        })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Says it in the handshake, if nobody else can hear it.
    pub(crate) fn put_into(
        &self,
        hello: &mut Hello,
        channel: Channel,
    ) -> Result<(), LinkErrorKind> {
        if channel != Channel::Encrypted {
            let why = LoginRefused::NotEncrypted.to_string();
            return Err(LinkErrorKind::RefusedHere(why));
        }
        if let Some(session) = &mut hello.session {
            let secret = wire::Secret(self.secret.expose().to_vec());
            session.login = Some((self.name.to_string(), secret));
        }
        Ok(())
    }

    /// The secret, for what checks it.
    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }
}

/// Where logins come from, as far as attempts are counted: an address without its port, because ports cost nothing.
/// Of IPv6 the first 64 bits count, which is what one subscriber gets.
///
/// ```
/// use callboard_remote::Origin;
///
/// assert_eq!(Origin::from("192.0.2.1:4000".parse::<std::net::SocketAddr>()?).as_str(), "192.0.2.1");
/// assert_eq!(Origin::from("[2001:db8::1]:4000".parse::<std::net::SocketAddr>()?).as_str(), "2001:db8::/64");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(Arc<str>);

impl Origin {
    /// Of a transport without addresses: all that comes from there is counted together. Cut after 64 bytes.
    #[must_use]
    pub fn named(text: &str) -> Self {
        Origin(Arc::from(printable(cut(text, 64))))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<SocketAddr> for Origin {
    fn from(address: SocketAddr) -> Self {
        let text = match address.ip().to_canonical() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => {
                let network = Ipv6Addr::from_bits(address.to_bits() >> 64 << 64);
                format!("{network}/64")
            }
        };
        Origin(Arc::from(text))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a login was refused. A wrong secret and an unknown name are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoginRefused {
    /// The channel isn't encrypted: others may have read the secret. It was not looked at.
    #[error("secrets are taken over TLS only")]
    NotEncrypted,
    /// There is no such name, or it has another secret.
    #[error("name or secret is wrong")]
    Wrong,
    /// Too many attempts failed; the next one is looked at after this span. This one was not.
    #[error("too many failed attempts; the next one counts in {0:?}")]
    Wait(Duration),
    /// Others wait for their logins, and there is no room for one more. It was not looked at.
    #[error("too many logins at once")]
    Busy,
}

impl LoginRefused {
    /// Its name: the last level of the subject under which it is published.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            LoginRefused::NotEncrypted => "not_encrypted",
            LoginRefused::Wrong => "wrong",
            LoginRefused::Wait(_) => "wait",
            LoginRefused::Busy => "busy",
        }
    }
}

/// A login that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LoginRefusal {
    /// When, on the system's clock.
    pub at: Instant,
    /// The name that was given. It is the peer's text: there need be nobody of that name.
    pub name: String,
    /// Where it came from.
    pub origin: String,
    /// [`LoginRefused::name`].
    pub why: &'static str,
}

impl fmt::Display for LoginRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LoginRefusal {
            name, origin, why, ..
        } = self;
        write!(f, "login of {name:?} from {origin} refused: {why}")
    }
}
