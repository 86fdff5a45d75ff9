//! Which settings make no sense.

use std::time::Duration;

use super::{
    AdaptiveSettings, AttemptSettings, BreakerSettings, BudgetSettings, BulkheadSettings,
    CallSettings, HedgeSettings, RateSettings, RetrySettings, ShedSettings,
};

/// How many attempts a request can have at most: what fails ten times fails.
pub const MAX_ATTEMPTS: u32 = 10;
/// The shortest window of a retry budget: 1 s.
pub const SHORTEST_BUDGET_WINDOW: Duration = Duration::from_secs(1);
/// The longest window of a retry budget: 60 s.
pub const LONGEST_BUDGET_WINDOW: Duration = Duration::from_secs(60);

/// A setting that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{setting}` {must}")]
#[non_exhaustive]
pub struct BadSetting {
    /// Which, as it is called in a file: `retry.attempts`.
    pub setting: &'static str,
    /// What it must be.
    pub must: String,
}

type Checked = Result<(), BadSetting>;

fn check(setting: &'static str, good: bool, must: impl Into<String>) -> Checked {
    if good {
        return Ok(());
    }
    let must = must.into();
    Err(BadSetting { setting, must })
}

fn above_zero(setting: &'static str, span: Duration) -> Checked {
    check(setting, !span.is_zero(), "must be longer than zero")
}

fn at_least_one(setting: &'static str, number: u64) -> Checked {
    check(setting, number >= 1, "must be at least 1")
}

fn percentile(setting: &'static str, percentile: f64) -> Checked {
    let good = percentile > 0.0 && percentile < 100.0;
    check(setting, good, "must be above 0 and below 100")
}

impl CallSettings {
    /// Whether all of it makes sense.
    ///
    /// # Errors
    /// [`BadSetting`] names the first that doesn't.
    pub fn check(&self) -> Checked {
        if let Some(deadline) = self.deadline {
            above_zero("deadline", deadline)?;
        }
        self.attempt.check()?;
        self.retry.as_ref().map_or(Ok(()), RetrySettings::check)?;
        self.breaker
            .as_ref()
            .map_or(Ok(()), BreakerSettings::check)?;
        self.bulkhead
            .as_ref()
            .map_or(Ok(()), BulkheadSettings::check)?;
        self.hedge.as_ref().map_or(Ok(()), HedgeSettings::check)?;
        self.shed.as_ref().map_or(Ok(()), ShedSettings::check)?;
        self.rate.as_ref().map_or(Ok(()), RateSettings::check)
    }
}

impl AttemptSettings {
    fn check(&self) -> Checked {
        if let Some(limit) = self.limit {
            above_zero("attempt.limit", limit)?;
        }
        if let Some(share) = self.share {
            let good = share > 0.0 && share <= 1.0;
            check("attempt.share", good, "must be above 0 and at most 1")?;
        }
        self.adaptive
            .as_ref()
            .map_or(Ok(()), AdaptiveSettings::check)
    }
}

impl AdaptiveSettings {
    fn check(&self) -> Checked {
        percentile("attempt.adaptive.percentile", self.percentile)?;
        let good = self.factor > 1.0 && self.factor <= 100.0;
        check(
            "attempt.adaptive.factor",
            good,
            "must be above 1, so that the limit can grow, and at most 100",
        )?;
        above_zero("attempt.adaptive.floor", self.floor)?;
        check(
            "attempt.adaptive.ceiling",
            self.ceiling >= self.floor,
            "must be at least as long as `floor`",
        )?;
        at_least_one("attempt.adaptive.min_samples", self.min_samples)?;
        check(
            "attempt.adaptive.half_life",
            self.half_life >= Duration::from_secs(1),
            "must be at least 1 s",
        )
    }
}

impl RetrySettings {
    fn check(&self) -> Checked {
        check(
            "retry.attempts",
            (1..=MAX_ATTEMPTS).contains(&self.attempts),
            format!("must be 1 to {MAX_ATTEMPTS}"),
        )?;
        above_zero("retry.base", self.base)?;
        check(
            "retry.cap",
            self.cap >= self.base,
            "must be at least as long as `base`",
        )?;
        self.budget.check()
    }
}

impl BudgetSettings {
    fn check(&self) -> Checked {
        check(
            "retry.budget.share",
            (0.0..=10.0).contains(&self.share),
            "must be 0 to 10",
        )?;
        check(
            "retry.budget.per_second",
            (0.0..=1e9).contains(&self.per_second),
            "must be 0 to 1e9",
        )?;
        let good = (SHORTEST_BUDGET_WINDOW..=LONGEST_BUDGET_WINDOW).contains(&self.window);
        check("retry.budget.window", good, "must be 1 s to 60 s")
    }
}

impl BreakerSettings {
    fn check(&self) -> Checked {
        at_least_one("breaker.consecutive", self.consecutive.into())?;
        let good = self.rate > 0.0 && self.rate <= 1.0;
        check("breaker.rate", good, "must be above 0 and at most 1")?;
        at_least_one("breaker.min_calls", self.min_calls.into())?;
        let window = Duration::from_millis(100)..=Duration::from_secs(600);
        check(
            "breaker.window",
            window.contains(&self.window),
            "must be 100 ms to 10 minutes",
        )?;
        above_zero("breaker.open", self.open)?;
        check(
            "breaker.max_open",
            self.max_open >= self.open,
            "must be at least as long as `open`",
        )?;
        at_least_one("breaker.probes", self.probes.into())
    }
}

impl BulkheadSettings {
    fn check(&self) -> Checked {
        at_least_one("bulkhead.concurrency", self.concurrency.into())
    }
}

impl HedgeSettings {
    fn check(&self) -> Checked {
        percentile("hedge.percentile", self.percentile)?;
        at_least_one("hedge.min_samples", self.min_samples)
    }
}

impl ShedSettings {
    fn check(&self) -> Checked {
        percentile("shed.percentile", self.percentile)?;
        at_least_one("shed.min_samples", self.min_samples)
    }
}

impl RateSettings {
    fn check(&self) -> Checked {
        let good = self.per_second > 0.0 && self.per_second <= 1e9;
        check("rate.per_second", good, "must be above 0 and at most 1e9")?;
        at_least_one("rate.burst", self.burst.into())
    }
}
