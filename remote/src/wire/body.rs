//! Bodies of the frames that come after the handshake.
//!
//! `Tell` and `Ask`:
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | remaining time in microseconds, `u64`; all ones for none |
//! | 8..12 | attempt, `u32`, 1 for the first |
//! | 12..16 | version of the message type, `u32` |
//! | | if flag [`KEYED`] is set: the request key, 16 bytes |
//! | | `u8` length and exposed name |
//! | | `u8` length and name of the message type |
//! | | the payload: all that is left |
//!
//! `Reply`: the payload. `Failed`: kind `u8`, verdict `u8`, `u32` the milliseconds
//! to be left alone (0: not said), `u16` length and a text. `Subscribe`: version of
//! the message type `u32`, capacity `u32`, name, name of the type, `u16` length and pattern; its flags are the
//! policy for a slow subscriber (0 drops the oldest, 1 the newest, 2 disconnects).
//! `Subscribed`: the number of the last message published before, `u64`. `Event`: sequence `u64`, `u16` length and
//! subject, payload. `Gap`: first and last number that were missed, `u64` each.
//! `Ping`, `Pong`, `Cancel`, `Unsubscribe` and `Ended` have none.

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
const REQUEST_FLAGS: u8 = KEYED | CALLER_RETRIES;

/// Where in the body of a request its remaining time stands. It is written when the frame leaves, not
/// when it is queued (G9).
pub(crate) const REMAINING: std::ops::Range<usize> = 0..8;

/// A `Tell` or an `Ask`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    pub(crate) remaining: Option<Duration>,
    pub(crate) attempt: u32,
    pub(crate) key: Option<RequestKey>,
    pub(crate) caller_retries: bool,
    pub(crate) name: &'a str,
    pub(crate) type_name: &'a str,
    pub(crate) version: u32,
    pub(crate) payload: &'a [u8],
}

/// Remaining time as it stands on the wire. Rounded up, so that what is left is never called expired.
pub(crate) fn encode_remaining(remaining: Option<Duration>) -> [u8; 8] {
    let micros = remaining.map_or(u64::MAX, |span| {
        u64::try_from(span.as_nanos().div_ceil(1_000))
            .unwrap_or(u64::MAX)
            .min(u64::MAX - 1)
    });
    micros.to_be_bytes()
}

impl<'a> Request<'a> {
    pub(crate) fn flags(&self) -> u8 {
        let mut flags = 0;
        if self.key.is_some() {
            flags |= KEYED;
        }
        if self.caller_retries {
            flags |= CALLER_RETRIES;
        }
        flags
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend(encode_remaining(self.remaining));
        out.extend(self.attempt.to_be_bytes());
        out.extend(self.version.to_be_bytes());
        if let Some(key) = self.key {
            out.extend(key.as_uuid().into_bytes());
        }
        put_name(out, self.name);
        put_name(out, self.type_name);
        out.extend(self.payload);
    }

    pub(crate) fn decode(kind: Kind, flags: u8, body: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(kind.text(), body);
        if flags & !REQUEST_FLAGS != 0 {
            return Err(fields.bad("flag"));
        }
        let remaining = match fields.u64()? {
            u64::MAX => None,
            micros => Some(Duration::from_micros(micros)),
        };
        let attempt = fields.u32()?;
        if attempt == 0 {
            return Err(fields.bad("attempt"));
        }
        let version = fields.u32()?;
        let key = if flags & KEYED != 0 {
            Some(RequestKey::from_uuid(Uuid::from_bytes(fields.bytes16()?)))
        } else {
            None
        };
        Ok(Request {
            remaining,
            attempt,
            key,
            caller_retries: flags & CALLER_RETRIES != 0,
            name: fields.name("name")?,
            type_name: fields.name("type name")?,
            version,
            payload: fields.rest(),
        })
    }
}

fn verdict_number(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::NotSent => 1,
        Verdict::NotExecuted => 2,
        Verdict::MaybeExecuted => 3,
        Verdict::Executed => 4,
    }
}

/// Appends the body of a `Failed`.
pub(crate) fn put_failure(out: &mut Vec<u8>, failure: &Failure) {
    let kind = FailureKind::ALL
        .iter()
        .position(|kind| *kind == failure.kind());
    // 0 says: a kind that has no number yet.
    let number = kind.map_or(0, |index| u8::try_from(index + 1).unwrap_or(0));
    out.push(number);
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
    let verdict = match fields.u8()? {
        1 => Verdict::NotSent,
        2 => Verdict::NotExecuted,
        4 => Verdict::Executed,
        _ => Verdict::MaybeExecuted,
    };
    let retry_after = fields.u32()?;
    let detail = handshake::printable(fields.long_text(MAX_DETAIL, "detail")?);
    fields.end()?;
    let known = usize::from(number)
        .checked_sub(1)
        .and_then(|index| FailureKind::ALL.get(index));
    let mut failure = match known {
        Some(kind) => Failure::new(*kind, verdict),
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

impl<'a> Subscribe<'a> {
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

/// Appends the body of a `Subscribed`.
pub(crate) fn put_subscribed(out: &mut Vec<u8>, last: u64) {
    out.extend(last.to_be_bytes());
}

/// Reads the body of a `Subscribed`: the number of the last message published before.
pub(crate) fn decode_subscribed(body: &[u8]) -> Result<u64, WireError> {
    let mut fields = Fields::new(Kind::Subscribed.text(), body);
    let last = fields.u64()?;
    fields.end()?;
    Ok(last)
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
