//! The test kit: a system for each test, probes, virtual time, settling, faults.
//!
//! It is behind the feature `test`, which belongs into `[dev-dependencies]`:
//!
//! ```toml
//! [dev-dependencies]
//! callboard = { version = "0.1", features = ["test"] }
//! ```
//!
//! **A test** is an `async fn` with `#[callboard::test]`. It gets a [`System`] of its own, so
//! that tests run beside each other and see nothing of each other. Without options it runs in a simulation,
//! in virtual time and under [several seeds](SEEDS), so under several schedules; a failure prints the seed,
//! and `CALLBOARD_SEED=<seed>` repeats that run. `CALLBOARD_SEEDS=<count>` runs more of them.
//! [`seeds`] does the same for a closure in a plain `#[test]`.
//!
//! **A probe** ([`Probe`]) takes the place of an actor: it is a recipient whose messages the test expects one
//! by one, answers, or expects not to come. It watches actors, too.
//!
//! **Nothing sleeps.** [`settle`] completes when nothing more can happen by itself; [`advance`] moves virtual
//! time, and runs what comes due. The words are those of Akka's `TestProbe` (`expect`, `expect_none`, `fish`)
//! and of tokio's paused clock (`advance`).
//!
//! **Faults** ([`Faults`]) are put on an actor at its start: a panic in the handler of the third message, a
//! message that comes late or is lost, each by number or drawn from the seed.
//!
//! The kit fails a test by a panic whose text says what was expected, what came, where, and under which seed.
//!
//! ```
//! use std::time::Duration;
//!
//! use callboard_core::testing::{self, On, Probe, Test};
//! use callboard_core::{Actor, Context, Handler, Message, Recipient, System};
//!
//! #[derive(Debug, PartialEq)]
//! struct Reminder(&'static str);
//! impl Message for Reminder {
//!     type Reply = ();
//! }
//!
//! struct Remind(Duration, &'static str);
//! impl Message for Remind {
//!     type Reply = ();
//! }
//!
//! /// Sends a reminder when its time has come.
//! struct Clerk(Recipient<Reminder>);
//! impl Actor for Clerk {}
//! impl Handler<Remind> for Clerk {
//!     async fn handle(&mut self, Remind(span, text): Remind, ctx: &mut Context<Self>) {
//!         ctx.sleep(span).await;
//!         self.0.tell(Reminder(text)).await.unwrap();
//!     }
//! }
//!
//! async fn reminds_in_time(system: System) {
//!     let mut learner = Probe::new(&system);
//!     let clerk = system.start(Clerk(learner.recipient()));
//!     clerk.tell(Remind(Duration::from_secs(3_600), "lesson 7")).await.unwrap();
//!     learner.expect_none(Duration::from_secs(3_599)).await;
//!     testing::advance(&system, Duration::from_secs(1)).await.unwrap();
//!     learner.expect_eq(Reminder("lesson 7")).await;
//! }
//!
//! // This is what `#[callboard::test]` makes of it.
//! Test::new(On::Simulated).run(reminds_in_time);
//! ```

mod faults;
mod probe;
mod runner;
mod settle;

pub(crate) use faults::{Fate, FaultPoint, Late};
pub use faults::{Fault, FaultKind, Faults, INJECTED_CAPACITY, Injected, LATE_CAPACITY};
pub use probe::{Asked, PROBE_CAPACITY, PROBE_PATIENCE, Probe};
pub use runner::{On, Outcome, SEEDS, TEST_LIMIT, Test, seeds};
pub use settle::{
    SETTLE_LIMIT, SETTLE_PATIENCE, Settle, Unsettled, UnsettledKind, advance, settle,
};

use crate::system::System;

/// The seed of a system that is simulated; `None` on arbiters.
#[must_use]
pub fn seed(system: &System) -> Option<u64> {
    system.executor().seed()
}

/// The same as the end of a sentence.
fn seed_text(system: &System) -> String {
    seed(system).map_or_else(String::new, |seed| format!(" (seed {seed})"))
}

/// The actors that have something in their mailboxes, for error texts.
fn with_mail(system: &System) -> String {
    const SHOWN: usize = 5;
    let mut actors = system.actors();
    actors.retain(|actor| actor.mailbox.len > 0);
    if actors.is_empty() {
        return "no mailbox holds anything".to_owned();
    }
    let shown = actors.iter().take(SHOWN);
    let mut lines: Vec<String> = shown
        .map(|actor| {
            format!(
                "{}{} has {} queued",
                actor.label, actor.id, actor.mailbox.len
            )
        })
        .collect();
    if actors.len() > SHOWN {
        lines.push(format!("and {} more", actors.len() - SHOWN));
    }
    lines.join(", ")
}
