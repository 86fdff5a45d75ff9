//! Which workloads make up the tables, and what they are called there and in the JSON.

use common::plan::{self, cell, less, more};

use crate::messages::SMALL;
use crate::workloads::{Batch, Connections, Keeping, Link, Shape, Work};

pub(crate) type Cell = plan::Cell<Work>;
pub(crate) type Block = plan::Block<Work>;

/// Where everything lives, for readers of the tables.
pub(crate) const WHERE: &str = "\
Two processes on one machine, TCP over loopback.\n\
Callboard has one arbiter in each: caller and connection on the one, connection and actor on the other.\n\
Peers on tokio have a runtime of one thread in each; ZeroMQ has a thread for its sockets besides.\n\
quinn speaks QUIC, so UDP and TLS 1.3, in the columns of TCP and of TLS; NATS speaks TCP where others have a Unix socket.\n\
`callboard (in process)` is the same queue without a second process: what it costs to have it elsewhere.\n\
A small message has 100 bytes, its answer as many.\n\n";

/// The system that durable queues are compared with.
pub(crate) const IN_PROCESS: &str = "callboard (in process)";

pub(crate) const ASK_TCP: &str = "ask in sequence, TCP";
pub(crate) const ASK_UNIX: &str = "ask in sequence, Unix";
pub(crate) const ASK_PIPE: &str = "ask in sequence, pipe";
pub(crate) const ASK_TLS: &str = "ask in sequence, TLS";
pub(crate) const ASKS_64_TCP: &str = "asks, 64 in flight, TCP";
pub(crate) const ASKS_1024_TCP: &str = "asks, 1,024 in flight, TCP";
pub(crate) const ASKS_64_UNIX: &str = "asks, 64 in flight, Unix";
pub(crate) const ASKS_1024_UNIX: &str = "asks, 1,024 in flight, Unix";
pub(crate) const ASKS_64_TLS: &str = "asks, 64 in flight, TLS";
pub(crate) const ASKS_1024_TLS: &str = "asks, 1,024 in flight, TLS";
pub(crate) const BYTES_TCP: &str = "one-way, bytes, TCP";
pub(crate) const ORDER_TCP: &str = "one-way, struct, TCP";
pub(crate) const BYTES_UNIX: &str = "one-way, bytes, Unix";
pub(crate) const ORDER_UNIX: &str = "one-way, struct, Unix";
pub(crate) const KIB_64_TCP: &str = "one-way, 64 KiB, TCP";
pub(crate) const MIB_TCP: &str = "one-way, 1 MiB, TCP";
pub(crate) const KIB_64_UNIX: &str = "one-way, 64 KiB, Unix";
pub(crate) const MIB_UNIX: &str = "one-way, 1 MiB, Unix";
pub(crate) const KIB_64_TLS: &str = "one-way, 64 KiB, TLS";
pub(crate) const MIB_TLS: &str = "one-way, 1 MiB, TLS";
pub(crate) const QUEUE: &str = "queue, offer + lease + ack";
pub(crate) const QUEUE_BATCHES: &str = "queue, offer + lease + ack in batches of 64";
pub(crate) const QUEUE_DURABLE: &str = "durable queue, offer + lease + ack in batches of 64";
pub(crate) const PUBLISH_EACH: &str = "publish to 16, a connection each";
pub(crate) const PUBLISH_ONE: &str = "publish to 16, one connection";
pub(crate) const ALLOCATIONS: &str = "allocations";

