//! Many asks that share one way back, each under its ticket: what the remote layer asks over.

use std::collections::BTreeMap;
use std::sync::Arc;

use callboard::{
    Actor, Context, DeferredHandler, Envelope, FailureKind, Handler, Message, Meta, Outcome,
    Overflow, Recipient, RequestKey, Responder, SharedSink, System, Verdict,
};
use futures::StreamExt;
use futures::channel::mpsc;
use parking_lot::Mutex;

use crate::common::{Boom, Hold, Log, Note, Placed, held_worker_with, worker};

type Ended = (u64, Outcome<u64>);

/// What became of the asks of one target.
struct Desk {
    asks: Mutex<BTreeMap<u64, Open>>,
    ended: mpsc::Sender<Ended>,
}

#[derive(Default)]
struct Open {
    reached: Vec<Verdict>,
    gone: bool,
    hook: Option<Box<dyn FnOnce() + Send>>,
    ends: u32,
}

impl Desk {
    fn new() -> (Arc<Self>, mpsc::Receiver<Ended>) {
        let (tx, rx) = mpsc::channel(128);
        let desk = Desk {
            asks: Mutex::default(),
            ended: tx,
        };
        (Arc::new(desk), rx)
    }

    fn responder(self: &Arc<Self>, ticket: u64) -> Responder<u64> {
        self.asks.lock().insert(ticket, Open::default());
        Responder::shared(Arc::clone(self) as Arc<dyn SharedSink<u64>>, ticket)
    }

    fn envelope<M: Message<Reply = u64>>(self: &Arc<Self>, ticket: u64, message: M) -> Envelope<M> {
        Envelope {
            message,
            meta: Meta::default(),
            responder: self.responder(ticket),
        }
    }

    fn ask<M: Message<Reply = u64>>(self: &Arc<Self>, to: &Recipient<M>, ticket: u64, message: M) {
        let sent = to.route().send(self.envelope(ticket, message));
        assert!(sent.is_ok());
    }

    fn reached(&self, ticket: u64) -> Vec<Verdict> {
        self.asks.lock()[&ticket].reached.clone()
    }

    /// The asker of that one gives up.
    fn leave(&self, ticket: u64) {
        let mut asks = self.asks.lock();
        let open = asks.get_mut(&ticket).unwrap();
        open.gone = true;
        let hook = open.hook.take();
        drop(asks);
        if let Some(hook) = hook {
            hook();
        }
    }

    fn all_ended_once(&self) {
        for (ticket, open) in &*self.asks.lock() {
            assert_eq!(open.ends, 1, "ticket {ticket}");
        }
    }
}

impl SharedSink<u64> for Desk {
    fn progress(&self, ticket: u64, verdict: Verdict) -> bool {
        let mut asks = self.asks.lock();
        let open = asks.get_mut(&ticket).unwrap();
        open.reached.push(verdict);
        !open.gone
    }

    fn finish(&self, ticket: u64, outcome: Outcome<u64>) {
        self.asks.lock().get_mut(&ticket).unwrap().ends += 1;
        let told = self.ended.clone().try_send((ticket, outcome));
        // Once the test is over its system ends, and with it what is still open.
        assert!(told.map_or_else(|error| error.is_disconnected(), |()| true));
    }

    fn on_withdraw(&self, ticket: u64, withdraw: Box<dyn FnOnce() + Send>) {
        let mut asks = self.asks.lock();
        let open = asks.get_mut(&ticket).unwrap();
        if !open.gone {
            open.hook = Some(withdraw);
            return;
        }
        drop(asks);
        withdraw();
    }
}

fn kind(ended: Option<Ended>) -> (u64, FailureKind, Verdict) {
    let (ticket, outcome) = ended.unwrap();
    let failure = outcome.unwrap_err();
    (ticket, failure.kind(), failure.verdict())
}

