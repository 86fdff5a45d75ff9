//! What a panic said.

use std::any::Any;

use crate::fault::Fault;

pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else if let Some(fault) = payload.downcast_ref::<Fault>() {
        fault.to_string()
    } else {
        "panicked with something that is no text".to_owned()
    }
}

/// The failure that a panic is: of the class that its payload says.
pub(crate) fn panic_fault(payload: &(dyn Any + Send)) -> Fault {
    if let Some(fault) = payload.downcast_ref::<Fault>() {
        fault.clone()
    } else if let Some(text) = payload.downcast_ref::<&str>() {
        Fault::from(*text)
    } else {
        panic_text(payload).into()
    }
}
