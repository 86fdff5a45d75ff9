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
        })
    }

    async fn forget_older_than(&mut self, age: Duration) -> Result<u64, Broken> {
        let mut shared = self.shared.borrow_mut();
        let now = shared.now;
        let outcomes = &mut shared.committed.outcomes;
        let before = outcomes.len();
        outcomes.retain(|_, (at, _)| now.saturating_sub(*at) <= age);
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
        let found = self.seen.outcomes.get(id.as_bytes());
        Ok(found.map(|(_, outcome)| outcome.clone()))
    }

    async fn keep(&mut self, id: &RequestId, outcome: &[u8]) -> Result<(), Broken> {
        turn().await;
        self.shared.borrow_mut().check(Fault::Keep)?;
        self.kept.push((id.as_bytes().to_vec(), outcome.to_vec()));
        Ok(())
    }

    async fn commit(self) -> Result<(), Broken> {
        turn().await;
        let mut shared = self.shared.borrow_mut();
        shared.check(Fault::CommitNotDone)?;
        let taken = |(id, _): &(Vec<u8>, _)| shared.committed.outcomes.contains_key(id);
        if self.kept.iter().any(taken) {
            return Err(Broken(Fault::Taken));
        }
        for (account, delta) in self.deltas {
            *shared.committed.accounts.entry(account).or_default() += delta;
        }
        let now = shared.now;
        for (id, outcome) in self.kept {
            shared.committed.outcomes.insert(id, (now, outcome));
        }
        shared.check(Fault::CommitDone)
    }
}
