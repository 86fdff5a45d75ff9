//! Queues in other processes, over any transport.

use std::time::Duration;

use callboard::queue::{
    ItemPlace, Keeps, OpenError, Queue, QueueBuilder, SettleError, Settlement, ack_all,
};
use callboard::{
    FailureKind, Incarnation, Message, Placement, RequestKey, System, Verdict, WireMessage,
};
use callboard_remote::{LinkConfig, Node, OpenQueueError, Peer, Verbs};
use futures::StreamExt;
use futures::channel::oneshot;
use serde::{Deserialize, Serialize};

use crate::wires::{Wire, connect, connect_with};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Message, Serialize, Deserialize)]
#[message(name = "test.job")]
pub(crate) struct Job(pub(crate) u64);

/// Has the name of [`Job`] in a later version.
#[derive(Debug, Clone, PartialEq, Message, Serialize, Deserialize)]
#[message(name = "test.job", version = 2)]
struct NewerJob(u64);

#[derive(Debug, Clone, PartialEq, Message, Serialize, Deserialize)]
#[message(name = "test.text")]
pub(crate) struct Text(pub(crate) String);

/// Can't be read by anybody.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Unreadable(u64);

impl<'de> Deserialize<'de> for Unreadable {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("not today")
    }
}

impl Message for Unreadable {
    type Reply = ();
}

impl WireMessage for Unreadable {
    const NAME: &'static str = "test.job";
    const VERSION: u32 = 1;
}

const MS: Duration = Duration::from_millis(1);

pub(crate) fn jobs(system: &System) -> QueueBuilder<Job> {
    system.queue("jobs").retry(Duration::ZERO, Duration::ZERO)
}

/// A queue behind a node, and a handle to it over a connection.
pub(crate) struct Far<W> {
    pub(crate) near: Queue<Job>,
    pub(crate) node: Node,
    pub(crate) wire: W,
    pub(crate) peer: Peer,
    pub(crate) queue: Queue<Job>,
}

pub(crate) async fn far<W: Wire>(system: &System, builder: QueueBuilder<Job>) -> Far<W> {
    let near = builder.open().unwrap();
    let node = Node::new(system, "queues").unwrap();
    node.expose_queue("jobs", &near).unwrap();
    let (wire, peer) = connect::<W>(system, &node).await;
    let queue = peer.queue::<Job>("jobs").await.unwrap();
    Far {
        near,
        node,
        wire,
        peer,
        queue,
    }
}

/// Waits until the queue is as wished; by looking, because nobody tells.
async fn until(system: &System, mut reached: impl AsyncFnMut() -> bool) {
    while !reached().await {
        system.clock().sleep(MS).await;
    }
}

pub(crate) async fn a_queue_elsewhere_is_used_like_one_of_this_process<W: Wire>(system: System) {
    let scene = far::<W>(&system, jobs(&system)).await;
    let Far {
        near, queue, peer, ..
    } = &scene;
    assert_eq!((&*queue.name(), queue.boundary()), ("jobs", W::BOUNDARY));
    assert_eq!(queue.keeps(), near.keeps());
    let key = RequestKey::new();
    let first = queue.offer(Job(7)).group("g").key(key).await.unwrap();
    assert_eq!(first.sequence(), 1);
    let more = queue.offer_many([Job(8), Job(9)]).group("g").await.unwrap();
    assert_eq!(more.len(), 2);

    let delivery = queue.lease().await.unwrap().unwrap();
    assert_eq!(
        (delivery.item(), delivery.attempt(), delivery.sequence()),
        (&Job(7), 1, 1)
    );
    assert_eq!((delivery.key(), delivery.group()), (Some(key), Some("g")));
    // The others of its group wait for it (G24).
    assert_eq!(queue.poll().deadline(Duration::ZERO).await.unwrap(), None);
    delivery.extend(Duration::from_secs(60)).await.unwrap();
    delivery.release(Duration::ZERO).await.unwrap();
    let again = queue.lease().await.unwrap().unwrap();
    assert_eq!((again.attempt(), again.failed()), (2, 0));
    again.reject("no").await.unwrap();
    let last = queue.lease().await.unwrap().unwrap();
    assert_eq!((last.attempt(), last.failed()), (3, 1));
    assert_eq!(last.offered(), near.browse(1, 1).await.unwrap()[0].offered);
    last.ack().await.unwrap();
    assert_eq!(queue.poll().await.unwrap(), Some(Job(8)));
    let buried = queue.lease().await.unwrap().unwrap();
    buried.bury("never").await.unwrap();
    let dead = near.dead_letters().unwrap();
    assert_eq!(dead.state().len, 1);

    let state = queue.state().await.unwrap();
    assert_eq!((state.len, state.in_flight, state.settled), (0, 0, 2));
    let empty = queue.lease_many(9).deadline(5 * MS).await.unwrap();
    assert!(empty.is_empty());
    assert_eq!(peer.queue::<Job>("jobs").await.unwrap().id(), queue.id());
}

