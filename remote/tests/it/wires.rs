//! The transports that the conformance suite runs over.

use std::io;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callboard::{Boundary, Placement, System};
use callboard_remote::testing::{SimNet, Tap};
use callboard_remote::{
    ByteStream, Connected, Connector, FifoConnector, LinkConfig, ListenError, Node, Peer, Proof,
    TcpConnector, UnixConnector, UnixSocket,
};
use futures::channel::oneshot;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::net::unix::pipe;

/// A way from a peer to a node, which can be broken.
pub(crate) trait Wire: Send + 'static {
    const BOUNDARY: Boundary;

    /// Makes a place where a node can be reached. Nobody is there yet.
    async fn new(system: &System) -> Self;

    /// Makes this node reachable, in place of the one before.
    async fn serve(&mut self, node: &Node);

    /// A peer that leads there.
    async fn peer(&mut self, system: &System, config: LinkConfig) -> Peer;

    /// What sits on the peers' streams.
    fn tap(&self) -> &Tap;

    /// Breaks the connection there is, and lets no other be made.
    fn cut(&mut self) {
        self.tap().refuse();
        self.tap().cut();
    }

    /// Lets connections be made again; where nobody dials, it makes one.
    async fn heal(&mut self) {
        self.tap().accept();
    }
}

/// A node that serves, and a peer that is connected to it.
pub(crate) async fn connect<W: Wire>(system: &System, node: &Node) -> (W, Peer) {
    connect_with(system, node, LinkConfig::default()).await
}

pub(crate) async fn connect_with<W: Wire>(
    system: &System,
    node: &Node,
    config: LinkConfig,
) -> (W, Peer) {
    let mut wire = W::new(system).await;
    wire.serve(node).await;
    let peer = wire.peer(system, config).await;
    peer.connected().await.unwrap();
    (wire, peer)
}

/// In memory, so that it runs on the simulating executor too.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    node: Arc<Mutex<Option<Node>>>,
    tap: Tap,
}

impl Connector for Memory {
    fn address(&self) -> String {
        "memory".into()
    }

    fn boundary(&self) -> Boundary {
        Boundary::SameHost
    }

    fn connect(&self) -> BoxFuture<'_, io::Result<Connected>> {
        let node = self.node.lock().clone();
        Box::pin(async move {
            let Some(node) = node else {
                return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "nobody"));
            };
            let (near, far) = tokio::io::duplex(4_096);
            let system = node.system().clone();
            system.spawn(Placement::Spread, move || async move {
                node.serve(far, "memory", Proof::local(None)).await;
            });
            Ok(Connected::new(near, Proof::local(None)))
        })
    }
}

impl Wire for Memory {
    const BOUNDARY: Boundary = Boundary::SameHost;

    async fn new(_system: &System) -> Self {
        Memory::default()
    }

    async fn serve(&mut self, node: &Node) {
        *self.node.lock() = Some(node.clone());
    }

    async fn peer(&mut self, system: &System, config: LinkConfig) -> Peer {
        Peer::dialled(system, self.tap.connector(self.clone()), config)
    }

    fn tap(&self) -> &Tap {
        &self.tap
    }
}

/// The simulated network, without faults of its own but for what takes time.
pub(crate) struct Simulated {
    net: SimNet,
    tap: Tap,
}

impl Wire for Simulated {
    const BOUNDARY: Boundary = Boundary::Network;

    async fn new(system: &System) -> Self {
        let net = SimNet::new(system);
        net.change_all(|way| {
            way.delay = Duration::ZERO..=Duration::from_micros(300);
            way.piece = Some(700);
        });
        let tap = Tap::new();
        Simulated { net, tap }
    }

    async fn serve(&mut self, node: &Node) {
        self.net.listen("node", node);
    }

    async fn peer(&mut self, system: &System, config: LinkConfig) -> Peer {
        let connector = self.net.connector("peer", "node");
        Peer::dialled(system, self.tap.connector(connector), config)
    }

    fn tap(&self) -> &Tap {
        &self.tap
    }
}

/// Byte streams that somebody attaches, as a supervisor attaches a child's pipes.
pub(crate) struct Attached<P> {
    peer: Option<Peer>,
    node: Option<Node>,
    tap: Tap,
    pipes: PhantomData<P>,
}

/// What makes both ends of a byte stream that is attached.
pub(crate) trait Pipes: Send + 'static {
    async fn pair(system: &System) -> (impl ByteStream, impl ByteStream);
}

/// In memory.
pub(crate) struct InMemory;

impl Pipes for InMemory {
    async fn pair(_system: &System) -> (impl ByteStream, impl ByteStream) {
        tokio::io::duplex(4_096)
    }
}

/// Those of the operating system, as a child has them.
pub(crate) struct OfTheSystem;

