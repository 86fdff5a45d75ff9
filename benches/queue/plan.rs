//! Which workloads make up the tables, and what they are called there and in the JSON.

use common::plan::{self, Column, cell, less, more};
use common::threads::Layout::{self, OneThread, TwoThreads};

use crate::workloads::{Batch, Work};

pub(crate) type Cell = plan::Cell<Work>;
pub(crate) type Block = plan::Block<Work>;

/// The system that durable figures are compared with: it is measured between every two others.
pub(crate) const LIMIT: &str = "raw append";

pub(crate) const OFFER_POLL_ONE: &str = "offer + poll, one thread";
pub(crate) const OFFER_POLL_TWO: &str = "offer + poll, two threads";
pub(crate) const BATCHES_ONE: &str = "offer + poll in batches of 64, one thread";
pub(crate) const BATCHES_TWO: &str = "offer + poll in batches of 64, two threads";
pub(crate) const TAKE: &str = "poll, lease + ack";
pub(crate) const TAKE_BATCHES: &str = "poll, lease + ack in batches of 64";
pub(crate) const DURABLE_1: &str = "durable offer, 1 producer";
pub(crate) const DURABLE_64: &str = "durable offer, 64 producers";
pub(crate) const DURABLE_TAKE: &str = "durable lease + ack, batches of 64";
pub(crate) const PUBLISH_1: &str = "publish to 1";
pub(crate) const PUBLISH_16: &str = "publish to 16";
pub(crate) const PUBLISH_1000: &str = "publish to 1,000";
pub(crate) const MATCH: &str = "match";
pub(crate) const RESTART: &str = "restart";

/// Everything, in the order of the tables. What fills memory or the disk comes last.
pub(crate) fn blocks() -> Vec<Block> {
    vec![
        Block {
            title: "In memory: offer + poll, 1 producer, 1 consumer, room for 1,024 (M items/s)",
            cells: vec![
                offer_poll(OFFER_POLL_ONE, Batch::Single, OneThread, "one thread"),
                offer_poll(OFFER_POLL_TWO, Batch::Single, TwoThreads, "two threads"),
                offer_poll(BATCHES_ONE, Batch::Of64, OneThread, "batches of 64, one"),
                offer_poll(BATCHES_TWO, Batch::Of64, TwoThreads, "batches, two"),
            ],
        },
        Block {
            title: "In memory: taking what is there, one thread (M items/s)",
            cells: vec![
                take(TAKE, Batch::Single, ["poll", "lease + ack"]),
                take(
                    TAKE_BATCHES,
                    Batch::Of64,
                    ["poll, batches of 64", "lease + ack, batches"],
                ),
            ],
        },
        Block {
            title: "Durable offer: 1 producer, each item synced (k items/s)",
            cells: vec![durable(DURABLE_1, Work::DurableOffer { producers: 1 })],
        },
        Block {
            title: "Durable offer: 64 producers, synced in groups (k items/s)",
            cells: vec![durable(DURABLE_64, Work::DurableOffer { producers: 64 })],
        },
        Block {
            title: "Durable lease + ack, 1 consumer, batches of 64 (k items/s)",
            cells: vec![durable(DURABLE_TAKE, Work::DurableTake)],
        },
        Block {
            title: "Publish in process, one thread (M deliveries/s)",
            cells: vec![
                publish(PUBLISH_1, 1, "to 1"),
                publish(PUBLISH_16, 16, "to 16"),
                publish(PUBLISH_1000, 1_000, "to 1,000"),
            ],
        },
        Block {
            title: "Match: a publish that one of so many subscriptions matches (ns)",
            cells: vec![cell(
                MATCH,
                Work::Match,
                &[
                    less("of 100", "ns of 100"),
                    less("of 100,000", "ns of 100,000"),
                    less("times", "times"),
                ],
            )],
        },
        Block {
            title: "Restart: 1,000,000 items were stored, 1,000 are live",
            cells: vec![cell(
                RESTART,
                Work::Restart,
                &[
                    less("until the first lease, ms", "ms"),
                    less("on disk, MB", "MB"),
                ],
            )],
        },
    ]
}

fn offer_poll(workload: &'static str, batch: Batch, layout: Layout, head: &'static str) -> Cell {
    cell(
        workload,
        Work::OfferPoll { batch, layout },
        &[more(head, "Mitem/s")],
    )
}

fn take(workload: &'static str, batch: Batch, heads: [&'static str; 2]) -> Cell {
    let [poll, lease] = heads;
    let columns: [Column; 2] = [more(poll, "Mitem/s polled"), more(lease, "Mitem/s leased")];
    cell(workload, Work::Take { batch }, &columns)
}

fn durable(workload: &'static str, work: Work) -> Cell {
    cell(workload, work, &[more("k items/s", "kitem/s")]).limited_by(LIMIT)
}

fn publish(workload: &'static str, subscribers: usize, head: &'static str) -> Cell {
    cell(
        workload,
        Work::Publish { subscribers },
        &[more(head, "Mdelivery/s")],
    )
}
