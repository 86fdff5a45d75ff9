use proptest::prelude::*;

use super::*;

fn key() -> RequestKey {
    "0190163d-8694-739b-aea5-966c26f8ad91".parse().unwrap()
}

fn request() -> Request<'static> {
    Request {
        remaining: Some(Duration::from_millis(2)),
        attempt: 3,
        key: Some(key()),
        caller_retries: true,
        name: "counter",
        type_name: "counter.add",
        version: 1,
        payload: &[0xA5],
    }
}

fn encode(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out);
    out
}

/// Golden bytes: what version 1 looks like, for ever.
#[test]
fn g37_a_request_looks_like_this() {
    let mut expected = vec![0, 0, 0, 0, 0, 0, 0x07, 0xD0];
    expected.extend([0, 0, 0, 3, 0, 0, 0, 1]);
    expected.extend(key().as_uuid().into_bytes());
    expected.push(7);
    expected.extend(b"counter");
    expected.push(11);
    expected.extend(b"counter.add");
    expected.push(0xA5);
    let request = request();
    assert_eq!(request.flags(), 3);
    assert_eq!(encode(|out| request.put(out)), expected);
    assert_eq!(Request::decode(Kind::Ask, 3, &expected), Ok(request));
}

#[test]
fn g37_other_bodies_look_like_this() {
    let failure = Failure::new(FailureKind::UnknownName, Verdict::NotExecuted).with_detail("x");
    let body = encode(|out| put_failure(out, &failure));
    assert_eq!(body, [7, 2, 0, 0, 0, 0, 0, 1, b'x']);
    assert_eq!(decode_failure(&body), Ok(failure));
    let failure = Failure::new(FailureKind::Overloaded, Verdict::NotExecuted)
        .with_retry_after(Duration::from_micros(257_001));
    let body = encode(|out| put_failure(out, &failure));
    assert_eq!(
        body,
        [15, 2, 0, 0, 1, 2, 0, 0],
        "rounded up, so that nobody is early"
    );
    let decoded = decode_failure(&body).unwrap();
    assert_eq!(decoded.retry_after(), Some(Duration::from_millis(258)));
    let subscribe = Subscribe {
        version: 1,
        options: SubscriberOptions {
            capacity: 258,
            policy: SlowSubscriber::DropNewest,
        },
        name: "v",
        type_name: "t",
        pattern: "a.>",
    };
    let body = encode(|out| subscribe.put(out));
    let expected = [
        0, 0, 0, 1, 0, 0, 1, 2, 1, b'v', 1, b't', 0, 3, b'a', b'.', b'>',
    ];
    assert_eq!(body, expected);
    assert_eq!(Subscribe::decode(1, &body, 1_000), Ok(subscribe));
    let event = Event {
        sequence: 9,
        subject: "a.b",
        payload: &[1],
    };
    let body = encode(|out| event.put(out));
    assert_eq!(body, [0, 0, 0, 0, 0, 0, 0, 9, 0, 3, b'a', b'.', b'b', 1]);
    assert_eq!(Event::decode(&body), Ok(event));
    let body = encode(|out| put_gap(out, 1, 2));
    assert_eq!(body, [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
    assert_eq!(decode_gap(&body), Ok((1, 2)));
    let body = encode(|out| put_subscribed(out, 3));
    assert_eq!(body, [0, 0, 0, 0, 0, 0, 0, 3]);
    assert_eq!(decode_subscribed(&body), Ok(3));
}

#[test]
fn every_failure_round_trips() {
    let verdicts = [
        Verdict::NotSent,
        Verdict::NotExecuted,
        Verdict::MaybeExecuted,
        Verdict::Executed,
    ];
    for kind in FailureKind::ALL {
        for verdict in verdicts {
            let failure = Failure::new(kind, verdict);
            let body = encode(|out| put_failure(out, &failure));
            assert_eq!(decode_failure(&body), Ok(failure));
        }
    }
}

#[test]
fn g37_a_failure_of_a_newer_peer_is_understood_as_what_is_safe() {
    let failure = decode_failure(&[200, 9, 0, 0, 0, 0, 0, 1, b'x']).unwrap();
    assert_eq!(failure.kind(), FailureKind::NoAnswer);
    assert_eq!(failure.verdict(), Verdict::MaybeExecuted);
    assert_eq!(
        failure.detail(),
        Some("failure kind 200 of a newer peer: x")
    );
}

#[test]
fn g09_remaining_time_is_rounded_up_and_none_is_none() {
    let micros = |remaining| u64::from_be_bytes(encode_remaining(remaining));
    assert_eq!(micros(Some(Duration::from_nanos(1))), 1);
    assert_eq!(micros(Some(Duration::ZERO)), 0);
    assert_eq!(micros(Some(Duration::MAX)), u64::MAX - 1);
    assert_eq!(micros(None), u64::MAX);
}

#[test]
fn g36_bad_fields_are_named() {
    let body = encode(|out| request().put(out));
    let bad = |field| {
        let frame = "ask";
        Err(WireError::BadField { frame, field })
    };
    assert_eq!(Request::decode(Kind::Ask, 4, &body), bad("flag"));
    let mut zero = body.clone();
    zero[11] = 0;
    assert_eq!(Request::decode(Kind::Ask, 3, &zero), bad("attempt"));
    let mut control = body.clone();
    control[33] = b'\n';
    assert_eq!(Request::decode(Kind::Ask, 3, &control), bad("name"));
    let mut utf8 = body;
    utf8[33] = 0xFF;
    assert_eq!(Request::decode(Kind::Ask, 3, &utf8), bad("name"));
    assert!(decode_gap(&encode(|out| put_gap(out, 2, 1))).is_err());
    assert!(decode_nothing(Kind::Cancel, &[0]).is_err());
    let body = encode(|out| put_gap(out, 1, 2));
    assert_eq!(
        decode_subscribed(&body),
        Err(WireError::LeftOver("subscribed"))
    );
}

#[test]
fn g36_a_body_cut_short_is_an_error_at_every_byte() {
    let body = encode(|out| request().put(out));
    // From the payload's first byte on it is a request with a shorter payload.
    for cut in 0..body.len() - 1 {
        let error = Request::decode(Kind::Ask, 3, &body[..cut]);
        assert_eq!(error, Err(WireError::Truncated("ask")), "cut at {cut}");
    }
}

#[test]
fn g03_a_subscriber_gets_no_larger_buffer_than_the_node_allows() {
    let mut subscribe = Subscribe {
        version: 1,
        options: SubscriberOptions::default(),
        name: "v",
        type_name: "t",
        pattern: ">",
    };
    for (wanted, given) in [(0, 1), (5, 5), (1_000_000, 100)] {
        subscribe.options.capacity = wanted;
        let body = encode(|out| subscribe.put(out));
        let decoded = Subscribe::decode(0, &body, 100).unwrap();
        assert_eq!(decoded.options.capacity, given);
    }
}

proptest! {
    #[test]
    fn any_request_round_trips(
        micros in proptest::option::of(0..u64::MAX - 1),
        attempt in 1..=u32::MAX,
        keyed in any::<bool>(),
        caller_retries in any::<bool>(),
        name in "\\PC{1,60}",
        type_name in "[a-z.]{1,255}",
        version in any::<u32>(),
        payload in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let request = Request {
            remaining: micros.map(Duration::from_micros),
            attempt,
            key: keyed.then(key),
            caller_retries,
            name: &name,
            type_name: &type_name,
            version,
            payload: &payload,
        };
        let body = encode(|out| request.put(out));
        prop_assert_eq!(Request::decode(Kind::Tell, request.flags(), &body), Ok(request));
    }

    #[test]
    fn g36_hostile_bytes_never_panic(
        flags in any::<u8>(),
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = Request::decode(Kind::Ask, flags, &body);
        let _ = Request::decode(Kind::Ask, 0, &body);
        let _ = Request::decode(Kind::Ask, KEYED, &body);
        let _ = decode_failure(&body);
        let _ = Subscribe::decode(flags, &body, 10);
        let _ = Subscribe::decode(0, &body, 10);
        let _ = Event::decode(&body);
        let _ = decode_gap(&body);
        let _ = decode_subscribed(&body);
    }
}
