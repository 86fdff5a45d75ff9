//! Bodies of the frames that come after the handshake.
//!
//! `Tell` and `Ask`:
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | the slot it is for, `u32`: what [`Open`] gave to a name and a type |
//! | | if [`TIMED`] is set: remaining time in microseconds, `u64` |
//! | | if [`RETRIED`] is set: attempt, `u32`, 2 or more |
//! | | if [`KEYED`] is set: the request key, 16 bytes |
//! | | if [`TRACED`] is set: trace id (16 bytes), span id (8 bytes), trace flags (1 byte), as W3C Trace Context has them |
//! | | the payload: all that is left |
//!
//! `Reply`: the payload. The payload is MessagePack: structs as maps with field names, or as arrays where `Opened`
//! allowed that (it tells by itself which; flag [`POSITIONAL`] is let pass and not needed); if [`PACKED`] is set it is
//! an lz4 block behind its plain length (`u32`).
//!
//! `Open` (its correlation is the slot): version of the message type `u32`, schema of the message and of its reply,
//! `u64` each (0: unknown), name, name of the type. `Opened` (likewise): flag [`POSITIONAL`] if both schemas are known
//! there and equal, so that payloads of either direction may be positional.
//!
//! `Credit` (its correlation is the slot, or all ones for the session): how many bytes of requests, each with its
//! header, may have been sent there since the session began, `u64`. `Part` (its correlation is a number of the large frame): a piece of a frame,
//! header and body; flags say whether it is the first, the last, or both. `Void`: nothing that matters.
//!
//! `Failed`: kind `u8`, verdict `u8`, `u32` the milliseconds
//! to be left alone (0: not said), `u16` length and a text. `Subscribe`: version of
//! the message type `u32`, capacity `u32`, name, name of the type, `u16` length and pattern; its flags are the
//! policy for a slow subscriber (0 drops the oldest, 1 the newest, 2 disconnects).
//! `Subscribed`: the number of the last message published before, `u64`. `Event`: sequence `u64`, `u16` length and
//! subject, payload. `Gap`: first and last number that were missed, `u64` each.
//! `Watch` and `Life` have a page of their own, [`watching`](super::watching).
//! `Ping`, `Pong`, `Ack`, `Cancel`, `Unsubscribe`, `Unwatch` and `Ended` have none. `Bye`: `u16` length and a text.

use std::time::Duration;

use callboard::topic::{SlowSubscriber, SubscriberOptions};
use callboard::{Failure, FailureKind, RequestKey, Verdict};
use uuid::Uuid;

use super::frame::Kind;
use super::limits::{MAX_DETAIL, MAX_SUBJECT};
use super::reader::{Fields, put_long_text, put_name};
use super::{WireError, handshake};

#[cfg(test)]
mod tests;

/// Flag of `Tell` and `Ask`: a request key is there.
pub(crate) const KEYED: u8 = 1;
/// Flag of `Tell` and `Ask`: the caller retries, layers below don't (G18).
pub(crate) const CALLER_RETRIES: u8 = 2;
/// Flag of `Tell` and `Ask`: it has a deadline.
pub(crate) const TIMED: u8 = 4;
/// Flag of `Tell` and `Ask`: it is not the first attempt.
pub(crate) const RETRIED: u8 = 8;
/// Flag of `Tell` and `Ask`: a trace context is there.
pub(crate) const TRACED: u8 = 16;
/// Flag of `Opened`: structs may be arrays. On what has a payload it is let pass.
pub(crate) const POSITIONAL: u8 = 32;
/// Flag of what has a payload: it is compressed.
pub(crate) const PACKED: u8 = 64;
const REQUEST_FLAGS: u8 = KEYED | CALLER_RETRIES | TIMED | RETRIED | TRACED | POSITIONAL | PACKED;

/// Flag of `Part`: a large frame begins.
pub(crate) const FIRST: u8 = 1;
/// Flag of `Part`: it ends.
pub(crate) const LAST: u8 = 2;

/// The slot of `Credit` that stands for the whole session.
pub(crate) const EVERYTHING: u64 = u64::MAX;

/// Where in the body of a request that has a deadline its remaining time stands. It is written when the frame
/// leaves, not when it is queued (G9).
pub(crate) const REMAINING: std::ops::Range<usize> = 4..12;

/// The trace context of a request: trace id, span id, flags.
pub(crate) type Trace = [u8; 25];

/// What stands before the payload of a `Tell` or an `Ask`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) slot: u32,
    pub(crate) remaining: Option<Duration>,
    pub(crate) attempt: u32,
    pub(crate) key: Option<RequestKey>,
    pub(crate) caller_retries: bool,
    pub(crate) trace: Option<Trace>,
}

/// Remaining time as it stands on the wire. Rounded up, so that what is left is never called expired.
pub(crate) fn encode_remaining(remaining: Duration) -> [u8; 8] {
    u64::try_from(remaining.as_nanos().div_ceil(1_000))
        .unwrap_or(u64::MAX)
        .to_be_bytes()
}

