//! What ended sessions have left here: messages that have arrived, and wait for their receivers (G3).

use std::sync::Arc;

use parking_lot::Mutex;

/// How many bytes of them there are, over all sessions of a node.
#[derive(Default)]
pub(crate) struct Leftovers {
    bytes: Arc<Mutex<u64>>,
}

/// What one session has left; until it is dropped.
pub(crate) struct Leftover {
    all: Arc<Mutex<u64>>,
    bytes: u64,
}

impl Leftovers {
    /// A place for what a session leaves. `None` if that makes more than `most` bytes, with those of others.
    pub(crate) fn take(&self, bytes: usize, most: u64) -> Option<Leftover> {
        let bytes = bytes as u64;
        let mut all = self.bytes.lock();
        let sum = all.saturating_add(bytes);
        if sum > most && *all > 0 {
            return None;
        }
        *all = sum;
        drop(all);
        let all = Arc::clone(&self.bytes);
        Some(Leftover { all, bytes })
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        *all = all.saturating_sub(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g03_what_ended_sessions_left_is_bounded_and_given_back() {
        let leftovers = Leftovers::default();
        let one = leftovers.take(60, 100).unwrap();
        let two = leftovers.take(40, 100).unwrap();
        assert!(leftovers.take(1, 100).is_none());
        drop(two);
        assert!(leftovers.take(41, 100).is_none());
        drop(one);
        // A message may be larger than all that.
        assert!(leftovers.take(101, 100).is_some());
        assert_eq!(*leftovers.bytes.lock(), 0);
    }
}
