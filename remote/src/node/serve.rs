//! One connection of a node: who is there, and which session it goes on with.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::{Either, select};

use super::Core;
use super::sessions::Known;
use crate::config::LinkConfig;
use crate::error::{LinkError, LinkErrorKind};
use crate::peer;
use crate::rights::Subject;
use crate::session::shake::{self, turn_away};
use crate::session::{Attachment, Begin, Session, connection};
use crate::transport::{ByteStream, Proof};
use crate::wire::WireError;
use crate::wire::handshake::{Hello, SessionHello, SessionState};

/// Serves a stream to its end, and says what that was.
pub(crate) async fn serve<S: ByteStream>(
    core: &Arc<Core>,
    stream: S,
    through: &str,
    proof: Proof,
) -> LinkError {
    let ended = attempt(core, stream, through, proof).await;
    let error = LinkError::new(through, ended);
    tracing::debug!(target: "callboard::remote", node = %core.name, %error, "a connection ended");
    error
}

/// Tells a peer why it isn't let in.
pub(crate) async fn refuse<S: ByteStream>(
    core: &Core,
    mut stream: S,
    why: String,
) -> LinkErrorKind {
    core.counters.handshake_failures();
    // Beyond so many the stream is dropped without a word: who comes in any number gets no place of its own by that.
    if let Some(_place) = core.turned_away.place() {
        turn_away(&mut stream, &why, core.system.clock(), &core.config).await;
    }
    LinkErrorKind::RefusedHere(why)
}

/// How many are being told at once why they aren't let in.
const MOST_TURNED_AWAY: usize = 64;

/// Those who are being told.
#[derive(Default)]
pub(crate) struct TurnedAway(AtomicUsize);

/// One of them; until it is dropped.
struct Place<'a>(&'a TurnedAway);

