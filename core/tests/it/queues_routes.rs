//! A queue that lives elsewhere: the seam that other processes and engines use. Here "elsewhere" is a queue of the same
//! process behind a way that delays, loses requests, and loses answers (G6, G22, G26).

use std::collections::HashMap;
use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use callboard::queue::{
    Keeps, LeaseId, LeaseRequest, Leased, NotEnded, OfferError, OfferParts, OfferTerms, Offered,
    OpenError, Queue, QueueRoute, QueueState, Receipt, SettleError, Settlement,
};
use callboard::{ActorId, Boundary, Failure, FailureKind, RequestKey, System, Verdict, testing};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;

const MS: Duration = Duration::from_millis(1);
/// How long each way takes.
const WAY: Duration = Duration::from_millis(3);

/// What happens to a request on its way.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Arrives,
    RequestLost,
    AnswerLost,
}

/// The far end, and the way there.
struct Far {
    queue: Queue<u64>,
    system: System,
    /// What happens to the next ones; then they arrive.
    ways: Mutex<Vec<Way>>,
    /// It answers with so many more than it was asked for.
    too_many: AtomicUsize,
    /// Receipts of what is out, by token.
    out: Mutex<HashMap<u64, Receipt<u64>>>,
}

#[derive(Clone)]
struct Road(Arc<Far>);

fn lost() -> Failure {
    Failure::new(FailureKind::DeadlineExceeded, Verdict::MaybeExecuted)
}

impl Far {
    fn way(&self) -> Way {
        let mut ways = self.ways.lock();
        if ways.is_empty() {
            Way::Arrives
        } else {
            ways.remove(0)
        }
    }

    async fn settle(&self, token: u64, settlement: Settlement) -> Result<(), SettleError> {
        let stale = SettleError::Stale {
            queue: self.queue.name(),
            sequence: 0,
            token,
        };
        if let Settlement::Extend(span) = settlement {
            let receipt = self.out.lock().remove(&token).ok_or(stale)?;
            let result = receipt.extend(span).await;
            self.out.lock().insert(token, receipt);
            return result;
        }
        let receipt = self.out.lock().remove(&token).ok_or(stale)?;
        match settlement {
            Settlement::Ack => receipt.ack().await,
            Settlement::Release(delay) => receipt.release(delay).await,
            Settlement::Reject(reason) => receipt.reject(reason).await,
            Settlement::Bury(reason) => receipt.bury(reason).await,
            other => panic!("{other:?}"),
        }
    }
}

impl QueueRoute<u64> for Road {
    fn id(&self) -> ActorId {
        self.0.queue.id()
    }

    fn system(&self) -> &System {
        &self.0.system
    }

    fn name(&self) -> Arc<str> {
        self.0.queue.name()
    }

    fn boundary(&self) -> Boundary {
        Boundary::Network
    }

    fn keeps(&self) -> Keeps {
        let mut keeps = self.0.queue.keeps();
        keeps.synced_offers = false;
        keeps
    }

