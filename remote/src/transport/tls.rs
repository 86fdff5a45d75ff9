//! TLS 1.3 over TCP: what lets processes on different hosts speak (G35).

mod accept;
mod ahead;
mod authority;
mod dial;
mod fault;
mod files;
mod fingerprint;
mod identity;
mod names;
mod stream;
mod trust;
mod verify;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use callboard::Principal;
use callboard::clock::Clock;
use parking_lot::Mutex;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{CipherSuite, ClientConfig, ServerConfig, SupportedCipherSuite};

use verify::Expected;

pub use authority::Authority;
pub use fault::{TlsError, TlsFault};
pub use fingerprint::Fingerprint;
pub use identity::Identity;
pub use trust::Trust;

pub(crate) use accept::{Handshakes, Reserved};
pub use dial::TlsConnector;

/// What the two sides agree to speak inside: keeps a stream that was meant for another protocol out.
const ALPN: &[u8] = b"callboard";

/// The first bytes of whatever speaks TLS: a record of a kind that exists, and a version of 3.x.
pub(crate) fn is_record(first: &[u8]) -> bool {
    matches!(first, [20..=24, 3, 0..=4, ..])
}

/// How a process speaks TLS 1.3: what it shows ([`Identity`]), whom it believes ([`Trust`]), and what it asks of those who
/// dial it. One value serves for listening and for dialling. Clones are handles to the same one: what
/// [`rotate`](Tls::rotate) and [`trust`](Tls::trust) change, all of them use from the next connection on.
///
/// Both sides show a certificate. Nothing is older than TLS 1.3; sessions of TLS are never resumed and no data is sent
/// early, so that each connection is judged anew, by what is trusted at that moment.
///
/// # Who somebody is
/// The principal that rights are given to follows from the certificate, in this order:
///
/// | the certificate | principal |
/// |---|---|
/// | is [pinned](Trust::pin) as `billing`, whatever it says | `cert:billing` |
/// | has the URI `callboard:billing` ([`Authority::issue`] writes it) | `cert:billing` |
/// | has one other URI, of SPIFFE say | `cert:spiffe://corp/billing` |
/// | has no URI, and one host name without a `*` | `cert:dns:billing.internal` |
/// | anything else: several of a kind, wildcards, none | refused: [`TlsFault::Nameless`] |
///
/// The common name is never looked at. A `callboard:` name has 1 to 64 letters, digits, `.`, `_` or `-`, so that none can
/// be taken for a principal of the other kinds.
///
/// # What goes wrong
/// Who dials gets a [`LinkErrorKind::Tls`](crate::LinkErrorKind::Tls) with the [`TlsFault`], which names what is wrong;
/// the listener counts it among `handshake_failures` and logs it. Over the wire go the alerts of TLS, and no text.
///
/// # Example
/// Both sides in one process, for once:
///
/// ```
/// # extern crate callboard_core as callboard;
/// # use callboard::{Actor, Context, Handler, Message, System};
/// # use callboard_remote::{Authority, Expect, Node, Peer, Tls, Trust, Verbs};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[message(reply = u64, name = "counter.add")]
/// # struct Add(u64);
/// # struct Counter(u64);
/// # impl Actor for Counter {}
/// # impl Handler<Add> for Counter {
/// #     async fn handle(&mut self, Add(n): Add, _ctx: &mut Context<Self>) -> u64 {
/// #         self.0 += n;
/// #         self.0
/// #     }
/// # }
/// # async fn both(system: System) -> Result<(), Box<dyn std::error::Error>> {
/// let authority = Authority::new("our system")?;
/// let trust = Trust::nobody().authority(&authority);
///
/// let tls = Tls::new(authority.issue("counting", &[])?, trust.clone());
/// let node = Node::new(&system, "counting")?;
/// node.expose("counter", &system.start(Counter(0)).recipient::<Add, _>())?;
/// node.rights().grant("cert:shop", Verbs::EXECUTE, "counter")?;
/// let listener = node.listen_tls("127.0.0.1:0".parse()?, &tls).await?;
///
/// let tls = Tls::new(authority.issue("shop", &[])?, trust);
/// let peer = Peer::tls(&system, listener.address(), &tls, Expect::name("counting"))?;
/// peer.connected().await?;
/// assert_eq!(peer.recipient::<Add>("counter")?.ask(Add(2)).await?, 2);
/// assert_eq!(node.state().connections[0].principal.as_deref(), Some("cert:shop"));
/// # Ok(()) }
/// # callboard::run(both).unwrap().unwrap();
/// ```
#[derive(Clone)]
pub struct Tls {
    shared: Arc<Shared>,
}

