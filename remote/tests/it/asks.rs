//! Asks and tells, over any transport.

use std::time::Duration;

use callboard::{
    Actor, Context, DropReason, FailureKind, Handler, Incarnation, Message, Overflow, Recipient,
    RequestKey, System, Verdict, Watch, codec,
};
use callboard_remote::{LinkConfig, LinkErrorKind, Node, Phase};
use futures::FutureExt;
use futures::future::join_all;
use serde::{Deserialize, Serialize};

use crate::actors::{
    Add, Echo, Hold, Look, NewerAdd, Panic, Unheard, WrongReply, WrongShape, expose_tester, tester,
};
use crate::wires::{Wire, connect, connect_with};

const MOMENT: Duration = Duration::from_millis(100);

pub(crate) async fn an_ask_and_a_tell_reach_an_exposed_actor<W: Wire>(system: System) {
    let (node, _actor, probe) = tester(&system, "adding");
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    assert_eq!(add.boundary(), W::BOUNDARY);
    assert_eq!(add.ask(Add(2)).await.unwrap(), 2);
    add.tell(Add(3)).await.unwrap();
    add.try_tell(Add(4)).unwrap();
    assert_eq!(add.ask(Add(5)).await.unwrap(), 14);
    assert_eq!(probe.added_now(), [2, 3, 4, 5]);
    let state = peer.state();
    assert_eq!(state.phase, Phase::Connected);
    assert_eq!(state.remote.unwrap().name, "adding");
    let stats = state.stats;
    assert_eq!(
        (stats.connects, stats.asks, stats.tells, stats.replies),
        (1, 2, 2, 2)
    );
    assert!(stats.bytes_in > 0 && stats.bytes_out > 0 && stats.failures.is_empty());
}

pub(crate) async fn g02_messages_of_one_sender_keep_their_order<W: Wire>(system: System) {
    let (node, _actor, probe) = tester(&system, "order");
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    for n in 0..40 {
        if n % 3 == 0 {
            add.ask(Add(n)).await.unwrap();
        } else {
            add.tell(Add(n)).await.unwrap();
        }
    }
    add.ask(Add(40)).await.unwrap();
    assert_eq!(probe.added_now(), (0..=40).collect::<Vec<_>>());
}

/// Counts what it is told, in small and in large messages, and takes few at a time.
struct Counting(u64);

impl Actor for Counting {}

#[derive(Message, Serialize, Deserialize)]
#[message(name = "test.parcel")]
struct Parcel(#[serde(with = "serde_bytes")] Vec<u8>);

#[derive(Message, Serialize, Deserialize)]
#[message(name = "test.count", reply = u64)]
struct Count;

impl Handler<Parcel> for Counting {
    async fn handle(&mut self, _: Parcel, ctx: &mut Context<Self>) {
        ctx.system().clock().sleep(Duration::from_micros(10)).await;
        self.0 += 1;
    }
}

impl Handler<Count> for Counting {
    async fn handle(&mut self, _: Count, _: &mut Context<Self>) -> u64 {
        self.0
    }
}

pub(crate) async fn g02_messages_of_all_types_keep_their_order<W: Wire>(system: System) {
    let node = Node::new(&system, "order").unwrap();
    let actor = system
        .actor(|| Counting(0))
        .mailbox(2, Overflow::Wait)
        .start();
    node.expose::<Parcel>("counting", &actor.recipient())
        .unwrap();
    node.expose::<Count>("counting", &actor.recipient())
        .unwrap();
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let parcel: Recipient<Parcel> = peer.recipient("counting").unwrap();
    let count: Recipient<Count> = peer.recipient("counting").unwrap();
    let mut told = 0;
    for size in [10, 10, 10, 10, 10, 10, 700_000, 10] {
        parcel.tell(Parcel(vec![7; size])).await.unwrap();
        told += 1;
    }
    assert_eq!(count.ask(Count).await.unwrap(), told);
}

pub(crate) async fn g03_a_full_outbox_makes_senders_wait_and_loses_nothing<W: Wire>(
    system: System,
) {
    let (node, _actor, _probe) = tester(&system, "room");
    let mut config = LinkConfig::default();
    config.outbox = 1;
    config.in_flight = 4;
    let (_wire, peer) = connect_with::<W>(&system, &node, config).await;
    let echo: Recipient<Echo> = peer.recipient("tester").unwrap();
    let sizes: Vec<usize> = (0..40).map(|n| n * 97).collect();
    let answers = sizes.iter().map(|size| {
        let ask = echo.ask(Echo(vec![7; *size]));
        async { ask.await.map(|bytes| bytes.len()) }
    });
    let answers: Result<Vec<_>, _> = join_all(answers).await.into_iter().collect();
    assert_eq!(answers.unwrap(), sizes);
    assert_eq!(peer.state().in_flight, 0);
}

pub(crate) async fn g06_without_a_connection_the_message_comes_back_unsent<W: Wire>(
    system: System,
) {
    let mut wire = W::new(&system).await;
    let peer = wire.peer(&system, LinkConfig::default()).await;
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    for error in [
        add.ask(Add(7)).await.unwrap_err(),
        add.tell(Add(7)).await.unwrap_err(),
        add.try_tell(Add(7)).unwrap_err(),
    ] {
        assert_eq!(error.kind(), FailureKind::NoConnection);
        assert_eq!(error.verdict(), Verdict::NotSent);
        assert_eq!(error.into_message(), Some(Add(7)));
    }
}

pub(crate) async fn g07_a_lost_connection_ends_each_ask_with_its_verdict<W: Wire>(system: System) {
    let (node, _actor, probe) = tester(&system, "lost");
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let hold: Recipient<Hold> = peer.recipient("tester").unwrap();
    let (answer, held) = futures::join!(hold.ask(Hold(1)).keep().into_future(), async {
        let held = probe.held().await;
        node.close();
        held
    });
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), FailureKind::ConnectionLost, "{error}");
    assert_eq!(error.verdict(), Verdict::MaybeExecuted);
    assert_eq!(error.into_message(), Some(Hold(1)));
    // The handler's answer reaches nobody, and harms nobody.
    probe.withdrawn(1).await;
    held.1.send(1);
    assert_eq!(system.counters().drops(DropReason::LateReply), 1);
}

