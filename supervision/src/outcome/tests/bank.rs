//! A database in memory: accounts and outcomes, transactions over copies of them, and faults on order.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures::FutureExt;

use crate::outcome::{DEFAULT_OUTCOME_BYTES, OutcomeStore, OutcomeTx, RequestId};

/// Where the database fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Begin,
    Find,
    Keep,
    /// The commit fails, and has not happened.
    CommitNotDone,
    /// The commit fails, and has happened.
    CommitDone,
    /// Somebody else was quicker: the primary key is taken.
    Taken,
}

/// What an adapter can get wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Text where bytes should be: it ends at a zero.
    CutsBytes,
    /// One column of the id is missing.
    KnowsTheKeyOnly,
    /// Nothing is rolled back.
    CommitsWhenDropped,
    /// The effect isn't written by the transaction.
    LosesEffects,
    /// `INSERT OR REPLACE`.
    Replaces,
    /// The effect is written by another transaction.
    KeepsEffectOfRefused,
    /// No primary key: who keeps looks first, at what it sees.
    LooksOnlyWhenKept,
    /// Minutes for milliseconds.
    ForgetsAll,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken(pub(super) Fault);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Broken {}

/// A connection.
pub(super) struct Bank {
    shared: Rc<RefCell<Shared>>,
    pub(super) outcome_limit: usize,
}

#[derive(Default)]
struct Shared {
    committed: Data,
    /// What fails next, once.
    fault: Option<Fault>,
    flaw: Option<Flaw>,
    now: Duration,
}

#[derive(Default, Clone)]
struct Data {
    accounts: BTreeMap<String, i64>,
    outcomes: BTreeMap<Vec<u8>, (Duration, Vec<u8>)>,
}

impl Default for Bank {
    fn default() -> Self {
        Bank {
            shared: Rc::default(),
            outcome_limit: DEFAULT_OUTCOME_BYTES,
        }
    }
}

impl Bank {
    /// Another connection to the same database.
    pub(super) fn connect(&self) -> Bank {
        Bank {
            shared: Rc::clone(&self.shared),
            outcome_limit: self.outcome_limit,
        }
    }

    /// A database with a bad adapter.
    pub(super) fn with_flaw(flaw: Flaw) -> Bank {
        let bank = Bank::default();
        bank.shared.borrow_mut().flaw = Some(flaw);
        bank
    }

    pub(super) fn balance(&self, account: &str) -> i64 {
        let shared = self.shared.borrow();
        shared.committed.accounts.get(account).copied().unwrap_or(0)
    }

    pub(super) fn kept(&self) -> usize {
        self.shared.borrow().committed.outcomes.len()
    }

    pub(super) fn bytes(&self, id: &RequestId) -> Vec<u8> {
        self.shared.borrow().committed.outcomes[id.as_bytes()]
            .1
            .clone()
    }

    pub(super) fn spoil(&self, id: &RequestId, spoil: impl FnOnce(&mut Vec<u8>)) {
        let mut shared = self.shared.borrow_mut();
        spoil(&mut shared.committed.outcomes.get_mut(id.as_bytes()).unwrap().1);
    }

    pub(super) fn fail_once(&self, fault: Fault) {
        self.shared.borrow_mut().fault = Some(fault);
    }

    /// No fault is left over.
    pub(super) fn cancel_fault(&self) {
        self.shared.borrow_mut().fault = None;
    }

    pub(super) fn pass(&self, span: Duration) {
        self.shared.borrow_mut().now += span;
    }
}

impl Shared {
    fn check(&mut self, point: Fault) -> Result<(), Broken> {
        match self.fault.take_if(|fault| *fault == point) {
            Some(fault) => Err(Broken(fault)),
            None => Ok(()),
        }
    }
}

/// Others get a turn: here an attempt can be overtaken, or die.
pub(super) async fn turn() {
    let mut yielded = false;
    std::future::poll_fn(move |_| match std::mem::replace(&mut yielded, true) {
        true => std::task::Poll::Ready(()),
        false => std::task::Poll::Pending,
    })
    .await;
}

/// Runs a future to its end, turn by turn: nobody wakes it.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Some(ended) = future.as_mut().now_or_never() {
            return ended;
        }
    }
}

/// A transaction: a copy for reading, and what it will change.
pub(super) struct Tx {
    shared: Rc<RefCell<Shared>>,
    seen: Data,
    deltas: Vec<(String, i64)>,
    kept: Vec<(Vec<u8>, Vec<u8>)>,
    is_over: bool,
}

