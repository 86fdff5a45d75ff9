//! A real child process over its standard input and output: asks, SIGKILL, SIGSTOP, the lifeline.
//!
//! This test starts itself as the child. It has no test harness, which would write to the standard output
//! that is the protocol's.
#![allow(missing_docs, clippy::unwrap_used)]

extern crate callboard_core as callboard;

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use callboard::process::{ProcessPlace, ProcessSpec};
use callboard::{
    Actor, ChildEvent, Context, DeferredHandler, ExitReason, FailureKind, Handler, LifeEvent,
    Message, OnChildEvent, Place, Recipient, Responder, System, Terms, Verdict, Watch,
};
use callboard_remote::{LinkErrorKind, ListenError, Node, Peer, Phase};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

#[derive(Message, Serialize, Deserialize)]
#[message(reply = u32, name = "child.pid")]
struct Pid;

#[derive(Message, Serialize, Deserialize)]
#[message(reply = (), name = "child.never")]
struct Never;

#[derive(Default)]
struct Sidecar {
    held: Vec<Responder<()>>,
}

impl Actor for Sidecar {}

impl Handler<Pid> for Sidecar {
    async fn handle(&mut self, _: Pid, _ctx: &mut Context<Self>) -> u32 {
        std::process::id()
    }
}

impl DeferredHandler<Never> for Sidecar {
    async fn handle_deferred(
        &mut self,
        _: Never,
        responder: Responder<()>,
        _ctx: &mut Context<Self>,
    ) {
        self.held.push(responder);
    }
}

fn main() {
    let role = std::env::args().nth(1).unwrap_or_default();
    match &*role {
        "child" => callboard::run(child).unwrap().unwrap(),
        "lifeline" => callboard::run(lifeline).unwrap().unwrap(),
        // A harness that only wants to know the names.
        "--list" => {}
        _ => tests(),
    }
}

async fn child(system: System) -> Result<(), ListenError> {
    let sidecar = system.start(Sidecar::default());
    let node = Node::new(&system, "sidecar").unwrap();
    node.expose::<Pid>("sidecar", &sidecar.recipient()).unwrap();
    node.expose::<Never>("sidecar", &sidecar.recipient())
        .unwrap();
    node.serve_stdio().await
}

async fn lifeline(system: System) -> Result<(), ListenError> {
    callboard_remote::stdin_closed(&system).await
}

fn tests() {
    macro_rules! run {
        ($($test:ident)*) => {$(
            callboard::run($test).unwrap();
            println!("test {} ... ok", stringify!($test));
        )*};
    }
    run! {
        a_child_answers_over_its_pipes_and_ends_when_its_stdin_closes
        g07_a_killed_child_leaves_no_ask_waiting_and_its_successor_serves_the_same_reference
        g12_a_killed_child_ends_what_was_watched_in_it_and_its_successor_is_watched_anew
        g09_a_stopped_child_lets_asks_time_out_and_keeps_its_connection
        g36_a_child_that_speaks_something_else_is_named
        a_child_may_use_its_stdin_as_a_lifeline_only
        g13_a_child_at_a_process_place_is_reached_over_restarts
    }
}

/// Starts this program in a role, and hands its pipes to a peer.
fn start(role: &str, peer: Option<&Peer>) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg(role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    if let Some(peer) = peer {
        attach(&mut child, peer);
    }
    child
}

fn attach(child: &mut Child, peer: &Peer) {
    let (output, input) = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
    peer.attach(tokio::io::join(output, input));
}

fn signal(child: &Child, signal: &str) {
    let pid = child.id().unwrap().to_string();
    let kill = std::process::Command::new("kill")
        .args([signal, &pid])
        .status();
    assert!(kill.unwrap().success());
}

async fn a_child_answers_over_its_pipes_and_ends_when_its_stdin_closes(system: System) {
    let peer = Peer::attached(&system, "sidecar");
    let mut child = start("child", Some(&peer));
    peer.connected().await.unwrap();
    let pid: Recipient<Pid> = peer.recipient("sidecar").unwrap();
    assert_eq!(pid.ask(Pid).await.unwrap(), child.id().unwrap());
    assert_eq!(peer.state().remote.unwrap().name, "sidecar");
    peer.close();
    assert!(child.wait().await.unwrap().success());
}

async fn g07_a_killed_child_leaves_no_ask_waiting_and_its_successor_serves_the_same_reference(
    system: System,
) {
    let peer = Peer::attached(&system, "sidecar");
    let mut child = start("child", Some(&peer));
    peer.connected().await.unwrap();
    let pid: Recipient<Pid> = peer.recipient("sidecar").unwrap();
    let never: Recipient<Never> = peer.recipient("sidecar").unwrap();
    let (lost, ()) = futures::join!(never.ask(Never).into_future(), async {
        // Its answer proves that what was asked before has arrived.
        pid.ask(Pid).await.unwrap();
        signal(&child, "-KILL");
    });
    let lost = lost.unwrap_err();
    assert_eq!(lost.kind(), FailureKind::ConnectionLost);
    assert_eq!(lost.verdict(), Verdict::MaybeExecuted);
    assert!(!child.wait().await.unwrap().success());
    let unsent = pid.ask(Pid).await.unwrap_err();
    assert_eq!(unsent.verdict(), Verdict::NotSent);
    let next = start("child", Some(&peer));
    peer.connected().await.unwrap();
    assert_eq!(pid.ask(Pid).await.unwrap(), next.id().unwrap());
    let stats = peer.state().stats;
    assert_eq!((stats.connects, stats.disconnects), (2, 1));
}

