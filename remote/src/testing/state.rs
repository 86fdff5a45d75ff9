//! The network as a state machine: links, connections and what happens to them. It is given the time, and wakes
//! nobody itself.

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use callboard::Entropy;
use callboard::clock::Instant;

use super::way::{Fin, Found, Mouth, Way};
use super::{Conditions, Ending, NetStats};
use crate::node::WeakNode;

pub(super) type Host = Arc<str>;

pub(super) struct State {
    pub(super) entropy: Entropy,
    pub(super) usual: Conditions,
    links: Vec<Link>,
    index: BTreeMap<(Host, Host), usize>,
    pub(super) listeners: BTreeMap<Host, WeakNode>,
    connections: BTreeMap<u64, Connection>,
    next: u64,
    pub(super) stats: NetStats,
    /// Whom to wake once the lock is free, in the order in which it happened.
    pub(super) woken: Vec<Waker>,
}

/// All that goes from one host to another.
struct Link {
    conditions: Conditions,
    /// Partitioned: what is under way stays there.
    held: bool,
    /// When the last byte that was sent has left.
    free_at: Instant,
}

struct Connection {
    /// Who dialled, and who listened.
    hosts: [Host; 2],
    /// The link of each direction: from the side of that number to the other.
    links: [usize; 2],
    ways: [Way; 2],
    open: [bool; 2],
    dies_at: Instant,
}

/// What a read finds.
pub(super) enum Read {
    Bytes,
    Over(Fin),
    /// The reader's waker is kept; at that time there is more to see.
    Until(Instant),
}

/// What a write finds.
pub(super) enum Write {
    Took(usize),
    Broken(io::ErrorKind),
    /// The writer's waker is kept.
    Full,
}

impl State {
    pub(super) fn new(entropy: Entropy) -> Self {
        State {
            entropy,
            usual: Conditions::default(),
            links: Vec::new(),
            index: BTreeMap::new(),
            listeners: BTreeMap::new(),
            connections: BTreeMap::new(),
            next: 0,
            stats: NetStats::default(),
            woken: Vec::new(),
        }
    }

    fn link(&mut self, from: &Host, to: &Host) -> usize {
        let key = (Arc::clone(from), Arc::clone(to));
        let (links, usual) = (&mut self.links, &self.usual);
        *self.index.entry(key).or_insert_with(|| {
            links.push(Link {
                conditions: usual.clone(),
                held: false,
                free_at: Instant::default(),
            });
            links.len() - 1
        })
    }

    pub(super) fn conditions(&mut self, from: &Host, to: &Host) -> &mut Conditions {
        let link = self.link(from, to);
        &mut self.links[link].conditions
    }

    pub(super) fn all_conditions(&mut self) -> impl Iterator<Item = &mut Conditions> {
        let links = self.links.iter_mut().map(|link| &mut link.conditions);
        std::iter::once(&mut self.usual).chain(links)
    }

    pub(super) fn hold(&mut self, from: &Host, to: &Host, held: bool) {
        let link = self.link(from, to);
        self.links[link].held = held;
    }

    pub(super) fn heal_all(&mut self) {
        self.links.iter_mut().for_each(|link| link.held = false);
    }

    /// Whether a connection can't be made now because one of its directions is partitioned.
    pub(super) fn is_held(&mut self, from: &Host, to: &Host) -> bool {
        let (there, back) = (self.link(from, to), self.link(to, from));
        self.links[there].held || self.links[back].held
    }