pub(crate) async fn a_queue_elsewhere_can_be_looked_into_and_ended<W: Wire>(system: System) {
    let scene = far::<W>(&system, jobs(&system).priorities(4)).await;
    let Far {
        near, queue, node, ..
    } = &scene;
    let rights = node.rights();
    rights.grant("anonymous", Verbs::ADMIN, "jobs").unwrap();
    queue.offer(Job(1)).await.unwrap();
    queue.offer(Job(2)).priority(3).await.unwrap();
    queue
        .offer(Job(3))
        .delay(Duration::from_secs(9))
        .await
        .unwrap();
    let urgent = queue.lease().await.unwrap().unwrap();
    assert_eq!(*urgent, Job(2));
    let seen = queue.browse(0, 9).await.unwrap();
    assert_eq!(seen, near.browse(0, 9).await.unwrap());
    let places: Vec<ItemPlace> = seen.iter().map(|item| item.place).collect();
    let wanted = [ItemPlace::Ready, ItemPlace::InFlight, ItemPlace::Delayed];
    assert_eq!(places, wanted);
    assert_eq!(queue.browse(3, 9).await.unwrap().len(), 1);
    queue.stop();
    let ended = queue.lease_many(9).await;
    // What was leased before it ended is all there may be.
    let failure = match ended {
        Err(failure) => failure,
        Ok(_) => queue.lease_many(9).await.unwrap_err(),
    };
    assert_eq!(failure.kind(), FailureKind::Stopped);
    let error = queue.offer(Job(4)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.item),
        (FailureKind::Stopped, Some(Job(4)))
    );
}

pub(crate) async fn g34_a_queue_that_cannot_be_opened_says_why<W: Wire>(system: System) {
    let scene = far::<W>(&system, jobs(&system)).await;
    let Far { node, peer, .. } = &scene;
    let kind = |error: OpenQueueError| match error {
        OpenQueueError::Failed(failure) => (failure.kind(), failure.verdict(), failure),
        other => panic!("{other}"),
    };
    let error = peer.queue::<Text>("jobs").await.unwrap_err();
    let (wrong, verdict, failure) = kind(error);
    assert_eq!(
        (wrong, verdict),
        (FailureKind::UnknownType, Verdict::NotExecuted)
    );
    let text = failure.to_string();
    assert!(
        text.contains("holds test.job version 1, not test.text version 1"),
        "{text}"
    );
    let error = peer.queue::<NewerJob>("jobs").await.unwrap_err();
    assert_eq!(kind(error).0, FailureKind::WrongVersion);
    let error = peer.queue::<Job>("nothing").await.unwrap_err();
    assert_eq!(kind(error).0, FailureKind::UnknownName);
    assert!(matches!(
        peer.queue::<Job>("").await,
        Err(OpenQueueError::Name(_))
    ));
    let needs = Keeps {
        synced_offers: true,
        ..Keeps::default()
    };
    let error = peer.queue::<Job>("jobs").needs(needs).await.unwrap_err();
    let OpenQueueError::Lacks(OpenError::Lacks { lacks, .. }) = error else {
        panic!("{error}");
    };
    assert_eq!(lacks, ["synced_offers"]);
    assert!(node.conceal("jobs"));
    let error = peer.queue::<Job>("jobs").await.unwrap_err();
    assert_eq!(kind(error).0, FailureKind::UnknownName);
}

