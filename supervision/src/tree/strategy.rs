//! Which children a failure concerns, and when a supervisor ends by itself (G15). OTP's words.

use std::fmt;

use serde::Serialize;

/// Whom a supervisor starts again when one of its children has failed. OTP's strategies (supervisor.erl); `Dynamic` is its
/// `simple_one_for_one`, without the template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// That child alone: children don't depend on each other.
    #[default]
    OneForOne,
    /// All: none of them is of use without the others. They end in reverse order and start in order.
    OneForAll,
    /// That child and those after it: each depends on those before. They end in reverse order and start in order.
    ///
    /// One of those after it that waits for an answer of the failed child ends only at its shutdown time, so the restart
    /// waits for that: give such asks a deadline.
    RestForOne,
    /// That child alone. Children are all added at run time, in no order: at the end they stop at the same time.
    Dynamic,
}

impl Strategy {
    /// Whether more than the failed child is started again.
    #[must_use]
    pub fn is_group(self) -> bool {
        matches!(self, Strategy::OneForAll | Strategy::RestForOne)
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Strategy::OneForOne => "one for one",
            Strategy::OneForAll => "one for all",
            Strategy::RestForOne => "rest for one",
            Strategy::Dynamic => "dynamic",
        })
    }
}

/// Whether a supervisor ends by itself when its [significant](crate::Child::significant) children have: OTP's
/// `auto_shutdown` (since OTP 24).
///
/// Only an end by itself counts, after which the child is not started again: not one that was ordered, and not one
/// because of a sibling. The supervisor stops its other children and ends in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoShutdown {
    /// It doesn't.
    #[default]
    Never,
    /// When the first of them has ended.
    AnySignificant,
    /// When the last of them has ended.
    AllSignificant,
}