    fn offer(
        &self,
        item: u64,
        terms: OfferTerms,
        deadline: Option<Duration>,
    ) -> BoxFuture<'static, Result<Offered, OfferError<u64>>> {
        let far = Arc::clone(&self.0);
        async move {
            let way = far.way();
            far.system.clock().sleep(WAY).await;
            if way == Way::RequestLost {
                return Err(OfferError {
                    failure: lost(),
                    item: None,
                });
            }
            let mut offer = far.queue.offer(item).with_terms(terms);
            if let Some(span) = deadline {
                offer = offer.deadline(span);
            }
            let answer = offer.await;
            far.system.clock().sleep(WAY).await;
            match way {
                Way::AnswerLost => Err(OfferError {
                    failure: lost(),
                    item: None,
                }),
                _ => answer,
            }
        }
        .boxed()
    }

    fn lease(
        &self,
        request: LeaseRequest,
    ) -> BoxFuture<'static, Result<Vec<Leased<u64>>, Failure>> {
        let far = Arc::clone(&self.0);
        async move {
            let way = far.way();
            far.system.clock().sleep(WAY).await;
            if way == Way::RequestLost {
                return Err(lost());
            }
            let mut lease = far
                .queue
                .lease_many(request.max + far.too_many.load(Ordering::Relaxed));
            if let Some(span) = request.deadline {
                lease = lease.deadline(span);
            }
            if let Some(span) = request.span {
                lease = lease.span(span);
            }
            let mut leased = Vec::new();
            for delivery in lease.await? {
                let (item, receipt) = delivery.into_parts();
                let token = receipt.token();
                leased.push(Leased {
                    item,
                    token,
                    grantor: 1,
                    sequence: receipt.sequence(),
                    attempt: receipt.attempt(),
                    failed: receipt.failed(),
                    offered: receipt.offered(),
                    first_seen: receipt.first_seen(),
                    key: receipt.key(),
                    group: receipt.group().map(Into::into),
                    reply_to: receipt
                        .reply_to_name()
                        .map(callboard::queue::ReplyTo::named),
                });
                far.out.lock().insert(token, receipt);
            }
            far.system.clock().sleep(WAY).await;
            match way {
                Way::AnswerLost => Err(lost()),
                _ => Ok(leased),
            }
        }
        .boxed()
    }

    fn settle(
        &self,
        settlements: Vec<(LeaseId, Settlement)>,
    ) -> BoxFuture<'static, Vec<Result<(), SettleError>>> {
        let far = Arc::clone(&self.0);
        async move {
            let way = far.way();
            far.system.clock().sleep(WAY).await;
            let mut answers = Vec::new();
            for (lease, settlement) in settlements {
                assert_eq!(lease.grantor, 1);
                if way != Way::RequestLost {
                    answers.push(far.settle(lease.token, settlement).await);
                }
                if way != Way::Arrives {
                    answers.pop();
                    answers.push(Err(lost().into()));
                }
            }
            far.system.clock().sleep(WAY).await;
            answers
        }
        .boxed()
    }

    fn settle_soon(&self, lease: LeaseId, settlement: Settlement) {
        // Nobody waits for the answer, and in this test the way takes no time.
        let _ = self.0.settle(lease.token, settlement).now_or_never();
    }

    fn state(&self) -> BoxFuture<'static, Result<QueueState, Failure>> {
        let queue = self.0.queue.clone();
        async move { queue.state().await }.boxed()
    }

    fn stop(&self) {
        self.0.queue.stop();
    }
}

/// The far queue, and a handle to it over the road.
fn road(system: &System) -> (Arc<Far>, Queue<u64>) {
    let queue = system
        .queue("far")
        .lease(100 * MS)
        .retry(Duration::ZERO, Duration::ZERO)
        .open()
        .unwrap();
    let far = Arc::new(Far {
        queue,
        system: system.clone(),
        ways: Mutex::default(),
        too_many: AtomicUsize::new(0),
        out: Mutex::default(),
    });
    let handle = Queue::over(Arc::new(Road(Arc::clone(&far))), Keeps::default()).unwrap();
    (far, handle)
}

