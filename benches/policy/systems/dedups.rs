//! Stores in memory before the callee, and what their calls find there.

use std::time::Duration;

use callboard::System;
use callboard_supervision::Dedup;

use crate::clerk::Next;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dedups {
    /// Each call has a key that nobody had: it is started, run, and its answer stored.
    First,
    /// The same in a store that is full of finished requests: the oldest goes each time.
    FirstWhenFull,
    /// Each call has a key that is answered already.
    Duplicate,
    /// Calls have no key, and none is like another: by their fingerprints.
    Unlike,
    /// Calls have no key, and all are like one that is answered.
    Alike,
    /// On disk.
    Durable,
}

/// How many finished requests a small store holds.
pub(crate) const SMALL: usize = 1_000;
/// More than a run has calls.
const LARGE: usize = 10_000_000;

impl Dedups {
    pub(crate) const ALL: [Dedups; 6] = [
        Dedups::First,
        Dedups::FirstWhenFull,
        Dedups::Duplicate,
        Dedups::Unlike,
        Dedups::Alike,
        Dedups::Durable,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Dedups::First => FIRST,
            Dedups::FirstWhenFull => "dedup: first time, store full",
            Dedups::Duplicate => "dedup: duplicate, answered",
            Dedups::Unlike => "by fingerprint: like no other",
            Dedups::Alike => "by fingerprint: duplicate, answered",
            Dedups::Durable => DURABLE,
        }
    }

    pub(crate) fn store(self, system: &System) -> Dedup<Next> {
        let builder = Dedup::builder(system).max_bytes(usize::MAX);
        match self {
            Dedups::First => builder.max_entries(LARGE).build(),
            Dedups::FirstWhenFull => builder.max_entries(SMALL).forget_oldest().build(),
            Dedups::Unlike | Dedups::Alike => {
                let builder = builder.max_entries(LARGE);
                builder.by_fingerprint(Duration::from_secs(600)).build()
            }
            Dedups::Duplicate | Dedups::Durable => builder.build(),
        }
    }
}

pub(crate) const FIRST: &str = "dedup: first time";
pub(crate) const DURABLE: &str = "dedup: durable";
