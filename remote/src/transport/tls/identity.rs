//! What a process shows of itself.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use callboard::Principal;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::{Fingerprint, TlsError, TlsFault, files, names, provider};

/// A certificate, the ones that lead to its authority, and the private key. Clones share them.
///
/// [`Authority::issue`](super::Authority::issue) makes one; so does [`self_signed`](Identity::self_signed), for those
/// who pin; or it comes from files of your own authority's.
///
/// `Debug` shows the certificate's fingerprint, and nothing of the key.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    secret: Arc<PrivateKeyDer<'static>>,
    fingerprint: Fingerprint,
}

impl Identity {
    /// From two texts in PEM: the chain, the own certificate first, and the private key (PKCS #8, PKCS #1 or SEC 1).
    ///
    /// # Errors
    /// [`TlsError`]: no certificate, no key, what can't be read, or a key that is not the certificate's.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, TlsError> {
        Identity::read("the text of the chain", chain, "the text of the key", key)
    }

    /// From two files in PEM. Blocks while it reads: call it before the system is busy, or on a thread for that.
    ///
    /// # Errors
    /// As [`from_pem`](Identity::from_pem), naming the file; [`TlsError::OpenKey`] if others than its owner can use the
    /// file with the key; [`TlsError::File`].
    pub fn from_files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, TlsError> {
        let (chain, key) = (chain.as_ref(), key.as_ref());
        let text = files::read_key(key)?;
        Identity::from_file_texts(chain, key, &text)
    }

    /// The same with a key file that others can read: one that a mounted secret shows to a group, say. Who can read it
    /// can be this process to everybody.
    ///
    /// # Errors
    /// As [`from_files`](Identity::from_files), without `OpenKey`.
    pub fn from_files_with_readable_key(
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        let (chain, key) = (chain.as_ref(), key.as_ref());
        let text = files::read(key)?;
        Identity::from_file_texts(chain, key, &text)
    }

    fn from_file_texts(chain: &Path, key: &Path, text: &str) -> Result<Self, TlsError> {
        let certificates = files::read(chain)?;
        let (chain, key) = (chain.display().to_string(), key.display().to_string());
        Identity::read(&chain, &certificates, &key, text)
    }

    fn read(chain_at: &str, chain: &str, key_at: &str, key: &str) -> Result<Self, TlsError> {
        let chain = files::certificates(chain_at, chain)?;
        Identity::new(chain, files::key(key_at, key)?, key_at)
    }

    pub(super) fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        key_at: &str,
    ) -> Result<Self, TlsError> {
        let Some(own) = chain.first() else {
            return Err(TlsError::NoCertificate(key_at.to_owned()));
        };
        let fingerprint = Fingerprint::of(own);
        let secret = Arc::new(key.clone_key());
        let certified =
            CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => TlsError::KeyMismatch(fingerprint),
                _ => TlsError::Malformed {
                    at: key_at.to_owned(),
                    reason: "holds a private key of a kind that can't be used".to_owned(),
                },
            })?;
        Ok(Identity {
            certified: Arc::new(certified),
            secret,
            fingerprint,
        })
    }

    /// A certificate that nobody vouches for, for those who [`pin`](super::Trust::pin) it: its
    /// [`fingerprint`](Identity::fingerprint) is what they need. The name is for people who look at the file: who pins
    /// it says who it is.
    ///
    /// # Errors
    /// [`TlsError::BadName`].
    pub fn self_signed(name: &str) -> Result<Self, TlsError> {
        super::authority::self_signed(name)
    }

    /// What it is pinned or denied by.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Who it is to those that trust its authority.
    ///
    /// # Errors
    /// [`TlsFault::Nameless`], as its peers see it.
    pub fn principal(&self) -> Result<Principal, TlsFault> {
        match self.certified.cert.first() {
            Some(own) => names::principal_of(own),
            None => Err(TlsFault::NoCertificate),
        }
    }

    /// The chain, in PEM. Not secret.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        self.certified
            .cert
            .iter()
            .map(|der| pem("CERTIFICATE", der))
            .collect()
    }

    /// The private key, in PEM: for who keeps it somewhere else than in a file. Never log it.
    #[must_use]
    pub fn secret_key_pem(&self) -> String {
        let label = match &*self.secret {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        pem(label, self.secret.secret_der())
    }

    /// Writes both to files, the key with mode 0600. Each file is replaced in one step. Blocks while it writes.
    ///
    /// # Errors
    /// [`TlsError::File`].
    pub fn save(&self, chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<(), TlsError> {
        files::write_key(key.as_ref(), &self.secret_key_pem())?;
        files::write(chain.as_ref(), &self.chain_pem())
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.fingerprint)
    }
}

/// DER as PEM.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(label, der), config)
}

#[cfg(test)]
mod tests;