impl Pipes for OfTheSystem {
    async fn pair(system: &System) -> (impl ByteStream, impl ByteStream) {
        let (tx, rx) = oneshot::channel();
        system.spawn(Placement::Spread, move || async move {
            let (up, down) = (pipe::pipe().unwrap(), pipe::pipe().unwrap());
            let _ = tx.send((tokio::io::join(down.1, up.0), tokio::io::join(up.1, down.0)));
        });
        rx.await.unwrap()
    }
}

impl<P: Pipes> Attached<P> {
    async fn attach(&self) {
        if let (Some(peer), Some(node)) = (&self.peer, self.node.clone()) {
            let system = node.system().clone();
            let (near, far) = P::pair(&system).await;
            system.spawn(Placement::Spread, move || async move {
                node.serve(far, "pipe", Proof::local(None)).await;
            });
            peer.attach(self.tap.stream(near));
        }
    }
}

impl<P: Pipes> Wire for Attached<P> {
    const BOUNDARY: Boundary = Boundary::SameHost;

    async fn new(_system: &System) -> Self {
        Attached {
            peer: None,
            node: None,
            tap: Tap::new(),
            pipes: PhantomData,
        }
    }

    async fn serve(&mut self, node: &Node) {
        self.node = Some(node.clone());
        self.attach().await;
    }

    async fn peer(&mut self, system: &System, config: LinkConfig) -> Peer {
        let peer = Peer::attached_with(system, "child", config);
        self.peer = Some(peer.clone());
        self.attach().await;
        peer
    }

    fn tap(&self) -> &Tap {
        &self.tap
    }

    async fn heal(&mut self) {
        self.tap.accept();
        self.attach().await;
    }
}

/// A path that no other test uses.
pub(crate) fn socket_path() -> PathBuf {
    path_of("sock")
}

fn path_of(kind: &str) -> PathBuf {
    let directory = std::env::temp_dir().join("callboard-remote-tests");
    std::fs::create_dir_all(&directory).unwrap();
    directory.join(format!("{}.{kind}", own_name()))
}

/// A name that no other test uses.
pub(crate) fn own_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{number}", std::process::id())
}

/// A directory of a test's own; removed with all that is in it.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        Directory(path_of("fifos"))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A Unix socket, by its path or by a name without one.
pub(crate) struct Unix<const ABSTRACT: bool> {
    socket: UnixSocket,
    tap: Tap,
}

impl<const ABSTRACT: bool> Wire for Unix<ABSTRACT> {
    const BOUNDARY: Boundary = Boundary::SameHost;

    async fn new(_system: &System) -> Self {
        let socket = if ABSTRACT {
            UnixSocket::abstract_name(format!("callboard-{}", own_name()))
        } else {
            UnixSocket::path(socket_path())
        };
        let tap = Tap::new();
        Unix { socket, tap }
    }

    async fn serve(&mut self, node: &Node) {
        retry_in_use(async || node.listen_unix(self.socket.clone()).await).await;
    }

    async fn peer(&mut self, system: &System, config: LinkConfig) -> Peer {
        let connector = UnixConnector::new(self.socket.clone());
        Peer::dialled(system, self.tap.connector(connector), config)
    }

    fn tap(&self) -> &Tap {
        &self.tap
    }
}

/// Named pipes in a directory of its own.
pub(crate) struct Fifo {
    directory: Directory,
    tap: Tap,
}

impl Wire for Fifo {
    const BOUNDARY: Boundary = Boundary::SameHost;

    async fn new(_system: &System) -> Self {
        Fifo {
            directory: Directory::new(),
            tap: Tap::new(),
        }
    }

    async fn serve(&mut self, node: &Node) {
        retry_in_use(async || node.listen_fifo(&self.directory.0).await).await;
    }

    async fn peer(&mut self, system: &System, config: LinkConfig) -> Peer {
        let connector = FifoConnector::new(&self.directory.0);
        Peer::dialled(system, self.tap.connector(connector), config)
    }

    fn tap(&self) -> &Tap {
        &self.tap
    }
}

/// TCP on a port of its own.
pub(crate) struct Tcp {
    address: std::net::SocketAddr,
    tap: Tap,
}

impl Wire for Tcp {
    const BOUNDARY: Boundary = Boundary::Network;

    async fn new(_system: &System) -> Self {
        // Free a moment ago; the kernel doesn't hand it out again soon.
        let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Tcp {
            address: probe.local_addr().unwrap(),
            tap: Tap::new(),
        }
    }

    async fn serve(&mut self, node: &Node) {
        retry_in_use(async || node.listen_tcp(self.address).await).await;
    }

    async fn peer(&mut self, system: &System, config: LinkConfig) -> Peer {
        let connector = TcpConnector::new(self.address).unwrap();
        Peer::dialled(system, self.tap.connector(connector), config)
    }

    fn tap(&self) -> &Tap {
        &self.tap
    }
}

/// A listener that was closed a moment ago gives its address free on its own arbiter.
pub(crate) async fn retry_in_use<T>(mut listen: impl AsyncFnMut() -> Result<T, ListenError>) {
    loop {
        match listen().await {
            Ok(_) => return,
            Err(ListenError::InUse(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}
