//! Exactly one effect: the request key inside the transaction that has the effect.

#[cfg(any(test, feature = "test"))]
pub(crate) mod check;
mod error;
mod id;
mod once;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::OnceError;
pub use id::RequestId;
pub use once::Once;

/// How many bytes an encoded answer may have unless the store says otherwise: 1 MiB.
pub const DEFAULT_OUTCOME_BYTES: usize = 1024 * 1024;

/// A database of yours, in which request keys are kept by the transaction that has the effect.
///
/// # Why
/// A store of its own, also a durable one ([`Dedup`](crate::Dedup)), is written before the effect and after it. A
/// process that dies in between leaves a request of which nobody can say whether it had its effect: that is
/// `Indeterminate`, and no store beside the database can do better. A key that is written by the *same
/// transaction* as the effect is there if and only if the effect is. So this is the one way to exactly one effect, and
/// only for what lies in that database: a mail that the handler sends besides is sent again with each attempt.
///
/// # Guarantees
/// For what [`once`](OutcomeStore::once) is called with one [`RequestId`] any number of times, from any number of processes,
/// some of which die at any point (G19; the window is what [`forget_older_than`](OutcomeStore::forget_older_than) leaves,
/// the store is this database, and it fails as a database with durable transactions does):
/// - The effect is committed at most once; exactly once, if any call brings an answer.
/// - All answers are the same one, that of the attempt that was committed.
/// - The same id with another payload is [`KeyReused`](OnceError::KeyReused), and its effect doesn't run. One that was
///   [settled](OutcomeStore::resolve) before it had its effect never has it.
/// - An attempt that fails in any other way has changed nothing, except for [`InDoubt`](OnceError::InDoubt): the commit
///   itself failed. Then the next attempt finds out.
///
/// # What an adapter has to do
/// Four short functions over a table with two columns of bytes and a time, the first of them the primary key. What
/// must hold is said at each, and the feature `test` has a suite that tries it (`testing::check_outcome_store`).
/// `examples/pay_once/sqlite.rs` is an adapter over SQLite.
///
/// Everything is `async`, so that clients of database servers fit; the futures need not be `Send`, because an actor
/// doesn't move. A database whose calls block belongs into an actor on a
/// [thread of its own](callboard_core::Placement::OwnThread): there `async` functions that never wait cost nothing.
///
/// # Example
/// ```
/// # extern crate callboard_core as callboard;
/// # use callboard::{Context, DeferredHandler, Failure, FailureKind, Responder, Verdict};
/// # use callboard_supervision::{Once, OnceError, OutcomeStore, OutcomeTx, RequestId};
/// # use serde::{Deserialize, Serialize};
/// #[derive(callboard::Message, Serialize, Deserialize)]
/// #[message(reply = u64, name = "bank.pay")]
/// struct Pay { to: String, cents: u64 }
///
/// # trait Accounts: OutcomeTx { async fn add(&mut self, to: &str, cents: u64) -> Result<u64, Self::Error>; }
/// struct Bank<S> { accounts: S }
/// # impl<S: 'static> callboard::Actor for Bank<S> {}
///
/// impl<S> DeferredHandler<Pay> for Bank<S>
/// where
///     S: OutcomeStore + 'static,
///     for<'s> S::Tx<'s>: Accounts<Error = S::Error>,
/// {
///     async fn handle_deferred(&mut self, pay: Pay, responder: Responder<u64>, ctx: &mut Context<Self>) {
///         let Some(id) = RequestId::of::<Pay>("bank", ctx.meta()) else {
///             let failure = Failure::new(FailureKind::BadPayload, Verdict::NotExecuted);
///             return responder.fail(failure.with_detail("a payment needs a request key"));
///         };
///         let paid = self.accounts.once(&id, &pay, async |tx| tx.add(&pay.to, pay.cents).await);
///         match paid.await {
///             Ok(balance) => responder.send(balance.into_inner()),
///             Err(error) => responder.fail(error.into()),
///         }
///     }
/// }
/// ```
pub trait OutcomeStore {
    /// What the database says when it fails.
    type Error: std::error::Error;

    /// A transaction. Dropping one that wasn't committed rolls it back: that is what ends an attempt whose handler
    /// panics or is killed.
    type Tx<'s>: OutcomeTx<Error = Self::Error>
    where
        Self: 's;

    /// Begins a transaction that can write. Where a database has weaker kinds too, it must be one in which two that
    /// have found the same thing missing can't both be committed with it: a primary key sees to that.
    ///
    /// # Errors
    /// The database's.
    fn begin(&mut self) -> impl Future<Output = Result<Self::Tx<'_>, Self::Error>>;

