//! A TCP address that changes: a service takes a free port at each start, and says which on its standard
//! output.

use std::io;
use std::net::SocketAddr;

use callboard::Boundary;
use callboard::process::ProcessStream;
use callboard::remote::{ByteStream, Connector};
use futures::future::BoxFuture;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;

// ANCHOR: connector
/// Dials wherever the service said last.
#[derive(Debug, Clone)]
pub(crate) struct Announced {
    name: &'static str,
    address: watch::Sender<Option<SocketAddr>>,
}

impl Announced {
    pub(crate) fn new(name: &'static str) -> Self {
        Announced {
            name,
            address: watch::Sender::new(None),
        }
    }

    /// Listens to one start of the service, until it ends. Holding its stream is what keeps it alive.
    pub(crate) async fn listen(&self, stream: ProcessStream) {
        self.address.send_replace(None);
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Ok(address) = line.parse() {
                self.address.send_replace(Some(address));
            }
        }
    }
}

impl Connector for Announced {
    fn address(&self) -> String {
        self.name.to_owned()
    }

    fn boundary(&self) -> Boundary {
        Boundary::Network
    }

    fn connect(&self) -> BoxFuture<'_, io::Result<Box<dyn ByteStream>>> {
        Box::pin(async move {
            let mut announced = self.address.subscribe();
            let address = announced
                .wait_for(Option::is_some)
                .await
                .ok()
                .and_then(|address| *address);
            let address = address.ok_or(io::ErrorKind::NotConnected)?;
            // The child is ours, and what it says is checked all the same: nothing leaves this host.
            if !address.ip().is_loopback() {
                let why = format!("{address} is no loopback address");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        })
    }
}
// ANCHOR_END: connector