#[callboard::test]
async fn a_queue_over_a_route_is_used_like_any_other(system: System) {
    let (far, queue) = road(&system);
    assert_eq!(
        (&*queue.name(), queue.boundary()),
        ("far", Boundary::Network)
    );
    let key = RequestKey::new();
    assert_eq!(
        queue.offer(7).group("g").key(key).await.unwrap(),
        Offered::Stored(1)
    );
    assert_eq!(queue.offer_many([8, 9]).group("g").await.unwrap().len(), 2);
    let delivery = queue.lease().await.unwrap().unwrap();
    assert_eq!(
        (*delivery, delivery.attempt(), delivery.sequence()),
        (7, 1, 1)
    );
    assert_eq!((delivery.key(), delivery.group()), (Some(key), Some("g")));
    delivery.extend(Duration::from_secs(1)).await.unwrap();
    delivery.release(Duration::ZERO).await.unwrap();
    let again = queue.lease().span(50 * MS).await.unwrap().unwrap();
    assert_eq!((*again, again.attempt(), again.failed()), (7, 2, 0));
    again.reject("no").await.unwrap();
    drop(queue.lease().await.unwrap().unwrap());
    let mut last = queue.lease().await.unwrap().unwrap();
    assert_eq!((*last, last.attempt(), last.failed()), (7, 4, 1));
    last.ack().await.unwrap();
    assert_eq!(queue.poll().await.unwrap(), Some(8));
    let mut stream = queue.deliveries(1);
    last = stream.next().await.unwrap().unwrap();
    assert_eq!(*last, 9);
    last.bury("never").await.unwrap();
    assert_eq!(queue.poll().deadline(Duration::ZERO).await.unwrap(), None);
    assert!(queue.poll_many(3).deadline(MS).await.unwrap().is_empty());
    let state = queue.state().await.unwrap();
    assert_eq!((state.len, state.in_flight, state.settled), (0, 0, 2));
    assert!(far.out.lock().is_empty());
    // What only the queue's own process can do.
    assert!(queue.dead_letters().is_none() && queue.consumers().is_empty());
    assert!(queue.browse(0, 9).await.is_err() && queue.purge().await.is_err());
    assert_eq!(queue.stop_if(Default::default()), Err(NotEnded::Elsewhere));
}

/// What a policy does: it keeps the item, and makes the offer again, here or elsewhere.
#[callboard::test]
async fn an_offer_taken_apart_is_made_again_over_a_route(system: System) {
    let (far, queue) = road(&system);
    let key = RequestKey::new();
    let offer = queue.offer(7).key(key).group("g").deadline(50 * MS);
    let mut parts = offer.into_parts();
    assert_eq!((parts.item, parts.deadline), (7, Some(50 * MS)));
    assert_eq!(parts.queue.id(), queue.id());
    *far.ways.lock() = vec![Way::AnswerLost];
    let mut again = OfferParts::new(parts.queue.clone(), parts.item, parts.terms.clone());
    again.deadline = parts.deadline;
    let error = again.into_offer().await.unwrap_err();
    assert_eq!(error.verdict(), Verdict::MaybeExecuted);
    parts.queue = far.queue.clone();
    assert_eq!(
        parts.into_offer().await.unwrap(),
        Offered::Duplicate(1),
        "its key came back with it"
    );
    let stored = queue.lease().await.unwrap().unwrap();
    assert_eq!((stored.key(), stored.group()), (Some(key), Some("g")));
    stored.ack().await.unwrap();
}

#[callboard::test]
async fn g26_an_offer_whose_answer_was_lost_is_offered_again_with_its_key(system: System) {
    let (far, queue) = road(&system);
    let key = RequestKey::new();
    *far.ways.lock() = vec![Way::RequestLost, Way::AnswerLost];
    for _ in 0..2 {
        let error = queue.offer(7).key(key).await.unwrap_err();
        assert_eq!(error.failure.verdict(), Verdict::MaybeExecuted);
        assert_eq!(error.item, None);
    }
    assert_eq!(
        queue.offer(7).key(key).await.unwrap(),
        Offered::Duplicate(1)
    );
    assert_eq!(queue.poll_many(9).await.unwrap(), [7]);
}

#[callboard::test]
async fn g06_a_batch_over_a_route_gives_back_what_was_not_sent(system: System) {
    let (far, queue) = road(&system);
    *far.ways.lock() = vec![Way::Arrives, Way::AnswerLost];
    let error = queue.offer_many([1, 2, 3, 4]).await.unwrap_err();
    // Of the second nobody knows; it may be there, so it doesn't come back.
    assert_eq!((error.offered.len(), error.rest), (1, vec![3, 4]));
    assert_eq!(error.failure.verdict(), Verdict::MaybeExecuted);
    assert_eq!(queue.poll_many(9).await.unwrap(), [1, 2]);
}

