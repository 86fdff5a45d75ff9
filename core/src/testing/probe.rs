//! Probes: recipients whose messages a test expects one by one.

mod inbox;

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};

use super::settle::{settle, sleep};
use super::{UnsettledKind, seed_text};
use crate::actor::ByResponder;
use crate::actor_ref::{ActorRef, Recipient};
use crate::cell::short_type_name;
use crate::error::Failure;
use crate::mailbox::Overflow;
use crate::message::Message;
use crate::responder::Responder;
use crate::system::System;
use crate::watch::{Terminated, Watch, WatchHandle};

pub use inbox::Asked;
use inbox::{Ended, Event, Inbox, Shared};

/// How many messages a [`Probe`] keeps for its test, unless told otherwise. As many more fit into the mailbox
/// before it; who sends then waits for room.
pub const PROBE_CAPACITY: usize = 1_024;
/// How long a [`Probe`] waits for what is expected, unless told otherwise, in the system's time.
pub const PROBE_PATIENCE: Duration = Duration::from_secs(10);

/// A recipient in the place of an actor: what comes is kept until the test takes it, in the order it came.
///
/// It is a real actor behind a real mailbox, so deadlines, order (G2) and bounds (G3) are those of any other. What
/// comes is taken by the `expect` methods, which wait for it up to the probe's patience and fail the test by a
/// panic that says what was expected, what came, where, and under which seed. In a simulation waiting takes
/// virtual time only.
///
/// Asks wait until the test answers: by [`reply`](Probe::reply), or by the [`Asked`] that
/// [`expect_ask`](Probe::expect_ask) hands out. One that is taken and not answered ends as
/// [`NoAnswer`](crate::FailureKind::NoAnswer).
///
/// The probe's actor stops when the probe is dropped; what the test hasn't taken by then is dropped with it.
///
/// ```
/// # use callboard_core::testing::{On, Probe, Test};
/// # use callboard_core::Message;
/// #[derive(Debug, PartialEq)]
/// struct Price(&'static str);
/// impl Message for Price {
///     type Reply = u32;
/// }
///
/// Test::new(On::Both).run(|system| async move {
///     let mut shop = Probe::new(&system);
///     let recipient = shop.recipient();
///     let asker = async { recipient.ask(Price("tea")).await };
///     let script = async {
///         shop.expect_eq(Price("tea")).await;
///         shop.reply(7);
///     };
///     let (price, ()) = futures::join!(asker, script);
///     assert_eq!(price.unwrap(), 7);
/// });
/// ```
pub struct Probe<M: Message> {
    system: System,
    actor: ActorRef<Inbox<M>>,
    shared: Arc<Shared<M>>,
    patience: Duration,
    /// The way back of the message that was taken last, if somebody waits there.
    last: Option<Responder<M::Reply>>,
}

impl<M: Message> Probe<M> {
    /// A probe called `probe`, with room for [`PROBE_CAPACITY`] messages.
    #[must_use]
    pub fn new(system: &System) -> Self {
        Probe::named(system, "probe")
    }

    /// A probe with a name, which errors and failures show.
    #[must_use]
    pub fn named(system: &System, label: impl Into<Arc<str>>) -> Self {
        Probe::bounded(system, label, PROBE_CAPACITY)
    }

    /// A probe that keeps that many messages, at least one, and has as many more in its mailbox: for tests of what
    /// senders do who must wait for room.
    #[must_use]
    pub fn bounded(system: &System, label: impl Into<Arc<str>>, capacity: usize) -> Self {
        let shared = Arc::new(Shared::new(capacity.max(1)));
        let inbox = Arc::clone(&shared);
        let actor = system
            .actor(move || Inbox::new(inbox))
            .label(label)
            .mailbox(capacity, Overflow::Wait)
            .start();
        Probe {
            system: system.clone(),
            actor,
            shared,
            patience: PROBE_PATIENCE,
            last: None,
        }
    }

    /// The same with another patience than [`PROBE_PATIENCE`], in the system's time.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Where to send. To be given to the actors under test.
    #[must_use]
    pub fn recipient(&self) -> Recipient<M> {
        self.actor.recipient::<M, ByResponder>()
    }

    /// Watches somebody: [`expect_terminated`](Probe::expect_terminated) gets the notice, after every message that
    /// it sent to the probe (G12).
    pub fn watch(&self, other: &(impl Watch + ?Sized)) -> WatchHandle {
        let inbox = self.actor.clone();
        other.watch(Box::new(move |notice| inbox.tell_reserved(Ended(notice))))
    }

    /// The next message.
    ///
    /// # Panics
    /// If none comes within the probe's patience, or the end of somebody watched comes first.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    #[track_caller]
    pub fn expect(&mut self) -> impl Future<Output = M> {
        self.expect_within(self.patience)
    }

