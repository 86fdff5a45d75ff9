//! Bodies of the frames by which one side watches what the other exposes (G12).
//!
//! `Watch` (its correlation is the number of the watch): version of the message type `u32`, name, name of the type.
//! `Life` (likewise): what happened `u8`, why `u8`, a number `u64`.
//!
//! | what happened | | why | number |
//! |---|---|---|---|
//! | 0 | the watch holds | 0 | of the watched in its process: another one has another |
//! | 1 | it was restarted | why the one before ended | incarnation |
//! | 2 | its node has lost the connection to it | 0 | 0 |
//! | 3 | and has it again | 0 | 0 |
//! | 4 | it has ended: the last event | why | its last incarnation |
//!
//! Why: 1 stopped, 2 killed, 3 never existed, 4 to 6 failed (benign, recoverable, fatal). What exactly failed is told
//! to nobody in another process: it may name what belongs to this one alone.

use callboard::{ExitReason, FailureClass, Fault, Incarnation};

use super::WireError;
use super::frame::Kind;
use super::reader::{Fields, put_name};

/// A `Watch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watch<'a> {
    pub(crate) version: u32,
    pub(crate) name: &'a str,
    pub(crate) type_name: &'a str,
}

/// The same, kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnedWatch {
    pub(crate) version: u32,
    pub(crate) name: String,
    pub(crate) type_name: String,
}

impl<'a> Watch<'a> {
    pub(crate) fn to_owned(&self) -> OwnedWatch {
        OwnedWatch {
            version: self.version,
            name: self.name.to_owned(),
            type_name: self.type_name.to_owned(),
        }
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.version.to_be_bytes());
        put_name(out, self.name);
        put_name(out, self.type_name);
    }

    pub(crate) fn decode(body: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(Kind::Watch.text(), body);
        let watch = Watch {
            version: fields.u32()?,
            name: fields.name("name")?,
            type_name: fields.name("type name")?,
        };
        fields.end()?;
        Ok(watch)
    }
}

/// A `Life`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// The watch holds, for who has that number in its process.
    Holds(u64),
    Restarted(Incarnation, End),
    NoConnection,
    Reconnected,
    Terminated(Incarnation, End),
}

/// Why somebody ended, as far as another process may know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Stopped,
    Killed,
    NeverExisted,
    Failed(FailureClass),
}

impl From<&ExitReason> for End {
    fn from(reason: &ExitReason) -> Self {
        match reason {
            ExitReason::Stopped => End::Stopped,
            ExitReason::Killed => End::Killed,
            ExitReason::NeverExisted => End::NeverExisted,
            ExitReason::Failed(fault) => End::Failed(fault.class()),
            // A reason that has no number yet.
            _ => End::Failed(FailureClass::default()),
        }
    }
}

impl From<End> for ExitReason {
    fn from(end: End) -> Self {
        match end {
            End::Stopped => ExitReason::Stopped,
            End::Killed => ExitReason::Killed,
            End::NeverExisted => ExitReason::NeverExisted,
            End::Failed(class) => {
                ExitReason::Failed(Fault::new(class, "its own process knows why"))
            }
        }
    }
}

impl End {
    fn number(self) -> u8 {
        match self {
            End::Stopped => 1,
            End::Killed => 2,
            End::NeverExisted => 3,
            End::Failed(FailureClass::Benign) => 4,
            End::Failed(FailureClass::Recoverable) => 5,
            End::Failed(FailureClass::Fatal) => 6,
        }
    }

    /// A number that a later version added is a failure.
    fn of(number: u8) -> End {
        match number {
            1 => End::Stopped,
            2 => End::Killed,
            3 => End::NeverExisted,
            4 => End::Failed(FailureClass::Benign),
            6 => End::Failed(FailureClass::Fatal),
            _ => End::Failed(FailureClass::Recoverable),
        }
    }
}

impl Life {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let (what, why, number) = match self {
            Life::Holds(number) => (0, 0, *number),
            Life::Restarted(incarnation, end) => (1, end.number(), incarnation.0),
            Life::NoConnection => (2, 0, 0),
            Life::Reconnected => (3, 0, 0),
            Life::Terminated(incarnation, end) => (4, end.number(), incarnation.0),
        };
        out.extend([what, why]);
        out.extend(number.to_be_bytes());
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(Kind::Life.text(), body);
        let (what, why, number) = (fields.u8()?, fields.u8()?, fields.u64()?);
        let (incarnation, end) = (Incarnation(number), End::of(why));
        let life = match what {
            0 => Life::Holds(number),
            1 => Life::Restarted(incarnation, end),
            2 => Life::NoConnection,
            3 => Life::Reconnected,
            4 => Life::Terminated(incarnation, end),
            _ => return Err(fields.bad("event")),
        };
        fields.end()?;
        Ok(life)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out);
        out
    }

    /// Golden bytes: what version 2 looks like, for ever.
    #[test]
    fn g37_a_watch_looks_like_this() {
        let watch = Watch {
            version: 258,
            name: "till",
            type_name: "pay",
        };
        let expected = [0, 0, 1, 2, 4, b't', b'i', b'l', b'l', 3, b'p', b'a', b'y'];
        assert_eq!(encode(|out| watch.put(out)), expected);
        assert_eq!(Watch::decode(&expected), Ok(watch));
        for len in 0..expected.len() {
            assert!(Watch::decode(&expected[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn g37_an_event_of_a_life_looks_like_this() {
        let second = Incarnation(2);
        let events = [
            (Life::Holds(259), [0, 0, 0, 0, 0, 0, 0, 0, 1, 3]),
            (
                Life::Restarted(second, End::Failed(FailureClass::Recoverable)),
                [1, 5, 0, 0, 0, 0, 0, 0, 0, 2],
            ),
            (Life::NoConnection, [2, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            (Life::Reconnected, [3, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            (
                Life::Terminated(second, End::Stopped),
                [4, 1, 0, 0, 0, 0, 0, 0, 0, 2],
            ),
            (
                Life::Terminated(second, End::Killed),
                [4, 2, 0, 0, 0, 0, 0, 0, 0, 2],
            ),
            (
                Life::Terminated(Incarnation(0), End::NeverExisted),
                [4, 3, 0, 0, 0, 0, 0, 0, 0, 0],
            ),
            (
                Life::Terminated(second, End::Failed(FailureClass::Benign)),
                [4, 4, 0, 0, 0, 0, 0, 0, 0, 2],
            ),
            (
                Life::Terminated(second, End::Failed(FailureClass::Fatal)),
                [4, 6, 0, 0, 0, 0, 0, 0, 0, 2],
            ),
        ];
        for (event, expected) in events {
            assert_eq!(encode(|out| event.put(out)), expected);
            assert_eq!(Life::decode(&expected), Ok(event));
            assert!(Life::decode(&expected[..9]).is_err());
        }
        let unknown = Life::decode(&[5, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(matches!(unknown, Err(WireError::BadField { .. })));
        assert_eq!(End::of(200), End::Failed(FailureClass::Recoverable));
    }

    #[test]
    fn what_failed_stays_in_its_process() {
        let reason = ExitReason::Failed(Fault::fatal("no such file: /secret/path"));
        let told = ExitReason::from(End::from(&reason));
        let ExitReason::Failed(fault) = &told else {
            panic!("{told}");
        };
        assert_eq!(fault.class(), FailureClass::Fatal);
        assert!(!told.to_string().contains("secret"), "{told}");
    }
}