/// It answers with more than it was asked for: what nobody asked for goes back.
#[callboard::test]
async fn g21_a_route_that_answers_with_too_many_loses_nothing(system: System) {
    let (far, queue) = road(&system);
    far.too_many.store(2, Ordering::Relaxed);
    queue.offer_many([1, 2, 3, 4, 5, 6, 7]).await.unwrap();
    assert_eq!(queue.poll().await.unwrap(), Some(1));
    assert_eq!(queue.poll_many(2).await.unwrap(), [2, 3]);
    let held = queue.lease().await.unwrap().unwrap();
    assert_eq!((*held, far.queue.state().await.unwrap().in_flight), (4, 1));
    held.ack().await.unwrap();
    let rest = queue.lease_many(2).await.unwrap();
    assert_eq!(rest.iter().map(|item| **item).collect::<Vec<_>>(), [5, 6]);
    drop(rest);
    assert_eq!(far.queue.state().await.unwrap().len, 3);
    assert!(far.out.lock().is_empty());
}

/// In Venice an item whose answer came too late was gone.
#[callboard::test]
async fn g22_an_item_whose_delivery_was_lost_comes_back_by_its_lease(system: System) {
    let (far, queue) = road(&system);
    queue.offer(7).await.unwrap();
    for polls in [true, false] {
        *far.ways.lock() = vec![Way::AnswerLost];
        if polls {
            assert!(queue.poll().await.is_err());
        } else {
            assert!(queue.lease().await.is_err());
        }
        assert_eq!(far.queue.state().await.unwrap().in_flight, 1);
        testing::advance(&system, 100 * MS).await.unwrap();
        let state = far.queue.state().await.unwrap();
        assert_eq!((state.len, state.in_flight), (1, 0));
    }
    // Who gives up while the answer is on its way.
    let mut poll = Box::pin(queue.poll().into_future());
    assert!(futures::poll!(poll.as_mut()).is_pending());
    testing::advance(&system, WAY).await.unwrap();
    assert!(futures::poll!(poll.as_mut()).is_pending());
    assert_eq!(far.queue.state().await.unwrap().in_flight, 1);
    drop(poll);
    testing::advance(&system, 100 * MS).await.unwrap();
    let back = queue.lease().await.unwrap().unwrap();
    assert_eq!((*back, back.failed()), (7, 3));
    back.ack().await.unwrap();
}

#[callboard::test]
async fn g22_an_acknowledgement_over_a_route_is_fenced_and_has_its_verdict(system: System) {
    let (far, queue) = road(&system);
    queue.offer(7).await.unwrap();
    let late = queue.lease().span(10 * MS).await.unwrap().unwrap();
    testing::advance(&system, 10 * MS).await.unwrap();
    let holder = queue.lease().await.unwrap().unwrap();
    assert!(holder.token() > late.token());
    assert!(matches!(late.ack().await, Err(SettleError::Stale { .. })));
    *far.ways.lock() = vec![Way::AnswerLost];
    let Err(SettleError::Failed(failure)) = holder.ack().await else {
        panic!("its answer was lost");
    };
    assert_eq!(failure.verdict(), Verdict::MaybeExecuted);
    assert_eq!(queue.state().await.unwrap().settled, 1);
}

#[callboard::test]
async fn a_route_that_lacks_what_is_needed_is_not_opened(system: System) {
    let (far, _) = road(&system);
    let mut needs = Keeps {
        fenced_acks: true,
        groups: true,
        ..Keeps::default()
    };
    let open = |needs| Queue::over(Arc::new(Road(Arc::clone(&far))), needs);
    assert!(open(needs).is_ok());
    needs.synced_offers = true;
    needs.compared_keys = true;
    let error = open(needs).unwrap_err();
    let OpenError::Lacks { name, lacks } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(
        (&**name, &lacks[..]),
        ("far", &["synced_offers", "compared_keys"][..])
    );
    assert!(
        error.to_string().contains("synced_offers, compared_keys"),
        "{error}"
    );
}