impl Tx {
    fn has(&self, flaw: Flaw) -> bool {
        self.shared.borrow().flaw == Some(flaw)
    }

    fn column(&self, id: &RequestId) -> Vec<u8> {
        let bytes = id.as_bytes();
        match self.has(Flaw::KnowsTheKeyOnly) {
            true => bytes[..16].to_vec(),
            false => bytes.to_vec(),
        }
    }

    fn apply_effects(&mut self) {
        let mut shared = self.shared.borrow_mut();
        for (account, delta) in self.deltas.drain(..) {
            *shared.committed.accounts.entry(account).or_default() += delta;
        }
    }

    fn apply_outcomes(&mut self) {
        let mut shared = self.shared.borrow_mut();
        let now = shared.now;
        for (id, outcome) in self.kept.drain(..) {
            shared.committed.outcomes.insert(id, (now, outcome));
        }
    }

    /// Whether the primary key refuses what was kept.
    fn is_taken(&self) -> bool {
        let shared = self.shared.borrow();
        let others = match shared.flaw {
            Some(Flaw::Replaces) => return false,
            Some(Flaw::LooksOnlyWhenKept) => &self.seen.outcomes,
            _ => &shared.committed.outcomes,
        };
        self.kept.iter().any(|(id, _)| others.contains_key(id))
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if !self.is_over && self.has(Flaw::CommitsWhenDropped) {
            self.apply_effects();
            self.apply_outcomes();
        }
    }
}

/// The effect: answers the balance that the transaction sees then.
pub(super) fn add(tx: &mut Tx, account: &str, cents: i64) -> i64 {
    tx.deltas.push((account.to_owned(), cents));
    let balance = tx.seen.accounts.entry(account.to_owned()).or_default();
    *balance += cents;
    *balance
}

impl OutcomeStore for Bank {
    type Error = Broken;
    type Tx<'s> = Tx;

    async fn begin(&mut self) -> Result<Tx, Broken> {
        turn().await;
        self.shared.borrow_mut().check(Fault::Begin)?;
        Ok(Tx {
            shared: Rc::clone(&self.shared),
            seen: self.shared.borrow().committed.clone(),
            deltas: Vec::new(),
            kept: Vec::new(),
            is_over: false,
        })
    }

    async fn forget_older_than(&mut self, age: Duration) -> Result<u64, Broken> {
        let mut shared = self.shared.borrow_mut();
        let now = shared.now;
        let flaw = shared.flaw.filter(|flaw| *flaw == Flaw::ForgetsAll);
        let outcomes = &mut shared.committed.outcomes;
        let before = outcomes.len();
        outcomes.retain(|_, (at, _)| now.saturating_sub(*at) <= age && flaw.is_none());
        Ok((before - outcomes.len()) as u64)
    }

    fn outcome_limit(&self) -> usize {
        self.outcome_limit
    }
}

impl OutcomeTx for Tx {
    type Error = Broken;

    async fn find(&mut self, id: &RequestId) -> Result<Option<Vec<u8>>, Broken> {
        turn().await;
        self.shared.borrow_mut().check(Fault::Find)?;
        let found = self.seen.outcomes.get(&self.column(id));
        Ok(found.map(|(_, outcome)| outcome.clone()))
    }

    async fn keep(&mut self, id: &RequestId, outcome: &[u8]) -> Result<(), Broken> {
        turn().await;
        self.shared.borrow_mut().check(Fault::Keep)?;
        let mut outcome = outcome.to_vec();
        if self.has(Flaw::CutsBytes) {
            outcome = outcome.split(|byte| *byte == 0).next().unwrap().to_vec();
        }
        self.kept.push((self.column(id), outcome));
        Ok(())
    }

    async fn commit(mut self) -> Result<(), Broken> {
        turn().await;
        self.is_over = true;
        self.shared.borrow_mut().check(Fault::CommitNotDone)?;
        if self.is_taken() {
            if self.has(Flaw::KeepsEffectOfRefused) {
                self.apply_effects();
            }
            return Err(Broken(Fault::Taken));
        }
        if !self.has(Flaw::LosesEffects) {
            self.apply_effects();
        }
        self.apply_outcomes();
        self.shared.borrow_mut().check(Fault::CommitDone)
    }
}
