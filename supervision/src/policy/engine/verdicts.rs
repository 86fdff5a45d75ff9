//! What a failure means: whether another attempt may follow, whose fault it is, and what all of them come to.

use callboard_core::{Failure, FailureKind, Verdict};

/// Whether another attempt can do no harm, and may help (G17).
pub(super) fn may_retry(failure: &Failure, repeatable: bool) -> bool {
    may_help(failure.kind()) && (failure.verdict().is_safe_to_resend() || repeatable)
}

/// Whether the next attempt could meet something else.
fn may_help(kind: FailureKind) -> bool {
    !matches!(
        kind,
        FailureKind::Withdrawn
            | FailureKind::UnknownName
            | FailureKind::UnknownType
            | FailureKind::WrongVersion
            | FailureKind::BadPayload
            | FailureKind::TooLarge
            | FailureKind::NotAuthorised
            | FailureKind::KeyReused
            | FailureKind::Indeterminate
            | FailureKind::OnArbiter
            | FailureKind::Cycle
    )
}

/// Whom a failure speaks against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// The callee, or what lies on the way to it.
    Callee,
    /// Nobody: the request itself can't be served.
    Nobody,
}

/// What the same request would meet again anywhere says nothing about the callee.
pub(super) fn blame(failure: &Failure) -> Blame {
    if may_help(failure.kind()) {
        Blame::Callee
    } else {
        Blame::Nobody
    }
}

/// The failure of a request of several attempts.
pub(super) fn summed_up(failure: Failure, worst: Verdict, attempts: u32) -> Failure {
    // Also after one attempt: what ended the request may be a refusal to send another.
    let worst = worst.max(failure.verdict());
    let failure = failure.with_verdict(worst);
    if attempts <= 1 {
        return failure;
    }
    let detail = match failure.detail() {
        Some(detail) => format!("{detail}, after {attempts} attempts"),
        None => format!("after {attempts} attempts"),
    };
    failure.with_detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// G17's table, every kind by every verdict.
    #[test]
    fn g17_the_verdict_table() {
        let verdicts = [
            Verdict::NotSent,
            Verdict::NotExecuted,
            Verdict::MaybeExecuted,
            Verdict::Executed,
        ];
        let finals = [
            FailureKind::Withdrawn,
            FailureKind::UnknownName,
            FailureKind::UnknownType,
            FailureKind::WrongVersion,
            FailureKind::BadPayload,
            FailureKind::TooLarge,
            FailureKind::NotAuthorised,
            FailureKind::KeyReused,
            FailureKind::Indeterminate,
            FailureKind::OnArbiter,
            FailureKind::Cycle,
        ];
        for kind in FailureKind::ALL {
            for verdict in verdicts {
                let failure = Failure::new(kind, verdict);
                let is_final = finals.contains(&kind);
                let safe = matches!(verdict, Verdict::NotSent | Verdict::NotExecuted);
                assert_eq!(may_retry(&failure, false), safe && !is_final, "{failure}");
                assert_eq!(may_retry(&failure, true), !is_final, "{failure}");
                let callee = blame(&failure) == Blame::Callee;
                assert_eq!(callee, !is_final, "{failure}");
            }
        }
    }

    #[test]
    fn g17_the_error_at_the_end_has_the_worst_verdict_and_says_how_many_attempts() {
        let last = Failure::new(FailureKind::Full, Verdict::NotSent).with_detail("till");
        let failure = summed_up(last.clone(), Verdict::MaybeExecuted, 3);
        assert_eq!(failure.verdict(), Verdict::MaybeExecuted);
        assert_eq!(failure.detail(), Some("till, after 3 attempts"));
        assert_eq!(summed_up(last.clone(), Verdict::NotSent, 1), last);
        let refused = summed_up(last, Verdict::MaybeExecuted, 1);
        assert_eq!(refused.verdict(), Verdict::MaybeExecuted);
    }
}
