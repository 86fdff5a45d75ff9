use proptest::prelude::*;

use super::*;

const MAX: u32 = 1 << 20;

fn push(decoder: &mut Decoder, bytes: &[u8]) {
    for part in bytes.chunks(1_000) {
        let space = decoder.space();
        assert!(!space.is_empty());
        let (now, later) = part.split_at(part.len().min(space.len()));
        space[..now.len()].copy_from_slice(now);
        decoder.filled(now.len());
        if !later.is_empty() {
            push(decoder, later);
        }
    }
}

/// Golden bytes: what version 2 looks like, for ever.
#[test]
fn g37_the_header_is_sixteen_bytes_big_endian() {
    let mut out = Vec::new();
    put_frame(&mut out, Kind::Ask, 3, 0x0102_0304_0506_0708, MAX, |out| {
        out.extend(b"abc");
    })
    .unwrap();
    assert_eq!(
        out,
        [
            0, 0, 0, 3, 17, 3, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, b'a', b'b', b'c'
        ]
    );
    assert_eq!(
        bare(Kind::Ping, 0),
        [0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    );
}

#[test]
fn g37_kinds_keep_their_numbers() {
    let numbers: Vec<u8> = Kind::ALL.iter().map(|kind| kind.number()).collect();
    assert_eq!(
        numbers,
        [
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 16, 17, 18, 19, 20, 32, 33, 34, 35, 36, 37, 48, 49,
            50
        ]
    );
    for kind in Kind::ALL {
        assert_eq!(Kind::of(kind.number()), Some(*kind));
    }
}

#[test]
fn g36_a_size_is_checked_before_memory_is_taken() {
    let header = Header {
        len: u32::MAX,
        kind: Kind::Ask,
        flags: 0,
        sequence: 7,
        correlation: 1,
    };
    let mut decoder = Decoder::new(MAX);
    push(&mut decoder, &header.encode());
    let len = u64::from(u32::MAX);
    assert_eq!(
        decoder.next(),
        Err(WireError::FrameTooLarge { len, max: MAX })
    );
    assert!(decoder.buffer.capacity() <= SMALL);
}

#[test]
fn an_allowed_size_takes_memory_only_as_bytes_arrive() {
    let header = Header {
        len: MAX,
        kind: Kind::Ask,
        flags: 0,
        sequence: 7,
        correlation: 1,
    };
    let mut decoder = Decoder::new(MAX);
    push(&mut decoder, &header.encode());
    assert_eq!(decoder.next(), Ok(None));
    assert!(decoder.buffer.capacity() <= SMALL);
    assert_eq!(decoder.end - decoder.start, HEADER);
}

#[test]
fn unknown_kinds_and_reserved_bits_are_refused() {
    let mut bytes = bare(Kind::Ping, 0);
    bytes[4] = 99;
    let mut decoder = Decoder::new(MAX);
    push(&mut decoder, &bytes);
    assert_eq!(decoder.next(), Err(WireError::UnknownKind(99)));
    for reserved in [6, 7] {
        let mut bytes = bare(Kind::Ping, 0);
        bytes[reserved] = 1;
        let mut decoder = Decoder::new(MAX);
        push(&mut decoder, &bytes);
        assert_eq!(decoder.next(), Err(WireError::ReservedBits));
    }
}

#[test]
fn a_body_above_the_limit_leaves_the_buffer_as_it_was() {
    let mut out = vec![1, 2];
    let put = put_frame(&mut out, Kind::Ask, 0, 1, 4, |out| out.extend([0; 5]));
    assert_eq!(put, Err(WireError::FrameTooLarge { len: 5, max: 4 }));
    assert_eq!(out, [1, 2]);
}

#[test]
fn g32_only_what_a_session_carries_has_a_number() {
    let mut bytes = bare(Kind::Cancel, 9);
    bytes[SEQUENCE].copy_from_slice(&513_u16.to_be_bytes());
    let (frame, len) = split_frame(&bytes, MAX).unwrap().unwrap();
    assert_eq!((frame.sequence, len), (513, HEADER));
}

#[test]
fn g33_a_decoder_grows_with_what_arrives_and_gives_it_back() {
    let mut bytes = Vec::new();
    put_frame(&mut bytes, Kind::Tell, 0, 0, MAX, |out| {
        out.extend([7; 300_000]);
    })
    .unwrap();
    let mut decoder = Decoder::new(MAX);
    assert_eq!(decoder.buffer.len(), SMALL);
    push(&mut decoder, &bytes);
    assert!(decoder.buffer.len() >= bytes.len());
    assert_eq!(decoder.next().unwrap().unwrap().body.len(), 300_000);
    decoder.rest();
    assert_eq!(decoder.buffer.len(), SMALL);
}

type Owned = (u8, u8, u64, Vec<u8>);

fn frames() -> impl Strategy<Value = Vec<Owned>> {
    let kind = proptest::sample::select(Kind::ALL).prop_map(Kind::number);
    let body = proptest::collection::vec(any::<u8>(), 0..40);
    proptest::collection::vec((kind, any::<u8>(), any::<u64>(), body), 0..6)
}

fn stream(frames: &[Owned]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, flags, correlation, body) in frames {
        let kind = Kind::of(*kind).unwrap();
        put_frame(&mut bytes, kind, *flags, *correlation, MAX, |out| {
            out.extend(body);
        })
        .unwrap();
    }
    bytes
}

