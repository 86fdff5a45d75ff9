//! A durable queue that a peer had made, over a real socket and the log on disk.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use callboard::journal::{JournalErrorKind, Journals};
use callboard::queue::{Queue, QueueConfig};
use callboard::remote::{AdminError, Creatable, Node, Peer};
use callboard::store::Store;
use callboard::{Message, System};
use serde::{Deserialize, Serialize};

use crate::dir::Dir;

#[derive(Debug, Clone, PartialEq, Message, Serialize, Deserialize)]
#[message(name = "depot.parcel")]
struct Parcel(u64);

/// A node over the log, and a peer of our own user.
async fn depot(system: &System, dir: &Dir, socket: &str) -> (Store, Node, Peer) {
    let store = loop {
        match Store::open(system, dir.0.join("log")).await {
            Ok(store) => break store,
            // Whoever had it before is about to be gone.
            Err(error) if error.kind() == JournalErrorKind::InUse => {
                system.clock().sleep(Duration::from_millis(1)).await;
            }
            Err(error) => panic!("{error}"),
        }
    };
    let node = Node::new(system, "depot").unwrap();
    node.creatable::<Parcel>(Creatable::new().durable(Arc::new(store.clone())));
    node.expose_admin().unwrap();
    let socket = dir.0.join(socket);
    node.listen_unix(&socket).await.unwrap();
    let peer = Peer::unix(system, &socket);
    peer.connected().await.unwrap();
    (store, node, peer)
}

#[callboard::test(arbiters)]
async fn g25_a_durable_queue_made_from_elsewhere_has_its_items_after_a_restart(system: System) {
    let dir = Dir::new();
    let mut config = QueueConfig::default();
    (config.durable, config.capacity) = (true, 100);
    // A name that would lead out of the directory.
    let name = "../parcels/eu";
    let first = System::new().unwrap();
    {
        let (_store, _node, peer) = depot(&first, &dir, "first").await;
        let admin = peer.admin();
        assert_eq!(admin.create_queue::<Parcel>(name, &config).await, Ok(true));
        assert_eq!(admin.create_queue::<Parcel>(name, &config).await, Ok(false));
        let far = peer.queue::<Parcel>(name).await.unwrap();
        assert!(far.keeps().synced_offers);
        far.offer_many([Parcel(1), Parcel(2)]).await.unwrap();
    }
    first.shutdown().await;

    let (store, _node, peer) = depot(&system, &dir, "second").await;
    let admin = peer.admin();
    // As it was left; what is exposed is up to who wants it again.
    assert!(admin.list(">").await.unwrap().entries.is_empty());
    assert_eq!(admin.create_queue::<Parcel>(name, &config).await, Ok(true));
    let far = peer.queue::<Parcel>(name).await.unwrap();
    assert_eq!(far.poll().await.unwrap(), Some(Parcel(1)));
    let error = admin.remove(name).if_empty().await.unwrap_err();
    assert!(
        matches!(error, AdminError::NotEmpty { items: 1, .. }),
        "{error}"
    );
    let found: Queue<Parcel> = system.queues().get(name).unwrap().unwrap();
    assert_eq!(found.state().await.unwrap().len, 1);

    // Removed, it leaves nothing on disk, and begins with nothing.
    assert_eq!(admin.remove(name).await.unwrap().items, 1);
    assert_eq!(admin.create_queue::<Parcel>(name, &config).await, Ok(true));
    let far = peer.queue::<Parcel>(name).await.unwrap();
    assert_eq!(far.state().await.unwrap().len, 0);
    far.offer(Parcel(3)).await.unwrap();
    admin.remove(name).await.unwrap();
    assert_eq!(store.list().await.unwrap(), Vec::<String>::new());
    let outside = std::fs::read_dir(&dir.0).unwrap();
    let outside = outside.map(|entry| entry.unwrap().file_name());
    let outside: Vec<_> = outside
        .filter(|name| name.to_string_lossy().contains("parcels"))
        .collect();
    assert!(outside.is_empty(), "{outside:?}");
}
