//! What a policy is set to: plain data, from code or from a file.
//!
//! Everything has a default, and everything that is `None` is off. [`CallPolicy::new`](crate::CallPolicy::new) checks
//! what it is given and names the setting that makes no sense; a file goes through the same check.

mod check;
pub(crate) mod span;
mod switch;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use check::{BadSetting, LONGEST_BUDGET_WINDOW, MAX_ATTEMPTS, SHORTEST_BUDGET_WINDOW};

/// What a [`CallPolicy`](crate::CallPolicy) does with a call. The defaults: three attempts inside a budget, and a
/// breaker where something else can be done than to ask that callee.
///
/// In a file each field is a key of the policy's table, and each group a table below it; spans are texts like
/// `"250ms"`, `"1.5s"`, `"2m"`. What can be `None` is switched off by `false` there, and a group is switched on with its
/// defaults by `true`: `retry = false`, `hedge = true`.
///
/// ```
/// use std::time::Duration;
/// use callboard_supervision::{CallPolicy, CallSettings, RetrySettings};
///
/// let settings = CallSettings {
///     deadline: Some(Duration::from_millis(500)),
///     retry: Some(RetrySettings { attempts: 4, ..RetrySettings::default() }),
///     ..CallSettings::default()
/// };
/// let ledger = CallPolicy::new("ledger", settings)?;
/// println!("{}", ledger.explain());
/// # Ok::<(), callboard_supervision::BadSetting>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallSettings {
    /// How long a request may take with all its attempts and waits; at most what the ask says and what the request
    /// in hand has left (G9). `None`: only those.
    #[serde(with = "span::optional", skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Duration>,
    /// How long one attempt may take.
    pub attempt: AttemptSettings,
    /// Whether and how a failed attempt is followed by another.
    #[serde(with = "switch")]
    pub retry: Option<RetrySettings>,
    /// When a callee that fails is left alone for a time.
    #[serde(with = "switch")]
    pub breaker: Option<BreakerSettings>,
    /// How many calls may be under way at once.
    #[serde(with = "switch", skip_serializing_if = "Option::is_none")]
    pub bulkhead: Option<BulkheadSettings>,
    /// Whether a slow attempt is joined by a second one.
    #[serde(with = "switch", skip_serializing_if = "Option::is_none")]
    pub hedge: Option<HedgeSettings>,
    /// Whether calls that would come too late anyway are refused at once.
    #[serde(with = "switch", skip_serializing_if = "Option::is_none")]
    pub shed: Option<ShedSettings>,
    /// How many attempts a second there may be.
    #[serde(with = "switch", skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateSettings>,
}

impl Default for CallSettings {
    fn default() -> Self {
        CallSettings {
            retry: Some(RetrySettings::default()),
            breaker: Some(BreakerSettings::default()),
            ..CallSettings::nothing()
        }
    }
}

impl CallSettings {
    /// All off: a call is one ask, counted.
    #[must_use]
    pub fn nothing() -> Self {
        CallSettings {
            deadline: None,
            attempt: AttemptSettings::default(),
            retry: None,
            breaker: None,
            bulkhead: None,
            hedge: None,
            shed: None,
            rate: None,
        }
    }

    /// Whether something needs to know how long calls take.
    pub(crate) fn measures(&self) -> bool {
        self.attempt.adaptive.is_some() || self.hedge.is_some() || self.shed.is_some()
    }
}

/// How long one attempt may take: the least of what is given here and what is left of the request.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AttemptSettings {
    /// So long at most.
    #[serde(with = "span::optional", skip_serializing_if = "Option::is_none")]
    pub limit: Option<Duration>,
    /// That share of what is left of the request's deadline when the attempt begins: above 0, at most 1. With 0.5 the
    /// first attempt gets half of it, the second half of the rest.
    #[serde(with = "switch::number", skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// From how long calls of that callee take.
    #[serde(with = "switch", skip_serializing_if = "Option::is_none")]
    pub adaptive: Option<AdaptiveSettings>,
}

