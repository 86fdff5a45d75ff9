use super::settings::BreakerSettings;
use callboard_core::clock::Instant;
use serde::Serialize;
use std::fmt;
use std::time::Duration;
#[derive(Default)]
pub(crate) struct Breaker;
pub(crate) struct Refusal {
    pub(crate) retry_after: Duration,
}
#[derive(Clone, Copy)]
pub(crate) struct Pass;
pub(crate) enum Ended {
    Good,
    Failed,
    Nothing,
}
#[derive(Debug, Clone, Serialize)]
pub enum BreakerState {
    Closed,
}
impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "closed")
    }
}
impl Breaker {
    pub(crate) fn new() -> Self {
        Breaker
    }
    pub(crate) fn look(&self, _: Instant, _: &BreakerSettings) -> Result<(), Refusal> {
        Ok(())
    }
    pub(crate) fn enter(&self, _: Instant, _: &BreakerSettings) -> Result<Pass, Refusal> {
        Ok(Pass)
    }
    pub(crate) fn ended(&self, _: Pass, _: Instant, _: &BreakerSettings, _: Ended) {}
    pub(crate) fn state(&self, _: Instant) -> BreakerState {
        BreakerState::Closed
    }
}
