//! Groups: who is a member, broadcasts, turns, scatter and gather.

use std::time::Duration;

use callboard::{
    Actor, ActorId, ActorRef, Boundary, Context, DropReason, FailureKind, Group, Handler, Message,
    Overflow, Pool, Recipient, Responder, System, TooFew, Verdict, Watch,
};
use futures::channel::oneshot;
use proptest::prelude::*;

use crate::common::{Log, Note, Worker, held_worker, held_worker_with, worker};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn notes(worker: &ActorRef<Worker>) -> Recipient<Note> {
    worker.recipient()
}

/// Logs and workers, all members of a group.
fn group_of(system: &System, count: usize) -> (Group<Note>, Vec<(ActorRef<Worker>, Log)>) {
    let group = Group::new(system, "notes");
    let workers: Vec<_> = (0..count).map(|_| worker(system)).collect();
    for (worker, _) in &workers {
        assert!(group.join(&notes(worker)));
    }
    (group, workers)
}

fn ids(group: &Group<Note>) -> Vec<ActorId> {
    group.members().iter().map(Recipient::id).collect()
}

#[callboard::test(both)]
async fn members_join_leave_and_go_when_they_end(system: System) {
    let (group, workers) = group_of(&system, 3);
    let all: Vec<_> = workers.iter().map(|(worker, _)| worker.id()).collect();
    assert_eq!(ids(&group), all);
    assert!(!group.join(&notes(&workers[0].0)), "nobody is one twice");
    assert!(group.leave(all[1]));
    assert!(!group.leave(all[1]));
    assert_eq!(ids(&group), [all[0], all[2]]);
    // Over and over.
    for _ in 0..50 {
        assert!(group.join(&notes(&workers[1].0)));
        assert!(group.leave(all[1]));
    }
    assert!(group.join(&notes(&workers[1].0)));
    assert_eq!(ids(&group), [all[0], all[2], all[1]]);
    workers[2].0.stop();
    workers[2].0.wait().await;
    while group.len() > 2 {
        system.clock().sleep(MS).await;
    }
    assert_eq!(ids(&group), [all[0], all[1]]);
    // Who has ended is no member for longer than the call.
    group.join(&notes(&workers[2].0));
    assert_eq!(group.len(), 2);
    assert_eq!(format!("{group:?}").matches("Recipient").count(), 2);
}

#[callboard::test(both)]
async fn a_broadcast_waits_for_nobody_and_says_who_did_not_get_it(system: System) {
    let (group, workers) = group_of(&system, 2);
    let (full, _, gate) = held_worker(&system, 1).await;
    full.try_tell(Note(0)).unwrap();
    let (dropping, _, _gate) = held_worker_with(&system, 1, Overflow::DropNewest).await;
    dropping.try_tell(Note(0)).unwrap();
    group.join(&notes(&full));
    group.join(&notes(&dropping));
    let sent = group.broadcast(Note(7));
    // The one that drops by its own policy was told.
    assert_eq!((sent.told, sent.is_complete()), (3, false));
    let (id, error) = sent.failed.into_iter().next().unwrap();
    assert_eq!((id, error.kind()), (full.id(), FailureKind::Full));
    assert_eq!(error.into_message(), Some(Note(7)));
    assert_eq!(system.counters().drops(DropReason::DropNewest), 1);
    for (worker, log) in &workers {
        worker.ask(Note(8)).await.unwrap();
        assert_eq!(log.lines(), ["note 7", "note 8"]);
    }
    gate.send(()).unwrap();
    let nobody: Group<Note> = Group::new(&system, "nobody");
    assert!(nobody.broadcast(Note(1)).is_complete());
}

