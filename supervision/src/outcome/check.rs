//! The conformance suite of the trait: what an adapter must keep, tried on it.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use callboard_core::{Principal, RequestKey};
use futures::future::join;

use super::{Once, OnceError, OutcomeStore, OutcomeTx, RequestId};

/// A database to run [`check_outcome_store`] on: its adapter, and an effect that the suite can count.
pub trait OutcomeStoreCase {
    /// The adapter.
    type Store: OutcomeStore;

    /// One more connection to the same database, which is made for the suite and has no outcomes at first. One that
    /// blocks while it waits for a lock of another must give up after a moment, because the suite holds two.
    fn connect(&self) -> impl Future<Output = Self::Store>;

    /// An effect, as part of the transaction. (The lifetimes are written out because the compiler wants to see the
    /// same ones in the `impl`.)
    fn effect<'t, 's: 't>(
        tx: &'t mut <Self::Store as OutcomeStore>::Tx<'s>,
    ) -> impl Future<Output = ()>;

    /// How many effects have been committed.
    fn effects(store: &mut Self::Store) -> impl Future<Output = u64>;
}

/// Holds an adapter of [`OutcomeStore`] against what its trait asks of it.
///
/// # Panics
/// With a sentence that says what the adapter gets wrong, or what its database says.
///
/// # Example
/// `tests/pay_once.rs` runs it on the adapter over SQLite.
pub async fn check_outcome_store<C: OutcomeStoreCase>(case: &C) {
    outcomes_are_found_as_they_were_kept(case).await;
    ids_are_apart(case).await;
    a_dropped_transaction_leaves_nothing(case).await;
    a_commit_has_all(case).await;
    a_second_outcome_is_refused(case).await;
    of_two_at_a_time_one_is_committed(case).await;
    nothing_young_is_forgotten(case).await;
    once_is_once(case).await;
}

async fn outcomes_are_found_as_they_were_kept<C: OutcomeStoreCase>(case: &C) {
    let mut store = case.connect().await;
    let every_byte: Vec<u8> = (0..=u8::MAX).collect();
    for outcome in [vec![], vec![0], every_byte.clone(), every_byte.repeat(400)] {
        let id = fresh();
        assert_eq!(find(&mut store, &id).await, None, "found what nobody kept");
        keep::<C>(&mut store, &id, &outcome).await;
        let mut other = case.connect().await;
        for store in [&mut store, &mut other] {
            let found = find(store, &id).await;
            let same = found.as_ref() == Some(&outcome);
            let lengths = (outcome.len(), found.map(|found| found.len()));
            assert!(same, "kept bytes are found otherwise, or not: {lengths:?}");
        }
    }
}

async fn ids_are_apart<C: OutcomeStoreCase>(case: &C) {
    let mut store = case.connect().await;
    let (key, other) = (RequestKey::new(), RequestKey::new());
    let id = |principal: Option<&str>, target, message, key| {
        RequestId::new(principal.map(Principal::new), target, message, key)
    };
    let all = [
        id(None, "target", "message", key),
        id(Some("uid:1"), "target", "message", key),
        id(Some("uid:2"), "target", "message", key),
        id(Some("UID:2"), "target", "message", key),
        id(None, "other", "message", key),
        id(None, "target", "other", key),
        id(None, "target", "message", other),
    ];
    for (number, id) in (0_u8..).zip(&all) {
        let found = find(&mut store, id).await;
        assert_eq!(found, None, "found the outcome of another request: {id}");
        keep::<C>(&mut store, id, &[number]).await;
    }
    for (number, id) in (0_u8..).zip(&all) {
        let found = find(&mut store, id).await;
        assert_eq!(found, Some(vec![number]), "requests are mixed up: {id}");
    }
}

async fn a_dropped_transaction_leaves_nothing<C: OutcomeStoreCase>(case: &C) {
    let mut store = case.connect().await;
    let (id, before) = (fresh(), C::effects(&mut store).await);
    let mut tx = ok(store.begin().await);
    C::effect(&mut tx).await;
    ok(tx.keep(&id, b"dropped").await);
    drop(tx);
    let after = C::effects(&mut store).await;
    assert_eq!(after, before, "the effect of a dropped transaction stays");
    let found = find(&mut store, &id).await;
    assert_eq!(found, None, "the outcome of a dropped transaction stays");
}

async fn a_commit_has_all<C: OutcomeStoreCase>(case: &C) {
    let mut store = case.connect().await;
    let (id, before) = (fresh(), C::effects(&mut store).await);
    let mut tx = ok(store.begin().await);
    C::effect(&mut tx).await;
    ok(tx.keep(&id, b"done").await);
    ok(tx.commit().await);
    let mut other = case.connect().await;
    for store in [&mut store, &mut other] {
        let after = C::effects(store).await;
        assert_eq!(after, before + 1, "a committed effect doesn't count once");
        let found = find(store, &id).await;
        let done = Some(b"done".to_vec());
        assert_eq!(found, done, "a committed outcome isn't there");
    }
}

