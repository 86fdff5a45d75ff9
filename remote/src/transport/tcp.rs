//! TCP without encryption: on loopback, and elsewhere by a name that says what that is (G35).

use std::io;
use std::net::SocketAddr;

use callboard::Boundary;
use futures::future::BoxFuture;
use tokio::net::{TcpListener, TcpStream};

use super::{Connected, Connector, Proof};
use crate::error::ListenError;

pub(crate) fn check_loopback(address: SocketAddr) -> Result<(), ListenError> {
    if is_loopback(address) {
        Ok(())
    } else {
        Err(ListenError::NotLoopback(address))
    }
}

/// What [`Peer::tcp`](crate::Peer::tcp) dials with, for who puts something around it.
#[derive(Debug, Clone)]
pub struct TcpConnector(pub(crate) SocketAddr);

impl TcpConnector {
    /// Dials that address.
    ///
    /// # Errors
    /// [`ListenError::NotLoopback`] for any address off this host (G35).
    pub fn new(address: SocketAddr) -> Result<Self, ListenError> {
        check_loopback(address)?;
        Ok(TcpConnector(address))
    }
}
/// What a stream proves whose other end is `peer`.
pub(crate) fn proof(peer: SocketAddr) -> Proof {
    if is_loopback(peer) {
        Proof::local(None).from_address(peer)
    } else {
        Proof::plain().from_address(peer)
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

impl Connector for TcpConnector {
    fn address(&self) -> String {
        self.0.to_string()
    }

    fn boundary(&self) -> Boundary {
        Boundary::Network
    }

    fn connect(&self) -> BoxFuture<'_, io::Result<Connected>> {
        let address = self.0;
        Box::pin(async move {
            if !super::has_sockets() {
                return Err(io::Error::other("no arbiter with sockets to run on"));
            }
            let stream = TcpStream::connect(address).await?;
            Ok(Connected::new(without_delay(stream), proof(address)))
        })
    }
}

/// Frames are gathered by the writer; the kernel need not wait for more (Nagle).
pub(crate) fn without_delay(stream: TcpStream) -> TcpStream {
    // It costs time only, should it fail.
    let _ = stream.set_nodelay(true);
    stream
}

/// Binds. Must run on an arbiter.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse(address.to_string()),
            _ => ListenError::Io {
                address: address.to_string(),
                reason: error.to_string(),
            },
        })
}
