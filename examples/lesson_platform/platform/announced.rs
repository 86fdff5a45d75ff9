//! A TCP address that changes: a service takes a free port at each start, and says which on its standard
//! output.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

use callboard::Boundary;
use callboard::process::ProcessStream;
use callboard::remote::{Connected, Connector, Proof};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;

// ANCHOR: connector
/// Dials wherever the service said last.
#[derive(Debug, Clone)]
pub(crate) struct Announced {
    address: watch::Sender<Option<SocketAddr>>,
    /// The last connection, so that it can be cut.
    last: Arc<Mutex<Option<std::net::TcpStream>>>,
}

impl Announced {
    pub(crate) fn new() -> Self {
        Announced {
            address: watch::Sender::new(None),
            last: Arc::default(),
        }
    }

    /// Cuts the connection there is, in the middle of whatever it carries. `false` if there is none.
    pub(crate) fn cut(&self) -> bool {
        let last = self.last.lock().take();
        last.is_some_and(|stream| stream.shutdown(Shutdown::Both).is_ok())
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
        "the port it announced".to_owned()
    }

    fn boundary(&self) -> Boundary {
        Boundary::Network
    }

    fn connect(&self) -> BoxFuture<'_, io::Result<Connected>> {
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
            let stream = stream.into_std()?;
            *self.last.lock() = Some(stream.try_clone()?);
            let stream = TcpStream::from_std(stream)?;
            Ok(Connected::new(stream, Proof::local(None)))
        })
    }
}
// ANCHOR_END: connector
