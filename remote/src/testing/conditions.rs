//! What holds on the way from one host to another.

use std::ops::RangeInclusive;
use std::time::Duration;

/// What a way does to the bytes on it. The default is a perfect one: no delay, no end.
///
/// A way has a direction; [`SimNet::change`](super::SimNet::change) sets both. What is a range is drawn from the
/// network's randomness each time, evenly, both ends included.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conditions {
    /// How long what is written takes to arrive. Bytes of one connection keep their order, those of two
    /// don't: a new connection may overtake an old one. Zero.
    pub delay: RangeInclusive<Duration>,
    /// How many bytes a second pass, of all connections on the way together. `None`: any number.
    pub bandwidth: Option<u64>,
    /// How many bytes are under way in one connection before its writer waits (G3), at least 1. 64 KiB.
    pub capacity: usize,
    /// The most that one read or write moves; how much it is, from 1 on, is drawn. `None`: what there is room for.
    pub piece: Option<usize>,
    /// How often what is written takes longer, and by how much. `None`: never.
    pub stall: Option<Stall>,
    /// How much later than it would have come arrives what a cut lets through. So what an old connection
    /// carried comes after what its successor does. Zero.
    pub straggle: RangeInclusive<Duration>,
    /// After how many bytes of this direction a connection ends, and how. Drawn for each new connection.
    /// `None`: it doesn't.
    pub ends_after: Option<(RangeInclusive<u64>, Ending)>,
    /// How long a connection lasts before it is cut. Drawn for each new connection that is made in this direction.
    /// `None`: for ever.
    pub lifetime: Option<RangeInclusive<Duration>>,
    /// Whether new connections are refused.
    pub refuse: bool,
}

/// How often what is written takes longer, and by how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stall {
    /// One write in so many, drawn; 1 is every one, and 0 counts as 1.
    pub one_in: u64,
    /// How much longer.
    pub span: RangeInclusive<Duration>,
}

/// How the direction of a connection ends after so many bytes. All bytes before arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ending {
    /// The connection is cut: both sides get an error.
    Reset,
    /// The connection is closed in the middle of what is sent: both sides get the end of the stream.
    Truncated,
    /// This direction is closed, the other goes on.
    HalfClosed,
    /// Nothing arrives any more in this direction, and nobody is told: what is written is thrown away.
    Silent,
}

impl Default for Conditions {
    fn default() -> Self {
        Conditions {
            delay: Duration::ZERO..=Duration::ZERO,
            bandwidth: None,
            capacity: 64 * 1024,
            piece: None,
            stall: None,
            straggle: Duration::ZERO..=Duration::ZERO,
            ends_after: None,
            lifetime: None,
            refuse: false,
        }
    }
}
