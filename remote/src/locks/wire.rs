//! What travels between a lock and those who use it from other processes. Spans are in microseconds.

use std::sync::Arc;
use std::time::Duration;

use callboard::Message;
use callboard::clock::Instant;
use callboard::locks::{HeldState, LockCounts, LockState, Token};
use serde::{Deserialize, Serialize};

use crate::entrance::{WireFailure, micros};

/// What kind of lock it is, so that nobody opens one as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    #[serde(rename = "m")]
    Mutex,
    #[serde(rename = "s")]
    Semaphore,
    #[serde(rename = "r")]
    RwLock,
}

impl Kind {
    pub(super) fn text(self) -> &'static str {
        match self {
            Kind::Mutex => "mutex",
            Kind::Semaphore => "semaphore",
            Kind::RwLock => "read-write lock",
        }
    }
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[message(reply = Result<LockAnswer, WireFailure>, name = "callboard.lock")]
pub(super) enum LockOp {
    #[serde(rename = "o")]
    Open,
    #[serde(rename = "g")]
    Grant {
        #[serde(rename = "h")]
        holder: u64,
        /// Tells it apart from the others of this holder.
        #[serde(rename = "t")]
        ticket: u64,
        #[serde(rename = "u")]
        units: u32,
        #[serde(rename = "l")]
        lease: u64,
        #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
        wait: Option<u64>,
        #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
        label: Option<String>,
    },
    /// Whoever waits with that ticket has gone.
    #[serde(rename = "w")]
    Withdraw {
        #[serde(rename = "h")]
        holder: u64,
        #[serde(rename = "t")]
        ticket: u64,
    },
    #[serde(rename = "n")]
    Renew {
        #[serde(rename = "h")]
        holder: u64,
        #[serde(rename = "t")]
        token: u64,
        #[serde(rename = "l")]
        lease: u64,
        /// Whose token it is; see [`LockAnswer::Granted`].
        #[serde(rename = "d")]
        door: u64,
    },
    #[serde(rename = "r")]
    Release {
        #[serde(rename = "h")]
        holder: u64,
        #[serde(rename = "t")]
        token: u64,
        #[serde(rename = "d")]
        door: u64,
    },
    #[serde(rename = "s")]
    State,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum LockAnswer {
    #[serde(rename = "o")]
    Opened { kind: Kind, units: u32 },
    /// It was granted, after that long a wait over there. A lock that was started again may count its tokens from 1
    /// again; `door` tells it from the one before.
    #[serde(rename = "g")]
    Granted { token: u64, waited: u64, door: u64 },
    #[serde(rename = "d")]
    Done,
    /// The lease had ended.
    #[serde(rename = "x")]
    Stale { current: u64 },
    #[serde(rename = "s")]
    State(Box<WireState>),
}

/// A [`LockState`], with spans in place of points of a clock that only one side has.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireState {
    name: String,
    units: u32,
    free: u32,
    newest: u64,
    held: Vec<WireHeld>,
    waiting: u64,
    waiting_for: Option<u64>,
    counts: [u64; 8],
}

#[derive(Debug, Serialize, Deserialize)]
struct WireHeld {
    token: u64,
    units: u32,
    held_for: u64,
    left: u64,
    holder: Option<String>,
}

impl WireState {
    pub(super) fn new(state: &LockState, now: Instant) -> Self {
        let counts = state.counts;
        WireState {
            name: state.name.to_string(),
            units: state.units,
            free: state.free,
            newest: state.newest.0,
            held: state
                .held
                .iter()
                .map(|held| WireHeld {
                    token: held.token.0,
                    units: held.units,
                    held_for: micros(now.since(held.since)),
                    left: micros(held.ends.since(now)),
                    holder: held.holder.as_ref().map(ToString::to_string),
                })
                .collect(),
            waiting: u64::try_from(state.waiting).unwrap_or(u64::MAX),
            waiting_for: state.waiting_since.map(|since| micros(now.since(since))),
            counts: [
                counts.grants,
                counts.releases,
                counts.expiries,
                counts.renewals,
                counts.timeouts,
                counts.withdrawn,
                counts.refused,
                counts.stale,
            ],
        }
    }

    /// By the clock of this side.
    pub(crate) fn seen_at(self, now: Instant) -> LockState {
        let before = |span: u64| {
            let span = Duration::from_micros(span).as_nanos();
            let span = u64::try_from(span).unwrap_or(u64::MAX);
            Instant::from_nanos(now.as_nanos().saturating_sub(span))
        };
        let mut counts = LockCounts::default();
        [
            counts.grants,
            counts.releases,
            counts.expiries,
            counts.renewals,
            counts.timeouts,
            counts.withdrawn,
            counts.refused,
            counts.stale,
        ] = self.counts;
        let held = self.held.into_iter().map(|held| HeldState {
            token: Token(held.token),
            units: held.units,
            since: before(held.held_for),
            ends: now + Duration::from_micros(held.left),
            holder: held.holder.map(Arc::from),
        });
        LockState {
            name: self.name.into(),
            units: self.units,
            free: self.free,
            newest: Token(self.newest),
            held: held.collect(),
            waiting: usize::try_from(self.waiting).unwrap_or(usize::MAX),
            waiting_since: self.waiting_for.map(before),
            counts,
        }
    }
}
