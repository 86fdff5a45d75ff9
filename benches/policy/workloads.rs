//! What is measured.

pub(crate) mod durable;
pub(crate) mod keyed;
pub(crate) mod local;
pub(crate) mod plain;
pub(crate) mod two;

/// A workload. What a run of it answers stands at each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// An ask to an actor of the same thread. Answers what [`compare`](crate::meter::compare) does.
    LocalAsk { hand_off: bool },
    /// A call of an async function. The same figures.
    PlainFn,
    /// Asks with request keys to an actor of the same thread. The same figures.
    Keyed,
    /// Asks without request keys to an actor of the same thread. The same figures.
    Unkeyed,
    /// Asks with request keys by that many callers, deduplicated on disk. Answers thousands of calls a second, calls a
    /// sync, thousands of calls a second that the raw log has room for, and the first through the third.
    Durable { callers: usize },
    /// Asks from two threads at once, each to an actor of its own thread. Answers nanoseconds a bare call, nanoseconds
    /// a call by the policy, and the median of what that took more than bare calls right beside it.
    TwoCallers { callees: Callees },
}

/// Whom two threads call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Callees {
    /// Each another one: they share the policy.
    Each,
    /// To the policy it is one, with its counters, its budget and its breaker; behind it there is an actor on each
    /// thread.
    One,
}
