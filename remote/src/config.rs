//! What a connection allows and when it gives up.

use std::time::Duration;

/// Limits and times of the connections of one [`Node`](crate::Node) or [`Peer`](crate::Peer).
///
/// ```
/// use callboard_remote::LinkConfig;
///
/// let mut config = LinkConfig::default();
/// config.max_frame = 1024 * 1024;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkConfig {
    /// The largest body of a frame that this side takes, in bytes (at least 4,096). The peer is told, and
    /// refuses larger messages on its own side. 16 MiB.
    pub max_frame: u32,
    /// How many bytes wait for a connection before senders wait. One message may overshoot it. 1 MiB.
    pub outbox: usize,
    /// How many bytes of answers may wait for a peer that doesn't read, before its connection is cut.
    /// 32 MiB.
    pub unread_answers: usize,
    /// How many asks may be unanswered on one connection, in each direction. 16,384.
    pub in_flight: usize,
    /// How many subscriptions a peer may hold on one connection. 256.
    pub subscriptions: usize,
    /// How many messages a node buffers for one subscriber, whatever it asks for. 8,192.
    pub subscriber_buffer: usize,
    /// How many connections a node serves at once. 1,024.
    pub connections: usize,
    /// How long a connection may take to be made. 2 s.
    pub connect_timeout: Duration,
    /// How long a handshake may take (G36). 5 s.
    pub handshake_timeout: Duration,
    /// After how much silence the peer is asked whether it is there. 1 s.
    pub ping_after: Duration,
    /// After how much silence, counted from that question, the connection is given up. A process that was
    /// stopped for less than this keeps its connections. 4 s.
    pub dead_after: Duration,
    /// The bound of the first wait before connecting again; it doubles with each failure. The wait itself
    /// is drawn from zero to the bound ("full jitter"). 50 ms.
    pub backoff: Duration,
    /// What that bound grows to. 1 s.
    pub backoff_cap: Duration,
    /// How long a connection must have lasted for the next wait to start from `backoff` again. 1 s.
    pub stable_after: Duration,
}

impl Default for LinkConfig {
    fn default() -> Self {
        LinkConfig {
            max_frame: 16 * 1024 * 1024,
            outbox: 1024 * 1024,
            unread_answers: 32 * 1024 * 1024,
            in_flight: 16_384,
            subscriptions: 256,
            subscriber_buffer: 8_192,
            connections: 1_024,
            connect_timeout: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(5),
            ping_after: Duration::from_secs(1),
            dead_after: Duration::from_secs(4),
            backoff: Duration::from_millis(50),
            backoff_cap: Duration::from_secs(1),
            stable_after: Duration::from_secs(1),
        }
    }
}
