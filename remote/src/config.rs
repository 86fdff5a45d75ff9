//! What a connection allows and when it gives up.

use std::time::Duration;

use crate::rights::Login;
use crate::wire::limits::MIN_MAX_FRAME;

/// The largest window: what has been taken is added to it.
const MOST_WINDOW: u64 = u64::MAX / 2;

/// Acknowledgements come after half of that; with less, each waits for a heartbeat.
const LEAST_UNACKNOWLEDGED: usize = 128 * 1024;

/// The shortest time of a heartbeat.
const LEAST_SPAN: Duration = Duration::from_millis(1);

/// Limits and times of the connections of one [`Node`](crate::Node) or [`Peer`](crate::Peer).
///
/// A limit that is smaller than what works is taken as the least that does: a byte, an ask, a millisecond; and windows
/// as 2^63 bytes at the most.
///
/// ```
/// use callboard_remote::LinkConfig;
///
/// let mut config = LinkConfig::default();
/// config.max_message = 1024 * 1024;
/// ```
///
/// A limit outside of its range means the nearest inside: of bytes and of what may be unanswered at least 1, of windows
/// at most half of all numbers, of `ping_after` and `dead_after` at least 1 ms.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkConfig {
    /// The largest body of a message that this side takes, in bytes (at least 4,096). The peer is told, and
    /// refuses larger messages on its own side. 16 MiB.
    pub max_message: u32,
    /// How long a session outlives a broken connection (G32). The shorter one of the two sides counts; zero ends it
    /// with its connection. Leases that are granted over it should last longer. 30 s.
    pub session_time: Duration,
    /// How many bytes of requests, headers included, may be on their way to one receiver here, in its mailbox's line
    /// and on the wire (G33). The peer is told, and holds senders back. One message may overshoot it. 1 MiB.
    pub window: u64,
    /// The same for all receivers of one session together: what bounds the memory that a peer can take here. Of a node
    /// also how much may wait for room in one exposed queue, and for the subscribers of one topic. 64 MiB.
    pub session_window: u64,
    /// How many bytes are kept until the peer acknowledges them; then writing waits. At least 128 KiB. 8 MiB.
    pub unacknowledged: usize,
    /// Above how many bytes payloads are compressed (lz4), where they leave this host and it saves a tenth; `None`
    /// for never. Where it didn't help, up to 7 payloads in a row aren't tried. 4 KiB.
    pub compress_above: Option<usize>,
    /// How many bytes wait for a connection before senders wait. One message may overshoot it. 1 MiB.
    pub outbox: usize,
    /// How many bytes of answers may wait for a peer that doesn't read, before its connection is cut.
    /// 32 MiB.
    pub unread_answers: usize,
    /// How many asks may be unanswered in one session, in each direction. A handle of a queue elsewhere that leases
    /// keeps one of them for as long as it lives, and each wait in line takes one: the rest is for others. 16,384.
    pub in_flight: usize,
    /// How many subscriptions a peer may hold in one session. 256.
    pub subscriptions: usize,
    /// How many names, each with a type of message, a peer may watch on one session (G12). 16,384.
    pub watches: usize,
    /// How many messages a node buffers for one subscriber, whatever it asks for. 8,192.
    pub subscriber_buffer: usize,
    /// What a peer says to prove who it is by a secret, over TLS only: over anything else it isn't connected. Of a
    /// node it means nothing. None.
    pub login: Option<Login>,
    /// How many connections a node serves at once. As many more are told that there is no place, and what comes on top
    /// of those is closed without a word. 1,024.
    pub connections: usize,
    /// How many sessions a node keeps, with a connection or waiting for one. 4,096.
    pub sessions: usize,
    /// How long a connection may take to be made. 2 s.
    pub connect_timeout: Duration,
    /// How long a handshake may take (G36). 5 s.
    pub handshake_timeout: Duration,
    /// How long a connection that has just carried something looks out for more before its thread may sleep: it
    /// saves the time that waking takes, and takes processor time. Where that doesn't pay it is done less and less.
    /// Zero for never. 50 us.
    pub busy_poll: Duration,
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

impl LinkConfig {
    /// The same with each limit in its range: with less nothing would ever be sent, or time would stand still.
    pub(crate) fn within_range(mut self) -> Self {
        self.max_message = self.message_limit();
        self.window = self.window.clamp(1, MOST_WINDOW);
        self.session_window = self.session_window.clamp(1, MOST_WINDOW);
        self.unacknowledged = self.unacknowledged.max(LEAST_UNACKNOWLEDGED);
        self.outbox = self.outbox.max(1);
        self.in_flight = self.in_flight.max(1);
        self.subscriber_buffer = self.subscriber_buffer.max(1);
        self.ping_after = self.ping_after.max(LEAST_SPAN);
        self.dead_after = self.dead_after.max(LEAST_SPAN);
        self
    }

    /// What this side takes: never less than control frames need.
    pub(crate) fn message_limit(&self) -> u32 {
        self.max_message.max(MIN_MAX_FRAME)
    }
}

impl Default for LinkConfig {
    fn default() -> Self {
        LinkConfig {
            max_message: 16 * 1024 * 1024,
            session_time: Duration::from_secs(30),
            window: 1024 * 1024,
            session_window: 64 * 1024 * 1024,
            unacknowledged: 8 * 1024 * 1024,
            compress_above: Some(4 * 1024),
            outbox: 1024 * 1024,
            unread_answers: 32 * 1024 * 1024,
            in_flight: 16_384,
            subscriptions: 256,
            watches: 16_384,
            subscriber_buffer: 8_192,
            login: None,
            connections: 1_024,
            sessions: 4_096,
            connect_timeout: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(5),
            busy_poll: Duration::from_micros(50),
            ping_after: Duration::from_secs(1),
            dead_after: Duration::from_secs(4),
            backoff: Duration::from_millis(50),
            backoff_cap: Duration::from_secs(1),
            stable_after: Duration::from_secs(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g03_limits_out_of_range_are_the_nearest_that_work() {
        let default = LinkConfig::default();
        assert_eq!(default.clone().within_range(), default);
        let config = LinkConfig {
            max_message: 0,
            window: 0,
            session_window: u64::MAX,
            unacknowledged: 0,
            outbox: 0,
            in_flight: 0,
            ping_after: Duration::ZERO,
            dead_after: Duration::ZERO,
            ..default
        };
        let checked = config.within_range();
        assert_eq!(checked.max_message, MIN_MAX_FRAME);
        assert_eq!((checked.window, checked.session_window), (1, MOST_WINDOW));
        assert_eq!(checked.unacknowledged, LEAST_UNACKNOWLEDGED);
        assert_eq!(checked.outbox, 1);
        assert_eq!(checked.in_flight, 1);
        let moment = Duration::from_millis(1);
        assert_eq!((checked.ping_after, checked.dead_after), (moment, moment));
    }
}
