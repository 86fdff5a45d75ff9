//! Tests of guarantees, on the simulating executor under many seeds, and on arbiters where nothing waits long.
#![allow(missing_docs)]
// All of it is tests, also what stands outside of the functions that are marked so.
#![allow(clippy::unwrap_used)]

extern crate callboard_core as callboard;

mod adopted;
mod blocked;
mod chaos;
mod common;
mod dedups;
mod model;
mod nested;
mod otp;
mod places;
mod processes;
mod remote_place;
mod restarts;
mod retries;
mod shutdown;
mod trouble;
