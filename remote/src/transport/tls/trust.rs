//! Whom a process believes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use callboard::Principal;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use super::{Authority, Fingerprint, TlsError, TlsFault, files, names};

/// Whom a process believes to be who they say they are: those whose certificate an authority has signed, and those whose
/// very certificate is pinned. A value: change it, and hand it to [`Tls::trust`](super::Tls::trust).
///
/// The authorities of the operating system are not among them: they vouch for hosts of the whole world.
///
/// # Example
/// ```
/// use callboard_remote::{Authority, Fingerprint, Identity, Trust};
///
/// # fn main() -> Result<(), callboard_remote::TlsError> {
/// let authority = Authority::new("lesson platform")?;
/// let sidecar = Identity::self_signed("sidecar")?;
/// let trust = Trust::nobody()
///     .authority(&authority)
///     .pin("sidecar", sidecar.fingerprint())?;
/// # let _ = trust;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Trust {
    roots: RootCertStore,
    pins: BTreeMap<Fingerprint, Principal>,
    denied: BTreeSet<Fingerprint>,
}

impl Trust {
    /// Nobody yet.
    #[must_use]
    pub fn nobody() -> Self {
        Trust {
            roots: RootCertStore::empty(),
            pins: BTreeMap::new(),
            denied: BTreeSet::new(),
        }
    }

    /// And those whose certificate this authority has signed.
    #[must_use]
    pub fn authority(mut self, authority: &Authority) -> Self {
        // What we have made can be read.
        let _ = self.roots.add(authority.certificate());
        self
    }

    /// And those whose certificate an authority in this text has signed: one or several certificates in PEM. Whoever is
    /// trusted here can name anybody, as `callboard:` names are under no limits that an authority may have.
    ///
    /// # Errors
    /// [`TlsError::NoCertificate`], [`TlsError::Malformed`].
    pub fn authority_pem(self, text: &str) -> Result<Self, TlsError> {
        self.add("the text of the authorities", text)
    }

    /// The same from a file. Blocks while it reads.
    ///
    /// # Errors
    /// As [`authority_pem`](Trust::authority_pem), and [`TlsError::File`].
    pub fn authority_file(self, path: impl AsRef<Path>) -> Result<Self, TlsError> {
        let path = path.as_ref();
        let text = files::read(path)?;
        self.add(&path.display().to_string(), &text)
    }

    fn add(mut self, at: &str, text: &str) -> Result<Self, TlsError> {
        for certificate in files::certificates(at, text)? {
            self.roots
                .add(certificate)
                .map_err(|error| TlsError::Malformed {
                    at: at.to_owned(),
                    reason: error.to_string(),
                })?;
        }
        Ok(self)
    }

    /// And who has exactly this certificate, whoever has signed it: its principal is `cert:<name>`, whatever the
    /// certificate says. Its dates are not looked at: a pin holds until it is taken away.
    ///
    /// # Errors
    /// [`TlsError::BadName`].
    pub fn pin(mut self, name: &str, fingerprint: Fingerprint) -> Result<Self, TlsError> {
        names::check(name)?;
        self.pins.insert(fingerprint, names::principal(name));
        Ok(self)
    }

    /// No longer who has exactly this certificate, unless an authority has signed it too.
    #[must_use]
    pub fn unpin(mut self, fingerprint: Fingerprint) -> Self {
        self.pins.remove(&fingerprint);
        self
    }

    /// But not who has exactly this certificate, whoever has signed it, and though it is pinned: its key was lost, say.
    #[must_use]
    pub fn deny(mut self, fingerprint: Fingerprint) -> Self {
        self.denied.insert(fingerprint);
        self
    }

    /// Whether nobody at all is trusted.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        self.roots.is_empty() && self.pins.is_empty()
    }

    pub(super) fn roots(&self) -> &RootCertStore {
        &self.roots
    }

    /// What is known before anybody's signature is looked at: a pinned principal, or that it is denied.
    pub(super) fn look_up(
        &self,
        certificate: &CertificateDer<'_>,
    ) -> Result<Option<&Principal>, TlsFault> {
        let fingerprint = Fingerprint::of(certificate);
        if self.denied.contains(&fingerprint) {
            return Err(TlsFault::Denied);
        }
        Ok(self.pins.get(&fingerprint))
    }

    /// Who has that certificate, once it is known to be trusted.
    pub(super) fn principal(
        &self,
        certificate: &CertificateDer<'_>,
    ) -> Result<Principal, TlsFault> {
        match self.look_up(certificate)? {
            Some(pinned) => Ok(pinned.clone()),
            None => names::principal_of(certificate),
        }
    }
}

impl Default for Trust {
    fn default() -> Self {
        Trust::nobody()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("authorities", &self.roots.len())
            .field("pins", &self.pins)
            .field("denied", &self.denied)
            .finish()
    }
}
