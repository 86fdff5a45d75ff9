//! The rules in force.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use callboard::topic::Topic;
use callboard::{Failure, FailureKind, System, Verdict};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

use super::refusal::{Events, Refusal};
use super::rules::{Effect, Reason, Rule, RuleError, Rules};
use super::subject::Subject;
use super::verb::{Verb, Verbs};
use crate::wire::MAX_NAME;
use crate::wire::limits::cut;

#[cfg(test)]
mod tests;

/// The rules in force, and what they refused. Clones share them. Each node has its own: see [`Node::rights`](crate::Node::rights).
///
/// # How a request is decided
/// 1. What a subject may do without any rule is said by [`Rules::standing`]: off the host nothing (G35).
/// 2. Each rule whose principal pattern and name pattern both match allows its verbs, or denies them.
/// 3. Denied beats allowed, wherever the rules stand and however specific they are (as in NATS).
///
/// Whether the name exists plays no part, so the answer doesn't tell (G34).
///
/// # Changes
/// A change is in force for every request that is checked after the call that made it has returned. What was let in
/// before is not called back: it stands in a mailbox, or runs; a subscription ends when its right is
/// [lost](Rights::lost), and who waits in line for an item or a lock is asked again when its turn comes.
///
/// Checking takes no lock. Who asks for the same name again and again keeps a [`Decision`].
///
/// # Example
/// ```
/// # extern crate callboard_core as callboard;
/// use callboard::{Principal, System};
/// use callboard_remote::{Proof, Rights, Rules, Subject, Verb, Verbs};
///
/// async fn change(system: System) -> Result<(), Box<dyn std::error::Error>> {
///     let rights = Rights::new(&system, Rules::new());
///     let billing = Subject::new(&Proof::encrypted(Some(Principal::new("cert:billing"))));
///     let denied = rights.check(&billing, Verb::Offer, "orders.eu").unwrap_err();
///     assert_eq!(denied.to_string(), "cert:billing may not offer \"orders.eu\"");
///
///     rights.grant("cert:billing", Verbs::OFFER, "orders.*")?;
///     assert!(rights.check(&billing, Verb::Offer, "orders.eu").is_ok());
///     rights.revoke("cert:billing", Verbs::OFFER, "orders.*")?;
///     assert!(rights.check(&billing, Verb::Offer, "orders.eu").is_err());
///     assert_eq!(rights.state().refused, [(Verb::Offer, 2)]);
///     Ok(())
/// }
///
/// callboard::run(change).unwrap().unwrap();
/// ```
#[derive(Clone)]
pub struct Rights {
    shared: Arc<Shared>,
}

struct Shared {
    /// Held while rules are changed, never while they are read.
    changing: Mutex<()>,
    current: ArcSwap<Current>,
    /// That of `current`, which a decision is compared with.
    generation: AtomicU64,
    changes: watch::Sender<u64>,
    refused: [AtomicU64; Verb::ALL.len()],
    events: Events<Refusal>,
}

struct Current {
    generation: u64,
    rules: Rules,
}

/// A request that its subject has no right to. Its text says nothing about whether the name exists (G34).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{who} may not {verb} {name:?}")]
pub struct Denied {
    who: String,
    verb: Verb,
    name: String,
}

impl Denied {
    /// What was wanted.
    #[must_use]
    pub fn verb(&self) -> Verb {
        self.verb
    }

    /// With which name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Failure {
        Failure::new(FailureKind::NotAuthorised, Verdict::NotExecuted)
            .with_detail(denied.to_string())
    }
}

/// What a subject may do with a name, as it was last worked out. For who asks often: while the rules stay the same,
/// a check is one load and one comparison.
///
/// A decision belongs to one subject and one name; whoever keeps it keeps these beside it. A new one knows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Decision {
    /// 0 before the first check; rules begin at 1.
    generation: u64,
    verbs: Verbs,
}

impl Decision {
    /// Whether the subject may do that, by the rules in force now.
    ///
    /// # Errors
    /// [`Denied`]; it is counted and told.
    #[inline]
    pub fn check(
        &mut self,
        rights: &Rights,
        subject: &Subject,
        verb: Verb,
        name: &str,
    ) -> Result<(), Denied> {
        self.check_any(rights, subject, verb.into(), name)
    }