#[callboard::test(both)]
async fn telling_all_waits_for_room_at_each_by_itself(system: System) {
    let (group, workers) = group_of(&system, 1);
    let (slow, slow_log, gate) = held_worker(&system, 1).await;
    slow.try_tell(Note(0)).unwrap();
    let (stuck, _, _stuck_gate) = held_worker(&system, 1).await;
    stuck.try_tell(Note(0)).unwrap();
    group.join(&notes(&slow));
    group.join(&notes(&stuck));
    let mut telling = Box::pin(group.tell_all(Note(7), 50 * MS));
    assert!(futures::poll!(&mut telling).is_pending());
    // The first has it, though the others are full.
    workers[0].0.ask(Note(8)).await.unwrap();
    assert_eq!(workers[0].1.lines(), ["note 7", "note 8"]);
    gate.send(()).unwrap();
    let sent = telling.await;
    assert_eq!(sent.told, 2);
    let (id, error) = sent.failed.into_iter().next().unwrap();
    assert_eq!(
        (id, error.kind()),
        (stuck.id(), FailureKind::DeadlineExceeded)
    );
    assert_eq!(error.into_message(), Some(Note(7)));
    slow.ask(Note(9)).await.unwrap();
    assert!(slow_log.lines().contains(&"note 7".to_owned()));
}

#[callboard::test(both)]
async fn the_next_member_takes_it_and_others_when_it_cannot(system: System) {
    let (group, workers) = group_of(&system, 3);
    let next = group.next();
    for id in 0..6 {
        next.ask(Note(id)).await.unwrap();
    }
    for (at, (_, log)) in workers.iter().enumerate() {
        assert_eq!(
            log.lines(),
            [format!("note {at}"), format!("note {}", at + 3)]
        );
    }
    // Full and ended members are skipped.
    let (full, _, _gate) = held_worker(&system, 1).await;
    full.try_tell(Note(0)).unwrap();
    group.join(&notes(&full));
    workers[0].0.kill();
    workers[0].0.wait().await;
    for id in 10..30 {
        next.try_tell(Note(id)).unwrap();
        next.ask(Note(id)).await.unwrap();
    }
    for (worker, _) in &workers[1..] {
        worker.stop();
        worker.wait().await;
    }
    // Nobody takes it: it comes back, and says whether waiting might help.
    let error = next.try_tell(Note(99)).unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::Full, Verdict::NotExecuted)
    );
    assert!(error.to_string().ends_with("members of notes"));
    assert_eq!(error.into_message(), Some(Note(99)));
    let error = next.ask(Note(99)).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Full);
    full.kill();
    full.wait().await;
    let error = next.tell(Note(99)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.into_message()),
        (FailureKind::Stopped, Some(Note(99)))
    );
}

#[callboard::test(both)]
async fn a_closed_group_has_no_members_and_tells_who_watches(system: System) {
    for by_drop in [false, true] {
        let (group, workers) = group_of(&system, 1);
        let next = group.next();
        assert_eq!((&*next.label(), &*group.label()), ("notes", "notes"));
        assert!(next.boundary() <= Boundary::SameProcess);
        let (tx, rx) = oneshot::channel();
        next.watch(Box::new(move |notice| {
            let _ = tx.send(notice.label);
        }));
        let closed = (!by_drop).then(|| group.clone());
        if let Some(closed) = &closed {
            closed.close();
            assert!(!closed.join(&notes(&workers[0].0)));
            assert_eq!(
                next.ask(Note(1)).await.unwrap_err().kind(),
                FailureKind::Stopped
            );
        }
        drop(group);
        drop(next);
        assert_eq!(rx.await.unwrap(), "notes");
        assert!(workers[0].0.is_alive());
    }
}

/// Answers when it is told to, or fails.
struct Oracle(Vec<Responder<u64>>);
impl Actor for Oracle {}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(reply = u64)]
struct Question;

impl callboard::DeferredHandler<Question> for Oracle {
    async fn handle_deferred(
        &mut self,
        _: Question,
        responder: Responder<u64>,
        _: &mut Context<Self>,
    ) {
        self.0.push(responder);
    }
}

/// Answers all that were asked so far.
#[derive(Message)]
#[message(reply = usize)]
struct Speak(u64);

