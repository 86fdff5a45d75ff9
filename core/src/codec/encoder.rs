//! The encoder: straight into the bytes of the caller, in one of two shapes.
//!
//! Byte for byte it writes what rmp-serde writes (its defaults for positions, its `with_struct_map` for
//! names), and a test holds it to that. What it adds: it appends to a buffer that others have written to, keeps
//! a limit before it writes, bounds the depth, and notices a struct that leaves a field out.

use std::fmt;

use serde::ser::{self, Serialize};

use super::{CodecError, MAX_DEPTH, Shape};

/// Why a value wasn't encoded.
#[derive(Debug)]
pub(super) enum Stop {
    /// A struct leaves a field out, which positions can't say.
    LeftOut,
    /// It would take more bytes than it may.
    TooLarge,
    Refused(String),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::LeftOut => f.write_str("a struct leaves a field out"),
            Stop::TooLarge => f.write_str("too large"),
            Stop::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Stop {}

impl ser::Error for Stop {
    fn custom<T: fmt::Display>(why: T) -> Self {
        Stop::Refused(why.to_string())
    }
}

/// Appends a value, in another shape than asked for if it must be. The bytes are as before if it fails, or
/// panics.
pub(super) fn append<T: Serialize + ?Sized>(
    value: &T,
    out: &mut Vec<u8>,
    shape: Shape,
    limit: usize,
) -> Result<Shape, CodecError> {
    let mut written = Written {
        start: out.len(),
        out,
        is_whole: false,
    };
    let mut wrote = shape;
    let mut result = written.value(value, shape, limit);
    if let (Err(Stop::LeftOut), Shape::Positional) = (&result, shape) {
        written.out.truncate(written.start);
        wrote = Shape::Named;
        result = written.value(value, Shape::Named, limit);
    }
    match result {
        Ok(()) => {
            written.is_whole = true;
            Ok(wrote)
        }
        Err(Stop::TooLarge) => Err(CodecError::too_large(limit)),
        Err(why) => Err(CodecError::new(why.to_string())),
    }
}

/// What was appended; taken back unless it is whole.
struct Written<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    is_whole: bool,
}

impl Written<'_> {
    fn value<T: Serialize + ?Sized>(
        &mut self,
        value: &T,
        shape: Shape,
        limit: usize,
    ) -> Result<(), Stop> {
        value.serialize(&mut Encoder {
            end: self.start.saturating_add(limit),
            out: self.out,
            shape,
            depth: 0,
        })
    }
}

impl Drop for Written<'_> {
    fn drop(&mut self) {
        if !self.is_whole {
            self.out.truncate(self.start);
        }
    }
}

struct Encoder<'o> {
    out: &'o mut Vec<u8>,
    /// The length that `out` may reach.
    end: usize,
    shape: Shape,
    /// How many values are open around the next one.
    depth: usize,
}