#[callboard::test(both)]
async fn g07_each_ticket_gets_its_own_answer(system: System) {
    let (worker, _) = worker(&system);
    let to = worker.recipient::<Note, _>();
    let (desk, mut ended) = Desk::new();
    for n in 0..100 {
        desk.ask(&to, n, Note(1_000 + n));
    }
    for n in 0..100 {
        assert_eq!(ended.next().await, Some((n, Ok(1_000 + n))));
        assert_eq!(desk.reached(n), [Verdict::Executed]);
    }
    desk.all_ended_once();
}

#[callboard::test(both)]
async fn g07_a_panic_ends_the_ticket_in_hand_and_the_stop_those_behind(system: System) {
    let (worker, _) = worker(&system);
    let (desk, mut ended) = Desk::new();
    let (hold, began, gate) = Hold::new();
    worker.tell(hold).await.unwrap();
    began.await.unwrap();
    desk.ask(&worker.recipient::<Boom, _>(), 1, Boom);
    desk.ask(&worker.recipient::<Note, _>(), 2, Note(2));
    gate.send(()).unwrap();
    let mut ends = [kind(ended.next().await), kind(ended.next().await)];
    ends.sort_by_key(|end| end.0);
    assert_eq!(
        ends,
        [
            (1, FailureKind::Panicked, Verdict::Executed),
            (2, FailureKind::Stopped, Verdict::NotExecuted),
        ]
    );
    desk.all_ended_once();
}

/// Keeps its responder for a later message.
#[derive(Default)]
struct Keeps(Option<Responder<u64>>);

impl Actor for Keeps {}

#[derive(Message)]
#[message(reply = u64)]
struct Later(u64);

impl DeferredHandler<Later> for Keeps {
    async fn handle_deferred(
        &mut self,
        Later(n): Later,
        responder: Responder<u64>,
        _: &mut Context<Self>,
    ) {
        if let Some(before) = self.0.replace(responder) {
            before.send(n);
        }
    }
}

#[callboard::test(both)]
async fn g07_a_deferred_ticket_is_answered_later_and_a_killed_one_is_told(system: System) {
    let keeps = system.actor(Keeps::default).start();
    let to = keeps.recipient::<Later, _>();
    let (desk, mut ended) = Desk::new();
    desk.ask(&to, 1, Later(1));
    desk.ask(&to, 2, Later(2));
    assert_eq!(ended.next().await, Some((1, Ok(2))));
    keeps.kill();
    keeps.wait().await;
    let (ticket, kind, verdict) = kind(ended.next().await);
    assert_eq!((ticket, verdict), (2, Verdict::Executed));
    assert!(
        matches!(kind, FailureKind::Killed | FailureKind::NoAnswer),
        "{kind:?}"
    );
    desk.all_ended_once();
}

#[callboard::test(both)]
async fn g09_a_ticket_that_was_withdrawn_is_not_begun(system: System) {
    let (worker, log, gate) = held_worker_with(&system, 8, Overflow::Wait).await;
    let to = worker.recipient::<Note, _>();
    let (desk, mut ended) = Desk::new();
    desk.ask(&to, 1, Note(1));
    desk.ask(&to, 2, Note(2));
    desk.leave(1);
    gate.send(()).unwrap();
    assert_eq!(kind(ended.next().await).0, 1);
    assert_eq!(ended.next().await, Some((2, Ok(2))));
    assert!(!log.lines().contains(&"note 1".to_owned()), "{log:?}");
    desk.all_ended_once();
}

#[callboard::test(both)]
async fn g06_a_full_mailbox_gives_the_ticket_back_unanswered(system: System) {
    let (worker, _, gate) = held_worker_with(&system, 1, Overflow::Fail).await;
    let to = worker.recipient::<Note, _>();
    let (desk, mut ended) = Desk::new();
    desk.ask(&to, 1, Note(1));
    let refused = to.route().send(desk.envelope(2, Note(2))).unwrap_err();
    assert_eq!(refused.failure.kind(), FailureKind::Full);
    assert!(ended.try_recv().is_err(), "nothing ended yet");
    refused.envelope.responder.fail(refused.failure);
    let (ticket, kind, verdict) = kind(ended.next().await);
    assert_eq!((ticket, kind), (2, FailureKind::Full));
    assert_eq!(verdict, Verdict::NotExecuted);
    gate.send(()).unwrap();
    assert_eq!(ended.next().await, Some((1, Ok(1))));
    desk.all_ended_once();
}

