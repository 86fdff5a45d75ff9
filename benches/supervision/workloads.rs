//! What is measured, written once for all systems.
//!
//! Every workload checks its result before it reports a figure: each crash was followed by one restart, the job behind it
//! was handled once and by the next incarnation, and in the end all children have ended.

mod bytes;
pub(crate) mod crash;
mod many;

use common::size::Size;
use common::threads::Layout;

use crate::systems::System;

/// A workload. What a run of it answers stands at each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// One child that crashes again and again. Answers the median and the 99th percentile of the time from the crash's
    /// handler to the handler of the job behind it, in the next incarnation, in microseconds, and allocations a crash.
    Crash { layout: Layout },
    /// Children started, a tenth of them crashed at once, all stopped. Answers for each of the three how many
    /// milliseconds it took, and microseconds for each child that was concerned.
    Many,
    /// Children that do nothing. Answers bytes of heap and resident bytes a child.
    Bytes,
    /// Tells to an actor and to a supervised one, in turn. Answers millions a second for both, and the second through the
    /// first.
    Tell { layout: Layout },
}

impl Work {
    /// Whether it must have a process of its own, because it is about that process's memory.
    pub(crate) fn needs_own_process(self) -> bool {
        self == Work::Bytes
    }
}

/// Runs a workload once on a system.
pub(crate) fn measure<S: System>(system: &S, work: Work, size: Size) -> Vec<f64> {
    match work {
        Work::Crash { layout } => crash::measure(system, layout, size),
        Work::Many => many::measure(system, size),
        Work::Bytes => bytes::measure(system, size),
        Work::Tell { .. } => Vec::new(),
    }
}
