//! What is there, what survives, and what may.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use callboard_core::Entropy;

use super::SECTOR;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Dir,
    File(u64),
}

/// A change of names.
#[derive(Debug, Clone)]
pub(super) enum NameOp {
    Make(PathBuf, Node),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl NameOp {
    /// Whether a sync of this directory makes it last.
    pub(super) fn is_in(&self, dir: &Path) -> bool {
        let (NameOp::Make(path, _) | NameOp::Remove(path) | NameOp::Rename(_, path)) = self;
        path.parent() == Some(dir)
    }

    pub(super) fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            NameOp::Make(path, node) => {
                names.insert(path.clone(), *node);
            }
            NameOp::Remove(path) => {
                names.remove(path);
            }
            NameOp::Rename(from, to) => {
                let moved: Vec<PathBuf> = names
                    .keys()
                    .filter(|path| path.starts_with(from))
                    .cloned()
                    .collect();
                for path in moved {
                    let Ok(rest) = path.strip_prefix(from) else {
                        continue;
                    };
                    let there = if rest.as_os_str().is_empty() {
                        to.clone()
                    } else {
                        to.join(rest)
                    };
                    if let Some(node) = names.remove(&path) {
                        names.insert(there, node);
                    }
                }
            }
        }
    }
}

pub(super) fn is_root(dir: &Path) -> bool {
    dir.parent().is_none() || dir.as_os_str().is_empty()
}

/// The names after a loss of power: any of the changes may have been made to last.
pub(super) fn names_after(
    entropy: &Entropy,
    synced: &BTreeMap<PathBuf, Node>,
    unsynced: &[NameOp],
) -> BTreeMap<PathBuf, Node> {
    let survives = survivors(entropy, unsynced.len());
    let mut names = synced.clone();
    for (change, survives) in unsynced.iter().zip(survives) {
        if survives {
            change.apply(&mut names);
        }
    }
    // What lies in a directory that isn't there isn't there.
    let all = names.clone();
    names.retain(|path, _| {
        let mut above = path.ancestors().skip(1);
        above.all(|dir| is_root(dir) || all.get(dir) == Some(&Node::Dir))
    });
    names
}

/// Which of so many things survive: all, none, the first few, or any.
fn survivors(entropy: &Entropy, count: usize) -> Vec<bool> {
    let way = entropy.below(4);
    let prefix = entropy.below(count as u64 + 1);
    let survives = |at: usize| match way {
        0 => true,
        1 => false,
        2 => (at as u64) < prefix,
        _ => entropy.below(2) == 0,
    };
    (0..count).map(survives).collect()
}

/// A part of a write that a disk writes whole or not at all.
#[derive(Debug, Clone)]
struct Piece {
    at: usize,
    bytes: Vec<u8>,
}

/// A file.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<Piece>,
}

impl Content {
    pub(super) fn synced(bytes: Vec<u8>) -> Self {
        Content {
            synced: bytes.clone(),
            bytes,
            unsynced: Vec::new(),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn read(&self, buffer: &mut [u8], at: u64) -> usize {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let rest = self.bytes.get(at..).unwrap_or(&[]);
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        len
    }

    pub(super) fn write(&mut self, bytes: &[u8], at: u64) {
        let mut at = usize::try_from(at).unwrap_or(0);
        put(&mut self.bytes, bytes, at);
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = (SECTOR - at % SECTOR).min(rest.len());
            let (piece, behind) = rest.split_at(len);
            self.unsynced.push(Piece {
                at,
                bytes: piece.to_vec(),
            });
            at += len;
            rest = behind;
        }
    }

    pub(super) fn sync(&mut self) {
        for piece in self.unsynced.drain(..) {
            put(&mut self.synced, &piece.bytes, piece.at);
        }
    }

    /// What a sync that failed leaves: it is there, but it won't be written any more.
    pub(super) fn forget_unsynced(&mut self) {
        self.unsynced.clear();
    }

    pub(super) fn after_power_loss(&self, entropy: &Entropy) -> Content {
        let survives = survivors(entropy, self.unsynced.len());
        let mut bytes = self.synced.clone();
        for (piece, survives) in self.unsynced.iter().zip(survives) {
            if survives {
                put(&mut bytes, &piece.bytes, piece.at);
            }
        }
        Content::synced(bytes)
    }

    pub(super) fn flip(&mut self, bit: u64) -> bool {
        let at = usize::try_from(bit / 8).unwrap_or(usize::MAX);
        let mut flipped = false;
        for bytes in [&mut self.bytes, &mut self.synced] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (bit % 8);
                flipped = true;
            }
        }
        flipped
    }
}

fn put(target: &mut Vec<u8>, bytes: &[u8], at: usize) {
    let end = at + bytes.len();
    if target.len() < end {
        target.resize(end, 0);
    }
    target[at..end].copy_from_slice(bytes);
}
