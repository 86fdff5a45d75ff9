//! A place on another node, as it will be: slow, lossy, unreachable, back again. Supervision knows nothing of it but events
//! (G12, G20): no connection is no death, and nothing is started elsewhere before the lease is over.

use std::sync::Arc;
use std::time::Duration;

use callboard::clock::Instant;
use callboard::testing::{self, advance, settle};
use callboard::{
    ChildEvent, ChildKind, ChildStatus, ExitReason, Incarnation, Place, Placement, System, Terms,
};
use callboard_supervision::{
    Backoff, Child, ChildState, Strategy, Supervisor, SupervisorBuilder, SupervisorRef,
};
use parking_lot::Mutex;

use crate::common::{ms, secs};

/// How long a node holds its child without a connection, and how long the place waits before it says that it is over.
const LEASE: Duration = Duration::from_secs(10);
/// By how much the place waits longer: clocks don't run alike.
const MARGIN: Duration = Duration::from_secs(1);

/// A node, the wire to it, and the place that stands for it.
struct Remote {
    name: &'static str,
    system: System,
    /// How long a frame takes.
    wire: Mutex<Duration>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When the wire was cut.
    cut: Option<Instant>,
    /// The child in the far world, and which incarnations ever lived there, with what overlapped.
    far: Option<u64>,
    overlaps: Vec<String>,
    far_starts: u64,
    /// The last one that has ended over there: a start of it that comes late is refused.
    far_ended: u64,
    /// Here.
    incarnation: u64,
    terms: Option<Terms>,
    up: bool,
    /// Frames that could not be sent: what is asked is asked again when there is a wire.
    unsent: Vec<Frame>,
    /// The next acknowledgement of a start is lost.
    loses_ack: bool,
    /// The far child takes no notice of a request to stop.
    deaf: bool,
    /// Each loss of the wire has a number.
    losses: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    Start(u64),
    Stop(u64),
    Kill(u64),
}

impl Remote {
    fn new(system: &System, name: &'static str) -> Arc<Self> {
        Arc::new(Remote {
            name,
            system: system.clone(),
            wire: Mutex::new(ms(1)),
            state: Mutex::default(),
        })
    }

    fn child(self: &Arc<Self>) -> Arc<dyn Place> {
        Arc::new(Handle(Arc::clone(self)))
    }

    fn later(self: &Arc<Self>, span: Duration, what: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let (remote, sleep) = (Arc::clone(self), self.system.clock().sleep(span));
        self.system.spawn(Placement::Spread, move || async move {
            sleep.await;
            what(&remote);
        });
    }

    /// A frame to the far node, at once or when there is a wire.
    fn send(self: &Arc<Self>, frame: Frame) {
        let mut state = self.state.lock();
        if state.cut.is_some() {
            state.unsent.push(frame);
            return;
        }
        let (losses, wire) = (state.losses, *self.wire.lock());
        drop(state);
        self.later(wire, move |remote| {
            let lost = remote.state.lock().losses != losses;
            if lost {
                // In flight when the wire was cut: sent again later, for it was not acknowledged.
                remote.send(frame);
            } else {
                remote.arrives(frame);
            }
        });
    }

    /// What the far node does with it.
    fn arrives(self: &Arc<Self>, frame: Frame) {
        let mut state = self.state.lock();
        match frame {
            Frame::Start(number) => {
                // Asked again for what it has started, it says so.
                if state.far != Some(number) {
                    if state.far_ended >= number {
                        return;
                    }
                    if let Some(before) = state.far.replace(number) {
                        state.overlaps.push(format!("{number} beside {before}"));
                    }
                    state.far_starts += 1;
                }
                let lost = std::mem::take(&mut state.loses_ack);
                drop(state);
                if !lost {
                    self.answer(number, ChildEvent::Started);
                }
            }
            Frame::Stop(_) if state.deaf => {}
            Frame::Stop(number) | Frame::Kill(number) => {
                if state.far.is_none_or(|far| far == number) {
                    state.far = None;
                    state.far_ended = state.far_ended.max(number);
                }
                drop(state);
                let reason = match frame {
                    Frame::Kill(_) => ExitReason::Killed,
                    _ => ExitReason::Stopped,
                };
                self.answer(number, ChildEvent::Ended(reason));
            }
        }
    }

