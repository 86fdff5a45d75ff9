//! What a node asks before it lets anybody in, and before it does anything for them.

use callboard::{Failure, System};
use parking_lot::RwLock;

use super::live::{Decision, Rights};
use super::login::{Login, LoginRefused, Origin};
use super::places::{PeerLimits, Places};
use super::rules::Rules;
use super::secrets::Secrets;
use super::subject::Subject;
use super::verb::{Verb, Verbs};
use crate::admin::ADMIN_NAME;
use crate::transport::Proof;

#[cfg(test)]
mod tests;

/// The rights, places and secrets of one node.
pub(crate) struct Gate {
    rights: Rights,
    places: Places,
    secrets: RwLock<Option<Secrets>>,
}

/// Why a peer isn't let in. Its text is for the peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAdmitted {
    #[error(transparent)]
    Login(#[from] LoginRefused),
    #[error("logins aren't taken here")]
    NoLogins,
}

impl Gate {
    /// With the rules and limits that hold where nobody says otherwise, and no logins.
    pub(crate) fn new(system: &System) -> Self {
        Gate {
            rights: Rights::new(system, Rules::new()),
            places: Places::new(PeerLimits::default()),
            secrets: RwLock::default(),
        }
    }

    pub(crate) fn rights(&self) -> &Rights {
        &self.rights
    }

    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    pub(crate) fn set_secrets(&self, secrets: Option<Secrets>) {
        *self.secrets.write() = secrets;
    }

    /// Who a peer is, after its login. Who gives one is whom it proves, whatever the transport proved besides; one that
    /// fails keeps the peer out, since falling back to less would hide that.
    pub(crate) async fn prove(
        &self,
        mut proof: Proof,
        login: Option<(&str, &[u8])>,
        through: &str,
    ) -> Result<Proof, NotAdmitted> {
        if let Some((name, secret)) = login {
            let secrets = self.secrets.read().clone();
            let secrets = secrets.ok_or(NotAdmitted::NoLogins)?;
            // What can't be a login is nobody's: nothing was guessed.
            let login = Login::new(name, secret).map_err(|_| LoginRefused::Wrong)?;
            let origin = proof
                .address
                .map_or_else(|| Origin::named(through), Origin::from);
            let principal = secrets.login(login, proof.channel, origin).await?;
            proof.principal = Some(principal);
        }
        Ok(proof)
    }

    /// Whether the subject may now do with that name what such a message does. Nothing is counted.
    pub(crate) fn may(&self, subject: &Subject, type_name: &str, name: &str) -> bool {
        if name == ADMIN_NAME {
            return self.rights.may_somewhere(subject, Verb::Admin);
        }
        let decision = self.rights.decide(subject, name);
        decision.allows_any(needs(type_name))
    }

    /// Whether a request of that message type may go to that name. `decision` is the one of this subject and name.
    pub(crate) fn check(
        &self,
        decision: &mut Decision,
        subject: &Subject,
        type_name: &str,
        name: &str,
    ) -> Result<(), Failure> {
        // Each wish names what it is about, which is checked there. Nobody else is told whether this name exists, by
        // whatever type it asks.
        if name == ADMIN_NAME {
            if self.rights.may_somewhere(subject, Verb::Admin) {
                return Ok(());
            }
            let checked = self.rights.check(subject, Verb::Admin, name);
            return checked.map_err(Failure::from);
        }
        let checked = decision.check_any(&self.rights, subject, needs(type_name), name);
        checked.map_err(Failure::from)
    }
}

/// What the names of Callboard's own message types begin with.
const RESERVED: &str = "callboard.";

/// Whether that is a message of Callboard's own, to a queue or a lock.
pub(crate) fn is_reserved(type_name: &str) -> bool {
    type_name.starts_with(RESERVED)
}

/// What a message of that type needs: any one of these verbs. It is read off the request alone, so that the answer is
/// the same whether the name exists or not.
pub(crate) fn needs(type_name: &str) -> Verbs {
    let Some(own) = type_name.strip_prefix(RESERVED) else {
        return Verbs::EXECUTE;
    };
    match own.split_once('.') {
        Some(("queue", "offer")) => Verbs::OFFER,
        Some(("queue", "poll")) => Verbs::POLL,
        // To open it for any of these.
        Some(("queue", "look")) => Verbs::OFFER | Verbs::POLL | Verbs::ADMIN,
        Some(("topic", "publish")) => Verbs::PUBLISH,
        // What isn't known here takes the most.
        Some(("queue" | "topic" | "admin", _)) => Verbs::ADMIN,
        _ => Verbs::EXECUTE,
    }
}