    pub(crate) fn allows_any(&self, needs: Verbs) -> bool {
        !self.verbs.and(needs).is_empty()
    }

    /// The same for a request that any one of some verbs is enough for.
    #[inline]
    pub(crate) fn check_any(
        &mut self,
        rights: &Rights,
        subject: &Subject,
        needs: Verbs,
        name: &str,
    ) -> Result<(), Denied> {
        // Acquire: with the generation come the rules.
        if self.generation != rights.shared.generation.load(Ordering::Acquire) {
            *self = rights.decide(subject, name);
        }
        if self.allows_any(needs) {
            return Ok(());
        }
        let verb = needs.iter().next().unwrap_or(Verb::Admin);
        Err(rights.refuse(subject, verb, name))
    }
}

/// How rights are doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RightsState {
    /// How often the rules have been set, the first time included.
    pub generation: u64,
    /// The rules in force.
    pub rules: Rules,
    /// How many requests were refused, by verb; verbs that never were are left out.
    pub refused: Vec<(Verb, u64)>,
}

impl Rights {
    /// Puts rules in force.
    #[must_use]
    pub fn new(system: &System, rules: Rules) -> Self {
        let generation = 1;
        let shared = Shared {
            changing: Mutex::default(),
            current: ArcSwap::from_pointee(Current { generation, rules }),
            generation: AtomicU64::new(generation),
            changes: watch::Sender::new(generation),
            refused: Default::default(),
            events: Events::new(system, "refused requests"),
        };
        Rights {
            shared: Arc::new(shared),
        }
    }

    /// Whether the subject may do that with the name, which need not exist.
    ///
    /// # Errors
    /// [`Denied`]; it is counted and told.
    pub fn check(&self, subject: &Subject, verb: Verb, name: &str) -> Result<(), Denied> {
        Decision::default().check(self, subject, verb, name)
    }

    /// All that the subject may do with the name. Nothing is counted.
    #[must_use]
    pub fn decide(&self, subject: &Subject, name: &str) -> Decision {
        let current = self.shared.current.load();
        Decision {
            generation: current.generation,
            verbs: current.rules.verbs(subject, name),
        }
    }

    /// Whether there may be a name with which the subject may do that. Nothing is counted.
    pub(crate) fn may_somewhere(&self, subject: &Subject, verb: Verb) -> bool {
        let current = self.shared.current.load();
        current.rules.allow_somewhere(subject, verb)
    }

    /// Whether that would be allowed, and what decides it. Nothing is counted.
    #[must_use]
    pub fn explain(&self, subject: &Subject, verb: Verb, name: &str) -> Reason {
        self.shared
            .current
            .load()
            .rules
            .explain(subject, verb, name)
    }

    /// Puts other rules in force, all at once.
    pub fn replace(&self, rules: Rules) {
        let changed: Result<(), std::convert::Infallible> = self.change(|_| Ok((rules, ())));
        match changed {
            Ok(()) => {}
        }
    }

    /// Makes new rules of those in force, while nobody else changes them. `change` must not change these rights
    /// itself.
    ///
    /// # Errors
    /// That of `change`; then nothing has changed.
    pub fn update<E>(&self, change: impl FnOnce(Rules) -> Result<Rules, E>) -> Result<(), E> {
        self.change(|rules| Ok((change(rules)?, ())))
    }

    /// Adds a rule that [allows](Rules::allow).
    ///
    /// # Errors
    /// [`RuleError`]; then nothing has changed.
    pub fn grant(&self, who: &str, verbs: Verbs, names: &str) -> Result<(), RuleError> {
        let rule = Rule::new(Effect::Allow, who, verbs, names)?;
        self.update(|rules| rules.rule(rule))
    }

    /// Adds a rule that [denies](Rules::deny).
    ///
    /// # Errors
    /// [`RuleError`]; then nothing has changed.
    pub fn deny(&self, who: &str, verbs: Verbs, names: &str) -> Result<(), RuleError> {
        let rule = Rule::new(Effect::Deny, who, verbs, names)?;
        self.update(|rules| rules.rule(rule))
    }

