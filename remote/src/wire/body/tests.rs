use proptest::prelude::*;

use super::*;

fn key() -> RequestKey {
    "0190163d-8694-739b-aea5-966c26f8ad91".parse().unwrap()
}

fn request() -> Request {
    Request {
        slot: 258,
        remaining: Some(Duration::from_millis(2)),
        attempt: 3,
        key: Some(key()),
        caller_retries: true,
        trace: Some([9; 25]),
    }
}

const EVERY: u8 = KEYED | CALLER_RETRIES | TIMED | RETRIED | TRACED;

fn encode(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out);
    out
}

/// Golden bytes: what version 2 looks like, for ever.
#[test]
fn g37_a_request_looks_like_this() {
    let mut expected = vec![0, 0, 1, 2];
    expected.extend([0, 0, 0, 0, 0, 0, 0x07, 0xD0]);
    expected.extend([0, 0, 0, 3]);
    expected.extend(key().as_uuid().into_bytes());
    expected.extend([9; 25]);
    expected.push(0xA5);
    let request = request();
    assert_eq!(request.flags(), EVERY);
    let mut body = encode(|out| request.put(out));
    body.push(0xA5);
    assert_eq!(body, expected);
    let read = Request::decode(Kind::Ask, EVERY, &body);
    assert_eq!(read, Ok((request, &[0xA5][..])));
}

#[test]
fn g37_a_plain_request_is_its_slot_and_its_payload() {
    let plain = Request {
        slot: 7,
        remaining: None,
        attempt: 1,
        key: None,
        caller_retries: false,
        trace: None,
    };
    assert_eq!(plain.flags(), 0);
    assert_eq!(encode(|out| plain.put(out)), [0, 0, 0, 7]);
    let read = Request::decode(Kind::Tell, 0, &[0, 0, 0, 7, 1, 2]);
    assert_eq!(read, Ok((plain, &[1, 2][..])));
}

#[test]
fn g37_a_slot_is_opened_like_this() {
    let open = Open {
        version: 2,
        schemas: (3, 4),
        name: "counter",
        type_name: "add",
    };
    let mut expected = vec![0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4];
    expected.push(7);
    expected.extend(b"counter");
    expected.push(3);
    expected.extend(b"add");
    assert_eq!(encode(|out| open.put(out)), expected);
    assert_eq!(Open::decode(&expected), Ok(open));
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
    let number = decode_number(Kind::Credit, &[0, 0, 0, 0, 0, 0, 0, 3]);
    assert_eq!(number, Ok(3));
    let body = encode(|out| put_bye(out, "so long"));
    assert_eq!(body, *b"\0\x07so long");
    assert_eq!(decode_bye(&body), Ok("so long".to_owned()));
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
fn g09_remaining_time_is_rounded_up() {
    let micros = |remaining| u64::from_be_bytes(encode_remaining(remaining));
    assert_eq!(micros(Duration::from_nanos(1)), 1);
    assert_eq!(micros(Duration::ZERO), 0);
    assert_eq!(micros(Duration::MAX), u64::MAX);
}

#[test]
fn g36_bad_fields_are_named() {
    let body = encode(|out| request().put(out));
    let bad = |frame, field| WireError::BadField { frame, field };
    assert_eq!(
        Request::decode(Kind::Ask, 128, &body),
        Err(bad("ask", "flag"))
    );
    let mut one = body;
    one[15] = 1;
    assert_eq!(
        Request::decode(Kind::Ask, EVERY, &one),
        Err(bad("ask", "attempt"))
    );
    let open = |name: &[u8]| {
        let mut body = vec![0; 20];
        body.push(2);
        body.extend(name);
        body.extend([1, b't']);
        Open::decode(&body).map(|_| ())
    };
    assert_eq!(open(b"a\n"), Err(bad("open", "name")));
    assert_eq!(open(&[b'a', 0xFF]), Err(bad("open", "name")));
    assert!(decode_gap(&encode(|out| put_gap(out, 2, 1))).is_err());
    assert!(decode_nothing(Kind::Cancel, &[0]).is_err());
    let body = encode(|out| put_gap(out, 1, 2));
    assert_eq!(
        decode_number(Kind::Subscribed, &body),
        Err(WireError::LeftOver("subscribed"))
    );
}

#[test]
fn g36_a_body_cut_short_is_an_error_at_every_byte() {
    let body = encode(|out| request().put(out));
    for cut in 0..body.len() {
        let error = Request::decode(Kind::Ask, EVERY, &body[..cut]);
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
        slot in any::<u32>(),
        micros in proptest::option::of(any::<u64>()),
        attempt in 1..=u32::MAX,
        keyed in any::<bool>(),
        caller_retries in any::<bool>(),
        trace in proptest::option::of(proptest::array::uniform25(any::<u8>())),
        payload in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let request = Request {
            slot,
            remaining: micros.map(Duration::from_micros),
            attempt,
            key: keyed.then(key),
            caller_retries,
            trace,
        };
        let mut body = encode(|out| request.put(out));
        body.extend(&payload);
        let flags = request.flags();
        prop_assert_eq!(Request::decode(Kind::Tell, flags, &body), Ok((request, &payload[..])));
    }

    #[test]
    fn g36_hostile_bytes_never_panic(
        flags in any::<u8>(),
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = Request::decode(Kind::Ask, flags, &body);
        let _ = Request::decode(Kind::Ask, 0, &body);
        let _ = Request::decode(Kind::Ask, KEYED, &body);
        let _ = Open::decode(&body);
        let _ = decode_bye(&body);
        let _ = decode_failure(&body);
        let _ = Subscribe::decode(flags, &body, 10);
        let _ = Subscribe::decode(0, &body, 10);
        let _ = Event::decode(&body);
        let _ = decode_gap(&body);
        let _ = decode_number(Kind::Credit, &body);
    }
}