    /// Forgets what was kept longer than `age` ago, by the database's clock; answers how many outcomes that were. A
    /// request that comes again later is a new one, so `age` must be longer than anybody tries again and anything in
    /// between keeps a message. Nobody calls it but you: without it the table only grows.
    ///
    /// # Errors
    /// The database's.
    fn forget_older_than(
        &mut self,
        age: Duration,
    ) -> impl Future<Output = Result<u64, Self::Error>>;

    /// How many bytes an encoded answer may have (G3); [`DEFAULT_OUTCOME_BYTES`] unless said otherwise. The effect of
    /// one that is larger is rolled back: [`OnceError::Answer`].
    fn outcome_limit(&self) -> usize {
        DEFAULT_OUTCOME_BYTES
    }

    /// Runs `effect` in a transaction, and keeps its answer under `id` in the same one; or gives the answer that was
    /// kept there before, without running it.
    ///
    /// `payload` is what makes two requests the same: the message, or those of its fields that count. It is compared
    /// by a print of 128 bits of its MessagePack form. A field that a later version of the program adds is another
    /// payload for a request that is repeated over the upgrade, unless it is left out while it is empty
    /// (`#[serde(skip_serializing_if = ...)]`) or not passed here; and a `HashMap` differs from itself.
    ///
    /// An `effect` that returns `Err` is rolled back and leaves nothing behind: the next attempt runs it again. A
    /// refusal that is meant to be final is an *answer*: make `R` a `Result`, and return `Ok(Err(refused))`. What was
    /// written until then is committed with it.
    ///
    /// # Errors
    /// [`OnceError`]; its [`verdict`](OnceError::verdict) says what is known.
    ///
    /// # Cancel safety
    /// Dropping it rolls back, unless the commit has begun: then it may be committed, and the next attempt finds out.
    fn once<'s, P, R, E, F>(
        &'s mut self,
        id: &RequestId,
        payload: &P,
        effect: F,
    ) -> impl Future<Output = Result<Once<R>, OnceError<E, Self::Error>>>
    where
        P: Serialize + ?Sized,
        R: Serialize + DeserializeOwned,
        F: AsyncFnOnce(&mut Self::Tx<'s>) -> Result<R, E>,
    {
        once::run(self, id, payload, effect)
    }

    /// Settles what became of a request, for whoever was told `MaybeExecuted`: its answer; or `None`, which then is true
    /// for good, within the window. A request of which nothing is kept is sealed: an attempt that comes later, or is
    /// under way, is [`Sealed`](OnceError::Sealed) and has no effect. So it can be made again under a new key, or given up.
    ///
    /// # Errors
    /// [`OnceError::Store`], [`OnceError::InDoubt`] and [`OnceError::Unreadable`].
    ///
    /// # Cancel safety
    /// Dropping it may leave the request sealed.
    fn resolve<R: DeserializeOwned>(
        &mut self,
        id: &RequestId,
    ) -> impl Future<Output = Result<Option<R>, OnceError<Infallible, Self::Error>>> {
        once::resolve(self, id)
    }

    /// The answer that is kept under `id`, if there is one now. `None` says little: the request may be on its way, or was
    /// forgotten. Changes nothing.
    ///
    /// # Errors
    /// [`OnceError::Store`] and [`OnceError::Unreadable`].
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    fn peek<R: DeserializeOwned>(
        &mut self,
        id: &RequestId,
    ) -> impl Future<Output = Result<Option<R>, OnceError<Infallible, Self::Error>>> {
        once::peek(self, id)
    }
}

/// A transaction of an [`OutcomeStore`]. Dropping it rolls it back.
///
/// The effect gets it, so give it what effects need: a public field with the database's own transaction, say.
pub trait OutcomeTx {
    /// What the database says when it fails.
    type Error;

    /// The outcome that is kept under `id`: those bytes exactly, or `None`. Ids are compared by their
    /// [`as_bytes`](RequestId::as_bytes), and by nothing else.
    ///
    /// # Errors
    /// The database's.
    fn find(
        &mut self,
        id: &RequestId,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, Self::Error>>;

    /// Keeps an outcome under `id`, and the time. It must fail, here or at the commit, if there is one under that id:
    /// an `INSERT` with a primary key, never one that replaces.
    ///
    /// # Errors
    /// The database's.
    fn keep(
        &mut self,
        id: &RequestId,
        outcome: &[u8],
    ) -> impl Future<Output = Result<(), Self::Error>>;

    /// Commits. Ok means that it is on disk, as far as the database goes; an error may mean anything.
    ///
    /// # Errors
    /// The database's.
    fn commit(self) -> impl Future<Output = Result<(), Self::Error>>;
}
