//! What actors show of themselves: in the order of the mailbox, in time, and from the list of all.

use std::sync::Arc;
use std::time::Duration;

use callboard::testing::Outcome;
use callboard::{
    Context, DeadLetters, ExitReason, FailureKind, Handler, Message, Observable, Observation,
    Overflow, Placement, Simulation, Spawn, System, Verdict, codec,
};
use futures::StreamExt;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::common::{Boom, Hold, Log, Note, Worker};

impl Observable for Worker {
    type State = Seen;

    fn observe(&self) -> Seen {
        let lines = self.log.lines();
        assert!(!lines.contains(&"note 13".to_owned()), "unlucky");
        Seen {
            lines: lines.len(),
            last: lines.last().cloned(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    lines: usize,
    last: Option<String>,
}

fn seen(lines: usize, last: &str) -> Seen {
    Seen {
        lines,
        last: Some(last.to_owned()),
    }
}

const SOON: Duration = Duration::from_millis(20);
const LATE: Duration = Duration::from_secs(20);

fn make(system: &System) -> Spawn<impl FnOnce() -> Worker + Send + use<>> {
    system
        .actor(|| Worker {
            log: Log::default(),
        })
        .label("worker")
}

#[track_caller]
fn decoded(observation: &Observation) -> Seen {
    let state = observation.state.as_ref().unwrap();
    let state = codec::decode::<Seen>(state.encoded.as_ref().unwrap()).unwrap();
    // Both sides of it say the same.
    assert!(observation.state.as_ref().unwrap().text == format!("{state:#?}"));
    state
}

#[callboard::test(both)]
async fn g02_an_observation_sees_what_was_told_before_it(system: System) {
    let worker = make(&system).start();
    for n in 1..=12 {
        worker.tell(Note(n)).await.unwrap();
        let expected = seen(usize::try_from(n).unwrap(), &format!("note {n}"));
        assert_eq!(worker.observe().await.unwrap(), expected);
    }
}

#[callboard::test(both)]
async fn g09_an_observation_has_a_deadline_and_leaves_nothing_behind(system: System) {
    let worker = make(&system).start();
    let (hold, began, gate) = Hold::new();
    worker.tell(hold).await.unwrap();
    began.await.unwrap();
    let error = worker.observe().deadline(SOON).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::DeadlineExceeded, Verdict::NotExecuted)
    );
    drop(gate);
    assert_eq!(worker.observe().await.unwrap(), seen(2, "hold ends"));
    worker.stop();
    worker.wait().await;
    let error = worker.observe().await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Stopped);
}

#[callboard::test(both)]
async fn all_observable_actors_are_listed_with_their_state(system: System) {
    let hidden = make(&system).start();
    let first = make(&system).label("first").observable().start();
    let second = make(&system)
        .placement(Placement::Pinned(1))
        .observable()
        .start();
    second.tell(Note(7)).await.unwrap();
    let all = system.observe(LATE).await;
    let ids: Vec<_> = all.iter().map(|one| one.actor.id).collect();
    assert_eq!(ids, [first.id(), second.id()]);
    assert!(all.iter().all(|one| one.is_fresh));
    assert_eq!(all[0].actor.label, "first");
    assert_eq!(decoded(&all[1]), seen(1, "note 7"));
    assert!(system.observe_actor(hidden.id(), LATE).await.is_none());
    // Who has ended is off the list, before its watchers are told.
    first.stop();
    first.wait().await;
    let all = system.observe(LATE).await;
    assert_eq!(all.len(), 1);
    assert!(system.observe_actor(first.id(), LATE).await.is_none());
}

#[callboard::test(both)]
async fn g03_a_busy_actor_shows_its_last_known_state_and_one_question_waits(system: System) {
    let worker = make(&system)
        .mailbox(4, Overflow::Wait)
        .observable()
        .start();
    let (hold, began, gate) = Hold::new();
    worker.tell(hold).await.unwrap();
    began.await.unwrap();
    let busy = system.observe_actor(worker.id(), SOON).await.unwrap();
    assert!(!busy.is_fresh && busy.state.is_none(), "{busy:?}");
    for _ in 0..10 {
        let all = system.observe(SOON).await;
        assert!(!all[0].is_fresh);
        assert_eq!(all[0].actor.mailbox.len, 1);
    }
    drop(gate);
    // Two who ask at once are answered by one question, or by one each: both see it.
    let (one, other) = futures::join!(system.observe(LATE), system.observe(LATE));
    for observation in [&one[0], &other[0]] {
        assert!(observation.is_fresh);
        assert_eq!(decoded(observation), seen(2, "hold ends"));
    }
    assert_eq!(worker.mailbox().len, 0);

    let (hold, began, gate) = Hold::new();
    worker.tell(hold).await.unwrap();
    began.await.unwrap();
    for n in 0..4 {
        worker.try_tell(Note(n)).unwrap();
    }
    // Also with a mailbox that is full; the time is that of the state, not of the question.
    let before = one[0].state.as_ref().unwrap().at;
    let busy = system.observe_actor(worker.id(), SOON).await.unwrap();
    assert!(!busy.is_fresh);
    assert_eq!(busy.state.as_ref().unwrap().at, before);
    assert_eq!(decoded(&busy), seen(2, "hold ends"));
    drop(gate);
    let fresh = system.observe_actor(worker.id(), LATE).await.unwrap();
    assert!(fresh.is_fresh);
    assert_eq!(decoded(&fresh).lines, 8);
    assert_eq!(drops(system.dead_letters()), 0);
}