/// The other process is started again, with that queue as its jobs.
async fn start_again<W: Wire>(
    system: &System,
    jobs: &Queue<Job>,
    wire: &mut W,
    peer: &Peer,
) -> Node {
    let (later, config) = (Incarnation(u64::MAX), LinkConfig::default());
    let node = Node::with(system, "queues", later, config).unwrap();
    node.expose_queue("jobs", jobs).unwrap();
    wire.serve(&node).await;
    peer.connected().await.unwrap();
    node
}

/// The other process was started again, with a queue of that name that keeps less, or holds something else.
pub(crate) async fn g37_a_handle_refuses_a_queue_that_became_another<W: Wire>(system: System) {
    let Far {
        queue,
        node,
        mut wire,
        peer,
        near: _near,
    } = far::<W>(&system, jobs(&system).compare_keys()).await;
    node.close();
    drop(node);
    let other: Queue<Job> = system.queue("others").open().unwrap();
    let _node = start_again(&system, &other, &mut wire, &peer).await;
    let error = loop {
        match queue.offer(Job(1)).await {
            Err(error) if error.kind() == FailureKind::WrongVersion => break error,
            Err(_) => system.clock().sleep(MS).await,
            Ok(_) => panic!("it keeps less than this handle was opened for"),
        }
    };
    assert_eq!(
        (error.verdict(), error.item),
        (Verdict::NotExecuted, Some(Job(1)))
    );
    let failure = queue.lease().await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::WrongVersion);
    assert_eq!(other.state().await.unwrap().offered, 0);
    let again = peer.queue::<Job>("jobs").await.unwrap();
    again.offer(Job(1)).await.unwrap();
}

pub(crate) async fn g03_a_full_queue_elsewhere_makes_offers_wait<W: Wire>(system: System) {
    let scene = far::<W>(&system, jobs(&system).capacity(2)).await;
    let Far { near, queue, .. } = &scene;
    queue.offer_many([Job(1), Job(2)]).await.unwrap();
    let full = queue.offer(Job(3)).deadline(Duration::ZERO).await;
    let full = full.unwrap_err();
    assert_eq!(
        (full.kind(), full.verdict()),
        (FailureKind::Full, Verdict::NotExecuted)
    );
    assert_eq!(full.item, Some(Job(3)), "G6: it comes back");
    let late = queue.offer(Job(3)).deadline(5 * MS).await.unwrap_err();
    assert_eq!(
        (late.kind(), late.item),
        (FailureKind::DeadlineExceeded, Some(Job(3)))
    );
    let many = queue.offer_many([Job(3), Job(4)]).deadline(5 * MS).await;
    let many = many.unwrap_err();
    assert_eq!((many.offered.len(), many.rest), (0, vec![Job(3), Job(4)]));

    let waiting = queue.clone();
    let (done, told) = oneshot::channel();
    system.spawn(Placement::Spread, move || async move {
        let offered = waiting.offer_many((3..=6).map(Job)).await;
        done.send(offered.unwrap().len()).unwrap();
    });
    let there = async || near.state().await.unwrap().waiting_offerers == 1;
    until(&system, there).await;
    for n in 1..=6 {
        assert_eq!(queue.poll().await.unwrap(), Some(Job(n)));
    }
    assert_eq!(told.await, Ok(4));
}

/// Who gives up waiting for room leaves nothing behind.
pub(crate) async fn g09_an_offer_that_is_given_up_is_not_stored<W: Wire>(system: System) {
    let scene = far::<W>(&system, jobs(&system).capacity(1)).await;
    let Far { near, queue, .. } = &scene;
    queue.offer(Job(1)).await.unwrap();
    let (give_up, gives_up) = oneshot::channel::<()>();
    let offer = queue.offer(Job(2));
    system.spawn(Placement::Spread, move || async move {
        futures::future::select(offer.into_future_boxed(), gives_up).await;
    });
    let waiting = async || near.state().await.unwrap().waiting_offerers == 1;
    until(&system, waiting).await;
    drop(give_up);
    let gone = async || near.state().await.unwrap().waiting_offerers == 0;
    until(&system, gone).await;
    assert_eq!(queue.poll().await.unwrap(), Some(Job(1)));
    assert_eq!(queue.poll().deadline(Duration::ZERO).await.unwrap(), None);
}

