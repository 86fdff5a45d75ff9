//! Streams that are cut, closed in the middle, silent or slow, over any transport.

use std::time::Duration;

use callboard::{Recipient, SendError, System};
use callboard_remote::testing::{Direction, Ending};
use callboard_remote::{LinkConfig, Node, Peer, Phase};
use futures::future::{Either, select};

use crate::actors::{Add, Echo, tester};
use crate::wires::{Wire, connect_with};

const MOMENT: Duration = Duration::from_millis(1);

/// Connects again at once, so that many connections take little time.
fn hasty() -> LinkConfig {
    let mut config = LinkConfig::default();
    config.backoff = MOMENT;
    config.backoff_cap = MOMENT;
    config
}

/// Gives up on silence soon.
fn impatient() -> LinkConfig {
    let mut config = hasty();
    config.handshake_timeout = Duration::from_millis(200);
    config.ping_after = Duration::from_millis(50);
    config.dead_after = Duration::from_millis(200);
    config
}

pub(crate) async fn g36_a_stream_cut_at_any_byte_runs_nothing_twice<W: Wire>(system: System) {
    end_at_bytes::<W>(system, Ending::Reset, hasty(), usize::MAX).await;
}

pub(crate) async fn g36_a_stream_truncated_at_any_byte_runs_nothing_twice<W: Wire>(system: System) {
    end_at_bytes::<W>(system, Ending::Truncated, hasty(), usize::MAX).await;
}

pub(crate) async fn g36_a_stream_half_closed_at_any_byte_runs_nothing_twice<W: Wire>(
    system: System,
) {
    end_at_bytes::<W>(system, Ending::HalfClosed, impatient(), usize::MAX).await;
}

pub(crate) async fn g36_a_stream_that_falls_silent_is_given_up<W: Wire>(system: System) {
    // Each takes as long as the patience lasts, where time is real.
    end_at_bytes::<W>(system, Ending::Silent, impatient(), 3).await;
}

pub(crate) async fn a_stream_of_single_bytes_carries_everything<W: Wire>(system: System) {
    let (node, _actor, probe) = tester(&system, "slow");
    let mut wire = W::new(&system).await;
    wire.tap().piece(Some(1));
    wire.serve(&node).await;
    let peer = wire.peer(&system, LinkConfig::default()).await;
    peer.connected().await.unwrap();
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    let echo: Recipient<Echo> = peer.recipient("tester").unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(1_500).collect();
    add.tell(Add(1)).await.unwrap();
    assert_eq!(echo.ask(Echo(bytes.clone())).await.unwrap(), bytes);
    assert_eq!(add.ask(Add(2)).await.unwrap(), 3);
    assert_eq!(probe.added_now(), [1, 2]);
    assert_eq!(peer.state().stats.connects, 1);
}

pub(crate) async fn a_short_stall_costs_nothing_but_time<W: Wire>(system: System) {
    let (node, _actor, _probe) = tester(&system, "stalled");
    let (wire, peer) = connect_with::<W>(&system, &node, LinkConfig::default()).await;
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    wire.tap().stall();
    let ask = add.ask(Add(4)).into_future();
    let pause = Box::pin(system.clock().sleep(20 * MOMENT));
    let Either::Right(((), ask)) = select(ask, pause).await else {
        panic!("an answer came over a stream that stalls");
    };
    wire.tap().resume();
    assert_eq!(ask.await.unwrap(), 4);
    assert_eq!(peer.state().stats.connects, 1);
}

pub(crate) async fn what_was_cut_is_connected_again_once_it_can_be<W: Wire>(system: System) {
    let (node, _actor, probe) = tester(&system, "cut");
    let (mut wire, peer) = connect_with::<W>(&system, &node, hasty()).await;
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    for n in 1..=3 {
        assert_eq!(add.ask(Add(n)).await.unwrap(), (1..=n).sum::<u64>());
        wire.cut();
        while peer.state().phase == Phase::Connected {
            system.clock().sleep(MOMENT).await;
        }
        wire.heal().await;
        peer.connected().await.unwrap();
    }
    assert_eq!(add.ask(Add(4)).await.unwrap(), 10);
    assert_eq!(probe.added_now(), [1, 2, 3, 4]);
    assert_eq!(peer.state().stats.connects, 4);
    // The node has noticed as well.
    while node.state().connections.len() > 1 {
        system.clock().sleep(MOMENT).await;
    }
}

