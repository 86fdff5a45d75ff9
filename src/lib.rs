//! Callboard: an actor runtime in which the boundary is part of the contract.
//!
//! A callboard is the notice board backstage, where actors find their calls.

#[doc(inline)]
pub use callboard_core::*;
#[doc(inline)]
pub use callboard_remote as remote;
#[doc(inline)]
pub use callboard_store as store;
#[doc(inline)]
pub use callboard_supervision as supervision;

/// What most programs need: `use callboard::prelude::*;`.
pub mod prelude {
    pub use callboard_core::{
        Actor, ActorRef, Context, DeferredHandler, Handler, Message, Placement, Recipient,
        RequestKey, Responder, System, Verdict, Watch,
    };
    pub use callboard_supervision::{Phase, Shutdown};
}

/// What a program's `main` returns: any error will do.
pub type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// The README's code is a doctest.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