impl Encoder<'_> {
    #[inline]
    fn room(&self, bytes: usize) -> Result<(), Stop> {
        if bytes > self.end.saturating_sub(self.out.len()) {
            return Err(Stop::TooLarge);
        }
        Ok(())
    }

    #[inline]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) -> Result<(), Stop> {
        self.room(N)?;
        self.out.extend_from_slice(&bytes);
        Ok(())
    }

    /// A marker and a number behind it.
    #[inline]
    fn put_marked<const N: usize>(&mut self, marker: u8, number: [u8; N]) -> Result<(), Stop> {
        self.room(1 + N)?;
        self.out.push(marker);
        self.out.extend_from_slice(&number);
        Ok(())
    }

    #[inline]
    fn put_unsigned(&mut self, number: u64) -> Result<(), Stop> {
        if let Ok(byte) = u8::try_from(number) {
            return if byte < 0x80 {
                self.put([byte])
            } else {
                self.put([0xCC, byte])
            };
        }
        if let Ok(number) = u16::try_from(number) {
            return self.put_marked(0xCD, number.to_be_bytes());
        }
        match u32::try_from(number) {
            Ok(number) => self.put_marked(0xCE, number.to_be_bytes()),
            Err(_) => self.put_marked(0xCF, number.to_be_bytes()),
        }
    }

    #[inline]
    fn put_signed(&mut self, number: i64) -> Result<(), Stop> {
        if let Ok(number) = u64::try_from(number) {
            return self.put_unsigned(number);
        }
        if let Ok(byte) = i8::try_from(number) {
            let [byte] = byte.to_be_bytes();
            return if byte >= 0xE0 {
                self.put([byte])
            } else {
                self.put([0xD0, byte])
            };
        }
        if let Ok(number) = i16::try_from(number) {
            return self.put_marked(0xD1, number.to_be_bytes());
        }
        match i32::try_from(number) {
            Ok(number) => self.put_marked(0xD2, number.to_be_bytes()),
            Err(_) => self.put_marked(0xD3, number.to_be_bytes()),
        }
    }

    #[inline]
    fn put_text(&mut self, text: &str) -> Result<(), Stop> {
        match len32(text.len())? {
            #[expect(clippy::cast_possible_truncation, reason = "five bits")]
            len @ ..32 => self.put([0xA0 | len as u8])?,
            len @ ..256 => self.put([0xD9, low(len)])?,
            len @ ..65_536 => self.put_marked(0xDA, low16(len))?,
            len => self.put_marked(0xDB, len.to_be_bytes())?,
        }
        self.put_all(text.as_bytes())
    }

    #[inline]
    fn put_binary(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        match len32(bytes.len())? {
            len @ ..256 => self.put([0xC4, low(len)])?,
            len @ ..65_536 => self.put_marked(0xC5, low16(len))?,
            len => self.put_marked(0xC6, len.to_be_bytes())?,
        }
        self.put_all(bytes)
    }

    #[inline]
    fn put_all(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.room(bytes.len())?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn put_header(&mut self, kind: Kind, len: usize) -> Result<(), Stop> {
        match len32(len)? {
            len @ ..16 => self.put([kind.short() | low(len)]),
            len @ ..65_536 => self.put_marked(kind.long(), low16(len)),
            len => self.put_marked(kind.long() + 1, len.to_be_bytes()),
        }
    }

    /// Goes a level deeper.
    #[inline]
    fn open(&mut self) -> Result<(), Stop> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ser::Error::custom(format_args!(
                "more than {MAX_DEPTH} values inside each other"
            )));
        }
        Ok(())
    }
}

/// Lists and maps.
#[derive(Clone, Copy)]
enum Kind {
    List,
    Map,
}

impl Kind {
    /// The marker of one with up to 15 parts.
    fn short(self) -> u8 {
        match self {
            Kind::List => 0x90,
            Kind::Map => 0x80,
        }
    }

    /// The marker of one whose length has 16 bits; the next is that for 32.
    fn long(self) -> u8 {
        match self {
            Kind::List => 0xDC,
            Kind::Map => 0xDE,
        }
    }
}

fn len32(len: usize) -> Result<u32, Stop> {
    u32::try_from(len).map_err(|_| Stop::Refused(format!("{len} are too many for MessagePack")))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "what is left is what is wanted"
)]
fn low(len: u32) -> u8 {
    len as u8
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "what is left is what is wanted"
)]
fn low16(len: u32) -> [u8; 2] {
    (len as u16).to_be_bytes()
}

/// A value with parts.
struct Parts<'e, 'o> {
    encoder: &'e mut Encoder<'o>,
    kind: Kind,
    /// How many it said it has; if it didn't say, where its header goes when that is known.
    said: Result<usize, usize>,
    has: usize,
}

impl<'e, 'o> Parts<'e, 'o> {
    #[inline]
    fn begin(encoder: &'e mut Encoder<'o>, kind: Kind, len: Option<usize>) -> Result<Self, Stop> {
        encoder.open()?;
        let said = match len {
            Some(len) => {
                encoder.put_header(kind, len)?;
                Ok(len)
            }
            None => Err(encoder.out.len()),
        };
        Ok(Parts {
            encoder,
            kind,
            said,
            has: 0,
        })
    }

