//! Bytes that travel as they are.

use std::any::{Any, TypeId};
use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use serde::de::{DeserializeOwned, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{CodecError, Shape, decode, encode_into};

/// Bytes as bytes: inside a message one MessagePack value, not a list of numbers; and as a whole message
/// (`#[message(raw)]`) or a whole reply (`reply = Blob`) no MessagePack at all. Cheap to clone.
///
/// ```
/// # extern crate callboard_core as callboard;
/// use callboard_core::{Blob, Message, WireMessage};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[message(name = "camera.frame", reply = Blob, raw)]
/// struct Frame(Blob);
///
/// let frame = Frame(Blob::from(vec![1, 2, 3]));
/// assert_eq!(frame.as_raw().map(|bytes| &bytes[..]), Some(&[1, 2, 3][..]));
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blob(pub Bytes);

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<Bytes> for Blob {
    fn borrow(&self) -> &Bytes {
        &self.0
    }
}

impl From<Bytes> for Blob {
    fn from(bytes: Bytes) -> Self {
        Blob(bytes)
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Blob(bytes.into())
    }
}

impl From<Blob> for Bytes {
    fn from(blob: Blob) -> Self {
        blob.0
    }
}

/// Its length; what it holds may be large, or secret.
impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(self)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_byte_buf(AnyBytes)
    }
}

struct AnyBytes;

impl<'de> Visitor<'de> for AnyBytes {
    type Value = Blob;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Blob, E> {
        Ok(Blob(Bytes::copy_from_slice(bytes)))
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
        Ok(bytes.into())
    }

    /// For formats without bytes (JSON).
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Blob, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes.into())
    }
}

/// Whether values of that type are [`Blob`]s, which travel as they are. Known when the program is compiled.
#[must_use]
#[inline]
pub fn is_raw<T: 'static>() -> bool {
    TypeId::of::<T>() == TypeId::of::<Blob>()
}

/// The bytes of a value that travels as it is: to be sent without being copied.
#[must_use]
#[inline]
pub fn as_raw<T: 'static>(value: &T) -> Option<&Bytes> {
    let blob = (value as &dyn Any).downcast_ref::<Blob>()?;
    Some(&blob.0)
}

/// Appends what travels of a value: the bytes of a [`Blob`], else as [`encode_into`] does.
///
/// # Errors
/// As [`encode_into`].
#[inline]
pub fn put<T: Serialize + 'static>(
    value: &T,
    out: &mut Vec<u8>,
    shape: Shape,
) -> Result<Shape, CodecError> {
    match as_raw(value) {
        Some(bytes) => {
            out.extend_from_slice(bytes);
            Ok(shape)
        }
        None => encode_into(value, out, shape),
    }
}

/// The value of which this travelled.
///
/// # Errors
/// As [`decode`]; none for a [`Blob`].
#[inline]
pub fn take<T: DeserializeOwned + 'static>(bytes: &[u8]) -> Result<T, CodecError> {
    if is_raw::<T>() {
        take_owned(Bytes::copy_from_slice(bytes))
    } else {
        decode(bytes)
    }
}

/// The same of bytes that a [`Blob`] can keep, without a copy.
///
/// # Errors
/// As [`take`].
pub fn take_owned<T: DeserializeOwned + 'static>(bytes: Bytes) -> Result<T, CodecError> {
    let mut blob = Some(Blob(bytes));
    let taken = (&mut blob as &mut dyn Any).downcast_mut::<Option<T>>();
    match taken.and_then(Option::take) {
        Some(value) => Ok(value),
        None => decode(&blob.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_one_value_inside_others_and_nothing_but_bytes_alone() {
        let blob = Blob::from(vec![1, 2, 3]);
        let mut inside = Vec::new();
        put(&(blob.clone(), 7), &mut inside, Shape::Named).unwrap();
        assert_eq!(inside, [0x92, 0xC4, 3, 1, 2, 3, 7]);
        assert_eq!(take::<(Blob, u8)>(&inside), Ok((blob.clone(), 7)));
        let mut alone = vec![9];
        put(&blob, &mut alone, Shape::Positional).unwrap();
        assert_eq!(alone, [9, 1, 2, 3]);
        assert_eq!(take::<Blob>(&alone[1..]), Ok(blob));
        assert_eq!(take::<Blob>(&[]), Ok(Blob::default()));
        // Stored it is MessagePack, as all is.
        let stored = super::super::encode(&Blob::from(vec![7])).unwrap();
        assert_eq!(stored, [0xC4, 1, 7]);
        // A list of numbers, from elsewhere, is taken as well.
        assert_eq!(decode::<Blob>(&[0x92, 5, 6]), Ok(Blob::from(vec![5, 6])));
    }

    #[test]
    fn a_large_one_moves_without_being_copied() {
        let bytes = Bytes::from(vec![7; 1 << 20]);
        let at = bytes.as_ptr();
        let blob = take_owned::<Blob>(bytes).unwrap();
        assert_eq!(blob.as_ptr(), at);
        assert_eq!(as_raw(&blob).map(|bytes| bytes.as_ptr()), Some(at));
        // Of other types it is what was encoded.
        let encoded = Bytes::from_static(&[0x92, 1, 2]);
        assert_eq!(take_owned::<(u8, u8)>(encoded.clone()), Ok((1, 2)));
        assert!(take_owned::<u8>(encoded).is_err());
        assert_eq!(as_raw(&vec![1_u8]), None);
    }

    #[test]
    fn what_it_holds_is_not_shown() {
        assert_eq!(format!("{:?}", Blob::from(vec![1, 2])), "Blob(2 bytes)");
    }
}
