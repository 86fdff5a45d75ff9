use callboard_core::{Failure, FailureKind, Verdict};

use super::may_retry;

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
    ];
    for kind in FailureKind::ALL {
        for verdict in verdicts {
            let failure = Failure::new(kind, verdict);
            let is_final = finals.contains(&kind);
            let safe = matches!(verdict, Verdict::NotSent | Verdict::NotExecuted);
            assert_eq!(may_retry(&failure, false), safe && !is_final, "{failure}");
            assert_eq!(may_retry(&failure, true), !is_final, "{failure}");
        }
    }
}
