use super::settings::AdaptiveSettings;
use callboard_core::clock::Instant;
use serde::Serialize;
use std::fmt;
use std::time::Duration;
pub(crate) struct Latency;
#[derive(Debug, Clone, Serialize)]
pub struct LatencySummary;
impl fmt::Display for LatencySummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "?")
    }
}
impl Latency {
    pub(crate) fn new() -> Self {
        Latency
    }
    pub(crate) fn record(&self, _: Instant, _: Duration, _: Duration) {}
    pub(crate) fn timed_out(&self, _: Instant, _: Duration, _: Duration) {}
    pub(crate) fn percentile(&self, _: f64, _: u64) -> Option<Duration> {
        None
    }
    pub(crate) fn limit(&self, _: &AdaptiveSettings) -> Option<Duration> {
        None
    }
    pub(crate) fn summary(&self) -> Option<LatencySummary> {
        None
    }
}