fn drain(decoder: &mut Decoder, into: &mut Vec<Owned>) {
    while let Some(frame) = decoder.next().unwrap() {
        let body = frame.body.to_vec();
        into.push((frame.kind.number(), frame.flags, frame.correlation, body));
    }
}

proptest! {
    /// The same frames come out wherever the stream is cut.
    #[test]
    fn g36_a_stream_may_be_cut_at_every_byte(frames in frames()) {
        let bytes = stream(&frames);
        for cut in 0..=bytes.len() {
            let mut decoder = Decoder::new(MAX);
            let mut seen = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                push(&mut decoder, part);
                drain(&mut decoder, &mut seen);
            }
            prop_assert_eq!(&seen, &frames);
            prop_assert_eq!(decoder.start, decoder.end);
        }
        let mut decoder = Decoder::new(MAX);
        let mut seen = Vec::new();
        for byte in bytes {
            push(&mut decoder, &[byte]);
            drain(&mut decoder, &mut seen);
        }
        prop_assert_eq!(&seen, &frames);
    }

    #[test]
    fn g36_hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut decoder = Decoder::new(64);
        for part in bytes.chunks(7) {
            push(&mut decoder, part);
            while let Ok(Some(frame)) = decoder.next() {
                prop_assert!(frame.body.len() <= 64);
            }
        }
    }
}

/// A stranger writes a client from it, so it must not be wrong.
#[test]
fn g37_the_guide_names_every_kind_and_limit() {
    let chapter = include_str!("../../../../guide/src/25-the-wire.md");
    let rows = |number: u8| {
        let begin = format!("| {number} | `");
        chapter.lines().filter(move |line| line.starts_with(&begin))
    };
    for kind in Kind::ALL {
        let begin = format!("| {} | `{}` |", kind.number(), kind.text());
        let found = rows(kind.number()).any(|line| line.starts_with(&begin));
        assert!(found, "{begin}");
    }
    for (number, kind) in (1..).zip(callboard::FailureKind::ALL) {
        let row = format!("| {number} | `{kind:?}` |");
        assert!(rows(number).any(|line| line == row), "{row}");
    }
    let limits = [
        "at most 263,168 bytes (256 KiB and 1,024)",
        "longer than 256 KiB is cut",
        "4,096 or more",
        "at most 1,024 bytes of body",
    ];
    for said in limits {
        assert!(chapter.contains(said), "{said}");
    }
    assert_eq!((MAX_BODY, PIECE), (263_168, 256 * 1024));
    let (hello, smallest) = (crate::wire::MAX_HELLO, crate::wire::limits::MIN_MAX_FRAME);
    assert_eq!((hello, smallest), (1_024, 4_096));
}
