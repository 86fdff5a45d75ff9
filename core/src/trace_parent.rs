//! W3C trace context: which trace a message belongs to.

use std::fmt;
use std::str::FromStr;

use crate::stamp;

/// A place in a distributed trace: the `traceparent` of the W3C recommendation "Trace Context", as it comes with an
/// HTTP request, travels beside a message ([`Meta::trace_parent`](crate::Meta::trace_parent)) and goes out again.
///
/// # Where it goes
///
/// [`Ask::trace_parent`](crate::Ask::trace_parent) and [`Tell::trace_parent`](crate::Tell::trace_parent) put it on a
/// message. What the handler sends in turn carries it by itself, over every boundary, and so does a task of
/// [`Context::spawn`](crate::Context::spawn); [`TraceParent::current`] is what a handler gives to the world outside.
/// Where somebody listens to the [spans of handlers](crate::Context), each handler is a span of the trace: its span
/// has the fields `trace_id`, `parent_id` and `span_id`, and what it sends names that `span_id` as its parent. Where
/// nobody listens it is passed on unchanged, as the recommendation has it. `tracestate` isn't carried.
///
/// ```
/// use callboard_core::TraceParent;
///
/// let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let parent: TraceParent = header.parse()?;
/// assert_eq!(parent.span_id(), 0x00f0_67aa_0ba9_02b7);
/// assert!(parent.is_sampled());
/// assert_eq!(parent.to_string(), header);
/// # Ok::<(), callboard_core::BadTraceParent>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace: [u8; 16],
    span: [u8; 8],
    flags: u8,
}

/// The caller may have recorded it.
const SAMPLED: u8 = 1;
/// Those bits of the flags that mean something: sampled, and that the trace id is random.
const KNOWN: u8 = 0b11;

impl TraceParent {
    /// How many bytes [`to_bytes`](TraceParent::to_bytes) makes.
    pub const BYTES: usize = 25;

    /// The place with these ids; `None` if one of them is 0, which stands for none. Flags that the recommendation
    /// doesn't know are left out.
    #[must_use]
    pub fn new(trace_id: u128, span_id: u64, flags: u8) -> Option<Self> {
        (trace_id != 0 && span_id != 0).then(|| TraceParent {
            trace: trace_id.to_be_bytes(),
            span: span_id.to_be_bytes(),
            flags: flags & KNOWN,
        })
    }

    /// That of the message in hand: for what a handler calls that isn't an actor. `None` outside of handlers, and
    /// where the message has none.
    #[must_use]
    #[inline]
    pub fn current() -> Option<Self> {
        stamp::trace_in_hand()
    }

    /// The trace; never 0.
    #[must_use]
    pub fn trace_id(&self) -> u128 {
        u128::from_be_bytes(self.trace)
    }

    /// The span in it that what carries this is below; never 0.
    #[must_use]
    pub fn span_id(&self) -> u64 {
        u64::from_be_bytes(self.span)
    }

    /// The flags: 1 for sampled, 2 for a random trace id.
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// Whether the caller may have recorded it.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Another span of the same trace.
    pub(crate) fn below(self, span_id: u64) -> Self {
        TraceParent {
            span: span_id.max(1).to_be_bytes(),
            ..self
        }
    }

    /// Trace id, span id and flags, as they lie on the wire.
    #[must_use]
    pub fn to_bytes(self) -> [u8; TraceParent::BYTES] {
        let mut bytes = [0; TraceParent::BYTES];
        bytes[..16].copy_from_slice(&self.trace);
        bytes[16..24].copy_from_slice(&self.span);
        bytes[24] = self.flags;
        bytes
    }

    /// The same back; `None` if an id is 0.
    #[must_use]
    pub fn from_bytes(bytes: [u8; TraceParent::BYTES]) -> Option<Self> {
        let (trace, rest) = bytes.split_first_chunk()?;
        let (span, flags) = rest.split_first_chunk()?;
        let flags = *flags.first()?;
        TraceParent::new(
            u128::from_be_bytes(*trace),
            u64::from_be_bytes(*span),
            flags,
        )
    }
}

/// The value of the header, in version 00.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            self.trace_id(),
            self.span_id(),
            self.flags
        )
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceParent({self})")
    }
}

/// A text is no `traceparent`. It isn't told which: it comes from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent of the W3C trace context")]
pub struct BadTraceParent;

impl FromStr for TraceParent {
    type Err = BadTraceParent;

