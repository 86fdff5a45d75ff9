//! Small requests that have little beside them, where there is room at once: written where they lie until they leave.

use callboard::clock::Instant;

use super::{Lane, NoRoom, Outbox, Stamp, low};
use crate::wire::body::REMAINING;
use crate::wire::frame::{HEADER, Header, Kind, PIECE};

#[cfg(test)]
mod tests;

/// Such a request.
pub(crate) struct Small<'a> {
    pub(crate) slot: u32,
    /// With the remaining time in its place, if it has a deadline; what it says is written when it leaves.
    pub(crate) body: [&'a [u8]; 2],
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) number: u64,
    pub(crate) deadline: Option<Instant>,
}

impl Outbox {
    /// Puts it in, if there is room and nobody waits for any. An ask was told already that it leaves.
    pub(crate) fn push_small(&self, small: &Small<'_>) -> Result<(), NoRoom> {
        let [first, rest] = small.body;
        let body = first.len() + rest.len();
        let len = u32::try_from(body).unwrap_or(u32::MAX);
        let is_ask = small.kind == Kind::Ask;
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        self.has_room(inner, small.slot, is_ask)?;
        let Some(flow) = inner.flows.get(small.slot as usize) else {
            return Err(NoRoom::Closed);
        };
        let is_alone = flow.line.is_empty() && !inner.is_large(Lane::Receiver(flow.lane));
        if body > PIECE || !is_alone {
            return Err(NoRoom::Full("others wait already"));
        }
        let cost = (HEADER + body) as u64;
        if let Some(flow) = inner.flows.get_mut(small.slot as usize) {
            flow.credit.sent += cost;
        }
        inner.all.sent += cost;
        if is_ask {
            self.count_ask();
        }
        let tail = &mut inner.tail;
        tail.last += 1;
        let header = Header {
            len,
            kind: small.kind,
            flags: small.flags,
            sequence: low(tail.last),
            correlation: small.number,
        };
        if let Some(deadline) = small.deadline {
            let at = tail.bytes.len() + HEADER + REMAINING.start;
            tail.stamps.push(Stamp { at, deadline });
        }
        tail.bytes.reserve(HEADER + body);
        tail.bytes.extend_from_slice(&header.encode());
        tail.bytes.extend_from_slice(first);
        tail.bytes.extend_from_slice(rest);
        let wake = self.writer(inner);
        drop(guard);
        if let Some(writer) = wake {
            writer.wake();
        }
        Ok(())
    }
}
