//! Looking at the certificate of the other side, in the middle of the handshake.

use std::sync::Arc;

use callboard::Principal;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::{TlsError, TlsFault, Trust, provider};

/// Who a peer must turn out to be.
#[derive(Debug, Clone)]
pub(super) enum Expected {
    /// Whoever has a certificate for that host.
    Host(ServerName<'static>),
    /// That principal, on whatever host.
    Principal(Principal),
}

/// What both ends do about signatures, with the algorithms that they have.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, cert, dss, &self.algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, dss, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

/// Looks at listeners, for those who dial.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) trust: Arc<Trust>,
    pub(super) expected: Expected,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl Server {
    fn judge(
        &self,
        own: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let pinned = self.trust.look_up(own).map_err(TlsFault::into_tls)?;
        let parsed = ParsedCertificate::try_from(own)?;
        if pinned.is_none() {
            let roots = self.trust.roots();
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&parsed, roots, chain, now, algorithms)?;
        }
        match (&self.expected, pinned) {
            (Expected::Host(host), None) => verify_server_name(&parsed, host),
            // What a pinned certificate says of itself is vouched for by nobody, hosts included.
            (Expected::Host(host), Some(found)) => {
                let expected = host.to_str().into_owned();
                Err(somebody_else(expected, found).into_tls())
            }
            (Expected::Principal(expected), _) => {
                let found = self.trust.principal(own).map_err(TlsFault::into_tls)?;
                if found == *expected {
                    Ok(())
                } else {
                    Err(somebody_else(expected.to_string(), &found).into_tls())
                }
            }
        }
    }
}

impl ServerCertVerifier for Server {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(end_entity, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}

fn somebody_else(expected: String, found: &Principal) -> TlsFault {
    TlsFault::WrongPrincipal {
        expected,
        found: found.to_string(),
    }
}

/// Looks at those who dial, for listeners.
#[derive(Debug)]
pub(super) struct Client {
    trust: Arc<Trust>,
    /// `None` if no authority is trusted.
    by_authority: Option<Arc<dyn ClientCertVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
    is_required: bool,
}

impl Client {
    pub(super) fn new(trust: Arc<Trust>, is_required: bool) -> Result<Self, TlsError> {
        let provider = provider();
        let by_authority = if trust.roots().is_empty() {
            None
        } else {
            let roots = Arc::new(trust.roots().clone());
            let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
            let built = builder.build();
            Some(built.map_err(|error| TlsError::Setup(error.to_string()))?)
        };
        Ok(Client {
            trust,
            by_authority,
            algorithms: provider.signature_verification_algorithms,
            is_required,
        })
    }
}

impl ClientCertVerifier for Client {
    fn client_auth_mandatory(&self) -> bool {
        self.is_required
    }

    /// None: whoever dials is not told who is trusted here.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let is_pinned = self
            .trust
            .look_up(end_entity)
            .map_err(TlsFault::into_tls)?
            .is_some();
        if !is_pinned {
            let Some(by_authority) = &self.by_authority else {
                return Err(rustls::CertificateError::UnknownIssuer.into());
            };
            by_authority.verify_client_cert(end_entity, intermediates, now)?;
        }
        // Who can't be named can't have rights.
        self.trust
            .principal(end_entity)
            .map_err(TlsFault::into_tls)?;
        Ok(ClientCertVerified::assertion())
    }

    signatures!();
}
