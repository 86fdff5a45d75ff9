//! What is seen of encrypted connections from outside, and what becomes of those that are tampered with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callboard::{Failure, FailureKind, Placement, Recipient, System};
use callboard_remote::{
    Channel, Expect, LinkConfig, LinkErrorKind, Login, Node, Peer, Secret, Secrets, SecretsConfig,
    Tls, Verbs,
};
use futures::channel::oneshot;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::clients::{Bytes, mirror};
use crate::actors::{Add, Look, tester};
use crate::proxy::{Proxy, Weather};
use crate::tls::{House, listen, loopback};

const SECRET: &str = "b0f6c2d87e914a35";
const MS: Duration = Duration::from_millis(1);

/// A node that takes logins, and answers them over TLS.
async fn with_kiosk(system: &System) -> (Node, Secrets, House, SocketAddr, impl Sized + use<>) {
    let (node, actor, _probe) = tester(system, "node");
    let mut config = SecretsConfig::default();
    config.rounds = 1_000;
    let secrets = Secrets::with(system, config).unwrap();
    let secret = Secret::new(SECRET).unwrap();
    secrets.add("kiosk", secret).await.unwrap();
    node.take_logins(Some(&secrets));
    node.rights()
        .grant("secret:kiosk", Verbs::EXECUTE, "tester")
        .unwrap();
    let house = House::new();
    let tls = house.tls("node").without_client_certificates();
    let listener = node.listen_tls(loopback(), &tls).await.unwrap();
    let address = listener.socket_addr().unwrap();
    (node, secrets, house, address, actor)
}

fn login(system: &System, address: SocketAddr, tls: &Tls, secret: &str) -> Peer {
    let mut config = LinkConfig::default();
    config.login = Some(Login::new("kiosk", secret).unwrap());
    let address = address.to_string();
    Peer::tls_with(system, &address, tls, Expect::name("node"), config).unwrap()
}

async fn principal(peer: &Peer) -> Result<Option<String>, Failure> {
    let look: Recipient<Look> = peer.recipient("tester").unwrap();
    let seen = look.ask(Look).await?;
    Ok(seen.principal)
}

#[callboard::test(arbiters)]
async fn g35_a_secret_proves_a_principal_over_real_tls(system: System) {
    let (node, secrets, house, address, _actor) = with_kiosk(&system).await;
    let nobody = Tls::without_identity(house.trust());
    let peer = login(&system, address, &nobody, SECRET);
    peer.attempted().await.unwrap();
    assert_eq!(principal(&peer).await, Ok(Some("secret:kiosk".into())));
    assert_eq!(
        node.state().sessions[0].principal.as_deref(),
        Some("secret:kiosk")
    );
    // Who has a certificate too is known by what it says last.
    let both = login(&system, address, &house.tls("shop"), SECRET);
    both.attempted().await.unwrap();
    assert_eq!(principal(&both).await, Ok(Some("secret:kiosk".into())));
    // Bad credentials, and none.
    let wrong = login(&system, address, &nobody, "0000000000000000");
    let refused = wrong.attempted().await.unwrap_err();
    let expected = LinkErrorKind::Refused("name or secret is wrong".into());
    assert_eq!(refused.kind(), &expected);
    wrong.close();
    let none = dial_anonymous(&system, address, &nobody);
    none.attempted().await.unwrap();
    let failure = principal(&none).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::NotAuthorised);
    // A session goes on without another hash, and as the same.
    assert!(secrets.stats().wrong >= 1);
    assert_eq!(principal(&peer).await, Ok(Some("secret:kiosk".into())));
}

fn dial_anonymous(system: &System, address: SocketAddr, tls: &Tls) -> Peer {
    Peer::tls(system, &address.to_string(), tls, Expect::name("node")).unwrap()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|part| part == needle)
}

/// Venice's servers spoke plainly with who asked for it.
#[callboard::test(arbiters)]
async fn g35_nothing_that_passes_over_tls_can_be_read(system: System) {
    let text = b"the treasure lies under the third oak".as_slice();
    let say = async |peer: &Peer| {
        peer.attempted().await.unwrap();
        let bytes: Recipient<Bytes> = peer.recipient("mirror").unwrap();
        assert!(bytes.ask(Bytes(text.to_vec().into())).await.unwrap()[..] == *text);
    };
    let (node, secrets, house, _address, _actor) = with_kiosk(&system).await;
    let (mirrors, _mirror) = mirror(&system, LinkConfig::default());
    mirrors.take_logins(Some(&secrets));
    let tls = house.tls("node").without_client_certificates();
    let encrypted = listen(&mirrors, &tls).await.socket_addr().unwrap();
    let plain = mirrors.listen_tcp(loopback()).await.unwrap();
    let proxy = Proxy::new(&system, 0, Weather::Fair);
    let through = proxy.tcp(encrypted).await;
    let nobody = Tls::without_identity(house.trust());
    let kiosk = login(&system, through, &nobody, SECRET);
    say(&kiosk).await;
    let through = proxy.tcp(plain.socket_addr().unwrap()).await;
    let anybody = Peer::tcp(&system, through).unwrap();
    say(&anybody).await;
    let [encrypted, plain] = &proxy.tapes()[..] else {
        panic!("two connections");
    };
    // Who looks at the node sees which is which.
    let connections = mirrors.state().connections;
    let channels: Vec<_> = connections.iter().map(|it| it.channel).collect();
    assert_eq!(channels, [Channel::Encrypted, Channel::Local]);
    for side in [&encrypted.to_node, &encrypted.to_peer] {
        assert!(side.len() > 500, "the handshake alone is more");
        for secret in [text, SECRET.as_bytes(), b"kiosk", b"mirror", b"CALLBRD"] {
            assert!(
                !contains(side, secret),
                "{}",
                String::from_utf8_lossy(secret)
            );
        }
    }
    for side in [&plain.to_node, &plain.to_peer] {
        assert!(contains(side, text), "this is how it would look");
    }
    drop(node);
}

