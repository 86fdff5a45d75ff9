//! The platform in figures, for the system page and the drill's tables.

use std::time::Duration;

use callboard::clock::Instant;
use callboard::remote::Peer;
use callboard::{DropReason, Observation};

use super::Platform;
use crate::calls::Part;
use crate::pages::{DropRow, Figure, Link, MailboxRow, ObservedRow, SystemReport};

/// How long the system page waits for actors to show themselves. Who is busy for longer shows what it was.
const LOOK: Duration = Duration::from_millis(50);
/// So many receivers are named for each reason of a drop.
const NAMED: usize = 3;

impl Platform {
    pub(crate) async fn report(&self) -> SystemReport {
        let mailbox = |actor: callboard::ActorSnapshot| MailboxRow {
            actor: actor.label,
            arbiter: actor.arbiter,
            queued: actor.mailbox.len,
            most: actor.mailbox.high_water,
            capacity: actor.mailbox.capacity,
        };
        let problems = self.library.problems();
        let observed = self.system.observe(LOOK).await;
        let now = self.system.clock().now();
        SystemReport {
            uptime_seconds: self.system.clock().now().since(self.started).as_secs_f64(),
            tree: self.tree(),
            calls: self.calls.rows(),
            policies: self.policies.explain(),
            policy_file: self.policies.status(),
            links: self.tree.links.iter().map(link).collect(),
            renderers: self.tree.renderers.state(),
            observed: observed.iter().map(|one| shown(one, now)).collect(),
            pages: self.spans.as_ref().map(|spans| spans.kept().into()),
            drops: self.drops(),
            mailboxes: self.system.actors().into_iter().map(mailbox).collect(),
            figures: self.figures().await,
            problems: problems.iter().map(ToString::to_string).collect(),
        }
    }

    /// What reached no handler, or nobody who asked, and whom it was meant for.
    fn drops(&self) -> Vec<DropRow> {
        let (counters, letters) = (self.system.counters(), self.system.dead_letters().counts());
        let row = |reason: DropReason| {
            let count = counters.drops(reason);
            let mut targets: Vec<_> = letters
                .by_target
                .iter()
                .filter_map(|target| Some((*target.by_reason.get(&reason)?, &*target.target)))
                .collect();
            targets.sort_by(|a, b| b.cmp(a));
            targets.truncate(NAMED);
            (count > 0).then(|| DropRow {
                reason: reason.name(),
                count,
                targets: targets
                    .into_iter()
                    .map(|(_, name)| name.to_owned())
                    .collect(),
            })
        };
        DropReason::ALL.into_iter().filter_map(row).collect()
    }

    async fn figures(&self) -> Vec<Figure> {
        let counters = self.system.counters();
        let late = self
            .tree
            .links
            .iter()
            .map(|(_, peer)| peer.state().stats.late_replies);
        let late = counters.drops(DropReason::LateReply) + late.sum::<u64>();
        let jobs = self.jobs.state().await.unwrap_or_default();
        let topic = self.viewed.state();
        let retries = self.policies.stats();
        let dedup = self.tree.dedup.stats();
        let handled = self
            .system
            .load()
            .iter()
            .map(|arbiter| arbiter.handled)
            .sum();
        let figure = |name, value| Figure { name, value };
        vec![
            figure("restarts of children", self.tree().restarts_below()),
            figure(
                "calls tried again",
                retries.iter().map(|policy| policy.retries).sum(),
            ),
            figure(
                "calls answered by a retry",
                retries.iter().map(|policy| policy.recovered).sum(),
            ),
            figure(
                "retries refused by a budget",
                retries.iter().map(|policy| policy.over_budget).sum(),
            ),
            figure(
                "calls refused by a breaker",
                retries.iter().map(|policy| policy.broken).sum(),
            ),
            figure("changes of the policy file", self.policies.status().changes),
            figure("policy files refused", self.policies.status().refusals),
            figure("enrolments let through", dedup.started),
            figure("duplicates that joined a running one", dedup.joined),
            figure("duplicates answered from the store", dedup.answered),
            figure("keys refused for another payload", dedup.key_reused),
            figure("answers that came too late", late),
            figure("messages handled", handled),
            figure("panics caught", counters.panics()),
            figure("renderers made anew", self.tree.renderers.state().restarts),
            figure("views published", topic.published),
            figure("visitors who watch views live", self.live.watchers() as u64),
            figure("index jobs offered", jobs.offered),
            figure("index jobs waiting", jobs.len as u64),
            figure("index jobs dropped", jobs.dropped),
        ]
    }
}

fn shown(one: &Observation, now: Instant) -> ObservedRow {
    let state = one.state.as_ref();
    let age = state.map(|state| now.since(state.at).as_millis());
    ObservedRow {
        actor: one.actor.label.clone(),
        state: state.map(|state| state.text.clone()),
        is_fresh: one.is_fresh,
        age_millis: age.map(|millis| u64::try_from(millis).unwrap_or(u64::MAX)),
    }
}

fn link((part, peer): &(Part, Peer)) -> Link {
    let state = peer.state();
    Link {
        to: *part,
        boundary: part.boundary(),
        state: format!("{:?}", state.phase).to_lowercase(),
        connects: state.stats.connects,
        losses: state.stats.disconnects,
        bytes_out: state.stats.bytes_out,
        bytes_in: state.stats.bytes_in,
    }
}
