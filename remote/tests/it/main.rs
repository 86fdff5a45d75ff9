//! Tests of the remote layer, as a program uses it.
#![allow(missing_docs, clippy::unwrap_used)]

extern crate callboard_core as callboard;

mod actors;
mod asks;
mod broken;
mod conformance;
mod faults;
mod fifos;
mod fuzz;
mod golden;
mod hostile;
mod ledger;
mod leftovers;
mod locks;
mod mutants;
mod proof;
mod proxy;
mod queues;
mod raw;
mod reconnects;
mod references;
mod rights;
mod simulated;
mod slots;
mod sockets;
mod tls;
mod topics;
mod watching;
mod wires;
