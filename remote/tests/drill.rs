//! Drills with a node in a process of its own: stopped, killed, and under thousands of connections that are idle, slow
//! or hostile (G32, G36). Its memory is that process's alone, as the kernel counts it.
#![allow(missing_docs, clippy::unwrap_used)]

extern crate callboard_core as callboard;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use callboard::{
    Actor, Context, DeferredHandler, FailureKind, Handler, Message, Recipient, Responder, System,
    Verdict,
};
use callboard_remote::{LinkConfig, Node, Peer, Phase};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

/// Counts, so that what is lost or doubled shows.
#[derive(Message, Serialize, Deserialize)]
#[message(reply = u64, name = "drill.count")]
struct Count;

#[derive(Message, Serialize, Deserialize)]
#[message(reply = (), name = "drill.never")]
struct Never;

#[derive(Default)]
struct Counter {
    count: u64,
    held: Vec<Responder<()>>,
}

impl Actor for Counter {}

impl Handler<Count> for Counter {
    async fn handle(&mut self, _: Count, _ctx: &mut Context<Self>) -> u64 {
        self.count += 1;
        self.count
    }
}

impl DeferredHandler<Never> for Counter {
    async fn handle_deferred(&mut self, _: Never, never: Responder<()>, _: &mut Context<Self>) {
        self.held.push(never);
    }
}

fn main() {
    allow_files(100_000);
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("server"), Some(path)) => {
            let path = PathBuf::from(path);
            callboard::run(move |system| server(system, path)).unwrap();
        }
        // A harness that only wants to know the names.
        (Some("--list"), _) => {}
        _ => tests(),
    }
}

/// As many open files as are asked for, or as the system lets a process have.
fn allow_files(wanted: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let current = Some(limit.current.map_or(most, |current| current.max(most)));
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current,
            maximum: limit.maximum,
        },
    )
    .unwrap();
}

async fn server(system: System, path: PathBuf) {
    let counter = system.start(Counter::default());
    let mut config = LinkConfig::default();
    config.connections = 20_000;
    config.sessions = 20_000;
    config.handshake_timeout = Duration::from_secs(1);
    config.ping_after = ping_after();
    let incarnation = callboard::Incarnation(u64::from(std::process::id()));
    let node = Node::with(&system, "drill", incarnation, config).unwrap();
    node.expose::<Count>("counter", &counter.recipient())
        .unwrap();
    node.expose::<Never>("counter", &counter.recipient())
        .unwrap();
    let _listener = node.listen_unix(path).await.unwrap();
    println!("ready");
    callboard_remote::stdin_closed(&system).await.unwrap();
}

fn tests() {
    macro_rules! run {
        ($($test:ident)*) => {$(
            callboard::run($test).unwrap();
            println!("test {} ... ok", stringify!($test));
        )*};
    }
    run! {
        g32_a_stopped_process_is_no_end_and_nothing_is_lost_or_doubled
        g32_a_killed_process_ends_its_session_with_verdicts_and_its_successor_serves
        g36_thousands_of_idle_connections_cost_little_and_delay_nobody
        g36_slow_handshakes_are_cut_and_take_no_memory
        g36_giant_lengths_and_floods_take_no_memory
    }
}

/// A path in a directory of its own.
fn socket(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join("callboard-remote-drills");
    std::fs::create_dir_all(&directory).unwrap();
    directory.join(format!("{}-{name}.sock", std::process::id()))
}

/// Starts a server there, and waits until it listens.
async fn start(path: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("server")
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).await.unwrap();
    assert_eq!(line, "ready\n");
    child
}

