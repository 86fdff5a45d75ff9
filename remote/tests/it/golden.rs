//! Whole conversations, byte for byte, as the guide's chapter "The wire" shows them (G37).
//!
//! A conversation lies in `tests/fixtures/wire/`. Lines that begin with `>` and `<` begin a frame of who connects
//! and of the node; the indented lines below are its bytes, a comment behind each. Here one side is played from the
//! file, and what the other one says must be what is written there. `id` stands for a byte of a correlation that the
//! played side takes from what it hears, and `??` for one that differs from run to run.
//!
//! Acknowledgements that a conversation doesn't name may come at any time, and are checked for what they claim only.

use callboard::topic::Topic;
use callboard::{
    Actor, ActorRef, Blob, Context, DeferredHandler, DropReason, FailureKind, Handler, Incarnation,
    Message, Recipient, Responder, System, WireMessage, codec,
};
use callboard_remote::{LinkConfig, Node, Peer, Proof, Verbs};
use futures::channel::oneshot;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::raw::{ACK, FAILED, REPLY, Raw};

/// What a build knows that is newer than the frames of the old one.
#[derive(Debug, Clone, PartialEq, Message, Serialize, Deserialize)]
#[message(reply = Total, name = "counter.add")]
struct Add {
    amount: u64,
    note: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Total {
    total: u64,
    note: Option<String>,
}

/// What the old build knew.
#[derive(Debug, Clone, PartialEq, Message, Serialize, Deserialize)]
#[message(reply = OldTotal, name = "counter.add")]
struct OldAdd {
    amount: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct OldTotal {
    total: u64,
}

/// Asks what travelled beside it.
#[derive(Message, Serialize, Deserialize)]
#[message(reply = Seen, name = "counter.look")]
struct Look;

#[derive(Serialize, Deserialize)]
struct Seen {
    attempt: u32,
    caller_retries: bool,
    key: String,
    trace: String,
}

/// Is never answered.
#[derive(Message, Serialize, Deserialize)]
#[message(reply = (), name = "counter.hold")]
struct Hold;

#[derive(Message, Serialize, Deserialize)]
#[message(reply = Blob, name = "counter.raw", raw)]
struct Bytes(Blob);

#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[message(name = "news.item")]
struct Item {
    number: u64,
}

#[derive(Default)]
struct Counter {
    total: u64,
    held: Vec<Responder<()>>,
}

impl Actor for Counter {}

impl Handler<Add> for Counter {
    async fn handle(&mut self, Add { amount, note }: Add, _ctx: &mut Context<Self>) -> Total {
        self.total += amount;
        let total = self.total;
        Total { total, note }
    }
}

impl Handler<OldAdd> for Counter {
    async fn handle(&mut self, OldAdd { amount }: OldAdd, _ctx: &mut Context<Self>) -> OldTotal {
        self.total += amount;
        OldTotal { total: self.total }
    }
}

impl Handler<Look> for Counter {
    async fn handle(&mut self, _: Look, ctx: &mut Context<Self>) -> Seen {
        let meta = ctx.meta();
        Seen {
            attempt: meta.attempt(),
            caller_retries: meta.caller_retries(),
            key: meta.key().map_or_else(String::new, |key| key.to_string()),
            trace: meta
                .trace_parent()
                .map_or_else(String::new, |trace| trace.to_string()),
        }
    }
}

impl DeferredHandler<Hold> for Counter {
    async fn handle_deferred(
        &mut self,
        _: Hold,
        responder: Responder<()>,
        _ctx: &mut Context<Self>,
    ) {
        self.held.push(responder);
    }
}

impl Handler<Bytes> for Counter {
    async fn handle(&mut self, Bytes(bytes): Bytes, _ctx: &mut Context<Self>) -> Blob {
        bytes
    }
}

/// One byte of a conversation.
#[derive(Debug, Clone, Copy)]
enum Byte {
    Is(u8),
    /// Of the correlation.
    Noted(usize),
    /// Whatever it is: a number that differs from run to run.
    Any,
}

#[derive(Debug)]
enum Step {
    /// What who connects says, and its title.
    Dialler(String, Vec<Byte>),
    /// What the node says.
    Node(String, Vec<Byte>),
    /// The connection breaks; the next one begins.
    Breaks,
    /// The node closes the connection.
    Closes,
    /// Something happens at the node.
    Happens(String),
}

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/wire");

/// The text of a conversation.
fn conversation(name: &str) -> String {
    std::fs::read_to_string(format!("{FOLDER}/{name}.txt")).unwrap()
}

/// What is in it.
fn steps(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for line in text.lines() {
        let (line, _) = line.split_once("; ").unwrap_or((line, ""));
        let title = line.get(1..).unwrap_or_default().trim().to_owned();
        match line.bytes().next() {
            None | Some(b'#') => {}
            Some(b'>') => steps.push(Step::Dialler(title, Vec::new())),
            Some(b'<') => steps.push(Step::Node(title, Vec::new())),
            Some(b'!') => steps.push(Step::Happens(title)),
            Some(b'=') if title.contains("breaks") => steps.push(Step::Breaks),
            Some(b'=') if title.contains("closes") => steps.push(Step::Closes),
            Some(b' ') => {
                let (Some(Step::Dialler(_, bytes)) | Some(Step::Node(_, bytes))) = steps.last_mut()
                else {
                    panic!("bytes of nobody: {line:?}");
                };
                for token in line.split_whitespace() {
                    let noted = bytes
                        .iter()
                        .filter(|byte| matches!(byte, Byte::Noted(_)))
                        .count();
                    bytes.push(match token {
                        "id" => Byte::Noted(noted),
                        "??" => Byte::Any,
                        hex => Byte::Is(u8::from_str_radix(hex, 16).unwrap()),
                    });
                }
            }
            Some(_) => panic!("{line:?} is no line of a conversation"),
        }
    }
    steps
}

/// One side of a conversation, spoken from the file.
struct Played {
    stream: DuplexStream,
    correlation: [u8; 8],
    /// The last acknowledgement that was not waited for.
    acked: u64,
}

impl Played {
    fn new(stream: DuplexStream) -> Self {
        Played {
            stream,
            correlation: [0; 8],
            acked: 0,
        }
    }

