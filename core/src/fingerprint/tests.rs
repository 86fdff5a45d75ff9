//! The form against its table, and against a reader: what can be read back can't be mistaken for anything else.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::RequestKey;

#[track_caller]
fn check(value: impl Fingerprint, form: &str) {
    let bytes = value.canonical_form();
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex.join(" "), form);
}

/// Prints may outlive a build, so what is written here never changes.
#[test]
fn the_form_is_that_of_the_table() {
    check(0_u8, "20");
    check(1_u64, "21 01");
    check(0x0102_u16, "22 01 02");
    check(u128::MAX, &format!("30{}", " ff".repeat(16)));
    check(-1_i8, "41 01");
    check(-256_i64, "42 01 00");
    check(i128::MIN, &format!("50 80{}", " 00".repeat(15)));
    check((false, true), "0c 01 02 00");
    check([None, Some(7_u32)], "09 03 04 21 07 00");
    check(1.5_f32, "05 3f f8 00 00 00 00 00 00");
    check(-f64::NAN, "05 7f f8 00 00 00 00 00 00");
    check('A', "06 00 00 00 41");
    check("hi", "07 21 02 68 69");
    check([1_u8, 2], "08 21 02 01 02");
    check([1_u16, 2], "09 21 01 21 02 00");
    check(BTreeSet::from([2_u16, 1]), "0a 21 01 21 02 00");
    check(
        BTreeMap::from([("b", 1), ("a", 2)]),
        "0b 07 21 01 61 21 02 07 21 01 62 21 01 00",
    );
    check((), "0c 00");
    check(Duration::from_millis(1), "0f 23 0f 42 40");
    check(
        RequestKey::from_uuid(Uuid::max()),
        &format!("10{}", " ff".repeat(16)),
    );
    check(
        Ok::<u8, u8>(5),
        "0e 07 21 06 52 65 73 75 6c 74 21 01 07 21 02 4f 6b 07 21 01 30 21 05 00",
    );
    check(
        Point,
        "0d 07 21 05 70 6f 69 6e 74 21 02 07 21 01 78 21 09 00",
    );
}

struct Point;
impl Fingerprint for Point {
    fn fingerprint(&self, to: &mut Fingerprinter<'_>) {
        to.record("point", 2).field("x", &9);
    }
}

#[test]
fn what_holds_a_value_says_nothing() {
    let form = |value: &dyn Fingerprint| value.canonical_form();
    let text = String::from("same");
    let of_str = "same".canonical_form();
    let holders: [&dyn Fingerprint; 6] = [
        &text,
        &Box::new("same"),
        &Rc::new(text.clone()),
        &Arc::<str>::from("same"),
        &std::borrow::Cow::Borrowed("same"),
        &&&"same",
    ];
    for holder in holders {
        assert_eq!(form(holder), of_str);
    }
    let list = [3_u32, 4, 5].canonical_form();
    assert_eq!(vec![3_u32, 4, 5].canonical_form(), list);
    assert_eq!(form(&Box::<[u32]>::from([3, 4, 5])), list);
    assert_eq!(
        std::num::NonZeroU8::MIN.canonical_form(),
        1.canonical_form()
    );
}

/// Lies in two slices, for which the order of the halves matters.
#[test]
fn a_list_in_two_parts_is_one_list() {
    let mut bytes: VecDeque<u8> = VecDeque::with_capacity(4);
    bytes.extend([9, 9, 1, 2]);
    bytes.drain(..2);
    bytes.extend([3, 4]);
    assert!(!bytes.as_slices().1.is_empty(), "the test needs two slices");
    assert_eq!(bytes.canonical_form(), [1_u8, 2, 3, 4].canonical_form());
    let wide: VecDeque<u16> = bytes.iter().copied().map(u16::from).collect();
    assert_eq!(wide.canonical_form(), [1_u16, 2, 3, 4].canonical_form());
}

/// A value of any shape.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Integer(i128),
    Huge(u128),
    Bool(bool),
    Option(Option<Box<Value>>),
    /// By its bits.
    Float(u64),
    Char(char),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Set(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Tuple(Vec<Value>),
    Struct(String, u32, Vec<(String, Value)>),
    Variant(String, u32, String, Vec<(String, Value)>),
    Duration(Duration),
    Uuid(u128),
}

impl Fingerprint for Value {
    fn fingerprint(&self, to: &mut Fingerprinter<'_>) {
        match self {
            Value::Integer(value) => value.fingerprint(to),
            Value::Huge(value) => value.fingerprint(to),
            Value::Bool(value) => value.fingerprint(to),
            Value::Option(value) => value.fingerprint(to),
            Value::Float(bits) => f64::from_bits(*bits).fingerprint(to),
            Value::Char(value) => value.fingerprint(to),
            Value::Text(value) => value.fingerprint(to),
            Value::Bytes(value) => value.fingerprint(to),
            Value::List(items) => items.fingerprint(to),
            Value::Set(items) => to.set(items),
            Value::Map(entries) => to.map(entries.iter().map(|(key, value)| (key, value))),
            Value::Tuple(items) => {
                to.tuple(|to| items.iter().for_each(|item| item.fingerprint(to)));
            }
            Value::Struct(name, version, fields) => {
                let mut record = to.record(name, *version);
                fields.iter().for_each(|(name, value)| {
                    record.field(name, value);
                });
            }
            Value::Variant(name, version, variant, fields) => {
                let mut record = to.variant(name, *version, variant);
                fields.iter().for_each(|(name, value)| {
                    record.field(name, value);
                });
            }
            Value::Duration(value) => value.fingerprint(to),
            Value::Uuid(value) => Uuid::from_u128(*value).fingerprint(to),
        }
    }
}

