//! The decoder: straight from the bytes of a slice, in both shapes.
//!
//! It takes what rmp-serde takes, and a test holds it to that. What it adds: it bounds the depth of everything, enums
//! included (G36), knows where the value ends, and believes lengths only as far as there is input. An error is one
//! word, so that a number comes back in registers.

use std::fmt;

use serde::de::value::SeqDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, Unexpected, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use super::MAX_DEPTH;

/// Why a value wasn't decoded. A thin pointer.
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "a `Box<str>` is two words")]
pub(super) struct Stop(Box<String>);

impl Stop {
    #[cold]
    fn new(why: impl Into<String>) -> Self {
        Stop(Box::new(why.into()))
    }

    #[cold]
    fn ends() -> Self {
        Stop::new("the bytes end in the midst of a value")
    }

    #[cold]
    fn extension() -> Self {
        Stop::new("extension types of MessagePack aren't supported")
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Stop {}

impl de::Error for Stop {
    #[cold]
    fn custom<T: fmt::Display>(why: T) -> Self {
        Stop::new(why.to_string())
    }
}

/// The value that these bytes are, all of them.
pub(super) fn whole<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Stop> {
    let mut decoder = Decoder {
        rest: bytes,
        depth: 0,
        wrapped: (0, usize::MAX),
    };
    let value = T::deserialize(&mut decoder)?;
    if decoder.rest.is_empty() {
        Ok(value)
    } else {
        Err(Stop::new("bytes left over behind the value"))
    }
}

struct Decoder<'de> {
    rest: &'de [u8],
    /// How many lists, maps and variants are open around the next value.
    depth: usize,
    /// How many options and wrappers have begun one behind the other without a byte of their own, and how much was left
    /// then: a type that contains itself like that has no end.
    wrapped: (usize, usize),
}

impl<'de> Decoder<'de> {
    #[inline]
    fn peek(&self) -> Result<u8, Stop> {
        self.rest.first().copied().ok_or_else(Stop::ends)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or_else(Stop::ends)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Stop> {
        self.array().map(|[byte]| byte)
    }

    /// A length of one, two or four bytes.
    #[inline]
    fn len<const N: usize>(&mut self) -> Result<usize, Stop> {
        let bytes = self.array::<N>()?;
        Ok(bytes
            .iter()
            .fold(0, |len, byte| len << 8 | usize::from(*byte)))
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'de [u8], Stop> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(Stop::ends)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn text<V: Visitor<'de>>(&mut self, len: usize, visitor: V) -> Result<V::Value, Stop> {
        let bytes = self.take(len)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => visitor.visit_borrowed_str(text),
            // Who takes bytes may have them.
            Err(error) => visitor
                .visit_borrowed_bytes::<Stop>(bytes)
                .map_err(|_| Stop::new(format!("a text that is none: {error}"))),
        }
    }

    #[inline]
    fn binary<V: Visitor<'de>>(
        &mut self,
        len: usize,
        visitor: V,
        as_bytes: bool,
    ) -> Result<V::Value, Stop> {
        let bytes = self.take(len)?;
        if as_bytes {
            return visitor.visit_borrowed_bytes(bytes);
        }
        // Of a type that is a list of bytes.
        visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied()))
    }

    /// Decodes what lies one level deeper.
    #[inline]
    fn deeper<T>(&mut self, decode: impl FnOnce(&mut Self) -> Result<T, Stop>) -> Result<T, Stop> {
        if self.depth == MAX_DEPTH {
            let why = format!("more than {MAX_DEPTH} values inside each other");
            return Err(Stop::new(why));
        }
        self.depth += 1;
        let value = decode(self)?;
        self.depth -= 1;
        Ok(value)
    }

    /// A value begins that takes no byte of its own.
    #[inline]
    fn wrap(&mut self) -> Result<(), Stop> {
        let (count, left) = self.wrapped;
        if left != self.rest.len() {
            self.wrapped = (0, self.rest.len());
            return Ok(());
        }
        if count == MAX_DEPTH {
            return Err(Stop::new("a type that contains itself, and nothing else"));
        }
        self.wrapped.0 += 1;
        Ok(())
    }

    /// What lies in a list or a map of that length: all of it, and one level deeper if there is any.
    #[inline]
    fn parts<T>(
        &mut self,
        len: usize,
        visit: impl FnOnce(&mut Parts<'_, 'de>) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        if len == 0 {
            return visit(&mut Parts { of: self, left: 0 });
        }
        self.deeper(|decoder| {
            let mut parts = Parts {
                of: decoder,
                left: len,
            };
            let value = visit(&mut parts)?;
            parts.end(value)
        })
    }

    #[inline]
    fn list<V: Visitor<'de>>(&mut self, len: usize, visitor: V) -> Result<V::Value, Stop> {
        self.parts(len, |parts| visitor.visit_seq(parts))
    }

    #[inline]
    fn map<V: Visitor<'de>>(&mut self, len: usize, visitor: V) -> Result<V::Value, Stop> {
        self.parts(len, |parts| visitor.visit_map(parts))
    }

    /// A number, in whatever width it is, or what else is there.
    #[inline]
    fn number<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Stop> {
        match self.peek()? {
            marker @ 0..=0x7F => {
                self.byte()?;
                visitor.visit_u64(marker.into())
            }
            0xCC => {
                let [_, number] = self.array()?;
                visitor.visit_u64(number.into())
            }
            0xCD => {
                let [_, a, b] = self.array()?;
                visitor.visit_u64(u16::from_be_bytes([a, b]).into())
            }
            0xCE => {
                let [_, a, b, c, d] = self.array()?;
                visitor.visit_u64(u32::from_be_bytes([a, b, c, d]).into())
            }
            _ => self.value(visitor, true),
        }
    }

    /// Whatever comes next. Bytes are a list for who doesn't want them `as_bytes`.
    fn value<V: Visitor<'de>>(&mut self, visitor: V, as_bytes: bool) -> Result<V::Value, Stop> {
        let marker = self.byte()?;
        let low = |mask: u8| usize::from(marker & mask);
        match marker {
            0..=0x7F => visitor.visit_u64(marker.into()),
            0x80..=0x8F => self.map(low(0x0F), visitor),
            0x90..=0x9F => self.list(low(0x0F), visitor),
            0xA0..=0xBF => self.text(low(0x1F), visitor),
            0xC0 => visitor.visit_unit(),
            0xC1 => Err(Stop::new("the byte that MessagePack never uses")),
            0xC2 => visitor.visit_bool(false),
            0xC3 => visitor.visit_bool(true),
            0xC4..=0xC6 => {
                let len = match marker {
                    0xC4 => self.len::<1>()?,
                    0xC5 => self.len::<2>()?,
                    _ => self.len::<4>()?,
                };
                self.binary(len, visitor, as_bytes)
            }
            0xC7..=0xC9 | 0xD4..=0xD8 => Err(Stop::extension()),
            0xCA => visitor.visit_f32(f32::from_be_bytes(self.array()?)),
            0xCB => visitor.visit_f64(f64::from_be_bytes(self.array()?)),
            0xCC => visitor.visit_u64(u8::from_be_bytes(self.array()?).into()),
            0xCD => visitor.visit_u64(u16::from_be_bytes(self.array()?).into()),
            0xCE => visitor.visit_u64(u32::from_be_bytes(self.array()?).into()),
            0xCF => visitor.visit_u64(u64::from_be_bytes(self.array()?)),
            0xD0 => visitor.visit_i64(i8::from_be_bytes(self.array()?).into()),
            0xD1 => visitor.visit_i64(i16::from_be_bytes(self.array()?).into()),
            0xD2 => visitor.visit_i64(i32::from_be_bytes(self.array()?).into()),
            0xD3 => visitor.visit_i64(i64::from_be_bytes(self.array()?)),
            0xD9..=0xDB => {
                let len = match marker {
                    0xD9 => self.len::<1>()?,
                    0xDA => self.len::<2>()?,
                    _ => self.len::<4>()?,
                };
                self.text(len, visitor)
            }
            0xDC => {
                let len = self.len::<2>()?;
                self.list(len, visitor)
            }
            0xDD => {
                let len = self.len::<4>()?;
                self.list(len, visitor)
            }
            0xDE => {
                let len = self.len::<2>()?;
                self.map(len, visitor)
            }
            0xDF => {
                let len = self.len::<4>()?;
                self.map(len, visitor)
            }
            0xE0..=0xFF => visitor.visit_i64(i8::from_be_bytes([marker]).into()),
        }
    }

    /// The length of the map that comes next, if one does.
    fn map_ahead(&mut self) -> Result<Option<usize>, Stop> {
        let marker = self.peek()?;
        let len = match marker {
            0x80..=0x8F => usize::from(marker & 0x0F),
            0xDE | 0xDF => usize::MAX,
            _ => return Ok(None),
        };
        self.byte()?;
        Ok(Some(match marker {
            0xDE => self.len::<2>()?,
            0xDF => self.len::<4>()?,
            _ => len,
        }))
    }

    /// An integer of 16 bytes, which travels as bytes. `None` if something else comes.
    fn wide(&mut self) -> Option<[u8; 16]> {
        let (taken, rest) = self.rest.split_first_chunk::<18>()?;
        let [0xC4, 16, bytes @ ..] = *taken else {
            return None;
        };
        self.rest = rest;
        Some(bytes)
    }
}

