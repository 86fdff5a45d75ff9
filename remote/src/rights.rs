//! Who may do what (G35): rights per principal, name and verb; secrets; and limits per principal.
//!
//! A transport proves who the other side is (a [`Proof`](crate::Proof)); that makes it a [`Subject`]. [`Rules`] say
//! what subjects may do with names; they are plain data, checked as a whole. [`Rights`] are the rules in force, shared
//! by whoever asks and changed while the system runs. [`Secrets`] prove a principal that has no certificate, over TLS
//! only. [`Places`] count what a principal takes up.
//!
//! # How a request is decided
//! 1. What a subject may do without any rule is said by [`Rules::standing`]: off the host nothing.
//! 2. Each rule whose principal pattern and name pattern both match allows its verbs, or denies them.
//! 3. Denied beats allowed, wherever the rules stand and however specific they are. So a rule can be added without
//!    reading the others for their order, and a denial can't be undone by accident. (NATS has the same rule; Venice's
//!    most specific entry wins.)
//!
//! # Guarantees
//! - Who has no right gets a typed answer at once, [`NotAuthorised`](callboard::FailureKind::NotAuthorised) and
//!   `NotExecuted`, and it is the same whether the name exists or not (G34).
//! - A change is in force for every request that is checked after the call that made it has returned. What was let in
//!   before is not called back: it stands in a mailbox, or runs. Who waits in line for an item or a lock is asked again
//!   when its turn comes.
//! - Each refusal is counted by verb and told to whoever listens; neither ever sees a payload or a secret.

mod attempts;
mod gate;
mod live;
mod login;
mod places;
mod refusal;
mod rules;
mod secret;
mod secrets;
mod subject;
mod verb;
mod who;

pub use attempts::AttemptLimits;
pub(crate) use gate::{Gate, is_reserved};
pub use live::{Decision, Denied, Rights, RightsState};
pub use login::{Login, LoginRefusal, LoginRefused, Origin, REFUSED_LOGINS};
pub use places::{Account, AccountSnapshot, NoPlace, PeerLimits, Place, PlaceKind, Places};
pub use refusal::{REFUSALS, Refusal};
pub use rules::{Effect, MAX_RULES, Reason, Rule, RuleError, Rules};
pub use secret::{MAX_SECRET, MIN_SECRET, Secret};
pub use secrets::{MAX_LOGIN_NAME, SecretError, Secrets, SecretsConfig, SecretsStats};
pub use subject::{Standing, Subject};
pub use verb::{Verb, Verbs};
pub use who::{MAX_WHO, Who, WhoError};
