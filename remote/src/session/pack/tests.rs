use proptest::prelude::*;

use super::*;

#[test]
fn what_gains_less_than_a_tenth_stays_as_it_is() {
    // All different: nothing to gain.
    let plain: Vec<u8> = (0..=255).collect();
    let mut frame = plain.clone();
    assert!(!pack(&mut frame, 0));
    assert_eq!(frame, plain);
}

#[test]
fn what_does_not_shrink_is_tried_less_and_less_and_never_given_up() {
    let worth = Worth::default();
    let tried = |count: usize, shrinks: bool| -> Vec<usize> {
        let tried = |_: &usize| {
            let mut tried = false;
            let packed = worth.attempt(|| {
                tried = true;
                shrinks
            });
            assert_eq!(packed, tried && shrinks);
            tried
        };
        (0..count).filter(tried).collect()
    };
    // As long as it helps, each.
    assert_eq!(tried(5, true), [0, 1, 2, 3, 4]);
    // The first doesn't say much; then one of 2, of 4, of 8.
    assert_eq!(tried(40, false), [0, 1, 3, 7, 15, 23, 31, 39]);
    // And all again once one has shrunk.
    assert_eq!(tried(10, true), [7, 8, 9]);
}

#[test]
fn g36_a_length_that_lz4_can_not_reach_takes_no_memory() {
    let mut lie = u32::MAX.to_be_bytes().to_vec();
    lie.extend([0; 10]);
    let error = unpack(&lie, u32::MAX).unwrap_err();
    assert_eq!(error.kind(), FailureKind::BadPayload);
    assert!(unpack(&lie, 1_000).is_err());
    assert!(unpack(&[0, 0], 1_000).is_err());
}

proptest! {
    #[test]
    fn what_is_packed_is_unpacked(
        before in proptest::collection::vec(any::<u8>(), 0..20),
        piece in proptest::collection::vec(any::<u8>(), 1..30),
        times in 1..200_usize,
    ) {
        let plain = piece.repeat(times);
        let mut frame = before.clone();
        frame.extend(&plain);
        if pack(&mut frame, before.len()) {
            prop_assert!(frame.len() - before.len() <= plain.len() * 9 / 10);
            prop_assert_eq!(&frame[..before.len()], &before[..]);
            let max = u32::try_from(plain.len()).unwrap();
            prop_assert_eq!(unpack(&frame[before.len()..], max).unwrap(), plain);
            prop_assert!(unpack(&frame[before.len()..], max - 1).is_err());
        } else {
            prop_assert_eq!(&frame[before.len()..], &plain[..]);
        }
    }

    #[test]
    fn g36_hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(plain) = unpack(&bytes, 10_000) {
            prop_assert!(plain.len() <= 10_000);
        }
    }
}
