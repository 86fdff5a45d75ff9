use super::settings::RateSettings;
use callboard_core::clock::Instant;
use std::time::Duration;
pub(crate) struct Rate;
impl Rate {
    pub(crate) fn new() -> Self {
        Rate
    }
    pub(crate) fn take(&self, _: Instant, _: &RateSettings) -> Result<(), Duration> {
        Ok(())
    }
    pub(crate) fn reserve(&self, _: Instant, _: &RateSettings) -> Result<Duration, Duration> {
        Ok(Duration::ZERO)
    }
}
