//! What follows a failed attempt: another one after a wait, or none.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use callboard_core::clock::Instant;
use callboard_core::{Failure, FailureKind, Verdict};

use super::super::aim::Aim;
use super::super::settings::{BudgetSettings, Jitter, RetrySettings};
use super::super::stats::count;
use super::verdicts::may_retry;
use super::{Engine, Moved, Step};
use crate::tree::backoff;

impl<A, M, F> Engine<A, M, F>
where
    A: Aim<Message = M, Attempt = F>,
    F: Future<Output = Result<A::Reply, A::Error>> + Unpin,
{
    /// An attempt has failed: another one later, or the end.
    #[cold]
    pub(super) fn failed(&mut self, failure: Failure) -> Result<Moved<A>, Failure> {
        self.worst = self.worst.max(failure.verdict());
        let Some(wait) = self.next_wait(&failure) else {
            return Err(failure);
        };
        tracing::debug!(
            target: "callboard::policy",
            policy = %self.request.live.name, callee = %self.callee().label,
            attempt = self.attempts, %failure, ?wait, "trying again"
        );
        self.waited = wait;
        self.step = Step::Between(self.clock().sleep(wait), failure);
        Ok(Moved::Polls)
    }

    /// The deadline passed before an attempt could begin.
    #[cold]
    pub(super) fn too_late(&self, what: &str) -> Failure {
        let callee = &self.callee().label;
        let policy = &self.request.live.name;
        Failure::new(FailureKind::DeadlineExceeded, Verdict::NotSent)
            .with_detail(format!("{callee}, {what} under policy `{policy}`"))
    }

    /// How long to wait before the next attempt; `None` if there is none.
    fn next_wait(&self, failure: &Failure) -> Option<Duration> {
        let live = Arc::clone(&self.request.live);
        let retry = live.settings.retry.as_ref()?;
        let counters = &self.callee().counters;
        if self.attempts >= retry.attempts || !may_retry(failure, self.request.repeatable) {
            return None;
        }
        if self.request.caller_retries {
            count(&counters.caller_retries);
            return None;
        }
        let now = self.clock().now();
        let asked_for = failure.retry_after().unwrap_or_default();
        let wait = self.draw(retry).saturating_add(asked_for);
        if !self.is_in_time(now + wait) {
            count(&counters.out_of_time);
            return None;
        }
        self.pay(now).then_some(wait)
    }

    /// A wait by the jitter that is set.
    fn draw(&self, retry: &RetrySettings) -> Duration {
        let entropy = self.aim.system().entropy();
        match retry.jitter {
            Jitter::Full => {
                entropy.jitter(backoff::ceiling(retry.base, retry.cap, self.attempts - 1))
            }
            Jitter::Decorrelated => {
                let most = self.waited.max(retry.base).saturating_mul(3);
                (retry.base + entropy.jitter(most - retry.base)).min(retry.cap)
            }
        }
    }

    /// Takes an attempt that is not the first out of the budget.
    pub(super) fn pay(&self, now: Instant) -> bool {
        let live = &self.request.live;
        let budget = live.settings.retry.as_ref().map(|retry| &retry.budget);
        let default = BudgetSettings::default();
        let paid = self.callee().ledger.take(now, budget.unwrap_or(&default));
        if !paid {
            count(&self.callee().counters.over_budget);
        }
        paid
    }
}
