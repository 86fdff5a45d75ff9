//! Names and the hashes of their secrets.
//!
//! A peer without a certificate proves its principal by a secret, over TLS only; it is then `secret:<name>`.
//!
//! What is kept is PBKDF2-HMAC-SHA256 of the secret with a salt of its own: what is stolen from a file has to be
//! guessed at a price. A secret that was right once since this process began is remembered under a keyed hash as
//! well, whose key is in no file and ends with the process: so that peers which come back after a broken connection
//! cost microseconds, and only strangers cost the slow hash. Comparisons take constant time; an unknown name costs as
//! much as a wrong secret.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callboard::clock::Instant;
use callboard::topic::Topic;
use callboard::{Principal, Rest, System, Worker};
use futures::channel::oneshot;
use parking_lot::{Mutex, RwLock};
use ring::hmac;
use ring::rand::SystemRandom;
use serde::Serialize;
use zeroize::Zeroizing;

use super::attempts::{AttemptLimits, Attempts};
use super::login::{Login, LoginRefusal, LoginRefused, Origin};
use super::refusal::Events;
use super::secret::{MAX_SECRET, MIN_SECRET, Secret};
use crate::transport::Channel;

mod stored;
#[cfg(test)]
mod tests;

use stored::Stored;

/// The longest name of a login, in bytes.
pub const MAX_LOGIN_NAME: usize = 64;

/// How secrets are kept and logins limited.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecretsConfig {
    /// How many rounds the slow hash of a secret has: 1,000 to 10,000,000. 600,000, as OWASP advises; that is some
    /// tenths of a second.
    pub rounds: u32,
    /// How many names there can be. 10,000.
    pub names: usize,
    /// How many logins wait for their turn; one is looked at at a time. More than can be hashed within a handshake's
    /// time only wait in vain. 32.
    pub waiting: usize,
    /// How many may fail.
    pub attempts: AttemptLimits,
}

impl Default for SecretsConfig {
    fn default() -> Self {
        SecretsConfig {
            rounds: 600_000,
            names: 10_000,
            waiting: 32,
            attempts: AttemptLimits::default(),
        }
    }
}

/// Why a secret, a name, or a text of them is refused. Never says what the secret was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// A name has 1 to [`MAX_LOGIN_NAME`] bytes, and neither `:` nor `*`, white space or control characters.
    #[error(
        "{0:?} is no name for a login: 1 to {MAX_LOGIN_NAME} bytes without `:`, `*` or white space"
    )]
    Name(String),
    /// A secret has [`MIN_SECRET`] to [`MAX_SECRET`] bytes.
    #[error("a secret of {0} bytes: {MIN_SECRET} to {MAX_SECRET} are allowed")]
    Length(usize),
    /// The slow hash has 1,000 to 10,000,000 rounds.
    #[error("{0} rounds of the hash: 1000 to 10000000 are allowed")]
    Rounds(u32),
    /// There are as many names as the configuration allows.
    #[error("more than {0} names")]
    TooMany(usize),
    /// A line of a text is none that [`Secrets::to_text`] writes.
    #[error("line {line}: {what}")]
    Line {
        /// Which, counted from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// The operating system gave no random numbers, or no thread.
    #[error("the operating system gave no {0}")]
    NoResource(&'static str),
    /// Too many logins wait for the thread that hashes.
    #[error("too much is waiting to be hashed")]
    Busy,
}

/// What became of logins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct SecretsStats {
    /// Names that have a secret.
    pub names: usize,
    /// Logins that were right.
    pub logins: u64,
    /// Logins with a wrong secret or an unknown name.
    pub wrong: u64,
    /// Logins that came while they had to wait.
    pub made_to_wait: u64,
    /// Logins for which there was no room.
    pub busy: u64,
    /// Logins over a channel that isn't encrypted.
    pub not_encrypted: u64,
    /// Slow hashes that were worked out for logins. What is remembered costs none, and what has to wait neither.
    pub hashed: u64,
    /// Counts of failures that were given up, because there were too many to keep.
    pub forgotten: u64,
}