impl TurnedAway {
    fn place(&self) -> Option<Place<'_>> {
        let place = Place(self);
        (self.0.fetch_add(1, Ordering::Relaxed) < MOST_TURNED_AWAY).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn attempt<S: ByteStream>(
    core: &Arc<Core>,
    mut stream: S,
    through: &str,
    proof: Proof,
) -> LinkErrorKind {
    let slot = match core.admit(through, proof.principal.as_ref()) {
        Ok(slot) => slot,
        Err(why) => return refuse(core, stream, why).await,
    };
    let shaken = {
        let shaking = pin!(shaken(core, &mut stream, through, proof));
        match select(shaking, pin!(slot.end.wait())).await {
            Either::Left((shaken, _)) => shaken,
            Either::Right((why, _)) => Err(why),
        }
    };
    let mut attachment = match shaken {
        Ok(attachment) => attachment,
        Err(why) => {
            core.counters.handshake_failures();
            return why;
        }
    };
    slot.introduce(&attachment.session.theirs.node);
    core.counters.connects();
    let session = Arc::clone(&attachment.session);
    let why = connection::run(&session, &attachment.pass, stream).await;
    attachment.why = why.clone();
    core.counters.disconnects();
    why
}

/// Hears who connects, and finds or makes the session.
async fn shaken<S: ByteStream>(
    core: &Arc<Core>,
    stream: &mut S,
    through: &str,
    proof: Proof,
) -> Result<Attachment, LinkErrorKind> {
    let clock = core.system.clock();
    let theirs = shake::listen(stream, clock, &core.config).await?;
    let Some(mut wanted) = theirs.session.clone() else {
        // It hears which versions are spoken here.
        let ours = core.hello(&core.config, [0; 16], SessionState::Gone, 0);
        let theirs = shake::reply(stream, &ours, theirs, clock, &core.config).await?;
        return Err(LinkErrorKind::Version {
            theirs: theirs.versions,
            ours: ours.versions,
        });
    };
    let login = wanted.login.take();
    let login = login.as_ref().map(|(name, secret)| (&**name, &*secret.0));
    let proof = match core.gate.prove(proof, login, through).await {
        Ok(proof) => proof,
        Err(why) => return Err(turned_away(core, stream, why.to_string()).await),
    };
    let found = match (wanted.state, core.sessions.find(wanted.id)) {
        // Also if it never heard our answer to its first word: nothing has been said since.
        (SessionState::GoesOn | SessionState::New, Known::Live(session)) => {
            may_go_on(session, &wanted, &theirs, &proof)
        }
        (SessionState::New, Known::Unknown) => {
            return begin(core, stream, through, proof, theirs, wanted).await;
        }
        _ => None,
    };
    let attached = found.and_then(|session| {
        let (pass, received) = session.attach_from(wanted.received)?;
        Some((Attachment::new(&session, pass), received))
    });
    let Some((mut attachment, received)) = attached else {
        let ours = core.hello(&core.config, wanted.id, SessionState::Gone, 0);
        shake::reply(stream, &ours, theirs, clock, &core.config).await?;
        return Err(LinkErrorKind::SessionGone);
    };
    let config = &attachment.session.config;
    let ours = core.hello(config, wanted.id, SessionState::GoesOn, received);
    if attachment.session.resume(wanted.received).is_err() {
        let why = LinkErrorKind::Protocol(WireError::OutOfSequence);
        attachment.why = why.clone();
        return Err(why);
    }
    if let Err(why) = shake::reply(stream, &ours, theirs, clock, &core.config).await {
        attachment.why = why.clone();
        return Err(why);
    }
    attachment.session.peer.back(&attachment.session);
    Ok(attachment)
}

/// Whether who connects is who the session is with.
fn may_go_on(
    session: Arc<Session>,
    wanted: &SessionHello,
    theirs: &Hello,
    proof: &Proof,
) -> Option<Arc<Session>> {
    let same =
        session.proof.is_same_peer(proof) && session.theirs.incarnation == theirs.incarnation;
    let unheard = wanted.state == SessionState::GoesOn || session.is_untouched();
    (same && unheard).then_some(session)
}

async fn begin<S: ByteStream>(
    core: &Arc<Core>,
    stream: &mut S,
    through: &str,
    proof: Proof,
    theirs: Hello,
    wanted: SessionHello,
) -> Result<Attachment, LinkErrorKind> {
    let clock = core.system.clock();
    let account = match core.gate.places().open(&Subject::new(&proof)) {
        Ok(account) => account,
        Err(none) => return Err(turned_away(core, stream, none.to_string()).await),
    };
    let config = account.narrow(core.config.clone());
    let ours = core.hello(&config, wanted.id, SessionState::New, 0);
    let address = format!("{} through {through}", theirs.node);
    let back = peer::Core::accepted(core, address, &proof);
    let session = Session::new(Begin {
        peer: Arc::clone(&back),
        offer: back.offered(),
        theirs: theirs.clone(),
        session: wanted,
        proof,
        config,
        account: Some(account),
        is_dialler: false,
    });
    if !core.sessions.add(&session, core.config.sessions) {
        session.end(&LinkErrorKind::ClosedHere);
        let why = format!("the node has its {} sessions", core.config.sessions);
        return Err(turned_away(core, stream, why).await);
    }
    if core.is_closed() {
        // In between: whoever ended all sessions may not have seen this one.
        session.end(&LinkErrorKind::ClosedHere);
    }
    let (pass, _) = session.attach().ok_or(LinkErrorKind::ClosedHere)?;
    let mut attachment = Attachment::new(&session, pass);
    if let Err(why) = shake::reply(stream, &ours, theirs, clock, &core.config).await {
        // Without a version in common, nothing more will come of it.
        if matches!(why, LinkErrorKind::Version { .. }) {
            session.end(&why);
        }
        attachment.why = why.clone();
        return Err(why);
    }
    back.serve(&session);
    Ok(attachment)
}

/// Tells a peer why nothing comes of it.
async fn turned_away(core: &Core, stream: &mut impl ByteStream, why: String) -> LinkErrorKind {
    turn_away(stream, &why, core.system.clock(), &core.config).await;
    LinkErrorKind::RefusedHere(why)
}

impl Core {
    fn hello(
        &self,
        config: &LinkConfig,
        id: [u8; 16],
        state: SessionState,
        received: u64,
    ) -> Hello {
        let session = SessionHello::of(config, id, state, received);
        let most = config.message_limit();
        Hello::ours(&self.name, self.incarnation, most, session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g36_those_who_are_turned_away_are_bounded() {
        let turned_away = TurnedAway::default();
        let places: Vec<_> = (0..MOST_TURNED_AWAY)
            .map(|_| turned_away.place().unwrap())
            .collect();
        assert!(turned_away.place().is_none());
        drop(places);
        assert!(turned_away.place().is_some());
        assert_eq!(turned_away.0.load(Ordering::Relaxed), 0);
    }
}
