//! The head of an item's record: byte by byte, because every item has one.
//!
//! ```text
//! 0   1  version of this form: 1
//! 1   1  flags: 1 due, 2 expires, 4 key, 8 group, 16 reply queue
//! 2   1  priority
//! 3   8  when it was offered       times are nanoseconds since 1970 began
//! 11  8  not before       (flag 1)
//!     8  not after        (flag 2)
//!     16 key, 8 hash of the item's bytes (flag 4)
//!     2  length, and the group's name (flag 8)
//!     2  length, and the reply queue's name (flag 16)
//! ```
//!
//! Numbers are little-endian. What follows is left alone: later versions may add to the end.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::id::RequestKey;

const VERSION: u8 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::queue) struct Head {
    pub(in crate::queue) offered: Duration,
    pub(in crate::queue) due: Option<Duration>,
    pub(in crate::queue) expires: Option<Duration>,
    pub(in crate::queue) key: Option<(RequestKey, u64)>,
    pub(in crate::queue) priority: u8,
    pub(in crate::queue) group: Option<Arc<str>>,
    pub(in crate::queue) reply_to: Option<Arc<str>>,
}

impl Head {
    pub(in crate::queue) fn encode(&self) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::with_capacity(64);
        let flags = u8::from(self.due.is_some())
            | u8::from(self.expires.is_some()) << 1
            | u8::from(self.key.is_some()) << 2
            | u8::from(self.group.is_some()) << 3
            | u8::from(self.reply_to.is_some()) << 4;
        bytes.extend([VERSION, flags, self.priority]);
        let times = [Some(self.offered), self.due, self.expires];
        for time in times.into_iter().flatten() {
            let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            bytes.extend(nanos.to_le_bytes());
        }
        if let Some((key, print)) = self.key {
            bytes.extend(key.as_uuid().as_bytes());
            bytes.extend(print.to_le_bytes());
        }
        for name in [&self.group, &self.reply_to].into_iter().flatten() {
            let length = u16::try_from(name.len())
                .map_err(|_| format!("a name of {} bytes is too long to store", name.len()))?;
            bytes.extend(length.to_le_bytes());
            bytes.extend(name.as_bytes());
        }
        Ok(bytes)
    }

    pub(in crate::queue) fn decode(bytes: &[u8]) -> Result<Head, String> {
        let mut bytes = Bytes(bytes);
        let [version, flags, priority] = bytes.take::<3>()?;
        if version != VERSION {
            return Err(format!(
                "its head has version {version}, known is {VERSION}"
            ));
        }
        let mut head = Head {
            offered: bytes.time()?,
            priority,
            ..Head::default()
        };
        if flags & 1 != 0 {
            head.due = Some(bytes.time()?);
        }
        if flags & 2 != 0 {
            head.expires = Some(bytes.time()?);
        }
        if flags & 4 != 0 {
            let key = RequestKey::from_uuid(Uuid::from_bytes(bytes.take()?));
            head.key = Some((key, u64::from_le_bytes(bytes.take()?)));
        }
        if flags & 8 != 0 {
            head.group = Some(bytes.name()?);
        }
        if flags & 16 != 0 {
            head.reply_to = Some(bytes.name()?);
        }
        Ok(head)
    }
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.0.split_first_chunk().ok_or("its head is cut off")?;
        self.0 = rest;
        Ok(*taken)
    }

    fn time(&mut self) -> Result<Duration, String> {
        Ok(Duration::from_nanos(u64::from_le_bytes(self.take()?)))
    }

    fn name(&mut self) -> Result<Arc<str>, String> {
        let length = usize::from(u16::from_le_bytes(self.take()?));
        let (name, rest) = self
            .0
            .split_at_checked(length)
            .ok_or("its head is cut off")?;
        self.0 = rest;
        let name = std::str::from_utf8(name).map_err(|_| "a name in its head is no UTF-8")?;
        Ok(name.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Head {
        Head {
            offered: Duration::from_nanos(1),
            due: Some(Duration::from_nanos(2)),
            expires: Some(Duration::from_nanos(3)),
            key: Some((RequestKey::from_uuid(Uuid::from_u128(4)), 5)),
            priority: 6,
            group: Some("g".into()),
            reply_to: Some("r".into()),
        }
    }

    /// Written by hand from the description above.
    #[test]
    fn g37_a_head_has_the_bytes_that_are_described() {
        let mut bytes = vec![1, 31, 6];
        for time in [1_u8, 2, 3] {
            bytes.extend([time, 0, 0, 0, 0, 0, 0, 0]);
        }
        bytes.extend([0; 15]);
        bytes.extend([4, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0, b'g', 1, 0, b'r']);
        assert_eq!(full().encode(), Ok(bytes.clone()));
        assert_eq!(Head::decode(&bytes), Ok(full()));
        bytes.extend([9, 9]);
        assert_eq!(Head::decode(&bytes), Ok(full()), "more at the end");
        assert_eq!(
            Head::decode(&[1, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]).map(|head| head.offered.as_nanos()),
            Ok(7)
        );
    }

    #[test]
    fn g36_a_head_that_is_cut_or_foreign_is_an_error() {
        let bytes = full().encode().unwrap_or_default();
        for end in 0..bytes.len() {
            assert!(Head::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
        assert!(Head::decode(&[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
        let long = Head {
            group: Some("x".repeat(70_000).into()),
            ..Head::default()
        };
        assert!(long.encode().is_err());
    }
}