struct Shared {
    current: ArcSwap<Current>,
    /// Held while `current` is changed, so that two changes at once both count.
    changing: Mutex<()>,
    files: Option<TlsFiles>,
    is_client_certificate_required: bool,
}

#[derive(Clone)]
struct Current {
    identity: Option<Identity>,
    trust: Arc<Trust>,
}

/// Where a [`Tls`] comes from, and is read again from by [`reload`](Tls::reload).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The own certificate, and those that lead to its authority, in PEM.
    pub chain: PathBuf,
    /// The private key, in PEM; nobody else may read the file.
    pub key: PathBuf,
    /// The certificates of the authorities that are trusted, in PEM.
    pub authorities: PathBuf,
}

/// Who must answer, for those who dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect(Expectation);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expectation {
    Host(String),
    Name(String),
    Principal(Principal),
}

impl Expect {
    /// Whoever has that name, on whatever host: `cert:<name>`. For identities of an [`Authority`], and pinned ones.
    #[must_use]
    pub fn name(name: &str) -> Self {
        Expect(Expectation::Name(name.to_owned()))
    }

    /// That principal, on whatever host: one of the other kinds, `cert:spiffe://corp/billing` say.
    #[must_use]
    pub fn principal(principal: Principal) -> Self {
        Expect(Expectation::Principal(principal))
    }

    /// Whoever has a certificate of a trusted authority for that host name or IP address, as browsers do it. A pinned
    /// certificate is never accepted for a host: expect its name.
    #[must_use]
    pub fn host(host: &str) -> Self {
        Expect(Expectation::Host(host.to_owned()))
    }

    fn check(self) -> Result<Expected, TlsError> {
        match self.0 {
            Expectation::Name(name) => {
                names::check(&name)?;
                Ok(Expected::Principal(names::principal(&name)))
            }
            Expectation::Principal(principal) => Ok(Expected::Principal(principal)),
            Expectation::Host(host) => match ServerName::try_from(host.clone()) {
                Ok(name) => Ok(Expected::Host(name)),
                Err(_) => Err(TlsError::BadHost(host.chars().take(255).collect())),
            },
        }
    }
}

impl Tls {
    /// Shows this identity and believes those.
    #[must_use]
    pub fn new(identity: Identity, trust: Trust) -> Self {
        Tls::of(Some(identity), trust, None)
    }

    /// Shows nothing, and believes those: to dial listeners that are
    /// [`without_client_certificates`](Tls::without_client_certificates). It can't listen.
    #[must_use]
    pub fn without_identity(trust: Trust) -> Self {
        Tls::of(None, trust, None)
    }

    /// From files. Blocks while it reads: call it before the system is busy, or on a thread for that.
    ///
    /// # Errors
    /// As [`Identity::from_files`] and [`Trust::authority_file`].
    pub fn from_files(files: TlsFiles) -> Result<Self, TlsError> {
        let (identity, trust) = files.read()?;
        Ok(Tls::of(Some(identity), trust, Some(files)))
    }

    fn of(identity: Option<Identity>, trust: Trust, files: Option<TlsFiles>) -> Self {
        let trust = Arc::new(trust);
        Tls {
            shared: Arc::new(Shared {
                current: ArcSwap::from_pointee(Current { identity, trust }),
                changing: Mutex::default(),
                files,
                is_client_certificate_required: true,
            }),
        }
    }

    /// The same, apart from this one from now on, and letting those in who show no certificate: they have no principal
    /// until they prove one by other means. A certificate that is shown must still be good.
    #[must_use]
    pub fn without_client_certificates(&self) -> Self {
        Tls {
            shared: Arc::new(Shared {
                current: ArcSwap::new(self.shared.current.load_full()),
                changing: Mutex::default(),
                files: self.shared.files.clone(),
                is_client_certificate_required: false,
            }),
        }
    }

    /// Shows another identity from the next connection on: before the old one expires, or because its key was lost.
    /// Connections that are open stay.
    pub fn rotate(&self, identity: Identity) {
        self.change(|current| current.identity = Some(identity));
    }

    /// Believes others from the next connection on. Connections that are open stay, also of those that aren't trusted
    /// any more.
    pub fn trust(&self, trust: Trust) {
        self.change(|current| current.trust = Arc::new(trust));
    }

