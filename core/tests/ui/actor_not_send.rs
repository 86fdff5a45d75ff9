//! An actor that can't be moved to its arbiter.
extern crate callboard_core as callboard;

use std::rc::Rc;

use callboard::{Actor, System};

struct Cache(Rc<str>);

impl Actor for Cache {}

fn start(system: &System) {
    system.start(Cache("".into()));
}

fn main() {}