impl Handler<Speak> for Oracle {
    async fn handle(&mut self, Speak(answer): Speak, _: &mut Context<Self>) -> usize {
        let answered = self.0.len();
        self.0
            .drain(..)
            .for_each(|responder| responder.send(answer));
        answered
    }
}

fn oracles(system: &System, count: usize) -> (Group<Question>, Vec<ActorRef<Oracle>>) {
    let group = Group::new(system, "oracles");
    let oracles: Vec<_> = (0..count)
        .map(|_| system.start(Oracle(Vec::new())))
        .collect();
    for oracle in &oracles {
        group.join(&oracle.recipient());
    }
    (group, oracles)
}

#[callboard::test(both)]
async fn all_answers_and_failures_are_gathered(system: System) {
    let (group, oracles) = oracles(&system, 4);
    let mut asking = Box::pin(group.ask_all(Question, 50 * MS));
    assert!(futures::poll!(&mut asking).is_pending());
    while oracles[0].ask(Speak(10)).await.unwrap() == 0 {}
    while oracles[1].ask(Speak(11)).await.unwrap() == 0 {}
    // A member dies while it is asked; another never answers.
    oracles[2].kill();
    let gathered = asking.await;
    let answered: Vec<_> = gathered.answers.clone();
    assert_eq!(answered, [(oracles[0].id(), 10), (oracles[1].id(), 11)]);
    assert_eq!(gathered.replies().sum::<u64>(), 21);
    let failed: Vec<_> = gathered
        .failures
        .iter()
        .map(|(id, e)| (*id, e.kind()))
        .collect();
    assert_eq!(failed.len(), 2);
    assert_eq!(failed[0].0, oracles[2].id());
    assert_eq!(failed[1], (oracles[3].id(), FailureKind::DeadlineExceeded));
    assert_eq!(gathered.withdrawn, []);
    assert!(!gathered.is_complete());
    let nobody: Group<Question> = Group::new(&system, "nobody");
    assert!(nobody.ask_all(Question, SECOND).await.is_complete());
}

#[callboard::test(both)]
async fn g09_the_first_answer_counts_and_the_others_are_withdrawn(system: System) {
    let (group, oracles) = oracles(&system, 2);
    // A third member has the question in its mailbox still: it will never begin there.
    let slow = system.start(Oracle(Vec::new()));
    let (tx, rx) = oneshot::channel();
    slow.tell(Pause(rx)).await.unwrap();
    group.join(&slow.recipient());
    let mut asking = Box::pin(group.ask_first(Question, SECOND));
    assert!(futures::poll!(&mut asking).is_pending());
    while oracles[1].ask(Speak(7)).await.unwrap() == 0 {}
    assert_eq!(asking.await.unwrap(), (oracles[1].id(), 7));
    tx.send(()).unwrap();
    assert_eq!(slow.ask(Speak(8)).await.unwrap(), 0, "it never began");
    assert_eq!(system.counters().drops(DropReason::Withdrawn), 1);
    // One whose handler had begun answers nobody, and that is counted (G8).
    assert_eq!(oracles[0].ask(Speak(9)).await.unwrap(), 1);
    assert_eq!(system.counters().drops(DropReason::LateReply), 1);
}

/// Keeps the oracle busy.
#[derive(Message)]
struct Pause(oneshot::Receiver<()>);

impl Handler<Pause> for Oracle {
    async fn handle(&mut self, Pause(gate): Pause, _: &mut Context<Self>) {
        let _ = gate.await;
    }
}

