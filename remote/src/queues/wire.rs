//! What travels between a queue and those who use it from other processes: ordinary messages of reserved names, one
//! for each right, so that rights can tell them apart.
//!
//! | message | right | what it does |
//! |---|---|---|
//! | `callboard.queue.look` | any | opens the queue, and looks at its state |
//! | `callboard.queue.offer` | offer | stores items |
//! | `callboard.queue.poll` | poll | leases, and ends leases |
//! | `callboard.queue.admin` | admin | looks at items, empties and ends the queue |
//!
//! Names of fields are short and what is usual is left out, because there is one set of them for each item. Items
//! lie in them encoded. Spans are in microseconds, times of day in nanoseconds.

use std::time::Duration;

use callboard::queue::{DeadInfo, DeadReason, ItemPlace, Keeps, QueueState};
use callboard::{Message, RequestKey};
use serde::{Deserialize, Serialize};

use super::page::Unfit;
use crate::entrance::WireFailure;

/// What an opened handle counts on: the type of the items, and what the queue keeps. A request with another one is
/// refused, so that nobody goes on with a queue that was opened anew with other settings.
pub(super) type Contract = u64;

/// The contract for items of that type in a queue that keeps this.
pub(super) fn contract(item: &str, version: u32, keeps: WireKeeps) -> Contract {
    // FNV-1a: it is told apart from mistakes, not from malice.
    let bytes = item.bytes().chain(version.to_be_bytes()).chain([keeps.0]);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// [`Keeps`] as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WireKeeps(pub(super) u8);

impl From<Keeps> for WireKeeps {
    fn from(keeps: Keeps) -> Self {
        let bits = [
            keeps.fenced_acks,
            keeps.groups,
            keeps.synced_offers,
            keeps.compared_keys,
        ];
        let bits = bits.into_iter().enumerate();
        WireKeeps(bits.fold(0, |all, (at, kept)| all | (u8::from(kept) << at)))
    }
}

impl From<WireKeeps> for Keeps {
    fn from(WireKeeps(bits): WireKeeps) -> Self {
        let kept = |at: u8| bits & (1 << at) != 0;
        Keeps {
            fenced_acks: kept(0),
            groups: kept(1),
            synced_offers: kept(2),
            compared_keys: kept(3),
        }
    }
}

/// A time of day as it travels.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[message(reply = Result<Seen, WireFailure>, name = "callboard.queue.look")]
pub(super) enum Look {
    /// Opens it for items of that type in that version.
    #[serde(rename = "o")]
    Open { item: String, version: u32 },
    /// What it holds and has seen.
    #[serde(rename = "s")]
    State,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Seen {
    /// It is open.
    #[serde(rename = "o")]
    Opened(WireKeeps),
    /// It holds items of another type or version.
    #[serde(rename = "h")]
    Holds { item: String, version: u32 },
    #[serde(rename = "s")]
    State(Box<QueueState>),
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[message(reply = OfferAnswer, name = "callboard.queue.offer")]
pub(super) struct OfferOp {
    #[serde(rename = "c")]
    pub(super) contract: Contract,
    /// How long it waits for room; `None` as long as the ask lives.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub(super) wait: Option<u64>,
    /// The group of all, where there are several.
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<String>,
    #[serde(rename = "i")]
    pub(super) items: Vec<Item>,
    /// What a single one says besides.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub(super) terms: Option<Box<Terms>>,
}

/// An encoded item.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Item(#[serde(with = "serde_bytes")] pub(super) Vec<u8>);

/// What an offer says besides its item.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Terms {
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<RequestKey>,
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<String>,
    #[serde(rename = "p", default, skip_serializing_if = "is_zero")]
    pub(super) priority: u8,
    #[serde(rename = "d", default, skip_serializing_if = "is_zero")]
    pub(super) delay: u64,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub(super) time_to_live: Option<u64>,
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub(super) reply_to: Option<String>,
}

fn is_zero<N: PartialEq + Default>(number: &N) -> bool {
    *number == N::default()
}

/// What became of the items of an offer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OfferAnswer {
    /// Where those stand that were stored, now or before.
    #[serde(rename = "s")]
    pub(super) stored: Vec<u64>,
    /// Which of them had been stored before.
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) duplicates: Vec<u32>,
    /// Why the next one wasn't.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<WireFailure>,
    /// How many of the last are certainly not there.
    #[serde(rename = "r", default, skip_serializing_if = "is_zero")]
    pub(super) rest: u32,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[message(reply = PollAnswer, name = "callboard.queue.poll")]
pub(super) enum PollOp {
    /// A holder of leases is there, until this ask ends. What it holds then goes back.
    #[serde(rename = "h")]
    Hold { holder: u64 },
    #[serde(rename = "l")]
    Lease(LeaseOp),
    /// Whoever waits with that ticket has gone.
    #[serde(rename = "w")]
    Withdraw { holder: u64, ticket: u64 },
    #[serde(rename = "s")]
    Settle(SettleOp),
    /// A consumer with a name has gone.
    #[serde(rename = "c")]
    Leave { holder: u64, consumer: String },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LeaseOp {
    #[serde(rename = "c")]
    pub(super) contract: Contract,
    #[serde(rename = "h")]
    pub(super) holder: u64,
    /// Tells it apart from the others of this holder, for [`PollOp::Withdraw`].
    #[serde(rename = "t")]
    pub(super) ticket: u64,
    /// How many at most.
    #[serde(rename = "m")]
    pub(super) max: u32,
    /// How many bytes of items at most.
    #[serde(rename = "b")]
    pub(super) bytes: u32,
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub(super) wait: Option<u64>,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub(super) span: Option<u64>,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub(super) consumer: Option<String>,
}

/// Ends leases: first those that are acknowledged, then the others.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct SettleOp {
    #[serde(rename = "h")]
    pub(super) holder: u64,
    #[serde(rename = "a", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) acks: Vec<u64>,
    #[serde(rename = "o", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) others: Vec<(u64, Otherwise)>,
}

/// How a lease ends that isn't acknowledged.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Otherwise {
    #[serde(rename = "r")]
    Release(u64),
    #[serde(rename = "j")]
    Reject(String),
    #[serde(rename = "b")]
    Bury(String),
    #[serde(rename = "e")]
    Extend(u64),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum PollAnswer {
    /// The holder is no more; or who waited was withdrawn.
    #[serde(rename = "g")]
    Gone,
    /// No holder of that number is there: it has to say that it is, first.
    #[serde(rename = "u")]
    Unknown,
    #[serde(rename = "l")]
    Leased(Vec<WireLeased>),
    /// All but these were ended as wished: `None` stands for a lease that was over.
    #[serde(rename = "s")]
    Settled(Vec<(u32, Option<WireFailure>)>),
    #[serde(rename = "f")]
    Failed(WireFailure),
}

/// A leased item.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireLeased {
    #[serde(rename = "i")]
    pub(super) item: Item,
    #[serde(rename = "t")]
    pub(super) token: u64,
    #[serde(rename = "s")]
    pub(super) sequence: u64,
    #[serde(rename = "a")]
    pub(super) attempt: u32,
    #[serde(rename = "f", default, skip_serializing_if = "is_zero")]
    pub(super) failed: u32,
    #[serde(rename = "o")]
    pub(super) offered: u64,
    #[serde(rename = "y")]
    pub(super) first_seen: u64,
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub(super) terms: Option<Box<Terms>>,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[message(reply = Result<Administered, WireFailure>, name = "callboard.queue.admin")]
pub(super) enum Administer {
    #[serde(rename = "b")]
    Browse {
        contract: Contract,
        from: u64,
        max: u32,
        bytes: u32,
    },
    #[serde(rename = "s")]
    Stop,
    /// Removes all that waits.
    #[serde(rename = "p")]
    Purge,
    /// What the dead-letter queue holds and has seen.
    #[serde(rename = "d")]
    DeadState,
    /// Looks at dead letters.
    #[serde(rename = "e")]
    BrowseDead {
        contract: Contract,
        from: u64,
        max: u32,
        bytes: u32,
    },
    /// Offers dead letters again.
    #[serde(rename = "r")]
    Redrive { max: u64 },
    /// Removes dead letters.
    #[serde(rename = "g")]
    PurgeDead,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Administered {
    /// How many.
    #[serde(rename = "n")]
    Count(u64),
    #[serde(rename = "s")]
    State(Box<QueueState>),
    #[serde(rename = "e")]
    Dead(Vec<WireDead>),
    #[serde(rename = "b")]
    Browsed(Vec<WireBrowsed>),
    /// The first item of a page can't be shown.
    #[serde(rename = "u")]
    Unfit { sequence: u64, why: Unfit },
    #[serde(rename = "d")]
    Done,
}

/// An item that was looked at.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireBrowsed {
    pub(super) item: Item,
    pub(super) sequence: u64,
    pub(super) place: ItemPlace,
    pub(super) attempt: u32,
    pub(super) failed: u32,
    pub(super) offered: u64,
    pub(super) key: Option<RequestKey>,
    pub(super) group: Option<String>,
}

/// A dead letter that was looked at.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireDead {
    pub(super) about: WireBrowsed,
    pub(super) info: WireDeadInfo,
}