fn drops(letters: &DeadLetters) -> u64 {
    letters.counts().total()
}

#[callboard::test(both)]
async fn g11_an_actor_that_ends_while_it_is_observed_is_no_error(system: System) {
    for kill in [true, false] {
        let worker = make(&system).observable().start();
        let (hold, began, gate) = Hold::new();
        worker.tell(hold).await.unwrap();
        began.await.unwrap();
        let end = async {
            if kill {
                worker.kill();
            } else {
                worker.stop();
                drop(gate);
            }
            worker.wait().await;
        };
        let (all, ()) = futures::join!(system.observe(LATE), end);
        assert!(all.is_empty(), "{all:?}");
    }
}

#[callboard::test(both)]
async fn g10_a_state_that_panics_ends_its_actor_and_no_observer(system: System) {
    let worker = make(&system).observable().start();
    let other = make(&system).label("other").observable().start();
    worker.tell(Note(13)).await.unwrap();
    let all = system.observe(LATE).await;
    let labels: Vec<_> = all.iter().map(|one| one.actor.label.as_str()).collect();
    assert_eq!(labels, ["other"]);
    assert_eq!(worker.wait().await, ExitReason::Failed("unlucky".into()));
    assert!(other.is_alive());
    assert_eq!(system.counters().panics(), 1);
}

/// Asks for all observations from inside a handler.
#[derive(Message)]
#[message(reply = Vec<bool>)]
struct LookAround;

impl Handler<LookAround> for Worker {
    async fn handle(&mut self, _: LookAround, ctx: &mut Context<Self>) -> Vec<bool> {
        let all = ctx.system().observe(SOON).await;
        all.iter().map(|one| one.is_fresh).collect()
    }
}

#[callboard::test(both)]
async fn an_actor_that_observes_itself_waits_no_longer_than_it_said(system: System) {
    let first = make(&system).observable().start();
    let _second = make(&system).observable().near(&first).start();
    assert_eq!(first.ask(LookAround).await.unwrap(), [false, true]);
}

#[callboard::test(both)]
async fn g13_a_supervised_actor_stays_on_the_list_over_its_restarts(system: System) {
    let (events, mut next) = futures::channel::mpsc::channel(8);
    let (worker, place) = system
        .actor(|| Worker {
            log: Log::default(),
        })
        .observable()
        .place();
    let start = || {
        let events = events.clone();
        place.start(callboard::Terms::new(Arc::new(move |_, event| {
            events.clone().try_send(event).unwrap();
        })));
    };
    // Before its first start it is listed, and has nothing to show.
    let all = system.observe(SOON).await;
    assert!(!all[0].is_fresh && all[0].state.is_none());
    start();
    worker.ask(Note(1)).await.unwrap();
    assert_eq!(decoded(&system.observe(LATE).await[0]).lines, 1);
    worker.ask(Boom).await.unwrap_err();
    while !matches!(next.next().await, Some(callboard::ChildEvent::Ended(_))) {}
    let between = system.observe(SOON).await;
    assert!(!between[0].is_fresh);
    assert_eq!(decoded(&between[0]).lines, 1);
    start();
    let after = system.observe(LATE).await;
    assert!(after[0].is_fresh);
    assert_eq!(decoded(&after[0]).lines, 0);
    assert_eq!(after[0].actor.incarnation.0, 2);
    place.kill();
    while !matches!(next.next().await, Some(callboard::ChildEvent::Ended(_))) {}
    place.close(ExitReason::Stopped);
    assert!(system.observe(LATE).await.is_empty());
}

proptest! {
    /// Against a model, under any order of tells, holds and looks: a state is fresh if the actor is free, and
    /// then has all that was told before its question; nothing that is shown ever goes back.
    #[test]
    fn g02_observations_never_go_back(seed in any::<u64>(), steps in proptest::collection::vec(0..4_u8, 0..40)) {
        let mut simulation = Simulation::new(seed);
        let system = simulation.system().clone();
        simulation.block_on(async move {
            let worker = make(&system).observable().start();
            let mut gate = None;
            let (mut told, mut last, mut at) = (0_usize, 0, None);
            // What was told before the question that waits.
            let mut asked = None;
            for step in steps {
                match step {
                    0 => {
                        worker.tell(Note(1)).await.unwrap();
                        told += 1;
                    }
                    1 if gate.is_none() => {
                        let (hold, began, open) = Hold::new();
                        worker.tell(hold).await.unwrap();
                        began.await.unwrap();
                        told += 1;
                        gate = Some(open);
                    }
                    2 => told += usize::from(gate.take().is_some()),
                    _ => {
                        let one = system.observe_actor(worker.id(), SOON).await.unwrap();
                        assert_eq!(one.is_fresh, gate.is_none());
                        let asked_at = *asked.get_or_insert(told);
                        if one.is_fresh {
                            asked = None;
                        }
                        let Some(state) = &one.state else { continue };
                        let lines = decoded(&one).lines;
                        assert!(lines >= last && lines <= told && Some(state.at) >= at);
                        assert!(!one.is_fresh || lines >= asked_at);
                        (last, at) = (lines, Some(state.at));
                    }
                }
            }
            Ok::<(), ()>(()).check();
        });
    }
}
