//! Recorded streams, and what can be made of them: any byte changed, any field at its extremes, frames left out,
//! doubled and swapped.

use std::path::PathBuf;

use crate::proxy::Dice;

/// A frame, taken apart so that each field can be wrong by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// What it says; what it is, unless a mutation made it lie.
    pub(crate) len: u32,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) sequence: u16,
    pub(crate) correlation: u64,
    pub(crate) body: Vec<u8>,
}

impl Part {
    fn is_numbered(&self) -> bool {
        self.kind > 6
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.len.to_be_bytes());
        out.extend([self.kind, self.flags]);
        out.extend(self.sequence.to_be_bytes());
        out.extend(self.correlation.to_be_bytes());
        out.extend(&self.body);
    }
}

/// The whole frames of a recorded stream; what is left of one that was cut is not.
pub(crate) fn split(mut bytes: &[u8]) -> Vec<Part> {
    let mut parts = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<16>() {
        let len = u32::from_be_bytes(*header.first_chunk().unwrap());
        let Some((body, rest)) = rest.split_at_checked(len as usize) else {
            break;
        };
        parts.push(Part {
            len,
            kind: header[4],
            flags: header[5],
            sequence: u16::from_be_bytes([header[6], header[7]]),
            correlation: u64::from_be_bytes(*header.last_chunk().unwrap()),
            body: body.to_vec(),
        });
        bytes = rest;
    }
    parts
}

pub(crate) fn join(parts: &[Part]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        part.put(&mut out);
    }
    out
}

/// Where in a hello the session's id stands.
fn id_of(hello: &mut Part) -> Option<&mut [u8]> {
    let name = usize::from(*hello.body.get(24)?);
    hello.body.get_mut(25 + name..25 + name + 16)
}

/// Gives the session another id: one that was used already is refused before anything is looked at.
pub(crate) fn rename(parts: &mut [Part], id: &[u8]) {
    if let Some(field) = parts.first_mut().and_then(id_of) {
        field.copy_from_slice(id);
    }
}

/// An id that no other has in this process.
pub(crate) fn fresh_id() -> [u8; 16] {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut id = *b"fuzzing fuzzing!";
    id[8..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    id
}

/// Numbers the frames as if nothing were missing.
pub(crate) fn renumber(parts: &mut [Part]) {
    let numbered = parts.iter_mut().filter(|part| part.is_numbered());
    for (part, number) in numbered.zip(1..) {
        part.sequence = number;
    }
}

const EXTREMES: [u64; 12] = [
    0,
    1,
    2,
    0x7F,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x0004_0000,
    0x7FFF_FFFF,
    0xFFFF_FFFF,
    0x7FFF_FFFF_FFFF_FFFF,
    u64::MAX,
];

/// The low bits: also extremes are cut to the width of their field.
#[allow(clippy::cast_possible_truncation, clippy::as_conversions)]
fn cut(value: u64) -> (u32, u16, u8) {
    (value as u32, value as u16, value as u8)
}

/// Every header field and the first bytes of every body at every extreme, one at a time.
pub(crate) fn extremes(parts: &[Part]) -> Vec<Vec<Part>> {
    let mut all = Vec::new();
    for at in 0..parts.len() {
        for value in EXTREMES {
            let mut with = |change: &dyn Fn(&mut Part)| {
                let mut other = parts.to_vec();
                change(&mut other[at]);
                all.push(other);
            };
            let (word, half, byte) = cut(value);
            with(&|part| part.len = word);
            with(&|part| part.kind = byte);
            with(&|part| part.flags = byte);
            with(&|part| part.sequence = half);
            with(&|part| part.correlation = value);
            for (field, width) in [(0, 1), (0, 4), (4, 8), (12, 4), (24, 1), (24, 8)] {
                with(&|part| {
                    let bytes = &value.to_be_bytes()[8 - width..];
                    if let Some(field) = part.body.get_mut(field..field + width) {
                        field.copy_from_slice(bytes);
                    }
                });
            }
        }
    }
    all
}

/// Changes a stream a little or a lot, and mostly so that it isn't found out at the first byte.
pub(crate) fn mutate(dice: &mut Dice, parts: &[Part], others: &[Vec<Part>]) -> Vec<u8> {
    let mut parts = parts.to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.index(parts.len());
        match dice.below(10) {
            0 => drop(parts.remove(at)),
            1 => parts.insert(at, parts[dice.index(parts.len())].clone()),
            2 => {
                let other = dice.index(parts.len());
                parts.swap(at, other);
            }
            3 => {
                let other = &others[dice.index(others.len())];
                parts.insert(at, other[dice.index(other.len())].clone());
            }
            4 => field(dice, &mut parts[at]),
            _ => bytes(dice, &mut parts[at].body),
        }
        if parts.is_empty() {
            break;
        }
    }
    if !dice.one_in(8) {
        for part in &mut parts {
            part.len = u32::try_from(part.body.len()).unwrap();
        }
    }
    if !dice.one_in(8) {
        renumber(&mut parts);
    }
    let mut out = join(&parts);
    if dice.one_in(8) {
        out.truncate(dice.index(out.len() + 1));
    }
    out
}

fn field(dice: &mut Dice, part: &mut Part) {
    let value = if dice.one_in(2) {
        EXTREMES[dice.index(EXTREMES.len())]
    } else {
        dice.next() >> dice.below(64)
    };
    let (word, half, byte) = cut(value);
    match dice.below(5) {
        0 => part.len = word,
        1 => part.kind = byte % 52,
        2 => part.flags = byte,
        3 => part.sequence = half,
        _ => part.correlation = value,
    }
}

/// Changes some bytes.
pub(crate) fn bytes(dice: &mut Dice, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        bytes.extend(dice.next().to_be_bytes());
        return;
    }
    let at = dice.index(bytes.len());
    match dice.below(6) {
        0 => bytes[at] ^= 1 << dice.below(8),
        1 => bytes[at] = cut(dice.next()).2,
        // The markers of MessagePack that promise most.
        2 => bytes[at] = [0xC1, 0xC6, 0xC9, 0xDB, 0xDD, 0xDF, 0x9F, 0x8F][dice.index(8)],
        3 => {
            let end = at + dice.index(bytes.len() - at);
            drop(bytes.drain(at..end));
        }
        4 => {
            let more = dice.next().to_be_bytes();
            bytes.splice(at..at, more);
        }
        _ => {
            let extreme = EXTREMES[dice.index(EXTREMES.len())].to_be_bytes();
            let width = [1, 2, 4, 8][dice.index(4)];
            let end = (at + width).min(bytes.len());
            bytes[at..end].copy_from_slice(&extreme[8 - (end - at)..]);
        }
    }
}

/// The kept streams of one direction, by name.
pub(crate) fn corpus(way: &str) -> Vec<(String, Vec<Part>)> {
    let mut found: Vec<_> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == way))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, split(&std::fs::read(path).unwrap()))
        })
        .collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    assert!(!found.is_empty());
    found
}

pub(crate) fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/corpus"))
}
