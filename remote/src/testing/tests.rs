//! The network as a machine: no executor, time moved by hand.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use callboard::Simulation;
use callboard::clock::Instant;
use proptest::prelude::*;

use super::state::{Read, State, Write};
use super::way::Fin;
use super::*;

const MS: Duration = Duration::from_millis(1);

/// A connection between two hosts that nobody runs.
struct Pair {
    state: State,
    now: Instant,
    id: u64,
    sent: [Vec<u8>; 2],
    got: [Vec<u8>; 2],
    /// How the reading of each side ended.
    over: [Option<Fin>; 2],
}

impl Pair {
    fn new(seed: u64, change: impl FnOnce(&mut State)) -> Self {
        let mut state = State::new(Entropy::seeded(seed));
        change(&mut state);
        let now = Instant::default();
        let id = state.connect(&"a".into(), &"b".into(), now);
        Pair {
            state,
            now,
            id,
            sent: Default::default(),
            got: Default::default(),
            over: [None, None],
        }
    }

    fn with(seed: u64, change: impl Fn(&mut Conditions)) -> Self {
        Pair::new(seed, |state| change(&mut state.usual))
    }

    /// Writes once; how many bytes were taken, or `None` if the side is told that it is over.
    fn write(&mut self, side: usize, bytes: &[u8]) -> Option<usize> {
        let written = self
            .state
            .write(self.id, side, bytes, self.now, Waker::noop());
        match written {
            Write::Took(count) => {
                self.sent[side].extend_from_slice(&bytes[..count]);
                Some(count)
            }
            Write::Full => Some(0),
            Write::Broken(_) => None,
        }
    }

    /// Reads once; how many bytes came.
    fn read(&mut self, side: usize) -> usize {
        let got = &mut self.got[side];
        let before = got.len();
        let take = |bytes: &[u8]| got.extend_from_slice(bytes);
        let found = self
            .state
            .read(self.id, side, 1_000_000, take, self.now, Waker::noop());
        match found {
            Read::Bytes => got.len() - before,
            Read::Over(fin) => {
                self.over[side] = Some(fin);
                0
            }
            Read::Until(_) => 0,
        }
    }

    /// Reads all that has arrived.
    fn read_all(&mut self, side: usize) -> usize {
        std::iter::repeat_with(|| self.read(side))
            .take_while(|count| *count > 0)
            .sum()
    }

    /// What arrived is a prefix of what was sent, and no byte is unaccounted for.
    fn check(&self) {
        for side in 0..2 {
            let (sent, got) = (&self.sent[side], &self.got[1 - side]);
            assert!(
                sent.starts_with(got),
                "side {side}: {sent:?} became {got:?}"
            );
        }
        let stats = self.state.stats;
        let count = |bytes: &[Vec<u8>; 2]| (bytes[0].len() + bytes[1].len()) as u64;
        assert_eq!(stats.bytes_written, count(&self.sent));
        assert_eq!(stats.bytes_delivered, count(&self.got));
        assert!(stats.bytes_delivered + stats.bytes_lost <= stats.bytes_written);
    }
}

#[test]
fn what_is_written_arrives_after_the_delay_and_in_order() {
    let mut pair = Pair::with(1, |way| way.delay = 5 * MS..=9 * MS);
    for n in 0..50 {
        assert_eq!(pair.write(0, &[n]), Some(1));
    }
    pair.now = pair.now + 4 * MS;
    assert_eq!(pair.read_all(1), 0);
    pair.now = pair.now + 5 * MS;
    assert_eq!(pair.read_all(1), 50);
    assert_eq!(pair.got[1], pair.sent[0]);
}

#[test]
fn a_link_has_its_bandwidth_for_all_its_connections_together() {
    let mut pair = Pair::with(1, |way| way.bandwidth = Some(1_000));
    let second = pair.state.connect(&"a".into(), &"b".into(), pair.now);
    assert_eq!(pair.write(0, &[1; 100]), Some(100));
    let first = std::mem::replace(&mut pair.id, second);
    assert_eq!(pair.write(0, &[2; 100]), Some(100));
    pair.now = pair.now + 100 * MS;
    assert_eq!(pair.read_all(1), 0);
    pair.id = first;
    assert_eq!(pair.read_all(1), 100);
    pair.id = second;
    pair.now = pair.now + 100 * MS;
    assert_eq!(pair.read_all(1), 100);
}

