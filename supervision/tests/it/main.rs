//! Tests of guarantees, on the simulating executor under many seeds, and on arbiters where nothing waits long.
#![allow(missing_docs, clippy::unwrap_used)]

extern crate callboard_core as callboard;

mod adopted;
mod blocked;
mod chaos;
mod common;
mod dedups;
mod dedups_crashes;
mod dedups_drill;
mod dedups_durable;
mod dedups_faults;
mod edges;
mod fallbacks;
mod fingerprints;
mod kinds;
mod model;
mod nested;
mod otp;
mod outcomes;
mod phases;
mod phases_model;
mod places;
mod policies;
mod policy_files;
mod policy_files_model;
mod processes;
mod remote_place;
mod replays;
mod restarts;
mod retries;
mod shutdown;
mod signals;
mod strategies;
mod trouble;