    /// Takes back what [`grant`](Rights::grant) gave to exactly this `who` on exactly these names, and answers which
    /// verbs that were. A wider rule may still allow them; who must be kept out is [denied](Rights::deny).
    ///
    /// # Errors
    /// [`RuleError`]; then nothing has changed.
    pub fn revoke(&self, who: &str, verbs: Verbs, names: &str) -> Result<Verbs, RuleError> {
        self.change(|rules| rules.without(who, verbs, names))
    }

    /// A copy of the rules in force.
    #[must_use]
    pub fn rules(&self) -> Rules {
        self.shared.current.load().rules.clone()
    }

    /// Grows with each change of the rules. A [`Decision`] of an older one is worked out anew.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// Waits until the rules are other ones than those of `generation`, and answers which these are.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn changed(&self, generation: u64) -> u64 {
        let mut changes = self.shared.changes.subscribe();
        match changes.wait_for(|now| *now != generation).await {
            Ok(now) => *now,
            // The sender lives as long as these rights.
            Err(_) => self.generation(),
        }
    }

    /// Waits until the subject may not do that with the name any more: for what goes on for long, a subscription
    /// say, and ends with its right. At once if it may not now.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn lost(&self, subject: &Subject, verb: Verb, name: &str) -> Denied {
        let mut decision = Decision::default();
        loop {
            // Taken before the check, so that no change falls between the two.
            let generation = self.generation();
            if let Err(denied) = decision.check(self, subject, verb, name) {
                return denied;
            }
            self.changed(generation).await;
        }
    }

    /// The refusals as they happen; see [`REFUSALS`](super::REFUSALS). The topic starts with the first call, and
    /// ends with these rights.
    #[must_use]
    pub fn refusals(&self) -> Topic<Refusal> {
        self.shared.events.topic()
    }

    /// How they are doing.
    #[must_use]
    pub fn state(&self) -> RightsState {
        let current = self.shared.current.load();
        let counts = self.shared.refused.iter();
        let counts = counts.map(|count| count.load(Ordering::Relaxed));
        RightsState {
            generation: current.generation,
            rules: current.rules.clone(),
            refused: Verb::ALL
                .into_iter()
                .zip(counts)
                .filter(|(_, count)| *count > 0)
                .collect(),
        }
    }

    fn change<T, E>(&self, change: impl FnOnce(Rules) -> Result<(Rules, T), E>) -> Result<T, E> {
        let shared = &*self.shared;
        let _changing = shared.changing.lock();
        let before = shared.current.load_full();
        let (rules, answer) = change(before.rules.clone())?;
        let generation = before.generation + 1;
        shared
            .current
            .store(Arc::new(Current { generation, rules }));
        // Release, and after the rules: who sees this generation sees them. Who looks between the two works out a
        // decision of the new rules, and once more at its next check.
        shared.generation.store(generation, Ordering::Release);
        shared.changes.send_replace(generation);
        Ok(answer)
    }

    #[cold]
    fn refuse(&self, subject: &Subject, verb: Verb, name: &str) -> Denied {
        let shared = &*self.shared;
        if let Some(count) = shared.refused.get(verb as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        // A peer's text: as long as names are, and nothing that would break a line of a log.
        let name = crate::wire::handshake::printable(cut(name, MAX_NAME));
        tracing::debug!(target: "callboard::remote", %subject, %verb, name, "refused: no right");
        shared
            .events
            .publish(&format!("refused.{verb}"), |at| Refusal {
                at,
                principal: subject.principal().map(ToString::to_string),
                standing: subject.standing(),
                verb,
                name: name.clone(),
                reason: self.explain(subject, verb, &name).to_string(),
            });
        Denied {
            who: subject.to_string(),
            verb,
            name,
        }
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = self.shared.current.load();
        f.debug_struct("Rights")
            .field("generation", &current.generation)
            .field("rules", &current.rules.iter().count())
            .finish_non_exhaustive()
    }
}