#[test]
fn g03_a_writer_waits_for_room() {
    let mut pair = Pair::with(1, |way| way.capacity = 10);
    assert_eq!(pair.write(0, &[1; 25]), Some(10));
    assert_eq!(pair.write(0, &[1; 15]), Some(0));
    assert_eq!(pair.read_all(1), 10);
    assert_eq!(pair.write(0, &[1; 15]), Some(10));
    // Each direction has its own.
    assert_eq!(pair.write(1, &[1; 25]), Some(10));
}

#[test]
fn a_cut_is_told_to_both_and_loses_everything_from_a_byte_on() {
    let mut kept = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let mut pair = Pair::with(seed, |_| ());
        let bytes: Vec<u8> = (0..8).collect();
        pair.write(0, &bytes);
        pair.state.cut(pair.id, pair.now);
        assert_eq!(pair.write(0, b"x"), None);
        assert_eq!(pair.write(1, b"x"), None);
        kept.insert(pair.read_all(1));
        pair.check();
        assert_eq!(pair.read(0), 0);
        assert_eq!(pair.over, [Some(Fin::Reset), Some(Fin::Reset)]);
        let stats = pair.state.stats;
        assert_eq!(stats.bytes_delivered + stats.bytes_lost, 8);
        assert_eq!(stats.cuts, 1);
    }
    // From nothing to everything.
    assert_eq!(kept, (0..=8).collect());
}

#[test]
fn a_partition_holds_bytes_in_its_direction_and_healing_lets_them_go() {
    let mut pair = Pair::with(1, |_| ());
    pair.state.hold(&"a".into(), &"b".into(), true);
    pair.write(0, b"there");
    pair.write(1, b"back");
    assert_eq!(pair.read_all(1), 0);
    assert_eq!(pair.read_all(0), 4);
    // The end of the stream is held as well.
    pair.state.shut(pair.id, 0, pair.now);
    assert_eq!(pair.read_all(1), 0);
    assert_eq!(pair.over[1], None);
    pair.state.heal_all();
    assert_eq!(pair.read_all(1), 5);
    assert_eq!(pair.over[1], Some(Fin::Closed));
    pair.check();
}

#[test]
fn a_half_open_connection_is_told_to_its_loser_only() {
    let mut pair = Pair::with(1, |_| ());
    pair.write(0, b"on its way");
    pair.state.half_open(&"b".into(), &"a".into(), pair.now);
    assert_eq!(pair.read(1), 0);
    assert_eq!(pair.over[1], Some(Fin::Reset));
    assert_eq!(pair.write(1, b"x"), None);
    for _ in 0..3 {
        pair.now = pair.now + 1_000 * MS;
        assert_eq!(pair.write(0, &[0; 100_000]), Some(100_000));
        assert_eq!(pair.read(0), 0);
    }
    // Even the loser's end leaves without a word.
    pair.state.leave(pair.id, 1, pair.now);
    assert_eq!(pair.read(0), 0);
    assert_eq!(pair.over[0], None);
    assert_eq!(pair.state.stats.half_opens, 1);
    assert_eq!(pair.state.stats.bytes_lost, 300_010);
    pair.state.leave(pair.id, 0, pair.now);
    assert_eq!(pair.state.connections(), 0);
}

#[test]
fn after_so_many_bytes_a_connection_ends_as_it_was_said() {
    let cases = [
        (Ending::Reset, Some(Fin::Reset), Some(Fin::Reset), false),
        (
            Ending::Truncated,
            Some(Fin::Closed),
            Some(Fin::Closed),
            false,
        ),
        (Ending::HalfClosed, None, Some(Fin::Closed), false),
        (Ending::Silent, None, None, true),
    ];
    for (ending, near, far, swallows) in cases {
        for bytes in 0..12 {
            let mut pair = Pair::new(bytes, |state| {
                let way = state.conditions(&"a".into(), &"b".into());
                way.ends_after = Some((bytes..=bytes, ending));
                way.piece = Some(3);
            });
            let mut told = false;
            for byte in 0..12 {
                match pair.write(0, &[byte]) {
                    Some(count) => assert_eq!(count, 1),
                    None => told = true,
                }
            }
            assert_eq!(told, !swallows, "{ending:?} after {bytes}");
            assert_eq!(pair.read_all(1) as u64, bytes, "{ending:?}");
            pair.check();
            pair.read(0);
            assert_eq!(pair.over, [near, far], "{ending:?} after {bytes}");
            let goes_on = pair.write(1, b"answer").is_some();
            assert_eq!(goes_on, near.is_none(), "{ending:?} after {bytes}");
        }
    }
}

