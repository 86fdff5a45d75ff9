//! Bounds of what is taken from a peer.

/// The oldest protocol version this side speaks.
pub const PROTOCOL_MIN: u16 = 2;
/// The newest protocol version this side speaks.
pub const PROTOCOL_MAX: u16 = 2;

/// The longest name of a node, an actor, a topic or a message type, in bytes.
pub const MAX_NAME: usize = 255;
/// The longest subject or pattern, in bytes.
pub const MAX_SUBJECT: usize = callboard::topic::MAX_SUBJECT;
/// The longest explanation that travels beside a failure, in bytes; longer ones are cut.
pub(crate) const MAX_DETAIL: usize = 512;
/// The largest body of a `Hello` or `Refuse`, in bytes: it is read before anything is known of the peer.
pub const MAX_HELLO: u32 = 1_024;
/// The smallest limit for frames that a side may announce: what control frames need.
pub(crate) const MIN_MAX_FRAME: u32 = 4_096;

/// Cuts a text to at most `max` bytes at a character's end.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// Whether a name may stand on the wire and in logs: 1 to [`MAX_NAME`] bytes, no control characters.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control)
}
