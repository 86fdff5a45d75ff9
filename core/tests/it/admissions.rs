//! What stands before a handler: in order, each with the last word, and behind a fence (G3, G6, G10).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use callboard::{
    ActorRef, Admission, Admitted, Arrival, DropReason, Envelope, Failure, FailureKind, RequestKey,
    System, Threshold, Verdict,
};

use crate::common::{Do, Log, Note, Player, Worker};

struct Doorman(AtomicU64);

impl Admission<Note> for Arc<Doorman> {
    fn admit(&self, envelope: Envelope<Note>, _: &Threshold<'_, Note>) -> Admitted<Note> {
        self.0.fetch_add(1, Ordering::SeqCst);
        match envelope.message.0 {
            7 => {
                envelope.responder.send(777);
                Admitted::Taken
            }
            13 => Admitted::Refused(
                envelope,
                Failure::new(FailureKind::NotAuthorised, Verdict::NotExecuted),
            ),
            _ => Admitted::Pass(envelope),
        }
    }
}

#[callboard::test(both)]
async fn an_admission_passes_answers_or_refuses_before_the_handler(system: System) {
    let log = Log::default();
    let inner = log.clone();
    let doorman = Arc::new(Doorman(AtomicU64::new(0)));
    let worker = system
        .actor(move || Worker { log: inner })
        .admission::<Note>(Arc::clone(&doorman))
        .start();
    assert_eq!(worker.ask(Note(1)).await.unwrap(), 1);
    assert_eq!(worker.ask(Note(7)).await.unwrap(), 777);
    let error = worker.ask(Note(13)).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::NotAuthorised);
    assert_eq!(error.into_message(), Some(Note(13)));
    assert_eq!(log.lines(), ["note 1"]);
    assert_eq!(doorman.0.load(Ordering::SeqCst), 3);
}

fn refused(kind: FailureKind) -> Failure {
    Failure::new(kind, Verdict::MaybeExecuted)
}

/// Adds to the number, and logs that it did.
struct Plus(u64, Log);

impl Admission<Note> for Plus {
    fn admit(&self, mut envelope: Envelope<Note>, _: &Threshold<'_, Note>) -> Admitted<Note> {
        self.1.push(format!("plus {}", self.0));
        envelope.message.0 += self.0;
        Admitted::Pass(envelope)
    }
}

/// Refuses large numbers.
struct Small;

impl Admission<Note> for Small {
    fn admit(&self, envelope: Envelope<Note>, _: &Threshold<'_, Note>) -> Admitted<Note> {
        match envelope.message.0 {
            0..=10 => Admitted::Pass(envelope),
            _ => Admitted::Refused(envelope, refused(FailureKind::TooLarge)),
        }
    }
}

#[callboard::test(both)]
async fn admissions_of_a_type_stand_one_behind_the_other(system: System) {
    let log = Log::default();
    let inner = log.clone();
    let worker = system
        .actor(move || Worker { log: inner })
        .admission(Plus(1, log.clone()))
        .admission(Small)
        .admission(Plus(2, log.clone()))
        .start();
    assert_eq!(worker.ask(Note(1)).await.unwrap(), 4);
    // Refused as the second saw it, and the third never does.
    let error = worker.ask(Note(10)).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::TooLarge);
    assert_eq!(error.into_message(), Some(Note(11)));
    assert_eq!(log.lines(), ["plus 1", "plus 2", "note 4", "plus 1"]);
}

/// A player whose guard logs everything and refuses what has no key.
fn guarded(system: &System) -> (ActorRef<Player>, Log) {
    let log = Log::default();
    let (inner, seen) = (log.clone(), log.clone());
    let short = |name: &str| name.rsplit("::").next().unwrap_or(name).to_owned();
    let player = system
        .actor(move || Player { log: inner })
        .label("player")
        .guard(move |arrival: &Arrival<'_>| {
            let kind = if arrival.is_ask { "ask" } else { "tell" };
            let message = short(arrival.message_type);
            seen.push(format!("{kind} of {message} for {}", arrival.actor));
            Ok(())
        })
        .admission(Small)
        .guard(|arrival: &Arrival<'_>| match arrival.meta.key() {
            None if arrival.is_ask => Err(refused(FailureKind::NotAuthorised)),
            _ => Ok(()),
        })
        .start();
    (player, log)
}

#[callboard::test(both)]
async fn g06_guards_see_every_message_before_the_admissions_and_give_it_back(system: System) {
    let (player, log) = guarded(&system);
    let keyed = player.ask(Note(1)).key(RequestKey::new());
    assert_eq!(keyed.await.unwrap(), 1);
    // The verdict is the runtime's: it certainly did not run.
    let error = player.ask(Note(99)).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::NotAuthorised);
    assert_eq!(error.verdict(), Verdict::NotExecuted);
    assert_eq!(error.into_message(), Some(Note(99)));
    let error = player.try_tell(Note(99)).unwrap_err();
    assert_eq!(error.kind(), FailureKind::TooLarge);
    player
        .tell(Do::this(|player, _| player.log.push("done")))
        .await
        .unwrap();
    let end = player.ask(Do::this(|_, _| ())).key(RequestKey::new());
    end.await.unwrap();
    let expected = [
        "ask of Note for player",
        "note 1",
        "ask of Note for player",
        "tell of Note for player",
        "tell of Do for player",
        "done",
        "ask of Do for player",
    ];
    // Sender and actor log at their own pace.
    let mut lines = log.lines();
    lines.retain(|line| !line.starts_with("start"));
    lines.sort();
    let mut all = expected;
    all.sort_unstable();
    assert_eq!(lines, all);
}

/// Panics for odd numbers.
struct Brittle;

impl Admission<Note> for Brittle {
    fn admit(&self, envelope: Envelope<Note>, _: &Threshold<'_, Note>) -> Admitted<Note> {
        assert!(envelope.message.0.is_multiple_of(2), "odd");
        Admitted::Pass(envelope)
    }
}

#[callboard::test(both)]
async fn g10_an_admission_that_panics_harms_neither_sender_nor_receiver(system: System) {
    let log = Log::default();
    let inner = log.clone();
    let worker = system
        .actor(move || Worker { log: inner })
        .admission(Brittle)
        .start();
    let error = worker.ask(Note(1)).await.unwrap_err();
    assert_eq!(error.verdict(), Verdict::NotExecuted);
    worker.tell(Note(3)).await.unwrap();
    assert_eq!(worker.ask(Note(4)).await.unwrap(), 4);
    assert_eq!(system.counters().panics(), 2);
    assert_eq!(system.counters().drops(DropReason::AdmissionPanicked), 2);
    assert_eq!(log.lines(), ["note 4"]);
}
