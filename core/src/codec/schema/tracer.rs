//! A deserializer that has nothing to read: it makes up what it is asked for, and notes that.

use std::any::type_name;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};

use super::graph::{Content, Graph, Kind, Leaf, Part, Parts, Slot};
use super::mirror::Mirror;

/// How many values may lie inside each other. (A type that contains itself is gone into once.)
const DEPTH: usize = 100;
/// How many values may be made up for one type.
const VALUES: usize = 50_000;

/// The type doesn't take what is made up.
#[derive(Debug)]
pub(super) struct Unknown;

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its schema can't be known")
    }
}

impl std::error::Error for Unknown {}

impl de::Error for Unknown {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Unknown
    }
}

/// One value after another, until each option, list and map was seen with something in it, and each enum with
/// each of its variants. A value goes once into what wasn't seen yet, or leads to such; elsewhere it takes the
/// shortest way, so that types that contain themselves come to an end.
#[derive(Default)]
pub(super) struct Tracer {
    graph: Graph,
    root: Option<Part>,
    /// What was gone into in the values before.
    seen: BTreeSet<Slot>,
    /// The same in this one.
    seen_now: BTreeSet<Slot>,
    /// What was gone into and leads to what wasn't, and how far that is.
    leads_on: BTreeMap<Slot, usize>,
    /// For each enum a variant that comes to an end.
    ends: BTreeMap<usize, usize>,
    /// Which of the values for a leaf its visitor has refused so far.
    refused: BTreeMap<&'static str, usize>,
    /// The values that are being made, the outermost first.
    open: Vec<Parts>,
    /// How many newtypes are around the next value.
    newtypes: usize,
    values: usize,
    /// Something was learnt that helps if this value comes to nothing.
    has_learnt: bool,
}

impl Tracer {
    /// The next value; `None` if all was seen.
    pub(super) fn next_value<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Unknown> {
        loop {
            self.seen_now.clear();
            self.open = vec![Parts::default()];
            self.newtypes = 0;
            self.has_learnt = false;
            match T::deserialize(&mut *self) {
                Ok(value) => {
                    // A type that asked for nothing has no shape; nor has one that changes its mind.
                    let root = self.open.pop().and_then(|root| root.parts.first().copied());
                    let is_first = self.root.is_none();
                    self.root = Some(
                        root.filter(|_| is_first || self.root == root)
                            .ok_or(Unknown)?,
                    );
                    if !is_first && self.seen_now.is_subset(&self.seen) {
                        // If something can't be reached, what it is stays unknown.
                        return self
                            .graph
                            .is_whole(&self.seen)
                            .then_some(None)
                            .ok_or(Unknown);
                    }
                    self.seen.append(&mut self.seen_now);
                    self.leads_on = self.graph.leads_on(&self.seen);
                    return Ok(Some(value));
                }
                Err(Unknown) if self.has_learnt => {}
                Err(Unknown) => return Err(Unknown),
            }
        }
    }

    /// Whether a value that was encoded with names has the fields that its type reads.
    pub(super) fn is_mirrored(&self, named: &[u8]) -> bool {
        let Some(part) = self.root else { return false };
        let graph = &self.graph;
        let mut from = rmp_serde::Deserializer::from_read_ref(named);
        Mirror { graph, part }.deserialize(&mut from).is_ok()
    }

    pub(super) fn hash(&self) -> u64 {
        self.root.map_or(0, |root| self.graph.hash(root))
    }

    fn part(&mut self, part: Part) -> Result<(), Unknown> {
        self.values += 1;
        if self.values > VALUES || self.open.len() > DEPTH {
            // Not to be tried again.
            self.has_learnt = false;
            return Err(Unknown);
        }
        self.open.last_mut().ok_or(Unknown)?.parts.push(part);
        Ok(())
    }

    fn node<V>(&mut self, kind: Kind) -> Result<usize, Unknown> {
        let at = self.graph.node(kind, type_name::<V>());
        self.part(Part::Node(at))?;
        Ok(at)
    }

    /// Whether this value goes into that.
    fn goes_into(&mut self, at: usize, variant: usize) -> bool {
        self.way(at, variant).is_some() && self.seen_now.insert((at, variant))
    }

    /// How far it is from there to what wasn't gone into yet, if this value may go there.
    fn way(&self, at: usize, variant: usize) -> Option<usize> {
        let slot = (at, variant);
        if self.seen_now.contains(&slot) {
            None
        } else if self.seen.contains(&slot) {
            self.leads_on.get(&slot).copied()
        } else {
            Some(0)
        }
    }