/// What a process has in memory, in KiB.
fn memory(child: &Child) -> u64 {
    let pid = child.id().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Finds out soon that nobody is there.
fn impatient() -> LinkConfig {
    let mut config = LinkConfig::default();
    config.ping_after = Duration::from_millis(100);
    config.dead_after = Duration::from_millis(300);
    config.handshake_timeout = Duration::from_millis(300);
    config
}

async fn until(system: &System, mut reached: impl FnMut() -> bool) {
    while !reached() {
        system.clock().sleep(Duration::from_millis(5)).await;
    }
}

async fn g32_a_stopped_process_is_no_end_and_nothing_is_lost_or_doubled(system: System) {
    let path = socket("stopped");
    let child = start(&path).await;
    let peer = Peer::unix_with(&system, &path, impatient());
    peer.connected().await.unwrap();
    let count: Recipient<Count> = peer.recipient("counter").unwrap();
    assert_eq!(count.ask(Count).await.unwrap(), 1);
    signal(&child, rustix::process::Signal::STOP);
    // Written to a process that doesn't read it, and then put where the next connection takes it.
    let early = (0..20).map(|_| count.ask(Count).no_deadline().into_future());
    let early = join_all(early);
    let stopped = async {
        until(&system, || peer.state().stats.connect_failures > 1).await;
        assert_ne!(peer.state().phase, Phase::Connected);
        let error = count.ask(Count).deadline(Duration::from_millis(50)).await;
        assert_eq!(error.unwrap_err().kind(), FailureKind::DeadlineExceeded);
        let late = (0..20).map(|_| count.ask(Count).no_deadline().into_future());
        let late = join_all(late);
        let wake = async { signal(&child, rustix::process::Signal::CONT) };
        futures::join!(late, wake).0
    };
    let (early, late) = futures::join!(early, stopped);
    let mut counts: Vec<u64> = early.into_iter().chain(late).map(Result::unwrap).collect();
    // Who gave up may have been counted in between; nobody was counted twice, or out of turn.
    assert!(counts.is_sorted_by(|a, b| a < b), "{counts:?}");
    counts.push(count.ask(Count).await.unwrap());
    assert!((42..=43).contains(counts.last().unwrap()), "{counts:?}");
    let stats = peer.state().stats;
    assert_eq!(stats.sessions_ended, 0, "{stats:?}");
    assert!(stats.resumes > 0, "{stats:?}");
}

async fn g32_a_killed_process_ends_its_session_with_verdicts_and_its_successor_serves(
    system: System,
) {
    let path = socket("killed");
    let mut child = start(&path).await;
    let peer = Peer::unix_with(&system, &path, impatient());
    peer.connected().await.unwrap();
    let count: Recipient<Count> = peer.recipient("counter").unwrap();
    let never: Recipient<Never> = peer.recipient("counter").unwrap();
    let lost = never.ask(Never).no_deadline().into_future();
    let killed = async {
        // Its answer proves that what was asked before has arrived.
        count.ask(Count).await.unwrap();
        signal(&child, rustix::process::Signal::KILL);
        child.wait().await.unwrap();
        until(&system, || peer.state().phase != Phase::Connected).await;
        // Put where the next connection of this session would take it; there is none.
        let unsent = count.ask(Count).no_deadline().into_future();
        let (unsent, next) = futures::join!(unsent, start(&path));
        (unsent, next)
    };
    let (lost, (unsent, next)) = futures::join!(lost, killed);
    let (lost, unsent) = (lost.unwrap_err(), unsent.unwrap_err());
    assert_eq!(
        (lost.kind(), lost.verdict()),
        (FailureKind::ConnectionLost, Verdict::MaybeExecuted)
    );
    assert_eq!(
        (unsent.kind(), unsent.verdict()),
        (FailureKind::NoConnection, Verdict::NotSent)
    );
    until(&system, || peer.state().phase == Phase::Connected).await;
    assert_eq!(count.ask(Count).await.unwrap(), 1);
    let remote = peer.state().remote.unwrap();
    assert_eq!(remote.incarnation.0, u64::from(next.id().unwrap()));
    assert_eq!(peer.state().stats.sessions_ended, 1);
}

/// How long an answer may take while a thousand others connect, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many connections: 1,000, or `CALLBOARD_CONNECTIONS`.
fn many() -> usize {
    let text = std::env::var("CALLBOARD_CONNECTIONS");
    text.map_or(1_000, |text| text.parse().unwrap())
}

/// A thousand questions a second whether somebody is there, however many there are.
fn ping_after() -> Duration {
    Duration::from_millis(many() as u64)
}

/// Asks one after the other until `others` is done; each is answered. How many those were.
async fn asks_during<T>(count: &Recipient<Count>, others: impl Future<Output = T>) -> (T, u64) {
    let mut others = std::pin::pin!(others);
    let mut answered = 0;
    loop {
        let ask = count.ask(Count).deadline(PATIENCE).into_future();
        match futures::future::select(others, ask).await {
            futures::future::Either::Left((done, ask)) => {
                ask.await.unwrap();
                return (done, answered + 1);
            }
            futures::future::Either::Right((answer, waiting)) => {
                answer.unwrap();
                answered += 1;
                others = waiting;
            }
        }
    }
}

async fn g36_thousands_of_idle_connections_cost_little_and_delay_nobody(system: System) {
    let path = socket("idle");
    let child = start(&path).await;
    let peer = Peer::unix(&system, &path);
    peer.connected().await.unwrap();
    let count: Recipient<Count> = peer.recipient("counter").unwrap();
    count.ask(Count).await.unwrap();
    let before = memory(&child);
    let many = many();
    let mut config = LinkConfig::default();
    config.ping_after = ping_after();
    let connecting = async {
        let mut peers = Vec::new();
        while peers.len() < many {
            let next: Vec<Peer> = (0..100)
                .map(|_| Peer::unix_with(&system, &path, config.clone()))
                .collect();
            let connected = next.iter().map(Peer::connected);
            join_all(connected)
                .await
                .into_iter()
                .for_each(Result::unwrap);
            peers.extend(next);
        }
        // Two rounds of questions whether they are there.
        system.clock().sleep(ping_after() * 5 / 2).await;
        peers
    };
    let (peers, answered) = asks_during(&count, connecting).await;
    let each = (memory(&child) - before) * 1_024 / peers.len() as u64;
    println!(
        "{many} idle connections: {each} bytes each; {answered} asks of another answered meanwhile"
    );
    assert!(each < 40_000, "{each} bytes for an idle connection");
    for peer in &peers {
        let stats = peer.state().stats;
        assert_eq!((stats.connects, stats.disconnects), (1, 0));
    }
    assert!(answered > 0);
}

/// Connects, also while more want to than the kernel keeps waiting.
async fn dial(system: &System, path: &Path) -> UnixStream {
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => return stream,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                system.clock().sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Sends bytes and waits for the end; how many bytes came.
async fn say(system: &System, path: &Path, bytes: &[u8]) -> usize {
    let mut stream = dial(system, path).await;
    // The other side may be done with it before all of it is written.
    let _ = stream.write_all(bytes).await;
    let mut heard = Vec::new();
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut heard).await;
    heard.len()
}

async fn g36_slow_handshakes_are_cut_and_take_no_memory(system: System) {
    let path = socket("slow");
    let child = start(&path).await;
    let peer = Peer::unix(&system, &path);
    peer.connected().await.unwrap();
    let count: Recipient<Count> = peer.recipient("counter").unwrap();
    let before = memory(&child);
    let many = many();
    let slow = async {
        // Some say nothing, others a part of a hello.
        let slow = (0..many).map(|n| {
            let begun = &hello()[..n % 60];
            let begun = begun.to_vec();
            let (system, path) = (&system, &path);
            async move { say(system, path, &begun).await }
        });
        let peers = join_all(slow).await;
        assert!(peers.iter().all(|heard| *heard == 0));
    };
    let ((), answered) = asks_during(&count, slow).await;
    let grown = memory(&child).saturating_sub(before);
    println!("{many} slow handshakes: {grown} KiB; {answered} asks of another answered meanwhile");
    assert!(grown < 8 * many as u64 + 4_096, "{grown} KiB");
    assert_eq!(peer.state().stats.connects, 1);
}

async fn g36_giant_lengths_and_floods_take_no_memory(system: System) {
    let path = socket("giant");
    let child = start(&path).await;
    let peer = Peer::unix(&system, &path);
    peer.connected().await.unwrap();
    let count: Recipient<Count> = peer.recipient("counter").unwrap();
    count.ask(Count).await.unwrap();
    let before = memory(&child);
    let giants = async {
        for n in 0..100_u64 {
            let mut giant = hello_of(n);
            // An ask of nearly 4 GiB, and a handshake of that.
            giant.extend([0xFF, 0xFF, 0xFF, 0xFF, 17, 0, 0, 1]);
            giant.extend([0; 8]);
            say(&system, &path, &giant).await;
            let mut hello = hello();
            hello[..4].copy_from_slice(&[0xFF; 4]);
            say(&system, &path, &hello).await;
        }
        // 64 MiB of questions by one who reads no answer.
        let ping = [0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].repeat(4_096);
        let mut stream = dial(&system, &path).await;
        stream.write_all(&hello_of(1_000)).await.unwrap();
        for _ in 0..1_024 {
            stream.write_all(&ping).await.unwrap();
        }
        stream
    };
    let (_stream, answered) = asks_during(&count, giants).await;
    let grown = memory(&child).saturating_sub(before);
    println!("giants and a flood: {grown} KiB; {answered} asks of another answered meanwhile");
    assert!(grown < 16 * 1_024, "{grown} KiB");
    assert_eq!(peer.state().stats.connects, 1);
}

fn hello() -> Vec<u8> {
    hello_of(0)
}

/// Introduces a peer that begins a session with that number.
fn hello_of(number: u64) -> Vec<u8> {
    let mut body = vec![0, 2, 0, 2];
    body.extend([0; 8]);
    body.extend(1_u64.to_be_bytes());
    body.extend(1_000_000_u32.to_be_bytes());
    body.extend(b"\x03raw");
    body.extend(b"drilling");
    body.extend(number.to_be_bytes());
    body.push(0);
    body.extend(0_u64.to_be_bytes());
    body.extend(1_000_000_u64.to_be_bytes());
    body.extend(1_000_000_u64.to_be_bytes());
    body.extend(1_000_u32.to_be_bytes());
    body.extend(1_000_u32.to_be_bytes());
    body.extend([0; 3]);
    let mut hello = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    hello.extend([1, 0, 0, 0]);
    hello.extend(b"CALLBRD\n");
    hello.extend(body);
    hello
}
