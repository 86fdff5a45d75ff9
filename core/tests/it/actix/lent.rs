//! References of Callboard in the hands of actix code.

use std::time::Duration;

use callboard::actix::{Checked, to_actix, to_actix_checked};
use callboard::{
    Actor, ActorRef, Context, DropReason, FailureKind, Handler, Message, Overflow, Recipient,
    Simulation, StartError, System, Verdict,
};
use futures::channel::oneshot;

use super::Note;
use crate::common::Log;

/// Makes the reader panic.
const UNLUCKY: u64 = 1_313;

/// An actor of Callboard.
struct Reader(Log);

impl Actor for Reader {}

impl Handler<Note> for Reader {
    async fn handle(&mut self, Note(n): Note, _: &mut Context<Self>) -> u64 {
        assert_ne!(n, UNLUCKY);
        self.0.push(format!("note {n}"));
        n
    }
}

#[derive(Message)]
struct Hold(oneshot::Sender<()>, oneshot::Receiver<()>);

impl Handler<Hold> for Reader {
    async fn handle(&mut self, Hold(began, gate): Hold, _: &mut Context<Self>) {
        began.send(()).unwrap();
        let _ = gate.await;
    }
}

fn reader(system: &System, capacity: usize) -> (ActorRef<Reader>, Log) {
    let log = Log::default();
    let inner = log.clone();
    let spawn = system.actor(move || Reader(inner));
    (spawn.mailbox(capacity, Overflow::Wait).start(), log)
}

/// Keeps the reader busy until the gate opens.
async fn hold(reader: &ActorRef<Reader>) -> oneshot::Sender<()> {
    let (began_tx, began) = oneshot::channel();
    let (open, gate) = oneshot::channel();
    reader.tell(Hold(began_tx, gate)).await.unwrap();
    began.await.unwrap();
    open
}

#[callboard::test(arbiters)]
async fn g02_a_lent_recipient_passes_on_in_order_and_answers(system: System) {
    for _ in 0..2 {
        let (reader, log) = reader(&system, 4);
        let lent = to_actix(&reader.recipient()).unwrap();
        for n in 1..=100 {
            lent.do_send(Note(n));
        }
        assert_eq!(lent.send(Note(101)).await, Ok(101));
        let notes: Vec<String> = (1..=101).map(|n| format!("note {n}")).collect();
        assert_eq!(log.lines(), notes);
    }
}

#[callboard::test(arbiters)]
async fn g03_a_full_receiver_is_felt_by_the_lent_recipient_and_nothing_is_lost(system: System) {
    let (reader, log) = reader(&system, 1);
    let lent = to_actix(&reader.recipient()).unwrap();
    let open = hold(&reader).await;
    let mut sent = 0;
    let refused = loop {
        match lent.try_send(Note(sent + 1)) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        // What can go on goes on; soon nothing can.
        tokio::task::yield_now().await;
        assert!(sent < 100, "no end of room");
    };
    let actix::dev::SendError::Full(message) = refused else {
        panic!("closed");
    };
    assert_eq!(message, Note(sent + 1));
    open.send(()).unwrap();
    assert_eq!(lent.send(Note(1_000)).await, Ok(1_000));
    let mut notes: Vec<String> = (1..=sent).map(|n| format!("note {n}")).collect();
    notes.push("note 1000".into());
    assert_eq!(log.lines(), notes);
}

#[callboard::test(arbiters)]
async fn g06_what_cannot_be_delivered_is_a_dead_letter_and_its_asker_is_told(system: System) {
    let (reader, _) = reader(&system, 4);
    let lent = to_actix(&reader.recipient()).unwrap();
    reader.stop();
    reader.wait().await;
    assert_eq!(lent.send(Note(1)).await, Err(actix::MailboxError::Closed));
    lent.do_send(Note(2));
    while system.dead_letters().len() < 2 {
        tokio::task::yield_now().await;
    }
    let letters = system.dead_letters().take();
    let notes: Vec<_> = letters
        .iter()
        .map(|letter| (letter.reason, letter.message.downcast_ref::<Note>()))
        .collect();
    let stopped = DropReason::Stopped;
    let expected = [(stopped, Some(&Note(1))), (stopped, Some(&Note(2)))];
    assert_eq!(notes, expected);
}

