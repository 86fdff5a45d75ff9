//! Tests of the remote layer, as a program uses it.
#![allow(missing_docs, clippy::unwrap_used)]

extern crate callboard_core as callboard;

mod actors;
mod asks;
mod broken;
mod conformance;
mod fifos;
mod golden;
mod hostile;
mod locks;
mod queues;
mod raw;
mod simulated;
mod sockets;
mod tls;
mod topics;
mod wires;
