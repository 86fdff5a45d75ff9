//! The log on disk, on both executors, on real and on simulated disks.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

extern crate callboard_core as callboard;

mod command;
mod common;
mod crashes;
mod faults;
mod formats;
mod kill_drill;
mod model;

mod plain;
mod queues;
mod queues_more;
mod small_files;
mod space;
