//! How often a login may fail: a state machine that is given the time.
//!
//! Failures are counted by origin and by name, apart. After a few that are free each failure makes that origin, or
//! that name, wait twice as long as the one before. Only time forgives: a login that succeeds takes nothing back, or
//! who has one secret could guess at others for ever, with a success of its own between every few guesses.
//!
//! A name that is made to wait keeps its owner out too, if only names counted. So a name doesn't wait where it has
//! logged in before: an attacker from elsewhere can't lock it out there.

use std::collections::BTreeMap;
use std::time::Duration;

use callboard::clock::Instant;

use super::login::Origin;

#[cfg(test)]
mod tests;

/// At how many origins a name is remembered to have logged in.
const KNOWN_ORIGINS: usize = 4;

/// How many failed logins are taken, and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttemptLimits {
    /// How many failures from one origin have no consequence. 5.
    pub free_per_origin: u32,
    /// How many failures of one name have no consequence, from wherever they come. 20.
    pub free_per_name: u32,
    /// How long the next attempt is refused after the first failure past these; doubled with each. 1 s.
    pub first_wait: Duration,
    /// What that grows to. 15 min.
    pub longest_wait: Duration,
    /// After how long without a failure all is forgotten. 1 h.
    pub forget_after: Duration,
    /// How many origins, and how many names, are counted at a time. Who isn't waiting makes room first, then who
    /// waits the shortest. 4,096.
    pub table: usize,
}

impl Default for AttemptLimits {
    fn default() -> Self {
        AttemptLimits {
            free_per_origin: 5,
            free_per_name: 20,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(15 * 60),
            forget_after: Duration::from_secs(60 * 60),
            table: 4_096,
        }
    }
}

/// What was tried of late.
pub(super) struct Attempts {
    limits: AttemptLimits,
    origins: Table,
    names: Table,
}

#[derive(Default)]
struct Table {
    tries: BTreeMap<Box<str>, Tries>,
    evicted: u64,
}

#[derive(Default)]
struct Tries {
    failures: u32,
    /// Attempts that have begun and not ended.
    pending: u32,
    /// No attempt is looked at before that.
    until: Instant,
    last: Instant,
    /// Where this name has logged in, the latest at the end. Empty for origins.
    known: Vec<Origin>,
}

impl Tries {
    fn forget(&mut self, now: Instant, after: Duration) {
        if now.since(self.last) >= after && self.until <= now {
            self.failures = 0;
        }
    }

    /// How long the next attempt has to wait. `free` are without consequence.
    fn wait(&self, now: Instant, free: u32, shortest: Duration) -> Option<Duration> {
        if self.until > now {
            return Some(self.until.since(now));
        }
        // An attempt that runs may fail: past the free ones they come one at a time, or a thousand that begin
        // together would be looked at before the first of them has failed.
        let running = self.pending > 0 && self.failures.saturating_add(self.pending) >= free;
        running.then_some(shortest)
    }

    fn fail(&mut self, now: Instant, free: u32, limits: &AttemptLimits) {
        self.failures = self.failures.saturating_add(1);
        self.last = now;
        if let Some(doublings) = self.failures.checked_sub(free.max(1)) {
            let factor = 2u32.saturating_pow(doublings.min(31));
            let wait = limits.first_wait.saturating_mul(factor);
            self.until = now + wait.min(limits.longest_wait);
        }
    }
}

impl Table {
    /// The entry of `key`, for which room is made.
    fn entry(&mut self, key: &str, now: Instant, limits: &AttemptLimits) -> &mut Tries {
        if !self.tries.contains_key(key) {
            while self.tries.len() >= limits.table.max(1) {
                let least = self.tries.iter().min_by_key(|(_, tries)| {
                    let waits = tries.until.max(now);
                    // Nobody makes up an entry with a place where a login succeeded.
                    let is_known = !tries.known.is_empty();
                    (
                        tries.pending > 0,
                        waits,
                        is_known,
                        tries.failures,
                        tries.last,
                    )
                });
                let Some(least) = least.map(|(key, _)| key.clone()) else {
                    break;
                };
                self.tries.remove(&least);
                self.evicted += 1;
            }
        }
        let tries = self.tries.entry(Box::from(key)).or_default();
        tries.forget(now, limits.forget_after);
        tries
    }
}

impl Attempts {
    pub(super) fn new(limits: AttemptLimits) -> Self {
        Attempts {
            limits,
            origins: Table::default(),
            names: Table::default(),
        }
    }

    /// An attempt begins, or is to wait. One that begins [ends](Attempts::end).
    pub(super) fn begin(
        &mut self,
        name: &str,
        origin: &Origin,
        now: Instant,
    ) -> Result<(), Duration> {
        let limits = &self.limits;
        let shortest = limits.first_wait;
        let from = self.origins.entry(origin.as_str(), now, limits);
        // Who has to wait gets no entry for each name that it makes up.
        if let Some(wait) = from.wait(now, limits.free_per_origin, shortest) {
            return Err(wait);
        }
        let of = self.names.entry(name, now, limits);
        if !of.known.contains(origin)
            && let Some(wait) = of.wait(now, limits.free_per_name, shortest)
        {
            return Err(wait);
        }
        from.pending += 1;
        of.pending += 1;
        Ok(())
    }

    /// An attempt that began has ended.
    pub(super) fn end(&mut self, name: &str, origin: &Origin, now: Instant, succeeded: bool) {
        let limits = &self.limits;
        let from = self.origins.entry(origin.as_str(), now, limits);
        from.pending = from.pending.saturating_sub(1);
        let of = self.names.entry(name, now, limits);
        of.pending = of.pending.saturating_sub(1);
        if succeeded {
            of.known.retain(|known| known != origin);
            if of.known.len() >= KNOWN_ORIGINS {
                of.known.remove(0);
            }
            of.known.push(origin.clone());
        } else {
            from.fail(now, limits.free_per_origin, limits);
            if !of.known.contains(origin) {
                of.fail(now, limits.free_per_name, limits);
            }
        }
    }

    /// How many entries had to make room.
    pub(super) fn evicted(&self) -> u64 {
        self.origins.evicted + self.names.evicted
    }
}
