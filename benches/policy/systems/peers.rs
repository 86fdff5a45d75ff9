//! What others put around a call, in the way their documentation shows, around whatever returns a future.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use recloser::{AsyncRecloser, Recloser};
use tower::retry::Policy as RetryRule;
use tower::retry::backoff::{
    Backoff, ExponentialBackoff, ExponentialBackoffMaker, MakeBackoff as _,
};
use tower::retry::budget::{Budget, TpsBudget};
use tower::util::rng::HasherRng;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use super::policies::DEADLINE;
use crate::clerk::Next;
use crate::meter::{Caller, Calls, Shape, compare};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Tower,
    /// And a bound on what is under way, past which calls are refused.
    TowerBounded,
    Backon,
    BackonTimeout,
}

impl Peer {
    pub(crate) const ALL: [Peer; 4] = [
        Peer::Tower,
        Peer::TowerBounded,
        Peer::Backon,
        Peer::BackonTimeout,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Peer::Tower => "tower: timeout, retry + budget",
            Peer::TowerBounded => "tower: + load shed, concurrency limit",
            Peer::Backon => "backon, recloser: retry, breaker",
            Peer::BackonTimeout => "backon, recloser: + tokio timeout",
        }
    }

    /// Compares calls through the peer with bare ones.
    pub(crate) async fn compare<F, Fut, E>(
        self,
        shape: Shape,
        base: &mut impl Caller,
        call: F,
    ) -> Vec<f64>
    where
        F: Fn(Next) -> Fut + Copy,
        Fut: Future<Output = Result<u64, E>>,
        E: Error + Send + Sync + 'static,
    {
        match self {
            Peer::Tower => {
                let service = ServiceBuilder::new()
                    .timeout(DEADLINE)
                    .retry(Rule::new())
                    .service(service_fn(call));
                compare(shape, base, &mut through(service)).await
            }
            Peer::TowerBounded => {
                let service = ServiceBuilder::new()
                    .load_shed()
                    .concurrency_limit(64)
                    .timeout(DEADLINE)
                    .retry(Rule::new())
                    .service(service_fn(call));
                compare(shape, base, &mut through(service)).await
            }
            Peer::Backon => {
                let breaker = breaker();
                let mut other = Calls(async || {
                    let attempt = || breaker.call(call(Next(1)));
                    check(attempt.retry(waits()).await);
                });
                compare(shape, base, &mut other).await
            }
            Peer::BackonTimeout => {
                let breaker = breaker();
                let mut other = Calls(async || {
                    let attempt = || breaker.call(call(Next(1)));
                    let answered = tokio::time::timeout(DEADLINE, attempt.retry(waits())).await;
                    check(answered.expect("nothing takes that long"));
                });
                compare(shape, base, &mut other).await
            }
        }
    }
}

fn check<E: std::fmt::Debug>(answered: Result<u64, E>) {
    assert_eq!(answered.expect("it is answered"), 2);
}

fn through<S>(mut service: S) -> impl Caller
where
    S: Service<Next, Response = u64, Error: std::fmt::Debug>,
{
    Calls(async move || {
        let ready = service.ready().await.expect("there is room");
        check(ready.call(Next(1)).await);
    })
}

/// The waits of Callboard's default.
const BASE: Duration = Duration::from_millis(50);
const CAP: Duration = Duration::from_secs(1);
/// Beside the first attempt.
const RETRIES: usize = 2;

/// Up to three attempts inside tower's budget: 20 % and 10 a second, over 10 s.
#[derive(Clone)]
struct Rule {
    left: usize,
    budget: Arc<TpsBudget>,
    backoff: ExponentialBackoff,
}

impl Rule {
    fn new() -> Self {
        let waits = ExponentialBackoffMaker::new(BASE, CAP, 1.0, HasherRng::default());
        Rule {
            left: RETRIES,
            budget: Arc::new(TpsBudget::new(Duration::from_secs(10), 10, 0.2)),
            backoff: waits.expect("they make sense").make_backoff(),
        }
    }
}

impl<E> RetryRule<Next, u64, E> for Rule {
    type Future = tokio::time::Sleep;

    fn retry(&mut self, _: &mut Next, ended: &mut Result<u64, E>) -> Option<Self::Future> {
        if ended.is_ok() {
            self.budget.deposit();
            return None;
        }
        if self.left == 0 || !self.budget.withdraw() {
            return None;
        }
        self.left -= 1;
        Some(self.backoff.next_backoff())
    }

    fn clone_request(&mut self, next: &Next) -> Option<Next> {
        Some(*next)
    }
}

fn waits() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(BASE)
        .with_max_delay(CAP)
        .with_max_times(RETRIES)
        .with_jitter()
}

/// Opens at half of the last hundred; recloser has no rule for failures in a row.
fn breaker() -> AsyncRecloser {
    AsyncRecloser::from(
        Recloser::custom()
            .error_rate(0.5)
            .closed_len(100)
            .half_open_len(1)
            .open_wait(Duration::from_secs(1))
            .build(),
    )
}
