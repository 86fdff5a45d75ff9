//! The head of an entry's record, and the note of an attempt that broke off: byte by byte, since every entry has one.
//!
//! ```text
//! 0   1   version of this form: 1
//! 1   1   1 reserved, 2 done, 3 done with an answer that had no room, 4 done with one that could not be
//!         encoded, 5 sealed
//! 2   4   attempts
//! 6   16  principal and target (SipHash-1-3 of 128 bits under the store's key)
//! 22  16  request key
//! 38  16  print of the payload (the same hash)
//! 54  8   when it was reserved, or ended: nanoseconds since 1970 began
//! ```
//!
//! The note: version 1, the time as above, and what was seen, in UTF-8. Numbers are little-endian. What follows a head
//! is left alone: later versions may add to the end.

use std::time::Duration;

use super::super::keyed::Id;

pub(super) const LENGTH: usize = 62;

const VERSION: u8 = 1;
/// What is kept of what was seen of an attempt that broke off.
const SEEN: usize = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Reserved = 1,
    Done = 2,
    TooLarge = 3,
    Lost = 4,
    Sealed = 5,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) state: State,
    pub(super) attempts: u32,
    pub(super) id: Id,
    pub(super) print: u128,
    pub(super) at: Duration,
}

impl Head {
    pub(super) fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[0] = VERSION;
        bytes[1] = self.state as u8;
        bytes[2..6].copy_from_slice(&self.attempts.to_le_bytes());
        bytes[6..22].copy_from_slice(&self.id.scope.to_le_bytes());
        bytes[22..38].copy_from_slice(&self.id.key.to_le_bytes());
        bytes[38..54].copy_from_slice(&self.print.to_le_bytes());
        bytes[54..].copy_from_slice(&nanos(self.at).to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut bytes = Bytes(bytes);
        let [version, state] = bytes.take()?;
        if version != VERSION {
            return Err(format!(
                "its head has version {version}, known is {VERSION}"
            ));
        }
        let states = [
            State::Reserved,
            State::Done,
            State::TooLarge,
            State::Lost,
            State::Sealed,
        ];
        let state = states.into_iter().find(|known| *known as u8 == state);
        Ok(Head {
            state: state.ok_or("its state is none that is known")?,
            attempts: u32::from_le_bytes(bytes.take()?),
            id: Id {
                scope: u128::from_le_bytes(bytes.take()?),
                key: u128::from_le_bytes(bytes.take()?),
            },
            print: u128::from_le_bytes(bytes.take()?),
            at: bytes.time()?,
        })
    }
}

pub(super) fn broken_note(at: Duration, seen: &str) -> Vec<u8> {
    let mut note = vec![VERSION];
    note.extend(nanos(at).to_le_bytes());
    note.extend(&seen.as_bytes()[..seen.floor_char_boundary(SEEN)]);
    note
}

/// When an attempt broke off, and what was seen of it.
pub(super) fn read_broken_note(note: &[u8]) -> Result<(Duration, String), String> {
    let mut bytes = Bytes(note);
    let [version] = bytes.take()?;
    if version != VERSION {
        return Err(format!(
            "its note has version {version}, known is {VERSION}"
        ));
    }
    let at = bytes.time()?;
    Ok((at, String::from_utf8_lossy(bytes.0).into_owned()))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.0.split_first_chunk().ok_or("it is cut off")?;
        self.0 = rest;
        Ok(*taken)
    }

    fn time(&mut self) -> Result<Duration, String> {
        Ok(Duration::from_nanos(u64::from_le_bytes(self.take()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by hand from the description above.
    #[test]
    fn g37_a_head_has_the_bytes_that_are_described() {
        let head = Head {
            state: State::Done,
            attempts: 3,
            id: Id { scope: 4, key: 5 },
            print: 6,
            at: Duration::from_nanos(7),
        };
        let mut bytes = vec![1, 2, 3, 0, 0, 0];
        for number in [4_u8, 5, 6] {
            bytes.push(number);
            bytes.extend([0; 15]);
        }
        bytes.extend([7, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(head.encode().to_vec(), bytes);
        bytes.extend([9, 9]);
        assert_eq!(Head::decode(&bytes), Ok(head), "more at the end");
        for end in 0..LENGTH {
            assert!(Head::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
        bytes[1] = 6;
        assert!(Head::decode(&bytes).is_err(), "a state of later versions");
    }

    #[test]
    fn g36_a_note_is_cut_between_characters() {
        let note = broken_note(Duration::from_nanos(9), &"\u{e4}".repeat(SEEN));
        let (at, seen) = read_broken_note(&note).unwrap();
        assert_eq!((at.as_nanos(), seen), (9, "\u{e4}".repeat(SEEN / 2)));
        assert!(read_broken_note(&note[..5]).is_err());
    }
}