/// Names and their secrets, for a node. Clones share them.
///
/// ```
/// # extern crate callboard_core as callboard;
/// use callboard::System;
/// use callboard_remote::{Channel, Login, LoginRefused, Origin, Secret, Secrets};
///
/// async fn login(system: System) -> Result<(), Box<dyn std::error::Error>> {
///     let secrets = Secrets::new(&system)?;
///     secrets.add("alice", Secret::new("5f1d0a3c9b7e4826")?).await?;
///
///     let origin = Origin::from("192.0.2.1:4000".parse::<std::net::SocketAddr>()?);
///     let login = Login::new("alice", "5f1d0a3c9b7e4826")?;
///     let alice = secrets.login(login.clone(), Channel::Encrypted, origin.clone()).await?;
///     assert_eq!(alice.name(), "secret:alice");
///
///     let refused = secrets.login(login, Channel::Plain, origin).await;
///     assert_eq!(refused, Err(LoginRefused::NotEncrypted));
///     Ok(())
/// }
///
/// callboard::run(login).unwrap().unwrap();
/// ```
///
/// # Changing a secret without a gap
/// Adding a name again replaces its secret at once; connections that stand stay. Where peers can't be given the new
/// one at the same moment, give it to a second name (`alice-2`), let a rule name both (`secret:alice*`), and remove the
/// first when nobody uses it any more.
#[derive(Clone)]
pub struct Secrets {
    owner: Arc<Owner>,
}

/// Ends the worker when the last handle is gone.
struct Owner {
    shared: Arc<Shared>,
    worker: Worker,
}

struct Shared {
    config: SecretsConfig,
    /// Of this process only: for what was right before.
    key: hmac::Key,
    random: SystemRandom,
    /// What unknown names are compared with while there are no others.
    nobody: Arc<Stored>,
    table: RwLock<BTreeMap<Arc<str>, Arc<Stored>>>,
    attempts: Mutex<Attempts>,
    waiting: Mutex<VecDeque<Job>>,
    counts: Counts,
    events: Events<LoginRefusal>,
}

type Job = Box<dyn FnOnce(&Shared) + Send>;

#[derive(Default)]
struct Counts {
    logins: AtomicU64,
    wrong: AtomicU64,
    made_to_wait: AtomicU64,
    busy: AtomicU64,
    not_encrypted: AtomicU64,
    hashed: AtomicU64,
}

impl Secrets {
    /// No names, with the default limits. Starts a thread of its own for the slow hashes, which ends with the last
    /// handle.
    ///
    /// # Errors
    /// [`SecretError::NoResource`].
    pub fn new(system: &System) -> Result<Self, SecretError> {
        Secrets::with(system, SecretsConfig::default())
    }

