//! An authority of one's own.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use callboard::clock::Clock;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::identity::pem;
use super::{Fingerprint, Identity, TlsError, files, names};

/// How long an authority is valid.
const AUTHORITY_DAYS: u64 = 10 * 365;

/// How long what it issues is valid, unless said otherwise.
const DAYS: u64 = 90;

/// How much a certificate is valid before it was made: clocks of hosts differ.
const BEFORE: Duration = Duration::from_secs(3_600);

/// Who signs certificates: yours, with nobody else in it. Holds its private key; whoever has that can be anybody to
/// those who trust the authority, so keep it away from the hosts that run the system.
///
/// # Example
/// ```
/// use callboard_remote::{Authority, Tls, Trust};
///
/// # fn main() -> Result<(), callboard_remote::TlsError> {
/// let authority = Authority::new("lesson platform")?;
/// let billing = authority.issue("billing", &["billing.internal", "10.0.0.7"])?;
/// assert_eq!(billing.principal().unwrap().to_string(), "cert:billing");
///
/// let tls = Tls::new(billing, Trust::nobody().authority(&authority));
/// # let _ = tls;
/// # Ok(()) }
/// ```
pub struct Authority {
    name: String,
    key: KeyPair,
    certificate: CertificateDer<'static>,
    clock: Clock,
}

impl Authority {
    /// A new authority, with a key of its own (ECDSA over P-256), valid for ten years. `name` is for people.
    ///
    /// # Errors
    /// [`TlsError::BadName`].
    pub fn new(name: &str) -> Result<Self, TlsError> {
        Authority::by_clock(name, &Clock::machine())
    }

    /// The same by a clock of your choice: what it issues is valid by that clock.
    ///
    /// # Errors
    /// [`TlsError::BadName`].
    pub fn by_clock(name: &str, clock: &Clock) -> Result<Self, TlsError> {
        names::check_authority(name)?;
        let key = KeyPair::generate().map_err(setup)?;
        let mut params = authority_params(name);
        valid_for(
            &mut params,
            clock,
            Duration::from_secs(AUTHORITY_DAYS * 86_400),
        );
        let certificate = params.self_signed(&key).map_err(setup)?.into();
        Ok(Authority {
            name: name.to_owned(),
            key,
            certificate,
            clock: clock.clone(),
        })
    }

    /// Goes on with an authority that was [`save`](Authority::save)d. Blocks while it reads.
    ///
    /// # Errors
    /// As [`Identity::from_files`]; [`TlsError::ForeignAuthority`] for one that something else has made: issue with that,
    /// and use [`Identity::from_files`].
    pub fn from_files(
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        let (certificate, key) = (certificate.as_ref(), key.as_ref());
        let secret = files::read_key(key)?;
        let text = files::read(certificate)?;
        let at = certificate.display().to_string();
        let found = files::certificates(&at, &text)?;
        let [certificate] = &found[..] else {
            return Err(TlsError::ForeignAuthority(at));
        };
        let anchor =
            webpki::anchor_from_trusted_cert(certificate).map_err(|error| TlsError::Malformed {
                at: at.clone(),
                reason: error.to_string(),
            })?;
        let Some(name) = common_name(&anchor.subject) else {
            return Err(TlsError::ForeignAuthority(at));
        };
        let key_at = key.display().to_string();
        // Says so if the key is another's.
        Identity::new(
            vec![certificate.clone()],
            files::key(&key_at, &secret)?,
            &key_at,
        )?;
        let key = KeyPair::from_pem(&secret).map_err(|_| TlsError::ForeignAuthority(at))?;
        Ok(Authority {
            name,
            key,
            certificate: certificate.clone(),
            clock: Clock::machine(),
        })
    }

    /// Writes the certificate, which everybody may have, and the private key, with mode 0600. Blocks while it writes.
    ///
    /// # Errors
    /// [`TlsError::File`].
    pub fn save(
        &self,
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<(), TlsError> {
        files::write_key(key.as_ref(), &pem("PRIVATE KEY", self.key.serialized_der()))?;
        files::write(certificate.as_ref(), &self.certificate_pem())
    }

    /// An identity of who is called `name`, valid for 90 days (and an hour back, since clocks of hosts differ).
    ///
    /// Its principal is `cert:<name>`. `hosts` are host names and IP addresses under which it is dialled by those who
    /// look at that; empty for who isn't dialled, or whose callers expect the name.
    ///
    /// # Errors
    /// [`TlsError::BadName`], [`TlsError::BadHost`].
    pub fn issue(&self, name: &str, hosts: &[&str]) -> Result<Identity, TlsError> {
        self.issue_valid_for(name, hosts, Duration::from_secs(DAYS * 86_400))
    }

    /// The same with another time.
    ///
    /// # Errors
    /// As [`issue`](Authority::issue).
    pub fn issue_valid_for(
        &self,
        name: &str,
        hosts: &[&str],
        span: Duration,
    ) -> Result<Identity, TlsError> {
        names::check(name)?;
        let mut params = leaf_params(name)?;
        for host in hosts {
            params.subject_alt_names.push(host_name(host)?);
        }
        params.use_authority_key_identifier_extension = true;
        valid_for(&mut params, &self.clock, span);
        let issuer_params = authority_params(&self.name);
        let issuer = Issuer::from_params(&issuer_params, &self.key);
        let key = KeyPair::generate().map_err(setup)?;
        let certificate = params.signed_by(&key, &issuer).map_err(setup)?;
        identity(certificate.into(), &key)
    }

    /// Its certificate, in PEM: what those need who shall trust it.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Authority({:?}, {})",
            self.name,
            Fingerprint::of(&self.certificate)
        )
    }
}

