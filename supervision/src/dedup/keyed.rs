//! Whose request: the key of an entry, and the hash of the table of them.

use std::hash::{BuildHasher, Hasher};

use callboard_core::{ActorId, Entropy, Principal, RequestKey};

use super::print::{PrintKey, Printer};

/// Principal, target and request key. The first two as one number, so that it is small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Id {
    pub(super) scope: u128,
    pub(super) key: u128,
}

impl Id {
    pub(super) fn new(scope: u128, key: RequestKey) -> Self {
        Id {
            scope,
            key: key.as_uuid().as_u128(),
        }
    }
}

/// For whom a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target<'a> {
    Actor(ActorId),
    Named(&'a str),
}

/// Principal and target: different ones don't share it (with 128 bits under a secret key, for all that is
/// practical).
pub(super) fn scope(key: &PrintKey, principal: Option<&Principal>, target: Target<'_>) -> u128 {
    if let (None, Target::Actor(actor)) = (principal, target) {
        return u128::from(actor.as_u64());
    }
    let mut printer = Printer::new(key);
    let hasher = printer.hasher();
    // Each part with its length, so that none runs into the next.
    match principal {
        None => hasher.write(&[0]),
        Some(principal) => {
            hasher.write(&[1]);
            text(hasher, principal.name());
        }
    }
    match target {
        Target::Actor(actor) => {
            hasher.write(&[0]);
            hasher.write(&actor.as_u64().to_le_bytes());
        }
        Target::Named(name) => {
            hasher.write(&[1]);
            text(hasher, name);
        }
    }
    printer.finish()
}

fn text(hasher: &mut dyn Hasher, text: &str) {
    hasher.write(&(text.len() as u64).to_le_bytes());
    hasher.write(text.as_bytes());
}

/// Hashes entries' keys: a multiplication for each 128 bits. Callers choose keys, so it starts from numbers that they
/// don't know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keyed {
    seeds: [u64; 2],
}

impl Keyed {
    pub(super) fn new(entropy: &Entropy) -> Self {
        Keyed {
            seeds: [entropy.next_u64(), entropy.next_u64() | 1],
        }
    }
}

impl BuildHasher for Keyed {
    type Hasher = Folding;

    fn build_hasher(&self) -> Folding {
        Folding {
            state: self.seeds[0],
            secret: self.seeds[1],
        }
    }
}

pub(super) struct Folding {
    state: u64,
    secret: u64,
}

impl Hasher for Folding {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u128(u128::from(u64::from_le_bytes(word)));
        }
    }

    #[inline]
    fn write_u128(&mut self, number: u128) {
        let [low, high] = halves(number);
        self.state = fold(self.state ^ low, self.secret ^ high);
    }

    #[inline]
    fn finish(&self) -> u64 {
        fold(self.state, self.secret)
    }
}

fn fold(left: u64, right: u64) -> u64 {
    let [low, high] = halves(u128::from(left) * u128::from(right));
    low ^ high
}

// Halves, on purpose.
#[allow(clippy::cast_possible_truncation)]
fn halves(number: u128) -> [u64; 2] {
    [number as u64, (number >> 64) as u64]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g19_principals_and_targets_are_apart() {
        let key = [1; 16];
        let (one, other) = (Principal::new("uid:1"), Principal::new("uid:11"));
        let all = [
            scope(&key, None, Target::Named("till")),
            scope(&key, None, Target::Named("till2")),
            scope(&key, Some(&one), Target::Named("till")),
            scope(&key, Some(&one), Target::Named("1till")),
            scope(&key, Some(&other), Target::Named("till")),
            scope(&key, Some(&one), Target::Actor(ActorId::fresh())),
            scope(&key, None, Target::Actor(ActorId::fresh())),
            scope(&key, None, Target::Actor(ActorId::fresh())),
        ];
        let different: std::collections::BTreeSet<_> = all.into_iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(all[2], scope(&key, Some(&one), Target::Named("till")));
    }

    #[test]
    fn hashes_of_neighbours_fill_the_buckets() {
        let keyed = Keyed::new(&Entropy::seeded(1));
        let mut buckets = [0_u32; 64];
        for key in 0..6_400_u128 {
            let hash = keyed.hash_one(Id { scope: 1, key });
            buckets[usize::try_from(hash % 64).unwrap()] += 1;
            // The table looks at the top bits as well.
            buckets[usize::try_from(hash >> 58).unwrap()] += 1;
        }
        assert!(
            buckets.iter().all(|count| (100..320).contains(count)),
            "{buckets:?}"
        );
    }
}