#[test]
fn a_connection_is_cut_when_its_time_is_over() {
    let mut pair = Pair::with(3, |way| way.lifetime = Some(10 * MS..=20 * MS));
    pair.now = pair.now + 9 * MS;
    assert_eq!(pair.write(0, b"x"), Some(1));
    pair.now = pair.now + 11 * MS;
    assert_eq!(pair.write(1, b"x"), None);
    pair.read_all(0);
    assert_eq!(pair.over[0], Some(Fin::Reset));
    assert_eq!(pair.state.stats.cuts, 1);
}

#[test]
fn stragglers_of_a_cut_connection_come_after_its_successor() {
    let mut overtaken = 0;
    for seed in 0..32 {
        let mut pair = Pair::with(seed, |way| way.straggle = 5 * MS..=5 * MS);
        pair.write(0, &[1; 100]);
        pair.state.cut(pair.id, pair.now);
        let next = pair.state.connect(&"a".into(), &"b".into(), pair.now);
        let old = std::mem::replace(&mut pair.id, next);
        assert_eq!(pair.write(0, &[2; 10]), Some(10));
        assert_eq!(pair.read_all(1), 10);
        pair.id = old;
        assert_eq!(pair.read_all(1), 0);
        assert_eq!(pair.over[1], None);
        pair.now = pair.now + 5 * MS;
        overtaken += pair.read_all(1);
        assert_eq!(pair.over[1], Some(Fin::Reset));
    }
    assert!(overtaken > 0);
}

#[test]
fn who_writes_to_somebody_gone_hears_of_it_after_the_delay() {
    let mut pair = Pair::with(1, |way| way.delay = 5 * MS..=5 * MS);
    pair.state.leave(pair.id, 1, pair.now);
    assert_eq!(pair.write(0, b"into the void"), Some(13));
    pair.now = pair.now + 5 * MS;
    assert_eq!(pair.write(0, b"x"), None);
    pair.read(0);
    assert_eq!(pair.over[0], Some(Fin::Closed));
    assert_eq!(pair.state.stats.bytes_lost, 13);
}

#[derive(Debug, Clone)]
enum Step {
    Write(usize, usize),
    Read(usize),
    Pass(u64),
    Hold(bool, bool),
    Shut(usize),
    Cut,
    HalfOpen(bool),
    Delay(u64),
    Piece(Option<usize>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..2_usize, 0..40_usize).prop_map(|(side, len)| Step::Write(side, len)),
        6 => (0..2_usize).prop_map(Step::Read),
        4 => (0..10_u64).prop_map(Step::Pass),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(way, held)| Step::Hold(way, held)),
        1 => (0..2_usize).prop_map(Step::Shut),
        1 => Just(Step::Cut),
        1 => any::<bool>().prop_map(Step::HalfOpen),
        1 => (0..10_u64).prop_map(Step::Delay),
        1 => proptest::option::of(1..5_usize).prop_map(Step::Piece),
    ]
}

/// Runs the steps, checks after each, and answers what came out.
fn run(seed: u64, steps: &[Step]) -> ([Vec<u8>; 2], NetStats) {
    let mut pair = Pair::with(seed, |way| {
        way.capacity = 64;
        way.stall = Some(Stall {
            one_in: 3,
            span: MS..=5 * MS,
        });
        way.bandwidth = Some(20_000);
    });
    let (a, b): (Host, Host) = ("a".into(), "b".into());
    let mut next = 0_u8;
    for step in steps {
        match *step {
            Step::Write(side, len) => {
                let bytes: Vec<u8> = (0..len).map(|n| next.wrapping_add(n as u8)).collect();
                let taken = pair.write(side, &bytes).unwrap_or(0);
                next = next.wrapping_add(taken as u8);
            }
            Step::Read(side) => {
                pair.read(side);
            }
            Step::Pass(ms) => pair.now = pair.now + MS * ms as u32,
            Step::Hold(true, held) => pair.state.hold(&a, &b, held),
            Step::Hold(false, held) => pair.state.hold(&b, &a, held),
            Step::Shut(side) => pair.state.shut(pair.id, side, pair.now),
            Step::Cut => pair.state.cut(pair.id, pair.now),
            Step::HalfOpen(true) => pair.state.half_open(&a, &b, pair.now),
            Step::HalfOpen(false) => pair.state.half_open(&b, &a, pair.now),
            Step::Delay(ms) => pair.state.all_conditions().for_each(|way| {
                way.delay = Duration::ZERO..=MS * ms as u32;
            }),
            Step::Piece(piece) => pair
                .state
                .all_conditions()
                .for_each(|way| way.piece = piece),
        }
        pair.check();
    }
    pair.state.heal_all();
    pair.now = pair.now + 60_000 * MS;
    for side in 0..2 {
        pair.read_all(side);
        pair.state.leave(pair.id, side, pair.now);
    }
    pair.check();
    let stats = pair.state.stats;
    assert_eq!(
        stats.bytes_delivered + stats.bytes_lost,
        stats.bytes_written
    );
    (pair.got, stats)
}