macro_rules! numbers {
    ($($deserialize:ident)*) => {$(
        #[inline]
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            self.number(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Decoder<'de> {
    type Error = Stop;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.value(visitor, true)
    }

    numbers! {
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        match self.wide() {
            Some(bytes) => visitor.visit_i128(i128::from_be_bytes(bytes)),
            None => self.number(visitor),
        }
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        match self.wide() {
            Some(bytes) => visitor.visit_u128(u128::from_be_bytes(bytes)),
            None => self.number(visitor),
        }
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        match self.peek()? {
            marker @ 0xA0..=0xBF => {
                self.byte()?;
                self.text(usize::from(marker & 0x1F), visitor)
            }
            0xD9 => {
                let [_, len] = self.array()?;
                self.text(len.into(), visitor)
            }
            _ => self.value(visitor, true),
        }
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        if self.peek()? == 0xC0 {
            self.byte()?;
            return visitor.visit_none();
        }
        self.wrap()?;
        visitor.visit_some(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        // An empty list is a unit struct here, and nowhere else.
        if self.peek()? == 0x90 {
            self.byte()?;
            return visitor.visit_unit();
        }
        self.value(visitor, true)
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        if name == rmp_serde::MSGPACK_EXT_STRUCT_NAME {
            return Err(Stop::extension());
        }
        self.wrap()?;
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        match self.peek()? {
            marker @ 0x90..=0x9F => {
                self.byte()?;
                self.list(usize::from(marker & 0x0F), visitor)
            }
            _ => self.value(visitor, false),
        }
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_seq(visitor)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.deserialize_seq(visitor)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        match self.map_ahead()? {
            None => visitor.visit_enum(Variant {
                of: self,
                has_value: false,
            }),
            Some(1) => self.deeper(|decoder| {
                visitor.visit_enum(Variant {
                    of: decoder,
                    has_value: true,
                })
            }),
            Some(len) => {
                let why = format!("an enum is a map with one variant, and not with {len}");
                Err(Stop::new(why))
            }
        }
    }

    forward_to_deserialize_any! {
        bool f32 f64 char bytes byte_buf unit map ignored_any
    }
}

/// What is left of a list or a map.
struct Parts<'a, 'de> {
    of: &'a mut Decoder<'de>,
    left: usize,
}

impl Parts<'_, '_> {
    /// All of them have been taken.
    #[inline]
    fn end<T>(&self, value: T) -> Result<T, Stop> {
        if self.left > 0 {
            let why = format!("{} values more than its type has", self.left);
            return Err(Stop::new(why));
        }
        Ok(value)
    }

    #[inline]
    fn next(&mut self) -> Option<&mut Self> {
        self.left = self.left.checked_sub(1)?;
        Some(self)
    }

    /// Each takes a byte at least.
    #[inline]
    fn hint(&self) -> usize {
        self.left.min(self.of.rest.len())
    }
}

impl<'de> de::SeqAccess<'de> for Parts<'_, 'de> {
    type Error = Stop;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Stop> {
        match self.next() {
            Some(parts) => seed.deserialize(&mut *parts.of).map(Some),
            None => Ok(None),
        }
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.hint())
    }
}

impl<'de> de::MapAccess<'de> for Parts<'_, 'de> {
    type Error = Stop;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Stop> {
        match self.next() {
            Some(parts) => seed.deserialize(&mut *parts.of).map(Some),
            None => Ok(None),
        }
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        seed.deserialize(&mut *self.of)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.hint())
    }
}

/// A variant: its name alone, or with its value in a map of one.
struct Variant<'a, 'de> {
    of: &'a mut Decoder<'de>,
    has_value: bool,
}

impl<'de> Variant<'_, 'de> {
    fn value(&mut self, expected: &'static str) -> Result<&mut Decoder<'de>, Stop> {
        if self.has_value {
            Ok(&mut *self.of)
        } else {
            Err(de::Error::invalid_type(Unexpected::UnitVariant, &expected))
        }
    }
}

impl<'de> de::EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Stop;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Stop> {
        let variant = seed.deserialize(&mut *self.of)?;
        Ok((variant, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Stop;

    fn unit_variant(self) -> Result<(), Stop> {
        if self.has_value && self.of.byte()? != 0xC0 {
            return Err(Stop::new("a variant without a value has one"));
        }
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(mut self, seed: T) -> Result<T::Value, Stop> {
        seed.deserialize(self.value("newtype variant")?)
    }

    fn tuple_variant<V: Visitor<'de>>(mut self, len: usize, visitor: V) -> Result<V::Value, Stop> {
        self.value("tuple variant")?.deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        mut self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let value = self.value("struct variant")?;
        value.deserialize_tuple(fields.len(), visitor)
    }
}
