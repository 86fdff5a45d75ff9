//! A proxy between peers and a node that does to bytes what networks do: cuts at any byte, stalls, tears into pieces,
//! lets one direction vanish, is down for a while. What it does is drawn from a seed.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callboard::{Boundary, Placement, System};
use callboard_remote::{ByteStream, Connected, Connector, Node, Proof};
use futures::channel::oneshot;
use futures::future::{BoxFuture, select, select_all};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;

/// Numbers from a seed, the same everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Dice(seed)
    }

    /// Splitmix.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }
}

/// What becomes of bytes, on connections there are and on new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Everything arrives.
    Fair,
    /// Cut, stalled and torn at random.
    Storm,
    /// Nothing arrives, and nothing ends.
    Frozen,
    /// What goes this way vanishes; nothing ends.
    Lost(Way),
    /// Connections end, and new ones are refused.
    Down,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    ToNode,
    ToPeer,
}

/// How rough a storm is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Storm {
    /// A stall lasts less than this.
    pub(crate) stall: Duration,
    /// One of so many faults is a stall, the others are cuts.
    pub(crate) stalls: u64,
}

impl Default for Storm {
    fn default() -> Self {
        Storm {
            stall: Duration::from_millis(20),
            stalls: 3,
        }
    }
}

/// See the module. Clones are handles to the same one.
#[derive(Clone)]
pub(crate) struct Proxy(Arc<Inner>);

struct Inner {
    system: System,
    seed: u64,
    storm: Storm,
    weather: watch::Sender<Weather>,
    /// Grows whenever all connections are cut.
    cuts: watch::Sender<u64>,
    connections: AtomicU64,
    faults: AtomicU64,
    tape: Mutex<Vec<Tape>>,
    /// Where the next connection is to be cut, and so on.
    script: Mutex<VecDeque<(Way, usize)>>,
}

/// What one connection carried, if it was recorded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tape {
    pub(crate) to_node: Vec<u8>,
    pub(crate) to_peer: Vec<u8>,
}

/// How much of a connection is recorded at most.
const TAPE: usize = 1 << 20;

impl Proxy {
    pub(crate) fn new(system: &System, seed: u64, weather: Weather) -> Self {
        Proxy::with(system, seed, weather, Storm::default())
    }

    pub(crate) fn with(system: &System, seed: u64, weather: Weather, storm: Storm) -> Self {
        Proxy(Arc::new(Inner {
            system: system.clone(),
            seed,
            storm,
            weather: watch::Sender::new(weather),
            cuts: watch::Sender::new(0),
            connections: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            tape: Mutex::default(),
            script: Mutex::default(),
        }))
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.0.weather.send_replace(weather);
    }

    /// Cuts all connections there are.
    pub(crate) fn cut(&self) {
        self.0.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Cuts the next connection after so many bytes one way; called again, the one after it.
    pub(crate) fn cut_next(&self, way: Way, after: usize) {
        self.0.script.lock().push_back((way, after));
    }

    /// How many connections it has let through.
    pub(crate) fn connections(&self) -> u64 {
        self.0.connections.load(Ordering::Relaxed)
    }

    /// How often it has cut or stalled at random.
    pub(crate) fn faults(&self) -> u64 {
        self.0.faults.load(Ordering::Relaxed)
    }

    /// What each connection carried so far, in the order in which they were made.
    pub(crate) fn tapes(&self) -> Vec<Tape> {
        self.0.tape.lock().clone()
    }

    fn is_down(&self) -> bool {
        *self.0.weather.borrow() == Weather::Down
    }

    /// Takes connections to a port of its own to that address.
    pub(crate) async fn tcp(&self, target: SocketAddr) -> SocketAddr {
        let proxy = self.clone();
        self.on_arbiter(async move |bound| {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            bound.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (near, _) = listener.accept().await.unwrap();
                if let Ok(far) = TcpStream::connect(target).await {
                    near.set_nodelay(true).unwrap();
                    far.set_nodelay(true).unwrap();
                    proxy.join(near, far);
                }
            }
        })
        .await
    }

    /// Takes connections to a socket of its own to that one.
    pub(crate) async fn unix(&self, target: &Path) -> PathBuf {
        let (proxy, target) = (self.clone(), target.to_owned());
        let path = crate::wires::socket_path();
        self.on_arbiter(async move |bound| {
            let listener = UnixListener::bind(&path).unwrap();
            bound.send(path).unwrap();
            loop {
                let (near, _) = listener.accept().await.unwrap();
                if let Ok(far) = UnixStream::connect(&target).await {
                    proxy.join(near, far);
                }
            }
        })
        .await
    }

    /// The same in memory, for the simulating executor too.
    pub(crate) fn memory(&self, node: &Node) -> Memory {
        Memory {
            proxy: self.clone(),
            node: Arc::new(Mutex::new(node.clone())),
        }
    }

    async fn on_arbiter<T, F>(&self, listen: F) -> T
    where
        T: Send + 'static,
        F: AsyncFnOnce(oneshot::Sender<T>) + Send + 'static,
    {
        let (tx, rx) = oneshot::channel();
        let make = move || async move { listen(tx).await };
        self.0.system.spawn(Placement::Spread, make);
        rx.await.unwrap()
    }

