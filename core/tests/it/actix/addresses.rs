//! Addresses of actors that live elsewhere.

use std::future::IntoFuture;
use std::time::Duration;

use callboard::actix::{AdoptedAddr, adopt_addr, adopt_addr_with_window};
use callboard::{
    ActorRef, DropReason, ExitReason, FailureKind, Overflow, Simulation, StartError, System,
    Verdict,
};

use super::{Alone, Beside, Boom, Clerk, Ended, Gate, Note, ended};
use crate::common::Log;

/// A clerk that somebody else started, on this thread.
fn native() -> (actix::Addr<Clerk>, Log) {
    let log = Log::default();
    let clerk = Clerk {
        log: log.clone(),
        stays: false,
    };
    (actix::Actor::start(clerk), log)
}

fn asking<M>(clerk: &ActorRef<AdoptedAddr<Clerk>>, message: M) -> tokio::task::JoinHandle<Ended>
where
    M: callboard::Message<Reply = u64>,
    AdoptedAddr<Clerk>: callboard::DeferredHandler<M>,
{
    let clerk: callboard::Recipient<M> = clerk.recipient();
    tokio::task::spawn_local(async move { ended(clerk.ask(message).await) })
}

#[callboard::test(arbiters)]
async fn g02_an_address_gets_tells_and_asks_in_order(system: System) {
    for _ in 0..2 {
        let (addr, log) = native();
        let clerk = system.actor(adopt_addr(addr)).start();
        for n in 1..=100 {
            clerk.tell(Note(n)).await.unwrap();
        }
        assert_eq!(clerk.ask(Note(101)).await.unwrap(), 101);
        let notes: Vec<String> = (1..=101).map(|n| format!("note {n}")).collect();
        assert_eq!(log.lines()[1..], notes);
    }
}

#[callboard::test(arbiters)]
async fn g03_no_more_than_the_window_is_over_there_and_the_rest_waits_here(system: System) {
    let (addr, log) = native();
    let clerk = system
        .actor(adopt_addr_with_window(addr, 2))
        .mailbox(1, Overflow::Fail)
        .start();
    let (gate, began, open) = Gate::new();
    let alone = asking(&clerk, Alone(gate));
    began.await.unwrap();
    // One more over there, one that waits for its place, one in the mailbox.
    let mut accepted = 0;
    let refused = loop {
        match clerk.try_tell(Note(accepted + 1)) {
            Ok(()) => accepted += 1,
            Err(error) if accepted == 3 => break error,
            // The one before is still on its way out of the mailbox.
            Err(_) => tokio::task::yield_now().await,
        }
        assert!(accepted <= 3, "the bound doesn't hold");
    };
    assert_eq!(refused.kind(), FailureKind::Full);
    assert_eq!(refused.into_message(), Some(Note(4)));
    // G9: what waits for its place expires like everything else that waits.
    open.send(()).unwrap();
    assert_eq!(alone.await.unwrap(), Ok(1));
    while log.lines().len() < 2 + 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        log.lines()[1..],
        ["alone ends", "note 1", "note 2", "note 3"]
    );
}

#[callboard::test(arbiters)]
async fn g09_what_expires_before_it_was_passed_on_is_not_executed(system: System) {
    let (addr, log) = native();
    let clerk = system.actor(adopt_addr_with_window(addr, 1)).start();
    let (gate, began, open) = Gate::new();
    let alone = asking(&clerk, Alone(gate));
    began.await.unwrap();
    let short = Duration::from_millis(5);
    // This one waits for its place over there, the next one in the mailbox.
    clerk.tell(Note(3)).deadline(short).await.unwrap();
    let waits = clerk.ask(Note(1)).deadline(short).await.unwrap_err();
    assert_eq!(waits.verdict(), Verdict::NotExecuted);
    open.send(()).unwrap();
    assert_eq!(alone.await.unwrap(), Ok(1));
    // Over there nobody knows whether it began.
    let (gate, began, open) = Gate::new();
    let late = clerk.ask(Beside(gate)).deadline(short).await.unwrap_err();
    assert_eq!(late.verdict(), Verdict::MaybeExecuted);
    began.await.unwrap();
    drop(open);
    assert_eq!(clerk.ask(Note(2)).await.unwrap(), 2);
    assert_eq!(log.lines(), ["started", "alone ends", "note 2"]);
    let drops = system.counters().drops(DropReason::Expired);
    assert_eq!(drops + system.counters().drops(DropReason::Withdrawn), 2);
}

#[callboard::test(arbiters)]
async fn g07_a_panic_over_there_is_told_at_once_and_ends_the_adopted_address(system: System) {
    let (addr, _) = native();
    let clerk = system.actor(adopt_addr(addr)).start();
    let (gate, began, open) = Gate::new();
    let alone = asking(&clerk, Alone(gate));
    began.await.unwrap();
    let behind = async {
        clerk.tell(Note(1)).await.unwrap();
        // All of it is over there when it happens.
        while clerk.mailbox().len > 0 {
            tokio::task::yield_now().await;
        }
        open.send(()).unwrap();
        assert_eq!(alone.await.unwrap(), Ok(1));
    };
    let (boom, ()) = futures::join!(clerk.ask(Boom).into_future(), behind);
    let unknown = (FailureKind::NoAnswer, Verdict::MaybeExecuted);
    assert_eq!(ended(boom), Err(unknown));
    let ExitReason::Failed(why) = clerk.wait().await else {
        panic!("it stopped as if all were well");
    };
    assert!(why.text().contains("address is closed"), "{why}");
    // The tell behind it was dropped by actix, or refused here: counted in any case.
    while lost(&system) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(lost(&system), 1);
    let error = clerk.ask(Note(2)).await.unwrap_err();
    assert_eq!(error.into_message(), Some(Note(2)));
}

fn lost(system: &System) -> u64 {
    let counters = system.counters();
    counters.drops(DropReason::Undelivered) + counters.drops(DropReason::Stopped)
}

#[callboard::test(arbiters)]
async fn g12_an_address_that_closes_while_idle_is_noticed(system: System) {
    let (addr, _) = native();
    let clerk = system.actor(adopt_addr(addr.clone())).start();
    assert_eq!(clerk.ask(Note(1)).await.unwrap(), 1);
    addr.do_send(super::Quit);
    assert!(!clerk.wait().await.is_normal());
}

#[callboard::test(arbiters)]
async fn g11_stopping_it_stops_neither_the_actor_nor_what_was_passed_on(system: System) {
    let (addr, _) = native();
    let clerk = system.actor(adopt_addr(addr.clone())).start();
    let (gate, began, open) = Gate::new();
    let alone = asking(&clerk, Alone(gate));
    began.await.unwrap();
    clerk.stop();
    assert_eq!(clerk.wait().await, ExitReason::Stopped);
    open.send(()).unwrap();
    assert_eq!(alone.await.unwrap(), Ok(1));
    assert_eq!(addr.send(Note(2)).await, Ok(2));
}

#[test]
fn g38_on_the_simulating_executor_an_address_is_not_adopted() {
    let runner = actix::System::new();
    let addr = runner.block_on(async { native().0 });
    let mut simulation = Simulation::new(1);
    let system = simulation.system().clone();
    let reason = simulation.block_on(async { system.actor(adopt_addr(addr)).start().wait().await });
    assert_eq!(
        reason,
        ExitReason::Failed(StartError::NoActix.to_string().into())
    );
}
