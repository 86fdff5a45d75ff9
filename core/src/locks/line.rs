//! Who holds how much of a lock and until when, and who waits: without an actor, a clock or a wait in it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::clock::Instant;
use crate::lease::{Grant, OnLost};

use super::state::{HeldState, LockCounts, LockState};
use super::{Stale, Token};

/// What one asks for.
pub(super) struct Request {
    pub(super) units: u32,
    pub(super) lease: Duration,
    pub(super) holder: Option<Arc<str>>,
    pub(super) on_lost: Weak<dyn OnLost>,
}

/// What becomes of a request that comes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// It can be granted.
    Free,
    /// It has to wait, and there is room.
    Wait,
    /// Too many wait.
    Full,
}

/// How somebody left the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// Its deadline passed.
    TimedOut,
    /// It gave up before.
    Withdrew,
}

/// The holders of a lock and those who wait for it; `W` is the way to tell one of these.
pub(super) struct Line<W> {
    name: Arc<str>,
    units: u32,
    free: u32,
    newest: Token,
    held: BTreeMap<Token, Held>,
    /// The same leases by their ends.
    ends: BTreeSet<(Instant, Token)>,
    waiting: VecDeque<Waiting<W>>,
    next_ticket: u64,
    waiting_limit: usize,
    counts: LockCounts,
}

struct Held {
    units: u32,
    since: Instant,
    ends: Instant,
    holder: Option<Arc<str>>,
    on_lost: Weak<dyn OnLost>,
}

struct Waiting<W> {
    ticket: u64,
    since: Instant,
    request: Request,
    who: W,
}

impl<W> Line<W> {
    pub(super) fn new(name: Arc<str>, units: u32, after: Token, waiting_limit: usize) -> Self {
        Line {
            name,
            units,
            free: units,
            newest: after,
            held: BTreeMap::new(),
            ends: BTreeSet::new(),
            waiting: VecDeque::new(),
            next_ticket: 0,
            waiting_limit,
            counts: LockCounts::default(),
        }
    }

    pub(super) fn name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// What becomes of a request for that many units: nobody passes those who wait, also where it would fit.
    pub(super) fn entry(&self, units: u32) -> Entry {
        if self.waiting.is_empty() && units <= self.free {
            Entry::Free
        } else if self.waiting.len() < self.waiting_limit {
            Entry::Wait
        } else {
            Entry::Full
        }
    }

    /// Grants what is free.
    pub(super) fn grant(&mut self, request: Request, now: Instant) -> Grant {
        self.newest = Token(self.newest.0 + 1);
        let token = self.newest;
        let ends = now + request.lease;
        self.free = self.free.saturating_sub(request.units);
        self.ends.insert((ends, token));
        let held = Held {
            units: request.units,
            since: now,
            ends,
            holder: request.holder,
            on_lost: request.on_lost,
        };
        self.held.insert(token, held);
        self.counts.grants += 1;
        Grant { token, ends }
    }

    /// The number that the next in line gets.
    pub(super) fn next_ticket(&self) -> u64 {
        self.next_ticket
    }

    /// Puts somebody at the end of the line.
    pub(super) fn wait(&mut self, request: Request, who: W, now: Instant) {
        self.waiting.push_back(Waiting {
            ticket: self.next_ticket,
            since: now,
            request,
            who,
        });
        self.next_ticket += 1;
    }

    /// Grants to the first in line, if what it wants is free. Those who want nothing any more are passed over.
    pub(super) fn serve(
        &mut self,
        now: Instant,
        mut still_waits: impl FnMut(&mut W) -> bool,
    ) -> Option<(W, Grant)> {
        while let Some(first) = self.waiting.front()
            && first.request.units <= self.free
        {
            let mut first = self.waiting.pop_front()?;
            if still_waits(&mut first.who) {
                return Some((first.who, self.grant(first.request, now)));
            }
            self.counts.withdrawn += 1;
        }
        None
    }

    /// Takes somebody out of the line, who may have been served or passed over before.
    pub(super) fn leave(&mut self, ticket: u64, leaving: Leaving) {
        let found = self
            .waiting
            .binary_search_by_key(&ticket, |waiting| waiting.ticket);
        let Ok(place) = found else { return };
        drop(self.waiting.remove(place));
        match leaving {
            Leaving::TimedOut => self.counts.timeouts += 1,
            Leaving::Withdrew => self.counts.withdrawn += 1,
        }
    }

    /// Ends a lease.
    pub(super) fn release(&mut self, token: Token) -> Result<(), Stale> {
        match self.end(token) {
            Some(_) => {
                self.counts.releases += 1;
                Ok(())
            }
            None => Err(self.stale(token)),
        }
    }

    /// Lets a lease last longer. Never shorter: its holder may be relying on the old end until it hears of the
    /// new one.
    pub(super) fn renew(
        &mut self,
        token: Token,
        lease: Duration,
        now: Instant,
    ) -> Result<Instant, Stale> {
        let Some(held) = self.held.get_mut(&token) else {
            return Err(self.stale(token));
        };
        let ends = held.ends.max(now + lease);
        self.ends.remove(&(held.ends, token));
        self.ends.insert((ends, token));
        held.ends = ends;
        self.counts.renewals += 1;
        Ok(ends)
    }

    /// Ends one of the leases whose time is over. Answers whom to tell.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Weak<dyn OnLost>> {
        let (ends, token) = *self.ends.first()?;
        if now < ends {
            return None;
        }
        let held = self.end(token)?;
        self.counts.expiries += 1;
        Some(held.on_lost)
    }

    /// When the next lease ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.ends.first().map(|(ends, _)| *ends)
    }

    /// Counts a request that was refused because too many wait.
    pub(super) fn count_refusal(&mut self) {
        self.counts.refused += 1;
    }

    /// Counts a request that did not want to wait.
    pub(super) fn count_timeout(&mut self) {
        self.counts.timeouts += 1;
    }

    /// Empties it: those who wait, and those to be told that they hold nothing any more.
    pub(super) fn close(&mut self) -> (Vec<W>, Vec<Weak<dyn OnLost>>) {
        self.ends.clear();
        let waiting = self.waiting.drain(..).map(|waiting| waiting.who).collect();
        let held = std::mem::take(&mut self.held);
        (
            waiting,
            held.into_values().map(|held| held.on_lost).collect(),
        )
    }

    /// With the oldest leases, at most that many.
    pub(super) fn state(&self, most: usize) -> LockState {
        let held = self.held.iter().take(most).map(|(token, held)| HeldState {
            token: *token,
            units: held.units,
            since: held.since,
            ends: held.ends,
            holder: held.holder.clone(),
        });
        LockState {
            name: Arc::clone(&self.name),
            units: self.units,
            free: self.free,
            newest: self.newest,
            held: held.collect(),
            waiting: self.waiting.len(),
            waiting_since: self.waiting.front().map(|first| first.since),
            counts: self.counts,
        }
    }

    fn end(&mut self, token: Token) -> Option<Held> {
        let held = self.held.remove(&token)?;
        self.ends.remove(&(held.ends, token));
        self.free += held.units;
        Some(held)
    }

    fn stale(&mut self, token: Token) -> Stale {
        self.counts.stale += 1;
        Stale {
            token,
            current: self.newest,
        }
    }
}
