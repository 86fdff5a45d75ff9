//! Listeners: one task each that accepts, one task for each connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use callboard::{Placement, Principal};
use futures::future::select;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;

use super::{Core, serve};
use crate::error::ListenError;
use crate::transport::{
    ByteStream, Proof, on_arbiter, tcp as tcp_transport, unix as unix_transport,
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
    type Stream: ByteStream;

    async fn accept(&self) -> io::Result<Self::Stream>;

    /// Whom the transport proves the other side to be, or why it isn't let in.
    fn check(&self, stream: &Self::Stream) -> Result<Option<Principal>, String>;
}

impl Accepts for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = TcpListener::accept(self).await?;
        Ok(tcp_transport::without_delay(stream))
    }

    fn check(&self, _stream: &TcpStream) -> Result<Option<Principal>, String> {
        Ok(None)
    }
}

struct Unix {
    listener: UnixListener,
    uid: u32,
    /// Removed when the listener ends.
    _file: unix_transport::SocketFile,
}

impl Accepts for Unix {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }

    fn check(&self, stream: &UnixStream) -> Result<Option<Principal>, String> {
        let peer = stream.peer_cred().map(|credentials| credentials.uid());
        unix_transport::admit(peer, self.uid).map(Some)
    }
}

pub(super) async fn tcp(core: &Arc<Core>, address: SocketAddr) -> Result<Listener, ListenError> {
    tcp_transport::check_loopback(address)?;
    let shared = Arc::clone(core);
    on_arbiter(&core.system, &address.to_string(), move || async move {
        let listener = tcp_transport::listen(address).await?;
        let bound = listener.local_addr().unwrap_or(address);
        start(&shared, listener, bound.to_string(), Some(bound))
    })
    .await
}

pub(super) async fn unix(core: &Arc<Core>, path: PathBuf) -> Result<Listener, ListenError> {
    let shared = Arc::clone(core);
    let address = path.display().to_string();
    on_arbiter(&core.system, &address.clone(), move || async move {
        let (listener, file) = unix_transport::listen(path).await?;
        let uid = unix_transport::own_uid().map_err(|error| ListenError::Io {
            address: address.clone(),
            reason: error.to_string(),
        })?;
        let listener = Unix {
            listener,
            uid,
            _file: file,
        };
        start(&shared, listener, address, None)
    })
    .await
}

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
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(target: "callboard::remote", listener = address, %error, "accepting failed");
                core.system.clock().sleep(PAUSE).await;
                continue;
            }
        };
        let checked = listener.check(&stream);
        let (core, address) = (Arc::clone(core), address.to_owned());
        let system = core.system.clone();
        // If the system has ended the stream is dropped, which closes it.
        system.spawn(Placement::Spread, move || async move {
            match checked {
                Ok(principal) => {
                    let proof = Proof::local(principal);
                    serve::serve(&core, stream, &address, proof).await;
                }
                Err(why) => {
                    serve::refuse(&core, stream, why).await;
                }
            }
        });
    }
}
