//! What is told of requests that had no right.

use std::fmt;
use std::sync::OnceLock;

use callboard::System;
use callboard::clock::Instant;
use callboard::topic::Topic;
use serde::Serialize;

use super::subject::Standing;
use super::verb::Verb;

/// The pattern that all refusals match. One is published under `refused.<verb>`.
pub const REFUSALS: &str = "refused.>";

/// A request that its subject had no right to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Refusal {
    /// When, on the system's clock.
    pub at: Instant,
    /// Who asked, if it proved that.
    pub principal: Option<String>,
    /// Where it stands.
    pub standing: Standing,
    /// What it wanted to do.
    pub verb: Verb,
    /// With which name. It is the peer's text: nothing of it need exist.
    pub name: String,
    /// What decided it, for people: the rule, or that there is none.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = self.principal.as_deref().unwrap_or("an unproved peer");
        let Refusal {
            verb, name, reason, ..
        } = self;
        write!(f, "{who} may not {verb} {name:?}: {reason}")
    }
}

/// A topic that starts when somebody first asks for it: until then events cost nothing.
pub(super) struct Events<T: Send + Sync + 'static> {
    system: System,
    name: &'static str,
    topic: OnceLock<Topic<T>>,
}

impl<T: Send + Sync + 'static> Events<T> {
    pub(super) fn new(system: &System, name: &'static str) -> Self {
        Events {
            system: system.clone(),
            name,
            topic: OnceLock::new(),
        }
    }

    pub(super) fn topic(&self) -> Topic<T> {
        self.topic
            .get_or_init(|| Topic::start(&self.system, self.name))
            .clone()
    }

    /// Publishes what `make` makes at this time, if there is a topic.
    pub(super) fn publish(&self, subject: &str, make: impl FnOnce(Instant) -> T) {
        if let Some(topic) = self.topic.get() {
            // An error: the topic has been stopped, so nobody listens. Who is too slow is told of the gap.
            let _ = topic.try_publish(subject, make(self.system.clock().now()));
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.system.clock().now()
    }
}

impl<T: Send + Sync + 'static> Drop for Events<T> {
    fn drop(&mut self) {
        if let Some(topic) = self.topic.get() {
            topic.stop();
        }
    }
}
