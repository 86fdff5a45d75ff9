//! Confirmed means stored: three ways to offer to a queue on disk, and what is there after a restart.
//!
//! The seventh of RabbitMQ's tutorials. Chapter 11 of the guide is cut from this file.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use callboard::prelude::*;
use callboard::queue::{Offered, Queue};
use callboard::store::Store;
use futures::{SinkExt, stream};
use serde::{Deserialize, Serialize};

// ANCHOR: order
/// An order of books. On disk it has a name and a version of its own, apart from the Rust type's.
#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[message(name = "bookshop.order", version = 1)]
struct Order(u32);

async fn orders(system: &System, store: &Store) -> callboard::Result<Queue<Order>> {
    let journals = Arc::new(store.clone());
    Ok(system.queue("orders").durable(journals).open().await?)
}
// ANCHOR_END: order

// ANCHOR: offer
/// Offers in three ways. The last answer is lost on its way, so that nobody here knows of it.
async fn offer(system: &System, dir: &Path, lost: RequestKey) -> callboard::Result<Vec<String>> {
    let store = Store::open(system, dir).await?;
    let queue = orders(system, &store).await?;
    let mut told = Vec::new();

    // One after the other: each answer comes after the bytes are on disk.
    for order in 1..=20 {
        let offered = queue.offer(Order(order)).await?;
        assert_eq!(offered, Offered::Stored(u64::from(order)));
    }
    told.push("one by one: 20 confirmed".to_owned());

    // A batch: one answer for each item, and one sync for all.
    let confirmed = queue.offer_many((21..=120).map(Order)).await?;
    told.push(format!("a batch: {} confirmed", confirmed.len()));

    // A stream: up to 32 answers are outstanding, and offers that wait together are synced together.
    let mut sink = queue.sink(32);
    sink.send_all(&mut stream::iter((121..=999).map(|n| Ok(Order(n)))))
        .await?;
    told.push("a stream: 879 confirmed".to_owned());

    queue.offer(Order(1_000)).key(lost).await?;
    store.close().await?;
    Ok(told)
}
// ANCHOR_END: offer

// ANCHOR: again
/// Another process, as far as the queue is concerned: all it knows is the folder.
async fn again(system: &System, dir: &Path, lost: RequestKey) -> callboard::Result<Vec<String>> {
    let store = Store::open(system, dir).await?;
    let queue = orders(system, &store).await?;
    let mut told = vec![format!(
        "after a restart: {} items",
        queue.state().await?.len
    )];

    // Was the last one stored? Who has its key offers it again, and doesn't have to know.
    let offered = queue.offer(Order(1_000)).key(lost).await?;
    told.push(format!("the last one again: {offered:?}"));
    // The same key for something else is a mistake, and refused.
    if let Err(error) = queue.offer(Order(7)).key(lost).await {
        told.push(format!(
            "another with its key: {} ({})",
            error.kind(),
            error.verdict()
        ));
    }

    for next in 1..=1_000 {
        let delivery = queue.lease().await?.ok_or("an order is missing")?;
        assert_eq!(delivery.0, next, "in the order they were offered");
        delivery.ack().await?;
    }
    told.push(format!(
        "in order, none missing: {} left",
        queue.state().await?.len
    ));
    store.close().await?;
    Ok(told)
}
// ANCHOR_END: again

/// A folder that goes with this value.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The whole program: two runs of a publisher, with one folder between them.
pub fn run(out: &mut impl Write) -> callboard::Result<()> {
    let lost = RequestKey::new();
    let name = format!("callboard-confirms-{}", lost.as_uuid());
    let folder = Folder(std::env::temp_dir().join(name));
    let dir = folder.0.clone();
    let mut told = callboard::run(async |system| offer(&system, &dir, lost).await)??;
    told.extend(callboard::run(async |system| {
        again(&system, &dir, lost).await
    })??);
    writeln!(out, "{}", told.join("\n"))?;
    Ok(())
}

fn main() -> callboard::Result<()> {
    run(&mut std::io::stdout())
}