    /// Back over the wire.
    fn answer(self: &Arc<Self>, number: u64, event: ChildEvent) {
        let losses = self.state.lock().losses;
        let wire = *self.wire.lock();
        self.later(wire, move |remote| {
            if remote.state.lock().losses == losses {
                remote.tell(number, event);
            }
        });
    }

    fn tell(&self, number: u64, event: ChildEvent) {
        let mut state = self.state.lock();
        if state.incarnation != number {
            return;
        }
        let terms = match &event {
            ChildEvent::Started if std::mem::replace(&mut state.up, true) => None,
            event if event.is_last() => {
                state.unsent.clear();
                state.terms.take()
            }
            _ => state.terms.clone(),
        };
        drop(state);
        if let Some(terms) = terms {
            terms.tell(Incarnation(number), event);
        }
    }

    /// The wire is cut. The node ends its child at the end of its lease; the place counts a margin more.
    fn cut(self: &Arc<Self>) {
        let (number, losses) = {
            let mut state = self.state.lock();
            if state.cut.is_some() {
                return;
            }
            state.cut = Some(self.system.clock().now());
            state.losses += 1;
            (state.incarnation, state.losses)
        };
        self.tell(number, ChildEvent::NoConnection);
        self.later(LEASE, move |remote| {
            let mut state = remote.state.lock();
            if state.losses == losses && state.cut.is_some() {
                // Nor does it accept a start that was sent before.
                state.far_ended = state.far.take().unwrap_or(number);
            }
        });
        self.later(LEASE + MARGIN, move |remote| {
            let over = {
                let state = remote.state.lock();
                state.losses == losses && state.cut.is_some() && state.incarnation == number
            };
            if over {
                let reason = ExitReason::Failed("its lease is over".into());
                remote.tell(number, ChildEvent::Ended(reason));
            }
        });
    }

    /// There is a wire again: what is the same incarnation goes on, what ended over there is heard of.
    fn mend(self: &Arc<Self>) {
        let (number, unsent, far, up, ended) = {
            let mut state = self.state.lock();
            if state.cut.take().is_none() {
                return;
            }
            state.losses += 1;
            let unsent = std::mem::take(&mut state.unsent);
            let number = state.incarnation;
            (
                number,
                unsent,
                state.far,
                state.up,
                state.far_ended >= number,
            )
        };
        self.tell(number, ChildEvent::Reconnected);
        if far == Some(number) && !up {
            self.answer(number, ChildEvent::Started);
        } else if ended {
            let reason = ExitReason::Failed("it ended meanwhile".into());
            self.answer(number, ChildEvent::Ended(reason));
        }
        for frame in unsent {
            self.send(frame);
        }
    }

    /// The far child fails.
    fn crash(self: &Arc<Self>) {
        let number = {
            let mut state = self.state.lock();
            let number = state.far.take();
            state.far_ended = number.unwrap_or(state.far_ended);
            number
        };
        if let Some(number) = number {
            self.answer(
                number,
                ChildEvent::Ended(ExitReason::Failed("crash".into())),
            );
        }
    }

    fn starts(&self) -> u64 {
        self.state.lock().far_starts
    }

    fn check(&self) {
        let state = self.state.lock();
        assert!(
            state.overlaps.is_empty(),
            "two alive of `{}`: {:?}",
            self.name,
            state.overlaps
        );
    }
}

struct Handle(Arc<Remote>);

impl Place for Handle {
    fn label(&self) -> String {
        self.0.name.to_owned()
    }

