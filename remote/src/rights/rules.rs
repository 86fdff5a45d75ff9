//! Rules as plain data.

use std::fmt;

use callboard::topic::{Pattern, SubjectError};
use serde::{Deserialize, Serialize};

use super::subject::{Standing, Subject};
use super::verb::{Verb, Verbs};
use super::who::{Who, WhoError};

#[cfg(test)]
mod tests;

/// How many rules there can be in one set. Each is looked at when a subject first uses a name, and each time it uses
/// one that isn't exposed.
pub const MAX_RULES: usize = 4_096;

/// What a rule does with its verbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// They may be used, unless another rule denies them.
    Allow,
    /// They may not be used, whatever other rules say.
    Deny,
}

/// What some may do with some names, or may not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub struct Rule {
    /// Whether it allows or denies.
    pub effect: Effect,
    /// Whom it is about.
    pub who: Who,
    /// What.
    pub verbs: Verbs,
    /// With which names.
    pub names: Pattern,
}

impl Rule {
    /// Checks the parts of a rule.
    ///
    /// # Errors
    /// [`RuleError`] says which part is wrong, and what is wrong with it.
    pub fn new(effect: Effect, who: &str, verbs: Verbs, names: &str) -> Result<Self, RuleError> {
        if verbs.is_empty() {
            return Err(RuleError::NoVerbs);
        }
        Ok(Rule {
            effect,
            who: who.parse()?,
            verbs,
            names: Pattern::new(names)?,
        })
    }

    fn applies(&self, subject: &Subject, name: &str) -> bool {
        self.who.matches(subject) && self.names.matches(name)
    }
}

/// `allow cert:billing to execute, offer on orders.>`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = match self.effect {
            Effect::Allow => "allow",
            Effect::Deny => "deny",
        };
        let Rule {
            who, verbs, names, ..
        } = self;
        write!(f, "{effect} {who} to {verbs} on {names}")
    }
}

/// A rule as a file has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    who: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allow: Option<Verbs>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deny: Option<Verbs>,
    names: String,
}

impl From<Rule> for Written {
    fn from(rule: Rule) -> Self {
        let (allow, deny) = match rule.effect {
            Effect::Allow => (Some(rule.verbs), None),
            Effect::Deny => (None, Some(rule.verbs)),
        };
        Written {
            who: rule.who.to_string(),
            allow,
            deny,
            names: rule.names.to_string(),
        }
    }
}

impl TryFrom<Written> for Rule {
    type Error = RuleError;

    fn try_from(written: Written) -> Result<Self, RuleError> {
        let (effect, verbs) = match (written.allow, written.deny) {
            (Some(verbs), None) => (Effect::Allow, verbs),
            (None, Some(verbs)) => (Effect::Deny, verbs),
            _ => return Err(RuleError::NotOneEffect),
        };
        Rule::new(effect, &written.who, verbs, &written.names)
    }
}

/// Why a rule, or a set of them, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// Its principal pattern is malformed.
    #[error(transparent)]
    Who(#[from] WhoError),
    /// Its name pattern is malformed.
    #[error("names of a rule: {0}")]
    Names(#[from] SubjectError),
    /// It is about no verb.
    #[error("a rule without verbs")]
    NoVerbs,
    /// In a file: a rule has either `allow` or `deny`.
    #[error("a rule has one of `allow` and `deny`")]
    NotOneEffect,
    /// There are [`MAX_RULES`] already.
    #[error("more than {MAX_RULES} rules")]
    TooMany,
}

/// What decided about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The first rule that denies it.
    Denied(Rule),
    /// The first rule that allows it; none denies it.
    Allowed(Rule),
    /// No rule says anything, and who stands there may.
    AllowedByStanding(Standing),
    /// No rule says anything, and who stands there may not.
    DeniedByStanding(Standing),
}

impl Reason {
    /// Whether the request is allowed.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Reason::Allowed(_) | Reason::AllowedByStanding(_))
    }
}

