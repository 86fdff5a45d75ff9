//! What a policy itself refuses: certainly not sent, and not tried again by it.

use std::time::Duration;

use callboard_core::{Failure, FailureKind, Verdict};

/// Which part of the policy refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    Breaker,
    Rate,
    Bulkhead,
    Shed,
}

impl Gate {
    fn text(self) -> &'static str {
        match self {
            Gate::Breaker => "its breaker is open",
            Gate::Rate => "more would be over its rate",
            Gate::Bulkhead => "as many as may be are under way",
            Gate::Shed => "less time is left than calls usually take",
        }
    }
}

/// A refusal, with the time after which it may be otherwise.
#[cold]
pub(super) fn refusal(
    policy: &str,
    callee: &str,
    gate: Gate,
    retry_after: Option<Duration>,
) -> Failure {
    let failure = Failure::new(FailureKind::Overloaded, Verdict::NotSent).with_detail(format!(
        "policy `{policy}` refuses to ask {callee}: {}",
        gate.text()
    ));
    match retry_after {
        Some(span) => failure.with_retry_after(span),
        None => failure,
    }
}