    /// The same with other limits.
    ///
    /// # Errors
    /// [`SecretError::Rounds`], [`SecretError::NoResource`].
    pub fn with(system: &System, config: SecretsConfig) -> Result<Self, SecretError> {
        let random = SystemRandom::new();
        let rounds = stored::check_rounds(config.rounds)?;
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random)
            .map_err(|_| SecretError::NoResource("random numbers"))?;
        let shared = Arc::new(Shared {
            nobody: Arc::new(Stored::of_nobody(rounds, &random)?),
            attempts: Mutex::new(Attempts::new(config.attempts.clone())),
            config,
            key,
            random,
            table: RwLock::default(),
            waiting: Mutex::default(),
            counts: Counts::default(),
            events: Events::new(system, "refused logins"),
        });
        let work = Arc::clone(&shared);
        let worker = Worker::start(system, "callboard-secrets", Duration::ZERO, move || {
            let next = work.waiting.lock().pop_front();
            match next {
                Some(job) => {
                    job(&work);
                    Rest::Not
                }
                None => Rest::UntilWoken,
            }
        })
        .map_err(|_| SecretError::NoResource("thread"))?;
        let owner = Arc::new(Owner { shared, worker });
        Ok(Secrets { owner })
    }

    /// Gives a name a secret, in place of the one it had; answers whether it had one.
    ///
    /// # Errors
    /// [`SecretError::Name`], [`SecretError::TooMany`], [`SecretError::NoResource`], [`SecretError::Busy`].
    ///
    /// # Cancel safety
    /// Dropping it leaves open whether the secret is added.
    pub async fn add(&self, name: &str, secret: Secret) -> Result<bool, SecretError> {
        check_name(name)?;
        let name: Arc<str> = Arc::from(name);
        let done = self.submit(move |shared| shared.add(name, &secret));
        done.ok_or(SecretError::Busy)?
            .await
            .unwrap_or(Err(SecretError::Busy))
    }

    /// Takes a name and its secret away; answers whether there was one. Connections that stand stay: who is to be
    /// cut off is denied by [rights](super::Rights).
    pub fn remove(&self, name: &str) -> bool {
        self.owner.shared.table.write().remove(name).is_some()
    }

    /// The names, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let table = self.owner.shared.table.read();
        table.keys().map(ToString::to_string).collect()
    }

    /// Puts the names of a text in place of all there are, or none of them; answers how many. A line each, as
    /// [`to_text`](Secrets::to_text) writes them; empty lines and those that begin with `#` are passed over.
    ///
    /// # Errors
    /// [`SecretError::Line`] names the line; [`SecretError::TooMany`].
    pub fn load(&self, text: &str) -> Result<usize, SecretError> {
        let shared = &self.owner.shared;
        let mut loaded = stored::parse(text, shared.config.names)?;
        let mut table = shared.table.write();
        for (name, stored) in &mut loaded {
            // What is the same is still remembered.
            if let Some(old) = table.get(name).filter(|old| old.is_same(stored)) {
                *stored = Arc::clone(old);
            }
        }
        *table = loaded;
        Ok(table.len())
    }

    /// The names and the hashes of their secrets, as a text for a file that only this program may read:
    ///
    /// ```text
    /// alice:pbkdf2-sha256:600000:<salt, 32 hexadecimal digits>:<hash, 64 hexadecimal digits>
    /// ```
    #[must_use]
    pub fn to_text(&self) -> String {
        let table = self.owner.shared.table.read();
        table
            .iter()
            .map(|(name, stored)| stored.line(name))
            .collect()
    }

    /// Checks a login: on a thread of its own, one at a time.
    ///
    /// # Errors
    /// [`LoginRefused`]; it is counted and told.
    ///
    /// # Cancel safety
    /// Dropping it doesn't take the attempt back: it counts.
    pub async fn login(
        &self,
        login: Login,
        channel: Channel,
        origin: Origin,
    ) -> Result<Principal, LoginRefused> {
        let shared = &self.owner.shared;
        // Who can't be let in takes nobody's turn.
        if channel != Channel::Encrypted {
            return self.verify(&login, channel, &origin);
        }
        let (given, from) = (login.clone(), origin.clone());
        let done = self.submit(move |shared| {
            let now = || shared.events.now();
            shared.verify(&login, channel, &origin, now)
        });
        let verified = match done {
            Some(done) => done.await.ok(),
            None => None,
        };
        verified.unwrap_or_else(|| {
            shared.tell(&given, &from, LoginRefused::Busy);
            Err(LoginRefused::Busy)
        })
    }

    /// Checks a login on this thread, which takes as long as the slow hash: never on an arbiter. How often it may fail
    /// is counted by the system's clock.
    ///
    /// # Errors
    /// [`LoginRefused`]; it is counted and told.
    pub fn verify(
        &self,
        login: &Login,
        channel: Channel,
        origin: &Origin,
    ) -> Result<Principal, LoginRefused> {
        let shared = &self.owner.shared;
        shared.verify(login, channel, origin, || shared.events.now())
    }

    /// The refused logins as they happen; see [`REFUSED_LOGINS`](super::REFUSED_LOGINS). The topic starts with the
    /// first call.
    #[must_use]
    pub fn refusals(&self) -> Topic<LoginRefusal> {
        self.owner.shared.events.topic()
    }

    /// What became of logins.
    #[must_use]
    pub fn stats(&self) -> SecretsStats {
        let shared = &self.owner.shared;
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        SecretsStats {
            names: shared.table.read().len(),
            logins: load(&shared.counts.logins),
            wrong: load(&shared.counts.wrong),
            made_to_wait: load(&shared.counts.made_to_wait),
            busy: load(&shared.counts.busy),
            not_encrypted: load(&shared.counts.not_encrypted),
            hashed: load(&shared.counts.hashed),
            forgotten: shared.attempts.lock().evicted(),
        }
    }

    /// Hands work to the thread, if there is room for it.
    fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> Option<oneshot::Receiver<T>> {
        let shared = &self.owner.shared;
        let (tx, rx) = oneshot::channel();
        let mut waiting = shared.waiting.lock();
        if waiting.len() >= shared.config.waiting.max(1) {
            return None;
        }
        waiting.push_back(Box::new(move |shared| {
            // An error: nobody waits for it any more.
            let _ = tx.send(work(shared));
        }));
        drop(waiting);
        self.owner.worker.wake();
        Some(rx)
    }
}

impl Drop for Owner {
    /// What waits will not be looked at any more.
    fn drop(&mut self) {
        let waiting = std::mem::take(&mut *self.shared.waiting.lock());
        drop(waiting);
    }
}

impl Shared {
    fn add(&self, name: Arc<str>, secret: &Secret) -> Result<bool, SecretError> {
        let rounds = stored::check_rounds(self.config.rounds)?;
        let stored = Stored::new(secret, rounds, &self.random)?;
        let mut table = self.table.write();
        if !table.contains_key(&name) && table.len() >= self.config.names {
            return Err(SecretError::TooMany(self.config.names));
        }
        Ok(table.insert(name, Arc::new(stored)).is_some())
    }

