//! What goes wrong with TLS: in what a program sets up ([`TlsError`]), and between two processes ([`TlsFault`]).

use std::io;
use std::path::PathBuf;

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

use super::Fingerprint;

/// Why an identity, an authority or whom to trust can't be what was given. Never holds anything of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file could not be read or written.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// Other users can read the private key.
    #[error(
        "{}: the private key has mode {mode:04o}, so that others than its owner can use it; it should have 0600",
        path.display()
    )]
    OpenKey {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// There is no certificate in what should hold one.
    #[error("{0}: no certificate in it")]
    NoCertificate(String),
    /// There is no private key in what should hold one.
    #[error("{0}: no private key in it")]
    NoKey(String),
    /// What should hold a certificate or a key can't be understood.
    #[error("{at}: {reason}")]
    Malformed {
        /// Where.
        at: String,
        /// What is wrong.
        reason: String,
    },
    /// The private key is not that of the certificate.
    #[error("the private key is not that of the certificate {0}")]
    KeyMismatch(Fingerprint),
    /// A name of a process or an authority.
    #[error(
        "{0:?} is no name: 1 to 64 letters, digits, '.', '_' or '-' (in an authority's name also spaces)"
    )]
    BadName(String),
    /// A host.
    #[error("{0:?} is no host name and no IP address")]
    BadHost(String),
    /// An address to dial.
    #[error("{0:?} is no address: it should be a host and a port, as in \"billing.internal:4000\"")]
    BadAddress(String),
    /// A fingerprint.
    #[error("{0:?} is no fingerprint: 64 hexadecimal digits, the SHA-256 of a certificate")]
    BadFingerprint(String),
    /// The authority was not made by this helper, which only goes on with its own.
    #[error("{0} is no authority that Callboard has made")]
    ForeignAuthority(String),
    /// There is nothing to read again: it was not made from files.
    #[error("was not made from files")]
    NoFiles,
    /// The TLS library will not have it.
    #[error("TLS can't be set up: {0}")]
    Setup(String),
}

/// What went wrong between two processes. Each text goes on after the peer's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFault {
    /// No authority that is trusted here has signed the peer's certificate, and it isn't pinned.
    #[error("has a certificate that nobody trusted here has signed")]
    Untrusted,
    /// The peer's certificate was valid once.
    #[error("has a certificate that has expired")]
    Expired,
    /// The peer's certificate will be valid later. Or one of the two clocks is wrong.
    #[error("has a certificate that isn't valid yet")]
    NotYetValid,
    /// The peer's certificate is on the list of those denied here.
    #[error("has a certificate that is denied here")]
    Denied,
    /// The peer's certificate is for other hosts.
    #[error("has no certificate for {expected:?}, but for {}", presented.join(", "))]
    WrongHost {
        /// The host that was dialled.
        expected: String,
        /// What the certificate is for.
        presented: Vec<String>,
    },
    /// The peer is somebody else.
    #[error("is {found}, not {expected}")]
    WrongPrincipal {
        /// Who was expected.
        expected: String,
        /// Who is there.
        found: String,
    },
    /// The peer's certificate doesn't say whose it is, or says it twice.
    #[error("has a certificate from which no principal follows: {0}")]
    Nameless(&'static str),
    /// The peer's certificate can't be used.
    #[error("has a certificate that can't be used: {0}")]
    BadCertificate(String),
    /// The peer has shown no certificate, and must.
    #[error("has shown no certificate")]
    NoCertificate,
    /// The peer asks for a certificate, and this side has shown none.
    #[error("wants a certificate, and was shown none")]
    CertificateRequired,
    /// Nobody whom the peer trusts has signed this side's certificate.
    #[error("doesn't trust the authority of this side's certificate")]
    UntrustedThere,
    /// The peer says that this side's certificate is not valid (any more, or yet).
    #[error("says that this side's certificate has expired or isn't valid yet")]
    ExpiredThere,
    /// The peer won't have this side's certificate.
    #[error("refused this side's certificate ({0})")]
    RefusedThere(String),
    /// The peer does without TLS 1.3.
    #[error("doesn't speak TLS 1.3")]
    NoTls13,
    /// What answers doesn't speak TLS at all: a listener without it, or another program.
    #[error("doesn't speak TLS")]
    NotTls,
    /// The peer speaks TLS, and this side doesn't.
    #[error("speaks TLS, and this side doesn't")]
    OnlyTls,
    /// The peer hung up during the TLS handshake.
    #[error("closed the connection during the TLS handshake")]
    Closed,
    /// Too many others are in the middle of theirs.
    #[error("came while {0} others were in the middle of their TLS handshake")]
    TooMany(usize),
    /// This side has no identity to show, which a listener needs.
    #[error("can't be served: {0}")]
    Setup(String),
    /// Anything else.
    #[error("broke off TLS: {0}")]
    Other(String),
}

