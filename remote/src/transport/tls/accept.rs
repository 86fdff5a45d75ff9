//! The side that is dialled.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use callboard::Principal;
use callboard::clock::Clock;
use futures::future::{Either, select};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ahead::Ahead;
use super::stream::TlsStream;
use super::{Tls, TlsFault};
use crate::transport::hang_up;

/// The handshakes of one listener that have not ended.
#[derive(Clone)]
pub(crate) struct Handshakes {
    tls: Tls,
    places: Arc<Semaphore>,
    most: usize,
}

/// A stream on which a handshake may begin.
pub(crate) struct Dialled {
    stream: TcpStream,
    tls: Tls,
    /// Or how many others there are.
    place: Result<OwnedSemaphorePermit, usize>,
}

impl Handshakes {
    /// At most so many at once: each holds a socket and memory before anything is known of the peer (G36).
    pub(crate) fn new(tls: &Tls, most: usize) -> Self {
        let most = most.min(Semaphore::MAX_PERMITS);
        Handshakes {
            tls: tls.clone(),
            places: Arc::new(Semaphore::new(most)),
            most,
        }
    }

    /// Takes a place for a stream that was accepted.
    pub(crate) fn reserve(&self) -> Reserved {
        let place = Arc::clone(&self.places).try_acquire_owned();
        Reserved {
            tls: self.tls.clone(),
            place: place.map_err(|_| self.most),
        }
    }
}

/// A place for a handshake, or how many others there are.
pub(crate) struct Reserved {
    tls: Tls,
    place: Result<OwnedSemaphorePermit, usize>,
}

impl Reserved {
    /// On this stream. Nothing is read yet.
    pub(crate) fn begin(self, stream: TcpStream) -> Dialled {
        Dialled {
            stream,
            tls: self.tls,
            place: self.place,
        }
    }
}

impl Dialled {
    /// Where it comes from, for the log.
    pub(crate) fn from(&self) -> String {
        match self.stream.peer_addr() {
            Ok(address) => address.to_string(),
            Err(_) => "somewhere".to_owned(),
        }
    }

    /// Shakes hands: the encrypted stream and who is at its other end. `Err(None)` if the time is over.
    pub(crate) async fn shake(
        self,
        clock: &Clock,
        limit: Duration,
    ) -> Result<(TlsStream, Option<Principal>), Option<TlsFault>> {
        // Until the handshake is over, and who failed has been told.
        let _place = self.place.map_err(|most| Some(TlsFault::TooMany(most)))?;
        let (config, trust) = self
            .tls
            .server(clock)
            .map_err(|error| Some(TlsFault::Setup(error.to_string())))?;
        let accepting = tokio_rustls::TlsAcceptor::from(config).accept(Ahead::new(self.stream));
        let accepting = pin!(accepting.into_fallible());
        let stream = match select(accepting, clock.sleep(limit)).await {
            Either::Left((Ok(stream), _)) => TlsStream::server(stream),
            Either::Left((Err((error, mut stream)), _)) => {
                let fault = TlsFault::of_handshake(&error);
                // The alert is on its way.
                hang_up(&mut stream, clock).await;
                return Err(Some(
                    fault.unwrap_or_else(|| TlsFault::Other(error.to_string())),
                ));
            }
            Either::Right(_) => return Err(None),
        };
        let principal = match stream.state().peer_certificates() {
            Some([own, ..]) => Some(trust.principal(own).map_err(Some)?),
            _ => None,
        };
        Ok((stream, principal))
    }
}
