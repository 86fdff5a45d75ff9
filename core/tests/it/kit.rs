//! The test kit itself: probes, and the texts of their failures.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use callboard::testing::{self, On, Probe, Test};
use callboard::{
    Actor, Context, FailureKind, Handler, Message, Recipient, RequestKey, System, Verdict,
};

use crate::common::{Boom, worker};

pub const MS: Duration = Duration::from_millis(1);

#[derive(Message, Debug, Clone, PartialEq)]
#[message(reply = u32)]
pub struct Price(pub &'static str);

/// Tells the recipient something after each span, in turn.
pub struct Courier(pub Recipient<Price>);

#[derive(Message)]
pub struct Bring(pub Vec<(Duration, &'static str)>);

impl Actor for Courier {}

impl Handler<Bring> for Courier {
    async fn handle(&mut self, Bring(parcels): Bring, ctx: &mut Context<Self>) {
        for (span, what) in parcels {
            ctx.sleep(span).await;
            self.0.tell(Price(what)).await.unwrap();
        }
    }
}

/// What a test fails with, on one executor.
pub fn failure_of<F, Fut>(on: On, body: F) -> String
where
    F: Fn(System) -> Fut,
    Fut: Future<Output = ()>,
{
    let run = || {
        Test::new(on)
            .seeds(1)
            .limit(Duration::from_secs(30))
            .run(body);
    };
    let payload = catch_unwind(AssertUnwindSafe(run)).expect_err("the test fails");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload.downcast::<&str>().map_or_else(
            |_| "a panic without a text".to_owned(),
            |text| (*text).to_owned(),
        ),
    }
}

/// That a test fails on both executors, with a text that holds all of this, and the seed where there is one.
#[track_caller]
fn fails<F, Fut>(body: F, parts: &[&str])
where
    F: Fn(System) -> Fut + Copy,
    Fut: Future<Output = ()>,
{
    for on in [On::Simulated, On::Arbiters] {
        let text = failure_of(on, body);
        for part in parts {
            assert!(text.contains(part), "{on:?}: {part:?} is not in {text:?}");
        }
        // Which seed, if the environment chooses one, is not for this test to say.
        assert_eq!(text.contains("(seed "), on == On::Simulated, "{text:?}");
    }
}

#[callboard::test(both)]
async fn a_probe_hands_out_messages_in_the_order_they_came(system: System) {
    let mut probe = Probe::named(&system, "till");
    assert_eq!(probe.recipient().label(), "till");
    let courier = system.start(Courier(probe.recipient()));
    let parcels = ["tea", "milk", "salt", "rice", "oil", "soap"];
    let bring = parcels.map(|what| (Duration::ZERO, what)).to_vec();
    courier.tell(Bring(bring)).await.unwrap();
    assert_eq!(probe.expect().await, Price("tea"));
    probe.expect_eq(Price("milk")).await;
    probe.expect_that(|price| price.0.starts_with('s')).await;
    assert_eq!(probe.collect(2).await, [Price("rice"), Price("oil")]);
    probe.expect_within(MS * 1_000).await;
    probe.expect_none(MS).await;
}

#[callboard::test(both)]
async fn a_probe_fishes_for_one_message_and_takes_what_has_come(system: System) {
    let mut probe = Probe::new(&system);
    for what in ["tea", "milk", "salt", "rice"] {
        probe.recipient().tell(Price(what)).await.unwrap();
    }
    let found = probe.fish(|price| (price.0.len() == 4).then_some(price.0));
    assert_eq!(found.await, "milk");
    testing::settle(&system).await.unwrap();
    assert_eq!(probe.take(), [Price("salt"), Price("rice")]);
    assert_eq!(probe.take(), []);
}

#[callboard::test(both)]
async fn a_probe_answers_and_sees_what_travels_beside_an_ask(system: System) {
    let mut probe = Probe::new(&system);
    let recipient = probe.recipient();
    let key = RequestKey::new();
    let asker = recipient.ask(Price("tea")).key(key).deadline(MS * 5_000);
    let script = async {
        let asked = probe.expect_ask().await;
        assert_eq!(asked.message, Price("tea"));
        assert_eq!((asked.meta.key(), asked.meta.attempt()), (Some(key), 1));
        assert!(asked.meta.remaining(system.clock()).unwrap() <= MS * 5_000);
        asked.reply(7);
    };
    let (answer, ()) = futures::join!(asker.into_future(), script);
    assert_eq!(answer.unwrap(), 7);

    let script = async {
        probe.expect_eq(Price("milk")).await;
        let failure = callboard::Failure::new(FailureKind::Overloaded, Verdict::NotExecuted);
        probe.reply_failure(failure);
    };
    let (answer, ()) = futures::join!(recipient.ask(Price("milk")).into_future(), script);
    assert_eq!(answer.unwrap_err().kind(), FailureKind::Overloaded);
}

#[callboard::test(both)]
async fn g07_an_ask_that_a_probe_takes_and_does_not_answer_ends(system: System) {
    let mut probe = Probe::new(&system);
    let recipient = probe.recipient();
    let script = async {
        probe.expect().await;
        // The next one takes its place, and then the probe goes.
        probe.expect().await;
        drop(probe);
    };
    let (first, second) = (recipient.ask(Price("a")), recipient.ask(Price("b")));
    let (first, second, ()) = futures::join!(first.into_future(), second.into_future(), script);
    for answer in [first, second] {
        let error = answer.unwrap_err();
        assert_eq!(
            (error.kind(), error.verdict()),
            (FailureKind::NoAnswer, Verdict::Executed)
        );
    }
    // And who comes later gets the message back.
    testing::settle(&system).await.unwrap();
    let late = recipient.tell(Price("late")).await.unwrap_err();
    assert_eq!(late.into_message(), Some(Price("late")));
}

#[callboard::test(both)]
async fn g12_a_probe_is_told_of_an_end_after_all_that_came_before(system: System) {
    let mut probe = Probe::<Price>::new(&system);
    let (worker, _) = worker(&system);
    probe.watch(&worker);
    probe.recipient().tell(Price("tea")).await.unwrap();
    testing::settle(&system).await.unwrap();
    worker.ask(Boom).await.unwrap_err();
    probe.expect_eq(Price("tea")).await;
    let notice = probe.expect_terminated().await;
    assert_eq!(
        (notice.id, notice.reason.to_string()),
        (worker.id(), "failed: boom".into())
    );
    // One that is cancelled says nothing.
    let (second, _) = crate::common::worker(&system);
    probe.watch(&second).cancel();
    second.stop();
    second.wait().await;
    probe.expect_none(MS).await;
}

#[callboard::test(both)]
async fn g03_a_probe_is_bounded_and_loses_nothing(system: System) {
    let names = ["a", "b", "c", "d"];
    let mut probe = Probe::bounded(&system, "small", 1);
    let recipient = probe.recipient();
    let mut accepted = 0;
    while recipient.try_tell(Price(names[accepted])).is_ok() {
        accepted += 1;
        testing::settle(&system).await.unwrap();
    }
    // One is kept, one waits in the handler for room, one in the mailbox.
    assert_eq!(accepted, 3);
    // Who waits for room gets it when the test takes something.
    let last = recipient.tell(Price("d")).into_future();
    let (told, came) = futures::join!(last, probe.collect(4));
    told.unwrap();
    assert_eq!(came, names.map(Price));
}

#[callboard::test]
async fn what_is_due_at_the_end_of_a_span_belongs_to_it(system: System) {
    let mut probe = Probe::new(&system);
    let courier = system.start(Courier(probe.recipient()));
    courier
        .tell(Bring(vec![(MS * 50, "tea"), (MS * 50, "milk")]))
        .await
        .unwrap();
    probe.expect_none(MS * 49).await;
    probe.expect_within(MS).await;
    probe.expect_none(MS * 49).await;
    testing::advance(&system, MS).await.unwrap();
    assert_eq!(probe.take(), [Price("milk")]);
    assert_eq!(system.clock().now().as_nanos(), 100_000_000);
}

#[test]
fn a_probe_that_gets_nothing_says_so() {
    fails(
        |system| async move {
            let mut probe = Probe::<Price>::named(&system, "till").with_patience(MS * 20);
            probe.expect().await;
        },
        &[
            "probe \"till\" at ",
            "kit.rs:",
            "expected a Price within 20ms, and none came",
        ],
    );
    fails(
        |system| async move {
            let mut probe = Probe::<Price>::new(&system);
            probe.expect_within(MS * 30).await;
        },
        &["expected a Price within 30ms, and none came"],
    );
    fails(
        |system| async move {
            let mut probe = Probe::<Price>::new(&system).with_patience(MS * 20);
            probe.recipient().tell(Price("tea")).await.unwrap();
            probe.collect(3).await;
        },
        &["expected 3 messages within 20ms, and 1 came"],
    );
    fails(
        |system| async move {
            let mut probe = Probe::<Price>::new(&system).with_patience(MS * 20);
            probe.recipient().tell(Price("tea")).await.unwrap();
            probe.fish(|_| None::<()>).await;
        },
        &["fished for a Price: 1 were passed over, and within 20ms no other came"],
    );
    fails(
        |system| async move {
            let mut probe = Probe::<Price>::new(&system).with_patience(MS * 20);
            probe.expect_terminated().await;
        },
        &["expected an end within 20ms, and none came"],
    );
}

#[test]
fn a_probe_that_gets_something_else_names_it() {
    fails(
        |system| async move {
            let mut probe = Probe::named(&system, "till");
            probe.recipient().tell(Price("tea")).await.unwrap();
            probe.expect_eq(Price("milk")).await;
        },
        &[
            "probe \"till\" at ",
            "expected Price(\"milk\"), but came: Price(\"tea\")",
        ],
    );
    fails(
        |system| async move {
            let mut probe = Probe::new(&system);
            probe.recipient().tell(Price("tea")).await.unwrap();
            probe.expect_that(|price| price.0 == "milk").await;
        },
        &["expected another message than came: Price(\"tea\")"],
    );
    fails(
        |system| async move {
            let mut probe = Probe::new(&system);
            probe.recipient().tell(Price("tea")).await.unwrap();
            probe.expect_none(MS * 100).await;
        },
        &["expected nothing", "came: Price(\"tea\")"],
    );
    fails(
        |system| async move {
            let mut probe = Probe::<Price>::new(&system);
            let (worker, _) = worker(&system);
            probe.watch(&worker);
            worker.kill();
            probe.expect().await;
        },
        &["expected a Price, but \"worker\" ended: killed"],
    );
    fails(
        |system| async move {
            let mut probe = Probe::new(&system);
            probe.recipient().tell(Price("tea")).await.unwrap();
            probe.expect_terminated().await;
        },
        &["expected an end, but a message came: a Price"],
    );
}

#[test]
fn an_answer_that_nobody_waits_for_is_a_failure() {
    fails(
        |system| async move {
            let mut probe = Probe::new(&system);
            probe.recipient().tell(Price("tea")).await.unwrap();
            probe.expect().await;
            probe.reply(7);
        },
        &["nobody waits for this reply: the last message was told, or has been answered"],
    );
    fails(
        |system| async move {
            let mut probe = Probe::new(&system);
            probe.recipient().tell(Price("tea")).await.unwrap();
            probe.expect_ask().await;
        },
        &["expected an ask, but a Price was told"],
    );
}

#[test]
fn in_a_simulation_the_failure_says_when_it_came() {
    let text = failure_of(On::Simulated, |system| async move {
        let mut probe = Probe::new(&system);
        let courier = system.start(Courier(probe.recipient()));
        courier.tell(Bring(vec![(MS * 70, "tea")])).await.unwrap();
        probe.expect_none(MS * 100).await;
    });
    assert!(
        text.contains("expected nothing for 100ms, but after 70ms came: Price(\"tea\")"),
        "{text}"
    );
}