    async fn say(&mut self, bytes: &[Byte]) {
        let said: Vec<u8> = bytes.iter().map(|byte| self.value(*byte)).collect();
        // The other side may have closed already; then that is what comes next.
        let _ = self.stream.write_all(&said).await;
    }

    fn value(&self, byte: Byte) -> u8 {
        match byte {
            Byte::Is(byte) => byte,
            Byte::Noted(at) => self.correlation[at],
            Byte::Any => 0,
        }
    }

    /// The next frame; nothing at the end of the stream.
    async fn hear(&mut self) -> Option<Vec<u8>> {
        let mut frame = vec![0; 16];
        self.stream.read_exact(&mut frame).await.ok()?;
        let len = u32::from_be_bytes(*frame.first_chunk().unwrap()) as usize;
        frame.resize(16 + len, 0);
        self.stream.read_exact(&mut frame[16..]).await.ok()?;
        Some(frame)
    }

    /// Hears a frame that must be this one. Acknowledgements may come before it.
    async fn expect(&mut self, name: &str, title: &str, expected: &[Byte]) {
        let is_ack = matches!(expected.get(4), Some(Byte::Is(ACK)));
        loop {
            let heard = self.hear().await;
            let heard = heard.unwrap_or_else(|| panic!("{name}: the end came instead of {title}"));
            let number = u64::from_be_bytes(*heard[8..].first_chunk().unwrap());
            if heard[4] == ACK {
                assert!(
                    number >= self.acked,
                    "{name}: {number} acknowledged too late"
                );
                self.acked = number;
            }
            for (byte, heard) in expected.iter().zip(&heard) {
                if let Byte::Noted(at) = byte {
                    self.correlation[*at] = *heard;
                }
            }
            let expected: Vec<u8> = expected
                .iter()
                .enumerate()
                .map(|(at, byte)| match byte {
                    Byte::Any => heard.get(at).copied().unwrap_or_default(),
                    byte => self.value(*byte),
                })
                .collect();
            if is_ack && heard[4] != ACK {
                // It came before, beside an answer.
                let number = u64::from_be_bytes(*expected[8..].first_chunk().unwrap());
                assert_eq!(self.acked, number, "{name}: {title}");
                panic!("{name}: name the acknowledgement where it comes");
            }
            if heard[4] != ACK || is_ack && heard == expected {
                assert_eq!(hex(&heard), hex(&expected), "{name}: {title}");
                return;
            }
        }
    }

