//! The till: the one place that says whether a cup was made.
//!
//! A cup is poured and rung up in one message, and the till checks two things: that the barista's lease is not an
//! old one (its fencing token), and that the order wasn't made before (its number). Either alone is not enough: the
//! first lets a cup be made again by whoever has the order next, the second lets whoever comes late pour at all.

use std::collections::BTreeMap;

use callboard::locks::{Fence, Stale, Token};
use callboard::prelude::*;

/// Pours the cup of an order, by whoever has it under that token.
#[derive(Message)]
#[message(reply = Result<Poured, Stale>)]
pub(super) struct Pour {
    pub(super) order: u32,
    pub(super) table: usize,
    /// Where it stood on the counter.
    pub(super) place: u64,
    pub(super) token: Token,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Poured {
    Now,
    /// Somebody did, and didn't get around to serving it.
    Before,
}

/// The end of the day.
#[derive(Message)]
#[message(reply = Books)]
pub(super) struct Close;

#[derive(Default)]
pub(super) struct Till {
    fences: BTreeMap<u32, Fence>,
    /// The place of the last cup of each table.
    last: BTreeMap<usize, u64>,
    books: Books,
}

/// What the till has seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Books {
    /// How often each order was made.
    pub(super) made: BTreeMap<u32, u32>,
    /// Cups that somebody was too late to pour.
    pub(super) stale: u32,
    /// Cups that were there already.
    pub(super) before: u32,
    /// Cups that were made before one that was ordered earlier at the same table.
    pub(super) overtaken: u32,
}

impl Actor for Till {}

// ANCHOR: pour
impl Handler<Pour> for Till {
    async fn handle(&mut self, pour: Pour, _ctx: &mut Context<Self>) -> Result<Poured, Stale> {
        let fence = self.fences.entry(pour.order).or_default();
        if let Err(stale) = fence.check(pour.token) {
            self.books.stale += 1;
            return Err(stale);
        }
        let made = self.books.made.entry(pour.order).or_default();
        if *made > 0 {
            self.books.before += 1;
            return Ok(Poured::Before);
        }
        *made += 1;
        let last = self.last.insert(pour.table, pour.place);
        self.books.overtaken += u32::from(last > Some(pour.place));
        Ok(Poured::Now)
    }
}
// ANCHOR_END: pour

impl Handler<Close> for Till {
    async fn handle(&mut self, _: Close, _ctx: &mut Context<Self>) -> Books {
        std::mem::take(&mut self.books)
    }
}