#[callboard::test(both)]
async fn a_quorum_ends_as_soon_as_it_is_reached_or_lost(system: System) {
    let (group, oracles) = oracles(&system, 3);
    let mut asking = Box::pin(group.ask_quorum(2, Question, SECOND));
    assert!(futures::poll!(&mut asking).is_pending());
    while oracles[2].ask(Speak(1)).await.unwrap() == 0 {}
    while oracles[0].ask(Speak(1)).await.unwrap() == 0 {}
    let gathered = asking.await.unwrap();
    let answered: Vec<_> = gathered.answers.iter().map(|(id, _)| *id).collect();
    assert_eq!(answered, [oracles[2].id(), oracles[0].id()]);
    assert_eq!(gathered.withdrawn, [oracles[1].id()]);
    // One answer, and two that fail: lost, at once.
    let mut asking = Box::pin(group.ask_quorum(2, Question, Duration::from_secs(3_600)));
    assert!(futures::poll!(&mut asking).is_pending());
    while oracles[0].ask(Speak(1)).await.unwrap() == 0 {}
    oracles[1].kill();
    oracles[2].kill();
    let error = asking.await.unwrap_err();
    assert_eq!((error.wanted(), error.verdict()), (2, Verdict::Executed));
    assert!(
        error
            .to_string()
            .starts_with("1 of 2 answers wanted, 2 of 3 members failed")
    );
    let gathered = error.into_gathered();
    assert_eq!((gathered.answers.len(), gathered.failures.len()), (1, 2));
}

#[callboard::test(both)]
async fn a_quorum_that_cannot_be_is_refused_before_anything_is_sent(system: System) {
    let (group, oracles) = oracles(&system, 2);
    let error = group.ask_quorum(3, Question, SECOND).await.unwrap_err();
    assert_eq!(error.verdict(), Verdict::NotSent);
    assert!(error.to_string().contains("too few members"));
    assert_eq!(error.into_message(), Some(Question));
    let gathered = group.ask_quorum(0, Question, SECOND).await.unwrap();
    assert!(gathered.answers.is_empty() && gathered.is_complete());
    for oracle in &oracles {
        assert_eq!(oracle.ask(Speak(1)).await.unwrap(), 0);
    }
    let nobody: Group<Question> = Group::new(&system, "nobody");
    let error = nobody.ask_first(Question, SECOND).await.unwrap_err();
    assert_eq!(error.into_message(), Some(Question));
    // All of them are one failure away from being lost.
    let mut asking = Box::pin(group.ask_quorum(2, Question, Duration::from_secs(3_600)));
    assert!(futures::poll!(&mut asking).is_pending());
    oracles[0].kill();
    let error = asking.await.unwrap_err();
    assert_eq!(error.gathered().withdrawn, [oracles[1].id()]);
    assert!(error.verdict() >= Verdict::MaybeExecuted);
}

#[callboard::test(both)]
async fn g09_dropping_a_gathering_withdraws_every_ask(system: System) {
    let (group, oracles) = oracles(&system, 3);
    let mut gates = Vec::new();
    for oracle in &oracles {
        let (tx, rx) = oneshot::channel();
        oracle.tell(Pause(rx)).await.unwrap();
        gates.push(tx);
    }
    for quorum in [0, 1, 2] {
        let mut asking = Box::pin(async {
            match quorum {
                0 => drop(group.ask_all(Question, SECOND).await),
                wanted => drop(group.ask_quorum(wanted, Question, SECOND).await),
            }
        });
        assert!(futures::poll!(&mut asking).is_pending());
        drop(asking);
    }
    for gate in gates {
        gate.send(()).unwrap();
    }
    for oracle in &oracles {
        assert_eq!(oracle.ask(Speak(1)).await.unwrap(), 0, "none of them began");
    }
    assert_eq!(system.counters().drops(DropReason::Withdrawn), 9);
}

/// Asks a group in its turn; says how long that took in virtual time, and what came of it.
struct Asker(Group<Question>);
impl Actor for Asker {}

#[derive(Message)]
struct Go(oneshot::Sender<(Duration, Vec<FailureKind>)>);

impl Handler<Go> for Asker {
    async fn handle(&mut self, Go(tx): Go, ctx: &mut Context<Self>) {
        let begin = ctx.system().clock().now();
        let gathered = self.0.ask_all(Question, Duration::from_secs(3_600)).await;
        let took = ctx.system().clock().now().since(begin);
        let kinds = gathered.failures.iter().map(|(_, error)| error.kind());
        let _ = tx.send((took, kinds.collect()));
    }
}