    /// Nothing more comes, but for acknowledgements.
    async fn expect_end(&mut self, name: &str) {
        while let Some(heard) = self.hear().await {
            assert_eq!(heard[4], ACK, "{name}: {} after the end", hex(&heard));
        }
    }
}

/// Bytes that can be compared by eye, and put into a file.
fn hex(bytes: &[u8]) -> String {
    let hex = |byte: &u8| format!("{byte:02x}");
    let (header, body) = bytes.split_at(16.min(bytes.len()));
    let line = |bytes: &[u8]| bytes.iter().map(hex).collect::<Vec<_>>().join(" ");
    let text = String::from_utf8_lossy(body);
    format!("{} | {} | {text:?}", line(header), line(body))
}

/// What the node of the conversations exposes.
struct Desk {
    node: Node,
    counter: ActorRef<Counter>,
    news: Topic<Item>,
}

impl Desk {
    fn open(system: &System, config: LinkConfig) -> Self {
        let node = Node::with(system, "desk", Incarnation(9), config).unwrap();
        let counter = system.start(Counter::default());
        let name = "counter";
        node.expose::<Add>(name, &counter.recipient()).unwrap();
        node.expose::<Look>(name, &counter.recipient()).unwrap();
        node.expose::<Hold>(name, &counter.recipient()).unwrap();
        node.expose::<Bytes>(name, &counter.recipient()).unwrap();
        let news = Topic::start(system, "news");
        node.expose_topic("news", &news).unwrap();
        Desk {
            node,
            counter,
            news,
        }
    }

