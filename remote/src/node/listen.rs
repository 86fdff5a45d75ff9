//! Listeners: one task each that accepts, one task for each connection.

mod tls;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use callboard::Placement;
use futures::future::select;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;

use super::{Core, serve};
use crate::error::ListenError;
use crate::transport::fifo::FifoListener;
use crate::transport::pipe::TwoPipes;
use crate::transport::{
    ByteStream, Proof, UnixSocket, on_arbiter, tcp as tcp_transport, unix as unix_transport,
};

/// How long accepting pauses after it failed: the process is out of descriptors, say.
const PAUSE: Duration = Duration::from_millis(50);

/// An open listener of a node. Dropping it changes nothing: it ends with its node, or by
/// [`close`](Listener::close).
#[derive(Clone)]
pub struct Listener {
    state: Arc<ListenerState>,
}

/// A listener as its node knows it.
pub(crate) struct ListenerState {
    pub(super) address: String,
    socket: Option<SocketAddr>,
    closed: watch::Sender<bool>,
}

impl ListenerState {
    pub(super) fn close(&self) {
        self.closed.send_replace(true);
    }
}

impl Listener {
    /// Where it listens: `127.0.0.1:40123`, or a path.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.state.address
    }

    /// Its socket address, with the port that was taken; `None` for a Unix socket.
    #[must_use]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        self.state.socket
    }

    /// Accepts no more connections, and gives the address free. Those that are open stay.
    pub fn close(&self) {
        self.state.close();
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({})", self.state.address)
    }
}

/// What differs between kinds of listeners.
trait Accepts: 'static {
    /// What was accepted, on its way to the arbiter that serves it.
    type Accepted: Send + 'static;

    async fn accept(&self) -> io::Result<Self::Accepted>;

    /// Serves it to its end, in a task of its own.
    async fn serve(core: &Arc<Core>, accepted: Self::Accepted, through: &str);
}

/// A socket that belongs to no arbiter yet: readiness is to be noticed where it is served, and not where it was
/// accepted.
pub(super) fn tcp_here(socket: std::net::TcpStream) -> io::Result<TcpStream> {
    TcpStream::from_std(socket).map(tcp_transport::without_delay)
}

/// Serves a stream, or says why it can't be had.
async fn serve_checked(
    core: &Arc<Core>,
    stream: io::Result<impl ByteStream>,
    through: &str,
    proof: Result<Proof, String>,
) {
    match (stream, proof) {
        (Ok(stream), Ok(proof)) => {
            serve::serve(core, stream, through, proof).await;
        }
        (Ok(stream), Err(why)) => {
            serve::refuse(core, stream, why).await;
        }
        (Err(error), _) => {
            core.counters.handshake_failures();
            tracing::warn!(target: "callboard::remote", listener = through, %error, "accepting failed");
        }
    }
}

impl Accepts for TcpListener {
    type Accepted = (std::net::TcpStream, SocketAddr);

    async fn accept(&self) -> io::Result<Self::Accepted> {
        let (stream, from) = TcpListener::accept(self).await?;
        Ok((stream.into_std()?, from))
    }

    async fn serve(core: &Arc<Core>, (socket, from): Self::Accepted, through: &str) {
        let proof = tcp_transport::proof(from);
        serve_checked(core, tcp_here(socket), through, Ok(proof)).await;
    }
}

struct Unix {
    /// Removed when the listener ends, and before that (fields are dropped in order): as long as the listener is open
    /// its inode isn't used again, so a successor's file isn't taken for its own.
    _file: Option<unix_transport::SocketFile>,
    listener: UnixListener,
    uid: u32,
    socket: UnixSocket,
}

impl Accepts for Unix {
    type Accepted = (std::os::unix::net::UnixStream, Result<Proof, String>);

    async fn accept(&self) -> io::Result<Self::Accepted> {
        let (stream, _) = self.listener.accept().await?;
        let peer = stream.peer_cred().map(|credentials| credentials.uid());
        let admitted = self.socket.admit(peer, self.uid);
        let proof = admitted.map(|principal| Proof::local(Some(principal)));
        Ok((stream.into_std()?, proof))
    }

