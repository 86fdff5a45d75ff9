//! One connection of a node: who is there, and which session it goes on with.

use std::pin::pin;
use std::sync::Arc;

use futures::future::{Either, select};

use super::Core;
use super::sessions::Known;
use crate::error::{LinkError, LinkErrorKind};
use crate::peer;
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
    turn_away(&mut stream, &why, core.system.clock(), &core.config).await;
    LinkErrorKind::RefusedHere(why)
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
    let Some(wanted) = theirs.session.clone() else {
        // It hears which versions are spoken here.
        let ours = core.hello([0; 16], SessionState::Gone, 0);
        let theirs = shake::reply(stream, &ours, theirs, clock, &core.config).await?;
        return Err(LinkErrorKind::Version {
            theirs: theirs.versions,
            ours: ours.versions,
        });
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
        let (pass, received) = session.attach()?;
        Some((Attachment::new(&session, pass), received))
    });
    let Some((mut attachment, received)) = attached else {
        let ours = core.hello(wanted.id, SessionState::Gone, 0);
        shake::reply(stream, &ours, theirs, clock, &core.config).await?;
        return Err(LinkErrorKind::SessionGone);
    };
    let ours = core.hello(wanted.id, SessionState::GoesOn, received);
    if attachment.session.resume(wanted.received).is_err() {
        let why = LinkErrorKind::Protocol(WireError::OutOfSequence);
        attachment.why = why.clone();
        return Err(why);
    }
    if let Err(why) = shake::reply(stream, &ours, theirs, clock, &core.config).await {
        attachment.why = why.clone();
        return Err(why);
    }
    attachment.session.peer.back();
    Ok(attachment)
}

/// Whether who connects is who the session is with.
fn may_go_on(
    session: Arc<Session>,
    wanted: &SessionHello,
    theirs: &Hello,
    proof: &Proof,
) -> Option<Arc<Session>> {
    let same = session.proof == *proof && session.theirs.incarnation == theirs.incarnation;
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
    let ours = core.hello(wanted.id, SessionState::New, 0);
    let back = peer::Core::accepted(core, format!("{} through {through}", theirs.node));
    let session = Session::new(Begin {
        peer: Arc::clone(&back),
        theirs: theirs.clone(),
        session: wanted,
        proof,
        is_dialler: false,
    });
    if !core.sessions.add(&session, core.config.sessions) {
        session.end(&LinkErrorKind::ClosedHere);
        let why = format!("the node has its {} sessions", core.config.sessions);
        turn_away(stream, &why, clock, &core.config).await;
        return Err(LinkErrorKind::RefusedHere(why));
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

impl Core {
    fn hello(&self, id: [u8; 16], state: SessionState, received: u64) -> Hello {
        let session = SessionHello::of(&self.config, id, state, received);
        Hello::ours(
            &self.name,
            self.incarnation,
            self.config.message_limit(),
            session,
        )
    }
}
