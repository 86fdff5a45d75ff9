//! MessagePack: the one place besides the wire that knows it.
//!
//! # Two shapes
//!
//! A struct is written as a map from field names to values ([`Shape::Named`]), or as the list of its values
//! ([`Shape::Positional`]), which is smaller and faster. Enums are written by the names of their variants, and bytes
//! as bytes, in both. [`decode`] takes both, and tells them apart by themselves.
//!
//! Names are what lets a type grow: an optional field can be added without a flag day (G37). Positions say
//! nothing about what they hold: a reader whose type has another field at that place takes the value for that
//! field's, and if the types agree nobody notices. So positions are used only between two builds whose
//! [`schema`]s of that type are known to be equal (peers tell each other at the handshake), and names everywhere
//! else; what is stored is always named, since nobody knows which build will read it.
//!
//! # Raw
//!
//! A payload that is bytes already needs no encoding: a [`Blob`] that is a whole message or a whole reply travels as
//! it is, and where it is large it is moved, not copied ([`put`], [`take`], [`take_owned`]). That is part of the
//! message's type and so of its [`schema`], which for all raw ones is [`Schema::RAW`].
//!
//! # Bounds
//!
//! Both ways at most [`MAX_DEPTH`] values may lie inside each other (G36). Lengths in the input are believed only as
//! far as there is input.

mod blob;
mod decoder;
mod encoder;
mod schema;
#[cfg(test)]
mod tests;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use blob::{Blob, as_raw, is_raw, put, take, take_owned};
pub use bytes::Bytes;
pub use schema::{Schema, schema};

/// How many values may lie inside each other: lists, maps, structs and variants with a value. A bound on the stack
/// that decoding takes, the same as that of `serde_json`.
pub const MAX_DEPTH: usize = 128;

/// How structs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// As maps with field names.
    Named,
    /// As lists, in the order of the fields. Only for readers with an equal [`schema`].
    Positional,
}

/// A value could not be encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(String);

impl CodecError {
    pub(crate) fn new(why: String) -> Self {
        CodecError(why)
    }

    fn too_large(limit: usize) -> Self {
        CodecError(format!("more than {limit} bytes"))
    }
}

/// Encodes a value, structs as maps with field names.
///
/// # Errors
/// If the value refuses to be serialised, has no MessagePack form, or is deeper than [`MAX_DEPTH`].
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    encode_within(value, usize::MAX)
}

/// The same for a value that must not take more than `limit` bytes: no more are written.
///
/// # Errors
/// As [`encode`], and if the value is larger.
pub fn encode_within<T: Serialize + ?Sized>(
    value: &T,
    limit: usize,
) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::new();
    encode_into_within(value, &mut bytes, Shape::Named, limit)?;
    Ok(bytes)
}

/// Appends a value to `out`. Answers the shape it has: a value of which a struct leaves a field out (serde's
/// `skip_serializing_if`) can't be positional, and is written with names.
///
/// ```
/// use callboard_core::codec::{self, Shape};
///
/// #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
/// struct Point {
///     x: u8,
///     y: u8,
/// }
/// let mut out = b"before ".to_vec();
/// codec::encode_into(&Point { x: 1, y: 2 }, &mut out, Shape::Positional)?;
/// assert_eq!(out, b"before \x92\x01\x02");
/// assert_eq!(codec::decode::<Point>(&out[7..])?, Point { x: 1, y: 2 });
/// # Ok::<(), codec::CodecError>(())
/// ```
///
/// # Errors
/// As [`encode`]. `out` is as it was before; also if the value's own code panics.
pub fn encode_into<T: Serialize + ?Sized>(
    value: &T,
    out: &mut Vec<u8>,
    shape: Shape,
) -> Result<Shape, CodecError> {
    encoder::append(value, out, shape, usize::MAX)
}

/// The same for a value that must not take more than `limit` bytes: no more are written.
///
/// # Errors
/// As [`encode_into`], and if the value is larger.
pub fn encode_into_within<T: Serialize + ?Sized>(
    value: &T,
    out: &mut Vec<u8>,
    shape: Shape,
    limit: usize,
) -> Result<Shape, CodecError> {
    encoder::append(value, out, shape, limit)
}

/// Decodes a value of either shape. All of the input must be used.
///
/// # Errors
/// If the bytes are no MessagePack, not of that type, followed by more, or deeper than [`MAX_DEPTH`]; or if there is an
/// extension type of MessagePack in them, which isn't written here either.
#[inline]
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    decoder::whole(bytes).map_err(|stop| CodecError(stop.to_string()))
}
