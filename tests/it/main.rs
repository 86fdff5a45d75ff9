//! Tests of the whole: the rules of the house, the guide, the guarantees, the examples.
//!
//! One binary for all of them, so that they are linked once.

#![allow(missing_docs)]

mod administration;
mod dir;
mod durable_elsewhere;
mod examples;
mod guarantees;
mod guide;
mod lost_answers;
mod source_tree;
mod tidy;