#[callboard::test(arbiters)]
async fn g07_a_checked_recipient_tells_the_verdict_and_gives_the_message_back(system: System) {
    let (reader, _) = reader(&system, 4);
    let recipient: Recipient<Note> = reader.recipient();
    let plain = to_actix(&recipient).unwrap();
    let checked = to_actix_checked(&recipient).unwrap();
    let open = hold(&reader).await;
    let waits = checked.send(Checked(Note(2)));
    open.send(()).unwrap();
    assert_eq!(waits.await.unwrap().unwrap(), 2);
    // Of two askers of a panic, one gets all that is known.
    let panicked = checked
        .send(Checked(Note(UNLUCKY)))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(panicked.kind(), FailureKind::Panicked);
    assert_eq!(panicked.verdict(), Verdict::Executed);
    reader.wait().await;
    let stopped = checked.send(Checked(Note(3))).await.unwrap().unwrap_err();
    assert_eq!(stopped.verdict(), Verdict::NotExecuted);
    assert_eq!(stopped.into_message(), Some(Note(3)));
    assert!(system.dead_letters().is_empty());
    assert_eq!(plain.send(Note(4)).await, Err(actix::MailboxError::Closed));
}

#[callboard::test(arbiters)]
async fn g09_a_request_that_is_dropped_is_withdrawn(system: System) {
    let (reader, log) = reader(&system, 4);
    let lent = to_actix(&reader.recipient()).unwrap();
    let open = hold(&reader).await;
    let timeout = Duration::from_millis(5);
    assert_eq!(
        lent.send(Note(1)).timeout(timeout).await,
        Err(actix::MailboxError::Timeout)
    );
    // The forwarder has seen that the asker is gone once it has passed the next one on.
    let next = lent.send(Note(2));
    while system.counters().drops(DropReason::Withdrawn) == 0 && reader.mailbox().len < 2 {
        tokio::task::yield_now().await;
    }
    open.send(()).unwrap();
    assert_eq!(next.await, Ok(2));
    assert_eq!(log.lines(), ["note 2"]);
}

/// Speaks actix only, and was handed something that is none.
struct Caller(actix::Recipient<Note>);

impl actix::Actor for Caller {
    type Context = actix::Context<Self>;
}

#[derive(actix::Message)]
#[rtype(result = "Result<u64, actix::MailboxError>")]
struct Call(u64);

impl actix::Handler<Call> for Caller {
    type Result = actix::ResponseFuture<Result<u64, actix::MailboxError>>;

    fn handle(&mut self, Call(n): Call, _: &mut Self::Context) -> Self::Result {
        Box::pin(self.0.send(Note(n)))
    }
}

#[callboard::test(arbiters)]
async fn an_actix_actor_calls_a_callboard_actor_and_knows_no_difference(system: System) {
    let (reader, log) = reader(&system, 4);
    let caller = actix::Actor::start(Caller(to_actix(&reader.recipient()).unwrap()));
    assert_eq!(caller.send(Call(5)).await, Ok(Ok(5)));
    assert_eq!(log.lines(), ["note 5"]);
}

#[test]
fn a_recipient_can_be_lent_to_a_program_on_actix_only() {
    // The other way round: actix is there first, Callboard has threads of its own.
    let system = System::with_arbiters(2).unwrap();
    let (reader, _) = reader(&system, 4);
    let lent = to_actix(&reader.recipient()).unwrap();
    let answer = actix::System::new().block_on(async move {
        let caller = actix::Actor::start(Caller(lent));
        caller.send(Call(6)).await
    });
    assert_eq!(answer, Ok(Ok(6)));
    system.shutdown_blocking().unwrap();
    let refused = to_actix(&reader.recipient::<Note, _>());
    assert_eq!(refused.unwrap_err(), StartError::ShutDown);
}

#[test]
fn g38_nothing_is_lent_on_the_simulating_executor() {
    let mut simulation = Simulation::new(1);
    let system = simulation.system().clone();
    simulation.block_on(async {
        let (reader, _) = reader(&system, 4);
        let refused = to_actix(&reader.recipient::<Note, _>());
        assert_eq!(refused.unwrap_err(), StartError::NoActix);
    });
}
