//! What is written is what rmp-serde writes; what is read comes in both shapes; what is hostile is refused.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde::ser::SerializeSeq;
use serde::{Deserialize, Serializer};

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Old {
    a: u32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct New {
    a: u32,
    #[serde(default)]
    b: Option<String>,
}

#[test]
fn g37_an_optional_field_can_be_added_both_ways() {
    let old = encode(&Old { a: 7 }).unwrap();
    assert_eq!(decode::<New>(&old), Ok(New { a: 7, b: None }));
    let new = encode(&New {
        a: 7,
        b: Some("x".into()),
    })
    .unwrap();
    assert_eq!(decode::<Old>(&new), Ok(Old { a: 7 }));
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Kind {
    Unit,
    Newtype(i64),
    Tuple(u8, String),
    Struct { flag: bool, deep: Option<Box<All>> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Marker;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Wrapped(u64);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pair(i8, char);

/// Everything that serde knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct All {
    numbers: Vec<i64>,
    counts: (u64, u32, i16, f32, f64),
    wide: (i128, u128),
    text: String,
    #[serde(with = "as_bytes")]
    bytes: Vec<u8>,
    maybe: Option<u8>,
    kinds: Vec<Kind>,
    map: BTreeMap<String, u16>,
    unit: (),
    marker: Marker,
    wrapped: Wrapped,
    pair: Pair,
}

mod as_bytes {
    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        from.deserialize_bytes(Bytes)
    }
}

fn number() -> impl Strategy<Value = i64> {
    let edges = [7, 8, 15, 16, 31, 32, 63].map(|bits| (1_i128 << bits) - 1);
    let near = prop::sample::select(edges.to_vec())
        .prop_flat_map(|edge| prop_oneof![Just(edge - 1), Just(edge), Just(edge + 1)]);
    (near, any::<bool>()).prop_map(|(near, negative)| {
        let near = if negative { -near } else { near };
        i64::try_from(near.clamp(i64::MIN.into(), i64::MAX.into())).unwrap()
    })
}

/// Texts and bytes around the lengths where the marker changes.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        0..40_usize,
        prop::sample::select(vec![255, 256, 65_535, 65_536])
    ]
}