    fn kind(&self) -> ChildKind {
        ChildKind::Process
    }

    fn start(&self, terms: Terms) {
        let (number, cut) = {
            let mut state = self.0.state.lock();
            state.incarnation += 1;
            let again = state.terms.replace(terms).is_some();
            if again {
                let number = state.incarnation;
                state
                    .overlaps
                    .push(format!("{number} started here beside another"));
            }
            state.up = false;
            (state.incarnation, state.cut.is_some())
        };
        if cut {
            // Nobody can be asked: no start, and no doubt about it.
            let why = "its node can't be reached".into();
            return self.0.tell(number, ChildEvent::StartFailed(why));
        }
        self.0.send(Frame::Start(number));
    }

    fn stop(&self) {
        let number = self.0.state.lock().incarnation;
        self.0.send(Frame::Stop(number));
    }

    fn kill(&self) {
        let number = self.0.state.lock().incarnation;
        self.0.send(Frame::Kill(number));
    }

    fn close(&self, _: ExitReason) {}

    fn status(&self) -> ChildStatus {
        ChildStatus::new(Incarnation(self.0.state.lock().incarnation))
    }
}

fn builder(strategy: Strategy) -> SupervisorBuilder {
    Supervisor::builder("cluster")
        .strategy(strategy)
        .intensity(5, secs(60))
        .backoff(Backoff::none())
}

fn state(supervisor: &SupervisorRef, child: &str) -> ChildState {
    supervisor.observe().find(child).unwrap().state
}

#[callboard::test]
async fn g12_no_connection_is_no_death(system: System) {
    let node = Remote::new(&system, "node");
    let cluster = builder(Strategy::OneForOne).child(node.child());
    let cluster = cluster.start(&system).unwrap();
    cluster.up().await.unwrap();
    node.cut();
    advance(&system, LEASE - secs(1)).await.unwrap();
    assert_eq!(state(&cluster, "node"), ChildState::Unreachable);
    node.mend();
    settle(&system).await.unwrap();
    assert_eq!(state(&cluster, "node"), ChildState::Running);
    // The same incarnation, long after the lease would have been over.
    advance(&system, LEASE * 3).await.unwrap();
    assert_eq!((node.starts(), cluster.restarts()), (1, 0));
    node.check();
}

#[callboard::test]
async fn g12_a_child_is_started_again_only_when_its_lease_is_over(system: System) {
    let node = Remote::new(&system, "node");
    let backoff = Backoff {
        base: secs(2),
        cap: secs(2),
        stable: secs(60),
    };
    let cluster = builder(Strategy::OneForOne).backoff(backoff);
    let cluster = cluster.child(node.child()).start(&system).unwrap();
    cluster.up().await.unwrap();
    node.cut();
    advance(&system, LEASE + MARGIN - ms(1)).await.unwrap();
    assert_eq!(state(&cluster, "node"), ChildState::Unreachable);
    assert_eq!(cluster.restarts(), 0);
    advance(&system, ms(1)).await.unwrap();
    assert_eq!(cluster.restarts(), 1);
    node.mend();
    advance(&system, secs(3)).await.unwrap();
    assert_eq!(
        (state(&cluster, "node"), node.starts()),
        (ChildState::Running, 2)
    );
    node.check();
}

#[callboard::test]
async fn g12_a_stop_request_while_unreachable_waits_for_no_lease(system: System) {
    let node = Remote::new(&system, "node");
    let cluster = builder(Strategy::OneForOne).child(node.child());
    let cluster = cluster.start(&system).unwrap();
    cluster.up().await.unwrap();
    node.cut();
    let before = system.clock().now();
    cluster.stop();
    cluster.wait().await;
    // Five seconds to end, five more to be killed: then it is left to its lease.
    assert_eq!(system.clock().now().since(before), secs(10));
    advance(&system, LEASE).await.unwrap();
    assert_eq!(node.state.lock().far, None);
    assert_eq!(state(&cluster, "node"), ChildState::Failed);
}

