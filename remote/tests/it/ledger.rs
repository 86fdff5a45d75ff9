//! Keyed asks whose executions are counted: what was promised, and what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use callboard::{
    Actor, Context, FailureKind, Handler, Message, Recipient, RequestKey, System, Verdict,
};
use callboard_remote::{Node, Peer};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::proxy::Dice;

/// To be done once.
#[derive(Debug, Clone, PartialEq, Message, Serialize, Deserialize)]
#[message(reply = u64, name = "proof.job")]
pub(crate) struct Job {
    pub(crate) client: u32,
    pub(crate) number: u32,
    pub(crate) load: String,
}

impl Job {
    /// The answer that belongs to it and to no other.
    fn stamp(&self) -> u64 {
        Dice::new(u64::from(self.client) << 32 | u64::from(self.number)).next()
    }

    fn key(&self) -> RequestKey {
        let bits = u128::from(self.client) << 64 | u128::from(self.number);
        RequestKey::from_uuid(uuid::Uuid::from_u128(bits))
    }
}

/// What was executed: how often each job, and in which order.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Books>>);

#[derive(Default)]
struct Books {
    runs: BTreeMap<u32, Client>,
    wrong_keys: u64,
}

#[derive(Default)]
struct Client {
    runs: Vec<u8>,
    last: Option<u32>,
    disorder: Vec<(u32, u32)>,
}

impl Ledger {
    fn enter(&self, job: &Job, key: Option<RequestKey>) {
        let mut books = self.0.lock();
        if key != Some(job.key()) {
            books.wrong_keys += 1;
        }
        let client = books.runs.entry(job.client).or_default();
        let index = usize::try_from(job.number).unwrap();
        if client.runs.len() <= index {
            client.runs.resize(index + 1, 0);
        }
        client.runs[index] = client.runs[index].saturating_add(1);
        if let Some(last) = client.last.filter(|last| *last >= job.number) {
            client.disorder.push((last, job.number));
        }
        client.last = Some(job.number);
    }

    /// How often that job ran.
    pub(crate) fn runs(&self, client: u32, number: u32) -> u8 {
        let books = self.0.lock();
        let index = usize::try_from(number).unwrap();
        let client = books.runs.get(&client);
        client
            .and_then(|client| client.runs.get(index))
            .copied()
            .unwrap_or(0)
    }

    /// Compares what was promised with what was done.
    pub(crate) fn check(&self, outcomes: &Outcomes) {
        let books = self.0.lock();
        assert_eq!(books.wrong_keys, 0);
        for (client, books) in &books.runs {
            assert_eq!(books.disorder, [], "client {client}: (before, after)");
        }
        drop(books);
        for (number, end) in (0..).zip(&outcomes.ends) {
            let runs = self.runs(outcomes.client, number);
            let may = match end {
                End::Done => 1..=1,
                End::Never => 0..=0,
                End::Maybe => 0..=1,
            };
            assert!(
                may.contains(&runs),
                "job {number} of client {} ended as {end:?} and ran {runs} times",
                outcomes.client
            );
        }
    }
}

struct Clerk(Ledger);

impl Actor for Clerk {}

impl Handler<Job> for Clerk {
    async fn handle(&mut self, job: Job, ctx: &mut Context<Self>) -> u64 {
        self.0.enter(&job, ctx.meta().key());
        job.stamp()
    }
}

/// Exposes a ledger as `ledger`.
pub(crate) fn expose_ledger(node: &Node, ledger: &Ledger) {
    let clerk = node.system().start(Clerk(ledger.clone()));
    node.expose::<Job>("ledger", &clerk.recipient()).unwrap();
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Answered: it ran once.
    Done,
    /// It never ran, says the verdict.
    Never,
    /// It ran once, or not at all.
    Maybe,
}

/// How the asks of one client ended.
#[derive(Debug, Clone)]
pub(crate) struct Outcomes {
    pub(crate) client: u32,
    pub(crate) ends: Vec<End>,
    /// Of those that weren't answered.
    pub(crate) failures: BTreeMap<&'static str, u64>,
    /// The most bytes that the peer was seen to hold.
    pub(crate) most_bytes: usize,
}

