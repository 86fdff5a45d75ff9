//! A policy for people: what it is set to, what it did, and how each callee looks from here.

use std::fmt;
use std::time::Duration;

use callboard_core::clock::Instant;
use serde::Serialize;

use super::breaker::BreakerState;
use super::callee::Callee;
use super::latency::LatencySummary;
use super::live::{Live, Shared};
use super::settings::span;
use super::settings::{AdaptiveMode, BreakerMode, CallSettings, Jitter};
use super::stats::PolicyStats;

/// What a [`CallPolicy`](crate::CallPolicy) is and did: as data, and printed as a page.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The policy's name.
    pub name: String,
    /// What it is set to.
    pub settings: CallSettings,
    /// How often that was changed.
    pub changes: u64,
    /// What it did, for all callees together.
    pub stats: PolicyStats,
    /// Each callee, in the order of their ids.
    pub callees: Vec<CalleeExplanation>,
}

/// A callee as one policy sees it.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct CalleeExplanation {
    /// Its name for people.
    pub callee: String,
    /// What the policy did with calls to it.
    pub stats: PolicyStats,
    /// How long its calls take, if that is measured and there were some.
    pub latency: Option<LatencySummary>,
    /// The time limit that follows from that, if one is set and there are enough samples.
    pub adaptive_limit: Option<Duration>,
    /// How many retries the budget would allow now, of all policies together.
    pub budget_left: Option<f64>,
    /// Retries and hedges that were paid from that budget, of all policies together.
    pub budget_granted: u64,
    /// Those for which there was nothing left.
    pub budget_refused: u64,
    /// Its breaker, if there is one.
    pub breaker: Option<BreakerState>,
    /// How often that opened.
    pub breaker_opened: u64,
    /// Calls under way, if the bulkhead counts them.
    pub under_way: Option<u32>,
    /// Calls that wait for a place.
    pub waiting: Option<u32>,
    /// When it looked so, on the system's clock.
    pub at: Instant,
}

impl Explanation {
    pub(super) fn of(shared: &Shared) -> Self {
        let live = shared.live();
        let callees = live.callees.iter();
        Explanation {
            name: shared.name.to_string(),
            settings: live.settings.clone(),
            changes: shared.changes(),
            stats: shared.stats(),
            callees: callees.map(|(_, callee)| explain(&live, callee)).collect(),
        }
    }
}

fn explain(live: &Live, callee: &Callee) -> CalleeExplanation {
    let settings = &live.settings;
    let mut stats = PolicyStats::named(&live.name);
    stats.add(&callee.counters);
    let now = callee.now();
    let adaptive = settings.attempt.adaptive.as_ref();
    let retry = settings.retry.as_ref();
    let bulkhead = settings.bulkhead.as_ref().map(|_| &callee.bulkhead);
    CalleeExplanation {
        callee: callee.label.clone(),
        stats,
        latency: callee.latency.summary(),
        adaptive_limit: adaptive.and_then(|adaptive| callee.latency.limit(adaptive)),
        budget_left: retry.map(|retry| callee.ledger.left(now, &retry.budget)),
        budget_granted: callee.ledger.granted(),
        budget_refused: callee.ledger.refused(),
        breaker_opened: callee.breaker.opened(),
        breaker: settings.breaker.as_ref().map(|_| callee.breaker.state(now)),
        under_way: bulkhead.map(|bulkhead| bulkhead.in_use()),
        waiting: bulkhead.map(|bulkhead| bulkhead.waiting()),
        at: now,
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "policy `{}`, changed {} times", self.name, self.changes)?;
        for (part, text) in self.settings.sentences() {
            writeln!(f, "  {part:<10} {text}")?;
        }
        writeln!(f, "  so far     {}", self.stats)?;
        for callee in &self.callees {
            write!(f, "{callee}")?;
        }
        Ok(())
    }
}

impl fmt::Display for CalleeExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  to {}: {}", self.callee, self.stats)?;
        if let Some(latency) = &self.latency {
            writeln!(f, "    takes    {latency}")?;
        }
        if let Some(limit) = self.adaptive_limit {
            writeln!(f, "    limit    {}", rounded(limit))?;
        }
        if let Some(left) = self.budget_left {
            let (granted, refused) = (self.budget_granted, self.budget_refused);
            writeln!(
                f,
                "    budget   {left:.1} retries left; {granted} paid, {refused} refused, by all policies"
            )?;
        }
        if let Some(breaker) = &self.breaker {
            writeln!(f, "    breaker  {}", breaker_text(breaker, self.at))?;
        }
        if let (Some(under_way), Some(waiting)) = (self.under_way, self.waiting) {
            writeln!(f, "    places   {under_way} taken, {waiting} waiting")?;
        }
        Ok(())
    }
}