/// A time limit that is taken from a percentile of how long calls of a callee take, and not from their average, which
/// the rare slow ones hide behind: choose how many good answers you are ready to give up, 1 in 100, and wait for as
/// long as the other 99 take (Brooker, "Timeouts, retries and backoff with jitter", Amazon Builders' Library 2019).
///
/// The limit is `factor` times that percentile, between `floor` and `ceiling`. A call that timed out is counted as
/// having taken at least its limit, and `factor` is above 1, so when a callee slows down the limit grows with it
/// instead of declaring ever more of its answers late.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdaptiveSettings {
    /// Whether it is only shown, or also used.
    pub mode: AdaptiveMode,
    /// Which percentile: above 0, below 100.
    pub percentile: f64,
    /// How many times as long: above 1, at most 100.
    pub factor: f64,
    /// Never less than that; above 0.
    #[serde(with = "span")]
    pub floor: Duration,
    /// Never more than that, and used while there are too few samples.
    #[serde(with = "span")]
    pub ceiling: Duration,
    /// How many calls must have been measured first; at least 1.
    pub min_samples: u64,
    /// After that time a measured call counts half; at least 1 s.
    #[serde(with = "span")]
    pub half_life: Duration,
}

impl Default for AdaptiveSettings {
    fn default() -> Self {
        AdaptiveSettings {
            mode: AdaptiveMode::default(),
            percentile: 99.0,
            factor: 2.0,
            floor: Duration::from_millis(10),
            ceiling: Duration::from_secs(10),
            min_samples: 200,
            half_life: Duration::from_secs(60),
        }
    }
}

/// What an adaptive time limit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdaptiveMode {
    /// [`explain`](crate::CallPolicy::explain) shows what it would be.
    #[default]
    Propose,
    /// Attempts have it.
    Follow,
}

/// Whether and how a failed attempt is followed by another (G17).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetrySettings {
    /// How many attempts a request has, the first included: 1 to [`MAX_ATTEMPTS`]. Three are the field's usual cap
    /// (SRE book; AWS SDKs): more seldom helps, and layers multiply.
    pub attempts: u32,
    /// How waits between attempts are drawn.
    pub jitter: Jitter,
    /// The longest the first wait can be, or with [`Jitter::Decorrelated`] the shortest of all; above 0.
    #[serde(with = "span")]
    pub base: Duration,
    /// The longest any wait can be; at least `base`. Only the callee's own `retry_after` can be longer.
    #[serde(with = "span")]
    pub cap: Duration,
    /// How much all retries together may be.
    pub budget: BudgetSettings,
}

impl Default for RetrySettings {
    fn default() -> Self {
        RetrySettings {
            attempts: 3,
            jitter: Jitter::default(),
            base: Duration::from_millis(50),
            cap: Duration::from_secs(1),
            budget: BudgetSettings::default(),
        }
    }
}

/// How the wait before an attempt is drawn, so that callers that failed together don't come back together (Brooker,
/// "Exponential Backoff And Jitter", 2015).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Jitter {
    /// Evenly from zero to `min(cap, base * 2^n)`.
    #[default]
    Full,
    /// Evenly from `base` to three times the wait before, at most `cap`.
    Decorrelated,
}

/// How much all retries of one callee in this process may be together (G17): at every retry, those of the last
/// `window` are at most `share` of the requests of the same window plus `per_second` for each of its seconds. The
/// rule is Finagle's; the count is shared by all policies, each with its own limit on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetSettings {
    /// Retries per request: 0.2 is 20 %; 0 to 10.
    pub share: f64,
    /// Retries a second besides, so that a quiet caller can retry at all; at least 0.
    pub per_second: f64,
    /// Over which time: [`SHORTEST_BUDGET_WINDOW`] to [`LONGEST_BUDGET_WINDOW`].
    #[serde(with = "span")]
    pub window: Duration,
}

impl Default for BudgetSettings {
    fn default() -> Self {
        BudgetSettings {
            share: 0.2,
            per_second: 10.0,
            window: Duration::from_secs(10),
        }
    }
}

