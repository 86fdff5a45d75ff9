//! The test kit of the remote layer: a simulated network, and faults on real byte streams.
//!
//! It is behind the feature `test`, which belongs into `[dev-dependencies]`; the kit for actors is
//! [`callboard_core::testing`].
//!
//! - [`SimNet`] is a network in memory. On the simulating executor its delays, cuts and partitions happen in
//!   virtual time and come from the seed (G38); it runs on arbiters too.
//! - [`Tap`] sits on the byte streams of any transport and breaks them: at a byte, slowly, in silence.
//!
//! ```
//! # extern crate callboard_core as callboard;
//! use std::time::Duration;
//! use callboard::testing::{On, Test};
//! use callboard::{Actor, Context, Handler, Message, System};
//! use callboard_remote::testing::SimNet;
//! use callboard_remote::{LinkConfig, Node, Peer};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Message, Serialize, Deserialize)]
//! #[message(reply = u64, name = "counter.add")]
//! struct Add(u64);
//!
//! struct Counter(u64);
//! impl Actor for Counter {}
//! impl Handler<Add> for Counter {
//!     async fn handle(&mut self, Add(n): Add, _ctx: &mut Context<Self>) -> u64 {
//!         self.0 += n;
//!         self.0
//!     }
//! }
//!
//! Test::new(On::Simulated).run(|system: System| async move {
//!     let net = SimNet::new(&system);
//!     let delay = Duration::from_millis(250);
//!     net.change("desk", "vault", |way| way.delay = delay..=delay);
//!
//!     let node = Node::new(&system, "vault").unwrap();
//!     let counter = system.start(Counter(0));
//!     node.expose("counter", &counter.recipient::<Add, _>()).unwrap();
//!     net.listen("vault", &node);
//!
//!     let config = LinkConfig::default();
//!     let peer = Peer::dialled(&system, net.connector("desk", "vault"), config);
//!     peer.connected().await.unwrap();
//!
//!     let begin = system.clock().now();
//!     let counter = peer.recipient::<Add>("counter").unwrap();
//!     assert_eq!(counter.ask(Add(2)).no_deadline().await.unwrap(), 2);
//!     // There and back, to the nanosecond.
//!     assert_eq!(system.clock().now().since(begin), 2 * delay);
//! });
//! ```

mod conditions;
mod state;
mod stats;
mod stream;
mod tap;
mod way;

use std::fmt;
use std::sync::Arc;

use callboard::clock::Clock;
use callboard::{Boundary, Entropy, System};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::node::Node;
use crate::transport::{ByteStream, Proof};

pub use conditions::{Conditions, Ending, Stall};
pub use stats::NetStats;
pub use stream::SimConnector;
pub use tap::{Direction, Tap};

use state::{Host, State};
use stream::End;

/// A network of hosts that are known by name, in memory. Clones are handles to the same one.
///
/// A host is whatever a connection comes from or leads to; it needs no making. What happens between two hosts is set
/// by [`Conditions`], changed at any time, and by orders: [`cut`](SimNet::cut), [`partition`](SimNet::partition),
/// [`half_open`](SimNet::half_open). It carries byte streams as TCP does: what arrives is always a prefix of what was
/// sent, in order, each byte once. (What TCP promises; datagrams are not modelled.)
///
/// # Guarantees
/// - On the simulating executor all of it is a function of the seed (G38).
/// - Every connection has a bounded buffer in each direction, and its writer waits (G3).
/// - Every byte is counted as written, and later as delivered or lost ([`stats`](SimNet::stats)).
///
/// # Ends
/// A connection lives until both sides have dropped it. Nothing runs in the background, and a network keeps no node
/// open.
#[derive(Clone)]
pub struct SimNet {
    shared: Arc<Shared>,
}

struct Shared {
    system: System,
    state: Mutex<State>,
    /// Tells those who dial that the conditions have changed.
    changes: watch::Sender<u64>,
}

impl SimNet {
    /// A network without faults, with the clock of `system` and randomness that is drawn from the system's once.
    #[must_use]
    pub fn new(system: &System) -> Self {
        let entropy = Entropy::seeded(system.entropy().next_u64());
        SimNet {
            shared: Arc::new(Shared {
                system: system.clone(),
                state: Mutex::new(State::new(entropy)),
                changes: watch::Sender::new(0),
            }),
        }
    }

    /// Lets `node` serve what is dialled to `host`, in place of the node before. Once the node is closed,
    /// connections are refused.
    pub fn listen(&self, host: &str, node: &Node) {
        self.change_state(|state| state.listeners.insert(host.into(), node.weak()));
    }

    /// Refuses what is dialled to `host` from now on. Connections that are open stay.
    pub fn unlisten(&self, host: &str) {
        self.change_state(|state| state.listeners.remove(host));
    }

