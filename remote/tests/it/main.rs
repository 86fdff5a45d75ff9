//! Tests of the remote layer, as a program uses it.
#![allow(missing_docs, clippy::unwrap_used)]

extern crate callboard_core as callboard;

mod actors;
mod asks;
mod conformance;
mod hostile;
mod ledger;
mod proof;
mod proxy;
mod raw;
mod sockets;
mod topics;
mod wires;