impl fmt::Display for PolicyStats {
    /// The counters that aren't zero.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests", self.requests)?;
        let rest = [
            (self.retries, "retries"),
            (self.hedges, "hedges"),
            (self.hedges_won, "hedges won"),
            (self.recovered, "recovered"),
            (self.failed, "failed"),
            (self.timed_out, "timed out"),
            (self.over_budget, "over budget"),
            (self.out_of_time, "out of time"),
            (self.caller_retries, "left to the caller"),
            (self.broken, "refused by the breaker"),
            (self.over_rate, "over the rate"),
            (self.crowded, "without a place"),
            (self.shed, "shed"),
        ];
        for (number, what) in rest.into_iter().filter(|(number, _)| *number > 0) {
            write!(f, ", {number} {what}")?;
        }
        Ok(())
    }
}

fn breaker_text(breaker: &BreakerState, now: Instant) -> String {
    match breaker {
        BreakerState::Closed {
            failures_in_a_row,
            calls,
            failures,
        } => format!("closed; {failures} of {calls} failed, the last {failures_in_a_row}"),
        BreakerState::Open { until, times } => {
            format!(
                "open for {} more, the {times}. time",
                rounded(until.since(now))
            )
        }
        BreakerState::HalfOpen {
            under_way,
            succeeded,
            ..
        } => format!("half open; {under_way} trying, {succeeded} succeeded"),
    }
}

/// In at most four digits or so: nobody reads nanoseconds of a time limit.
pub(super) fn rounded(span: Duration) -> String {
    let nanos = span.as_nanos();
    let step = match nanos {
        0..10_000 => 1,
        10_000..10_000_000 => 1_000,
        10_000_000..10_000_000_000 => 1_000_000,
        _ => 1_000_000_000,
    };
    let rounded = nanos / step * step;
    span::text(Duration::from_nanos(
        u64::try_from(rounded).unwrap_or(u64::MAX),
    ))
}

impl CallSettings {
    /// The parts that are on, each in a sentence, in the order of the policy's table.
    fn sentences(&self) -> Vec<(&'static str, String)> {
        let mut parts = Vec::new();
        let text = span::text;
        if let Some(deadline) = self.deadline {
            parts.push((
                "deadline",
                format!("{} for all of a request", text(deadline)),
            ));
        }
        if let Some(retry) = &self.retry {
            let jitter = match retry.jitter {
                Jitter::Full => "full",
                Jitter::Decorrelated => "decorrelated",
            };
            parts.push((
                "retry",
                format!(
                    "{} attempts, {jitter} jitter from {} to {}",
                    retry.attempts,
                    text(retry.base),
                    text(retry.cap)
                ),
            ));
            let budget = &retry.budget;
            parts.push((
                "budget",
                format!(
                    "{} % of the requests and {} a second, over {}",
                    budget.share * 100.0,
                    budget.per_second,
                    text(budget.window)
                ),
            ));
        }
        if let Some(breaker) = &self.breaker {
            let mode = match breaker.mode {
                BreakerMode::Auto => "where there is something else to do",
                BreakerMode::Always => "always",
            };
            parts.push((
                "breaker",
                format!(
                    "opens after {} failures in a row, or {} % of at least {} in {}; for {} to {}, {} to try; {mode}",
                    breaker.consecutive,
                    breaker.rate * 100.0,
                    breaker.min_calls,
                    text(breaker.window),
                    text(breaker.open),
                    text(breaker.max_open),
                    breaker.probes,
                ),
            ));
        }
        if let Some(rate) = &self.rate {
            let wait = match rate.wait {
                Duration::ZERO => "refused beyond".to_owned(),
                wait => format!("waiting at most {}", text(wait)),
            };
            parts.push((
                "rate",
                format!(
                    "{} a second, {} at once, {wait}",
                    rate.per_second, rate.burst
                ),
            ));
        }
        if let Some(bulkhead) = &self.bulkhead {
            parts.push((
                "bulkhead",
                format!(
                    "{} at once, {} waiting",
                    bulkhead.concurrency, bulkhead.queue
                ),
            ));
        }
        if let Some(shed) = &self.shed {
            parts.push((
                "shed",
                format!("what has less time left than p{}", shed.percentile),
            ));
        }
        if let Some(hedge) = &self.hedge {
            parts.push((
                "hedge",
                format!(
                    "after p{}, at least {}",
                    hedge.percentile,
                    text(hedge.at_least)
                ),
            ));
        }
        let attempt = &self.attempt;
        let mut limits = Vec::new();
        if let Some(limit) = attempt.limit {
            limits.push(text(limit));
        }
        if let Some(share) = attempt.share {
            limits.push(format!("{} % of what is left", share * 100.0));
        }
        if let Some(adaptive) = &attempt.adaptive {
            let mode = match adaptive.mode {
                AdaptiveMode::Propose => " (proposed only)",
                AdaptiveMode::Follow => "",
            };
            limits.push(format!(
                "{} times p{}, {} to {}{mode}",
                adaptive.factor,
                adaptive.percentile,
                text(adaptive.floor),
                text(adaptive.ceiling)
            ));
        }
        if !limits.is_empty() {
            parts.push(("attempt", limits.join("; ")));
        }
        parts
    }
}
