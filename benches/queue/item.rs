//! What is queued: 100 bytes that know their number.

use std::fmt;

use callboard::Message;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The length of an item in bytes.
pub(crate) const LENGTH: usize = 100;

/// An item. It goes to disk as bytes.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
#[message(name = "bench.item", version = 1)]
pub(crate) struct Item(pub(crate) [u8; LENGTH]);

impl Item {
    pub(crate) fn new(number: u64) -> Self {
        let mut bytes = [b'.'; LENGTH];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Item(bytes)
    }

    pub(crate) fn number(&self) -> u64 {
        let mut number = [0; 8];
        number.copy_from_slice(&self.0[..8]);
        u64::from_le_bytes(number)
    }

    /// From what a store gave back; `None` if that has another length.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Item)
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "item {}", self.number())
    }
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(Bytes)
    }
}

struct Bytes;

impl<'de> Visitor<'de> for Bytes {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{LENGTH} bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Item, E> {
        Item::from_bytes(bytes).ok_or_else(|| E::invalid_length(bytes.len(), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut bytes: A) -> Result<Item, A::Error> {
        let mut item = [0; LENGTH];
        for (at, place) in item.iter_mut().enumerate() {
            let byte = bytes.next_element()?;
            *place = byte.ok_or_else(|| A::Error::invalid_length(at, &self))?;
        }
        Ok(Item(item))
    }
}
