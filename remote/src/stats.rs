//! Counters of connections, as a page or a console shows them.

use std::sync::atomic::{AtomicU64, Ordering};

use callboard::FailureKind;
use serde::Serialize;

/// Bytes of one peer or node.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Traffic {
    pub(crate) fn count_in(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_out(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn bytes(&self) -> (u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&self.bytes_in), load(&self.bytes_out))
    }
}

macro_rules! counters {
    ($(#[$doc:meta])* $name:ident => $snapshot:ident { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        #[derive(Debug, Default)]
        pub(crate) struct $name {
            pub(crate) traffic: Traffic,
            failures: [AtomicU64; FailureKind::ALL.len()],
            $($field: AtomicU64,)*
        }

        impl $name {
            $(pub(crate) fn $field(&self) {
                self.$field.fetch_add(1, Ordering::Relaxed);
            })*

            /// Counts an end that was no answer.
            pub(crate) fn failed(&self, kind: FailureKind) {
                let index = FailureKind::ALL.iter().position(|known| *known == kind);
                if let Some(counter) = index.and_then(|index| self.failures.get(index)) {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            }

            pub(crate) fn snapshot(&self) -> $snapshot {
                let (bytes_in, bytes_out) = self.traffic.bytes();
                let failures = FailureKind::ALL.iter().zip(&self.failures);
                $snapshot {
                    bytes_in,
                    bytes_out,
                    failures: failures
                        .map(|(kind, count)| (*kind, count.load(Ordering::Relaxed)))
                        .filter(|(_, count)| *count > 0)
                        .collect(),
                    $($field: self.$field.load(Ordering::Relaxed),)*
                }
            }
        }

        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
        #[non_exhaustive]
        pub struct $snapshot {
            /// Bytes read.
            pub bytes_in: u64,
            /// Bytes written.
            pub bytes_out: u64,
            /// Messages that ended without an answer, by reason; reasons that never occurred are left out.
            pub failures: Vec<(FailureKind, u64)>,
            $($(#[$field_doc])* pub $field: u64,)*
        }
    };
}

counters! {
    /// What a [`Peer`](crate::Peer) has done since it was made.
    PeerCounters => PeerStats {
        /// Connections made.
        connects,
        /// Connections lost.
        disconnects,
        /// Connections that went on with a session.
        resumes,
        /// Sessions that ended.
        sessions_ended,
        /// Frames that arrived again, and were skipped.
        repeated_frames,
        /// Attempts to connect that failed.
        connect_failures,
        /// Asks accepted for sending.
        asks,
        /// Tells accepted for sending.
        tells,
        /// Asks answered.
        replies,
        /// Asks whose asker gave up waiting.
        withdrawn,
        /// Answers that came after their ask had ended (G8).
        late_replies,
        /// Published messages received.
        events,
        /// Times a subscription missed something.
        gaps,
    }
}

counters! {
    /// What a [`Node`](crate::Node) has served since it was made.
    NodeCounters => NodeStats {
        /// Connections that finished their handshake.
        connects,
        /// Connections that ended after it.
        disconnects,
        /// Connections that were refused or failed in the handshake.
        handshake_failures,
        /// Asks received.
        asks,
        /// Tells received.
        tells,
        /// Asks answered.
        replies,
        /// Asks that the asker gave up.
        withdrawn,
        /// Subscriptions made.
        subscriptions,
        /// Published messages sent.
        events,
    }
}