pub(crate) async fn g07_a_panic_and_a_dropped_responder_are_told_at_once<W: Wire>(system: System) {
    let (node, actor, probe) = tester(&system, "fence");
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let hold: Recipient<Hold> = peer.recipient("tester").unwrap();
    let (answer, ()) = futures::join!(hold.ask(Hold(1)).into_future(), async {
        drop(probe.held().await);
    });
    let error = answer.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::NoAnswer, Verdict::Executed)
    );
    let panics: Recipient<Panic> = peer.recipient("tester").unwrap();
    let error = panics.ask(Panic).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::Panicked, Verdict::Executed)
    );
    assert!(!error.to_string().contains("secret"), "{error}");
    actor.wait().await;
    let error = hold.ask(Hold(2)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::Stopped, Verdict::NotExecuted)
    );
}

pub(crate) async fn g09_a_deadline_ends_an_ask_and_withdraws_it_over_there<W: Wire>(
    system: System,
) {
    let (node, _actor, probe) = tester(&system, "deadline");
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let hold: Recipient<Hold> = peer.recipient("tester").unwrap();
    let (answer, (number, responder)) = futures::join!(
        hold.ask(Hold(9)).deadline(MOMENT).into_future(),
        probe.held()
    );
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), FailureKind::DeadlineExceeded);
    assert_eq!(error.verdict(), Verdict::MaybeExecuted);
    probe.withdrawn(number).await;
    responder.send(9);
    // G8: it reached nobody, and was counted where it ended.
    assert_eq!(system.counters().drops(DropReason::LateReply), 1);
    assert_eq!(peer.state().in_flight, 0);
    assert_eq!(peer.state().phase, Phase::Connected);
}

pub(crate) async fn g09_deadline_travels_as_remaining_time<W: Wire>(system: System) {
    let (node, _actor, _probe) = tester(&system, "remaining");
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let look: Recipient<Look> = peer.recipient("tester").unwrap();
    let seen = look.ask(Look).await.unwrap();
    let remaining = seen.remaining.unwrap();
    assert!(
        remaining <= Duration::from_secs(5) && remaining > Duration::from_secs(2),
        "{remaining:?}"
    );
    let seen = look
        .ask(Look)
        .deadline(Duration::from_secs(60))
        .await
        .unwrap();
    assert!(seen.remaining.unwrap() > Duration::from_secs(50));
    assert_eq!(look.ask(Look).no_deadline().await.unwrap().remaining, None);
}

pub(crate) async fn g17_key_attempt_and_retry_marker_travel<W: Wire>(system: System) {
    let (node, _actor, _probe) = tester(&system, "marks");
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let look: Recipient<Look> = peer.recipient("tester").unwrap();
    let seen = look.ask(Look).await.unwrap();
    assert_eq!(
        (seen.key, seen.attempt, seen.caller_retries),
        (None, 1, false)
    );
    let key = RequestKey::new();
    let seen = look
        .ask(Look)
        .key(key)
        .attempt(3)
        .caller_retries()
        .await
        .unwrap();
    assert_eq!(
        (seen.key, seen.attempt, seen.caller_retries),
        (Some(key), 3, true)
    );
}

