//! What changes the place of a value changes the schema, and nothing else does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use uuid::Uuid;

use super::*;

/// Types of the same name, each in a module of its own.
macro_rules! types {
    ($($module:ident { $($item:item)+ })*) => {$(
        mod $module {
            #![allow(dead_code, unreachable_pub)]
            #[allow(unused_imports)]
            use super::*;
            $(#[derive(Serialize, Deserialize)] $item)+
        }
    )*};
}

types! {
    base { pub struct T { pub a: u32, pub b: String } }
    other_name { pub struct Renamed { pub a: u32, pub b: String } }
    other_path { pub struct T { pub a: u32, pub b: String } }
    defaults { #[serde(default)] #[derive(Default)] pub struct T { pub a: u32, pub b: String } }
    strict { #[serde(deny_unknown_fields)] pub struct T { pub a: u32, pub b: String } }
    skipped { pub struct T { pub a: u32, #[serde(skip)] pub cached: u64, pub b: String } }
    newtype_inside { pub struct T { pub a: N, pub b: String } pub struct N(pub u32); }
    same_text { pub struct T { pub a: u32, pub b: Box<str> } }
    more { pub struct T { pub a: u32, pub b: String, pub c: Option<u8> } }
    reordered { pub struct T { pub b: String, pub a: u32 } }
    renamed { pub struct T { pub a: u32, pub c: String } }
    renamed_by_serde { pub struct T { pub a: u32, #[serde(rename = "x")] pub b: String } }
    alias { pub struct T { pub a: u32, #[serde(alias = "x")] pub b: String } }
    wider { pub struct T { pub a: u64, pub b: String } }
    signed { pub struct T { pub a: i32, pub b: String } }
    optional { pub struct T { pub a: Option<u32>, pub b: String } }
    listed { pub struct T { pub a: Vec<u32>, pub b: String } }
    pair { pub struct T { pub a: (u32,), pub b: String } }
    mapped { pub struct T { pub a: BTreeMap<u32, u32>, pub b: String } }
    unit { pub struct T { pub a: (), pub b: String } }
    positional { pub struct T(pub u32, pub String); }
}

fn of<T: Serialize + DeserializeOwned + 'static>() -> Schema {
    schema::<T>().unwrap_or_else(|| panic!("{} has none", std::any::type_name::<T>()))
}

#[test]
fn g37_what_moves_no_value_changes_nothing() {
    let base = of::<base::T>();
    assert_eq!(of::<other_name::Renamed>(), base);
    assert_eq!(of::<other_path::T>(), base);
    assert_eq!(of::<defaults::T>(), base);
    assert_eq!(of::<strict::T>(), base);
    assert_eq!(of::<skipped::T>(), base);
    assert_eq!(of::<newtype_inside::T>(), base);
    assert_eq!(of::<same_text::T>(), base);
    // A second look is the table's.
    assert_eq!(of::<base::T>(), base);
}

#[test]
fn g37_what_moves_or_changes_a_value_changes_it() {
    let all = [
        of::<base::T>(),
        of::<more::T>(),
        of::<reordered::T>(),
        of::<renamed::T>(),
        of::<renamed_by_serde::T>(),
        of::<alias::T>(),
        of::<wider::T>(),
        of::<signed::T>(),
        of::<optional::T>(),
        of::<listed::T>(),
        of::<pair::T>(),
        of::<mapped::T>(),
        of::<unit::T>(),
        of::<positional::T>(),
    ];
    let distinct: BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len(), "{all:?}");
    // A change far inside shows outside.
    type Deep<T> = Vec<BTreeMap<String, Option<(u8, Result<T, ()>)>>>;
    assert_ne!(of::<Deep<base::T>>(), of::<Deep<more::T>>());
    assert_eq!(of::<Deep<base::T>>(), of::<Deep<other_path::T>>());
}

types! {
    kinds { pub enum E { A, B(u8), C(u8, u8), D { x: u8 } } }
    kinds_named { pub enum F { A, B(u8), C(u8, u8), D { x: u8 } } }
    kinds_swapped { pub enum E { A, C(u8, u8), B(u8), D { x: u8 } } }
    kinds_more { pub enum E { A, B(u8), C(u8, u8), D { x: u8 }, G } }
    kinds_field { pub enum E { A, B(u8), C(u8, u8), D { y: u8 } } }
    kinds_wider { pub enum E { A, B(u16), C(u8, u8), D { x: u8 } } }
    kinds_tuple { pub enum E { A, B((u8,)), C(u8, u8), D { x: u8 } } }
    kinds_empty { pub enum E { A {}, B(u8), C(u8, u8), D { x: u8 } } }
    kinds_last { pub enum E { A, B(u8), C(u8, u8), D { x: base::T } } }
    kinds_last_more { pub enum E { A, B(u8), C(u8, u8), D { x: more::T } } }
}

#[test]
fn g37_every_variant_is_part_of_it() {
    assert_eq!(of::<kinds::E>(), of::<kinds_named::F>());
    let all = [
        of::<kinds::E>(),
        of::<kinds_swapped::E>(),
        of::<kinds_more::E>(),
        of::<kinds_field::E>(),
        of::<kinds_wider::E>(),
        of::<kinds_tuple::E>(),
        of::<kinds_empty::E>(),
        of::<kinds_last::E>(),
        of::<kinds_last_more::E>(),
    ];
    let distinct: BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len(), "{all:?}");
    // Also those of enums that stand behind others, or occur twice.
    type Twice<T> = (kinds::E, Vec<T>, Option<T>);
    assert_ne!(
        of::<Twice<kinds_last::E>>(),
        of::<Twice<kinds_last_more::E>>()
    );
}

types! {
    tree { pub enum Tree { Node(Box<Tree>, Box<Tree>), Leaf(u8) } }
    tree_wider { pub enum Tree { Node(Box<Tree>, Box<Tree>), Leaf(u16) } }
    tree_list { pub struct Tree { pub value: u8, pub below: Vec<Tree> } }
    chain { pub struct Chain { pub value: u8, pub next: Option<Box<Chain>>, pub last: u8 } }
    chain_wider { pub struct Chain { pub value: u8, pub next: Option<Box<Chain>>, pub last: u16 } }
    mutual { pub struct A { pub b: Vec<B> } pub enum B { Up(Box<A>), Down(u8) } }
    mutual_more { pub struct A { pub b: Vec<B> } pub enum B { Up(Box<A>), Down(u8), Gone } }
    endless { pub struct Endless(Box<Endless>); }
    endless_enum { pub enum Endless { Only(Box<Endless>) } }
    endless_fields { pub struct Endless { only: Box<Endless> } }
}

#[derive(Serialize, Deserialize)]
struct Generic<T> {
    inner: T,
}

#[test]
fn g37_types_that_contain_themselves_have_one() {
    assert_ne!(of::<tree::Tree>(), of::<tree_wider::Tree>());
    assert_ne!(of::<tree::Tree>(), of::<tree_list::Tree>());
    assert_ne!(of::<chain::Chain>(), of::<chain_wider::Chain>());
    assert_ne!(of::<mutual::A>(), of::<mutual_more::A>());
    assert_eq!(schema::<endless::Endless>(), None);
    assert_eq!(schema::<endless_enum::Endless>(), None);
    assert_eq!(schema::<endless_fields::Endless>(), None);
    // The same type in itself isn't one that contains itself.
    type Thrice<T> = Generic<Generic<Generic<T>>>;
    assert_ne!(of::<Thrice<u8>>(), of::<Thrice<u16>>());
    assert_ne!(of::<Thrice<u8>>(), of::<Generic<Generic<u8>>>());
    assert_ne!(of::<Option<Option<u8>>>(), of::<Option<u8>>());
}

types! {
    untagged { #[serde(untagged)] pub enum E { A(u8), B(String) } }
    tagged { #[serde(tag = "t")] pub enum E { A { x: u8 }, B { y: u8 } } }
    flat { pub struct T { pub a: u8, #[serde(flatten)] pub rest: BTreeMap<String, u8> } }
    checked { #[serde(try_from = "u8")] pub struct T { pub a: u8 } }
    one_way { pub struct T { pub a: u8, #[serde(skip_serializing, default)] pub b: u8, pub c: u8 } }
    other_way { pub struct T { pub a: u8, #[serde(skip_deserializing)] pub b: u8, pub c: u8 } }
    both_ways { pub struct T {
        #[serde(skip_serializing, default)] pub a: u8,
        #[serde(skip_deserializing)] pub b: u8,
        pub c: u8
    } }
}

impl TryFrom<u8> for checked::T {
    type Error = String;
    fn try_from(_: u8) -> Result<Self, String> {
        Err("never".into())
    }
}

/// Reads whatever comes.
#[derive(Serialize)]
struct Any;

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(from).map(|_| Any)
    }
}

/// Panics when it is read.
#[derive(Serialize)]
struct Panics;

impl<'de> Deserialize<'de> for Panics {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("in deserialize")
    }
}

/// Reads nothing.
#[derive(Serialize)]
struct Nothing;

impl<'de> Deserialize<'de> for Nothing {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Nothing)
    }
}

#[test]
fn g37_what_can_not_be_known_has_none() {
    assert_eq!(schema::<untagged::E>(), None);
    assert_eq!(schema::<tagged::E>(), None);
    assert_eq!(schema::<flat::T>(), None);
    assert_eq!(schema::<checked::T>(), None);
    assert_eq!(schema::<one_way::T>(), None);
    assert_eq!(schema::<other_way::T>(), None);
    assert_eq!(schema::<both_ways::T>(), None);
    assert_eq!(schema::<Any>(), None);
    assert_eq!(schema::<Panics>(), None);
    assert_eq!(schema::<Nothing>(), None);
    assert_eq!(schema::<Vec<Option<Any>>>(), None);
    // And what is inside others that can be known hides nothing.
    assert_eq!(schema::<(u8, flat::T)>(), None);
}

#[test]
fn g37_types_of_the_library_and_of_others_have_one() {
    let all = [
        of::<u8>(),
        of::<bool>(),
        of::<char>(),
        of::<f32>(),
        of::<i128>(),
        of::<()>(),
        of::<String>(),
        of::<Vec<u8>>(),
        of::<HashMap<String, u8>>(),
        of::<[u8; 32]>(),
        of::<(u8, u8)>(),
        of::<Duration>(),
        of::<Uuid>(),
        of::<Result<u8, String>>(),
        of::<std::num::NonZeroU32>(),
        of::<std::ops::Range<u8>>(),
        of::<IpAddr>(),
    ];
    let distinct: BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len(), "{all:?}");
    assert_eq!(of::<HashMap<String, u8>>(), of::<BTreeMap<String, u8>>());
    assert_eq!(of::<std::num::NonZeroU8>(), of::<u8>());
}

/// The same in every build, on every platform, from now on: two builds of a program compare them.
#[test]
fn g37_the_numbers_stay() {
    let numbers = [
        of::<u32>().as_u64(),
        of::<base::T>().as_u64(),
        of::<kinds::E>().as_u64(),
        of::<tree::Tree>().as_u64(),
        of::<Uuid>().as_u64(),
    ];
    assert_eq!(
        numbers.map(|number| format!("{number:016x}")),
        [
            "b25082af23b40732",
            "dd7c7275aa81c4a5",
            "22741637487dba7b",
            "7078965840d5f3fb",
            "c0c2743c39ab30d3",
        ]
    );
    assert_eq!(Schema::from_u64(0), None);
    assert_eq!(Schema::from_u64(numbers[1]), Some(of::<base::T>()));
}

/// Values whose schemas are equal are read by position as they were written, types with different names included.
#[test]
fn g37_equal_schemas_read_each_other() {
    let bytes = |value: &base::T| {
        let mut bytes = Vec::new();
        encode_into(value, &mut bytes, Shape::Positional).unwrap();
        bytes
    };
    let written = bytes(&base::T {
        a: 7,
        b: "x".into(),
    });
    let read = decode::<newtype_inside::T>(&written).unwrap();
    assert_eq!((read.a.0, &*read.b), (7, "x"));
    let read = decode::<skipped::T>(&written).unwrap();
    assert_eq!((read.a, read.cached, &*read.b), (7, 0, "x"));
}