async fn a_second_outcome_is_refused<C: OutcomeStoreCase>(case: &C) {
    let mut store = case.connect().await;
    let id = fresh();
    keep::<C>(&mut store, &id, b"first").await;
    let before = C::effects(&mut store).await;
    let tx = ok(store.begin().await);
    let committed = is_committed::<C>(tx, &id, b"second").await;
    assert!(!committed, "a second outcome under the same id is taken");
    let found = find(&mut store, &id).await;
    let first = Some(b"first".to_vec());
    assert_eq!(found, first, "a second outcome has replaced the first");
    let after = C::effects(&mut store).await;
    assert_eq!(after, before, "the effect of a refused outcome stays");
}

async fn of_two_at_a_time_one_is_committed<C: OutcomeStoreCase>(case: &C) {
    let (mut left, mut right) = (case.connect().await, case.connect().await);
    let (id, before) = (fresh(), C::effects(&mut left).await);
    let both = join(attempt::<C>(&mut left, &id), attempt::<C>(&mut right, &id));
    let (one, other) = both.await;
    assert!(one || other, "neither of two transactions is committed");
    assert!(
        !(one && other),
        "two transactions have committed the same id"
    );
    let effects = C::effects(&mut left).await - before;
    assert_eq!(effects, 1, "effects and commits differ");
}

/// Whether a transaction that found nothing was committed. That it had to wait for another, or was refused
/// because of it, keeps the rule as well.
async fn attempt<C: OutcomeStoreCase>(store: &mut C::Store, id: &RequestId) -> bool {
    let Ok(mut tx) = store.begin().await else {
        return false;
    };
    let nothing = matches!(tx.find(id).await, Ok(None));
    // So that the other one begins now, also where nothing else waits.
    let mut is_late = false;
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        match std::mem::replace(&mut is_late, true) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    nothing && is_committed::<C>(tx, id, b"mine").await
}

async fn is_committed<C: OutcomeStoreCase>(
    mut tx: <C::Store as OutcomeStore>::Tx<'_>,
    id: &RequestId,
    outcome: &[u8],
) -> bool {
    C::effect(&mut tx).await;
    tx.keep(id, outcome).await.is_ok() && tx.commit().await.is_ok()
}

async fn nothing_young_is_forgotten<C: OutcomeStoreCase>(case: &C) {
    let mut store = case.connect().await;
    let id = fresh();
    keep::<C>(&mut store, &id, b"young").await;
    let day = Duration::from_secs(24 * 60 * 60);
    let forgotten = ok(store.forget_older_than(day).await);
    assert_eq!(forgotten, 0, "outcomes of this moment count as a day old");
    // A time before the first second there was must not be a problem, nor a time in the future.
    ok(store.forget_older_than(Duration::MAX).await);
    let found = find(&mut store, &id).await;
    assert_eq!(
        found,
        Some(b"young".to_vec()),
        "a young outcome is forgotten"
    );
}

async fn once_is_once<C: OutcomeStoreCase>(case: &C) {
    let mut store = case.connect().await;
    let (id, before) = (fresh(), C::effects(&mut store).await);
    for is_first in [true, false, false] {
        let mut store = case.connect().await;
        let effect = async |tx: &mut _| {
            C::effect(tx).await;
            Ok::<_, String>(is_first)
        };
        let expected = match is_first {
            true => Once::First(true),
            false => Once::Again(true),
        };
        match store.once(&id, "payload", effect).await {
            Ok(answer) => assert_eq!(answer, expected, "a request got another answer"),
            Err(error) => panic!("the database: {error}"),
        }
    }
    let effect = async |tx: &mut _| {
        C::effect(tx).await;
        Ok::<_, String>(true)
    };
    let reused = store.once(&id, "another payload", effect).await;
    let is_refused = matches!(reused, Err(OnceError::KeyReused(key)) if key == id.key());
    assert!(is_refused, "a key was taken with another payload");
    let after = C::effects(&mut store).await;
    assert_eq!(after, before + 1, "one request did not have one effect");
}

fn fresh() -> RequestId {
    RequestId::new(None, "target", "message", RequestKey::new())
}

async fn find<S: OutcomeStore>(store: &mut S, id: &RequestId) -> Option<Vec<u8>> {
    let mut tx = ok(store.begin().await);
    ok(tx.find(id).await)
}

async fn keep<C: OutcomeStoreCase>(store: &mut C::Store, id: &RequestId, outcome: &[u8]) {
    let mut tx = ok(store.begin().await);
    ok(tx.keep(id, outcome).await);
    ok(tx.commit().await);
}

#[track_caller]
fn ok<T, E: std::error::Error>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("the database: {error}"),
    }
}