    async fn happens(&self, what: &str) {
        match what.split(' ').collect::<Vec<_>>()[..] {
            ["publish", subject, number] => {
                let number = number.parse().unwrap();
                self.news.publish(subject, Item { number }).await.unwrap();
            }
            ["stop", "the", "topic"] => self.news.stop(),
            ["stop", "the", "counter"] => self.counter.stop(),
            _ => panic!("{what:?} is nothing that happens"),
        }
    }
}

/// Plays who connects, to a node of this build.
async fn play_dialler(system: &System, name: &str) {
    let mut config = LinkConfig::default();
    // As it was when they were written down.
    config.window = 256 * 1024;
    match name {
        "12-credit" => config.window = 100,
        "17-refused" => config.connections = 0,
        _ => {}
    }
    let desk = Desk::open(system, config);
    let (mut raw, mut ended) = Raw::served(&desk.node, 4_096);
    let mut played = Played::new(raw.0);
    for step in steps(&conversation(name)) {
        match step {
            Step::Dialler(_, bytes) => played.say(&bytes).await,
            Step::Node(title, bytes) => played.expect(name, &title, &bytes).await,
            Step::Happens(what) => desk.happens(&what).await,
            Step::Closes => {
                played.expect_end(name).await;
                let _ = (&mut ended).await;
            }
            Step::Breaks => {
                (raw, ended) = Raw::served(&desk.node, 4_096);
                played = Played::new(raw.0);
            }
        }
    }
    if name == "07-cancel" {
        assert_eq!(desk.node.state().stats.withdrawn, 1);
    }
    // A tell has no answer: what it did is seen here.
    if name == "03-failures" {
        let failures = desk.node.state().stats.failures;
        let unknown = failures
            .iter()
            .find(|(kind, _)| *kind == FailureKind::UnknownName);
        assert_eq!(
            unknown,
            Some(&(FailureKind::UnknownName, 2)),
            "{failures:?}"
        );
        let letters = system.dead_letters().counts().by_reason;
        assert_eq!(
            letters.get(&DropReason::UnknownName),
            Some(&1),
            "{letters:?}"
        );
    }
    drop(played);
}

#[callboard::test(both)]
async fn g37_golden_an_ask_from_hello_to_bye(system: System) {
    play_dialler(&system, "01-ask").await;
}

#[callboard::test(both)]
async fn g37_golden_all_that_stands_before_a_payload(system: System) {
    play_dialler(&system, "02-all-fields").await;
}

#[callboard::test(both)]
async fn g34_golden_what_cannot_be_done_is_said_at_once(system: System) {
    play_dialler(&system, "03-failures").await;
}

#[callboard::test(both)]
async fn g32_golden_a_session_goes_on_over_the_next_connection(system: System) {
    play_dialler(&system, "04-resume").await;
}

#[callboard::test(both)]
async fn g32_golden_a_session_that_is_gone(system: System) {
    play_dialler(&system, "05-gone").await;
}

#[callboard::test(both)]
async fn g33_golden_a_frame_in_pieces(system: System) {
    play_dialler(&system, "06-parts").await;
}

#[callboard::test(both)]
async fn g08_golden_an_asker_gives_up(system: System) {
    play_dialler(&system, "07-cancel").await;
}

#[callboard::test(both)]
async fn g37_golden_a_compressed_payload(system: System) {
    play_dialler(&system, "08-compressed").await;
}

#[callboard::test(both)]
async fn g37_golden_structs_as_arrays(system: System) {
    play_dialler(&system, "09-positional").await;
}

#[callboard::test(both)]
async fn g37_golden_bytes_as_they_are(system: System) {
    play_dialler(&system, "10-raw").await;
}

#[callboard::test(both)]
async fn g27_golden_a_subscription(system: System) {
    play_dialler(&system, "11-topic").await;
}

#[callboard::test(both)]
async fn g33_golden_credit(system: System) {
    play_dialler(&system, "12-credit").await;
}

#[callboard::test(both)]
async fn g37_golden_no_version_in_common(system: System) {
    play_dialler(&system, "13-versions").await;
}

#[callboard::test(both)]
async fn g37_golden_a_peer_of_version_one(system: System) {
    play_dialler(&system, "14-version-1").await;
}

#[callboard::test(both)]
async fn g36_golden_a_broken_frame(system: System) {
    play_dialler(&system, "15-broken").await;
}

#[callboard::test(both)]
async fn g36_golden_a_foreign_stream(system: System) {
    play_dialler(&system, "16-foreign").await;
}

#[callboard::test(both)]
async fn g03_golden_a_node_that_is_full(system: System) {
    play_dialler(&system, "17-refused").await;
}

#[callboard::test(both)]
async fn g12_golden_a_watch(system: System) {
    play_dialler(&system, "18-watch").await;
}

#[callboard::test(both)]
async fn g03_golden_a_slot_is_given_anew(system: System) {
    play_dialler(&system, "22-anew").await;
}

#[callboard::test(both)]
async fn g37_golden_an_old_client_and_this_node(system: System) {
    play_dialler(&system, "20-old-client").await;
}

#[callboard::test(both)]
async fn g37_golden_an_old_node_and_this_client(system: System) {
    let peer = Peer::attached(&system, "an old node");
    let (mut raw, far) = Raw::pair(4_096);
    peer.attach(far);
    raw.welcome().await;
    peer.connected().await.unwrap();
    let counter: Recipient<Add> = peer.recipient("counter").unwrap();
    let (tx, rx) = oneshot::channel();
    system.spawn(callboard::Placement::Spread, move || async move {
        let add = Add {
            amount: 5,
            note: Some("kept".to_owned()),
        };
        let _ = tx.send(counter.ask(add).no_deadline().await);
    });
    let mut played = Played::new(raw.0);
    for step in steps(&conversation("21-old-node")) {
        match step {
            Step::Dialler(title, bytes) => played.expect("21-old-node", &title, &bytes).await,
            Step::Node(_, bytes) => played.say(&bytes).await,
            other => panic!("{other:?} in a conversation with a client"),
        }
    }
    let total = rx.await.unwrap().unwrap();
    assert_eq!(
        total,
        Total {
            total: 5,
            note: None
        }
    );
    peer.close();
}

/// What the played old sides above take for granted: the old build reads what this one writes, and the other way.
#[test]
fn g37_an_optional_field_comes_and_goes_without_a_flag_day() {
    let new = Add {
        amount: 5,
        note: Some("kept".to_owned()),
    };
    let read: OldAdd = codec::decode(&codec::encode(&new).unwrap()).unwrap();
    assert_eq!(read, OldAdd { amount: 5 });
    let answer: Total = codec::decode(&codec::encode(&OldTotal { total: 5 }).unwrap()).unwrap();
    assert_eq!(
        answer,
        Total {
            total: 5,
            note: None
        }
    );
    let back: OldTotal = codec::decode(&codec::encode(&answer).unwrap()).unwrap();
    assert_eq!(back, OldTotal { total: 5 });
    // Their shapes differ, so neither would ever be sent by position to the other.
    assert_ne!(Add::schema(), OldAdd::schema());
    assert_ne!(codec::schema::<Total>(), codec::schema::<OldTotal>());
}

/// The same with both builds alive, over a stream: each as a client of the other, more than once, so that positions
/// would be used if they could.
#[callboard::test(both)]
async fn g37_two_builds_speak_with_each_other(system: System) {
    async fn ask<M: WireMessage + Clone>(system: &System, node: &Node, message: M) -> M::Reply {
        let (_wire, peer) = crate::wires::connect::<crate::wires::Memory>(system, node).await;
        let counter: Recipient<M> = peer.recipient("counter").unwrap();
        counter.ask(message.clone()).await.unwrap();
        counter.ask(message).await.unwrap()
    }
    let counter = system.start(Counter::default());
    let old = Node::new(&system, "old").unwrap();
    old.expose::<OldAdd>("counter", &counter.recipient())
        .unwrap();
    let new = Node::new(&system, "new").unwrap();
    new.expose::<Add>("counter", &counter.recipient()).unwrap();
    let add = Add {
        amount: 1,
        note: Some("kept".to_owned()),
    };
    let total = ask(&system, &old, add.clone()).await;
    assert_eq!(
        total,
        Total {
            total: 2,
            note: None
        }
    );
    assert_eq!(
        ask(&system, &new, OldAdd { amount: 1 }).await,
        OldTotal { total: 4 }
    );
    let total = ask(&system, &new, add.clone()).await;
    assert_eq!((total.total, total.note), (6, add.note));
}

/// Whether a reply is packed, for a client with these features, over a channel that leaves the host.
async fn is_packed(system: &System, features: u8) -> bool {
    const FEATURES: usize = 16 + 4 + 7;
    const PACKED: u8 = 64;
    let mut config = LinkConfig::default();
    config.compress_above = Some(16);
    let desk = Desk::open(system, config);
    let rights = desk.node.rights();
    rights.grant("anonymous", Verbs::ALL, ">").unwrap();
    let (near, far) = tokio::io::duplex(4_096);
    let node = desk.node.clone();
    system.spawn(callboard::Placement::Spread, move || async move {
        node.serve(far, "raw", Proof::plain()).await;
    });
    let mut played = Played::new(near);
    for step in steps(&conversation("08-compressed")) {
        if let Step::Dialler(title, mut bytes) = step {
            if title == "hello" {
                bytes[FEATURES] = Byte::Is(features);
            }
            played.say(&bytes).await;
        }
    }
    loop {
        let heard = played.hear().await.unwrap();
        if heard[4] == REPLY {
            return heard[5] & PACKED != 0;
        }
        assert_ne!(heard[4], FAILED, "{}", hex(&heard));
    }
}

#[callboard::test(both)]
async fn g37_a_feature_is_in_force_where_both_sides_have_it(system: System) {
    assert!(is_packed(&system, 1).await);
    assert!(!is_packed(&system, 0).await);
    // One that nobody here knows changes nothing.
    assert!(is_packed(&system, 0x81).await);
}

#[test]
fn every_conversation_is_played() {
    let played = include_str!("golden.rs");
    let mut files = 0;
    for file in std::fs::read_dir(FOLDER).unwrap() {
        let file = file.unwrap().file_name().into_string().unwrap();
        let name = file.strip_suffix(".txt").unwrap();
        assert!(played.contains(&format!("\"{name}\"")), "{file}");
        files += 1;
    }
    assert!(files > 15, "only {files} files were found");
}