impl Request {
    pub(crate) fn flags(&self) -> u8 {
        let mut flags = 0;
        let mut set = |flag, is: bool| {
            if is {
                flags |= flag;
            }
        };
        set(TIMED, self.remaining.is_some());
        set(RETRIED, self.attempt > 1);
        set(KEYED, self.key.is_some());
        set(TRACED, self.trace.is_some());
        set(CALLER_RETRIES, self.caller_retries);
        flags
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.slot.to_be_bytes());
        if let Some(remaining) = self.remaining {
            out.extend(encode_remaining(remaining));
        }
        if self.attempt > 1 {
            out.extend(self.attempt.to_be_bytes());
        }
        if let Some(key) = self.key {
            out.extend(key.as_uuid().into_bytes());
        }
        if let Some(trace) = self.trace {
            out.extend(trace);
        }
    }

    /// Reads it, and the payload behind it.
    #[inline(always)]
    pub(crate) fn decode(kind: Kind, flags: u8, body: &[u8]) -> Result<(Self, &[u8]), WireError> {
        let mut fields = Fields::new(kind.text(), body);
        if flags & !REQUEST_FLAGS != 0 {
            return Err(fields.bad("flag"));
        }
        let slot = fields.u32()?;
        let mut request = Request {
            slot,
            remaining: None,
            attempt: 1,
            key: None,
            caller_retries: flags & CALLER_RETRIES != 0,
            trace: None,
        };
        if flags & TIMED != 0 {
            request.remaining = Some(Duration::from_micros(fields.u64()?));
        }
        if flags & RETRIED != 0 {
            request.attempt = fields.u32()?;
            if request.attempt < 2 {
                return Err(fields.bad("attempt"));
            }
        }
        if flags & KEYED != 0 {
            let key = Uuid::from_bytes(fields.array()?);
            request.key = Some(RequestKey::from_uuid(key));
        }
        if flags & TRACED != 0 {
            request.trace = Some(fields.array()?);
        }
        Ok((request, fields.rest()))
    }
}

/// An `Open`: what a slot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Open<'a> {
    pub(crate) version: u32,
    /// Of the message and of its reply; 0 if unknown.
    pub(crate) schemas: (u64, u64),
    pub(crate) name: &'a str,
    pub(crate) type_name: &'a str,
}

impl<'a> Open<'a> {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.version.to_be_bytes());
        out.extend(self.schemas.0.to_be_bytes());
        out.extend(self.schemas.1.to_be_bytes());
        put_name(out, self.name);
        put_name(out, self.type_name);
    }

    pub(crate) fn decode(body: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(Kind::Open.text(), body);
        let open = Open {
            version: fields.u32()?,
            schemas: (fields.u64()?, fields.u64()?),
            name: fields.name("name")?,
            type_name: fields.name("type name")?,
        };
        fields.end()?;
        Ok(open)
    }
}

/// Reads a body that is one number: of `Subscribed` and `Credit`.
pub(crate) fn decode_number(kind: Kind, body: &[u8]) -> Result<u64, WireError> {
    let mut fields = Fields::new(kind.text(), body);
    let number = fields.u64()?;
    fields.end()?;
    Ok(number)
}

/// Appends the text of a `Bye`.
pub(crate) fn put_bye(out: &mut Vec<u8>, why: &str) {
    put_long_text(out, why, MAX_DETAIL);
}

/// Reads the text of a `Bye`.
pub(crate) fn decode_bye(body: &[u8]) -> Result<String, WireError> {
    let mut fields = Fields::new(Kind::Bye.text(), body);
    let why = handshake::printable(fields.long_text(MAX_DETAIL, "reason")?);
    fields.end()?;
    Ok(why)
}

/// 0 says: a kind that has no number yet.
pub(crate) fn kind_number(kind: FailureKind) -> u8 {
    let at = FailureKind::ALL.iter().position(|known| *known == kind);
    at.map_or(0, |index| u8::try_from(index + 1).unwrap_or(0))
}

/// The kind of that number, unless a later version added it.
pub(crate) fn kind_of(number: u8) -> Option<FailureKind> {
    let index = usize::from(number).checked_sub(1)?;
    FailureKind::ALL.get(index).copied()
}

/// One that a later version added is understood as what is safe.
pub(crate) fn verdict_of(number: u8) -> Verdict {
    match number {
        1 => Verdict::NotSent,
        2 => Verdict::NotExecuted,
        4 => Verdict::Executed,
        _ => Verdict::MaybeExecuted,
    }
}

pub(crate) fn verdict_number(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::NotSent => 1,
        Verdict::NotExecuted => 2,
        Verdict::MaybeExecuted => 3,
        Verdict::Executed => 4,
    }
}

/// Appends the body of a `Failed`.
pub(crate) fn put_failure(out: &mut Vec<u8>, failure: &Failure) {
    out.push(kind_number(failure.kind()));
    out.push(verdict_number(failure.verdict()));
    let retry_after = failure.retry_after().map_or(0, |span| {
        u32::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
    });
    out.extend(retry_after.to_be_bytes());
    put_long_text(out, failure.detail().unwrap_or(""), MAX_DETAIL);
}