/// For who writes the rules; peers aren't told.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Denied(rule) | Reason::Allowed(rule) => write!(f, "rule `{rule}`"),
            Reason::AllowedByStanding(standing) | Reason::DeniedByStanding(standing) => {
                let place = match standing {
                    Standing::OwnUser => "our own user",
                    Standing::OtherLocal => "another user of this host",
                    Standing::UnprovedLocal => "an unproved peer of this host",
                    Standing::Remote => "a peer off this host",
                };
                write!(f, "no rule, for {place}")
            }
        }
    }
}

/// Who may do what with which names. Plain data: it is in force once [`Rights`](super::Rights) have it.
///
/// ```
/// use callboard_remote::{Rules, Verbs};
///
/// let rules = Rules::new()
///     .allow("cert:billing", Verbs::EXECUTE | Verbs::OFFER, "orders.>")?
///     .deny("cert:*", Verbs::ALL, "orders.secret.>")?;
/// let error = rules.allow("*", Verbs::POLL, "orders..eu").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "names of a rule: subject `orders..eu` has an empty level"
/// );
/// # Ok::<(), callboard_remote::RuleError>(())
/// ```
///
/// # As a file
/// It is `Deserialize`, so any format will do; in TOML:
///
/// ```toml
/// own_user = ["execute", "subscribe", "admin"]  # in place of all verbs
/// unproved_local = []                           # in place of all but admin
///
/// [[rule]]
/// who = "cert:billing"
/// allow = ["execute", "offer"]
/// names = "orders.>"
///
/// [[rule]]
/// who = "cert:*"
/// deny = ["execute", "offer", "poll", "publish", "subscribe", "admin"]
/// names = "orders.secret.>"
/// ```
///
/// Words that it doesn't know are errors: a `dney` must not leave a door open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenRules")]
pub struct Rules {
    own_user: Verbs,
    unproved_local: Verbs,
    #[serde(rename = "rule")]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRules {
    #[serde(default = "own_user")]
    own_user: Verbs,
    #[serde(default = "unproved_local")]
    unproved_local: Verbs,
    #[serde(default, rename = "rule")]
    rules: Vec<Rule>,
}

fn own_user() -> Verbs {
    Verbs::ALL
}

fn unproved_local() -> Verbs {
    Verbs::USE
}

impl TryFrom<WrittenRules> for Rules {
    type Error = RuleError;

    fn try_from(written: WrittenRules) -> Result<Self, RuleError> {
        if written.rules.len() > MAX_RULES {
            return Err(RuleError::TooMany);
        }
        Ok(Rules {
            own_user: written.own_user,
            unproved_local: written.unproved_local,
            rules: written.rules,
        })
    }
}

/// As [`Rules::new`].
impl Default for Rules {
    fn default() -> Self {
        Rules::new()
    }
}

impl Rules {
    /// No rules: what stands before any is in force.
    ///
    /// | standing | may |
    /// |---|---|
    /// | [our own user](Standing::OwnUser) | everything: it could stop this process, and read its memory |
    /// | [unproved, on this host](Standing::UnprovedLocal) | everything but `admin` |
    /// | [another user of this host](Standing::OtherLocal) | nothing |
    /// | [off this host](Standing::Remote) | nothing |
    ///
    /// TCP on loopback proves nothing: on a host with users who must not reach each other's programs use Unix
    /// sockets, or say [`unproved_local(Verbs::NONE)`](Rules::unproved_local).
    #[must_use]
    pub fn new() -> Self {
        Rules {
            own_user: own_user(),
            unproved_local: unproved_local(),
            rules: Vec::new(),
        }
    }

    /// No rules, and nobody may do anything before there are some, on this host neither.
    #[must_use]
    pub fn closed() -> Self {
        Rules::new()
            .own_user(Verbs::NONE)
            .unproved_local(Verbs::NONE)
    }

    /// What processes of our own user may do where no rule says anything.
    #[must_use]
    pub fn own_user(mut self, verbs: Verbs) -> Self {
        self.own_user = verbs;
        self
    }

    /// What unproved peers of this host may do where no rule says anything.
    #[must_use]
    pub fn unproved_local(mut self, verbs: Verbs) -> Self {
        self.unproved_local = verbs;
        self
    }

