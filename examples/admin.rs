//! A depot that is administered over a Unix socket: what it has as a table, queues that are made, looked into and
//! removed, and what a rule takes out of sight.
//!
//! Chapter 29 of the guide is cut from this file.

use std::io::Write;

use callboard::locks::Mutex;
use callboard::prelude::*;
use callboard::queue::QueueConfig;
use callboard::remote::{Admin, Creatable, Node, Peer, Verbs};
use callboard::topic::Topic;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[message(name = "depot.parcel")]
struct Parcel(u64);

// ANCHOR: table
/// What the depot has, as far as one may administer it.
async fn table(admin: &Admin, out: &mut impl Write) -> callboard::Result<()> {
    for entry in admin.list(">").await?.entries {
        let glance = entry.glance.map(|glance| glance.to_string());
        let (kind, name) = (entry.kind, entry.name);
        let glance = glance.unwrap_or_else(|| "-".to_owned());
        writeln!(out, "  {kind:<6} {name:<11} {glance}")?;
    }
    Ok(())
}
// ANCHOR_END: table

/// What happens, told to `out`.
pub async fn story(system: System, out: &mut impl Write) -> callboard::Result<()> {
    // ANCHOR: node
    let node = Node::new(&system, "depot")?;
    node.expose_mutex("gate", &Mutex::new(&system, "gate"))?;
    node.expose_topic("news", &Topic::<Parcel>::start(&system, "news"))?;
    node.creatable::<Parcel>(Creatable::new().items(500)); // queues of parcels may be made
    node.expose_admin()?; // off unless this is called
    let socket = std::env::temp_dir().join(format!("callboard-depot-{}", std::process::id()));
    let listener = node.listen_unix(socket.clone()).await?;
    // ANCHOR_END: node

    // ANCHOR: create
    let peer = Peer::unix(&system, socket);
    peer.connected().await?;
    let admin = peer.admin(); // our own user may do everything, until a rule says otherwise
    let mut config = QueueConfig::default();
    for (name, capacity) in [
        ("parcels.eu", 100),
        ("parcels.us", 100),
        ("parcels.eu", 100), // once more
        ("parcels.eu", 200),
        ("parcels.uk", 1_000_000),
    ] {
        config.capacity = capacity;
        match admin.create_queue::<Parcel>(name, &config).await {
            Ok(true) => writeln!(out, "{name} is made")?,
            Ok(false) => writeln!(out, "{name} was there")?,
            Err(error) => writeln!(out, "refused: {error}")?,
        }
    }
    // ANCHOR_END: create

    // Somebody works with one of them.
    let parcels = peer.queue::<Parcel>("parcels.eu").await?;
    parcels.offer_many((1..=4).map(Parcel)).await?;
    let damaged = parcels.lease().await?.ok_or("nothing there")?;
    damaged.bury("it is wet").await?;
    let held = parcels.lease().await?.ok_or("nothing there")?;
    table(&admin, out).await?;

    // ANCHOR: inspect
    let queue = admin.inspect_queue("parcels.eu").await?;
    let (offered, holders) = (queue.state.offered, queue.holders);
    writeln!(out, "parcels.eu: {offered} offered, {holders} holder")?;
    let dead = peer.dead_letters::<Parcel>("parcels.eu").await?;
    for letter in dead.browse(0, 10).await? {
        let (parcel, info) = (letter.item.item.0, letter.item.info);
        writeln!(out, "parcel {parcel}: {}, {}", info.reason, info.detail)?;
    }
    writeln!(out, "{} offered again", dead.redrive(10).await?)?;
    // ANCHOR_END: inspect

    // ANCHOR: remove
    for name in ["parcels.eu", "parcels.us", "gate"] {
        match admin.remove(name).if_empty().await {
            Ok(_) => writeln!(out, "{name} is removed")?,
            Err(error) => writeln!(out, "stays: {error}")?,
        }
    }
    node.rights().deny("uid:*", Verbs::ADMIN, "gate")?;
    table(&admin, out).await?;
    // ANCHOR_END: remove
    held.ack().await?;
    listener.close();
    Ok(())
}

/// The whole program.
pub fn run(out: &mut impl Write) -> callboard::Result<()> {
    callboard::run(|system| story(system, out))?
}

fn main() -> callboard::Result<()> {
    run(&mut std::io::stdout())
}
