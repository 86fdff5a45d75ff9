//! Making connections: dialled ones again and again, attached ones as they come.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use callboard::Placement;
use futures::future::{Either, select};
use uuid::Uuid;

use super::{Core, Offer, Phase};
use crate::config::LinkConfig;
use crate::error::LinkErrorKind;
use crate::session::{Attachment, Begin, Pass, Session, connection, shake};
use crate::transport::{ByteStream, Connected, Connector, Proof};
use crate::wire::WireError;
use crate::wire::handshake::{Hello, SessionHello, SessionState};

/// Connects, and connects again, until the peer is closed.
pub(super) fn start(core: Arc<Core>, connector: impl Connector) {
    let system = core.system.clone();
    let gone = Arc::clone(&core);
    let spawned = system.spawn(Placement::Spread, move || async move {
        dial(&core, &connector).await;
    });
    if !spawned {
        let attempt = gone.begin();
        gone.down(attempt, false, LinkErrorKind::NoArbiter);
    }
}

async fn dial(core: &Arc<Core>, connector: &impl Connector) {
    let mut failures = 0;
    while !core.is_closed() {
        let attempt = core.begin();
        let began = core.system.clock().now();
        let connected = core.unless_closed(connect(core, connector)).await;
        let (was_up, why) = match connected {
            Ok(Connected { stream, proof }) => serve(core, attempt, stream, proof).await,
            Err(why) => (false, why),
        };
        // An answer, not a failure: there is a node, and it waits for a new session.
        let waits = matches!(
            why,
            LinkErrorKind::SessionGone | LinkErrorKind::OffersAnother
        );
        let at_once = waits && failures == 0;
        core.down(attempt, was_up, why);
        let lasted = core.system.clock().now().since(began);
        if was_up && lasted >= core.config.stable_after {
            failures = 0;
        }
        let bound = backoff_bound(&core.config, failures);
        failures = failures.saturating_add(1);
        if !at_once {
            let wait = core.system.entropy().jitter(bound);
            let waited = core.system.clock().sleep(wait);
            let waited = async {
                waited.await;
                Ok(())
            };
            // If it is closed meanwhile, the loop sees that.
            let _ = core.unless_closed(waited).await;
        }
    }
}

/// The longest wait after that many failures in a row (G16's rule, for connections).
fn backoff_bound(config: &LinkConfig, failures: u32) -> Duration {
    let factor = 1_u32.checked_shl(failures.min(31)).unwrap_or(u32::MAX);
    config
        .backoff
        .saturating_mul(factor)
        .min(config.backoff_cap)
        // Jitter may draw next to nothing; a bound of nothing would spin.
        .max(Duration::from_millis(1))
}

async fn connect(core: &Core, connector: &impl Connector) -> Result<Connected, LinkErrorKind> {
    let limit = core.config.connect_timeout;
    match select(connector.connect(), core.system.clock().sleep(limit)).await {
        Either::Left((Ok(connected), _)) => Ok(connected),
        Either::Left((Err(error), _)) => Err(LinkErrorKind::unreachable(&error)),
        Either::Right(_) => Err(LinkErrorKind::ConnectTimeout(limit)),
    }
}

/// Shakes hands over a stream and runs the connection to its end: whether it was up, and why it ended.
async fn serve<S: ByteStream>(
    core: &Arc<Core>,
    attempt: u64,
    mut stream: S,
    proof: Proof,
) -> (bool, LinkErrorKind) {
    let shaking = shaken(core, &mut stream, proof);
    let (session, pass) = match core.unless_closed(shaking).await {
        Ok(shaken) => shaken,
        Err(why) => return (false, why),
    };
    let mut attachment = Attachment::new(&session, pass);
    if let Err(why) = core.up(attempt, &session) {
        attachment.why = why.clone();
        if !core.is_current(&session) {
            session.end(&why);
        }
        return (false, why);
    }
    let why = connection::run(&session, &attachment.pass, stream).await;
    attachment.why = why.clone();
    (true, why)
}

