//! The seam of leases: the same handles over something else than an actor that grants.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use callboard::locks::{
    Grant, LeaseError, Leases, LockCounts, LockState, Lost, Mutex, RwLock, Stale, Token, Wish,
};
use callboard::{Failure, FailureKind, Responder, System, Verdict};
use futures::future::BoxFuture;
use parking_lot::Mutex as Lock;

use callboard::clock::Instant;

const SHORT: Duration = Duration::from_millis(5);

/// A row in a table that several processes look at: whoever wants a lease looks again and again whether it may
/// have it, and nobody tells a holder anything.
#[derive(Clone)]
pub struct Table {
    name: Arc<str>,
    system: System,
    units: u32,
    row: Arc<Lock<Row>>,
}

#[derive(Default)]
struct Row {
    newest: u64,
    held: Vec<(Token, u32, Instant)>,
    line: VecDeque<u64>,
    next: u64,
    closed: bool,
    counts: LockCounts,
}

impl Row {
    fn expire(&mut self, now: Instant) {
        let before = self.held.len();
        self.held.retain(|(_, _, ends)| now < *ends);
        self.counts.expiries += (before - self.held.len()) as u64;
    }
}

/// A place in line. What was granted to it and to nobody else is released with it.
struct Place {
    row: Weak<Lock<Row>>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(row) = self.row.upgrade() {
            row.lock().line.retain(|number| *number != self.number);
        }
    }
}

impl Table {
    pub fn new(system: &System, units: u32) -> Arc<Self> {
        Arc::new(Table {
            name: Arc::from("row 7"),
            system: system.clone(),
            units,
            row: Arc::default(),
        })
    }

    fn try_grant(&self, wish: &Wish, number: u64) -> Option<Grant> {
        let now = self.system.clock().now();
        let mut row = self.row.lock();
        row.expire(now);
        let held: u32 = row.held.iter().map(|(_, units, _)| units).sum();
        if row.line.front() != Some(&number) || held + wish.units > self.units {
            return None;
        }
        row.newest += 1;
        let grant = Grant {
            token: Token(row.newest),
            ends: now + wish.lease,
        };
        row.held.push((grant.token, wish.units, grant.ends));
        row.counts.grants += 1;
        Some(grant)
    }

    fn stale(&self, token: Token) -> Stale {
        let current = Token(self.row.lock().newest);
        Stale { token, current }
    }
}

impl Leases for Table {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn system(&self) -> &System {
        &self.system
    }

    fn units(&self) -> u32 {
        self.units
    }

    fn grant(&self, wish: Wish) -> BoxFuture<'static, Result<Grant, Failure>> {
        let table = self.clone();
        let mut row = self.row.lock();
        row.next += 1;
        let number = row.next;
        row.line.push_back(number);
        let place = Place {
            row: Arc::downgrade(&self.row),
            number,
        };
        drop(row);
        Box::pin(async move {
            let _place = place;
            let clock = table.system.clock();
            let due = wish.deadline.map(|span| clock.now() + span);
            loop {
                if table.row.lock().closed {
                    return Err(Failure::new(FailureKind::Stopped, Verdict::NotExecuted));
                }
                if let Some(grant) = table.try_grant(&wish, number) {
                    return Ok(grant);
                }
                if due.is_some_and(|due| due <= clock.now()) {
                    let kind = FailureKind::DeadlineExceeded;
                    return Err(Failure::new(kind, Verdict::NotExecuted));
                }
                clock.sleep(SHORT / 10).await;
            }
        })
    }

    fn renew(
        &self,
        token: Token,
        lease: Duration,
    ) -> BoxFuture<'static, Result<Instant, LeaseError>> {
        let table = self.clone();
        Box::pin(async move {
            let now = table.system.clock().now();
            let mut row = table.row.lock();
            row.expire(now);
            match row.held.iter_mut().find(|held| held.0 == token) {
                Some((_, _, ends)) => {
                    *ends = (*ends).max(now + lease);
                    Ok(*ends)
                }
                None => {
                    drop(row);
                    Err(table.stale(token).into())
                }
            }
        })
    }

    fn release(&self, token: Token, answer: Responder<Result<(), Stale>>) {
        let mut row = self.row.lock();
        row.expire(self.system.clock().now());
        let place = row.held.iter().position(|held| held.0 == token);
        let found = place.map(|place| row.held.remove(place)).is_some();
        row.counts.releases += u64::from(found);
        drop(row);
        answer.send(if found {
            Ok(())
        } else {
            Err(self.stale(token))
        });
    }

    fn state(&self) -> BoxFuture<'static, Result<LockState, Failure>> {
        let mut row = self.row.lock();
        row.expire(self.system.clock().now());
        let held: u32 = row.held.iter().map(|(_, units, _)| units).sum();
        let state = LockState {
            name: Arc::clone(&self.name),
            units: self.units,
            free: self.units - held,
            newest: Token(row.newest),
            held: Vec::new(),
            waiting: row.line.len(),
            waiting_since: None,
            counts: row.counts,
        };
        Box::pin(std::future::ready(Ok(state)))
    }

    fn close(&self) {
        self.row.lock().closed = true;
    }
}

#[callboard::test]
async fn g31_a_handle_is_the_same_over_leases_that_somebody_else_grants(system: System) {
    let table = Table::new(&system, 3);
    // Two processes, as it were: a mutex over three units takes all of them.
    let here = Mutex::over(table.clone());
    let there = Mutex::over(table.clone());
    let guard = here.acquire().await.unwrap();
    assert_eq!(
        (guard.token(), guard.units(), here.name()),
        (Token(1), 3, "row 7")
    );
    assert!(there.try_acquire().await.unwrap().is_none());
    let waits = there.acquire().deadline(SHORT).await.unwrap_err();
    assert_eq!(waits.kind(), FailureKind::DeadlineExceeded);
    guard.release().await.unwrap();

    // Nobody tells the holder: its own clock does, and the wish of another is served.
    let late = there.acquire().lease(SHORT).await.unwrap();
    let next = here.acquire().await.unwrap();
    assert_eq!((late.lost().await, next.token()), (Lost::Expired, Token(3)));
    let stale = late.renew(SHORT).await.unwrap_err();
    let expected = Stale {
        token: Token(2),
        current: Token(3),
    };
    assert_eq!(stale, LeaseError::Stale(expected));
    drop(next);
    // It is late also where the other has gone.
    assert_eq!(late.release().await, Err(LeaseError::Stale(expected)));

    let index = RwLock::over(table);
    let reader = index.read().await.unwrap();
    assert_eq!(index.state().await.unwrap().free, 2);
    assert!(index.try_write().await.unwrap().is_none());
    drop(reader);
    index.stop();
    let stopped = there.acquire().await.unwrap_err();
    assert_eq!(stopped.kind(), FailureKind::Stopped);
}