    /// Makes a value with parts, and notes these.
    fn inside<T>(
        &mut self,
        at: usize,
        variant: usize,
        make: impl FnOnce(&mut Self) -> Result<T, Unknown>,
    ) -> Result<T, Unknown> {
        self.open.push(Parts::default());
        let value = make(self)?;
        let parts = self.open.pop().ok_or(Unknown)?;
        // A type that asks for one thing today and for another tomorrow.
        if self.graph.note(at, variant, &parts) {
            Ok(value)
        } else {
            self.has_learnt = false;
            Err(Unknown)
        }
    }

    /// Makes a value without parts: one that its visitor hasn't refused, by the count of those it has.
    fn leaf<V, T>(
        &mut self,
        leaf: Leaf,
        make: impl FnOnce(usize, usize) -> Option<Result<T, Unknown>>,
    ) -> Result<T, Unknown> {
        self.part(Part::Leaf(leaf))?;
        let visitor = type_name::<V>();
        let refused = self.refused.get(visitor).copied().unwrap_or(0);
        match make(refused, self.values) {
            Some(Ok(value)) => Ok(value),
            Some(Err(_)) => {
                self.refused.insert(visitor, refused + 1);
                self.has_learnt = true;
                Err(Unknown)
            }
            None => {
                self.has_learnt = false;
                Err(Unknown)
            }
        }
    }

    fn content(&mut self, content: Content) {
        if let Some(parts) = self.open.last_mut() {
            parts.content = Some(content);
        }
    }
}

/// Numbers differ from one to the next, so that one in the place of another shows.
macro_rules! numbers {
    ($($method:ident $leaf:ident $visit:ident $type:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unknown> {
            self.leaf::<V, _>(Leaf::$leaf, |refused, n| {
                #[expect(clippy::cast_possible_truncation, reason = "below 100")]
                let number = match refused {
                    0 => (n % 99 + 1) as u8,
                    1 => 0,
                    2 => 1,
                    _ => return None,
                };
                Some(visitor.$visit(number as $type))
            })
        }
    )*};
}

/// What is tried for a text.
fn text(refused: usize, n: usize) -> Option<String> {
    let other = ["", "1", "127.0.0.1", "127.0.0.1:80", "http://a/", "/a"];
    match refused {
        0 => Some(format!("t{n}")),
        refused => other.get(refused - 1).map(ToString::to_string),
    }
}

/// What is tried for bytes.
fn bytes(refused: usize, n: usize) -> Option<Vec<u8>> {
    let lengths = [3, 16, 32, 4, 8, 12, 20, 24, 28, 48, 64, 0];
    let length = lengths.get(refused)?;
    #[expect(clippy::cast_possible_truncation, reason = "below 100")]
    let byte = (n % 99) as u8;
    Some(vec![byte; *length])
}

