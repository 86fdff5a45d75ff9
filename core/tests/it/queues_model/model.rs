//! The model: a list of all items that were ever stored, each in one state.

use std::collections::{BTreeMap, HashMap};

use callboard::queue::Offered;

/// How long a key is remembered, in milliseconds.
pub const KEY_WINDOW: u64 = 91;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum State {
    /// Not to be handed out before then.
    Waiting(u64),
    Leased {
        token: u64,
        due: u64,
    },
    Dead(Why),
    Acknowledged,
    Evicted,
    Purged,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Why {
    Limit,
    Buried,
    Expired,
}

#[derive(Debug, Clone, Copy)]
pub struct Thing {
    pub group: Option<u64>,
    pub priority: u64,
    pub expires: Option<u64>,
    pub failed: u32,
    pub attempt: u32,
    pub state: State,
}

#[derive(Debug, Clone, Copy)]
pub struct Terms {
    pub group: Option<u64>,
    pub priority: u64,
    pub delay: u64,
    pub time_to_live: Option<u64>,
    pub key: Option<u64>,
}

#[derive(Default)]
pub struct Totals {
    pub handed: u64,
    pub settled: u64,
    pub failed: u64,
    pub lapsed: u64,
    pub expired: u64,
    pub evicted: u64,
    pub purged: u64,
}

pub struct Model {
    pub seed: u64,
    pub circular: bool,
    pub capacity: usize,
    pub max_in_flight: usize,
    pub levels: u64,
    pub limit: u32,
    pub reordering: bool,
    pub now: u64,
    /// By number.
    pub things: BTreeMap<u64, Thing>,
    /// Numbers, in the order they died.
    pub dead: Vec<u64>,
    pub keys: HashMap<u64, (u64, u64)>,
    pub totals: Totals,
}

impl Model {
    pub fn waiting(&self) -> usize {
        let things = self.things.values();
        things
            .filter(|thing| matches!(thing.state, State::Waiting(_)))
            .count()
    }

    pub fn leased(&self) -> usize {
        let things = self.things.values();
        things
            .filter(|thing| matches!(thing.state, State::Leased { .. }))
            .count()
    }

    pub fn has_room(&self) -> bool {
        let held = if self.circular {
            self.waiting()
        } else {
            self.waiting() + self.leased()
        };
        held < self.capacity
    }

    pub fn level(&self, thing: &Thing) -> u64 {
        thing.priority.min(self.levels - 1)
    }

    /// The items of one group one at a time and in order; of those whose turn it is the most urgent, then the oldest.
    pub fn next(&self) -> Option<u64> {
        let mut heads: HashMap<u64, Option<u64>> = HashMap::new();
        for (number, thing) in &self.things {
            let Some(group) = thing.group else { continue };
            match thing.state {
                State::Leased { .. } => {
                    heads.insert(group, None);
                }
                State::Waiting(due) if !(self.reordering && due > self.now) => {
                    heads.entry(group).or_insert(Some(*number));
                }
                _ => {}
            }
        }
        let ready = self.things.iter().filter(|(number, thing)| {
            matches!(thing.state, State::Waiting(due) if due <= self.now)
                && thing
                    .group
                    .is_none_or(|group| heads[&group] == Some(**number))
        });
        let best = ready.min_by_key(|(number, thing)| (u64::MAX - self.level(thing), **number));
        best.map(|(number, _)| *number)
    }

    pub fn leasable(&self) -> Option<u64> {
        if self.leased() >= self.max_in_flight {
            return None;
        }
        self.next()
    }

    pub fn thing(&mut self, number: u64) -> &mut Thing {
        self.things.get_mut(&number).expect("it was stored")
    }

    pub fn hand_out(&mut self, number: u64) {
        self.totals.handed += 1;
        self.thing(number).attempt += 1;
    }

    pub fn die(&mut self, number: u64, why: Why) {
        self.thing(number).state = State::Dead(why);
        self.dead.push(number);
    }

    pub fn come_back(&mut self, number: u64, delay: u64) {
        let now = self.now;
        let thing = self.thing(number);
        thing.state = State::Waiting(now + delay);
        if thing.expires.is_some_and(|expires| expires <= now) {
            self.expire(number);
        }
    }

    pub fn expire(&mut self, number: u64) {
        self.totals.expired += 1;
        self.die(number, Why::Expired);
    }

    pub fn fail(&mut self, number: u64) {
        self.totals.failed += 1;
        let limit = self.limit;
        let thing = self.thing(number);
        thing.failed += 1;
        if thing.failed >= limit {
            self.die(number, Why::Limit);
        } else {
            self.come_back(number, 0);
        }
    }

    /// What an offer of that number ought to answer. `None`: there is no room.
    pub fn offer(&mut self, terms: Terms, made: u64) -> Option<Offered> {
        if let Some(key) = terms.key
            && let Some((number, since)) = self.keys.get(&key)
            && since + KEY_WINDOW > self.now
        {
            return Some(Offered::Duplicate(*number));
        }
        while !self.has_room() {
            if !self.circular {
                return None;
            }
            let mut things = self.things.iter();
            let oldest = things.find(|(_, thing)| matches!(thing.state, State::Waiting(_)));
            let oldest = *oldest.expect("one waits").0;
            self.thing(oldest).state = State::Evicted;
            self.totals.evicted += 1;
        }
        let number = self.things.len() as u64 + 1;
        if let Some(key) = terms.key {
            self.keys.insert(key, (number, self.now));
        }
        let thing = Thing {
            group: terms.group,
            priority: terms.priority,
            expires: terms.time_to_live.map(|span| made + span),
            failed: 0,
            attempt: 0,
            state: State::Waiting(made + terms.delay),
        };
        self.things.insert(number, thing);
        if thing.expires.is_some_and(|expires| expires <= self.now) {
            self.expire(number);
        }
        Some(Offered::Stored(number))
    }

    /// The next thing that happens by itself, up to then.
    pub fn next_event(&self, until: u64) -> Option<u64> {
        let times = self.things.values().filter_map(|thing| match thing.state {
            State::Waiting(due) => {
                let due = (due > self.now).then_some(due);
                due.into_iter().chain(thing.expires).min()
            }
            State::Leased { due, .. } => Some(due),
            _ => None,
        });
        times.filter(|time| *time <= until).min()
    }

    /// What is due at this point.
    pub fn tick(&mut self) {
        let now = self.now;
        let mut lapsed: Vec<(u64, u64, u64)> = Vec::new();
        for (number, thing) in &self.things {
            if let State::Leased { token, due } = thing.state
                && due <= now
            {
                lapsed.push((due, token, *number));
            }
        }
        lapsed.sort_unstable();
        for (_, _, number) in lapsed {
            self.totals.lapsed += 1;
            self.fail(number);
        }
        let mut expired: Vec<(u64, u64)> = Vec::new();
        for (number, thing) in &self.things {
            if let (State::Waiting(_), Some(expires)) = (thing.state, thing.expires)
                && expires <= now
            {
                expired.push((expires, *number));
            }
        }
        expired.sort_unstable();
        for (_, number) in expired {
            self.expire(number);
        }
    }
}