#[callboard::test]
async fn g16_a_start_without_acknowledgement_ends_at_its_limit(system: System) {
    let node = Remote::new(&system, "node");
    node.state.lock().loses_ack = true;
    let child = Child::from(node.child()).start_limit(Some(secs(3)));
    let cluster = builder(Strategy::OneForOne).child(child);
    let cluster = cluster.start(&system).unwrap();
    cluster.up().await.unwrap();
    // The first, of which nobody heard, was killed before the second began.
    assert_eq!((node.starts(), cluster.restarts()), (2, 1));
    let cause = cluster.observe().find("node").unwrap().last_cause.clone();
    assert!(
        cause.clone().unwrap().contains("was not up within 3s"),
        "{cause:?}"
    );
    node.check();
}

/// Nor may its siblings start before it is sure to have ended.
#[callboard::test]
async fn g13_a_group_waits_for_one_that_is_unreachable(system: System) {
    let [node, other] = ["node", "other"].map(|name| Remote::new(&system, name));
    let cluster = builder(Strategy::OneForAll);
    let cluster = cluster.child(other.child()).child(node.child());
    let cluster = cluster.start(&system).unwrap();
    cluster.up().await.unwrap();
    node.cut();
    other.crash();
    advance(&system, LEASE + MARGIN - ms(5)).await.unwrap();
    assert_eq!((other.starts(), node.starts()), (1, 1));
    node.mend();
    cluster.until(|_| node.starts() == 2).await;
    cluster.up().await.unwrap();
    assert_eq!((other.starts(), cluster.restarts()), (2, 1));
    node.check();
}

#[test]
fn g12_never_two_incarnations_in_the_far_world() {
    testing::seeds(0..200, |system| async move {
        let draw = |bound| system.entropy().below(bound);
        let strategy = [
            Strategy::OneForOne,
            Strategy::OneForAll,
            Strategy::RestForOne,
        ];
        let strategy = strategy[usize::try_from(draw(3)).unwrap()];
        let nodes = ["a", "b", "c"].map(|name| Remote::new(&system, name));
        let backoff = Backoff {
            base: ms(200),
            cap: secs(2),
            stable: secs(5),
        };
        let mut cluster = builder(strategy).intensity(1_000, secs(1)).backoff(backoff);
        for node in &nodes {
            let child = Child::from(node.child()).start_limit(Some(secs(1 + draw(8))));
            cluster = cluster.child(child.shutdown_time(secs(draw(4))));
        }
        let cluster = cluster.start(&system).unwrap();
        for _ in 0..60 {
            let node = &nodes[usize::try_from(draw(3)).unwrap()];
            match draw(10) {
                0 | 1 => node.cut(),
                2 | 3 => node.mend(),
                4 | 5 => node.crash(),
                6 => *node.wire.lock() = ms(draw(3_000)),
                7 => node.state.lock().loses_ack = true,
                8 => node.state.lock().deaf = draw(2) == 0,
                _ if draw(4) == 0 => {
                    let id = cluster.child(node.name).unwrap();
                    // Nobody waits for what comes of it.
                    let mut order = Box::pin(cluster.start_again(id));
                    let _ = futures::FutureExt::now_or_never(&mut order);
                }
                _ => {}
            }
            advance(&system, ms(draw(4_000))).await.unwrap();
            nodes.iter().for_each(|node| node.check());
        }
        // With wires that hold, all of it comes up.
        for node in &nodes {
            node.state.lock().deaf = false;
            *node.wire.lock() = ms(1);
            node.mend();
        }
        advance(&system, secs(60)).await.unwrap();
        for node in &nodes {
            assert_eq!(
                state(&cluster, node.name),
                ChildState::Running,
                "{}",
                cluster.observe()
            );
            node.check();
        }
    });
}
