//! Listening with TLS: a handshake stands between accepting and serving.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use futures::future::{Either, select};
use tokio::net::TcpListener;

use super::{Accepts, Core, Listener, serve, start, tcp_here};
use crate::error::{LinkError, LinkErrorKind, ListenError};
use crate::transport::tls::{Handshakes, Reserved};
use crate::transport::{Proof, Tls, on_arbiter, tcp};

pub(crate) async fn tls(
    core: &Arc<Core>,
    address: SocketAddr,
    tls: &Tls,
) -> Result<Listener, ListenError> {
    if !tls.can_listen() {
        return Err(ListenError::NoIdentity(address));
    }
    let shared = Arc::clone(core);
    let handshakes = Handshakes::new(tls, core.config.connections);
    on_arbiter(&core.system, &address.to_string(), move || async move {
        let listener = tcp::listen(address).await?;
        let bound = listener.local_addr().unwrap_or(address);
        let listener = TlsListener {
            listener,
            handshakes,
        };
        start(&shared, listener, bound.to_string(), Some(bound))
    })
    .await
}

struct TlsListener {
    listener: TcpListener,
    handshakes: Handshakes,
}

impl Accepts for TlsListener {
    type Accepted = (std::net::TcpStream, SocketAddr, Reserved);

    async fn accept(&self) -> io::Result<Self::Accepted> {
        let (socket, from) = Accepts::accept(&self.listener).await?;
        Ok((socket, from, self.handshakes.reserve()))
    }

    async fn serve(core: &Arc<Core>, (socket, from, reserved): Self::Accepted, through: &str) {
        let address = from;
        let stream = match tcp_here(socket) {
            Ok(stream) => reserved.begin(stream),
            Err(error) => {
                core.counters.handshake_failures();
                tracing::warn!(target: "callboard::remote", %from, %error, "accepting failed");
                return;
            }
        };
        let from = stream.from();
        let limit = core.config.handshake_timeout;
        let mut closed = core.closed.subscribe();
        let shaking = pin!(stream.shake(core.system.clock(), limit));
        let closed = pin!(closed.wait_for(|closed| *closed));
        let why = match select(shaking, closed).await {
            Either::Left((Ok((stream, principal)), _)) => {
                let proof = Proof::encrypted(principal).from_address(address);
                serve::serve(core, stream, through, proof).await;
                return;
            }
            Either::Left((Err(Some(fault)), _)) => LinkErrorKind::Tls(fault),
            Either::Left((Err(None), _)) => LinkErrorKind::HandshakeStalled(limit),
            Either::Right(_) => LinkErrorKind::ClosedHere,
        };
        core.counters.handshake_failures();
        let error = LinkError::new(&from, why);
        tracing::info!(target: "callboard::remote", node = %core.name, listener = through, %error, "no TLS handshake");
    }
}