async fn shaken<S: ByteStream>(
    core: &Arc<Core>,
    stream: &mut S,
    proof: Proof,
) -> Result<(Arc<Session>, Pass), LinkErrorKind> {
    let old = core.session().and_then(|old| {
        if !core.resumes {
            // The stream before is gone, and what was at its end with it.
            old.end(&LinkErrorKind::Replaced);
        }
        let (pass, received) = old.attach()?;
        Some((Attachment::new(&old, pass), received))
    });
    let (id, state, received) = match &old {
        Some((old, received)) => (old.session.id, SessionState::GoesOn, *received),
        None => (fresh_id(core), SessionState::New, 0),
    };
    let offer = match &old {
        Some((old, _)) => old.session.offer.clone(),
        None => core.offered(),
    };
    let mut ours = core.hello(&offer, id, state, received);
    if let Some(login) = &core.config.login {
        login.put_into(&mut ours, proof.channel)?;
    }
    let clock = core.system.clock();
    let theirs = shake::introduce(stream, &ours, clock, &core.config).await?;
    let Some(session) = theirs.session.clone() else {
        return Err(LinkErrorKind::Version {
            theirs: theirs.versions,
            ours: ours.versions,
        });
    };
    if let Some((old, _)) = old {
        let (old, pass) = old.keep();
        let same = theirs.incarnation == old.theirs.incarnation && session.id == id;
        if session.state != SessionState::GoesOn || !same {
            old.end(&LinkErrorKind::SessionGone);
            return Err(LinkErrorKind::SessionGone);
        }
        if old.resume(session.received).is_err() {
            let why = LinkErrorKind::Protocol(WireError::OutOfSequence);
            old.end(&why);
            return Err(why);
        }
        return Ok((old, pass));
    }
    if session.state == SessionState::Gone || session.id != id {
        return Err(LinkErrorKind::SessionGone);
    }
    let new = Session::new(Begin {
        peer: Arc::clone(core),
        offer,
        theirs,
        session,
        proof,
        config: core.config.clone(),
        account: None,
        is_dialler: true,
    });
    let (pass, _) = new.attach().ok_or(LinkErrorKind::ClosedHere)?;
    Ok((new, pass))
}

/// Drawn at random: who knows it may go on with the session.
fn fresh_id(core: &Core) -> [u8; 16] {
    if core.system.clock().is_manual() {
        // The same again with the same seed (G38).
        let entropy = core.system.entropy();
        let (high, low) = (entropy.next_u64(), entropy.next_u64());
        return (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
    }
    Uuid::new_v4().into_bytes()
}

impl Core {
    /// Waits, unless the peer is closed meanwhile.
    async fn unless_closed<T>(
        &self,
        work: impl Future<Output = Result<T, LinkErrorKind>>,
    ) -> Result<T, LinkErrorKind> {
        let closed = pin!(self.wait_for(|phase| *phase == Phase::Closed));
        match select(pin!(work), closed).await {
            Either::Left((done, _)) => done,
            Either::Right(_) => Err(LinkErrorKind::ClosedHere),
        }
    }

    /// How this side introduces itself.
    fn hello(&self, offer: &Offer, id: [u8; 16], state: SessionState, received: u64) -> Hello {
        let config = &self.config;
        let node = &offer.node;
        let name = node.as_ref().map_or(&*self.own_name, |node| &*node.name);
        let incarnation = node
            .as_ref()
            .map_or(self.own_incarnation, |node| node.incarnation);
        let session = SessionHello::of(config, id, state, received);
        Hello::ours(name, incarnation, config.message_limit(), session)
    }
}

/// Takes over a byte stream.
pub(super) fn attach(core: &Arc<Core>, stream: impl ByteStream) {
    if core.is_closed() {
        return;
    }
    let attempt = core.begin();
    let serving = Arc::clone(core);
    let spawned = core.system.spawn(Placement::Spread, move || async move {
        let (was_up, why) = serve(&serving, attempt, stream, Proof::local(None)).await;
        serving.down(attempt, was_up, why);
    });
    if !spawned {
        core.down(attempt, false, LinkErrorKind::NoArbiter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g16_the_wait_doubles_up_to_its_cap_and_never_overflows() {
        let config = LinkConfig::default();
        let bounds: Vec<u128> = (0..8)
            .map(|failures| backoff_bound(&config, failures).as_millis())
            .collect();
        assert_eq!(bounds, [50, 100, 200, 400, 800, 1_000, 1_000, 1_000]);
        assert_eq!(backoff_bound(&config, u32::MAX), config.backoff_cap);
    }
}