    #[inline]
    fn of_struct(encoder: &'e mut Encoder<'o>, len: usize) -> Result<Self, Stop> {
        let kind = match encoder.shape {
            Shape::Named => Kind::Map,
            Shape::Positional => Kind::List,
        };
        Parts::begin(encoder, kind, Some(len))
    }

    #[inline]
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        self.has += 1;
        value.serialize(&mut *self.encoder)
    }

    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), Stop> {
        if matches!(self.kind, Kind::Map) {
            self.encoder.put_text(key)?;
        }
        self.part(value)
    }

    fn leave_out(&self) -> Result<(), Stop> {
        match self.kind {
            Kind::Map => Ok(()),
            Kind::List => Err(Stop::LeftOut),
        }
    }

    #[inline]
    fn finish(self) -> Result<(), Stop> {
        self.encoder.depth -= 1;
        match self.said {
            Ok(said) if said == self.has => Ok(()),
            Ok(said) => Err(ser::Error::custom(format_args!(
                "it said it had {said} parts, and had {}",
                self.has
            ))),
            Err(at) => self.put_header_at(at),
        }
    }

    /// Puts the header in front of what it counts.
    #[cold]
    fn put_header_at(self, at: usize) -> Result<(), Stop> {
        let parts_end = self.encoder.out.len();
        self.encoder.put_header(self.kind, self.has)?;
        self.encoder.out[at..].rotate_left(parts_end - at);
        Ok(())
    }
}