    /// Carries bytes between two streams until one of them ends, or fate strikes. Then both are closed.
    fn join(&self, near: impl ByteStream, far: impl ByteStream) {
        if self.is_down() {
            return;
        }
        let number = self.0.connections.fetch_add(1, Ordering::Relaxed);
        self.0.tape.lock().push(Tape::default());
        let scripted = self.0.script.lock().pop_front();
        let proxy = self.clone();
        self.0.system.spawn(Placement::Spread, move || async move {
            let mut cuts = proxy.0.cuts.subscribe();
            let mut weather = proxy.0.weather.subscribe();
            let (near_out, near_in) = tokio::io::split(near);
            let (far_out, far_in) = tokio::io::split(far);
            let out = proxy.flow(number, Way::ToNode, scripted, near_out, far_in);
            let back = proxy.flow(number, Way::ToPeer, scripted, far_out, near_in);
            let cut = async {
                let cut = pin!(cuts.changed());
                let down = pin!(weather.wait_for(|weather| *weather == Weather::Down));
                select(cut, down).await;
            };
            let ends: [BoxFuture<'_, ()>; 3] = [Box::pin(out), Box::pin(back), Box::pin(cut)];
            select_all(ends).await;
        });
    }

    async fn flow<N: ByteStream, F: ByteStream>(
        &self,
        number: u64,
        way: Way,
        scripted: Option<(Way, usize)>,
        mut from: ReadHalf<N>,
        mut to: WriteHalf<F>,
    ) {
        let mut fate = Fate::new(self, number, way);
        let mut until = scripted
            .filter(|(other, _)| *other == way)
            .map(|(_, at)| at);
        let mut weather = self.0.weather.subscribe();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            // An error is an end like any other.
            let count = from.read(&mut buffer).await.unwrap_or(0);
            if count == 0 {
                return;
            }
            let whole = until.is_none_or(|left| count < left);
            let bytes = &buffer[..until.map_or(count, |left| left.min(count))];
            until = until.map(|left| left - bytes.len());
            self.record(number, way, bytes);
            weather
                .wait_for(|weather| *weather != Weather::Frozen)
                .await
                .unwrap();
            let now = *weather.borrow();
            let arrived = match now {
                Weather::Lost(lost) if lost == way => true,
                Weather::Storm => fate.carry(self, bytes, &mut to).await,
                _ => to.write_all(bytes).await.is_ok() && to.flush().await.is_ok(),
            };
            if !arrived || !whole {
                return;
            }
        }
    }

    fn record(&self, number: u64, way: Way, bytes: &[u8]) {
        let mut tapes = self.0.tape.lock();
        let tape = &mut tapes[usize::try_from(number).unwrap()];
        let side = match way {
            Way::ToNode => &mut tape.to_node,
            Way::ToPeer => &mut tape.to_peer,
        };
        if side.len() < TAPE {
            side.extend(bytes);
        }
    }
}

/// What will happen to one direction of one connection.
struct Fate {
    dice: Dice,
    /// How many bytes until something does.
    left: usize,
}

impl Fate {
    fn new(proxy: &Proxy, number: u64, way: Way) -> Self {
        let side = u64::from(way == Way::ToPeer);
        let mut dice =
            Dice::new(proxy.0.seed ^ (2 * number + side).wrapping_mul(0xD6E8_FEB8_6659_FD93));
        let left = until_next(&mut dice);
        Fate { dice, left }
    }

    /// Carries bytes as far as they come. `false` if the connection is cut there.
    async fn carry(
        &mut self,
        proxy: &Proxy,
        mut bytes: &[u8],
        to: &mut (impl tokio::io::AsyncWrite + Unpin),
    ) -> bool {
        while !bytes.is_empty() {
            // Torn into pieces of any length, but not always.
            let most = if self.dice.one_in(4) {
                1 + self.dice.index(200)
            } else {
                bytes.len()
            };
            let (now, rest) = bytes.split_at(most.min(self.left).min(bytes.len()));
            if to.write_all(now).await.is_err() || to.flush().await.is_err() {
                return false;
            }
            bytes = rest;
            self.left -= now.len();
            if self.left > 0 {
                continue;
            }
            proxy.0.faults.fetch_add(1, Ordering::Relaxed);
            if !self.dice.one_in(proxy.0.storm.stalls) {
                return false;
            }
            let most = u64::try_from(proxy.0.storm.stall.as_micros()).unwrap();
            let stall = Duration::from_micros(self.dice.below(most));
            proxy.0.system.clock().sleep(stall).await;
            self.left = until_next(&mut self.dice);
        }
        true
    }
}

/// In the handshake, in a frame, between many, in a large one: each often enough.
fn until_next(dice: &mut Dice) -> usize {
    let most = match dice.below(8) {
        0 => 250,
        1..=3 => 8 * 1024,
        4..=6 => 200 * 1024,
        _ => 2 * 1024 * 1024,
    };
    1 + dice.index(most)
}

/// Dials a node in this process through a proxy.
#[derive(Clone)]
pub(crate) struct Memory {
    proxy: Proxy,
    node: Arc<Mutex<Node>>,
}

impl Memory {
    /// From now on another node is there.
    pub(crate) fn serve(&self, node: &Node) {
        *self.node.lock() = node.clone();
    }
}

impl Connector for Memory {
    fn address(&self) -> String {
        "memory through a proxy".into()
    }

    fn boundary(&self) -> Boundary {
        Boundary::SameHost
    }

    fn connect(&self) -> BoxFuture<'_, io::Result<Connected>> {
        let node = self.node.lock().clone();
        Box::pin(async move {
            if self.proxy.is_down() {
                return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "down"));
            }
            let (near, proxy_near) = tokio::io::duplex(4_096);
            let (proxy_far, far) = tokio::io::duplex(4_096);
            self.proxy.join(proxy_near, proxy_far);
            let system = node.system().clone();
            system.spawn(Placement::Spread, move || async move {
                node.serve(far, "memory", Proof::local(None)).await;
            });
            Ok(Connected::new(near, Proof::local(None)))
        })
    }
}
