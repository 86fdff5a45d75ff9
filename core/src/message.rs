//! What actors send each other.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A message and the type of its answer. Derived: `#[derive(Message)] #[message(reply = u64)]`.
///
/// Without `reply` the answer is `()`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a message",
    label = "not a message",
    note = "derive it: `#[derive(Message)]`, with `#[message(reply = Type)]` if it has an answer"
)]
pub trait Message: Send + 'static {
    /// What an `ask` of this message is answered with.
    type Reply: Send + 'static;
}

/// A message that can cross a process boundary: it has a name and a version of its own, apart from the
/// Rust type's, and it and its answer can be serialised (G37).
///
/// Derived when `#[message(name = "...", version = N)]` is given; the version is 1 if only a name is.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't cross a process boundary",
    label = "not a message with a wire name",
    note = "give it a wire name: `#[message(name = \"counter.add\", version = 1)]`, and derive `Serialize` and `Deserialize`"
)]
pub trait WireMessage:
    Message<Reply: Serialize + DeserializeOwned> + Serialize + DeserializeOwned
{
    /// The name on the wire. Must not change while old peers are about.
    const NAME: &'static str;
    /// The version of the payload. Grows when old receivers could misread it.
    const VERSION: u32;
}