/// [`DeadInfo`] as it travels.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireDeadInfo {
    reason: DeadReason,
    detail: String,
    sequence: u64,
    attempts: u32,
    failed: u32,
    offered: u64,
    first_failure: Option<u64>,
    last_failure: Option<u64>,
    died: u64,
    key: Option<RequestKey>,
    group: Option<String>,
}

impl WireDeadInfo {
    /// How many bytes its texts have.
    pub(super) fn texts(&self) -> usize {
        self.detail.len() + self.group.as_ref().map_or(0, String::len)
    }
}

impl From<DeadInfo> for WireDeadInfo {
    fn from(info: DeadInfo) -> Self {
        WireDeadInfo {
            reason: info.reason,
            detail: info.detail.to_string(),
            sequence: info.sequence,
            attempts: info.attempts,
            failed: info.failed,
            offered: nanos(info.offered),
            first_failure: info.first_failure.map(nanos),
            last_failure: info.last_failure.map(nanos),
            died: nanos(info.died),
            key: info.key,
            group: info.group.map(|group| group.to_string()),
        }
    }
}

impl From<WireDeadInfo> for DeadInfo {
    fn from(info: WireDeadInfo) -> Self {
        DeadInfo {
            reason: info.reason,
            detail: info.detail.into(),
            sequence: info.sequence,
            attempts: info.attempts,
            failed: info.failed,
            offered: Duration::from_nanos(info.offered),
            first_failure: info.first_failure.map(Duration::from_nanos),
            last_failure: info.last_failure.map(Duration::from_nanos),
            died: Duration::from_nanos(info.died),
            key: info.key,
            group: info.group.map(Into::into),
        }
    }
}