/// A short exchange whose first connection ends at a byte: at each of them, or at so many, evenly spread, in each
/// direction. Whatever is lost, no ask runs twice, those that ran did so in order, and each verdict is true.
async fn end_at_bytes<W: Wire>(system: System, ending: Ending, config: LinkConfig, most: usize) {
    let (node, _actor, probe) = tester(&system, "bytes");
    let mut number = 0;
    let whole = {
        let (wire, peer) = connect_with::<W>(&system, &node, config.clone()).await;
        let add: Recipient<Add> = peer.recipient("tester").unwrap();
        add.ask(Add(number)).await.unwrap();
        let whole = [Direction::Sent, Direction::Received].map(|way| (way, wire.tap().passed(way)));
        close(&system, &node, &peer).await;
        whole
    };
    for (direction, bytes) in whole {
        assert!(bytes > 40, "{direction:?}: {bytes}");
        let (first, step) = stride(&system, bytes, most);
        for at in (first..=bytes).step_by(step) {
            number += 1;
            let mut wire = W::new(&system).await;
            wire.tap().end_next(direction, at, ending);
            wire.serve(&node).await;
            let peer = wire.peer(&system, config.clone()).await;
            let context = format!("{ending:?} at byte {at} of what is {direction:?}");
            let doubtful = ask_until_known(&system, &mut wire, &peer, number).await;
            let ran = probe.added_now().iter().filter(|n| **n == number).count();
            if doubtful {
                assert!(ran <= 1, "{context}: ran {ran} times");
            } else {
                assert_eq!(ran, 1, "{context}");
            }
            // The exchange wasn't over, so this connection has ended; asks are told before it is counted.
            let broke = |peer: &Peer| {
                let stats = peer.state().stats;
                stats.disconnects + stats.connect_failures > 0
            };
            while at < bytes && !broke(&peer) {
                system.clock().sleep(MOMENT).await;
            }
            close(&system, &node, &peer).await;
        }
    }
    let added = probe.added_now();
    assert!(added.is_sorted_by(|a, b| a < b), "{added:?}");
}

/// Where to begin and in which steps. In a simulation each seed has bytes of its own, and all together have them all.
fn stride(system: &System, bytes: u64, most: usize) -> (u64, usize) {
    if system.clock().is_manual() {
        return (system.entropy().below(5), 5);
    }
    (0, (bytes as usize).div_ceil(most).max(1))
}

/// Asks until there is an answer, or doubt whether it ran: that is the answer.
async fn ask_until_known<W: Wire>(system: &System, wire: &mut W, peer: &Peer, number: u64) -> bool {
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    loop {
        let asked = Box::pin(async {
            peer.connected().await.unwrap();
            add.ask(Add(number)).await
        });
        match healing(system, wire, peer, asked).await {
            Ok(_) => return false,
            Err(error) if error.verdict().is_safe_to_resend() => {}
            Err(_) => return true,
        }
    }
}

/// Waits for an answer; meanwhile makes a new stream whenever there is none and nobody dials.
async fn healing<W: Wire>(
    system: &System,
    wire: &mut W,
    peer: &Peer,
    mut asked: impl Future<Output = Result<u64, SendError<Add>>> + Unpin,
) -> Result<u64, SendError<Add>> {
    loop {
        let pause = Box::pin(system.clock().sleep(2 * MOMENT));
        match select(asked, pause).await {
            Either::Left((answer, _)) => return answer,
            Either::Right(((), waiting)) => asked = waiting,
        }
        if peer.state().phase == Phase::Disconnected {
            wire.heal().await;
        }
    }
}

/// Closes a peer, and waits until the node has noticed.
async fn close(system: &System, node: &Node, peer: &Peer) {
    peer.close();
    while !node.state().connections.is_empty() {
        system.clock().sleep(MOMENT).await;
    }
}
