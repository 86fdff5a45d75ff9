//! What those see who look on: spans and metrics.
//!
//! A binary of its own, because who listens to these listens to a whole process: beside it, no other test
//! would run the paths of messages nobody looks at.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

extern crate callboard_core as callboard;

mod measures;
mod meter;
mod recorder;
mod spans;
