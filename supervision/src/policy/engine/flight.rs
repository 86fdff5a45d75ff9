//! An attempt that is under way, as the parts of a policy see it.

use std::time::Duration;

use callboard_core::clock::{Clock, Instant};
use callboard_core::{Failure, FailureKind};

use super::super::breaker::{Ended, Pass};
use super::super::bulkhead::Permit;
use super::super::callee::Callee;
use super::super::live::Live;
use super::super::settings::AdaptiveSettings;
use super::super::stats::count;
use super::verdicts::{Blame, blame};

/// After that time a measured call counts half, where no adaptive limit says otherwise.
const HALF_LIFE: Duration = Duration::from_secs(60);

pub(super) struct Flight {
    /// Its breaker let it pass.
    pub(super) pass: Option<Pass>,
    /// Its place in the bulkhead.
    pub(super) _permit: Option<Permit>,
    /// When it began, if that is measured.
    pub(super) began: Option<Instant>,
    /// When it is given up.
    pub(super) limit: Option<Instant>,
}

impl Flight {
    #[inline]
    pub(super) fn answered(&mut self, live: &Live, callee: &Callee, clock: &Clock) {
        let now = match self.began {
            // Nobody asks when it was.
            None if self.pass.is_none() => return,
            None => clock.coarse_now(),
            Some(began) => {
                let now = clock.now();
                callee.measured(now, now.since(began), half_life(live));
                now
            }
        };
        self.tell(live, callee, now, Ended::Good);
    }

    #[cold]
    pub(super) fn failed(&mut self, live: &Live, callee: &Callee, clock: &Clock, why: &Failure) {
        let now = clock.now();
        if why.kind() == FailureKind::DeadlineExceeded {
            count(&callee.counters.timed_out);
            if let Some(began) = self.began {
                let limit = self
                    .limit
                    .map_or(Duration::ZERO, |limit| limit.since(began));
                let took = now.since(began).max(limit);
                callee.cut(now, took, half_life(live));
            }
        }
        let ended = match blame(why) {
            Blame::Callee => Ended::Failed,
            Blame::Nobody => Ended::Nothing,
        };
        self.tell(live, callee, now, ended);
    }

    /// Nobody waits for it any more. It would have taken longer, which counts: otherwise each hedge that wins would
    /// make the callee look faster, and the next hedge come earlier.
    #[cold]
    pub(super) fn withdrawn(&mut self, live: &Live, callee: &Callee) {
        let now = callee.now();
        if let Some(began) = self.began {
            callee.cut(now, now.since(began), half_life(live));
        }
        self.tell(live, callee, now, Ended::Nothing);
    }

    #[inline]
    fn tell(&mut self, live: &Live, callee: &Callee, now: Instant, ended: Ended) {
        // Without settings there was no pass.
        if let (Some(pass), Some(breaker)) = (self.pass.take(), &live.settings.breaker) {
            callee.breaker.ended(pass, now, breaker, ended);
        }
    }
}

fn half_life(live: &Live) -> Duration {
    let adaptive: Option<&AdaptiveSettings> = live.settings.attempt.adaptive.as_ref();
    adaptive.map_or(HALF_LIFE, |adaptive| adaptive.half_life)
}