/// Everything, in the order of the tables.
pub(crate) fn blocks() -> Vec<Block> {
    use Link::{Pipe, Tcp, Tls, Unix};
    vec![
        Block {
            title: "Ask in sequence (us)",
            cells: vec![
                sequence(ASK_TCP, Tcp, ["TCP p50", "TCP p99"]),
                sequence(ASK_UNIX, Unix, ["Unix p50", "Unix p99"]),
                sequence(ASK_PIPE, Pipe, ["pipe p50", "pipe p99"]),
                sequence(ASK_TLS, Tls, ["TLS p50", "TLS p99"]),
            ],
        },
        Block {
            title: "Asks in flight (k asks/s)",
            cells: vec![
                in_flight(ASKS_64_TCP, Tcp, 64, "64, TCP"),
                in_flight(ASKS_1024_TCP, Tcp, 1_024, "1,024, TCP"),
                in_flight(ASKS_64_UNIX, Unix, 64, "64, Unix"),
                in_flight(ASKS_1024_UNIX, Unix, 1_024, "1,024, Unix"),
                in_flight(ASKS_64_TLS, Tls, 64, "64, TLS"),
                in_flight(ASKS_1024_TLS, Tls, 1_024, "1,024, TLS"),
            ],
        },
        Block {
            title: "One-way, small (M messages/s)",
            cells: vec![
                small(BYTES_TCP, Tcp, Shape::Bytes(SMALL), "bytes, TCP"),
                small(ORDER_TCP, Tcp, Shape::Order, "struct, TCP"),
                small(BYTES_UNIX, Unix, Shape::Bytes(SMALL), "bytes, Unix"),
                small(ORDER_UNIX, Unix, Shape::Order, "struct, Unix"),
            ],
        },
        Block {
            title: "One-way, large (MB/s)",
            cells: vec![
                large(KIB_64_TCP, Tcp, 64 * 1_024, "64 KiB, TCP"),
                large(MIB_TCP, Tcp, 1_024 * 1_024, "1 MiB, TCP"),
                large(KIB_64_UNIX, Unix, 64 * 1_024, "64 KiB, Unix"),
                large(MIB_UNIX, Unix, 1_024 * 1_024, "1 MiB, Unix"),
                large(KIB_64_TLS, Tls, 64 * 1_024, "64 KiB, TLS"),
                large(MIB_TLS, Tls, 1_024 * 1_024, "1 MiB, TLS"),
            ],
        },
        Block {
            title: "A queue in another process: offer, lease and ack, 1 producer, 1 consumer, Unix (k items/s)",
            cells: vec![
                queue(QUEUE, Keeping::Memory, Batch::Single, "one at a time"),
                queue(QUEUE_BATCHES, Keeping::Memory, Batch::Of64, "batches of 64"),
                queue(
                    QUEUE_DURABLE,
                    Keeping::Disk,
                    Batch::Of64,
                    "durable, batches",
                )
                .limited_by(IN_PROCESS),
            ],
        },
        Block {
            title: "Publish to 16 subscribers in another process (M deliveries/s)",
            cells: vec![
                publish(PUBLISH_EACH, Connections::Each, "a connection each"),
                publish(PUBLISH_ONE, Connections::One, "one connection"),
            ],
        },
        Block {
            title: "Allocations an ask, in the asking process",
            cells: vec![cell(
                ALLOCATIONS,
                Work::Allocations(Tcp),
                &[less("allocations", "allocations")],
            )],
        },
    ]
}

fn sequence(workload: &'static str, link: Link, heads: [&'static str; 2]) -> Cell {
    let [p50, p99] = heads;
    let columns = [less(p50, "us p50"), less(p99, "us p99")];
    cell(workload, Work::Sequence(link), &columns)
}

fn in_flight(workload: &'static str, link: Link, asks: u64, head: &'static str) -> Cell {
    cell(workload, Work::InFlight(link, asks), &[more(head, "k/s")])
}

fn small(workload: &'static str, link: Link, shape: Shape, head: &'static str) -> Cell {
    cell(workload, Work::OneWay(link, shape), &[more(head, "M/s")])
}

fn large(workload: &'static str, link: Link, length: usize, head: &'static str) -> Cell {
    let work = Work::OneWay(link, Shape::Bytes(length));
    cell(workload, work, &[more(head, "MB/s")])
}

fn publish(workload: &'static str, connections: Connections, head: &'static str) -> Cell {
    let work = Work::Publish(Link::Unix, connections);
    cell(workload, work, &[more(head, "Mdelivery/s")])
}

fn queue(workload: &'static str, keeping: Keeping, batch: Batch, head: &'static str) -> Cell {
    let work = Work::Queue(keeping, batch);
    cell(workload, work, &[more(head, "kitem/s")])
}