impl TlsFault {
    /// As an error of a stream; [`of`](TlsFault::of) finds it again.
    pub(crate) fn into_io(self) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, self)
    }

    /// What of TLS stands behind an error of a stream, if anything does.
    pub(crate) fn of(error: &io::Error) -> Option<TlsFault> {
        let inner = error.get_ref()?;
        if let Some(fault) = inner.downcast_ref::<TlsFault>() {
            return Some(fault.clone());
        }
        inner.downcast_ref::<Error>().map(TlsFault::from)
    }

    /// The same for errors during the handshake, where the end of the stream is one too.
    pub(super) fn of_handshake(error: &io::Error) -> Option<TlsFault> {
        // The latter two: it closed without having read what this side had sent.
        if matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
        ) {
            return Some(TlsFault::Closed);
        }
        match error.get_ref()?.downcast_ref::<Error>() {
            // The first bytes of a peer are the only ones that nothing protects yet.
            Some(Error::InvalidMessage(_)) => Some(TlsFault::NotTls),
            _ => TlsFault::of(error),
        }
    }

    /// As an error of the TLS library, for verifiers. Its peer sees an alert, and no text.
    pub(super) fn into_tls(self) -> Error {
        match self {
            TlsFault::Denied => CertificateError::Revoked.into(),
            fault => CertificateError::Other(rustls::OtherError(std::sync::Arc::new(fault))).into(),
        }
    }
}

impl From<&Error> for TlsFault {
    fn from(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => of_certificate(error),
            Error::NoCertificatesPresented => TlsFault::NoCertificate,
            Error::AlertReceived(alert) => of_alert(*alert),
            Error::PeerIncompatible(
                PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled,
            ) => TlsFault::NoTls13,
            other => TlsFault::Other(other.to_string()),
        }
    }
}

fn of_certificate(error: &CertificateError) -> TlsFault {
    match error {
        // A bad signature: of an authority that has the name of a trusted one, and another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsFault::Untrusted,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsFault::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            TlsFault::NotYetValid
        }
        CertificateError::Revoked => TlsFault::Denied,
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => TlsFault::WrongHost {
            expected: expected.to_str().into_owned(),
            presented: presented.clone(),
        },
        CertificateError::Other(other) => match other.0.downcast_ref::<TlsFault>() {
            Some(fault) => fault.clone(),
            None => TlsFault::BadCertificate(other.to_string()),
        },
        other => TlsFault::BadCertificate(other.to_string()),
    }
}

fn of_alert(alert: AlertDescription) -> TlsFault {
    match alert {
        AlertDescription::CertificateRequired => TlsFault::CertificateRequired,
        AlertDescription::UnknownCA | AlertDescription::DecryptError => TlsFault::UntrustedThere,
        AlertDescription::CertificateExpired => TlsFault::ExpiredThere,
        AlertDescription::ProtocolVersion => TlsFault::NoTls13,
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateRevoked
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::AccessDenied => TlsFault::RefusedThere(format!("{alert:?}")),
        other => TlsFault::Other(format!("{other:?}")),
    }
}