impl<'e, 'o> ser::Serializer for &'e mut Encoder<'o> {
    type Ok = ();
    type Error = Stop;
    type SerializeSeq = Parts<'e, 'o>;
    type SerializeTuple = Parts<'e, 'o>;
    type SerializeTupleStruct = Parts<'e, 'o>;
    type SerializeTupleVariant = Inside<'e, 'o>;
    type SerializeMap = Parts<'e, 'o>;
    type SerializeStruct = Parts<'e, 'o>;
    type SerializeStructVariant = Inside<'e, 'o>;

    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), Stop> {
        self.put([if value { 0xC3 } else { 0xC2 }])
    }

    #[inline]
    fn serialize_i8(self, value: i8) -> Result<(), Stop> {
        self.put_signed(value.into())
    }

    #[inline]
    fn serialize_i16(self, value: i16) -> Result<(), Stop> {
        self.put_signed(value.into())
    }

    #[inline]
    fn serialize_i32(self, value: i32) -> Result<(), Stop> {
        self.put_signed(value.into())
    }

    #[inline]
    fn serialize_i64(self, value: i64) -> Result<(), Stop> {
        self.put_signed(value)
    }

    fn serialize_i128(self, value: i128) -> Result<(), Stop> {
        self.put_binary(&value.to_be_bytes())
    }

    #[inline]
    fn serialize_u8(self, value: u8) -> Result<(), Stop> {
        self.put_unsigned(value.into())
    }

    #[inline]
    fn serialize_u16(self, value: u16) -> Result<(), Stop> {
        self.put_unsigned(value.into())
    }

    #[inline]
    fn serialize_u32(self, value: u32) -> Result<(), Stop> {
        self.put_unsigned(value.into())
    }

    #[inline]
    fn serialize_u64(self, value: u64) -> Result<(), Stop> {
        self.put_unsigned(value)
    }

    fn serialize_u128(self, value: u128) -> Result<(), Stop> {
        self.put_binary(&value.to_be_bytes())
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<(), Stop> {
        self.put_marked(0xCA, value.to_be_bytes())
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<(), Stop> {
        self.put_marked(0xCB, value.to_be_bytes())
    }

    fn serialize_char(self, value: char) -> Result<(), Stop> {
        self.put_text(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), Stop> {
        self.put_text(value)
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Stop> {
        self.put_binary(value)
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Stop> {
        self.put([0xC0])
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Stop> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), Stop> {
        self.put([0xC0])
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Stop> {
        self.put_header(Kind::List, 0)
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Stop> {
        self.put_text(variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Stop> {
        if name == rmp_serde::MSGPACK_EXT_STRUCT_NAME {
            return Err(Stop::Refused(
                "extension types of MessagePack aren't supported".into(),
            ));
        }
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Stop> {
        self.open()?;
        self.put_header(Kind::Map, 1)?;
        self.put_text(variant)?;
        value.serialize(&mut *self)?;
        self.depth -= 1;
        Ok(())
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Parts<'e, 'o>, Stop> {
        Parts::begin(self, Kind::List, len)
    }

    #[inline]
    fn serialize_tuple(self, len: usize) -> Result<Parts<'e, 'o>, Stop> {
        Parts::begin(self, Kind::List, Some(len))
    }

    #[inline]
    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Parts<'e, 'o>, Stop> {
        Parts::begin(self, Kind::List, Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Inside<'e, 'o>, Stop> {
        self.open()?;
        self.put_header(Kind::Map, 1)?;
        self.put_text(variant)?;
        Parts::begin(self, Kind::List, Some(len)).map(Inside)
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Parts<'e, 'o>, Stop> {
        Parts::begin(self, Kind::Map, len)
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, len: usize) -> Result<Parts<'e, 'o>, Stop> {
        Parts::of_struct(self, len)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Inside<'e, 'o>, Stop> {
        self.open()?;
        self.put_header(Kind::Map, 1)?;
        self.put_text(variant)?;
        Parts::of_struct(self, len).map(Inside)
    }
}

/// What serde tells apart and MessagePack doesn't: parts in a row.
macro_rules! parts_in_a_row {
    ($($row:ident by $each:ident,)*) => {
        $(impl ser::$row for Parts<'_, '_> {
            type Ok = ();
            type Error = Stop;

            #[inline]
            fn $each<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
                self.part(value)
            }

            #[inline]
            fn end(self) -> Result<(), Stop> {
                self.finish()
            }
        })*
    };
}

parts_in_a_row! {
    SerializeSeq by serialize_element,
    SerializeTuple by serialize_element,
    SerializeTupleStruct by serialize_field,
}

impl ser::SerializeMap for Parts<'_, '_> {
    type Ok = ();
    type Error = Stop;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Stop> {
        key.serialize(&mut *self.encoder)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        self.part(value)
    }

    #[inline]
    fn end(self) -> Result<(), Stop> {
        self.finish()
    }
}

impl ser::SerializeStruct for Parts<'_, '_> {
    type Ok = ();
    type Error = Stop;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Stop> {
        self.field(key, value)
    }

    fn skip_field(&mut self, _: &'static str) -> Result<(), Stop> {
        self.leave_out()
    }

    #[inline]
    fn end(self) -> Result<(), Stop> {
        self.finish()
    }
}

/// The parts of a variant, inside the map that names it.
struct Inside<'e, 'o>(Parts<'e, 'o>);

impl Inside<'_, '_> {
    fn finish(self) -> Result<(), Stop> {
        self.0.encoder.depth -= 1;
        self.0.finish()
    }
}

impl ser::SerializeTupleVariant for Inside<'_, '_> {
    type Ok = ();
    type Error = Stop;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        self.0.part(value)
    }

    fn end(self) -> Result<(), Stop> {
        self.finish()
    }
}

impl ser::SerializeStructVariant for Inside<'_, '_> {
    type Ok = ();
    type Error = Stop;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Stop> {
        self.0.field(key, value)
    }

    fn skip_field(&mut self, _: &'static str) -> Result<(), Stop> {
        self.0.leave_out()
    }

    fn end(self) -> Result<(), Stop> {
        self.finish()
    }
}