proptest! {
    #[test]
    fn g38_what_arrives_is_a_prefix_and_a_seed_repeats_it(
        seed in any::<u64>(),
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        prop_assert_eq!(run(seed, &steps), run(seed, &steps));
    }
}

/// Ends whose reader and writer wait are woken by what frees them, and by time.
#[test]
fn sleepers_are_woken_by_time_room_and_healing() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let mut simulation = Simulation::new(7);
    let system = simulation.system().clone();
    simulation.block_on(async {
        let net = SimNet::new(&system);
        net.change("a", "b", |way| {
            way.delay = 5 * MS..=5 * MS;
            way.capacity = 8;
        });
        let (mut a, mut b) = net.pair("a", "b");
        let clock = system.clock();
        let sent: Vec<u8> = (0..100).collect();
        let mut got = vec![0; 100];
        let (wrote, read) = futures::join!(a.write_all(&sent), b.read_exact(&mut got));
        wrote.unwrap();
        read.unwrap();
        assert_eq!(got, sent);
        // Eight at a time, each 5 ms under way.
        assert_eq!(clock.now().as_nanos(), 13 * 5_000_000);

        net.partition("a", "b");
        a.write_all(b"held").await.unwrap();
        let mut four = [0; 4];
        let mut reading = Box::pin(b.read_exact(&mut four));
        let waiting = futures::future::select(reading.as_mut(), clock.sleep(3_600_000 * MS)).await;
        assert!(matches!(waiting, futures::future::Either::Right(_)));
        drop(waiting);
        let heal = async {
            clock.sleep(MS).await;
            net.heal("a", "b");
        };
        let (read, ()) = futures::join!(reading, heal);
        read.unwrap();
        assert_eq!(&four, b"held");

        // A reader that waits hears of a cut, and of a lifetime that ends.
        let mut byte = [0];
        let cut = async {
            clock.sleep(MS).await;
            net.cut("a", "b");
        };
        let (read, ()) = futures::join!(b.read(&mut byte), cut);
        assert_eq!(
            read.unwrap_err().kind(),
            std::io::ErrorKind::ConnectionReset
        );
        drop((a, b));
        assert_eq!(net.connections(), 0);

        net.change_one_way("a", "b", |way| way.lifetime = Some(10 * MS..=10 * MS));
        let (_a, mut b) = net.pair("a", "b");
        let begin = clock.now();
        assert!(b.read(&mut byte).await.is_err());
        assert_eq!(clock.now().since(begin), 10 * MS);
    });
}

#[test]
fn dialling_waits_for_a_partition_to_end_and_is_refused_where_nobody_listens() {
    let mut simulation = Simulation::new(7);
    let system = simulation.system().clone();
    simulation.block_on(async {
        let net = SimNet::new(&system);
        let connector = net.connector("a", "b");
        net.partition_one_way("b", "a");
        let mut dialling = crate::transport::Connector::connect(&connector);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(dialling.as_mut().poll(&mut cx), Poll::Pending));
        net.heal_all();
        let error = dialling.await.unwrap_err();
        assert_eq!(error.to_string(), "b has no listener");
        let node = Node::new(&system, "b").unwrap();
        net.listen("b", &node);
        net.change("a", "b", |way| way.refuse = true);
        let error = crate::transport::Connector::connect(&connector)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "b refuses connections");
        net.change_all(|way| way.refuse = false);
        drop(node);
        // The network keeps no node open.
        let error = crate::transport::Connector::connect(&connector)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        assert_eq!(net.stats().refusals, 3);
    });
}