fn values() -> impl Strategy<Value = Value> {
    let text = "[a-c\u{e9}\u{0}]{0,3}";
    let leaf = prop_oneof![
        prop_oneof![any::<i128>(), (-300_i128..300)].prop_map(Value::Integer),
        (i128::MAX as u128 + 1..=u128::MAX).prop_map(Value::Huge),
        any::<bool>().prop_map(Value::Bool),
        prop_oneof![
            any::<u64>(),
            Just((-0.0_f64).to_bits()),
            Just((-f64::NAN).to_bits())
        ]
        .prop_map(Value::Float),
        any::<char>().prop_map(Value::Char),
        prop_oneof![text, "[ab]{100,300}"].prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..4).prop_map(Value::Bytes),
        (any::<u64>(), 0_u32..1_000_000_000)
            .prop_map(|(s, n)| Value::Duration(Duration::new(s, n))),
        any::<u128>().prop_map(Value::Uuid),
        Just(Value::Option(None)),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        let items = prop::collection::vec(inner.clone(), 0..5);
        let fields = prop::collection::vec((text, inner.clone()), 0..4);
        let pairs = prop::collection::vec((inner.clone(), inner.clone()), 0..5);
        prop_oneof![
            inner.prop_map(|value| Value::Option(Some(Box::new(value)))),
            items.clone().prop_map(Value::List),
            items.clone().prop_map(Value::Set),
            items.prop_map(Value::Tuple),
            pairs.prop_map(Value::Map),
            (text, any::<u32>(), fields.clone()).prop_map(|(n, v, f)| Value::Struct(n, v, f)),
            (text, any::<u32>(), text, fields).prop_map(|(n, v, k, f)| Value::Variant(n, v, k, f)),
        ]
    })
}

/// The value that the form stands for: with one zero, one NaN, and sets and maps in order.
fn normal(value: Value) -> Value {
    let all = |values: Vec<Value>| values.into_iter().map(normal).collect::<Vec<_>>();
    let fields =
        |fields: Vec<(String, Value)>| fields.into_iter().map(|(n, v)| (n, normal(v))).collect();
    match value {
        Value::Option(Some(value)) => Value::Option(Some(Box::new(normal(*value)))),
        Value::Float(bits) if f64::from_bits(bits).is_nan() => Value::Float(NAN),
        Value::Float(bits) if f64::from_bits(bits) == 0.0 => Value::Float(0),
        Value::List(items) => Value::List(all(items)),
        Value::Set(items) => {
            let mut items = all(items);
            items.sort_by_key(Fingerprint::canonical_form);
            Value::Set(items)
        }
        Value::Map(entries) => {
            let normal = |(key, value)| (normal(key), normal(value));
            let mut entries: Vec<(Value, Value)> = entries.into_iter().map(normal).collect();
            entries.sort_by_key(|(key, value)| (key.canonical_form(), value.canonical_form()));
            Value::Map(entries)
        }
        Value::Tuple(items) => Value::Tuple(all(items)),
        Value::Struct(name, version, list) => Value::Struct(name, version, fields(list)),
        Value::Variant(name, version, variant, list) => {
            Value::Variant(name, version, variant, fields(list))
        }
        other => other,
    }
}

/// Reads the form by its table, and knows nothing of how it is written.
struct Reader<'b>(&'b [u8]);