/// See [`Identity::self_signed`].
pub(super) fn self_signed(name: &str) -> Result<Identity, TlsError> {
    names::check(name)?;
    let mut params = leaf_params(name)?;
    let span = Duration::from_secs(AUTHORITY_DAYS * 86_400);
    valid_for(&mut params, &Clock::machine(), span);
    let key = KeyPair::generate().map_err(setup)?;
    let certificate = params.self_signed(&key).map_err(setup)?;
    identity(certificate.into(), &key)
}

fn identity(certificate: CertificateDer<'static>, key: &KeyPair) -> Result<Identity, TlsError> {
    let secret = PrivatePkcs8KeyDer::from(key.serialize_der());
    Identity::new(vec![certificate], PrivateKeyDer::from(secret), "a new key")
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished(name);
    // It signs processes, and no further authorities.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf_params(name: &str) -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished(name);
    let uri = names::uri(name).try_into().map_err(setup)?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Each process may dial and be dialled.
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    Ok(params)
}

fn distinguished(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn valid_for(params: &mut CertificateParams, clock: &Clock, span: Duration) {
    let now = clock.unix();
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(BEFORE);
    // No further than the notation of dates reaches.
    let end = now.saturating_add(span).min(Duration::from_secs(LAST));
    params.not_after = epoch + end;
}

/// The year 9000, in seconds since 1970.
const LAST: u64 = 221_845_392_000;

fn host_name(host: &str) -> Result<SanType, TlsError> {
    let bad = || TlsError::BadHost(host.chars().take(255).collect());
    if let Ok(address) = host.parse() {
        return Ok(SanType::IpAddress(address));
    }
    // No wildcards: they name nobody.
    rustls::pki_types::DnsName::try_from(host).map_err(|_| bad())?;
    let host = host.to_owned().try_into().map_err(|_| bad())?;
    Ok(SanType::DnsName(host))
}

/// The name in a subject that is nothing but a common name, as this helper writes it.
fn common_name(subject: &[u8]) -> Option<String> {
    // SET, SEQUENCE, the identifier of "common name", UTF8String; each with a length of one byte.
    let [
        0x31,
        set,
        0x30,
        sequence,
        6,
        3,
        0x55,
        4,
        3,
        0x0C,
        len,
        name @ ..,
    ] = subject
    else {
        return None;
    };
    let name = std::str::from_utf8(name).ok()?;
    let fits = usize::from(*len) == name.len()
        && usize::from(*sequence) == name.len() + 7
        && usize::from(*set) == name.len() + 9;
    (fits && names::check_authority(name).is_ok()).then(|| name.to_owned())
}

// By value, as `map_err` hands it over.
#[allow(clippy::needless_pass_by_value)]
fn setup(error: rcgen::Error) -> TlsError {
    TlsError::Setup(error.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn subject(name: &str) -> Vec<u8> {
        let len = u8::try_from(name.len()).unwrap();
        let head = [0x31, len + 9, 0x30, len + 7, 6, 3, 0x55, 4, 3, 0x0C, len];
        [&head[..], name.as_bytes()].concat()
    }

    #[test]
    fn the_name_of_a_kept_authority_is_found_again() {
        let longest = "x".repeat(64);
        for name in ["a", "our system", &longest] {
            assert_eq!(common_name(&subject(name)), Some(name.to_owned()));
            let authority = Authority::new(name).unwrap();
            let anchor = webpki::anchor_from_trusted_cert(&authority.certificate).unwrap();
            assert_eq!(common_name(&anchor.subject), Some(name.to_owned()));
        }
    }

    #[test]
    fn a_span_without_end_ends_where_dates_do() {
        let authority = Authority::new("our system").unwrap();
        let issued = authority.issue_valid_for("shop", &[], Duration::MAX);
        assert!(issued.is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_of_a_subject_make_it_panic(mut bytes in vec(any::<u8>(), 0..80), at in 0..20_usize) {
            let _ = common_name(&bytes);
            // And near to what it takes.
            let mut near = subject("our system");
            if let (Some(byte), Some(other)) = (near.get_mut(at), bytes.pop()) {
                *byte = other;
            }
            let found = common_name(&near);
            prop_assert!(found.is_none_or(|name| name.len() == 10));
        }
    }
}
