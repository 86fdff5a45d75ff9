//! The platform in figures, for the system page and the drill's tables.

use callboard::DropReason;
use callboard::remote::Peer;

use super::Platform;
use crate::pages::{Figure, Link, MailboxRow, SystemReport};

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
        SystemReport {
            uptime_seconds: self.system.clock().now().since(self.started).as_secs_f64(),
            tree: self.tree(),
            calls: self.calls.rows(),
            retries: self.policies.stats().to_vec(),
            links: self.tree.links.iter().map(link).collect(),
            mailboxes: self.system.actors().into_iter().map(mailbox).collect(),
            figures: self.figures().await,
            problems: problems.iter().map(ToString::to_string).collect(),
        }
    }

    async fn figures(&self) -> Vec<Figure> {
        let counters = self.system.counters();
        let late = self
            .tree
            .links
            .iter()
            .map(|peer| peer.state().stats.late_replies);
        let late = counters.drops(DropReason::LateReply) + late.sum::<u64>();
        let jobs = self.jobs.state().await.unwrap_or_default();
        let topic = self.viewed.state().await.unwrap_or_default();
        let retries = self.policies.stats();
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
            figure("answers that came too late", late),
            figure("messages handled", counters.handled()),
            figure("panics caught", counters.panics()),
            figure("views published", topic.published),
            figure("index jobs offered", jobs.offered),
            figure("index jobs waiting", jobs.len as u64),
            figure("index jobs dropped", jobs.dropped),
        ]
    }
}

fn link(peer: &Peer) -> Link {
    let state = peer.state();
    Link {
        to: state.address,
        state: format!("{:?}", state.phase).to_lowercase(),
        connects: state.stats.connects,
        losses: state.stats.disconnects,
        bytes_out: state.stats.bytes_out,
        bytes_in: state.stats.bytes_in,
    }
}
