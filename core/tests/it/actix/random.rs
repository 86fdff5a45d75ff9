//! An adopted actor that panics at random messages and is started again each time: nothing is lost, and every
//! asker knows whether its message ran.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;

use actix::{ActorFutureExt, AtomicResponse, WrapFuture};
use callboard::actix::adopt;
use callboard::{ChildEvent, DropReason, ExitReason, Message, Overflow, System, Verdict};
use futures::channel::mpsc;
use futures::{StreamExt, future};
use parking_lot::Mutex;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// What a message does to the actor.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Does {
    Answer,
    AnswerLater,
    Panic,
    PanicLater,
    Stop,
}

#[derive(Message, actix::Message, Debug, Clone)]
#[message(reply = usize)]
#[rtype(result = "usize")]
struct Do(usize, Does);

struct Volatile {
    /// The messages whose handler began.
    began: Arc<Mutex<Vec<usize>>>,
}

impl actix::Actor for Volatile {
    type Context = actix::Context<Self>;
}

impl actix::Handler<Do> for Volatile {
    type Result = AtomicResponse<Self, usize>;

    fn handle(&mut self, Do(n, does): Do, ctx: &mut Self::Context) -> Self::Result {
        self.began.lock().push(n);
        match does {
            Does::Panic => panic!("at once"),
            Does::Stop => actix::ActorContext::stop(ctx),
            Does::Answer | Does::AnswerLater | Does::PanicLater => {}
        }
        let work = async move {
            if matches!(does, Does::AnswerLater | Does::PanicLater) {
                tokio::task::yield_now().await;
            }
        };
        let work = work.into_actor(self).map(move |(), _, _| {
            assert_ne!(does, Does::PanicLater, "later");
            n
        });
        AtomicResponse::new(Box::pin(work))
    }
}

#[derive(Debug, Clone)]
struct Sent {
    does: Does,
    asks: bool,
}

fn sent() -> impl Strategy<Value = Sent> {
    let does = prop_oneof![
        8 => Just(Does::Answer),
        4 => Just(Does::AnswerLater),
        1 => Just(Does::Panic),
        1 => Just(Does::PanicLater),
        1 => Just(Does::Stop),
    ];
    (does, any::<bool>()).prop_map(|(does, asks)| Sent { does, asks })
}

#[test]
fn g07_each_ask_of_a_volatile_actor_ends_once_and_each_tell_is_handled_or_counted() {
    let config = Config {
        cases: 24,
        failure_persistence: None,
        ..Config::default()
    };
    let script = (prop::collection::vec(sent(), 1..120), 1_usize..20);
    TestRunner::new(config)
        .run(&script, |(script, capacity)| {
            callboard::run(|system| story(system, script, capacity)).unwrap();
            Ok(())
        })
        .unwrap();
}

async fn story(system: System, script: Vec<Sent>, capacity: usize) {
    let began = Arc::new(Mutex::new(Vec::new()));
    let inner = Arc::clone(&began);
    let make = move || Volatile {
        began: Arc::clone(&inner),
    };
    let (volatile, place) = system
        .actor(adopt(make))
        .mailbox(capacity, Overflow::Wait)
        .place();
    let (tx, mut events) = mpsc::channel(16);
    let on_event = Arc::new(move |_, event| tx.clone().try_send(event).unwrap());
    place.start(callboard::Terms::new(on_event.clone()));
    let sending = async {
        let sends = script.iter().enumerate().map(async |(n, sent)| {
            let message = Do(n, sent.does);
            if sent.asks {
                return Some(volatile.ask(message).await);
            }
            volatile.tell(message).await.unwrap();
            None
        });
        let ends = future::join_all(sends).await;
        // Behind all the others.
        volatile.ask(Do(script.len(), Does::Answer)).await.unwrap();
        ends
    };
    let restarting = async {
        while let Some(event) = events.next().await {
            if matches!(event, ChildEvent::Ended(_)) {
                place.start(callboard::Terms::new(on_event.clone()));
            }
        }
        unreachable!("the place is still there");
    };
    let (future::Either::Left((ends, _)) | future::Either::Right((ends, _))) =
        future::select(pin!(sending), pin!(restarting)).await;
    place.stop();
    while !matches!(events.next().await, Some(ChildEvent::Ended(_))) {}
    place.close(ExitReason::Stopped);

    let began = began.lock();
    let once: BTreeSet<usize> = began.iter().copied().collect();
    assert_eq!(once.len(), began.len(), "a message ran twice");
    for (n, (sent, end)) in script.iter().zip(ends).enumerate() {
        let runs_through = matches!(sent.does, Does::Answer | Does::AnswerLater);
        match end.map(|end| end.map_err(|error| error.verdict())) {
            None => {}
            Some(Ok(answer)) => assert!(answer == n && once.contains(&n) && runs_through),
            Some(Err(Verdict::Executed)) => assert!(once.contains(&n) && !runs_through),
            Some(Err(verdict)) => {
                assert_eq!(verdict, Verdict::NotExecuted);
                assert!(!once.contains(&n));
            }
        }
    }
    let lost = script.len() + 1 - once.len();
    let counted = system.counters().drops(DropReason::Stopped);
    assert_eq!(u64::try_from(lost).unwrap(), counted);
}
