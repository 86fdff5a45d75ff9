//! A message that can't leave its thread.
extern crate callboard_core as callboard;

use std::rc::Rc;

use callboard::Message;

#[derive(Message)]
struct Share(Rc<str>);

#[derive(Message)]
#[message(reply = Rc<str>)]
struct Borrow;

fn main() {}