async fn g12_a_killed_child_ends_what_was_watched_in_it_and_its_successor_is_watched_anew(
    system: System,
) {
    let peer = Peer::attached(&system, "sidecar");
    let pid: Recipient<Pid> = peer.recipient("sidecar").unwrap();
    let watch = || {
        let (tx, rx) = futures::channel::mpsc::channel(1_000);
        pid.watch_life(Arc::new(move |event| {
            // An error means that the test is over.
            let _ = tx.clone().try_send(event);
        }));
        rx
    };
    // Before there is anybody.
    let mut events = watch();
    assert!(matches!(
        events.next().await,
        Some(LifeEvent::NoConnection { .. })
    ));
    for _ in 0..2 {
        let mut child = start("child", Some(&peer));
        assert!(matches!(
            events.next().await,
            Some(LifeEvent::Reconnected { .. })
        ));
        signal(&child, "-KILL");
        let Some(LifeEvent::Terminated(notice)) = events.next().await else {
            panic!("another event");
        };
        let reason = notice.reason.to_string();
        assert!(reason.contains("its process was lost"), "{reason}");
        assert!(events.next().await.is_none());
        assert!(!child.wait().await.unwrap().success());
        events = watch();
        assert!(matches!(
            events.next().await,
            Some(LifeEvent::NoConnection { .. })
        ));
    }
}

async fn g09_a_stopped_child_lets_asks_time_out_and_keeps_its_connection(system: System) {
    let peer = Peer::attached(&system, "sidecar");
    let child = start("child", Some(&peer));
    peer.connected().await.unwrap();
    let pid: Recipient<Pid> = peer.recipient("sidecar").unwrap();
    signal(&child, "-STOP");
    let begin = system.clock().now();
    while system.clock().now().since(begin) < Duration::from_secs(2) {
        let ask = pid.ask(Pid).deadline(Duration::from_millis(250));
        let error = ask.await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::DeadlineExceeded);
        assert_eq!(error.verdict(), Verdict::MaybeExecuted);
    }
    signal(&child, "-CONT");
    assert_eq!(pid.ask(Pid).await.unwrap(), child.id().unwrap());
    let stats = peer.state().stats;
    assert_eq!((stats.connects, stats.disconnects), (1, 0));
}

async fn g36_a_child_that_speaks_something_else_is_named(system: System) {
    let peer = Peer::attached(&system, "chatty sidecar");
    let mut child = Command::new("sh")
        .args(["-c", "echo hello, I am no peer of yours; cat >/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    attach(&mut child, &peer);
    let error = peer.attempted().await.unwrap_err();
    assert!(matches!(error.kind(), LinkErrorKind::NotCallboard { .. }));
    let text = error.to_string();
    assert!(
        text.starts_with("peer at chatty sidecar is no Callboard peer"),
        "{text}"
    );
    assert!(text.ends_with("\"hello, I am no p\""), "{text}");
    // Its pipes were dropped, so it ends.
    child.wait().await.unwrap();
}

async fn a_child_may_use_its_stdin_as_a_lifeline_only(_system: System) {
    let mut child = start("lifeline", None);
    drop(child.stdin.take());
    assert!(child.wait().await.unwrap().success());
}

async fn g13_a_child_at_a_process_place_is_reached_over_restarts(system: System) {
    let peer = Peer::attached(&system, "sidecar");
    let attached = peer.clone();
    let spec = ProcessSpec::new(std::env::current_exe().unwrap()).arg("child");
    let place = ProcessPlace::new(&system, spec, move |stream, _| attached.attach(stream));
    let (events, mut ended) = futures::channel::mpsc::channel(8);
    let on_event: OnChildEvent = Arc::new(move |_, event| {
        if let ChildEvent::Ended(reason) = event {
            events.clone().try_send(reason).unwrap();
        }
    });
    let pid: Recipient<Pid> = peer.recipient("sidecar").unwrap();
    for expected in [ExitReason::Killed, ExitReason::Stopped] {
        place.start(Terms::new(Arc::clone(&on_event)));
        peer.connected().await.unwrap();
        assert_eq!(Some(pid.ask(Pid).await.unwrap()), place.status().pid);
        match expected {
            ExitReason::Killed => place.kill(),
            _ => place.stop(),
        }
        assert_eq!(ended.next().await, Some(expected));
        // The end of the process and the end of its stream are noticed apart from each other.
        while peer.state().phase != Phase::Disconnected {
            system.clock().sleep(Duration::from_millis(1)).await;
        }
    }
}