trait Boxed {
    type Out;
    fn into_future_boxed(self) -> futures::future::BoxFuture<'static, Self::Out>;
}

impl<F> Boxed for F
where
    F: IntoFuture<IntoFuture: Send + 'static>,
{
    type Out = F::Output;
    fn into_future_boxed(self) -> futures::future::BoxFuture<'static, F::Output> {
        Box::pin(self.into_future())
    }
}

/// In Venice an item that was on its way to a caller that had given up was gone.
pub(crate) async fn g21_a_lease_that_is_given_up_takes_nothing<W: Wire>(system: System) {
    let scene = far::<W>(&system, jobs(&system)).await;
    let Far { near, queue, .. } = &scene;
    // While it waits over there.
    for polls in [true, false] {
        let wish = queue.clone();
        let (give_up, gives_up) = oneshot::channel::<()>();
        system.spawn(Placement::Spread, move || async move {
            let wish = if polls {
                wish.poll().into_future_boxed().boxed_any()
            } else {
                wish.lease().into_future_boxed().boxed_any()
            };
            futures::future::select(wish, gives_up).await;
        });
        let waits = async || near.state().await.unwrap().waiting_pollers == 1;
        until(&system, waits).await;
        drop(give_up);
        let gone = async || near.state().await.unwrap().waiting_pollers == 0;
        until(&system, gone).await;
    }
    // With its answer anywhere on the way: as many turns further each time.
    for turns in 0..24 {
        queue.offer(Job(turns)).await.unwrap();
        let mut wish = queue.lease().into_future_boxed();
        for _ in 0..turns {
            if futures::poll!(&mut wish).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(wish);
        let back = async || {
            let state = near.state().await.unwrap();
            (state.len, state.in_flight, state.waiting_pollers) == (1, 0, 0)
        };
        until(&system, back).await;
        let item = queue.lease().await.unwrap().unwrap();
        assert_eq!((item.item(), item.failed()), (&Job(turns), 0));
        item.ack().await.unwrap();
    }
}

trait BoxedAny {
    fn boxed_any(self) -> futures::future::BoxFuture<'static, ()>;
}

impl<T: Send + 'static> BoxedAny for futures::future::BoxFuture<'static, T> {
    fn boxed_any(self) -> futures::future::BoxFuture<'static, ()> {
        Box::pin(async move { drop(self.await) })
    }
}

pub(crate) async fn g22_a_late_acknowledgement_from_elsewhere_is_refused<W: Wire>(system: System) {
    let scene = far::<W>(&system, jobs(&system)).await;
    let Far { near, queue, .. } = &scene;
    queue.offer(Job(1)).await.unwrap();
    let late = queue.lease().span(MS).await.unwrap().unwrap();
    let holder = queue.lease().await.unwrap().unwrap();
    assert!(holder.token() > late.token());
    let (token, sequence) = (late.token(), late.sequence());
    let Err(SettleError::Stale {
        queue: name,
        token: refused,
        sequence: of,
    }) = late.ack().await
    else {
        panic!("it lapsed");
    };
    assert_eq!((&*name, refused, of), ("jobs", token, sequence));
    holder.ack().await.unwrap();
    assert_eq!(near.state().await.unwrap().settled, 1);
}

pub(crate) async fn g23_leases_of_a_dead_peer_come_back_as_failed<W: Wire>(system: System) {
    let scene = far::<W>(&system, jobs(&system)).await;
    let Far {
        near, queue, peer, ..
    } = &scene;
    queue.offer_many([Job(1), Job(2), Job(3)]).await.unwrap();
    let held = queue.lease_many(2).await.unwrap();
    assert_eq!(near.state().await.unwrap().in_flight, 2);
    peer.close();
    let back = async || near.state().await.unwrap().in_flight == 0;
    until(&system, back).await;
    let again = near.lease_many(3).await.unwrap();
    let seen: Vec<_> = again.iter().map(|item| (item.0, item.failed())).collect();
    assert_eq!(seen, [(1, 1), (2, 1), (3, 0)]);
    for held in held {
        let Err(SettleError::Failed(failure)) = held.ack().await else {
            panic!("it is closed");
        };
        assert_eq!(failure.kind(), FailureKind::NoConnection);
    }
    assert_eq!(near.state().await.unwrap().in_flight, 3);
}

