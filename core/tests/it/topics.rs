//! Topics: G27 to G30, one file for each of what they promise.

mod common;
pub(crate) mod disk;
mod durable;
mod endings;
mod groups;
mod handlers;
mod late;
mod mixed;
mod publishing;
mod slow;
