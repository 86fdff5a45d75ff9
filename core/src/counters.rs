//! Counters of one system: nothing disappears without one of them moving (G3, G8).

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// Why a message reached no handler, or a reply no asker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub enum DropReason {
    /// The actor had stopped, or stopped before the message's turn.
    Stopped,
    /// Its deadline passed before the handler began.
    Expired,
    /// Its asker gave up before the handler began.
    Withdrawn,
    /// The policy of a full mailbox dropped the arriving message.
    DropNewest,
    /// The policy of a full mailbox dropped the oldest message.
    DropOldest,
    /// An admission panicked with it in hand.
    AdmissionPanicked,
    /// Its actor held it back, and had no room in its stash.
    StashFull,
    /// A message across a process boundary was lost after `tell` had answered.
    Undelivered,
    /// A tell from another process: nothing is exposed under its name.
    UnknownName,
    /// A tell from another process: the receiver doesn't take messages of its type.
    UnknownType,
    /// A tell from another process: the receiver takes its type in other versions.
    WrongVersion,
    /// A tell from another process: its payload could not be decoded.
    BadPayload,
    /// A tell from another process: its sender has no right to what it named.
    NotAuthorised,
    /// A reply came after its ask had ended.
    LateReply,
    /// The ring of dead letters was full; its oldest entry went.
    DeadLetterOverflow,
    /// A fault that a test put on the actor took the message.
    Injected,
    /// An item of a dead-letter queue was given up there, too.
    Rejected,
    /// It was in hand at more crashes of its actor than it is [offered again](crate::Spawn::replay).
    Poison,
}

impl DropReason {
    /// All reasons.
    pub const ALL: [DropReason; 18] = [
        DropReason::Stopped,
        DropReason::Expired,
        DropReason::Withdrawn,
        DropReason::DropNewest,
        DropReason::DropOldest,
        DropReason::AdmissionPanicked,
        DropReason::StashFull,
        DropReason::Undelivered,
        DropReason::UnknownName,
        DropReason::UnknownType,
        DropReason::WrongVersion,
        DropReason::BadPayload,
        DropReason::NotAuthorised,
        DropReason::LateReply,
        DropReason::DeadLetterOverflow,
        DropReason::Injected,
        DropReason::Rejected,
        DropReason::Poison,
    ];

    /// Its name as a level of a subject and a label of a metric: `drop_oldest`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            DropReason::Stopped => "stopped",
            DropReason::Expired => "expired",
            DropReason::Withdrawn => "withdrawn",
            DropReason::DropNewest => "drop_newest",
            DropReason::DropOldest => "drop_oldest",
            DropReason::AdmissionPanicked => "admission_panicked",
            DropReason::StashFull => "stash_full",
            DropReason::Injected => "injected",
            DropReason::Rejected => "rejected",
            DropReason::Poison => "poison",
            DropReason::Undelivered => "undelivered",
            DropReason::UnknownName => "unknown_name",
            DropReason::UnknownType => "unknown_type",
            DropReason::WrongVersion => "wrong_version",
            DropReason::BadPayload => "bad_payload",
            DropReason::NotAuthorised => "not_authorised",
            DropReason::LateReply => "late_reply",
            DropReason::DeadLetterOverflow => "dead_letter_overflow",
        }
    }
}

/// How often each thing has happened since the system started.
#[derive(Debug, Default)]
pub struct Counters {
    drops: [AtomicU64; DropReason::ALL.len()],
    panics: AtomicU64,
    blocks: AtomicU64,
    freezes: AtomicU64,
    abandoned_threads: AtomicU64,
}

impl Counters {
    /// Counts one drop.
    pub fn count_drop(&self, reason: DropReason) {
        self.drops[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many were dropped for that reason.
    #[must_use]
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn count_block(&self) {
        self.blocks.fetch_add(1, Ordering::Relaxed);
    }

    /// How often an arbiter's thread was found blocked (G7): see
    /// [`System::block_limit`](crate::System::block_limit).
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed)
    }

    pub(crate) fn count_freeze(&self) {
        self.freezes.fetch_add(1, Ordering::Relaxed);
    }

    /// How often a handler made no progress for longer than its [limit](crate::Spawn::handler_limit) (G13).
    #[must_use]
    pub fn freezes(&self) -> u64 {
        self.freezes.load(Ordering::Relaxed)
    }

    pub(crate) fn count_abandoned_thread(&self) {
        self.abandoned_threads.fetch_add(1, Ordering::Relaxed);
    }

    /// How many threads of children were [abandoned](crate::ThreadPlace::abandon_when_stuck) (G13).
    #[must_use]
    pub fn abandoned_threads(&self) -> u64 {
        self.abandoned_threads.load(Ordering::Relaxed)
    }

    pub(crate) fn count_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// Panics caught by the fence of an actor (G10).
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }
}