/// Dropping what is held, and the handle, is no failure.
pub(crate) async fn g22_what_is_dropped_goes_back<W: Wire>(system: System) {
    let Far {
        near,
        queue,
        node: _node,
        wire: _wire,
        peer: _peer,
    } = far::<W>(&system, jobs(&system)).await;
    queue.offer_many([Job(1), Job(2)]).await.unwrap();
    drop(queue.lease_many(2).await.unwrap());
    let back = async || near.state().await.unwrap().len == 2;
    until(&system, back).await;
    drop(queue);
    let again = near.lease_many(2).await.unwrap();
    let seen: Vec<_> = again.iter().map(|item| (item.0, item.failed())).collect();
    assert_eq!(seen, [(1, 0), (2, 0)]);
}

/// An old lease doesn't end a new one with the same number, after the queue was started again.
pub(crate) async fn g22_a_lease_of_a_queue_that_was_started_again_is_stale<W: Wire>(
    system: System,
) {
    let Far {
        near,
        queue,
        node,
        mut wire,
        peer,
    } = far::<W>(&system, jobs(&system)).await;
    queue.offer(Job(1)).await.unwrap();
    let old = queue.lease().await.unwrap().unwrap();
    near.stop();
    node.close();
    drop(node);
    let near: Queue<Job> = system.queue("jobs again").open().unwrap();
    near.offer(Job(2)).await.unwrap();
    let _node = start_again(&system, &near, &mut wire, &peer).await;
    let new = loop {
        match queue.lease().await {
            Ok(new) => break new.unwrap(),
            Err(_) => system.clock().sleep(MS).await,
        }
    };
    assert_eq!((old.token(), new.token()), (1, 1));
    assert!(matches!(old.ack().await, Err(SettleError::Stale { .. })));
    assert_eq!(near.state().await.unwrap().in_flight, 1);
    new.ack().await.unwrap();
    assert_eq!(near.state().await.unwrap().settled, 1);
}

pub(crate) async fn g26_an_offer_made_again_with_its_key_is_stored_once<W: Wire>(system: System) {
    let scene = far::<W>(&system, jobs(&system).compare_keys()).await;
    let Far { near, queue, .. } = &scene;
    let key = RequestKey::new();
    let first = queue.offer(Job(1)).key(key).await.unwrap();
    let again = queue.offer(Job(1)).key(key).await.unwrap();
    assert_eq!(format!("{first:?} {again:?}"), "Stored(1) Duplicate(1)");
    let reused = queue.offer(Job(2)).key(key).await.unwrap_err();
    assert_eq!(
        (reused.kind(), reused.item),
        (FailureKind::KeyReused, Some(Job(2)))
    );
    assert_eq!(near.state().await.unwrap().offered, 1);
}

pub(crate) async fn items_stream_from_elsewhere_with_a_bound<W: Wire>(system: System) {
    let scene = far::<W>(&system, jobs(&system)).await;
    let Far { near, queue, .. } = &scene;
    queue.offer_many((0..100).map(Job)).await.unwrap();
    let mut stream = queue.deliveries(8);
    let mut batch = Vec::new();
    for n in 0..100 {
        let next = stream.next().await.unwrap().unwrap();
        assert_eq!(*next, Job(n));
        assert!(near.state().await.unwrap().in_flight <= 8);
        batch.push(next);
        if batch.len() == 4 {
            let acked = ack_all(std::mem::take(&mut batch)).await;
            assert!(acked.iter().all(Result::is_ok), "{acked:?}");
        }
    }
    drop(stream);
    let state = near.state().await.unwrap();
    assert_eq!((state.settled, state.len, state.in_flight), (100, 0, 0));
}