    /// The next message, if it comes within `span` of the system's time, its end included.
    ///
    /// # Panics
    /// As [`expect`](Probe::expect).
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    #[track_caller]
    pub fn expect_within(&mut self, span: Duration) -> impl Future<Output = M> {
        let at = Location::caller();
        async move {
            let asked = self.next_message(span, at).await;
            self.keep(asked)
        }
    }

    /// The next message, if it is this one.
    ///
    /// # Panics
    /// As [`expect`](Probe::expect), and if it is another.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    #[track_caller]
    pub fn expect_eq(&mut self, expected: M) -> impl Future<Output = M>
    where
        M: fmt::Debug + PartialEq,
    {
        let at = Location::caller();
        async move {
            let asked = self.next_message(self.patience, at).await;
            if asked.message != expected {
                self.fail(
                    at,
                    &format!("expected {expected:?}, but came: {:?}", asked.message),
                );
            }
            self.keep(asked)
        }
    }

    /// The next message, if `accept` takes it.
    ///
    /// # Panics
    /// As [`expect`](Probe::expect), and if `accept` answers `false`.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    #[track_caller]
    pub fn expect_that(&mut self, accept: impl FnOnce(&M) -> bool) -> impl Future<Output = M>
    where
        M: fmt::Debug,
    {
        let at = Location::caller();
        async move {
            let asked = self.next_message(self.patience, at).await;
            if !accept(&asked.message) {
                let text = format!("expected another message than came: {:?}", asked.message);
                self.fail(at, &text);
            }
            self.keep(asked)
        }
    }

    /// The next message with what travelled beside it and the duty to answer it.
    ///
    /// # Panics
    /// As [`expect`](Probe::expect), and if nobody waits for an answer: it was told.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    #[track_caller]
    pub fn expect_ask(&mut self) -> impl Future<Output = Asked<M>> {
        let at = Location::caller();
        async move {
            let asked = self.next_message(self.patience, at).await;
            if !asked.responder.expects_answer() {
                let name = short_type_name::<M>();
                self.fail(at, &format!("expected an ask, but a {name} was told"));
            }
            self.last = None;
            asked
        }
    }

    /// Answers the message that was taken last by an `expect` method.
    ///
    /// # Panics
    /// If nobody waits there: none was taken, it was told, or it has been answered.
    #[track_caller]
    pub fn reply(&mut self, reply: M::Reply) {
        self.take_last("reply").send(reply);
    }

    /// Answers the message that was taken last with a failure.
    ///
    /// # Panics
    /// As [`reply`](Probe::reply).
    #[track_caller]
    pub fn reply_failure(&mut self, failure: Failure) {
        self.take_last("failure").fail(failure);
    }

    /// That nothing comes within `span`, its end included.
    ///
    /// On the simulating executor `span` of virtual time passes, and what is due at its end has run. On arbiters
    /// the span isn't waited for, since that would prove little and take long: the system [settles](super::settle)
    /// there, and nothing has come by then. What a timer brings later isn't seen.
    ///
    /// # Panics
    /// If something comes: a message, or the end of somebody watched. Also if the system doesn't settle.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    #[track_caller]
    pub fn expect_none(&mut self, span: Duration) -> impl Future<Output = ()>
    where
        M: fmt::Debug,
    {
        let at = Location::caller();
        async move {
            let start = self.system.clock().now();
            let event = if self.system.clock().is_manual() {
                self.next(span, at).await
            } else {
                self.settle(at).await;
                self.shared.take()
            };
            let after = self.system.clock().now().since(start);
            let came = match event {
                None => return,
                Some(Event::Message(asked)) => format!("came: {:?}", asked.message),
                Some(Event::Ended(notice)) => ended(&notice),
            };
            let text = if self.system.clock().is_manual() {
                format!("expected nothing for {span:?}, but after {after:?} {came}")
            } else {
                format!("expected nothing, but {came}")
            };
            self.fail(at, &text);
        }
    }

    /// The notice of an end that was [watched](Probe::watch).
    ///
    /// # Panics
    /// If none comes within the probe's patience, or a message comes first.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    #[track_caller]
    pub fn expect_terminated(&mut self) -> impl Future<Output = Terminated> {
        let at = Location::caller();
        async move {
            match self.next(self.patience, at).await {
                Some(Event::Ended(notice)) => notice,
                Some(Event::Message(_)) => {
                    let name = short_type_name::<M>();
                    self.fail(
                        at,
                        &format!("expected an end, but a message came: a {name}"),
                    )
                }
                None => {
                    let span = self.patience;
                    self.fail(
                        at,
                        &format!("expected an end within {span:?}, and none came"),
                    )
                }
            }
        }
    }