#[callboard::test]
async fn g09_a_gathering_inherits_the_deadline_of_the_request_in_hand(system: System) {
    let (group, _oracles) = oracles(&system, 2);
    let asker = system.start(Asker(group));
    let (tx, rx) = oneshot::channel();
    // Whether it or its asker sees the deadline first is the scheduler's to say.
    let _ = asker.ask(Go(tx)).deadline(100 * MS).await;
    let late = FailureKind::DeadlineExceeded;
    assert_eq!(rx.await.unwrap(), (100 * MS, vec![late, late]));
}

#[callboard::test(both)]
async fn pools_are_members_too(system: System) {
    let group = Group::new(&system, "desks");
    for _ in 0..2 {
        let pool = Pool::start(&system, 2, || Worker {
            log: Log::default(),
        })
        .unwrap();
        group.join(&pool.recipient::<Note, _>());
    }
    let gathered = group.ask_all(Note(4), SECOND).await;
    assert_eq!(gathered.replies().collect::<Vec<_>>(), [&4, &4]);
    // The group held the pools: now they drain.
    drop(group);
    while !system.actors().is_empty() {
        system.clock().sleep(MS).await;
    }
}

#[test]
fn the_futures_of_groups_go_to_any_runtime() {
    fn sent<T: Send>(_: &T) {}
    let system = System::with_arbiters(1).unwrap();
    let group: Group<Question> = Group::new(&system, "oracles");
    sent(&group.tell_all(Question, SECOND));
    sent(&group.ask_all(Question, SECOND));
    sent(&group.ask_first(Question, SECOND));
    sent(&group.ask_quorum(1, Question, SECOND));
    system.shutdown_blocking().unwrap();
}

/// What one member does with a question.
#[derive(Debug, Clone, Copy)]
enum Does {
    Answer,
    Panic,
    Silent,
}

struct Member(Does);
impl Actor for Member {}
impl Handler<Question> for Member {
    async fn handle(&mut self, _: Question, ctx: &mut Context<Self>) -> u64 {
        match self.0 {
            Does::Answer => 1,
            Does::Panic => panic!("no answer"),
            Does::Silent => {
                ctx.sleep(Duration::from_secs(3_600)).await;
                0
            }
        }
    }
}

fn does() -> impl Strategy<Value = Does> {
    prop_oneof![
        3 => Just(Does::Answer),
        1 => Just(Does::Panic),
        1 => Just(Does::Silent),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// The model: a quorum is reached if enough members answer; each member is in exactly one list; time
    /// passes only if somebody had to be waited for.
    #[test]
    fn a_quorum_is_reached_exactly_if_enough_answer(
        seed: u64,
        members in proptest::collection::vec(does(), 0..8),
        wanted in 0..9_usize,
    ) {
        let mut simulation = callboard::Simulation::new(seed);
        let system = simulation.system().clone();
        system.hand_off(seed.is_multiple_of(2));
        simulation.block_on(async {
            let group = Group::new(&system, "members");
            for does in &members {
                group.join(&system.start(Member(*does)).recipient());
            }
            let answers = members.iter().filter(|does| matches!(does, Does::Answer)).count();
            let panics = members.iter().filter(|does| matches!(does, Does::Panic)).count();
            let begin = system.clock().now();
            let result = group.ask_quorum(wanted, Question, SECOND).await;
            let took = system.clock().now().since(begin);
            let reached = answers >= wanted;
            assert_eq!(result.is_ok(), reached);
            let hopeless = members.len() - panics < wanted;
            assert_eq!(took.is_zero(), reached || hopeless, "{took:?}");
            let gathered = result.unwrap_or_else(TooFew::into_gathered);
            let listed = gathered.answers.len() + gathered.failures.len() + gathered.withdrawn.len();
            let asked = if wanted == 0 || wanted > members.len() { 0 } else { members.len() };
            assert_eq!(listed, asked);
            if reached {
                assert_eq!(gathered.answers.len(), wanted);
            }
        });
    }
}
