//! The transports that the conformance suite runs over.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use callboard::{Boundary, Placement, System};
use callboard_remote::{Connected, Connector, LinkConfig, Node, Peer, Proof};
use futures::future::BoxFuture;
use parking_lot::Mutex;

/// A way from a peer to a node.
pub(crate) trait Wire: Send + 'static {
    const BOUNDARY: Boundary;

    /// Makes a place where a node can be reached. Nobody is there yet.
    async fn new() -> Self;

    /// Makes this node reachable, in place of the one before.
    async fn serve(&mut self, node: &Node);

    /// A peer that leads there.
    async fn peer(&mut self, system: &System, config: LinkConfig) -> Peer;
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
    let mut wire = W::new().await;
    wire.serve(node).await;
    let peer = wire.peer(system, config).await;
    peer.connected().await.unwrap();
    (wire, peer)
}

/// In memory, so that it runs on the simulating executor too.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    node: Arc<Mutex<Option<Node>>>,
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

    async fn new() -> Self {
        Memory::default()
    }

    async fn serve(&mut self, node: &Node) {
        *self.node.lock() = Some(node.clone());
    }

    async fn peer(&mut self, system: &System, config: LinkConfig) -> Peer {
        Peer::dialled(system, self.clone(), config)
    }
}

/// Byte streams that somebody attaches, as a supervisor attaches a child's pipes.
pub(crate) struct Attached {
    peer: Option<Peer>,
    node: Option<Node>,
}

impl Attached {
    fn attach(&self) {
        if let (Some(peer), Some(node)) = (&self.peer, self.node.clone()) {
            let (near, far) = tokio::io::duplex(4_096);
            let system = node.system().clone();
            system.spawn(Placement::Spread, move || async move {
                node.serve(far, "pipe", Proof::local(None)).await;
            });
            peer.attach(near);
        }
    }
}

impl Wire for Attached {
    const BOUNDARY: Boundary = Boundary::SameHost;

    async fn new() -> Self {
        Attached {
            peer: None,
            node: None,
        }
    }

    async fn serve(&mut self, node: &Node) {
        self.node = Some(node.clone());
        self.attach();
    }

    async fn peer(&mut self, system: &System, config: LinkConfig) -> Peer {
        let peer = Peer::attached_with(system, "child", config);
        self.peer = Some(peer.clone());
        self.attach();
        peer
    }
}

/// A Unix socket in a directory of its own.
pub(crate) struct Unix(PathBuf);

/// A path that no other test uses.
pub(crate) fn socket_path() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let directory = std::env::temp_dir().join("callboard-remote-tests");
    std::fs::create_dir_all(&directory).unwrap();
    directory.join(format!("{}-{number}.sock", std::process::id()))
}

impl Wire for Unix {
    const BOUNDARY: Boundary = Boundary::SameHost;

    async fn new() -> Self {
        Unix(socket_path())
    }

    async fn serve(&mut self, node: &Node) {
        retry_in_use(async || node.listen_unix(&self.0).await).await;
    }

    async fn peer(&mut self, system: &System, config: LinkConfig) -> Peer {
        Peer::unix_with(system, &self.0, config)
    }
}

/// TCP on a port of its own.
pub(crate) struct Tcp(std::net::SocketAddr);

impl Wire for Tcp {
    const BOUNDARY: Boundary = Boundary::Network;

    async fn new() -> Self {
        // Free a moment ago; the kernel doesn't hand it out again soon.
        let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Tcp(probe.local_addr().unwrap())
    }

    async fn serve(&mut self, node: &Node) {
        retry_in_use(async || node.listen_tcp(self.0).await).await;
    }

    async fn peer(&mut self, system: &System, config: LinkConfig) -> Peer {
        Peer::tcp_with(system, self.0, config).unwrap()
    }
}

/// A listener that was closed a moment ago gives its address free on its own arbiter.
pub(crate) async fn retry_in_use<T>(
    mut listen: impl AsyncFnMut() -> Result<T, callboard_remote::ListenError>,
) {
    loop {
        match listen().await {
            Ok(_) => return,
            Err(callboard_remote::ListenError::InUse(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}
