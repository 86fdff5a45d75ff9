//! What actors send each other.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{self, CodecError, Schema, Shape};

/// A message and the type of its answer. Derived: `#[derive(Message)] #[message(reply = u64)]`.
///
/// Without `reply` the answer is `()`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a message",
    label = "not a message",
    note = "derive it: `#[derive(Message)]`, with `#[message(reply = Type)]` if it has an answer"
)]
pub trait Message: Send + 'static {
    /// What an `ask` of this message is answered with.
    type Reply: Send + 'static;
}

/// A message that can cross a process boundary: it has a name and a version of its own, apart from the
/// Rust type's, and it and its answer can be serialised (G37).
///
/// Derived when `#[message(name = "...", version = N)]` is given; the version is 1 if only a name is.
///
/// How it travels is said by the provided methods, which nobody but the derive overrides: as MessagePack, or, for
/// a struct around one [`Blob`](crate::Blob) with `#[message(name = "...", raw)]`, as the bytes it is.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't cross a process boundary",
    label = "not a message with a wire name",
    note = "give it a wire name: `#[message(name = \"counter.add\", version = 1)]`, and derive `Serialize` and `Deserialize`"
)]
pub trait WireMessage:
    Message<Reply: Serialize + DeserializeOwned> + Serialize + DeserializeOwned
{
    /// The name on the wire. Must not change while old peers are about.
    const NAME: &'static str;
    /// The version of the payload. Grows when old receivers could misread it.
    const VERSION: u32;

    /// Whether it travels as bytes, without MessagePack.
    const RAW: bool = false;

    /// What both sides must have in common to read it by position; `None` if that isn't known. See
    /// [`codec::schema`].
    #[must_use]
    fn schema() -> Option<Schema> {
        codec::schema::<Self>()
    }

    /// Appends what travels to `out`, and answers the shape it got. A raw one is as it is, whatever the shape.
    ///
    /// # Errors
    /// As [`codec::encode_into`]; `out` is then as before.
    #[inline]
    fn put(&self, out: &mut Vec<u8>, shape: Shape) -> Result<Shape, CodecError> {
        codec::encode_into(self, out, shape)
    }

    /// The message of which this travelled, in either shape.
    ///
    /// # Errors
    /// As [`codec::decode`]; none for a raw one.
    #[inline]
    fn take(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes)
    }

    /// The bytes of a raw one, to be sent without being copied. `None` for all others.
    #[inline]
    fn as_raw(&self) -> Option<&Bytes> {
        None
    }

    /// As [`take`](WireMessage::take), of bytes that a raw one keeps without a copy.
    ///
    /// # Errors
    /// As [`take`](WireMessage::take).
    #[inline]
    fn take_owned(bytes: Bytes) -> Result<Self, CodecError> {
        Self::take(&bytes)
    }
}
