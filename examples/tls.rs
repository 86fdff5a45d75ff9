//! A shop that asks for bills over TLS: who is let in, who isn't and what they are told, and a new certificate while
//! everything runs.
//!
//! Chapter 27 of the guide is cut from this file.

use std::io::Write;

use callboard::prelude::*;
use callboard::remote::{Authority, Expect, Identity, Node, Peer, Tls, Trust, Verbs};
use serde::{Deserialize, Serialize};

// ANCHOR: billing
#[derive(Message, Serialize, Deserialize)]
#[message(reply = String, name = "billing.bill")]
struct Bill {
    cents: u64,
}

struct Billing;

impl Actor for Billing {}

impl Handler<Bill> for Billing {
    async fn handle(&mut self, bill: Bill, ctx: &mut Context<Self>) -> String {
        let who = ctx.principal().map(ToString::to_string).unwrap_or_default();
        format!("{} cents for {who}", bill.cents)
    }
}
// ANCHOR_END: billing

/// What is said about an attempt to connect.
async fn attempt(peer: &Peer) -> String {
    match peer.attempted().await {
        Ok(()) => "is let in".to_owned(),
        Err(error) => format!("is told: billing {}", error.kind()),
    }
}

/// What happens, told to `out`.
pub async fn story(system: System, out: &mut impl Write) -> callboard::Result<()> {
    // ANCHOR: authority
    let authority = Authority::new("our system")?;
    let trust = Trust::nobody().authority(&authority);
    // ANCHOR_END: authority

    // ANCHOR: listen
    let tls = Tls::new(authority.issue("billing", &[])?, trust.clone());
    let node = Node::new(&system, "billing")?;
    let billing = system.start(Billing);
    node.expose("billing", &billing.recipient::<Bill, _>())?;
    for who in ["cert:shop", "cert:sidecar"] {
        node.rights().grant(who, Verbs::EXECUTE, "billing")?; // off the host nobody has rights unless given
    }
    let listener = node.listen_tls("127.0.0.1:0".parse()?, &tls).await?;
    // ANCHOR_END: listen
    let address = listener.address();

    // ANCHOR: dial
    let shop = Tls::new(authority.issue("shop", &[])?, trust.clone());
    let peer = Peer::tls(&system, address, &shop, Expect::name("billing"))?;
    writeln!(out, "the shop {}", attempt(&peer).await)?;
    let bills = peer.recipient::<Bill>("billing")?;
    writeln!(out, "{}", bills.ask(Bill { cents: 250 }).await?)?;
    // ANCHOR_END: dial

    // ANCHOR: strangers
    let elsewhere = Authority::new("our system")?; // the name of an authority proves nothing
    let stranger = Tls::new(elsewhere.issue("shop", &[])?, trust.clone());
    let peer = Peer::tls(&system, address, &stranger, Expect::name("billing"))?;
    writeln!(out, "a stranger {}", attempt(&peer).await)?;

    let nobody = Tls::without_identity(trust.clone());
    let peer = Peer::tls(&system, address, &nobody, Expect::name("billing"))?;
    writeln!(out, "who shows nothing {}", attempt(&peer).await)?;

    let peer = Peer::tls(&system, address, &shop, Expect::name("stock"))?;
    writeln!(out, "who looks for stock {}", attempt(&peer).await)?;

    let peer = Peer::tcp(&system, listener.socket_addr().ok_or("no address")?)?;
    writeln!(out, "who forgets TLS {}", attempt(&peer).await)?;
    // ANCHOR_END: strangers

    // ANCHOR: rotate
    tls.rotate(authority.issue("billing", &[])?);
    writeln!(out, "-- billing has a new certificate")?;
    writeln!(out, "{}", bills.ask(Bill { cents: 300 }).await?)?; // over the old connection
    let peer = Peer::tls(&system, address, &shop, Expect::name("billing"))?;
    writeln!(out, "the shop {}", attempt(&peer).await)?;
    // ANCHOR_END: rotate

    // ANCHOR: pin
    let sidecar = Identity::self_signed("whatever")?;
    tls.trust(tls.trusted().pin("sidecar", sidecar.fingerprint())?);
    let sidecar = Tls::new(sidecar, trust);
    let peer = Peer::tls(&system, address, &sidecar, Expect::name("billing"))?;
    writeln!(out, "the sidecar {}", attempt(&peer).await)?;
    let bills = peer.recipient::<Bill>("billing")?;
    writeln!(out, "{}", bills.ask(Bill { cents: 1 }).await?)?;
    // ANCHOR_END: pin
    Ok(())
}

/// The whole program.
pub fn run(out: &mut impl Write) -> callboard::Result<()> {
    callboard::run(|system| story(system, out))?
}

fn main() -> callboard::Result<()> {
    run(&mut std::io::stdout())
}