fn all() -> impl Strategy<Value = All> {
    let leaf = (
        (vec(number(), 0..40), any::<(u64, u32, i16)>(), number()),
        (length(), length(), option::of(any::<u8>())),
        (btree_map("[a-z]{0,3}", any::<u16>(), 0..20), any::<char>()),
        any::<(bool, i128, u128)>(),
    )
        .prop_map(
            |((numbers, (a, b, c), n), (text, bytes, maybe), (map, letter), (flag, i, u))| All {
                #[expect(clippy::cast_precision_loss, reason = "any number will do")]
                counts: (a, b, c, n as f32, n as f64),
                numbers,
                wide: (i, u),
                text: "x".repeat(text),
                bytes: vec![7; bytes],
                maybe,
                kinds: vec![
                    Kind::Unit,
                    Kind::Newtype(n),
                    Kind::Tuple(3, letter.to_string()),
                    Kind::Struct { flag, deep: None },
                ],
                map,
                unit: (),
                marker: Marker,
                wrapped: Wrapped(a),
                pair: Pair(-3, letter),
            },
        );
    leaf.prop_recursive(3, 4, 1, |inner| {
        (inner.clone(), inner).prop_map(|(outer, inner)| {
            let deep = Some(Box::new(inner));
            let mut outer = outer;
            outer.kinds.push(Kind::Struct { flag: true, deep });
            outer
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Both shapes are those of rmp-serde, and both are read.
    #[test]
    fn it_writes_what_rmp_serde_writes(value in all()) {
        let mut out = b"before".to_vec();
        prop_assert_eq!(encode_into(&value, &mut out, Shape::Positional), Ok(Shape::Positional));
        prop_assert_eq!(&out[..6], b"before");
        prop_assert_eq!(&out[6..], rmp_serde::to_vec(&value).unwrap());
        prop_assert_eq!(decode::<All>(&out[6..]), Ok(value.clone()));
        let named = encode(&value).unwrap();
        prop_assert_eq!(&named, &rmp_serde::to_vec_named(&value).unwrap());
        prop_assert_eq!(decode::<All>(&named), Ok(value.clone()));
        prop_assert!(out.len() - 6 < named.len());
        // And a limit is one to the byte, in both.
        for (shape, bytes) in [(Shape::Named, &named[..]), (Shape::Positional, &out[6..])] {
            let mut limited = vec![1];
            let fits = encode_into_within(&value, &mut limited, shape, bytes.len());
            prop_assert_eq!(fits, Ok(shape));
            prop_assert_eq!(&limited[1..], bytes);
            limited.truncate(1);
            let short = encode_into_within(&value, &mut limited, shape, bytes.len() - 1);
            prop_assert_eq!(short, Err(CodecError::too_large(bytes.len() - 1)));
            prop_assert_eq!(&limited, &[1]);
        }
    }

    /// No input makes it panic, or is taken in two ways.
    #[test]
    fn g36_no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..3_000)) {
        let _ = decode::<All>(&bytes);
        let _ = decode::<Tree>(&bytes);
        let _ = decode::<Vec<Kind>>(&bytes);
    }

    /// Cut short or lengthened by a byte it is an error, at every place.
    #[test]
    fn g36_what_is_cut_or_too_long_is_refused(value in all(), cut in any::<prop::sample::Index>()) {
        let mut bytes = encode(&value).unwrap();
        prop_assert!(decode::<All>(&bytes[..cut.index(bytes.len())]).is_err());
        bytes.push(0xC0);
        prop_assert!(decode::<All>(&bytes).is_err());
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Skips {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<u8>,
    second: u8,
}

#[test]
fn what_leaves_a_field_out_is_named_whatever_was_asked() {
    let mut out = vec![9];
    let whole = vec![Skips {
        first: Some(1),
        second: 2,
    }];
    assert_eq!(
        encode_into(&whole, &mut out, Shape::Positional),
        Ok(Shape::Positional)
    );
    assert_eq!(out, [9, 0x91, 0x92, 1, 2]);
    let lacking = vec![
        Skips {
            first: Some(1),
            second: 2,
        },
        Skips {
            first: None,
            second: 2,
        },
    ];
    out.truncate(1);
    assert_eq!(
        encode_into(&lacking, &mut out, Shape::Positional),
        Ok(Shape::Named)
    );
    assert_eq!(out[1..], encode(&lacking).unwrap());
    assert_eq!(decode::<Vec<Skips>>(&out[1..]), Ok(lacking));
}

/// Serialises by a function.
struct By<F>(F);

impl<F: Fn() -> Result<(), String>> Serialize for By<F> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut list = to.serialize_seq(None)?;
        for n in 0..20 {
            list.serialize_element(&n)?;
        }
        self.0().map_err(serde::ser::Error::custom)?;
        list.end()
    }
}

#[test]
fn a_list_that_does_not_say_how_long_it_is_gets_its_length_in_front() {
    let mut out = vec![5];
    encode_into(&(1, By(|| Ok(())), 2), &mut out, Shape::Named).unwrap();
    assert_eq!(out[..5], [5, 0x93, 1, 0xDC, 0]);
    let (one, list, two) = decode::<(u8, Vec<u8>, u8)>(&out[1..]).unwrap();
    assert_eq!((one, list.len(), two), (1, 20, 2));
}

#[test]
fn a_value_that_refuses_or_panics_leaves_nothing_behind() {
    let mut out = b"others'".to_vec();
    let error = encode_into(&By(|| Err("not today".into())), &mut out, Shape::Named).unwrap_err();
    assert_eq!(error.to_string(), "not today");
    assert_eq!(out, b"others'");
    let panics = By(|| panic!("in serialize"));
    let encoding = AssertUnwindSafe(|| encode_into(&panics, &mut out, Shape::Positional));
    assert!(catch_unwind(encoding).is_err());
    assert_eq!(out, b"others'");
}

#[test]
fn a_value_that_miscounts_its_parts_is_refused() {
    struct Lies;
    impl Serialize for Lies {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            let mut list = to.serialize_seq(Some(2))?;
            list.serialize_element(&1)?;
            list.end()
        }
    }
    let error = encode(&Lies).unwrap_err();
    assert_eq!(error.to_string(), "it said it had 2 parts, and had 1");
}

#[test]
fn a_limit_is_kept_to_the_byte() {
    let text = "abcdefgh";
    let bytes = encode(text).unwrap();
    assert_eq!(encode_within(text, bytes.len()), Ok(bytes.clone()));
    let error = encode_within(text, bytes.len() - 1).unwrap_err();
    assert_eq!(error.to_string(), "more than 8 bytes");
}

#[test]
fn garbage_and_leftovers_are_errors() {
    assert!(decode::<Old>(&[0xC1]).is_err());
    assert!(decode::<Old>(&[]).is_err());
    // An extension type.
    assert!(decode::<serde::de::IgnoredAny>(&[0xD4, 5, 7]).is_err());
    let mut bytes = encode(&Old { a: 7 }).unwrap();
    bytes.push(0);
    assert!(decode::<Old>(&bytes).is_err());
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Flat {
    Unit,
    Newtype(i64),
    Tuple(u8, String),
    Struct { flag: bool, wide: Option<f32> },
}

/// What both decoders take and leave alike, to the byte.
type Most = (
    (Vec<i64>, String, Option<u8>, BTreeMap<String, u16>),
    (Vec<Flat>, f64, char, bool, (), Wrapped, Marker),
    Vec<(u8, i16, u32, u64)>,
);

fn most() -> impl Strategy<Value = Most> {
    let flat = prop_oneof![
        Just(Flat::Unit),
        number().prop_map(Flat::Newtype),
        any::<(u8, String)>().prop_map(|(number, text)| Flat::Tuple(number, text)),
        any::<(bool, Option<f32>)>().prop_map(|(flag, wide)| Flat::Struct { flag, wide }),
    ];
    let texts = (vec(number(), 0..20), ".{0,40}", any::<Option<u8>>());
    let map = btree_map("[a-z]{0,3}", any::<u16>(), 0..20);
    let others = (vec(flat, 0..4), any::<(f64, char, bool, u64)>());
    let rows = vec(any::<(u8, i16, u32, u64)>(), 0..4);
    (texts, map, others, rows).prop_map(|((numbers, text, maybe), map, (flats, rest), rows)| {
        let (float, letter, flag, wrapped) = rest;
        let others = (flats, float, letter, flag, (), Wrapped(wrapped), Marker);
        ((numbers, text, maybe, map), others, rows)
    })
}

fn by_rmp_serde(bytes: &[u8]) -> Option<Most> {
    let mut cursor = std::io::Cursor::new(bytes);
    let value = rmp_serde::from_read(&mut cursor).ok()?;
    (cursor.position() == bytes.len() as u64).then_some(value)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    /// It takes what rmp-serde takes, for what that takes it for: also of bytes that nobody wrote like that.
    #[test]
    fn it_reads_what_rmp_serde_reads(
        value in most(),
        named in any::<bool>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let shape = if named { Shape::Named } else { Shape::Positional };
        let mut bytes = Vec::new();
        encode_into(&value, &mut bytes, shape).unwrap();
        prop_assert_eq!(decode::<Most>(&bytes), Ok(value));
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        // By their texts: what is not a number isn't equal to itself.
        let ours = decode::<Most>(&bytes).map(|value| format!("{value:?}"));
        let theirs = by_rmp_serde(&bytes).map(|value| format!("{value:?}"));
        prop_assert_eq!(ours.ok(), theirs);
    }
}

/// A type that contains itself, and nothing else: no bytes say where it ends.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Endless(Option<Box<Endless>>);

#[test]
fn g36_a_type_without_an_end_is_refused() {
    let error = decode::<Endless>(&[1]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a type that contains itself, and nothing else"
    );
    assert_eq!(decode(&[0xC0]), Ok(Endless(None)));
    // Wrappers beside each other are none of that.
    let many: Vec<Option<Wrapped>> = (0..1_000).map(|n| Some(Wrapped(n))).collect();
    assert_eq!(decode(&encode(&many).unwrap()), Ok(many));
}

/// A type that contains itself without a list between.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    N(Box<Tree>),
    Leaf,
}

fn tree(depth: usize) -> Tree {
    (0..depth).fold(Tree::Leaf, |tree, _| Tree::N(Box::new(tree)))
}

#[test]
fn g36_what_nests_too_deep_is_refused_both_ways() {
    let deepest = encode(&tree(MAX_DEPTH)).unwrap();
    assert_eq!(decode::<Tree>(&deepest), Ok(tree(MAX_DEPTH)));
    let error = encode(&tree(MAX_DEPTH + 1)).unwrap_err();
    assert_eq!(error.to_string(), "more than 128 values inside each other");
    // As nobody here would write it: deep enough to overflow any stack.
    for level in [&b"\x81\xA1N"[..], b"\x91", b"\x81\xC0", b"\xDE\0\x01\xC0"] {
        let bytes = level.repeat(1_000_000);
        assert!(decode::<Tree>(&bytes).is_err());
        let error = decode::<serde::de::IgnoredAny>(&bytes).unwrap_err();
        assert_eq!(error.to_string(), "more than 128 values inside each other");
    }
    let error = decode::<Tree>(&b"\x81\xA1N".repeat(1_000)).unwrap_err();
    assert_eq!(error.to_string(), "more than 128 values inside each other");
    // And a long one that is flat is none of that.
    let flat = vec![vec![1_u64 << 40; 10]; 1_000];
    assert_eq!(decode(&encode(&flat).unwrap()), Ok(flat));
}