/// Says when it begins and when its asker gives up, and never answers.
struct Listens(Log, mpsc::Sender<()>);

impl Actor for Listens {}

impl DeferredHandler<Later> for Listens {
    async fn handle_deferred(
        &mut self,
        Later(n): Later,
        mut responder: Responder<u64>,
        ctx: &mut Context<Self>,
    ) {
        let (log, mut left) = (self.0.clone(), self.1.clone());
        responder.on_withdraw(move || {
            log.push(format!("{n} left"));
            left.try_send(()).unwrap();
        });
        self.1.try_send(()).unwrap();
        ctx.spawn(async move {
            let _kept = responder;
            std::future::pending::<()>().await;
        });
    }
}

#[callboard::test(both)]
async fn g09_the_handler_hears_that_the_asker_of_its_ticket_left(system: System) {
    let (tx, mut told) = mpsc::channel(128);
    let log = Log::default();
    let inner = log.clone();
    let listens = system.actor(move || Listens(inner, tx)).start();
    let to = listens.recipient::<Later, _>();
    let (desk, _ended) = Desk::new();
    desk.ask(&to, 1, Later(1));
    desk.ask(&to, 2, Later(2));
    told.next().await.unwrap();
    told.next().await.unwrap();
    desk.leave(2);
    told.next().await.unwrap();
    assert_eq!(log.lines(), ["2 left"]);
}

#[callboard::test(both)]
async fn g14_a_ticket_goes_on_through_the_actors_crash(system: System) {
    let crashes = Arc::new(Mutex::new(1));
    let make = move || Crashes(Arc::clone(&crashes));
    let (worker, place) = system.actor(make).replay::<Again>(2).place();
    let mut placed = Placed::of((worker.clone(), place), Log::default());
    placed.start().await;
    let (desk, mut ended) = Desk::new();
    let mut envelope = desk.envelope(7, Again(7));
    envelope.meta.set_key(RequestKey::new());
    let to = worker.recipient::<Again, _>();
    assert!(to.route().send(envelope).is_ok());
    let answer = placed.through_crashes(ended.next()).await;
    assert_eq!(answer, Some((7, Ok(7))));
    placed.close().await;
    desk.all_ended_once();
}

#[derive(Message, Clone)]
#[message(reply = u64)]
struct Again(u64);

/// Panics that often.
struct Crashes(Arc<Mutex<u32>>);

impl Actor for Crashes {}

impl Handler<Again> for Crashes {
    async fn handle(&mut self, Again(n): Again, _: &mut Context<Self>) -> u64 {
        let mut left = self.0.lock();
        if *left > 0 {
            *left -= 1;
            drop(left);
            panic!("as told");
        }
        n
    }
}

#[test]
fn g07_a_ticket_that_is_dropped_or_put_behind_another_way_ends_once() {
    let (desk, mut ended) = Desk::new();
    drop(desk.responder(1));
    let told = ended.try_recv().unwrap();
    assert_eq!(
        kind(Some(told)),
        (1, FailureKind::Stopped, Verdict::NotExecuted)
    );
    let sink = desk.responder(2).into_sink().unwrap();
    assert!(ended.try_recv().is_err());
    let mut behind = Responder::new(sink);
    assert!(behind.progress(Verdict::MaybeExecuted));
    behind.send(9);
    assert_eq!(ended.try_recv().unwrap(), (2, Ok(9)));
    assert_eq!(desk.reached(2), [Verdict::MaybeExecuted]);
    let mut begun = desk.responder(3);
    assert!(begun.expects_answer() && begun.progress(Verdict::Executed));
    drop(begun);
    let told = ended.try_recv().unwrap();
    assert_eq!(
        kind(Some(told)),
        (3, FailureKind::NoAnswer, Verdict::Executed)
    );
    desk.all_ended_once();
}