pub(crate) async fn handlers_run_for_items_from_elsewhere<W: Wire>(system: System) {
    let scene = far::<W>(&system, jobs(&system).delivery_limit(2)).await;
    let Far { near, queue, .. } = &scene;
    let consuming = queue.consume(&system, 3, async |job| match **job {
        Job(5) => Settlement::Bury("odd".into()),
        Job(6) => panic!("even"),
        _ => Settlement::Ack,
    });
    queue.offer_many((0..10).map(Job)).await.unwrap();
    let done = async || {
        let state = near.state().await.unwrap();
        (state.len, state.in_flight) == (0, 0)
    };
    until(&system, done).await;
    assert_eq!(near.dead_letters().unwrap().state().len, 2);
    assert_eq!(near.state().await.unwrap().settled, 8);
    consuming.stop().await;
}

pub(crate) async fn g21_a_single_active_consumer_elsewhere_is_followed_by_the_next<W: Wire>(
    system: System,
) {
    let scene = far::<W>(&system, jobs(&system).single_active_consumer()).await;
    let Far {
        near, queue, peer, ..
    } = &scene;
    queue.offer_many((0..4).map(Job)).await.unwrap();
    let failure = queue.lease().await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::NotAuthorised);
    let (first, second) = (queue.consumer("first"), queue.consumer("second"));
    let held = first.lease().await.unwrap().unwrap();
    let none = second.lease().deadline(5 * MS).await.unwrap();
    assert!(none.is_none(), "{none:?}");
    let names: Vec<String> = near
        .consumers()
        .iter()
        .map(|consumer| format!("{} {}", consumer.name, consumer.is_active))
        .collect();
    assert_eq!(names, ["first true", "second false"]);
    held.ack().await.unwrap();
    drop(first);
    assert_eq!(*second.lease().await.unwrap().unwrap(), Job(1));
    // With the peer its consumers go, too.
    peer.close();
    let left = async || near.consumers().is_empty();
    until(&system, left).await;
}

pub(crate) async fn g36_items_that_do_not_fit_harm_nobody_else<W: Wire>(system: System) {
    let near: Queue<Text> = system
        .queue("texts")
        .retry(Duration::ZERO, Duration::ZERO)
        .delivery_limit(2)
        .open()
        .unwrap();
    let node = Node::new(&system, "queues").unwrap();
    node.expose_queue("texts", &near).unwrap();
    let mut small = LinkConfig::default();
    small.max_message = 4_096;
    let (_wire, peer) = connect_with::<W>(&system, &node, small).await;
    let queue = peer.queue::<Text>("texts").await.unwrap();
    let text = |length| Text("x".repeat(length));
    // More than one answer takes: the rest comes with the next.
    let all = (0..9).map(|_| text(1_000));
    near.offer_many(all).await.unwrap();
    let mut taken = 0;
    while taken < 9 {
        taken += queue.poll_many(9).await.unwrap().len();
    }
    // More than any answer takes: a failed delivery, until it is dead.
    near.offer_many([text(5_000), text(10)]).await.unwrap();
    for _ in 0..2 {
        let failure = queue.poll().await.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::TooLarge);
    }
    assert_eq!(queue.poll().await.unwrap(), Some(text(10)));
    assert_eq!(near.dead_letters().unwrap().state().len, 1);
}

pub(crate) async fn g34_an_item_nobody_can_read_is_a_failed_delivery<W: Wire>(system: System) {
    let scene = far::<W>(&system, jobs(&system).delivery_limit(1)).await;
    let Far {
        near, queue, peer, ..
    } = &scene;
    let broken = peer.queue::<Unreadable>("jobs").await.unwrap();
    queue.offer_many([Job(1), Job(2)]).await.unwrap();
    let none = broken.poll().deadline(5 * MS).await.unwrap();
    assert_eq!(none, None);
    let dead = async || near.dead_letters().unwrap().state().len >= 1;
    until(&system, dead).await;
    let offered: Queue<Unreadable> = broken;
    // And what can't be read over there is told at once.
    let text = offered.offer(Unreadable(3)).await;
    assert!(text.is_ok(), "over there it is a Job");
}
