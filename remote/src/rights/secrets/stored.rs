//! The hash of one secret, in memory and as a line of a text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::num::NonZeroU32;
use std::sync::Arc;

use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{hmac, pbkdf2};

use super::{SecretError, check_name};
use crate::rights::secret::Secret;

const SALT: usize = 16;
const HASH: usize = 32;
/// What a line says of how it was made.
const METHOD: &str = "pbkdf2-sha256";

/// The slow hash of one secret.
pub(super) struct Stored {
    rounds: NonZeroU32,
    salt: [u8; SALT],
    hash: [u8; HASH],
    /// The keyed hash of name and secret, once they were right.
    remembered: Mutex<Option<hmac::Tag>>,
}

pub(super) fn check_rounds(rounds: u32) -> Result<NonZeroU32, SecretError> {
    let allowed = (1_000..=10_000_000).contains(&rounds);
    NonZeroU32::new(rounds)
        .filter(|_| allowed)
        .ok_or(SecretError::Rounds(rounds))
}

impl Stored {
    /// Hashes a secret with a salt of its own. Takes long.
    pub(super) fn new(
        secret: &Secret,
        rounds: NonZeroU32,
        random: &SystemRandom,
    ) -> Result<Self, SecretError> {
        let mut stored = Stored::of_nobody(rounds, random)?;
        let hash = &mut stored.hash;
        let method = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(method, rounds, &stored.salt, secret.expose(), hash);
        Ok(stored)
    }

    /// A hash that is no known secret's.
    pub(super) fn of_nobody(
        rounds: NonZeroU32,
        random: &SystemRandom,
    ) -> Result<Self, SecretError> {
        let (mut salt, mut hash) = ([0; SALT], [0; HASH]);
        let filled = random.fill(&mut salt).and_then(|()| random.fill(&mut hash));
        filled.map_err(|_| SecretError::NoResource("random numbers"))?;
        Ok(Stored::made(rounds, salt, hash))
    }

    fn made(rounds: NonZeroU32, salt: [u8; SALT], hash: [u8; HASH]) -> Self {
        Stored {
            rounds,
            salt,
            hash,
            remembered: Mutex::default(),
        }
    }

    /// Whether it is the hash of this secret. Takes long, and as long for each secret.
    pub(super) fn matches(&self, secret: &Secret) -> bool {
        let method = pbkdf2::PBKDF2_HMAC_SHA256;
        let verified = pbkdf2::verify(method, self.rounds, &self.salt, secret.expose(), &self.hash);
        verified.is_ok()
    }

    /// Whether this name and secret were right before.
    pub(super) fn was_right(&self, key: &hmac::Key, message: &[u8]) -> bool {
        let remembered = *self.remembered.lock();
        // Compares in constant time.
        remembered.is_some_and(|tag| hmac::verify(key, message, tag.as_ref()).is_ok())
    }

    pub(super) fn remember(&self, tag: hmac::Tag) {
        *self.remembered.lock() = Some(tag);
    }

    /// Whether both are the same hash. They come from this side's own files: how long it takes tells nobody anything.
    pub(super) fn is_same(&self, other: &Stored) -> bool {
        (self.rounds, self.salt, self.hash) == (other.rounds, other.salt, other.hash)
    }

    /// As a line of a text.
    pub(super) fn line(&self, name: &str) -> String {
        let mut line = format!("{name}:{METHOD}:{}:", self.rounds);
        put_hex(&mut line, &self.salt);
        line.push(':');
        put_hex(&mut line, &self.hash);
        line.push('\n');
        line
    }

    fn parse(line: &str) -> Result<(Arc<str>, Self), String> {
        let mut fields = line.split(':');
        let mut next = |what: &str| fields.next().ok_or_else(|| format!("no {what}"));
        // What stands in a wrong place may be a secret: it is not repeated.
        let name = next("name")?;
        check_name(name).map_err(|_| "the name of a login can't be so")?;
        if next("method")? != METHOD {
            return Err(format!("the method isn't `{METHOD}`"));
        }
        let rounds = next("number of rounds")?.parse();
        let rounds: u32 = rounds.map_err(|_| "the number of rounds is no number")?;
        let rounds = check_rounds(rounds).map_err(|error| error.to_string())?;
        let salt = hex::<SALT>(next("salt")?).ok_or("the salt isn't 32 hexadecimal digits")?;
        let hash = hex::<HASH>(next("hash")?).ok_or("the hash isn't 64 hexadecimal digits")?;
        if fields.next().is_some() {
            return Err("more than a name, a method, rounds, a salt and a hash".to_owned());
        }
        Ok((Arc::from(name), Stored::made(rounds, salt, hash)))
    }
}

/// All lines, or the first that is wrong.
pub(super) fn parse(
    text: &str,
    most: usize,
) -> Result<BTreeMap<Arc<str>, Arc<Stored>>, SecretError> {
    let mut table = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |what| SecretError::Line { line: at + 1, what };
        let (name, stored) = Stored::parse(line).map_err(wrong)?;
        if table.len() >= most {
            return Err(SecretError::TooMany(most));
        }
        let text = name.to_string();
        if table.insert(name, Arc::new(stored)).is_some() {
            return Err(wrong(format!("{text} stands there twice")));
        }
    }
    Ok(table)
}

fn put_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // A `String` takes everything.
        let _ = write!(out, "{byte:02x}");
    }
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}
