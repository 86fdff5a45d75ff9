use callboard_core::{Failure, FailureKind, Verdict, codec};

use super::{Answer, Why};

#[test]
fn an_answer_crosses_a_boundary_with_its_reason() {
    let failure =
        Failure::new(FailureKind::DeadlineExceeded, Verdict::MaybeExecuted).with_detail("metadata");
    let why = Why::new("related pages", &failure);
    assert_eq!(
        why.to_string(),
        "without related pages: deadline exceeded: metadata"
    );
    let degraded = Answer::Degraded(vec![1u8], why).map(|list| list.len());
    let bytes = codec::encode(&degraded).unwrap();
    assert_eq!(codec::decode::<Answer<usize>>(&bytes), Ok(degraded.clone()));
    assert!(degraded.is_degraded());
    assert_eq!(*degraded.value(), 1);
    assert_eq!(Answer::Full(2).why(), None);
}