    /// Reads its files again and uses what they hold from the next connection on; all of it or, if anything is wrong,
    /// nothing. Answers whether the identity is another. Blocks while it reads. Pins and denials that were made by
    /// [`trust`](Tls::trust) don't survive it: the files say all.
    ///
    /// # Errors
    /// As [`from_files`](Tls::from_files), and the old content stays; [`TlsError::NoFiles`].
    pub fn reload(&self) -> Result<bool, TlsError> {
        let files = self.shared.files.as_ref().ok_or(TlsError::NoFiles)?;
        let (identity, trust) = files.read()?;
        let mut is_another = false;
        self.change(|current| {
            let before = current.identity.as_ref().map(Identity::fingerprint);
            is_another = before != Some(identity.fingerprint());
            current.identity = Some(identity);
            current.trust = Arc::new(trust);
        });
        Ok(is_another)
    }

    /// What it shows now.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.shared.current.load().identity.clone()
    }

    /// Whom it believes now, to be changed and handed back to [`trust`](Tls::trust).
    #[must_use]
    pub fn trusted(&self) -> Trust {
        Trust::clone(&self.shared.current.load().trust)
    }

    fn change(&self, change: impl FnOnce(&mut Current)) {
        let _changing = self.shared.changing.lock();
        let mut next = Current::clone(&self.shared.current.load());
        change(&mut next);
        self.shared.current.store(Arc::new(next));
    }

    /// How to dial now, and whom that believes.
    fn client(
        &self,
        clock: &Clock,
        expected: Expected,
    ) -> Result<(Arc<ClientConfig>, Arc<Trust>), TlsError> {
        let current = self.shared.current.load_full();
        let trust = Arc::clone(&current.trust);
        let provider = provider();
        let verifier = verify::Server {
            trust: Arc::clone(&trust),
            expected,
            algorithms: provider.signature_verification_algorithms,
        };
        let builder = ClientConfig::builder_with_details(provider, ByClock::new(clock))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| TlsError::Setup(error.to_string()))?
            // Our own verifier: it asks no less than the library's, and knows pins and principals.
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &current.identity {
            Some(identity) => {
                let shown = SingleCertAndKey::from(identity.certified());
                builder.with_client_cert_resolver(Arc::new(shown))
            }
            None => builder.with_no_client_auth(),
        };
        // A resumed session would not look at certificates again.
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok((Arc::new(config), trust))
    }

    /// How to answer now, and whom that believes.
    fn server(&self, clock: &Clock) -> Result<(Arc<ServerConfig>, Arc<Trust>), TlsError> {
        let current = self.shared.current.load_full();
        let Some(identity) = &current.identity else {
            return Err(TlsError::NoCertificate("TLS without identity".to_owned()));
        };
        let trust = Arc::clone(&current.trust);
        let is_required = self.shared.is_client_certificate_required;
        let verifier = verify::Client::new(Arc::clone(&trust), is_required)?;
        let mut config = ServerConfig::builder_with_details(provider(), ByClock::new(clock))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| TlsError::Setup(error.to_string()))?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok((Arc::new(config), trust))
    }

    /// Whether it has what a listener shows.
    pub(crate) fn can_listen(&self) -> bool {
        self.shared.current.load().identity.is_some()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = self.shared.current.load();
        f.debug_struct("Tls")
            .field("identity", &current.identity)
            .field("trust", &current.trust)
            .finish_non_exhaustive()
    }
}

impl TlsFiles {
    fn read(&self) -> Result<(Identity, Trust), TlsError> {
        let identity = Identity::from_files(&self.chain, &self.key)?;
        let trust = Trust::nobody().authority_file(&self.authorities)?;
        Ok((identity, trust))
    }
}

/// Named at each use: what a process has installed as its default may be another one, or two at once.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let mut provider = rustls::crypto::ring::default_provider();
        // First the one that RFC 8446 (9.1) has everybody know: it takes the fewest rounds.
        let is_other =
            |suite: &SupportedCipherSuite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256;
        provider.cipher_suites.sort_by_key(is_other);
        Arc::new(provider)
    });
    Arc::clone(&PROVIDER)
}

/// Whether a certificate is valid now, by the clock of the system. (Keys and nonces are drawn from the operating
/// system: no seed may tell them.)
#[derive(Debug)]
struct ByClock(Clock);

impl ByClock {
    fn new(clock: &Clock) -> Arc<Self> {
        Arc::new(ByClock(clock.clone()))
    }
}

impl TimeProvider for ByClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.unix()))
    }
}
