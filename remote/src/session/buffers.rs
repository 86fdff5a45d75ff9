//! Memory for large payloads that are kept as they came.
//!
//! A payload of tens of kilobytes that is allocated and freed with every message makes the allocator take pages from
//! the system and give them back, which costs more than to copy the bytes. So a session lends out buffers, which come
//! back when the last who holds a payload drops it.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;

#[cfg(test)]
mod tests;

/// How many bytes are kept for the next payloads.
const KEPT: usize = 1024 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    free: Mutex<Free>,
}

#[derive(Debug, Default)]
struct Free {
    buffers: Vec<Vec<u8>>,
    /// How many bytes they have room for.
    bytes: usize,
}

impl Buffers {
    /// The same bytes in memory of their own.
    pub(crate) fn copy_of(self: &Arc<Self>, bytes: &[u8]) -> Bytes {
        let mut buffer = self.take(bytes.len());
        buffer.extend_from_slice(bytes);
        Bytes::from_owner(Lent {
            buffer,
            home: Arc::downgrade(self),
        })
    }

    /// Forgets what it keeps: nothing large has come for a while.
    pub(crate) fn rest(&self) {
        let free = std::mem::take(&mut *self.free.lock());
        drop(free);
    }

    /// An empty buffer with so much room.
    fn take(&self, len: usize) -> Vec<u8> {
        let mut free = self.free.lock();
        // One that is much larger would be kept by a small payload.
        let fits = |buffer: &Vec<u8>| (len..=len.saturating_mul(2)).contains(&buffer.capacity());
        if let Some(at) = free.buffers.iter().rposition(fits) {
            let buffer = free.buffers.swap_remove(at);
            free.bytes -= buffer.capacity();
            return buffer;
        }
        drop(free);
        Vec::with_capacity(len)
    }

    fn give(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut free = self.free.lock();
        // Sizes may have changed: what came back last is most like what comes next.
        let mut gone = Vec::new();
        while free.bytes + buffer.capacity() > KEPT && !free.buffers.is_empty() {
            let oldest = free.buffers.remove(0);
            free.bytes -= oldest.capacity();
            gone.push(oldest);
        }
        if free.bytes + buffer.capacity() <= KEPT {
            free.bytes += buffer.capacity();
            free.buffers.push(buffer);
        }
        // Outside the lock.
        drop(free);
        drop(gone);
    }
}

/// A buffer that comes back.
struct Lent {
    buffer: Vec<u8>,
    home: Weak<Buffers>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            home.give(std::mem::take(&mut self.buffer));
        }
    }
}
