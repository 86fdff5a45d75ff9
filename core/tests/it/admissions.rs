//! What stands before a handler: in order, each with the last word, and behind a fence (G3, G6, G10).

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callboard::{
    ActorRef, Admission, Admitted, Arrival, DropReason, Envelope, Failure, FailureKind, Onward,
    Overflow, RequestKey, System, Threshold, Verdict,
};
use futures::future::join;
use parking_lot::Mutex;

use crate::common::{Do, Hold, Log, Note, Player, Worker};

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

/// Holds everything until the test lets it go on.
#[derive(Clone, Default)]
struct Held(Arc<Mutex<Vec<HeldNote>>>);

type HeldNote = (Envelope<Note>, Onward<Note>);

impl Admission<Note> for Held {
    fn admit(&self, envelope: Envelope<Note>, at: &Threshold<'_, Note>) -> Admitted<Note> {
        assert_eq!(at.name().as_deref(), Some("keeper"));
        self.0.lock().push((envelope, at.later()));
        Admitted::Taken
    }
}

impl Held {
    /// The oldest that is held, once there is one.
    async fn next(&self, system: &System) -> (Envelope<Note>, Onward<Note>) {
        loop {
            if !self.0.lock().is_empty() {
                return self.0.lock().remove(0);
            }
            system.clock().sleep(Duration::from_millis(1)).await;
        }
    }
}

/// What a worker has logged, with what stands before it: plus 1, what holds, plus 2.
fn holding(system: &System, overflow: Overflow) -> (ActorRef<Worker>, Held, Log) {
    let (log, held) = (Log::default(), Held::default());
    let inner = log.clone();
    let worker = system
        .actor(move || Worker { log: inner })
        .label("keeper")
        .mailbox(1, overflow)
        .admission(Plus(1, log.clone()))
        .admission(held.clone())
        .admission(Plus(2, log.clone()))
        .start();
    (worker, held, log)
}

#[callboard::test(both)]
async fn g06_what_is_held_goes_on_behind_its_admission(system: System) {
    let (worker, held, log) = holding(&system, Overflow::Wait);
    let go_on = async {
        let (envelope, onward) = held.next(&system).await;
        onward.send(envelope).unwrap();
    };
    let (answer, ()) = join(worker.ask(Note(1)).into_future(), go_on).await;
    assert_eq!(answer.unwrap(), 4);
    assert_eq!(log.lines(), ["plus 1", "plus 2", "note 4"], "each once");
    // A tell is accepted when it is held.
    worker.tell(Note(10)).await.unwrap();
    let (envelope, onward) = held.next(&system).await;
    onward.send(envelope).unwrap();
    // Its asker gives up meanwhile: the handler never sees it.
    let withdrawn = worker.ask(Note(20)).deadline(Duration::ZERO).await;
    assert_eq!(withdrawn.unwrap_err().verdict(), Verdict::NotExecuted);
    let (envelope, onward) = held.next(&system).await;
    onward.send(envelope).unwrap();
    worker.drain();
    worker.wait().await;
    assert!(!log.lines().contains(&"note 23".to_owned()));
    assert!(log.lines().contains(&"note 13".to_owned()));
}

#[callboard::test]
async fn g11_what_is_held_keeps_no_actor_and_finds_none(system: System) {
    let (worker, held, log) = holding(&system, Overflow::Wait);
    let asked = worker.ask(Note(1)).into_future();
    let ended = async {
        let (envelope, onward) = held.next(&system).await;
        worker.stop();
        worker.wait().await;
        let refused = onward.send(envelope).unwrap_err();
        assert_eq!(refused.failure.kind(), FailureKind::Stopped);
        assert!(!refused.may_wait);
        let refused = onward.wait_for_room(refused.envelope).await.unwrap_err();
        assert_eq!(refused.failure.verdict(), Verdict::NotExecuted);
        refused.envelope.responder.fail(refused.failure);
        onward
    };
    let (asked, onward) = join(asked, ended).await;
    assert_eq!(asked.unwrap_err().kind(), FailureKind::Stopped);
    assert!(!log.lines().contains(&"note 4".to_owned()));
    let card = worker.downgrade();
    drop(worker);
    assert_eq!(card.upgrade(), None);
    // Also when nothing is left of the actor.
    let refused = onward.send(Envelope::tell(Note(1))).unwrap_err();
    assert_eq!(refused.failure.kind(), FailureKind::Stopped);
}

#[callboard::test]
async fn g09_what_is_held_waits_for_room_until_its_own_deadline(system: System) {
    let (worker, held, _log) = holding(&system, Overflow::Wait);
    let (hold, began, release) = Hold::new();
    worker.tell(hold).await.unwrap();
    began.await.unwrap();
    let ask = |number| {
        worker
            .ask(Note(number))
            .deadline(Duration::from_secs(1))
            .into_future()
    };
    let work = async {
        let (envelope, onward) = held.next(&system).await;
        onward.send(envelope).unwrap();
        let (envelope, onward) = held.next(&system).await;
        let refused = onward.send(envelope).unwrap_err();
        assert!(refused.may_wait, "the first has the room");
        let late = onward.wait_for_room(refused.envelope).await.unwrap_err();
        assert_eq!(late.failure.kind(), FailureKind::DeadlineExceeded);
        late.failure.verdict()
    };
    let (_, verdict) = join(join(ask(1), ask(2)), work).await;
    assert_eq!(verdict, Verdict::NotSent);
    drop(release);
}
