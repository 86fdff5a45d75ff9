//! What came to the callee when, and what that comes to.

use std::ops::Range;
use std::time::Duration;

use callboard::clock::Instant;

use super::storm::{AFTER, OUTAGE, PATIENCE, RATE, Variant, WELL};

/// The load is counted in slices of that length.
pub(super) const SLICE: Duration = Duration::from_millis(100);
/// Slices of the window over which a budget counts.
const WINDOW: usize = 100;
/// Requests at the top in one slice, and in one window.
pub(super) const USUAL: u64 = RATE / 10;
pub(super) const USUAL_IN_WINDOW: u64 = RATE * 10;

/// How many attempts arrived at the callee, in each slice.
#[derive(Debug, Clone)]
pub(super) struct Load {
    begin: Instant,
    slices: Vec<u64>,
}

impl Load {
    pub(super) fn since(begin: Instant) -> Self {
        let slices = vec![0; slice_of(WELL + OUTAGE + AFTER)];
        Load { begin, slices }
    }

    /// What comes after the end isn't counted.
    pub(super) fn count(&mut self, now: Instant) {
        if let Some(slice) = self.slices.get_mut(slice_of(now.since(self.begin))) {
            *slice += 1;
        }
    }
}

/// In which slice a point lies.
pub(super) fn slice_of(at: Duration) -> usize {
    (at.as_nanos() / SLICE.as_nanos()) as usize
}

/// Some requests of the top.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) answered: u64,
    pub(super) asked: u64,
}

impl Share {
    fn of<'a>(asked: impl Iterator<Item = &'a (Duration, bool)>) -> Self {
        asked.fold(Share::default(), |share, (_, answered)| Share {
            answered: share.answered + u64::from(*answered),
            asked: share.asked + 1,
        })
    }

    pub(super) fn percent(self) -> u64 {
        (self.answered * 100).checked_div(self.asked).unwrap_or(0)
    }
}

/// One storm in figures.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub(super) variant: Variant,
    /// Attempts that arrived at the callee, in each slice.
    pub(super) slices: Vec<u64>,
    /// All of them.
    pub(super) attempts: u64,
    /// Requests at the top.
    pub(super) requests: u64,
    /// The worst slice.
    pub(super) peak: u64,
    /// The worst window of a budget's length.
    pub(super) worst_window: u64,
    /// How long there was more load than usual after the callee was well again; `None`: to the end.
    pub(super) tail: Option<Duration>,
    /// Of those who asked while it failed.
    pub(super) during: Share,
    /// Of those who asked when it was well again; not of the last ones, who still wait when nobody asks any more.
    pub(super) after: Share,
}

impl Measured {
    pub(super) fn new(variant: Variant, load: &Load, asked: &[(Duration, bool)]) -> Self {
        let slices = load.slices.clone();
        let well_again = WELL + OUTAGE;
        let between = |range: Range<Duration>| {
            let asked = asked.iter();
            Share::of(asked.filter(move |(at, _)| range.contains(at)))
        };
        let last = slices.iter().rposition(|count| *count > USUAL);
        let first_well = slice_of(well_again);
        let tail = match last {
            Some(last) if last + 1 == slices.len() => None,
            Some(last) if last >= first_well => Some(SLICE * (last + 1 - first_well) as u32),
            _ => Some(Duration::ZERO),
        };
        let windows = slices.windows(WINDOW);
        let windows = windows.map(|window| window.iter().sum());
        Measured {
            variant,
            attempts: slices.iter().sum(),
            requests: asked.len() as u64,
            peak: slices.iter().copied().max().unwrap_or(0),
            worst_window: windows.max().unwrap_or(0),
            tail,
            during: between(WELL..well_again),
            after: between(well_again..well_again + AFTER - PATIENCE),
            slices,
        }
    }

    /// The worst slice, against a usual one.
    pub(super) fn peak_factor(&self) -> f64 {
        self.peak as f64 / USUAL as f64
    }

    /// The worst window, against a usual one.
    pub(super) fn window_factor(&self) -> f64 {
        self.worst_window as f64 / USUAL_IN_WINDOW as f64
    }
}