    /// Allows verbs, where nothing denies them. `who` is a [`Who`], `names` a [`Pattern`].
    ///
    /// # Errors
    /// [`RuleError`] says which part is malformed, or that there are too many.
    pub fn allow(self, who: &str, verbs: Verbs, names: &str) -> Result<Self, RuleError> {
        self.rule(Rule::new(Effect::Allow, who, verbs, names)?)
    }

    /// Denies verbs, whatever else allows them. `orders.>` doesn't match `orders` itself.
    ///
    /// # Errors
    /// As [`allow`](Rules::allow).
    pub fn deny(self, who: &str, verbs: Verbs, names: &str) -> Result<Self, RuleError> {
        self.rule(Rule::new(Effect::Deny, who, verbs, names)?)
    }

    /// Adds a rule. Where it stands among the others makes no difference.
    ///
    /// # Errors
    /// [`RuleError::TooMany`], [`RuleError::NoVerbs`].
    pub fn rule(mut self, rule: Rule) -> Result<Self, RuleError> {
        if rule.verbs.is_empty() {
            return Err(RuleError::NoVerbs);
        }
        if self.rules.contains(&rule) {
            return Ok(self);
        }
        if self.rules.len() >= MAX_RULES {
            return Err(RuleError::TooMany);
        }
        self.rules.push(rule);
        Ok(self)
    }

    /// The same without these verbs in the rules that allow them to exactly this `who` on exactly these names, and
    /// which of them there were. A wider rule may still allow them: that takes a denial.
    ///
    /// # Errors
    /// As [`allow`](Rules::allow).
    pub fn without(
        mut self,
        who: &str,
        verbs: Verbs,
        names: &str,
    ) -> Result<(Self, Verbs), RuleError> {
        let wanted = Rule::new(Effect::Allow, who, verbs, names)?;
        let mut taken = Verbs::NONE;
        for rule in &mut self.rules {
            let same = rule.effect == Effect::Allow
                && rule.who == wanted.who
                && rule.names == wanted.names;
            if same {
                taken |= rule.verbs.and(verbs);
                rule.verbs = rule.verbs.without(verbs);
            }
        }
        self.rules.retain(|rule| !rule.verbs.is_empty());
        Ok((self, taken))
    }

    /// The rules, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// What a subject may do where no rule says anything.
    #[must_use]
    pub fn standing(&self, standing: Standing) -> Verbs {
        match standing {
            Standing::OwnUser => self.own_user,
            Standing::UnprovedLocal => self.unproved_local,
            Standing::OtherLocal | Standing::Remote => Verbs::NONE,
        }
    }

    /// All that a subject may do with a name.
    #[must_use]
    pub fn verbs(&self, subject: &Subject, name: &str) -> Verbs {
        let mut allowed = self.standing(subject.standing());
        let mut denied = Verbs::NONE;
        for rule in self.rules.iter().filter(|rule| rule.applies(subject, name)) {
            match rule.effect {
                Effect::Allow => allowed |= rule.verbs,
                Effect::Deny => denied |= rule.verbs,
            }
        }
        allowed.without(denied)
    }

    /// Whether a rule, or where it stands, lets the subject do that with any name; what is denied plays no part.
    pub(crate) fn allow_somewhere(&self, subject: &Subject, verb: Verb) -> bool {
        self.standing(subject.standing()).has(verb)
            || self.rules.iter().any(|rule| {
                rule.effect == Effect::Allow && rule.verbs.has(verb) && rule.who.matches(subject)
            })
    }

    /// Whether a request is allowed, and what decides that: for people who look for the rule they forgot.
    #[must_use]
    pub fn explain(&self, subject: &Subject, verb: Verb, name: &str) -> Reason {
        let first = |effect| {
            let mut rules = self.rules.iter();
            rules.find(|rule| {
                rule.effect == effect && rule.verbs.has(verb) && rule.applies(subject, name)
            })
        };
        let standing = subject.standing();
        if let Some(rule) = first(Effect::Deny) {
            Reason::Denied(rule.clone())
        } else if let Some(rule) = first(Effect::Allow) {
            Reason::Allowed(rule.clone())
        } else if self.standing(standing).has(verb) {
            Reason::AllowedByStanding(standing)
        } else {
            Reason::DeniedByStanding(standing)
        }
    }
}
