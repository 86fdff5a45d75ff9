//! Tests of the remote layer, as a program uses it.
#![allow(missing_docs, clippy::unwrap_used)]

extern crate callboard_core as callboard;

mod actors;
mod admin;
mod admin_queues;
mod admin_topics;
mod asks;
mod broken;
mod claims;
mod conformance;
mod crossing;
mod endings;
mod faults;
mod fifos;
mod fuzz;
mod golden;
mod hostile;
mod inside;
mod ledger;
mod leftovers;
mod limits;
mod locks;
mod mutants;
mod proof;
mod proxy;
mod queue_cuts;
mod queue_model;
mod queue_pages;
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
mod venice;
mod waits;
mod watching;
mod wires;