    /// How long it takes to ask for a connection and to be answered.
    pub(super) fn round_trip(&mut self, from: &Host, to: &Host) -> Duration {
        let (there, back) = (self.link(from, to), self.link(to, from));
        let there = draw(&self.entropy, &self.links[there].conditions.delay);
        there + draw(&self.entropy, &self.links[back].conditions.delay)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Makes a connection from side 0 to side 1.
    pub(super) fn connect(&mut self, from: &Host, to: &Host, now: Instant) -> u64 {
        let links = [self.link(from, to), self.link(to, from)];
        self.next += 1;
        let id = self.next;
        let entropy = &self.entropy;
        let ways = links.map(|link| {
            let ends = self.links[link].conditions.ends_after.as_ref();
            Way::new(ends.map(|(bytes, ending)| (between(entropy, bytes), *ending)))
        });
        let lifetime = self.links[links[0]].conditions.lifetime.as_ref();
        let dies_at = lifetime.map_or(Instant::FAR, |span| now + draw(entropy, span));
        let connection = Connection {
            hosts: [Arc::clone(from), Arc::clone(to)],
            links,
            ways,
            open: [true, true],
            dies_at,
        };
        self.connections.insert(id, connection);
        self.stats.connects += 1;
        for side in 0..2 {
            self.end_if_used_up(id, side, now);
        }
        id
    }

    pub(super) fn write(
        &mut self,
        id: u64,
        side: usize,
        bytes: &[u8],
        now: Instant,
        waker: &Waker,
    ) -> Write {
        self.age(id, now);
        let Some(connection) = self.connections.get_mut(&id) else {
            return Write::Broken(io::ErrorKind::ConnectionReset);
        };
        let link = &mut self.links[connection.links[side]];
        let way = &mut connection.ways[side];
        match way.mouth {
            Mouth::Broken(kind) => return Write::Broken(kind),
            Mouth::Void(until) if now < until || link.held => {
                self.stats.bytes_written += bytes.len() as u64;
                self.stats.bytes_lost += bytes.len() as u64;
                return Write::Took(bytes.len());
            }
            Mouth::Void(_) => return Write::Broken(io::ErrorKind::BrokenPipe),
            Mouth::Open => {}
        }
        let conditions = &link.conditions;
        let room = conditions.capacity.max(1).saturating_sub(way.under_way());
        if room == 0 && !bytes.is_empty() {
            way.writer = Some(waker.clone());
            return Write::Full;
        }
        let mut count = bytes.len().min(room);
        if let Some(piece) = conditions.piece {
            count = count.min(piece_of(&self.entropy, piece));
        }
        if let Some((left, _)) = &mut way.left {
            count = count.min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= count as u64;
        }
        if count == 0 {
            return Write::Took(0);
        }
        let mut delay = draw(&self.entropy, &conditions.delay);
        if let Some(stall) = &conditions.stall
            && self.entropy.below(stall.one_in.max(1)) == 0
        {
            delay += draw(&self.entropy, &stall.span);
            self.stats.stalls += 1;
        }
        let mut sent = now;
        if let Some(rate) = conditions.bandwidth {
            sent = link.free_at.max(now) + time_of(count, rate);
            link.free_at = sent;
        }
        way.push(&bytes[..count], sent + delay);
        self.woken.extend(way.reader.take());
        self.stats.bytes_written += count as u64;
        self.end_if_used_up(id, side, now);
        Write::Took(count)
    }

    pub(super) fn read(
        &mut self,
        id: u64,
        side: usize,
        most: usize,
        take: impl FnMut(&[u8]),
        now: Instant,
        waker: &Waker,
    ) -> Read {
        self.age(id, now);
        let Some(connection) = self.connections.get_mut(&id) else {
            return Read::Over(Fin::Reset);
        };
        let from = 1 - side;
        let link = &self.links[connection.links[from]];
        let way = &mut connection.ways[from];
        if link.held {
            if way.is_reset() {
                self.stats.bytes_lost += way.keep(0, |due| due) as u64;
                return Read::Over(Fin::Reset);
            }
            way.reader = Some(waker.clone());
            return Read::Until(connection.dies_at);
        }
        let piece = link.conditions.piece;
        // Drawn only where something is moved, so that looking in vain changes nothing.
        let most = match piece {
            Some(piece) if way.under_way() > 0 => most.min(piece_of(&self.entropy, piece)),
            _ => most,
        };
        match way.read(now, most, take) {
            Found::Bytes(count) => {
                self.stats.bytes_delivered += count as u64;
                self.woken.extend(way.writer.take());
                Read::Bytes
            }
            Found::Over(fin) => Read::Over(fin),
            Found::Later(due) => {
                way.reader = Some(waker.clone());
                let due = due.unwrap_or(Instant::FAR);
                Read::Until(due.min(connection.dies_at))
            }
        }
    }

    /// The side has written its last byte.
    pub(super) fn shut(&mut self, id: u64, side: usize, now: Instant) {
        if let Some(connection) = self.connections.get_mut(&id) {
            let way = &mut connection.ways[side];
            if way.mouth == Mouth::Open {
                let delay = &self.links[connection.links[side]].conditions.delay;
                let due = now + draw(&self.entropy, delay);
                way.end(Fin::Closed, due, io::ErrorKind::BrokenPipe);
                self.woken.extend(way.reader.take());
            }
        }
    }

    /// The side is gone.
    pub(super) fn leave(&mut self, id: u64, side: usize, now: Instant) {
        self.shut(id, side, now);
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.open[side] = false;
        // Nobody reads any more what comes this way; who writes hears of it when the end of the other way arrives.
        let delay = &self.links[connection.links[side]].conditions.delay;
        let told = now + draw(&self.entropy, delay);
        let way = &mut connection.ways[1 - side];
        self.stats.bytes_lost += way.keep(0, |due| due) as u64;
        if way.mouth == Mouth::Open {
            way.mouth = Mouth::Void(told);
        }
        self.woken.extend(way.writer.take());
        if connection.open == [false, false] {
            let lost: usize = connection.ways.iter().map(Way::under_way).sum();
            self.stats.bytes_lost += lost as u64;
            self.connections.remove(&id);
        }
    }

    /// The connections between two hosts, in the order in which they were made.
    pub(super) fn between(&self, a: &Host, b: &Host) -> Vec<u64> {
        let both = |hosts: &[Host; 2]| {
            (hosts[0] == *a && hosts[1] == *b) || (hosts[0] == *b && hosts[1] == *a)
        };
        let found = self
            .connections
            .iter()
            .filter(|(_, connection)| both(&connection.hosts));
        found.map(|(id, _)| *id).collect()
    }

    pub(super) fn all(&self) -> Vec<u64> {
        self.connections.keys().copied().collect()
    }

    /// Cuts a connection; a part of what is under way is lost in each direction, from a random byte on.
    pub(super) fn cut(&mut self, id: u64, now: Instant) {
        self.reset(id, now, |entropy, under_way| {
            usize::try_from(entropy.below(under_way as u64 + 1)).unwrap_or(0)
        });
    }

    fn reset(&mut self, id: u64, now: Instant, keep: impl Fn(&Entropy, usize) -> usize) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.dies_at = Instant::FAR;
        for side in 0..2 {
            let link = &self.links[connection.links[side]];
            let way = &mut connection.ways[side];
            if way.is_reset() {
                continue;
            }
            let kept = if link.held {
                0
            } else {
                keep(&self.entropy, way.under_way())
            };
            let straggle = draw(&self.entropy, &link.conditions.straggle);
            let later = |due: Instant| match straggle {
                Duration::ZERO => due,
                straggle => due.max(now) + straggle,
            };
            self.stats.bytes_lost += way.keep(kept, later) as u64;
            way.end(Fin::Reset, now, io::ErrorKind::ConnectionReset);
            self.woken.extend(way.reader.take());
            self.woken.extend(way.writer.take());
        }
        self.stats.cuts += 1;
    }

