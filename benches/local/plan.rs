//! Which workloads make up the table, and what they are called there and in the JSON.

use common::plan::{self, Column, cell, less, more};
use common::threads::Layout::{self, OneThread, TwoThreads};

use crate::workloads::Work;

pub(crate) type Cell = plan::Cell<Work>;
pub(crate) type Block = plan::Block<Work>;

/// Everything, in the order of the tables. What uses much memory comes last, so that it leaves no holes in
/// the heap of the others.
pub(crate) fn blocks() -> Vec<Block> {
    vec![
        Block {
            title: "Tell, 1 sender to 1 actor, mailbox of 1,024 (M messages/s)",
            cells: vec![
                cell(
                    "tell 1 to 1, one thread",
                    Work::Tell {
                        senders: 1,
                        layout: OneThread,
                    },
                    &[more("one thread", "Mmsg/s")],
                ),
                cell(
                    "tell 1 to 1, two threads",
                    Work::Tell {
                        senders: 1,
                        layout: TwoThreads,
                    },
                    &[more("two threads", "Mmsg/s")],
                ),
            ],
        },
        Block {
            title: "Tell, 8 senders to 1 actor, mailbox of 1,024 (M messages/s)",
            cells: vec![
                cell(
                    "tell 8 to 1, one thread",
                    Work::Tell {
                        senders: 8,
                        layout: OneThread,
                    },
                    &[more("one thread", "Mmsg/s")],
                ),
                cell(
                    "tell 8 to 1, two threads",
                    Work::Tell {
                        senders: 8,
                        layout: TwoThreads,
                    },
                    &[more("two threads", "Mmsg/s")],
                ),
            ],
        },
        Block {
            title: "Ask in sequence, one thread",
            cells: vec![cell(
                "ask in sequence, one thread",
                Work::AskInSequence { layout: OneThread },
                &ask_columns(),
            )],
        },
        Block {
            title: "Ask in sequence, two threads (bound by the wake-up of a thread)",
            cells: vec![cell(
                "ask in sequence, two threads",
                Work::AskInSequence { layout: TwoThreads },
                &ask_columns(),
            )],
        },
        Block {
            title: "Ask, 64 and 1,024 in flight (M asks/s)",
            cells: vec![
                in_flight(
                    "ask, 64 in flight, one thread",
                    64,
                    OneThread,
                    "64, one thread",
                ),
                in_flight(
                    "ask, 1,024 in flight, one thread",
                    1_024,
                    OneThread,
                    "1,024, one",
                ),
                in_flight(
                    "ask, 64 in flight, two threads",
                    64,
                    TwoThreads,
                    "64, two threads",
                ),
                in_flight(
                    "ask, 1,024 in flight, two threads",
                    1_024,
                    TwoThreads,
                    "1,024, two",
                ),
            ],
        },
        Block {
            title: "Fan-out, 1 sender to 100 actors, mailboxes of 1,024 (M deliveries/s)",
            cells: vec![
                cell(
                    "fan-out 1 to 100, one thread",
                    Work::FanOut { layout: OneThread },
                    &[more("one thread", "Mmsg/s")],
                ),
                cell(
                    "fan-out 1 to 100, two threads",
                    Work::FanOut { layout: TwoThreads },
                    &[more("two threads", "Mmsg/s")],
                ),
            ],
        },
        Block {
            title: "Ring of 1,000 actors, one token, one thread; 100,000 actors started and stopped",
            cells: vec![
                cell(
                    "ring of 1,000",
                    Work::Ring,
                    &[more("ring, M hops/s", "Mhop/s")],
                ),
                cell(
                    "spawn and stop 100,000",
                    Work::SpawnAndStop,
                    &[less("start and stop, ns each", "ns each")],
                ),
            ],
        },
        Block {
            title: "Looking on, one thread: nobody, spans (a subscriber that does nothing), measuring",
            cells: vec![
                cell(
                    "observed tell",
                    Work::TellObserved,
                    &[more("tell, M/s", "Mmsg/s")],
                ),
                cell("observed ask", Work::AskObserved, &ask_columns()),
            ],
        },
        Block {
            title: "Actors started and stopped, without and with another that watches each (ns each)",
            cells: vec![cell(
                "watched",
                Work::Watched,
                &[
                    less("unwatched", "ns unwatched"),
                    less("watched", "ns watched"),
                ],
            )],
        },
        Block {
            title: "Memory per idle actor, 100,000 of them, a process per figure (bytes)",
            cells: vec![
                idle("idle actor", false, ["heap, new", "resident, new"]),
                idle(
                    "idle actor after one message",
                    true,
                    ["heap, after 1 message", "resident, after 1"],
                ),
            ],
        },
        Block {
            title: "Allocations per message, steady state, one thread",
            cells: vec![
                cell(
                    "allocations per tell",
                    Work::AllocationsPerTell,
                    &[less("per tell", "allocations")],
                ),
                cell(
                    "allocations per ask",
                    Work::AllocationsPerAsk,
                    &[less("per ask", "allocations")],
                ),
            ],
        },
    ]
}

fn ask_columns() -> [Column; 3] {
    [
        more("M asks/s", "Mask/s"),
        less("p50, ns", "p50 ns"),
        less("p99, ns", "p99 ns"),
    ]
}

fn in_flight(workload: &'static str, askers: u64, layout: Layout, head: &'static str) -> Cell {
    cell(
        workload,
        Work::AskInFlight { askers, layout },
        &[more(head, "Mask/s")],
    )
}

fn idle(workload: &'static str, used: bool, heads: [&'static str; 2]) -> Cell {
    let [heap, resident] = heads;
    cell(
        workload,
        Work::Idle { used },
        &[less(heap, "heap bytes"), less(resident, "resident bytes")],
    )
}
