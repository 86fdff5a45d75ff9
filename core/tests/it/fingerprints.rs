//! The derived canonical form, and what goes wrong with fingerprints, each pitfall with a test of its own (G19).

use std::collections::{BTreeMap, HashMap};
use std::marker::PhantomData;
use std::time::Duration;

use callboard::{Fingerprint, Fingerprinter, Message, RequestKey};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Fingerprint, Debug, Clone, PartialEq)]
#[fingerprint(name = "shop.order", version = 3)]
struct Order {
    to: Address,
    lines: Vec<Line>,
    notes: BTreeMap<String, i16>,
    paid: Payment,
    gift: Option<bool>,
    #[fingerprint(skip)]
    trace_id: u64,
    #[fingerprint(name = "sum")]
    total: f64,
}

#[derive(Fingerprint, Debug, Clone, PartialEq)]
struct Address {
    street: String,
    r#type: char,
}

#[derive(Fingerprint, Debug, Clone, PartialEq)]
struct Line(u32, #[fingerprint(skip)] Duration, String);

#[derive(Fingerprint, Debug, Clone, PartialEq)]
enum Payment {
    Open,
    #[fingerprint(name = "Card")]
    CreditCard {
        number: [u8; 3],
    },
    Wire(i64, #[fingerprint(skip)] u8),
}

/// The form of [`Order`] by its documentation, written without any of the code that writes it.
mod by_hand {
    use super::{Order, Payment};

    pub(super) fn integer(value: i128) -> Vec<u8> {
        let bytes = value.unsigned_abs().to_be_bytes();
        let digits: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
        let sign = if value < 0 { 0x40 } else { 0x20 };
        [vec![sign + u8::try_from(digits.len()).unwrap()], digits].concat()
    }

    fn long(tag: u8, bytes: &[u8]) -> Vec<u8> {
        [vec![tag], integer(bytes.len() as i128), bytes.to_vec()].concat()
    }

    pub(super) fn text(text: &str) -> Vec<u8> {
        long(7, text.as_bytes())
    }

    pub(super) fn record(name: &str, version: i128, fields: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let head = [vec![0x0d], text(name), integer(version)].concat();
        [head, ended(fields)].concat()
    }

    fn ended(fields: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let fields = fields
            .iter()
            .map(|(name, value)| [text(name), value.clone()].concat());
        fields.chain([vec![0]]).collect::<Vec<_>>().concat()
    }

    fn payment(payment: &Payment) -> Vec<u8> {
        let (variant, fields) = match payment {
            Payment::Open => ("Open", vec![]),
            Payment::CreditCard { number } => ("Card", vec![("number", long(8, number))]),
            Payment::Wire(cents, _) => ("Wire", vec![("0", integer((*cents).into()))]),
        };
        [
            vec![0x0e],
            text("Payment"),
            integer(1),
            text(variant),
            ended(&fields),
        ]
        .concat()
    }

    pub(super) fn order(order: &Order) -> Vec<u8> {
        let street = record(
            "Address",
            1,
            &[
                ("street", text(&order.to.street)),
                (
                    "type",
                    [vec![6], u32::from(order.to.r#type).to_be_bytes().to_vec()].concat(),
                ),
            ],
        );
        let lines = order.lines.iter().map(|line| {
            record(
                "Line",
                1,
                &[("0", integer(line.0.into())), ("2", text(&line.2))],
            )
        });
        let lines: Vec<Vec<u8>> = std::iter::once(vec![9])
            .chain(lines)
            .chain([vec![0]])
            .collect();
        // Short keys come first, because their length does.
        let mut notes: Vec<(Vec<u8>, Vec<u8>)> = order
            .notes
            .iter()
            .map(|(key, value)| (text(key), integer((*value).into())))
            .collect();
        notes.sort();
        let notes: Vec<u8> = notes
            .into_iter()
            .flat_map(|(key, value)| [key, value].concat())
            .collect();
        let gift = match order.gift {
            None => vec![3],
            Some(false) => vec![4, 1],
            Some(true) => vec![4, 2],
        };
        let zero_is_one = if order.total == 0.0 { 0.0 } else { order.total };
        record(
            "shop.order",
            3,
            &[
                ("gift", gift),
                ("lines", lines.concat()),
                ("notes", [vec![0x0b], notes, vec![0]].concat()),
                ("paid", payment(&order.paid)),
                (
                    "sum",
                    [vec![5], zero_is_one.to_bits().to_be_bytes().to_vec()].concat(),
                ),
                ("to", street),
            ],
        )
    }
}

fn payments() -> impl Strategy<Value = Payment> {
    prop_oneof![
        Just(Payment::Open),
        any::<[u8; 3]>().prop_map(|number| Payment::CreditCard { number }),
        (any::<i64>(), any::<u8>())
            .prop_map(|(cents, try_number)| Payment::Wire(cents, try_number)),
    ]
}

fn orders() -> impl Strategy<Value = Order> {
    let address = ("[a-z ]{0,20}", any::<char>());
    let line = (any::<u32>(), any::<u32>(), "[a-z]{0,200}");
    (
        address.prop_map(|(street, r#type)| Address { street, r#type }),
        prop::collection::vec(
            line.prop_map(|(count, at, what)| Line(count, Duration::from_secs(at.into()), what)),
            0..4,
        ),
        prop::collection::btree_map("[a-z]{0,4}", any::<i16>(), 0..6),
        payments(),
        any::<Option<bool>>(),
        any::<u64>(),
        any::<i32>().prop_map(|total| f64::from(total) / 8.0),
    )
        .prop_map(|(to, lines, notes, paid, gift, trace_id, total)| Order {
            to,
            lines,
            notes,
            paid,
            gift,
            trace_id,
            total,
        })
}

/// An order without what is left out of its fingerprint.
fn essence(mut order: Order) -> Order {
    order.trace_id = 0;
    for line in &mut order.lines {
        line.1 = Duration::ZERO;
    }
    if let Payment::Wire(_, tries) = &mut order.paid {
        *tries = 0;
    }
    order
}

proptest! {
    #[test]
    fn g19_the_derive_writes_what_the_table_says(order in orders()) {
        prop_assert_eq!(order.canonical_form(), by_hand::order(&order));
    }

    #[test]
    fn g19_one_form_means_one_value(a in orders(), b in orders()) {
        let same = essence(a.clone()) == essence(b.clone());
        prop_assert_eq!(a.canonical_form() == b.canonical_form(), same);
        prop_assert_eq!(essence(a.clone()).canonical_form(), a.canonical_form());
    }

    /// One field of one order, taken from another: any change is seen, also a small one deep inside.
    #[test]
    fn g19_a_change_of_one_field_is_seen(a in orders(), b in orders(), field in 0..8) {
        let mut changed = a.clone();
        match field {
            0 => changed.to.street = b.to.street,
            1 => changed.to.r#type = b.to.r#type,
            2 => changed.lines = b.lines,
            3 => {
                let Some(line) = changed.lines.first_mut() else { return Ok(()) };
                line.0 = line.0.wrapping_add(1);
            }
            4 => changed.notes = b.notes,
            5 => changed.paid = b.paid,
            6 => changed.gift = b.gift,
            _ => changed.total = b.total,
        }
        let same = essence(a.clone()) == essence(changed.clone());
        prop_assert_eq!(a.canonical_form() == changed.canonical_form(), same);
    }
}

#[test]
fn a_message_is_known_by_its_wire_name_and_version() {
    #[derive(Message, Fingerprint, Serialize, Deserialize)]
    #[message(reply = Vec<u8>, name = "bank.pay", version = 4)]
    struct Pay {
        cents: u64,
    }
    #[derive(Message, Fingerprint)]
    #[message(reply = u64)]
    struct Local;
    #[derive(Message, Fingerprint, Serialize, Deserialize)]
    #[message(name = "bank.pay")]
    #[fingerprint(name = "pay", version = 9)]
    struct Named;

    let cents = ("cents", by_hand::integer(5));
    assert_eq!(
        Pay { cents: 5 }.canonical_form(),
        by_hand::record("bank.pay", 4, &[cents])
    );
    assert_eq!(Local.canonical_form(), by_hand::record("Local", 1, &[]));
    assert_eq!(Named.canonical_form(), by_hand::record("pay", 9, &[]));
}

/// The order of fields in the source, their types' widths and what they lie in may change; nothing else may.
#[test]
fn what_may_change_in_the_source() {
    fn forms() -> [Vec<u8>; 2] {
        #[derive(Fingerprint)]
        struct Pay {
            cents: u32,
            to: String,
            tags: HashMap<u8, Vec<i64>>,
        }
        let before = Pay {
            cents: 7,
            to: "John".to_owned(),
            tags: HashMap::from([(1, vec![2])]),
        };
        let before = before.canonical_form();
        #[derive(Fingerprint)]
        struct Pay2<'a> {
            tags: BTreeMap<u64, Box<[i8]>>,
            #[fingerprint(name = "to")]
            receiver: std::borrow::Cow<'a, str>,
            cents: i128,
        }
        #[derive(Fingerprint)]
        struct Renamed(u8);
        let after = Pay2 {
            tags: BTreeMap::from([(1, Box::from([2]))]),
            receiver: "John".into(),
            cents: 7,
        };
        assert_ne!(Renamed(7).canonical_form(), before);
        [before, after.canonical_form()]
    }
    let [before, after] = forms();
    // Only the type's name tells them apart.
    let renamed = |form: &[u8]| {
        let (name, rest) = (by_hand::text("Pay2"), &form[1..]);
        [
            &[0x0d],
            by_hand::text("Pay").as_slice(),
            rest.strip_prefix(name.as_slice()).unwrap(),
        ]
        .concat()
    };
    assert_eq!(renamed(&after), before);
}

#[test]
fn parameters_need_a_fingerprint_only_where_they_are_written() {
    struct Opaque;
    #[derive(Fingerprint)]
    struct Generic<'a, T, U: ?Sized, V, W, const N: usize>
    where
        T: Clone,
    {
        items: [T; N],
        #[fingerprint(skip)]
        left_out: Option<&'a U>,
        #[fingerprint(with = as_one)]
        by_function: V,
        #[fingerprint(skip_default)]
        rare: Option<W>,
        kind: PhantomData<T>,
    }
    fn as_one<V>(_: &V, to: &mut Fingerprinter<'_>) {
        to.unsigned(1);
    }
    let value = Generic::<_, Opaque, _, u8, 1> {
        items: [3_u8],
        left_out: Some(&Opaque),
        by_function: Opaque,
        rare: None,
        kind: PhantomData,
    };
    let mut fields = vec![
        ("by_function", vec![0x21, 1]),
        ("items", vec![8, 0x21, 1, 3]),
        ("kind", vec![0x0c, 0]),
    ];
    assert!(value.left_out.is_some());
    assert_eq!(
        value.canonical_form(),
        by_hand::record("Generic", 1, &fields)
    );
    let value = Generic {
        rare: Some(5),
        ..value
    };
    fields.push(("rare", vec![4, 0x21, 5]));
    assert_eq!(
        value.canonical_form(),
        by_hand::record("Generic", 1, &fields)
    );
}

#[test]
fn a_type_can_hold_itself_and_an_enum_can_be_empty() {
    #[derive(Fingerprint)]
    struct Tree(u8, Vec<Tree>);
    #[derive(Fingerprint)]
    enum Never {}
    let leaf = |value| Tree(value, vec![]);
    let forms = [
        Tree(1, vec![leaf(2), leaf(3)]),
        Tree(1, vec![leaf(3), leaf(2)]),
        Tree(1, vec![Tree(2, vec![leaf(3)])]),
    ]
    .map(|tree| tree.canonical_form());
    assert!(forms[0] != forms[1] && forms[1] != forms[2] && forms[0] != forms[2]);
    assert_eq!(None::<Never>.canonical_form(), [3]);
}

/// A hash map lists its entries in another order each time it is made, and its encoding follows.
#[test]
fn g19_pitfall_map_order() {
    let entries = || (0..100_u32).map(|n| (n.to_string(), n));
    let one: HashMap<String, u32> = entries().collect();
    let other = (0..).find_map(|_| {
        let other: HashMap<String, u32> = entries().collect();
        (!one.keys().eq(other.keys())).then_some(other)
    });
    let other = other.unwrap();
    assert_eq!(one, other);
    let encoded = |map: &HashMap<String, u32>| callboard::codec::encode(map).unwrap();
    assert_ne!(
        encoded(&one),
        encoded(&other),
        "the encoding isn't canonical"
    );
    assert_eq!(one.canonical_form(), other.canonical_form());
}

/// Zero has two forms and NaN has many; equal ones encode differently, and a NaN isn't even equal to itself.
#[test]
fn g19_pitfall_floats() {
    let encoded = |value: f64| callboard::codec::encode(&value).unwrap();
    assert_ne!(encoded(0.0), encoded(-0.0));
    assert_eq!(0.0_f64.canonical_form(), (-0.0_f64).canonical_form());
    let strange = f64::from_bits(0xfff0_0000_0000_0001);
    assert!(strange.is_nan());
    assert_eq!(f64::NAN.canonical_form(), strange.canonical_form());
    assert_eq!(f32::NAN.canonical_form(), strange.canonical_form());
    // What was computed in two ways is not the same: give amounts as integers.
    assert_ne!((0.1 + 0.2).canonical_form(), 0.3_f64.canonical_form());
    // Nor is a number the same in another precision, where that has lost something.
    assert_ne!(0.1_f32.canonical_form(), 0.1_f64.canonical_form());
    assert_ne!(1.0_f64.canonical_form(), 1.canonical_form());
}

/// The same word to whoever reads it, and two texts.
#[test]
fn g19_pitfall_texts_that_look_alike() {
    let (composed, with_accent) = ("caf\u{e9}", "cafe\u{301}");
    assert_ne!(composed.canonical_form(), with_accent.canonical_form());
    assert_ne!(
        "K".canonical_form(),
        "\u{212a}".canonical_form(),
        "the Kelvin sign"
    );
    assert_ne!("john".canonical_form(), "John".canonical_form());
    assert_ne!("john ".canonical_form(), "john".canonical_form());

    /// Whoever wants them to be one says how.
    #[derive(Fingerprint)]
    struct Find {
        #[fingerprint(with = folded)]
        name: &'static str,
    }
    fn folded(name: &&'static str, to: &mut Fingerprinter<'_>) {
        to.text(&name.trim().to_lowercase());
    }
    assert_eq!(
        Find { name: "john " }.canonical_form(),
        Find { name: "John" }.canonical_form()
    );
}

/// A program that knows one field more writes another form, for the messages of old callers, too; unless the field
/// is left out while nobody sets it.
#[test]
fn g19_pitfall_a_field_that_is_added() {
    mod before {
        #[derive(callboard::Fingerprint)]
        pub(super) struct Pay {
            pub(super) cents: u64,
        }
    }
    mod careless {
        #[derive(callboard::Fingerprint)]
        pub(super) struct Pay {
            pub(super) cents: u64,
            pub(super) tip: u64,
        }
    }
    mod careful {
        #[derive(callboard::Fingerprint)]
        pub(super) struct Pay {
            pub(super) cents: u64,
            #[fingerprint(skip_default)]
            pub(super) tip: u64,
        }
    }
    let before = before::Pay { cents: 100 }.canonical_form();
    assert_ne!(
        careless::Pay { cents: 100, tip: 0 }.canonical_form(),
        before
    );
    assert_eq!(careful::Pay { cents: 100, tip: 0 }.canonical_form(), before);
    assert_ne!(careful::Pay { cents: 100, tip: 1 }.canonical_form(), before);
}

/// Not to say it and to say what it would be anyway are one message where a default fills it in, and two where the
/// difference is kept.
#[test]
fn g19_pitfall_defaults() {
    #[derive(Deserialize, Fingerprint)]
    struct Filled {
        #[serde(default)]
        urgent: bool,
    }
    #[derive(Deserialize, Fingerprint)]
    struct Kept {
        urgent: Option<bool>,
    }
    fn form<T: Fingerprint + for<'de> Deserialize<'de>>(json: &[(&str, bool)]) -> Vec<u8> {
        let map: BTreeMap<&str, bool> = json.iter().copied().collect();
        let bytes = callboard::codec::encode(&map).unwrap();
        callboard::codec::decode::<T>(&bytes)
            .unwrap()
            .canonical_form()
    }
    let (unsaid, said) = (&[], &[("urgent", false)]);
    assert_eq!(form::<Filled>(unsaid), form::<Filled>(said));
    assert_ne!(form::<Kept>(unsaid), form::<Kept>(said));
}

/// An id that each attempt makes anew is a timestamp by another name.
#[test]
fn g19_pitfall_an_id_of_the_attempt() {
    #[derive(Fingerprint)]
    struct Pay {
        cents: u64,
        request: RequestKey,
    }
    let attempt = || Pay {
        cents: 100,
        request: RequestKey::new(),
    };
    assert_ne!(attempt().canonical_form(), attempt().canonical_form());
}