impl Reader<'_> {
    fn take(&mut self, count: usize) -> &[u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn wide(&mut self, count: usize) -> u128 {
        self.take(count)
            .iter()
            .fold(0, |sum, byte| sum << 8 | u128::from(*byte))
    }

    fn length(&mut self) -> usize {
        match self.value() {
            Some(Value::Integer(length)) => length.try_into().unwrap(),
            other => panic!("no length: {other:?}"),
        }
    }

    fn text(&mut self) -> Option<String> {
        match self.value() {
            Some(Value::Text(text)) => Some(text),
            None => None,
            other => panic!("no text: {other:?}"),
        }
    }

    fn must(&mut self) -> Value {
        self.value().expect("an end in the midst")
    }

    fn all(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.value()).collect()
    }

    fn fields(&mut self) -> Vec<(String, Value)> {
        std::iter::from_fn(|| self.text().map(|name| (name, self.must()))).collect()
    }

    fn head(&mut self) -> (String, u32) {
        let name = self.text().unwrap();
        let version = self.length();
        (name, u32::try_from(version).unwrap())
    }

    /// Nothing at the end of a list.
    fn value(&mut self) -> Option<Value> {
        let [tag] = *self.take(1) else { unreachable!() };
        Some(match tag {
            0x00 => return None,
            0x01 | 0x02 => Value::Bool(tag == 0x02),
            0x03 => Value::Option(None),
            0x04 => Value::Option(Some(Box::new(self.must()))),
            0x05 => Value::Float(u64::try_from(self.wide(8)).unwrap()),
            0x06 => Value::Char(char::from_u32(u32::try_from(self.wide(4)).unwrap()).unwrap()),
            0x07 => {
                let length = self.length();
                Value::Text(String::from_utf8(self.take(length).to_vec()).unwrap())
            }
            0x08 => {
                let length = self.length();
                Value::Bytes(self.take(length).to_vec())
            }
            0x09 => Value::List(self.all()),
            0x0a => Value::Set(self.all()),
            0x0b => {
                let entry = || self.value().map(|key| (key, self.must()));
                Value::Map(std::iter::from_fn(entry).collect())
            }
            0x0c => Value::Tuple(self.all()),
            0x0d => {
                let (name, version) = self.head();
                Value::Struct(name, version, self.fields())
            }
            0x0e => {
                let (name, version) = self.head();
                let variant = self.text().unwrap();
                Value::Variant(name, version, variant, self.fields())
            }
            0x0f => {
                let nanos = match self.must() {
                    Value::Integer(nanos) => nanos as u128,
                    other => panic!("no nanoseconds: {other:?}"),
                };
                Value::Duration(Duration::from_nanos_u128(nanos))
            }
            0x10 => Value::Uuid(self.wide(16)),
            0x20..=0x30 => {
                let value = self.wide(usize::from(tag - 0x20));
                i128::try_from(value).map_or(Value::Huge(value), Value::Integer)
            }
            0x41..=0x50 => {
                let value = self.wide(usize::from(tag - 0x40));
                Value::Integer(0_i128.checked_sub_unsigned(value).unwrap())
            }
            other => panic!("no tag: {other:#x}"),
        })
    }
}

proptest! {
    /// So two values with one form are one value: nothing collides by where it ends.
    #[test]
    fn g19_what_is_written_can_be_read_back(value in values()) {
        let form = value.canonical_form();
        let mut reader = Reader(&form);
        prop_assert_eq!(reader.value(), Some(normal(value)));
        prop_assert!(reader.0.is_empty(), "something is left");
    }

    #[test]
    fn g19_maps_and_sets_are_the_same_in_any_order(
        entries in prop::collection::btree_map("[a-z]{0,6}", any::<i32>(), 0..30),
        room in 0_usize..500,
        seed in any::<u64>(),
    ) {
        let mut shuffled: Vec<(String, i32)> = entries.clone().into_iter().collect();
        // Some order that isn't the map's.
        shuffled.sort_by_key(|(key, _)| {
            let turned = key.bytes().fold(seed, |sum, byte| sum.rotate_left(7) ^ u64::from(byte));
            turned.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        let mut map: HashMap<String, i32> = HashMap::with_capacity(room);
        map.extend(shuffled.iter().cloned());
        let again: HashMap<String, i32> = shuffled.iter().rev().cloned().collect();
        prop_assert_eq!(map.canonical_form(), again.canonical_form());
        prop_assert_eq!(map.canonical_form(), entries.canonical_form());
        let mut set: HashSet<&str> = HashSet::with_capacity(room);
        set.extend(shuffled.iter().map(|(key, _)| key.as_str()));
        let ordered: BTreeSet<&str> = set.iter().copied().collect();
        prop_assert_eq!(set.canonical_form(), ordered.canonical_form());
    }

    #[test]
    fn an_integer_is_its_value(value in any::<i16>()) {
        let form = value.canonical_form();
        prop_assert_eq!(&i32::from(value).canonical_form(), &form);
        prop_assert_eq!(&i128::from(value).canonical_form(), &form);
        prop_assert_eq!(&isize::from(value).canonical_form(), &form);
        if let Ok(value) = u16::try_from(value) {
            prop_assert_eq!(&usize::from(value).canonical_form(), &form);
            prop_assert_eq!(&u128::from(value).canonical_form(), &form);
        }
    }

    /// A hasher sees pieces; which ones says nothing, as long as it doesn't care.
    #[test]
    fn the_pieces_add_up_to_the_form(texts in prop::collection::vec("[a-z]{0,200}", 0..6)) {
        struct Pieces(Vec<Vec<u8>>);
        impl Hasher for Pieces {
            fn write(&mut self, bytes: &[u8]) {
                self.0.push(bytes.to_vec());
            }
            fn finish(&self) -> u64 {
                0
            }
        }
        let mut pieces = Pieces(Vec::new());
        texts.fingerprint_into(&mut pieces);
        let expected: Vec<u8> = std::iter::once(9)
            .chain(texts.iter().flat_map(|text| {
                let length = (text.len() as u128).canonical_form();
                [vec![7], length, text.clone().into_bytes()].concat()
            }))
            .chain([0])
            .collect();
        prop_assert_eq!(pieces.0.concat(), expected);
    }
}