    /// `loser` forgets its connections with `other`, which isn't told.
    pub(super) fn half_open(&mut self, loser: &Host, other: &Host, now: Instant) {
        for id in self.between(loser, other) {
            let Some(connection) = self.connections.get_mut(&id) else {
                continue;
            };
            connection.dies_at = Instant::FAR;
            let side = usize::from(connection.hosts[0] != *loser);
            // What the loser wrote and what is on its way to it is gone.
            for way in &mut connection.ways {
                self.stats.bytes_lost += way.keep(0, |due| due) as u64;
            }
            let [first, second] = &mut connection.ways;
            let (out, into) = if side == 0 {
                (first, second)
            } else {
                (second, first)
            };
            out.mouth = Mouth::Broken(io::ErrorKind::ConnectionReset);
            into.mouth = Mouth::Void(Instant::FAR);
            into.end_for_reader(now);
            for waker in [out.writer.take(), into.reader.take(), into.writer.take()] {
                self.woken.extend(waker);
            }
            self.stats.half_opens += 1;
        }
    }

    /// Wakes all who wait in a connection: what holds on their way has changed.
    pub(super) fn look_again(&mut self) {
        for connection in self.connections.values_mut() {
            for way in &mut connection.ways {
                self.woken.extend(way.reader.take());
                self.woken.extend(way.writer.take());
            }
        }
    }

    /// Cuts a connection whose time is over.
    fn age(&mut self, id: u64, now: Instant) {
        let dies_at = self
            .connections
            .get(&id)
            .map(|connection| connection.dies_at);
        if dies_at.is_some_and(|dies_at| now >= dies_at) {
            self.cut(id, now);
        }
    }

    /// Does what the conditions say comes after so many bytes.
    fn end_if_used_up(&mut self, id: u64, side: usize, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Some((0, ending)) = connection.ways[side].left else {
            return;
        };
        connection.ways[side].left = None;
        match ending {
            // All bytes up to this one arrive.
            Ending::Reset => return self.reset(id, now, |_, under_way| under_way),
            Ending::Truncated => {
                for way in &mut connection.ways {
                    way.end(Fin::Closed, now, io::ErrorKind::BrokenPipe);
                }
            }
            Ending::HalfClosed => {
                connection.ways[side].end(Fin::Closed, now, io::ErrorKind::BrokenPipe);
            }
            Ending::Silent => connection.ways[side].mouth = Mouth::Void(Instant::FAR),
        }
        for way in &mut connection.ways {
            self.woken.extend(way.reader.take());
            self.woken.extend(way.writer.take());
        }
        self.stats.endings += 1;
    }
}

fn draw(entropy: &Entropy, span: &RangeInclusive<Duration>) -> Duration {
    let width = span.end().saturating_sub(*span.start());
    if width.is_zero() {
        return *span.start();
    }
    *span.start() + entropy.jitter(width)
}

fn between(entropy: &Entropy, range: &RangeInclusive<u64>) -> u64 {
    let width = range.end().saturating_sub(*range.start());
    range.start() + entropy.below(width.saturating_add(1))
}

/// From 1 to `piece`.
fn piece_of(entropy: &Entropy, piece: usize) -> usize {
    1 + usize::try_from(entropy.below(piece.max(1) as u64)).unwrap_or(0)
}

/// How long so many bytes take at so many a second.
fn time_of(bytes: usize, rate: u64) -> Duration {
    let nanos = bytes as u128 * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
