//! The guarantees of core, as tests on both executors.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

extern crate callboard_core as callboard;

mod actix;
mod admissions;
mod answers;
mod barriers;
mod blocking;
mod blocks;
mod bounds;
mod common;
mod cycles;
mod dead_letters;
mod deadlines;
mod deep_families;
mod ends;
mod everywhere;
mod fairness;
mod faults;
mod fences;
mod groups;
mod handlers;
mod kit;
mod kit_faults;
mod kit_runner;
mod kit_settle;
mod leases;
mod left_behind;
mod lifecycle;
mod link_restarts;
mod links;
mod lock_holders;
mod lock_random;
mod locks;
mod mailboxes;
mod names;
mod nested;
mod observing;
mod order;
mod own_threads;
mod places;
mod pool_traffic;
mod pools;
mod repeat;
mod safety;
mod stash_faults;
mod stashes;
mod stream_wakers;
mod streamed;
mod tasks;
mod topics;
#[cfg(not(callboard_plain_alloc))]
mod ui;
mod waits;
mod watches;
mod weak;