pub(crate) async fn g34_what_cannot_be_delivered_is_answered_at_once<W: Wire>(system: System) {
    let (node, _actor, probe) = tester(&system, "answers");
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let nobody: Recipient<Add> = peer.recipient("nobody").unwrap();
    let unheard: Recipient<Unheard> = peer.recipient("tester").unwrap();
    let newer: Recipient<NewerAdd> = peer.recipient("tester").unwrap();
    let misshapen: Recipient<WrongShape> = peer.recipient("tester").unwrap();
    let start = system.clock().now();
    let failures = [
        nobody.ask(Add(1)).await.unwrap_err().into_parts().0,
        unheard.ask(Unheard).await.unwrap_err().into_parts().0,
        newer.ask(NewerAdd(1)).await.unwrap_err().into_parts().0,
        misshapen
            .ask(WrongShape("one".into()))
            .await
            .unwrap_err()
            .into_parts()
            .0,
    ];
    assert!(system.clock().now().since(start) < Duration::from_secs(4));
    let kinds = failures.each_ref().map(callboard::Failure::kind);
    assert_eq!(
        kinds,
        [
            FailureKind::UnknownName,
            FailureKind::UnknownType,
            FailureKind::WrongVersion,
            FailureKind::BadPayload
        ]
    );
    for failure in &failures {
        assert_eq!(failure.verdict(), Verdict::NotExecuted);
        assert!(!failure.to_string().contains("WrongShape"), "{failure}");
    }
    assert_eq!(
        failures[2].detail(),
        Some("tester takes test.add in version 1, not 2")
    );
    // An answer of the wrong type is this side's to find out; the handler ran.
    let wrong: Recipient<WrongReply> = peer.recipient("tester").unwrap();
    let error = wrong.ask(WrongReply(1)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::BadPayload, Verdict::Executed)
    );
    // Others go on over the same connection.
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    assert_eq!(add.ask(Add(1)).await.unwrap(), 2);
    assert_eq!(probe.added_now(), [1, 1]);
    assert_eq!(peer.state().stats.connects, 1);
}

pub(crate) async fn g34_a_tell_nobody_understands_is_a_counted_dead_letter<W: Wire>(
    system: System,
) {
    let (node, _actor, _probe) = tester(&system, "letters");
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let nobody: Recipient<Add> = peer.recipient("nobody").unwrap();
    let unheard: Recipient<Unheard> = peer.recipient("tester").unwrap();
    let newer: Recipient<NewerAdd> = peer.recipient("tester").unwrap();
    let misshapen: Recipient<WrongShape> = peer.recipient("tester").unwrap();
    nobody.tell(Add(1)).await.unwrap();
    unheard.tell(Unheard).await.unwrap();
    newer.tell(NewerAdd(1)).await.unwrap();
    misshapen.tell(WrongShape("one".into())).await.unwrap();
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    add.ask(Add(1)).await.unwrap();
    let letters = system.dead_letters().take();
    let reasons: Vec<_> = letters.iter().map(|letter| letter.reason).collect();
    assert_eq!(
        reasons,
        [
            DropReason::UnknownName,
            DropReason::UnknownType,
            DropReason::WrongVersion,
            DropReason::BadPayload
        ]
    );
    assert_eq!(letters[0].target, "nobody (test.add v1)");
    let payload = letters[0].message.downcast_ref::<Vec<u8>>().unwrap();
    assert_eq!(codec::decode::<Add>(payload).unwrap(), Add(1));
}

pub(crate) async fn g34_a_full_mailbox_is_an_answer_and_the_reader_goes_on<W: Wire>(
    system: System,
) {
    let (node, actor, probe) = tester(&system, "full");
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    // 64 fit; the actor may take some out meanwhile.
    let asks = (0..400).map(|n| add.ask(Add(n)).into_future());
    let answers = join_all(asks).await;
    let refused: Vec<_> = answers
        .iter()
        .filter_map(|answer| answer.as_ref().err())
        .collect();
    for error in &refused {
        assert_eq!(
            (error.kind(), error.verdict()),
            (FailureKind::Full, Verdict::NotExecuted)
        );
        assert_eq!(error.failure().detail(), Some("tester"));
    }
    assert_eq!(probe.added_now().len() + refused.len(), 400);
    assert_eq!(actor.mailbox().len, 0);
    assert_eq!(peer.state().stats.connects, 1);
}

pub(crate) async fn g36_a_message_above_the_peers_limit_comes_back_unsent<W: Wire>(system: System) {
    let mut config = LinkConfig::default();
    config.max_message = 10_000;
    let node = Node::with(&system, "small", Incarnation(3), config).unwrap();
    let (_actor, _probe) = expose_tester(&node);
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let echo: Recipient<Echo> = peer.recipient("tester").unwrap();
    // Bytes as numbers of 1 or 2 bytes each.
    assert_eq!(echo.ask(Echo(vec![1; 9_900])).await.unwrap().len(), 9_900);
    let error = echo.ask(Echo(vec![1; 10_000])).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::TooLarge, Verdict::NotSent)
    );
    assert_eq!(error.into_message().unwrap().0.len(), 10_000);
    assert_eq!(peer.state().remote.unwrap().incarnation, Incarnation(3));
}