impl Outcomes {
    pub(crate) fn count(&self, end: End) -> usize {
        self.ends.iter().filter(|other| **other == end).count()
    }
}

/// What one client asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    pub(crate) client: u32,
    pub(crate) jobs: u32,
    pub(crate) in_flight: usize,
    /// One of so many is large; 0 for none.
    pub(crate) large: u64,
    /// One of so many is given up at once after it was asked; 0 for none.
    pub(crate) dropped: u64,
}

/// Asks for all of it, and hears how each ask ends.
pub(crate) async fn work(peer: &Peer, seed: u64, work: Work) -> Outcomes {
    let recipient: Recipient<Job> = peer.recipient("ledger").unwrap();
    let mut dice = Dice::new(seed ^ u64::from(work.client) << 40);
    let mut outcomes = Outcomes {
        client: work.client,
        ends: vec![End::Maybe; usize::try_from(work.jobs).unwrap()],
        failures: BTreeMap::new(),
        most_bytes: 0,
    };
    let mut asks = FuturesUnordered::new();
    let mut next = 0;
    while next < work.jobs || !asks.is_empty() {
        while next < work.jobs && asks.len() < work.in_flight {
            let job = job(&mut dice, work, next);
            let stamp = job.stamp();
            let key = job.key();
            let asked = recipient.ask(job).key(key).no_deadline();
            let mut ask: BoxFuture<'_, (u32, Result<u64, _>)> =
                Box::pin(async move { (next, asked.await.map(|reply| reply ^ stamp)) });
            // Polled once, so that they are sent in this order.
            match futures::poll!(&mut ask) {
                std::task::Poll::Ready(end) => note(&mut outcomes, end),
                std::task::Poll::Pending if work.dropped > 0 && dice.one_in(work.dropped) => {}
                std::task::Poll::Pending => asks.push(ask),
            }
            next += 1;
        }
        let state = peer.state();
        let bytes = state.outbox_bytes + state.unacknowledged + state.waiting_bytes;
        outcomes.most_bytes = outcomes.most_bytes.max(bytes);
        if let Some(end) = asks.next().await {
            note(&mut outcomes, end);
        }
    }
    outcomes
}

fn job(dice: &mut Dice, work: Work, number: u32) -> Job {
    let most = if work.large > 0 && dice.one_in(work.large) {
        400_000
    } else {
        30
    };
    Job {
        client: work.client,
        number,
        load: "x".repeat(dice.index(most)),
    }
}

fn note(outcomes: &mut Outcomes, end: (u32, Result<u64, callboard::SendError<Job>>)) {
    let (number, answer) = end;
    let index = usize::try_from(number).unwrap();
    outcomes.ends[index] = match answer {
        Ok(difference) => {
            assert_eq!(difference, 0, "job {number} has the answer of another");
            End::Done
        }
        Err(error) => {
            *outcomes.failures.entry(name(error.kind())).or_default() += 1;
            match error.verdict() {
                Verdict::NotSent | Verdict::NotExecuted => End::Never,
                Verdict::MaybeExecuted => End::Maybe,
                Verdict::Executed => End::Done,
            }
        }
    };
}

fn name(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::ConnectionLost => "lost",
        FailureKind::NoConnection => "no connection",
        FailureKind::Full => "full",
        FailureKind::Stopped => "stopped",
        _ => "other",
    }
}

/// The seed of this run, where nothing simulates one: `CALLBOARD_SEED`, or always the same.
pub(crate) fn seed_of(system: &System) -> u64 {
    let seed = callboard::testing::seed(system);
    seed.unwrap_or_else(|| {
        let text = std::env::var("CALLBOARD_SEED").unwrap_or_default();
        let seed = text.parse().unwrap_or(8);
        println!("the proxy's seed is {seed}: CALLBOARD_SEED={seed} repeats it");
        seed
    })
}
