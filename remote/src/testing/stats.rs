//! What a simulated network has done.

use serde::Serialize;

/// What a [`SimNet`](super::SimNet) has done since it was made. Bytes are counted at both ends of their way: what was
/// written has been delivered, was lost, or is still under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NetStats {
    /// Connections that were made.
    pub connects: u64,
    /// Connections that were refused: nobody listened, or the conditions said so.
    pub refusals: u64,
    /// Connections that were cut, by order, by their lifetime or by a count of bytes.
    pub cuts: u64,
    /// Directions that a count of bytes ended in another way than by a cut.
    pub endings: u64,
    /// Connections that became half open: one side has lost them, the other wasn't told.
    pub half_opens: u64,
    /// Writes that took longer because of a [`Stall`](super::Stall).
    pub stalls: u64,
    /// Bytes that were taken from writers.
    pub bytes_written: u64,
    /// Bytes that were given to readers.
    pub bytes_delivered: u64,
    /// Bytes that will never be delivered: cut off, thrown away, or left unread by who closed.
    pub bytes_lost: u64,
}
