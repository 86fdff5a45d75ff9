//! The removal of durable queues, and who opens one of that name meanwhile.

use std::sync::Arc;

use callboard::journal::{JournalError, JournalErrorKind, Journals, OpenedJournal};
use callboard::queue::{OnlyIf, OpenError, Queue};
use callboard::{Message, System};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::topics::disk::Disk;

#[derive(Debug, Clone, PartialEq, Message, Serialize, Deserialize)]
#[message(name = "test.order")]
struct Order(u32);

/// Journals that take their time to be removed.
struct Slow {
    disk: Disk,
    /// Told that a removal has begun, and says when it may go on.
    next: Mutex<Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>>,
}

impl Slow {
    fn new(system: &System) -> Arc<Self> {
        Arc::new(Slow {
            disk: Disk::new(system),
            next: Mutex::new(None),
        })
    }

    /// The next removal: it has begun, and it may go on.
    fn next_removal(&self) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
        let (begins, begun) = oneshot::channel();
        let (go, gone) = oneshot::channel();
        *self.next.lock() = Some((begins, gone));
        (begun, go)
    }
}

impl Journals for Slow {
    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<OpenedJournal, JournalError>> {
        self.disk.open(name)
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>, JournalError>> {
        self.disk.list()
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), JournalError>> {
        async move {
            let next = self.next.lock().take();
            if let Some((begins, gone)) = next {
                begins.send(()).unwrap();
                // An error: it may go on.
                let _ = gone.await;
            }
            self.disk.remove(name).await
        }
        .boxed()
    }
}

async fn open(system: &System, disk: &Arc<Slow>) -> Result<Queue<Order>, OpenError> {
    let journals = Arc::clone(disk) as Arc<dyn Journals>;
    let orders = system.queue("orders").durable(journals);
    orders.open().await
}

async fn items(queue: &Queue<Order>) -> Vec<u32> {
    let items = queue.browse(0, 9).await.unwrap();
    items.into_iter().map(|one| one.item.0).collect()
}

#[callboard::test(both)]
async fn g25_a_removal_takes_nothing_of_a_later_queue_of_that_name(system: System) {
    for by_id in [false, true] {
        let disk = Slow::new(&system);
        let queue = open(&system, &disk).await.unwrap();
        queue.offer(Order(1)).await.unwrap();
        let (begun, go) = disk.next_removal();
        let queues = system.queues().clone();
        let removing = async {
            if by_id {
                let removed = queues.remove_if("orders", queue.id(), OnlyIf::default());
                assert_eq!(removed.await.unwrap(), Some(Ok(())));
            } else {
                assert!(queues.remove("orders").await.unwrap());
            }
        };
        let meanwhile = async {
            begun.await.unwrap();
            let error = open(&system, &disk).await.unwrap_err();
            let OpenError::Storage(why) = &error else {
                panic!("{error}");
            };
            assert_eq!(why.kind(), JournalErrorKind::InUse);
            assert!(why.to_string().contains("orders is being removed"), "{why}");
            // One that has nothing there is in nobody's way, and its own removal ends no other.
            let light: Queue<Order> = system.queue("orders").open().unwrap();
            light.offer(Order(9)).await.unwrap();
            assert!(system.queues().remove("orders").await.unwrap());
            assert!(open(&system, &disk).await.is_err());
            go.send(()).unwrap();
        };
        futures::join!(removing, meanwhile);
        let later = open(&system, &disk).await.unwrap();
        assert_eq!(items(&later).await, [] as [u32; 0]);
        later.offer(Order(2)).await.unwrap();
        // The one before is no more, and its id removes nothing.
        let before = system
            .queues()
            .remove_if("orders", queue.id(), OnlyIf::default());
        assert_eq!(before.await.unwrap(), None);
        assert_eq!(items(&later).await, [2]);
        assert!(system.queues().remove("orders").await.unwrap());
    }
}

#[callboard::test(both)]
async fn a_removal_that_is_given_up_leaves_the_name_free(system: System) {
    let disk = Slow::new(&system);
    let queue = open(&system, &disk).await.unwrap();
    queue.offer(Order(1)).await.unwrap();
    let (begun, _go) = disk.next_removal();
    let queues = system.queues().clone();
    let removing = Box::pin(queues.remove("orders"));
    let futures::future::Either::Right((begun, removing)) =
        futures::future::select(removing, begun).await
    else {
        panic!("it was not slow");
    };
    begun.unwrap();
    assert!(open(&system, &disk).await.is_err());
    drop(removing);
    // What it had is still there.
    let later = open(&system, &disk).await.unwrap();
    assert_eq!(items(&later).await, [1]);
}