    fn verify(
        &self,
        login: &Login,
        channel: Channel,
        origin: &Origin,
        now: impl Fn() -> Instant,
    ) -> Result<Principal, LoginRefused> {
        let verified = self.attempt(login, channel, origin, now);
        match &verified {
            Ok(_) => {
                self.counts.logins.fetch_add(1, Ordering::Relaxed);
            }
            Err(why) => self.tell(login, origin, *why),
        }
        verified
    }

    fn attempt(
        &self,
        login: &Login,
        channel: Channel,
        origin: &Origin,
        now: impl Fn() -> Instant,
    ) -> Result<Principal, LoginRefused> {
        if channel != Channel::Encrypted {
            return Err(LoginRefused::NotEncrypted);
        }
        let name = login.name();
        let begun = self.attempts.lock().begin(name, origin, now());
        begun.map_err(LoginRefused::Wait)?;
        let right = self.is_right(name, login.secret());
        // Whoever waits does so from when it is refused, and not from before the slow hash.
        let ended = now();
        self.attempts.lock().end(name, origin, ended, right);
        if right {
            Ok(Principal::new(format!("secret:{name}")))
        } else {
            Err(LoginRefused::Wrong)
        }
    }

    /// Takes as long for an unknown name as for a wrong secret.
    fn is_right(&self, name: &str, secret: &Secret) -> bool {
        let mut message = Zeroizing::new(Vec::with_capacity(MAX_LOGIN_NAME + 1 + MAX_SECRET));
        message.extend_from_slice(name.as_bytes());
        // No name has it.
        message.push(b':');
        message.extend_from_slice(secret.expose());
        let known = self.table.read().get(name).cloned();
        if let Some(known) = &known
            && known.was_right(&self.key, &message)
        {
            return true;
        }
        let somebody = self.somebody(name);
        let against = known.as_ref().unwrap_or(&somebody);
        let matches = against.matches(secret);
        self.counts.hashed.fetch_add(1, Ordering::Relaxed);
        // It may be right for that somebody, which must show in nothing.
        let Some(known) = known.filter(|_| matches) else {
            return false;
        };
        known.remember(hmac::sign(&self.key, &message));
        // It may have been removed, or replaced, meanwhile.
        let table = self.table.read();
        table.get(name).is_some_and(|now| Arc::ptr_eq(now, &known))
    }

    /// Whose hash an unknown name is compared with: always the same one, and nobody outside can tell whose. Hashes of
    /// different ages have different numbers of rounds, and a stranger who always cost the same would stand out.
    fn somebody(&self, name: &str) -> Arc<Stored> {
        let drawn = hmac::sign(&self.key, name.as_bytes());
        let drawn = drawn.as_ref().iter().take(8);
        let drawn = drawn.fold(0u64, |drawn, byte| drawn << 8 | u64::from(*byte));
        let table = self.table.read();
        let at = usize::try_from(drawn % (table.len() as u64).max(1)).unwrap_or(0);
        let somebody = table.values().nth(at);
        Arc::clone(somebody.unwrap_or(&self.nobody))
    }

    fn tell(&self, login: &Login, origin: &Origin, why: LoginRefused) {
        let count = match why {
            LoginRefused::NotEncrypted => &self.counts.not_encrypted,
            LoginRefused::Wrong => &self.counts.wrong,
            LoginRefused::Wait(_) => &self.counts.made_to_wait,
            LoginRefused::Busy => &self.counts.busy,
        };
        count.fetch_add(1, Ordering::Relaxed);
        let name = login.name();
        tracing::debug!(target: "callboard::remote", name, %origin, %why, "login refused");
        self.events
            .publish(&format!("login.{}", why.name()), |at| LoginRefusal {
                at,
                name: name.to_owned(),
                origin: origin.to_string(),
                why: why.name(),
            });
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.owner.shared.table.read().len();
        f.debug_struct("Secrets")
            .field("names", &names)
            .finish_non_exhaustive()
    }
}

/// Checks the name of a login.
pub(super) fn check_name(name: &str) -> Result<(), SecretError> {
    let wrong = |c: char| c == ':' || c == '*' || c.is_whitespace() || c.is_control();
    if (1..=MAX_LOGIN_NAME).contains(&name.len()) && !name.contains(wrong) {
        return Ok(());
    }
    let shown = crate::wire::limits::cut(name, MAX_LOGIN_NAME);
    Err(SecretError::Name(shown.to_owned()))
}
