//! What is measured. Workloads that several systems take are written once, generic, in the files below; each
//! checks what was answered or what arrived before it reports a figure.

pub(crate) mod ask;
pub(crate) mod one_way;
pub(crate) mod publish;
pub(crate) mod queue;

use std::future::Future;
use std::time::Duration;

use common::run::Result;
use common::size::Size;

/// A workload. What a run of it answers stands at each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// One asks, the next ask after the answer. Answers p50 and p99 in microseconds.
    Sequence(Link),
    /// That many ask at a time. Answers thousands of asks a second.
    InFlight(Link, u64),
    /// One tells. Answers millions of messages a second if they are small, millions of bytes if they are large.
    OneWay(Link, Shape),
    /// The server publishes, subscribers here get all of it. Answers millions of deliveries a second.
    Publish(Link, Connections),
    /// One offers to a queue of the server, one leases and acknowledges. Answers thousands of items a second.
    Queue(Keeping, Batch),
    /// Answers allocations of the asking process for each ask.
    Allocations(Link),
}

/// What lies between the two processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    Tcp,
    Unix,
    Pipe,
    /// TLS 1.3 over TCP.
    Tls,
}

/// What one-way messages are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// So many bytes that nobody looks into.
    Bytes(usize),
    /// A struct of about 100 bytes, encoded here and decoded there.
    Order,
}

/// How subscribers of one process reach another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connections {
    /// All over one.
    One,
    /// Each over its own, as if each were a process.
    Each,
}

/// Where a queue keeps its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeping {
    Memory,
    /// On disk, synced before an offer is answered.
    Disk,
}

/// How many items go into a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Batch {
    Single,
    Of64,
}

/// What a server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// Answers an ask with what it carries.
    Echo,
    /// Counts what it is told.
    Sink,
    /// Publishes as much as it is asked to.
    Topic,
    /// Has a queue in memory.
    Queue,
    /// Has a queue on disk.
    DurableQueue,
}

impl Link {
    pub(crate) const ALL: [Link; 4] = [Link::Tcp, Link::Unix, Link::Pipe, Link::Tls];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Link::Tcp => "tcp",
            Link::Unix => "unix",
            Link::Pipe => "pipe",
            Link::Tls => "tls",
        }
    }
}

impl Service {
    pub(crate) const ALL: [Service; 5] = [
        Service::Echo,
        Service::Sink,
        Service::Topic,
        Service::Queue,
        Service::DurableQueue,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Service::Echo => "echo",
            Service::Sink => "sink",
            Service::Topic => "topic",
            Service::Queue => "queue",
            Service::DurableQueue => "durable-queue",
        }
    }
}

impl Work {
    pub(crate) fn link(self) -> Link {
        match self {
            Work::Sequence(link)
            | Work::InFlight(link, _)
            | Work::OneWay(link, _)
            | Work::Publish(link, _)
            | Work::Allocations(link) => link,
            Work::Queue(..) => Link::Unix,
        }
    }

    pub(crate) fn service(self) -> Service {
        match self {
            Work::OneWay(..) => Service::Sink,
            Work::Publish(..) => Service::Topic,
            Work::Queue(Keeping::Memory, _) => Service::Queue,
            Work::Queue(Keeping::Disk, _) => Service::DurableQueue,
            Work::Sequence(_) | Work::InFlight(..) | Work::Allocations(_) => Service::Echo,
        }
    }
}

/// What is done over and over, in rounds of different length.
pub(crate) trait Rounds: Send {
    /// Does so much, and answers how long that took.
    fn round(&mut self, count: u64) -> impl Future<Output = Result<Duration>> + Send;
}

/// The circumstances of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) size: Size,
    /// About how long what is timed takes; what comes before, to get warm, a quarter of that at least.
    span: Duration,
}

impl Run {
    pub(crate) fn new(size: Size) -> Self {
        let span = Duration::from_millis(size.pick(600, 40));
        Run { size, span }
    }

    /// Does rounds: as many as it takes until one is long enough to say how much fits into the span, and that in
    /// the last. Answers what that one did and how long it took. Each does a multiple of `step`.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    pub(crate) async fn rounds(
        &self,
        step: u64,
        rounds: &mut impl Rounds,
    ) -> Result<(u64, Duration)> {
        let mut count = step;
        loop {
            let took = rounds.round(count).await?;
            if took < self.span / 4 {
                count *= 4;
                continue;
            }
            let fits = count as f64 * self.span.as_secs_f64() / took.as_secs_f64();
            let steps = (fits / step as f64).ceil().max(1.0) as u64;
            return Ok((steps * step, rounds.round(steps * step).await?));
        }
    }
}