    /// Passes over messages until `pick` finds what it looks for in one. All that is passed over is dropped.
    ///
    /// # Panics
    /// If it finds nothing within the probe's patience, counted from the call, or the end of somebody watched
    /// comes first.
    ///
    /// # Cancel safety
    /// Dropping it loses what was passed over.
    #[track_caller]
    pub fn fish<T>(&mut self, mut pick: impl FnMut(M) -> Option<T>) -> impl Future<Output = T> {
        let at = Location::caller();
        async move {
            let clock = self.system.clock().clone();
            let due = clock.now() + self.patience;
            let mut passed = 0;
            loop {
                match self.next(due.since(clock.now()), at).await {
                    Some(Event::Message(asked)) => {
                        if let Some(found) = pick(self.keep(asked)) {
                            return found;
                        }
                        passed += 1;
                    }
                    other => {
                        let name = short_type_name::<M>();
                        let span = self.patience;
                        let why = match other {
                            Some(Event::Ended(notice)) => ended(&notice),
                            _ => format!("within {span:?} no other came"),
                        };
                        let text =
                            format!("fished for a {name}: {passed} were passed over, and {why}");
                        self.fail(at, &text)
                    }
                }
            }
        }
    }

    /// The next `count` messages.
    ///
    /// # Panics
    /// If fewer come within the probe's patience, counted from the call, or the end of somebody watched comes
    /// first.
    ///
    /// # Cancel safety
    /// Dropping it loses what was taken.
    #[track_caller]
    pub fn collect(&mut self, count: usize) -> impl Future<Output = Vec<M>> {
        let at = Location::caller();
        async move {
            let clock = self.system.clock().clone();
            let due = clock.now() + self.patience;
            let mut messages = Vec::new();
            while messages.len() < count {
                match self.next(due.since(clock.now()), at).await {
                    Some(Event::Message(asked)) => messages.push(self.keep(asked)),
                    other => {
                        let span = self.patience;
                        let came = messages.len();
                        let why = match other {
                            Some(Event::Ended(notice)) => format!(", and then {}", ended(&notice)),
                            _ => String::new(),
                        };
                        let text = format!(
                            "expected {count} messages within {span:?}, and {came} came{why}"
                        );
                        self.fail(at, &text)
                    }
                }
            }
            messages
        }
    }

    /// Takes the messages that have come so far, the oldest first, without waiting. [`settle`](super::settle)
    /// before, so that all have come that will. Stops before the end of somebody watched.
    #[must_use]
    pub fn take(&mut self) -> Vec<M> {
        let mut messages = Vec::new();
        while let Some(asked) = self.shared.take_message() {
            messages.push(self.keep(asked));
        }
        messages
    }

    /// Keeps the way back of a message that the test takes.
    fn keep(&mut self, asked: Asked<M>) -> M {
        let waits = asked.responder.expects_answer();
        self.last = waits.then_some(asked.responder);
        asked.message
    }

    #[track_caller]
    fn take_last(&mut self, what: &str) -> Responder<M::Reply> {
        let at = Location::caller();
        match self.last.take() {
            Some(responder) => responder,
            None => self.fail(
                at,
                &format!(
                    "nobody waits for this {what}: the last message was told, or has been answered"
                ),
            ),
        }
    }

    async fn next_message(&mut self, span: Duration, at: &Location<'_>) -> Asked<M> {
        let name = short_type_name::<M>();
        match self.next(span, at).await {
            Some(Event::Message(asked)) => asked,
            Some(Event::Ended(notice)) => {
                self.fail(at, &format!("expected a {name}, but {}", ended(&notice)))
            }
            None => self.fail(
                at,
                &format!("expected a {name} within {span:?}, and none came"),
            ),
        }
    }

    /// What comes next within `span`, if anything does.
    async fn next(&self, span: Duration, at: &Location<'_>) -> Option<Event<M>> {
        let due = pin!(sleep(&self.system, span));
        match select(pin!(self.shared.next()), due).await {
            Either::Left((event, _)) => return Some(event),
            Either::Right((Ok(()), _)) => {}
            Either::Right((Err(unsettled), _)) => self.fail_with(at, &unsettled.to_string(), ""),
        }
        if self.system.clock().is_manual() {
            // What is due at this very moment comes before it is said that nothing came.
            self.settle(at).await;
        }
        self.shared.take()
    }

    async fn settle(&self, at: &Location<'_>) {
        match settle(&self.system).await {
            // In a task there is nothing better than to look now.
            Err(unsettled) if unsettled.kind() != UnsettledKind::InTurn => {
                self.fail_with(at, &unsettled.to_string(), "");
            }
            _ => {}
        }
    }

    fn fail(&self, at: &Location<'_>, text: &str) -> ! {
        self.fail_with(at, text, &seed_text(&self.system))
    }

    fn fail_with(&self, at: &Location<'_>, text: &str, seed: &str) -> ! {
        let label = self.actor.label();
        panic!("probe {label:?} at {at}: {text}{seed}");
    }
}

fn ended(notice: &Terminated) -> String {
    format!("{:?} ended: {}", notice.label, notice.reason)
}

impl<M: Message> Drop for Probe<M> {
    fn drop(&mut self) {
        // A handler that waits for room goes on, and the actor can stop.
        self.shared.close();
        self.actor.stop();
    }
}

impl<M: Message> fmt::Debug for Probe<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe")
            .field("actor", &self.actor)
            .field("kept", &self.shared.len())
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}