/// When a callee that fails is left alone for a time, and how it is tried again.
///
/// It opens after `consecutive` failures in a row, or when of at least `min_calls` attempts within `window` at least
/// `rate` failed. Then attempts are refused at once, for `open`; after that `probes` attempts may try. If all of
/// them succeed it closes, else it is open again, for twice as long each time, `max_open` at most (Envoy's outlier
/// detection and Pekko's breaker have these rules).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerSettings {
    /// Whether it may act.
    pub mode: BreakerMode,
    /// So many failures in a row open it; at least 1.
    pub consecutive: u32,
    /// That share of failures opens it: above 0, at most 1.
    pub rate: f64,
    /// But only of so many attempts; at least 1.
    pub min_calls: u32,
    /// Within that time: 100 ms to 10 minutes.
    #[serde(with = "span")]
    pub window: Duration,
    /// How long it is open for the first time; above 0.
    #[serde(with = "span")]
    pub open: Duration,
    /// How long it is open at most; at least `open`.
    #[serde(with = "span")]
    pub max_open: Duration,
    /// How many attempts try a callee that was left alone; at least 1.
    pub probes: u32,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        BreakerSettings {
            mode: BreakerMode::default(),
            consecutive: 5,
            rate: 0.5,
            min_calls: 20,
            window: Duration::from_secs(10),
            open: Duration::from_secs(1),
            max_open: Duration::from_secs(60),
            probes: 1,
        }
    }
}

/// Whether a breaker may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BreakerMode {
    /// Where there is something else to do: the call has a fallback, or the policy has more than one callee. With one
    /// callee and no fallback an open breaker only turns a call that might succeed into one that can't (Finagle
    /// advises to switch fail-fast off for a single host).
    #[default]
    Auto,
    /// Always.
    Always,
}

/// How many attempts may be under way at once, so that one slow callee doesn't take all there is of something (Nygard,
/// "Release It!", 2007).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BulkheadSettings {
    /// So many at once; at least 1.
    pub concurrency: u32,
    /// So many more wait, in the order they came, within their deadlines; 0: none waits.
    pub queue: u32,
}

impl Default for BulkheadSettings {
    fn default() -> Self {
        BulkheadSettings {
            concurrency: 64,
            queue: 64,
        }
    }
}

/// A second attempt beside one that takes longer than most, of which the first answer counts (Dean and Barroso, "The
/// Tail at Scale", 2013). Only for what may run twice: keyed requests and [`Idempotent`](crate::Idempotent) types. It
/// is charged to the retry budget, and the loser is withdrawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HedgeSettings {
    /// After the time within which that percentile of calls is answered: above 0, below 100.
    pub percentile: f64,
    /// But never before that.
    #[serde(with = "span")]
    pub at_least: Duration,
    /// How many calls must have been measured first; at least 1.
    pub min_samples: u64,
}

impl Default for HedgeSettings {
    fn default() -> Self {
        HedgeSettings {
            percentile: 95.0,
            at_least: Duration::from_millis(1),
            min_samples: 200,
        }
    }
}

/// A call whose remaining time is less than calls usually take is refused at once: it would only be work for nobody.
/// Where no call was measured for a second, one is let through all the same, to see whether the callee is well again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShedSettings {
    /// What usually means: the time within which that percentile of calls is answered; above 0, below 100.
    pub percentile: f64,
    /// How many calls must have been measured first; at least 1.
    pub min_samples: u64,
}

impl Default for ShedSettings {
    fn default() -> Self {
        ShedSettings {
            percentile: 50.0,
            min_samples: 200,
        }
    }
}

/// How many attempts a second there may be, evenly with bursts (the leaky bucket of ITU-T I.371, as GCRA).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateSettings {
    /// So many on average: above 0, at most 1e9.
    pub per_second: f64,
    /// So many at once after a quiet time; at least 1.
    pub burst: u32,
    /// How long an attempt may wait for its turn, within its deadline; zero: it is refused.
    #[serde(with = "span")]
    pub wait: Duration,
}

impl Default for RateSettings {
    fn default() -> Self {
        RateSettings {
            per_second: 1_000.0,
            burst: 100,
            wait: Duration::ZERO,
        }
    }
}
