use proptest::prelude::*;

use super::*;

fn hello() -> Hello {
    Hello {
        versions: (1, 3),
        features: 5,
        incarnation: Incarnation(7),
        max_message: 65_536,
        node: "node-a".to_owned(),
        session: Some(session()),
    }
}

fn session() -> SessionHello {
    SessionHello {
        id: *b"0123456789abcdef",
        state: SessionState::GoesOn,
        received: 258,
        window: 3,
        session_window: 4,
        in_flight: 5,
        session_millis: 30_000,
        login: Some(("alice".to_owned(), Secret(b"sesame".to_vec()))),
    }
}

fn read(frame: &[u8]) -> Result<First, NotHello> {
    let (header, body) = frame.split_first_chunk::<HEADER>().unwrap();
    let header = first_header(header)?;
    assert_eq!(header.len as usize, body.len());
    Ok(first_body(header.kind, body)?)
}

/// Golden bytes: this shape holds for all versions.
#[test]
fn g37_a_hello_looks_like_this_in_every_version() {
    let mut expected = vec![0, 0, 0, 31 + 49 + 14, 1, 0, 0, 0];
    expected.extend(b"CALLBRD\n");
    expected.extend([0, 1, 0, 3]);
    expected.extend([0, 0, 0, 0, 0, 0, 0, 5]);
    expected.extend([0, 0, 0, 0, 0, 0, 0, 7]);
    expected.extend([0, 1, 0, 0]);
    expected.push(6);
    expected.extend(b"node-a");
    expected.extend(b"0123456789abcdef\x01");
    expected.extend([0, 0, 0, 0, 0, 0, 1, 2]);
    expected.extend([0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4]);
    expected.extend([0, 0, 0, 5, 0, 0, 0x75, 0x30]);
    expected.extend(b"\x05alice\x00\x06sesame");
    assert_eq!(hello().encode(), expected);
    assert_eq!(read(&expected), Ok(First::Hello(hello())));
}

#[test]
fn g37_what_a_later_version_adds_to_a_hello_is_ignored() {
    let mut frame = hello().encode();
    frame.extend([1, 2, 3]);
    frame[3] += 3;
    assert_eq!(read(&frame), Ok(First::Hello(hello())));
}

#[test]
fn g37_a_hello_of_version_1_ends_with_the_name() {
    let old = Hello {
        versions: (1, 1),
        session: None,
        ..hello()
    };
    assert_eq!(read(&old.encode()), Ok(First::Hello(old)));
}

#[test]
fn g35_a_secret_shows_nowhere() {
    let shown = format!("{:?}", hello());
    assert!(
        shown.contains("alice") && !shown.contains("sesame"),
        "{shown}"
    );
    assert!(!shown.contains("115"), "nor as numbers: {shown}");
}

#[test]
fn g37_versions_are_agreed_on_the_newest_that_both_speak() {
    let speaking = |versions| Hello {
        versions,
        ..hello()
    };
    assert_eq!(speaking((1, 3)).agree((2, 9)), Some(3));
    assert_eq!(speaking((2, 9)).agree((1, 3)), Some(3));
    assert_eq!(speaking((1, 1)).agree((1, 1)), Some(1));
    assert_eq!(speaking((1, 1)).agree((7, 9)), None);
}

#[test]
fn a_refusal_travels_and_control_characters_do_not() {
    let frame = refuse("no \u{1b}[31mroom");
    assert_eq!(read(&frame), Ok(First::Refuse("no  [31mroom".to_owned())));
    let frame = refuse(&"x".repeat(10_000));
    assert_eq!(read(&frame), Ok(First::Refuse("x".repeat(MAX_DETAIL))));
}

#[test]
fn other_protocols_are_recognised() {
    assert_eq!(first_header(b"GET / HTTP/1.1\r\n"), Err(NotHello::Foreign));
}

#[test]
fn bad_hellos_are_refused() {
    let bad = |hello: Hello| read(&hello.encode()).unwrap_err();
    let field = |field| {
        NotHello::Malformed(WireError::BadField {
            frame: "hello",
            field,
        })
    };
    let versions = (3, 1);
    assert_eq!(
        bad(Hello {
            versions,
            ..hello()
        }),
        field("version range")
    );
    let max_message = 10;
    assert_eq!(
        bad(Hello {
            max_message,
            ..hello()
        }),
        field("message limit")
    );
    for node in ["", "a\nb"] {
        let node = node.to_owned();
        assert_eq!(bad(Hello { node, ..hello() }), field("node name"));
    }
    // A first frame of another kind, and one that is too large for a handshake.
    let mut frame = hello().encode();
    frame[4] = Kind::Ask.number();
    assert!(matches!(read(&frame), Err(NotHello::Malformed(_))));
    let mut frame = hello().encode();
    frame[0] = 1;
    assert!(matches!(
        first_header(frame.first_chunk().unwrap()),
        Err(NotHello::Malformed(WireError::FrameTooLarge { .. }))
    ));
}

proptest! {
    #[test]
    fn any_hello_round_trips(
        oldest in any::<u16>(),
        more in any::<u16>(),
        features in any::<u64>(),
        incarnation in any::<u64>(),
        max_message in MIN_MAX_FRAME..,
        node in "\\PC{1,60}",
    ) {
        let versions = (oldest, oldest.saturating_add(more));
        let session = (versions.1 >= 2).then(session);
        let incarnation = Incarnation(incarnation);
        let hello = Hello { versions, features, incarnation, max_message, node, session };
        prop_assert_eq!(read(&hello.encode()), Ok(First::Hello(hello)));
    }

    #[test]
    fn g36_hostile_bytes_never_panic(
        header in any::<[u8; HEADER]>(),
        body in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let _ = first_header(&header);
        for kind in Kind::ALL {
            let _ = first_body(*kind, &body);
        }
    }
}