pub(crate) async fn g36_a_reply_above_the_askers_limit_is_told_with_its_verdict<W: Wire>(
    system: System,
) {
    let (node, _actor, _probe) = tester(&system, "large");
    let mut config = LinkConfig::default();
    config.max_message = 10_000;
    let (_wire, peer) = connect_with::<W>(&system, &node, config).await;
    let echo: Recipient<Echo> = peer.recipient("tester").unwrap();
    let error = echo.ask(Echo(vec![1; 12_000])).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::TooLarge, Verdict::Executed)
    );
    assert_eq!(echo.ask(Echo(vec![1; 9_000])).await.unwrap().len(), 9_000);
}

pub(crate) async fn g13_a_reference_stays_valid_over_a_restart_of_the_other_side<W: Wire>(
    system: System,
) {
    let (node, _actor, _probe) = tester(&system, "first");
    let (mut wire, peer) = connect::<W>(&system, &node).await;
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    assert_eq!(add.ask(Add(1)).await.unwrap(), 1);
    node.close();
    let next = Node::with(
        &system,
        "second",
        Incarnation(u64::MAX),
        LinkConfig::default(),
    )
    .unwrap();
    let (_actor, _probe) = expose_tester(&next);
    wire.serve(&next).await;
    // The old connection may still be up for a moment; the state of the new actor tells.
    let answer = loop {
        peer.connected().await.unwrap();
        match add.ask(Add(5)).await {
            Ok(sum) => break sum,
            Err(error) => assert!(
                matches!(
                    error.kind(),
                    FailureKind::NoConnection | FailureKind::ConnectionLost
                ),
                "{error}"
            ),
        }
        system.clock().sleep(Duration::from_millis(1)).await;
    };
    assert_eq!(answer, 5);
    let state = peer.state();
    assert_eq!(state.remote.unwrap().name, "second");
    assert!(state.stats.connects >= 2 && state.stats.disconnects >= 1);
}

pub(crate) async fn g12_a_watch_fires_when_the_peer_is_closed_for_good<W: Wire>(system: System) {
    let (node, _actor, probe) = tester(&system, "watched");
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let hold: Recipient<Hold> = peer.recipient("tester").unwrap();
    let (tx, rx) = futures::channel::oneshot::channel();
    hold.watch(Box::new(move |notice| tx.send(notice).unwrap()));
    let (answer, _held) = futures::join!(hold.ask(Hold(1)).into_future(), async {
        let held = probe.held().await;
        peer.close();
        held
    });
    assert_eq!(answer.unwrap_err().verdict(), Verdict::MaybeExecuted);
    assert_eq!(rx.await.unwrap().id, hold.id());
    let error = hold.ask(Hold(2)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::NoConnection, Verdict::NotSent)
    );
    let closed = peer.connected().await.unwrap_err();
    assert_eq!(closed.kind(), &LinkErrorKind::ClosedHere);
    // A watch on what has ended already fires at once.
    let (tx, rx) = futures::channel::oneshot::channel();
    hold.watch(Box::new(move |notice| tx.send(notice).unwrap()));
    assert!(rx.now_or_never().unwrap().unwrap().reason.is_normal());
}

pub(crate) async fn dropping_the_last_handle_closes_the_connection<W: Wire>(system: System) {
    let (node, _actor, _probe) = tester(&system, "handles");
    let (wire, peer) = connect::<W>(&system, &node).await;
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    drop((peer, wire));
    assert_eq!(add.ask(Add(1)).await.unwrap(), 1);
    assert_eq!(node.state().connections.len(), 1);
    drop(add);
    while !node.state().connections.is_empty() {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) async fn a_weak_recipient_keeps_no_connection<W: Wire>(system: System) {
    let (node, _actor, _probe) = tester(&system, "weak");
    let (wire, peer) = connect::<W>(&system, &node).await;
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    let weak = add.downgrade();
    assert_eq!(weak.id(), add.id());
    // The recipient it was made from may go, as long as somebody holds the link.
    drop(add);
    let again = weak.upgrade().unwrap();
    assert_eq!(again.ask(Add(1)).await.unwrap(), 1);
    assert_eq!(again.id(), weak.id());
    drop((peer, wire));
    assert!(weak.upgrade().is_some());
    drop(again);
    assert_eq!(weak.upgrade(), None);
    while !node.state().connections.is_empty() {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    // A link that was closed leads nowhere, though it is held.
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    let weak = add.downgrade();
    peer.close();
    assert_eq!(weak.upgrade(), None);
}
