//! What runs in the metadata service beside its facts: it counts numbers, and how often each has come.

use std::collections::BTreeSet;

use callboard::prelude::*;

use crate::messages::{Count, Counts, GetCounts};

/// So many numbers are remembered; higher ones are not counted at all.
const MOST: u64 = 100_000;

/// Sees what no caller can see: whether a request ran twice, or before one that was sent earlier.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    seen: BTreeSet<u64>,
    counts: Counts,
}

impl Tally {
    fn count(&mut self, number: u64) -> Counts {
        if number >= MOST {
            return self.counts;
        }
        if self.seen.last().is_some_and(|last| number < *last) {
            self.counts.out_of_order += 1;
        }
        if !self.seen.insert(number) {
            self.counts.twice += 1;
        }
        self.counts.numbers = self.seen.len() as u64;
        self.counts
    }
}

impl Actor for Tally {}

impl Handler<Count> for Tally {
    async fn handle(&mut self, Count { number }: Count, _ctx: &mut Context<Self>) -> u64 {
        self.count(number).numbers
    }
}

impl Handler<GetCounts> for Tally {
    async fn handle(&mut self, _: GetCounts, _ctx: &mut Context<Self>) -> Counts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_twice_or_too_late_is_seen() {
        let mut tally = Tally::default();
        for number in [0, 1, 3, 2, 2, MOST] {
            tally.count(number);
        }
        let expected = Counts {
            numbers: 4,
            twice: 1,
            out_of_order: 2,
        };
        assert_eq!(tally.counts, expected);
    }
}