    /// Reads the value of the header: version 00 to the letter, and of a later version what it begins with, as
    /// the recommendation says.
    ///
    /// # Errors
    /// [`BadTraceParent`] for anything else: other lengths, capital letters, ids of 0, version ff. A program then goes
    /// on as if there had been no header.
    fn from_str(text: &str) -> Result<Self, BadTraceParent> {
        let bytes = text.as_bytes();
        let (known, later) = bytes.split_at_checked(55).ok_or(BadTraceParent)?;
        let version = number(&known[..2])?;
        let ends_well = match version {
            0 => later.is_empty(),
            0xFF => false,
            _ => later.first().is_none_or(|next| *next == b'-'),
        };
        let has_dashes = [2, 35, 52].iter().all(|at| known[*at] == b'-');
        if !ends_well || !has_dashes {
            return Err(BadTraceParent);
        }
        let trace = number(&known[3..35])?;
        let span = u64::try_from(number(&known[36..52])?).map_err(|_| BadTraceParent)?;
        let flags = u8::try_from(number(&known[53..])?).map_err(|_| BadTraceParent)?;
        TraceParent::new(trace, span, flags).ok_or(BadTraceParent)
    }
}

/// A number in lower-case hex, of at most 32 digits.
fn number(digits: &[u8]) -> Result<u128, BadTraceParent> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return Err(BadTraceParent),
        };
        Ok(number << 4 | u128::from(value))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    proptest! {
        #[test]
        fn what_is_printed_is_read(trace in 1..=u128::MAX, span in 1..=u64::MAX, flags in 0..4_u8) {
            let parent = TraceParent::new(trace, span, flags).unwrap();
            prop_assert_eq!(parent.to_string().len(), 55);
            prop_assert_eq!(parent.to_string().parse(), Ok(parent));
            prop_assert_eq!(TraceParent::from_bytes(parent.to_bytes()), Some(parent));
            prop_assert_eq!((parent.trace_id(), parent.span_id()), (trace, span));
            prop_assert_eq!((parent.flags(), parent.is_sampled()), (flags, flags % 2 == 1));
        }

        #[test]
        fn g36_no_text_makes_it_panic(text in ".{0,70}") {
            let _ = text.parse::<TraceParent>();
        }

        /// Any one character of it that is changed is seen, or is another of the same kind.
        #[test]
        fn g36_a_changed_character_never_reads_the_same(at in 0..55_usize, to in any::<char>()) {
            let mut text: Vec<char> = HEADER.chars().collect();
            prop_assume!(text[at] != to);
            text[at] = to;
            let text: String = text.into_iter().collect();
            if let Ok(parent) = text.parse::<TraceParent>() {
                // A later version reads alike, and flags that nobody knows are left out.
                let alike = !(2..53).contains(&at);
                prop_assert!(alike || parent != HEADER.parse().unwrap());
                prop_assert!(to.is_ascii_digit() || ('a'..='f').contains(&to));
            }
        }
    }

    #[test]
    fn g36_what_is_no_header_is_refused() {
        let zeros = "0".repeat(32);
        for bad in [
            "",
            "00",
            &HEADER[..54],
            &HEADER.to_uppercase(),
            &format!("{HEADER}-"),
            &format!("{HEADER}0"),
            &format!(" {HEADER}"),
            &format!("ff{}", &HEADER[2..]),
            &format!("0x{}", &HEADER[2..]),
            &format!("01{}x", &HEADER[2..]),
            &HEADER.replace('-', "_"),
            &HEADER.replace("4bf92f3577b34da6a3ce929d0e0e4736", &zeros),
            &HEADER.replace("00f067aa0ba902b7", &zeros[..16]),
            &HEADER.replace("4bf9", "\u{e9}\u{e9}"),
        ] {
            assert_eq!(bad.parse::<TraceParent>(), Err(BadTraceParent), "{bad:?}");
        }
        assert_eq!(TraceParent::from_bytes([0; 25]), None);
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let parent: TraceParent = HEADER.parse().unwrap();
        for later in [
            format!("01{}", &HEADER[2..]),
            format!("cc{}-what-comes", &HEADER[2..]),
        ] {
            assert_eq!(later.parse(), Ok(parent));
        }
        // Only what is known goes out again.
        let odd: TraceParent = HEADER.replace("-01", "-fd").parse().unwrap();
        assert_eq!((odd.flags(), odd.to_string()), (1, HEADER.to_owned()));
    }
}