/// Changes bytes on their way to the node or back, once.
struct Tamper {
    address: SocketAddr,
    changed: Arc<AtomicU64>,
}

impl Tamper {
    async fn before(system: &System, target: SocketAddr, to_node: bool, at: usize) -> Tamper {
        let (bound, address) = oneshot::channel();
        let changed = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&changed);
        let system_of = system.clone();
        system.spawn(Placement::Spread, move || async move {
            let listener = TcpListener::bind(loopback()).await.unwrap();
            bound.send(listener.local_addr().unwrap()).unwrap();
            let change = Arc::new(Mutex::new(Some(at)));
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let Ok(far) = TcpStream::connect(target).await else {
                    continue;
                };
                let ((near_out, near_in), (far_out, far_in)) =
                    (near.into_split(), far.into_split());
                let none = Arc::new(Mutex::new(None));
                let (up, down) = match to_node {
                    true => (Arc::clone(&change), none),
                    false => (none, Arc::clone(&change)),
                };
                for (from, to, change) in [(near_out, far_in, up), (far_out, near_in, down)] {
                    let counted = Arc::clone(&counted);
                    system_of.spawn(Placement::Spread, move || pass(from, to, change, counted));
                }
            }
        });
        Tamper {
            address: address.await.unwrap(),
            changed,
        }
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    change: Arc<Mutex<Option<usize>>>,
    counted: Arc<AtomicU64>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await.unwrap_or(0);
        if count == 0 {
            return;
        }
        {
            let mut change = change.lock();
            match *change {
                Some(at) if at < count => {
                    // From there on, because the second byte of a record's version counts for nothing in TLS 1.3.
                    buffer[at..count].iter_mut().for_each(|byte| *byte ^= 0x10);
                    counted.fetch_add(1, Ordering::Relaxed);
                    *change = None;
                }
                Some(at) => *change = Some(at - count),
                None => {}
            }
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// Venice's parts were sealed each for itself, and could be left out, doubled and mixed.
#[callboard::test(arbiters)]
async fn g32_bytes_that_were_changed_on_the_way_end_their_connection_and_nothing_else(
    system: System,
) {
    let house = House::new();
    let (node, _actor, probe) = tester(&system, "node");
    let target = listen(&node, &house.tls("node")).await;
    let target = target.socket_addr().unwrap();
    let tls = house.tls("shop");
    let mut sent = 0;
    for to_node in [true, false] {
        // In the handshake of TLS, in ours, and in messages.
        for at in [400, 1_500, 3_500, 5_000] {
            let tamper = Tamper::before(&system, target, to_node, at).await;
            let address = tamper.address.to_string();
            let mut config = LinkConfig::default();
            // A length that was changed shows by silence only.
            (config.ping_after, config.dead_after) = (100 * MS, 400 * MS);
            let to = Expect::name("node");
            let peer = Peer::tls_with(&system, &address, &tls, to, config).unwrap();
            peer.connected().await.unwrap();
            let add: Recipient<Add> = peer.recipient("tester").unwrap();
            // Each ask is more than 60 bytes in each direction.
            for _ in 0..100 {
                add.ask(Add(sent)).deadline(60_000 * MS).await.unwrap();
                sent += 1;
            }
            assert_eq!(tamper.changed.load(Ordering::Relaxed), 1, "{to_node} {at}");
            // It may have been among the last bytes.
            let failed = || {
                let stats = peer.state().stats;
                stats.connect_failures + stats.disconnects
            };
            while failed() == 0 {
                system.clock().sleep(MS).await;
            }
            add.ask(Add(sent)).deadline(60_000 * MS).await.unwrap();
            sent += 1;
            assert_eq!(peer.state().stats.sessions_ended, 0, "{to_node} {at}");
            peer.close();
        }
    }
    // Once each and in order.
    assert_eq!(probe.added_now(), (0..sent).collect::<Vec<_>>());
    let other = dial_anonymous(&system, target, &tls);
    other.connected().await.unwrap();
    while node.state().connections.len() > 1 {
        system.clock().sleep(MS).await;
    }
}
