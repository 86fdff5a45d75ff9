//! Tests of the remote layer, as a program uses it.
#![allow(missing_docs)]

extern crate callboard_core as callboard;

mod actors;
mod conformance;
mod hostile;
mod sockets;
mod wires;
