//! What is measured, written once for all systems.
//!
//! Every workload checks its result before it reports a figure: sums at the receivers, the sums that asks
//! are answered with, actors that have ended.

mod allocations;
mod ask;
mod fan_out;
mod idle;
mod ring;
mod spawn;
mod tell;
mod watch;

use common::size::{Size, each, millions};
use common::threads::{Layout, yield_now};

use crate::systems::{Family, System};

/// A workload. What a run of it answers stands at each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Senders that tell one actor. Answers millions of messages a second.
    Tell { senders: u64, layout: Layout },
    /// One asker, one ask at a time. Answers millions of asks a second, and from a second pass the median
    /// and the 99th percentile of one ask in nanoseconds.
    AskInSequence { layout: Layout },
    /// That many tasks, each one ask at a time. Answers millions of asks a second.
    AskInFlight { askers: u64, layout: Layout },
    /// One token around a ring of actors, one thread. Answers millions of hops a second.
    Ring,
    /// One sender that tells many actors in turn. Answers millions of deliveries a second.
    FanOut { layout: Layout },
    /// Many actors started, then stopped. Answers nanoseconds an actor, both together.
    SpawnAndStop,
    /// Many actors that do nothing. Answers bytes of heap and resident bytes an actor.
    Idle {
        /// Whether each has handled one message before.
        used: bool,
    },
    /// Answers allocations per tell.
    AllocationsPerTell,
    /// Answers allocations per ask, in sequence.
    AllocationsPerAsk,
    /// One sender that tells one actor, one thread, with somebody looking on or not. Answers millions of
    /// messages a second.
    TellObserved,
    /// Asks in sequence, one thread, with somebody looking on or not. Answers what those do.
    AskObserved,
    /// Many actors started, then stopped; and the same with another actor that watches each. Answers
    /// nanoseconds an actor, for both.
    Watched,
}

impl Work {
    /// Whether it asks, so that hand-off matters.
    pub(crate) fn asks(self) -> bool {
        matches!(
            self,
            Work::AskInSequence { .. } | Work::AskInFlight { .. } | Work::AllocationsPerAsk
        )
    }

    /// Whether it tells faster than receivers handle, so that a bound matters.
    pub(crate) fn floods(self) -> bool {
        matches!(self, Work::Tell { .. } | Work::FanOut { .. })
    }

    /// Whether it is about what an actor costs apart from its messages.
    pub(crate) fn is_about_having_actors(self) -> bool {
        matches!(self, Work::SpawnAndStop | Work::Idle { .. })
    }

    /// Whether it is about tells or asks that somebody looks on at.
    pub(crate) fn is_observed(self) -> bool {
        matches!(self, Work::TellObserved | Work::AskObserved)
    }

    /// Whether it compares Callboard with itself.
    pub(crate) fn is_ours_alone(self) -> bool {
        self.is_observed() || self == Work::Watched
    }

    /// Whether it must have a process of its own: because it is about that process's memory, or because who
    /// looks on looks at the whole process.
    pub(crate) fn needs_own_process(self) -> bool {
        matches!(self, Work::Idle { .. }) || self.is_observed()
    }

    /// Whether it measures time. What doesn't is measured after everything that does.
    pub(crate) fn is_timed(self) -> bool {
        !matches!(
            self,
            Work::Idle { .. } | Work::AllocationsPerTell | Work::AllocationsPerAsk
        )
    }
}

/// Runs a workload once on a system.
pub(crate) fn measure<S: System>(system: &S, work: Work, size: Size) -> Vec<f64> {
    match work {
        Work::Tell { senders, layout } => tell::measure(system, senders, layout, size),
        Work::AskInSequence { layout } => ask::in_sequence(system, layout, size),
        Work::AskInFlight { askers, layout } => ask::in_flight(system, askers, layout, size),
        Work::Ring => ring::measure(system, size),
        Work::FanOut { layout } => fan_out::measure(system, layout, size),
        Work::SpawnAndStop => spawn::measure(system, size),
        Work::Idle { used } => idle::measure(system, used, size),
        Work::AllocationsPerTell => allocations::per_tell(system, size),
        Work::AllocationsPerAsk => allocations::per_ask(system, size),
        Work::TellObserved => tell::measure(system, 1, Layout::OneThread, size),
        Work::AskObserved => ask::in_sequence(system, Layout::OneThread, size),
        Work::Watched => watch::measure(system, size),
    }
}

/// How many messages a sender without back-pressure sends before it gives others a turn. Without that its
/// receiver, on the same thread, would see nothing until all is sent.
const UNBOUNDED_BURST: u64 = 1_024;

/// Whether a sender should now give others a turn, having sent `sent` messages.
fn burst_is_over(family: Family, sent: u64) -> bool {
    family == Family::UnboundedActors && sent.is_multiple_of(UNBOUNDED_BURST)
}

/// Waits until the counter has added up to `sum`. Works also where messages may overtake each other.
async fn settle<S: System>(counter: &S::Counter, sum: u64) {
    loop {
        let now = S::ask(counter, 0).await;
        assert!(now <= sum, "{now} counted, {sum} sent");
        if now == sum {
            return;
        }
        yield_now().await;
    }
}

/// The sum of 0 to `count` - 1.
fn sum_below(count: u64) -> u64 {
    count * count.saturating_sub(1) / 2
}