    async fn serve(core: &Arc<Core>, (socket, proof): Self::Accepted, through: &str) {
        serve_checked(core, UnixStream::from_std(socket), through, proof).await;
    }
}

impl Accepts for FifoListener {
    type Accepted = (TwoPipes, Proof);

    async fn accept(&self) -> io::Result<Self::Accepted> {
        // Nobody else may enter the directory.
        let proof = Proof::local(Some(self.principal()));
        Ok((FifoListener::accept(self).await?, proof))
    }

    async fn serve(core: &Arc<Core>, (pipes, proof): Self::Accepted, through: &str) {
        serve_checked(core, Ok(pipes), through, Ok(proof)).await;
    }
}

pub(super) async fn tcp(core: &Arc<Core>, address: SocketAddr) -> Result<Listener, ListenError> {
    tcp_transport::check_loopback(address)?;
    tcp_insecure(core, address).await
}

pub(super) async fn tcp_insecure(
    core: &Arc<Core>,
    address: SocketAddr,
) -> Result<Listener, ListenError> {
    let shared = Arc::clone(core);
    on_arbiter(&core.system, &address.to_string(), move || async move {
        let listener = tcp_transport::listen(address).await?;
        let bound = listener.local_addr().unwrap_or(address);
        start(&shared, listener, bound.to_string(), Some(bound))
    })
    .await
}

pub(super) async fn unix(core: &Arc<Core>, socket: UnixSocket) -> Result<Listener, ListenError> {
    let shared = Arc::clone(core);
    let address = socket.to_string();
    on_arbiter(&core.system, &address.clone(), move || async move {
        let (listener, file) = unix_transport::listen(&socket).await?;
        let uid = unix_transport::own_uid().map_err(|error| ListenError::Io {
            address: address.clone(),
            reason: error.to_string(),
        })?;
        let listener = Unix {
            _file: file,
            listener,
            uid,
            socket,
        };
        start(&shared, listener, address, None)
    })
    .await
}

pub(super) async fn fifo(core: &Arc<Core>, directory: PathBuf) -> Result<Listener, ListenError> {
    let shared = Arc::clone(core);
    let address = directory.display().to_string();
    on_arbiter(&core.system, &address.clone(), move || async move {
        let listener = FifoListener::open(&directory)?;
        start(&shared, listener, address, None)
    })
    .await
}

pub(super) use tls::tls;

/// Begins to accept on this arbiter, where the listener was made.
fn start(
    core: &Arc<Core>,
    listener: impl Accepts,
    address: String,
    socket: Option<SocketAddr>,
) -> Result<Listener, ListenError> {
    let state = Arc::new(ListenerState {
        address,
        socket,
        closed: watch::Sender::new(false),
    });
    let mut inner = core.inner.lock();
    if core.is_closed() {
        return Err(ListenError::Closed);
    }
    inner.next += 1;
    let number = inner.next;
    inner.listeners.insert(number, Arc::clone(&state));
    drop(inner);
    let (core, accepting) = (Arc::clone(core), Arc::clone(&state));
    tokio::task::spawn_local(async move {
        let mut closed = accepting.closed.subscribe();
        {
            let accepting = pin!(accept_all(&core, &listener, &accepting.address));
            let closed = pin!(closed.wait_for(|closed| *closed));
            select(accepting, closed).await;
        }
        core.inner.lock().listeners.remove(&number);
    });
    Ok(Listener { state })
}

async fn accept_all<L: Accepts>(core: &Arc<Core>, listener: &L, address: &str) {
    loop {
        let accepted = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(target: "callboard::remote", listener = address, %error, "accepting failed");
                core.system.clock().sleep(PAUSE).await;
                continue;
            }
        };
        let (core, address) = (Arc::clone(core), address.to_owned());
        let system = core.system.clone();
        // If the system has ended the stream is dropped, which closes it.
        system.spawn(Placement::Spread, move || async move {
            L::serve(&core, accepted, &address).await;
        });
    }
}
