//! Faults that a test puts on an actor.

mod late;

use std::any::TypeId;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::cell::short_type_name;
use crate::clock::Instant;
use crate::message::Message;
use crate::system::System;

use crate::boundary::Verdict;
use crate::error::{Failure, FailureKind};

pub use late::LATE_CAPACITY;
pub(crate) use late::{Late, Line};

/// How many injected faults [`Faults`] keeps on record; the oldest go first.
pub const INJECTED_CAPACITY: usize = 1_024;

/// Faults for one actor or several, and the record of what was injected. Put on an actor by
/// [`Spawn::faults`](crate::Spawn::faults). Clones are handles to the same faults.
///
/// Each fault counts the messages that concern it on its own, over all actors that share these faults and over
/// restarts. Where several strike at one message, the one that was added first wins.
///
/// ```
/// use callboard_core::testing::{Fault, FaultKind, Faults, On, Test};
/// use callboard_core::{Actor, Context, Handler, Message, Verdict};
/// # struct Add(u64);
/// # impl Message for Add { type Reply = u64; }
/// # struct Counter(u64);
/// # impl Actor for Counter {}
/// # impl Handler<Add> for Counter {
/// #     async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
/// #         self.0 += n;
/// #         self.0
/// #     }
/// # }
///
/// Test::new(On::Both).run(|system| async move {
///     let faults = Faults::new().with(Fault::drop().of::<Add>().nth(2));
///     let counter = system.actor(|| Counter(0)).faults(&faults).start();
///     assert_eq!(counter.ask(Add(1)).await.unwrap(), 1);
///     let lost = counter.ask(Add(1)).await.unwrap_err();
///     assert_eq!(lost.verdict(), Verdict::NotExecuted); // so it may be sent again
///     assert_eq!(counter.ask(Add(1)).await.unwrap(), 2);
///     assert_eq!(faults.injected()[0].kind, FaultKind::Drop);
/// });
/// ```
#[derive(Clone, Default)]
pub struct Faults {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    faults: Vec<Armed>,
    record: VecDeque<Injected>,
    injected: u64,
}

struct Armed {
    fault: Fault,
    /// How many messages have concerned it.
    seen: u64,
}

impl Faults {
    /// No faults as yet.
    #[must_use]
    pub fn new() -> Self {
        Faults::default()
    }

    /// Adds one. It concerns messages from now on.
    #[must_use]
    pub fn with(self, fault: Fault) -> Self {
        self.state.lock().faults.push(Armed { fault, seen: 0 });
        self
    }

    /// Takes all faults away; what is late already stays late. The record is kept.
    pub fn clear(&self) {
        self.state.lock().faults.clear();
    }

    /// What was injected, the oldest first; the last [`INJECTED_CAPACITY`] of it.
    #[must_use]
    pub fn injected(&self) -> Vec<Injected> {
        self.state.lock().record.iter().cloned().collect()
    }

    /// How many faults were injected in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.state.lock().injected
    }

    /// Which of the faults that `concerned` picks strikes at this message, if one does.
    fn strike<M: Message>(
        &self,
        system: &System,
        concerned: impl Fn(&Doing) -> bool,
    ) -> Option<Fault> {
        let state = &mut *self.state.lock();
        let mut struck: Option<(Fault, u64)> = None;
        for armed in &mut state.faults {
            let fault = &armed.fault;
            if !concerned(&fault.doing) || fault.of.is_some_and(|of| of != TypeId::of::<M>()) {
                continue;
            }
            armed.seen += 1;
            if fault.when.has_come(armed.seen, system) && struck.is_none() {
                struck = Some((fault.clone(), armed.seen));
            }
        }
        let (fault, number) = struck?;
        if state.record.len() >= INJECTED_CAPACITY {
            state.record.pop_front();
        }
        state.record.push_back(Injected {
            at: system.clock().now(),
            kind: fault.doing.kind(),
            message_type: short_type_name::<M>(),
            number,
        });
        state.injected += 1;
        Some(fault)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Faults")
            .field("faults", &state.faults.len())
            .field("injected", &state.injected)
            .finish_non_exhaustive()
    }
}

/// One fault: what happens, to which messages, when. Without more it happens to every message.
#[derive(Debug, Clone)]
#[must_use = "it does nothing until it is put among the `Faults` of an actor"]
pub struct Fault {
    doing: Doing,
    /// Only messages of this type.
    of: Option<TypeId>,
    when: When,
}

#[derive(Debug, Clone)]
enum Doing {
    Panic,
    Delay(Duration),
    Drop(Option<Failure>),
}

#[derive(Debug, Clone, Copy)]
enum When {
    Always,
    Nth(u64),
    /// With so many chances in 2^53.
    Drawn(u64),
}

/// Chances that make a certainty: as many as a double tells apart.
const CERTAIN: u64 = 1 << 53;

impl Fault {
    /// The handler panics before its first line, as if the panic were its own: the asker is told, the actor
    /// ends as failed, a supervisor restarts it (G10). Counts messages as their handlers begin.
    pub fn panic() -> Self {
        Fault::of_doing(Doing::Panic)
    }

