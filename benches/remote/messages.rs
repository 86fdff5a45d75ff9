//! What is sent, the same for all systems.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

/// Bytes of a small message.
pub(crate) const SMALL: usize = 100;

/// What an ask carries, and its answer: bytes that need no memory of their own.
pub(crate) type Block = ByteArray<SMALL>;

/// The block with that number.
pub(crate) fn block(number: u64) -> Block {
    let mut bytes = [7; SMALL];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    ByteArray::new(bytes)
}

/// So many bytes that all who send them share, of a kind that nobody can compress.
pub(crate) fn bytes(length: usize) -> Bytes {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let random = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    });
    random.take(length).collect()
}

/// What is encoded and decoded, not just carried: about 100 bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: u64,
    pub(crate) customer: String,
    pub(crate) quantities: Vec<u32>,
    pub(crate) note: String,
}

impl Order {
    pub(crate) fn new(id: u64) -> Self {
        Order {
            id,
            customer: "customer 0042 of".to_owned(),
            quantities: (0..8).map(|line| line * 1_000).collect(),
            note: "behind the second door on the left, please".to_owned(),
        }
    }
}

/// What a server was told since it was asked last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) messages: u64,
    /// Of the bytes, or of the ids of orders.
    pub(crate) sum: u64,
}

impl Told {
    /// One more.
    pub(crate) fn add(&mut self, value: u64) {
        self.messages += 1;
        self.sum = self.sum.wrapping_add(value);
    }

    pub(crate) fn add_bytes(&mut self, bytes: &[u8]) {
        self.add(bytes.len() as u64);
    }

    pub(crate) fn add_order(&mut self, order: &Order) {
        debug_assert_eq!(*order, Order::new(order.id));
        self.add(order.id);
    }

    pub(crate) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.messages.to_le_bytes());
        bytes[8..].copy_from_slice(&self.sum.to_le_bytes());
        bytes
    }

    /// `None` if it isn't one.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (messages, sum) = bytes.split_at_checked(8)?;
        Some(Told {
            messages: u64::from_le_bytes(messages.try_into().ok()?),
            sum: u64::from_le_bytes(sum.try_into().ok()?),
        })
    }
}
