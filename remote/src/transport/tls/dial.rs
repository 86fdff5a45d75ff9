//! The side that dials.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use callboard::clock::Clock;
use callboard::{Boundary, System};
use futures::future::BoxFuture;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;

use super::ahead::Ahead;
use super::stream::TlsStream;
use super::verify::Expected;
use super::{Expect, Tls, TlsError, TlsFault, Trust, names};
use crate::transport::tcp::without_delay;
use crate::transport::{Connected, Connector, Proof, has_sockets};

/// What [`Peer::tls`](crate::Peer::tls) dials with, for who puts something around it.
pub struct TlsConnector {
    address: String,
    tls: Tls,
    expected: Expected,
    clock: Clock,
}

impl TlsConnector {
    /// Dials that address, and wants that peer there.
    ///
    /// # Errors
    /// As [`Peer::tls`](crate::Peer::tls).
    pub fn new(
        system: &System,
        address: &str,
        tls: &Tls,
        expect: Expect,
    ) -> Result<Self, TlsError> {
        check_address(address)?;
        Ok(TlsConnector {
            address: address.to_owned(),
            tls: tls.clone(),
            expected: expect.check()?,
            clock: system.clock().clone(),
        })
    }

    async fn dial(&self) -> io::Result<Connected> {
        let stream = without_delay(TcpStream::connect(&*self.address).await?);
        let setup = |error: TlsError| TlsFault::Setup(error.to_string()).into_io();
        let configured = self.tls.client(&self.clock, self.expected.clone());
        let (config, trust) = configured.map_err(setup)?;
        let name = match &self.expected {
            Expected::Host(name) => name.clone(),
            // An address is not sent, and nothing looks at it.
            Expected::Principal(_) => ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        };
        let connecting = tokio_rustls::TlsConnector::from(config).connect(name, Ahead::new(stream));
        let stream = match connecting.await {
            Ok(stream) => TlsStream::client(stream),
            Err(error) => {
                return Err(match TlsFault::of_handshake(&error) {
                    Some(fault) => fault.into_io(),
                    None => error,
                });
            }
        };
        let principal = match stream.state().peer_certificates() {
            Some([own, ..]) => self.principal(&trust, own).map_err(TlsFault::into_io)?,
            _ => return Err(TlsFault::NoCertificate.into_io()),
        };
        Ok(Connected::new(stream, Proof::encrypted(Some(principal))))
    }

    /// Who has answered. A certificate that is good for the host but names nobody, because it is for several hosts, is
    /// called by the host.
    fn principal(
        &self,
        trust: &Trust,
        own: &CertificateDer<'_>,
    ) -> Result<callboard::Principal, TlsFault> {
        match (&self.expected, trust.principal(own)) {
            (Expected::Host(host), Err(TlsFault::Nameless(_))) => {
                let host = host.to_str().to_ascii_lowercase();
                Ok(names::principal(&format!("dns:{host}")))
            }
            (_, principal) => principal,
        }
    }
}

impl std::fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsConnector")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Connector for TlsConnector {
    fn address(&self) -> String {
        self.address.clone()
    }

    fn boundary(&self) -> Boundary {
        Boundary::Network
    }

    fn connect(&self) -> BoxFuture<'_, io::Result<Connected>> {
        Box::pin(async move {
            if !has_sockets() {
                return Err(io::Error::other("no arbiter with sockets to run on"));
            }
            self.dial().await
        })
    }
}

/// That there is a host and a port; whether there is such a host shows when it is dialled.
fn check_address(address: &str) -> Result<(), TlsError> {
    let is_address = address.parse::<std::net::SocketAddr>().is_ok()
        || address.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && !host.contains(':') && port.parse::<u16>().is_ok()
        });
    if is_address {
        Ok(())
    } else {
        Err(TlsError::BadAddress(address.chars().take(300).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for address in ["localhost:1", "127.0.0.1:4000", "[::1]:4000", "a.b:65535"] {
            assert_eq!(check_address(address), Ok(()), "{address}");
        }
        for address in [
            "",
            "localhost",
            ":1",
            "localhost:",
            "::1:4000",
            "a:65536",
            "a:b",
        ] {
            let error = check_address(address).unwrap_err();
            assert_eq!(error, TlsError::BadAddress(address.into()));
        }
    }
}
