//! Which workloads make up the tables, and what they are called there and in the JSON.

use common::plan::{self, cell, less, more};
use common::threads::Layout::{self, OneThread, TwoThreads};

use crate::workloads::Work;

pub(crate) type Cell = plan::Cell<Work>;
pub(crate) type Block = plan::Block<Work>;

/// The system that all others are compared with: what can be had of tokio alone.
pub(crate) const FLOOR: &str = "tokio respawn";

pub(crate) const CRASH_ONE: &str = "crash to next message, one thread";
pub(crate) const CRASH_TWO: &str = "crash to next message, two threads";
pub(crate) const MANY: &str = "10,000 children";
pub(crate) const BYTES: &str = "supervised child";
pub(crate) const TELL_ONE: &str = "supervised tell, one thread";
pub(crate) const TELL_TWO: &str = "supervised tell, two threads";

/// Everything, in the order of the tables.
pub(crate) fn blocks() -> Vec<Block> {
    vec![
        Block {
            title: "Crash to the first message of the next incarnation, child and driver on one thread (us)",
            cells: vec![crash(CRASH_ONE, OneThread)],
        },
        Block {
            title: "The same, child and driver on a thread each (us)",
            cells: vec![crash(CRASH_TWO, TwoThreads)],
        },
        Block {
            title: "10,000 children on one thread: start, crash 1,000, stop",
            cells: vec![cell(
                MANY,
                Work::Many,
                &[
                    less("start, ms", "ms to start"),
                    less("each, us", "us a start"),
                    less("crash 1,000, ms", "ms to restart a tenth"),
                    less("each, us", "us a restart"),
                    less("stop, ms", "ms to stop"),
                    less("each, us", "us a stop"),
                ],
            )],
        },
        Block {
            title: "Memory per supervised child, 10,000 of them, a process per figure (bytes)",
            cells: vec![cell(
                BYTES,
                Work::Bytes,
                &[
                    less("heap", "heap bytes"),
                    less("resident", "resident bytes"),
                ],
            )],
        },
        Block {
            title: "Tell, 1 sender to 1 actor, bare and supervised in turn (M messages/s)",
            cells: vec![tell(TELL_ONE, OneThread), tell(TELL_TWO, TwoThreads)],
        },
    ]
}

fn crash(workload: &'static str, layout: Layout) -> Cell {
    let columns = [
        less("p50", "us p50"),
        less("p99", "us p99"),
        less("allocations", "allocations"),
    ];
    cell(workload, Work::Crash { layout }, &columns).limited_by(FLOOR)
}

fn tell(workload: &'static str, layout: Layout) -> Cell {
    let [bare, supervised, share] = match layout {
        OneThread => ["bare, one thread", "supervised", "share"],
        TwoThreads => ["bare, two threads", "supervised", "share"],
    };
    let columns = [
        more(bare, "Mmsg/s bare"),
        more(supervised, "Mmsg/s supervised"),
        more(share, "of bare"),
    ];
    cell(workload, Work::Tell { layout }, &columns)
}