    /// The message arrives `span` later, in the system's time. Order is kept (G2): what comes behind a late message
    /// is late, too. Signals (stop, kill) are not. Its deadline runs meanwhile. Counts messages as they arrive,
    /// before any admission.
    ///
    /// At most [`LATE_CAPACITY`] messages are late at a time; the next is refused as
    /// [`Full`](crate::FailureKind::Full), and goes back to its sender.
    pub fn delay(span: Duration) -> Self {
        Fault::of_doing(Doing::Delay(span))
    }

    /// The message is lost on its way: counted as [`Injected`](crate::DropReason::Injected), kept among the dead
    /// letters; the asker is told at once, as `NotExecuted`. A tell says Ok. Counts messages as they arrive, before
    /// any admission.
    pub fn drop() -> Self {
        Fault::of_doing(Doing::Drop(None))
    }

    fn of_doing(doing: Doing) -> Self {
        Fault {
            doing,
            of: None,
            when: When::Always,
        }
    }

    /// Concerns messages of type `M` only.
    pub fn of<M: Message>(mut self) -> Self {
        self.of = Some(TypeId::of::<M>());
        self
    }

    /// Strikes at the message with that number, counted from 1 among those that concern it, and at no other.
    ///
    /// # Panics
    /// If it is 0.
    pub fn nth(mut self, number: u64) -> Self {
        assert!(number > 0, "messages are counted from 1, not from 0");
        self.when = When::Nth(number);
        self
    }

    /// Strikes at each message with that probability, from 0 to 1, drawn from the system's entropy: in a simulation
    /// a function of the seed (G38).
    ///
    /// # Panics
    /// If it is no number from 0 to 1.
    pub fn with_probability(mut self, probability: f64) -> Self {
        let is_one = (0.0..=1.0).contains(&probability);
        assert!(
            is_one,
            "{probability} is no probability: it has to be from 0 to 1"
        );
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "from 0 to 2^53, which is exact"
        )]
        let chances = (probability * CERTAIN as f64) as u64;
        self.when = When::Drawn(chances);
        self
    }

    /// What the asker of a lost message is told in place of `NotExecuted`: for tests of what callers do about a
    /// verdict that this boundary alone wouldn't give.
    ///
    /// # Panics
    /// If it isn't a [`drop`](Fault::drop).
    pub fn told(mut self, failure: Failure) -> Self {
        let Doing::Drop(told) = &mut self.doing else {
            panic!("only a fault that drops the message decides what its asker is told");
        };
        *told = Some(failure);
        self
    }
}

impl Doing {
    fn kind(&self) -> FaultKind {
        match self {
            Doing::Panic => FaultKind::Panic,
            Doing::Delay(span) => FaultKind::Delay(*span),
            Doing::Drop(_) => FaultKind::Drop,
        }
    }
}

impl When {
    fn has_come(self, seen: u64, system: &System) -> bool {
        match self {
            When::Always => true,
            When::Nth(number) => seen == number,
            When::Drawn(chances) => system.entropy().below(CERTAIN) < chances,
        }
    }
}

/// What a fault did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// The handler panicked.
    Panic,
    /// The message came so much later.
    Delay(Duration),
    /// The message was lost.
    Drop,
}

/// One fault that was injected.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Injected {
    /// When.
    pub at: Instant,
    /// What.
    pub kind: FaultKind,
    /// The Rust type of the message, without its path.
    pub message_type: String,
    /// The number of the message among those that concerned the fault, from 1.
    pub number: u64,
}

/// The faults of one actor, as its cell has them: beside its admissions, so that an actor without either pays
/// nothing.
pub(crate) struct FaultPoint {
    faults: Faults,
    line: Arc<Line>,
}

/// What comes of a message that arrives.
pub(crate) enum Fate {
    /// It goes on, now.
    Now,
    /// It goes on later, in line.
    Late(Duration),
    /// It is lost, and its asker told this.
    Lost(Failure),
}

impl FaultPoint {
    pub(crate) fn new(faults: &Faults) -> Self {
        FaultPoint {
            faults: faults.clone(),
            line: Arc::default(),
        }
    }

    pub(crate) fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// A message arrives.
    pub(crate) fn arrives<M: Message>(&self, system: &System, label: &str) -> Fate {
        let struck = self
            .faults
            .strike::<M>(system, |doing| !matches!(doing, Doing::Panic));
        match struck.map(|fault| fault.doing) {
            Some(Doing::Delay(span)) => Fate::Late(span),
            Some(Doing::Drop(told)) => Fate::Lost(told.unwrap_or_else(|| {
                Failure::new(FailureKind::Overloaded, Verdict::NotExecuted)
                    .with_detail(format!("{label}: an injected fault dropped it"))
            })),
            _ if self.line.is_busy() => Fate::Late(Duration::ZERO),
            _ => Fate::Now,
        }
    }

    /// A handler begins. Panics, if a fault says so.
    pub(crate) fn begins<M: Message>(&self, system: &System) {
        let struck = self
            .faults
            .strike::<M>(system, |doing| matches!(doing, Doing::Panic));
        if struck.is_some() {
            let name = short_type_name::<M>();
            // Past the panic hook: that one was asked for needs no report on standard error.
            std::panic::resume_unwind(Box::new(format!("injected fault at a {name}")));
        }
    }
}
