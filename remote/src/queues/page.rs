//! A page of items that are looked at: as many as fit in an answer.
//!
//! An empty page is the end, so a page never is empty because its first item can't be shown. That is a failure which
//! names the item, and who looks goes on behind it.

use callboard::codec::CodecError;
use callboard::queue::{Browsed, Sequence};
use callboard::{Failure, FailureKind, Verdict};
use serde::{Deserialize, Serialize};

use super::door::ITEM_OVERHEAD;
use super::wire::{Administered, Item};

/// Why the first item of a page can't be shown.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Unfit {
    /// It takes that many bytes, and there is room for so many.
    #[serde(rename = "l")]
    TooLarge { bytes: u64, room: u64 },
    /// It can't be encoded.
    #[serde(rename = "e")]
    NotEncoded,
}

/// A page that is filled.
pub(super) struct Page<W> {
    room: u64,
    left: u64,
    shown: Vec<W>,
    unfit: Option<(Sequence, Unfit)>,
}

impl<W> Page<W> {
    /// One with room for that many bytes.
    pub(super) fn new(bytes: u32) -> Self {
        Page {
            room: bytes.into(),
            left: bytes.into(),
            shown: Vec::new(),
            unfit: None,
        }
    }

    /// Answers whether there may be more on it. `texts` is how many bytes go with the item.
    pub(super) fn add<T>(
        &mut self,
        found: Browsed<T>,
        item: Result<Vec<u8>, CodecError>,
        texts: usize,
        show: impl FnOnce(Item, Browsed<T>) -> W,
    ) -> bool {
        let group = found.group.as_ref().map_or(0, |group| group.len());
        let unfit = match item {
            Ok(item) => {
                let takes = item.len() + texts + group + ITEM_OVERHEAD;
                let takes = u64::try_from(takes).unwrap_or(u64::MAX);
                if let Some(left) = self.left.checked_sub(takes) {
                    self.left = left;
                    self.shown.push(show(Item(item), found));
                    return true;
                }
                let (bytes, room) = (takes, self.room);
                Unfit::TooLarge { bytes, room }
            }
            Err(_) => Unfit::NotEncoded,
        };
        if self.shown.is_empty() {
            self.unfit = Some((found.sequence, unfit));
        }
        false
    }

    pub(super) fn answer(self, shown: fn(Vec<W>) -> Administered) -> Administered {
        match self.unfit {
            Some((sequence, why)) => Administered::Unfit { sequence, why },
            None => shown(self.shown),
        }
    }
}

/// Reads the items of a page, up to one that can't be read here: the next page begins with that one.
pub(super) fn read<W, T>(
    queue: &str,
    page: Vec<W>,
    sequence: fn(&W) -> Sequence,
    read: fn(W) -> Option<T>,
) -> Result<Vec<T>, Failure> {
    let mut items = Vec::with_capacity(page.len());
    for found in page {
        let at = sequence(&found);
        match read(found) {
            Some(item) => items.push(item),
            None if items.is_empty() => {
                let what = "can't be read here";
                return Err(unfit(FailureKind::BadPayload, queue, at, what));
            }
            None => break,
        }
    }
    Ok(items)
}

/// The failure of who looked.
pub(super) fn not_shown(queue: &str, sequence: Sequence, why: &Unfit) -> Failure {
    match why {
        Unfit::TooLarge { bytes, room } => {
            let what = format!("takes {bytes} bytes of an answer that has {room}");
            unfit(FailureKind::TooLarge, queue, sequence, &what)
        }
        Unfit::NotEncoded => {
            let what = "can't be encoded over there";
            unfit(FailureKind::BadPayload, queue, sequence, what)
        }
    }
}

fn unfit(kind: FailureKind, queue: &str, sequence: Sequence, what: &str) -> Failure {
    let next = sequence.saturating_add(1);
    Failure::new(kind, Verdict::NotExecuted).with_detail(format!(
        "item {sequence} of queue {queue} {what}: look from {next} on for what is behind it"
    ))
}