impl<'de> Deserializer<'de> for &mut Tracer {
    type Error = Unknown;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Unknown> {
        self.has_learnt = false;
        Err(Unknown)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unknown> {
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unknown> {
        self.deserialize_any(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unknown> {
        self.leaf::<V, _>(Leaf::Bool, |refused, n| match refused {
            0 => Some(visitor.visit_bool(n % 2 == 0)),
            1 => Some(visitor.visit_bool(n % 2 != 0)),
            _ => None,
        })
    }

    numbers! {
        deserialize_i8 I8 visit_i8 i8
        deserialize_i16 I16 visit_i16 i16
        deserialize_i32 I32 visit_i32 i32
        deserialize_i64 I64 visit_i64 i64
        deserialize_i128 I128 visit_i128 i128
        deserialize_u8 U8 visit_u8 u8
        deserialize_u16 U16 visit_u16 u16
        deserialize_u32 U32 visit_u32 u32
        deserialize_u64 U64 visit_u64 u64
        deserialize_u128 U128 visit_u128 u128
        deserialize_f32 F32 visit_f32 f32
        deserialize_f64 F64 visit_f64 f64
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unknown> {
        self.leaf::<V, _>(Leaf::Char, |refused, n| {
            #[expect(clippy::cast_possible_truncation, reason = "below 26")]
            let letter = char::from(b'a' + (n % 26) as u8);
            (refused == 0).then(|| visitor.visit_char(letter))
        })
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unknown> {
        self.leaf::<V, _>(Leaf::Text, |refused, n| {
            text(refused, n).map(|text| visitor.visit_str(&text))
        })
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unknown> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unknown> {
        self.leaf::<V, _>(Leaf::Bytes, |refused, n| {
            bytes(refused, n).map(|bytes| visitor.visit_bytes(&bytes))
        })
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unknown> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unknown> {
        let at = self.node::<V>(Kind::Option)?;
        if self.goes_into(at, 0) {
            self.inside(at, 0, |tracer| visitor.visit_some(tracer))
        } else {
            visitor.visit_none()
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unknown> {
        self.part(Part::Leaf(Leaf::Unit))?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unknown> {
        self.part(Part::Leaf(Leaf::UnitStruct))?;
        visitor.visit_unit()
    }

    /// Written like the value inside.
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unknown> {
        if name == rmp_serde::MSGPACK_EXT_STRUCT_NAME {
            return self.deserialize_any(visitor);
        }
        self.newtypes += 1;
        if self.newtypes > DEPTH {
            self.has_learnt = false;
            return Err(Unknown);
        }
        let value = visitor.visit_newtype_struct(&mut *self)?;
        self.newtypes -= 1;
        Ok(value)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unknown> {
        let at = self.node::<V>(Kind::List)?;
        if self.goes_into(at, 0) {
            self.inside(at, 0, |tracer| visitor.visit_seq(Made::of(tracer, 1)))
        } else {
            visitor.visit_seq(Made::of(self, 0))
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Unknown> {
        let at = self.node::<V>(Kind::Tuple(len))?;
        self.inside(at, 0, |tracer| visitor.visit_seq(Made::of(tracer, len)))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Unknown> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unknown> {
        let at = self.node::<V>(Kind::Map)?;
        if self.goes_into(at, 0) {
            self.inside(at, 0, |tracer| visitor.visit_map(Made::of(tracer, 1)))
        } else {
            visitor.visit_map(Made::of(self, 0))
        }
    }

    /// Read by position, in the order in which the type asks: who can read only names has no such order.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unknown> {
        let at = self.node::<V>(Kind::Struct(fields))?;
        let len = fields.len();
        self.inside(at, 0, |tracer| visitor.visit_seq(Made::of(tracer, len)))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unknown> {
        let at = self.node::<V>(Kind::Enum(variants))?;
        let ways =
            (0..variants.len()).filter_map(|variant| Some((self.way(at, variant)?, variant)));
        let wanted = ways.min().map(|(_, variant)| variant);
        let variant = wanted.or_else(|| self.ends.get(&at).copied());
        let variant = variant.ok_or(Unknown)?;
        self.seen_now.insert((at, variant));
        let name = *variants.get(variant).ok_or(Unknown)?;
        let value = self.inside(at, variant, |tracer| {
            visitor.visit_enum(Chosen { tracer, name })
        })?;
        if let Entry::Vacant(end) = self.ends.entry(at) {
            end.insert(variant);
            self.has_learnt = true;
        }
        Ok(value)
    }
}

/// So many values: of a list, a map, a tuple or a struct.
struct Made<'t> {
    tracer: &'t mut Tracer,
    left: usize,
}

impl<'t> Made<'t> {
    fn of(tracer: &'t mut Tracer, left: usize) -> Self {
        Made { tracer, left }
    }

    fn take(&mut self) -> bool {
        let is_left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_left
    }
}

impl<'de> SeqAccess<'de> for Made<'_> {
    type Error = Unknown;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Unknown> {
        if self.take() {
            seed.deserialize(&mut *self.tracer).map(Some)
        } else {
            Ok(None)
        }
    }
}

impl<'de> MapAccess<'de> for Made<'_> {
    type Error = Unknown;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Unknown> {
        SeqAccess::next_element_seed(self, seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Unknown> {
        seed.deserialize(&mut *self.tracer)
    }
}

/// A variant of an enum.
struct Chosen<'t> {
    tracer: &'t mut Tracer,
    name: &'static str,
}

impl<'de, 't> EnumAccess<'de> for Chosen<'t> {
    type Error = Unknown;
    type Variant = Chosen<'t>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), Unknown> {
        let name: StrDeserializer<'_, Unknown> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Chosen<'_> {
    type Error = Unknown;

    fn unit_variant(self) -> Result<(), Unknown> {
        self.tracer.content(Content::Nothing);
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Unknown> {
        self.tracer.content(Content::Value);
        seed.deserialize(self.tracer)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Unknown> {
        self.tracer.content(Content::Tuple(len));
        visitor.visit_seq(Made::of(self.tracer, len))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unknown> {
        self.tracer.content(Content::Struct(fields));
        visitor.visit_seq(Made::of(self.tracer, fields.len()))
    }
}