/// Reads the body of a `Failed`. Numbers that a later version added are understood as what is safe: an
/// unknown verdict is `MaybeExecuted`, an unknown kind `NoAnswer`.
pub(crate) fn decode_failure(body: &[u8]) -> Result<Failure, WireError> {
    let mut fields = Fields::new(Kind::Failed.text(), body);
    let number = fields.u8()?;
    let verdict = verdict_of(fields.u8()?);
    let retry_after = fields.u32()?;
    let detail = handshake::printable(fields.long_text(MAX_DETAIL, "detail")?);
    fields.end()?;
    let mut failure = match kind_of(number) {
        Some(kind) => Failure::new(kind, verdict),
        None => {
            let failure = Failure::new(FailureKind::NoAnswer, verdict);
            return Ok(
                failure.with_detail(format!("failure kind {number} of a newer peer: {detail}"))
            );
        }
    };
    if retry_after > 0 {
        failure = failure.with_retry_after(Duration::from_millis(retry_after.into()));
    }
    Ok(if detail.is_empty() {
        failure
    } else {
        failure.with_detail(detail)
    })
}

/// A `Subscribe`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscribe<'a> {
    pub(crate) version: u32,
    pub(crate) options: SubscriberOptions,
    pub(crate) name: &'a str,
    pub(crate) type_name: &'a str,
    pub(crate) pattern: &'a str,
}

/// The same, kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnedSubscribe {
    pub(crate) version: u32,
    pub(crate) options: SubscriberOptions,
    pub(crate) name: String,
    pub(crate) type_name: String,
    pub(crate) pattern: String,
}

impl<'a> Subscribe<'a> {
    pub(crate) fn to_owned(&self) -> OwnedSubscribe {
        OwnedSubscribe {
            version: self.version,
            options: self.options,
            name: self.name.to_owned(),
            type_name: self.type_name.to_owned(),
            pattern: self.pattern.to_owned(),
        }
    }

    pub(crate) fn flags(&self) -> u8 {
        match self.options.policy {
            SlowSubscriber::DropNewest => 1,
            SlowSubscriber::Disconnect => 2,
            _ => 0,
        }
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let capacity = u32::try_from(self.options.capacity).unwrap_or(u32::MAX);
        out.extend(self.version.to_be_bytes());
        out.extend(capacity.to_be_bytes());
        put_name(out, self.name);
        put_name(out, self.type_name);
        put_long_text(out, self.pattern, MAX_SUBJECT);
    }

    /// Reads one. Who asks for more room than `most` gets that.
    pub(crate) fn decode(flags: u8, body: &'a [u8], most: usize) -> Result<Self, WireError> {
        let mut fields = Fields::new(Kind::Subscribe.text(), body);
        let policy = match flags {
            0 => SlowSubscriber::DropOldest,
            1 => SlowSubscriber::DropNewest,
            2 => SlowSubscriber::Disconnect,
            _ => return Err(fields.bad("flag")),
        };
        let version = fields.u32()?;
        let capacity = usize::try_from(fields.u32()?).unwrap_or(most);
        let subscribe = Subscribe {
            version,
            options: SubscriberOptions {
                capacity: capacity.clamp(1, most.max(1)),
                policy,
            },
            name: fields.name("name")?,
            type_name: fields.name("type name")?,
            pattern: fields.long_text(MAX_SUBJECT, "pattern")?,
        };
        fields.end()?;
        Ok(subscribe)
    }
}

/// An `Event`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    pub(crate) sequence: u64,
    pub(crate) subject: &'a str,
    pub(crate) payload: &'a [u8],
}

impl<'a> Event<'a> {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.sequence.to_be_bytes());
        put_long_text(out, self.subject, MAX_SUBJECT);
        out.extend(self.payload);
    }

    pub(crate) fn decode(body: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(Kind::Event.text(), body);
        Ok(Event {
            sequence: fields.u64()?,
            subject: fields.long_text(MAX_SUBJECT, "subject")?,
            payload: fields.rest(),
        })
    }
}

/// Appends the body of a `Gap`.
pub(crate) fn put_gap(out: &mut Vec<u8>, from: u64, to: u64) {
    out.extend(from.to_be_bytes());
    out.extend(to.to_be_bytes());
}

/// Reads the body of a `Gap`.
pub(crate) fn decode_gap(body: &[u8]) -> Result<(u64, u64), WireError> {
    let mut fields = Fields::new(Kind::Gap.text(), body);
    let (from, to) = (fields.u64()?, fields.u64()?);
    if from > to {
        return Err(fields.bad("range"));
    }
    fields.end()?;
    Ok((from, to))
}

/// Checks that a frame that has no body has none.
pub(crate) fn decode_nothing(kind: Kind, body: &[u8]) -> Result<(), WireError> {
    Fields::new(kind.text(), body).end()
}
