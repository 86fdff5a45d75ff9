//! TLS 1.3 for systems that bring none of their own: a certificate that the server makes and says in its first line, the
//! only one that the client trusts.

use std::sync::Arc;

use common::run::Result;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::server::Server;

/// In the certificate.
pub(super) const NAME: &str = "localhost";

/// What the server needs, and its certificate in words for [`client`].
pub(super) fn server() -> Result<(ServerConfig, String)> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    let certificate = made.cert.der().clone();
    let words = certificate
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok((config, words))
}

/// What the client needs, and the address: of a server that has said both.
pub(super) fn client(server: &Server) -> Result<(ClientConfig, &str)> {
    let said = server.address().split_once(' ');
    let (address, words) = said.ok_or("the server said no certificate")?;
    let digits = words.as_bytes().chunks(2);
    let bytes = digits.map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?));
    let certificate: Result<Vec<u8>> = bytes.collect();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(certificate?))?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((config, address))
}