    /// Dials from one host to another, for [`Peer::dialled`](crate::Peer::dialled). Refused while nobody listens;
    /// waits while either direction is partitioned.
    #[must_use]
    pub fn connector(&self, from: &str, to: &str) -> SimConnector {
        SimConnector {
            shared: Arc::clone(&self.shared),
            from: from.into(),
            to: to.into(),
            boundary: Boundary::Network,
            finds: Proof::local(None),
            shows: Proof::local(None),
        }
    }

    /// Changes what holds in both directions between two hosts. Bytes that are under way arrive when they would have.
    pub fn change(&self, a: &str, b: &str, change: impl Fn(&mut Conditions)) {
        let (a, b): (Host, Host) = (a.into(), b.into());
        self.change_state(|state| {
            change(state.conditions(&a, &b));
            change(state.conditions(&b, &a));
        });
    }

    /// Changes what holds from one host to another, and not back.
    pub fn change_one_way(&self, from: &str, to: &str, change: impl FnOnce(&mut Conditions)) {
        let (from, to): (Host, Host) = (from.into(), to.into());
        self.change_state(|state| change(state.conditions(&from, &to)));
    }

    /// Changes what holds between all hosts, also those that aren't known yet.
    pub fn change_all(&self, change: impl Fn(&mut Conditions)) {
        self.change_state(|state| state.all_conditions().for_each(&change));
    }

    /// Cuts all connections between two hosts. Both sides get an error; of what was under way each direction loses
    /// everything from a random byte on. New connections can be made at once.
    pub fn cut(&self, a: &str, b: &str) {
        let (a, b): (Host, Host) = (a.into(), b.into());
        let now = self.shared.clock().now();
        self.change_state(|state| {
            for id in state.between(&a, &b) {
                state.cut(id, now);
            }
        });
    }

    /// Cuts all connections there are.
    pub fn cut_all(&self) {
        let now = self.shared.clock().now();
        self.change_state(|state| {
            for id in state.all() {
                state.cut(id, now);
            }
        });
    }

    /// Lets `loser` lose its connections with `other`, which isn't told: to it they are half open. What it writes is
    /// thrown away for ever, and nothing arrives. So a host looks that has lost its power.
    pub fn half_open(&self, loser: &str, other: &str) {
        let (loser, other): (Host, Host) = (loser.into(), other.into());
        let now = self.shared.clock().now();
        self.change_state(|state| state.half_open(&loser, &other, now));
    }

    /// Lets nothing pass between two hosts, and tells nobody. What is written is held until it is
    /// [healed](SimNet::heal), as TCP does by sending again; new connections wait.
    pub fn partition(&self, a: &str, b: &str) {
        self.hold(a, b, true);
        self.hold(b, a, true);
    }

    /// The same in one direction only: `from` hears `to`, and isn't heard.
    pub fn partition_one_way(&self, from: &str, to: &str) {
        self.hold(from, to, true);
    }

    /// Ends a partition between two hosts, in both directions. What was held arrives.
    pub fn heal(&self, a: &str, b: &str) {
        self.hold(a, b, false);
        self.hold(b, a, false);
    }

    /// Ends all partitions.
    pub fn heal_all(&self) {
        self.change_state(State::heal_all);
    }

    /// Both ends of a connection of its own, for what speaks by hand: that of `a`, which dialled, and that of `b`.
    #[must_use]
    pub fn pair(&self, a: &str, b: &str) -> (impl ByteStream, impl ByteStream) {
        let (a, b): (Host, Host) = (a.into(), b.into());
        let now = self.shared.clock().now();
        let id = self.shared.with(|state| state.connect(&a, &b, now));
        End::pair(&self.shared, id)
    }

    /// How many connections there are: those that at least one side still holds.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.state.lock().connections()
    }

    /// What it has done.
    #[must_use]
    pub fn stats(&self) -> NetStats {
        self.shared.state.lock().stats
    }

    fn hold(&self, from: &str, to: &str, held: bool) {
        let (from, to): (Host, Host) = (from.into(), to.into());
        self.change_state(|state| state.hold(&from, &to, held));
    }

    /// Changes something, and lets everybody who waits look again.
    fn change_state<T>(&self, change: impl FnOnce(&mut State) -> T) {
        self.shared.with(|state| {
            change(state);
            state.look_again();
        });
        self.shared.changes.send_modify(|changes| *changes += 1);
    }
}

impl fmt::Debug for SimNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimNet")
            .field("connections", &self.connections())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn clock(&self) -> &Clock {
        self.system.clock()
    }

    /// Does something under the lock, and wakes afterwards whom that concerns.
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let value = f(&mut state);
        let woken = std::mem::take(&mut state.woken);
        drop(state);
        woken.into_iter().for_each(std::task::Waker::wake);
        value
    }
}

#[cfg(test)]
mod tests;
