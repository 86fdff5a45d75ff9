//! Those who pay: each presses the button again until it knows.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callboard::prelude::*;
use callboard::remote::Peer;
use callboard::supervision::{AskExt, BadSetting, CallPolicy, CallSettings, RetrySettings};
use callboard::{Failure, FailureKind};
use parking_lot::Mutex;

use crate::args::{Mode, Run};
use crate::bank::Pay;
use crate::events::Event;

/// So much each payment is.
pub(crate) const CENTS: u32 = 100;
/// Whom everybody pays.
pub(crate) const JOHN: &str = "John";

/// How long a customer looks at a turning wheel before it presses again.
const PATIENCE: Duration = Duration::from_secs(2);
/// Customers don't press all at the same moment.
const PRESSES: Duration = Duration::from_millis(20);

// ANCHOR: policy
/// How one press of the button is tried again: by verdict, inside a budget that all customers share.
pub(crate) fn policy() -> Result<CallPolicy, BadSetting> {
    let retry = RetrySettings {
        attempts: 5,
        base: Duration::from_millis(5),
        cap: Duration::from_millis(100),
        ..RetrySettings::default()
    };
    let settings = CallSettings {
        deadline: Some(PATIENCE),
        retry: Some(retry),
        ..CallSettings::default()
    };
    CallPolicy::new("payments", settings)
}
// ANCHOR_END: policy

/// What a customer knows in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// It has a receipt.
    Paid,
    /// It was told that nobody knows.
    Indeterminate,
    /// It was told nothing certain, and dares not press again.
    GaveUp,
    /// It was told something that no bank should say.
    Wrong(String),
}

/// All customers of one run.
pub(crate) struct Customers<'a> {
    pub(crate) system: &'a System,
    pub(crate) run: &'a Run,
    pub(crate) mode: Mode,
    pub(crate) bank: Recipient<Pay>,
    /// What leads there.
    pub(crate) link: Peer,
    pub(crate) policy: CallPolicy,
    pub(crate) pressed_again: AtomicU64,
    pub(crate) told: Mutex<BTreeMap<u32, Told>>,
    pub(crate) events: Mutex<Vec<Event>>,
}

/// The account of a customer.
pub(crate) fn name(customer: u32) -> String {
    format!("customer {}", customer + 1)
}

impl Customers<'_> {
    /// The payments of one customer, one after the other.
    pub(crate) async fn all_of(&self, customer: u32) {
        let step = usize::try_from(self.run.clients).unwrap_or(1);
        for payment in (customer..self.run.payments).step_by(step) {
            let told = self.pay(payment, name(customer)).await;
            self.told.lock().insert(payment, told);
        }
    }

    // ANCHOR: press
    async fn pay(&self, payment: u32, payer: String) -> Told {
        let pay = Pay {
            payment,
            payer,
            payee: JOHN.to_owned(),
            cents: CENTS,
        };
        // Chosen where the intent is formed. However often the button is pressed, it is this payment.
        let key = (self.mode != Mode::NoKeys).then(RequestKey::new);
        let with_key = key.map_or("no key".to_owned(), |key| format!("key {key}"));
        self.note(payment, format!("pays {JOHN} {CENTS} cents, {with_key}"));
        loop {
            let mut ask = self.bank.ask(pay.clone());
            if let Some(key) = key {
                ask = ask.key(key);
            }
            let failure = match ask.policy(&self.policy).await {
                Ok(receipt) => {
                    self.note(
                        payment,
                        format!("has the receipt: {} are left", receipt.left),
                    );
                    return Told::Paid;
                }
                Err(error) => Failure::from(error),
            };
            if let Some(told) = self.given_up(payment, key, &failure) {
                self.note(payment, format!("gives up: {failure}"));
                return told;
            }
            self.note(payment, format!("presses again: {failure}"));
            self.pressed_again.fetch_add(1, Ordering::Relaxed);
            // An error is none: the link is open as long as there are customers.
            let _ = self.link.connected().await;
            let pause = self.system.entropy().jitter(PRESSES);
            self.system.clock().sleep(pause).await;
        }
    }
    // ANCHOR_END: press

    /// Whether the customer leaves it at that.
    fn given_up(&self, payment: u32, key: Option<RequestKey>, failure: &Failure) -> Option<Told> {
        match failure.kind() {
            FailureKind::Indeterminate => Some(Told::Indeterminate),
            FailureKind::NoConnection
            | FailureKind::ConnectionLost
            | FailureKind::DeadlineExceeded
            | FailureKind::Full
            | FailureKind::Overloaded => {
                // Who has no key and doesn't know can press again and may pay twice, or not and may not have
                // paid. Customers are divided on it.
                let in_doubt = key.is_none() && !failure.verdict().is_safe_to_resend();
                (in_doubt && payment % 2 == 1).then_some(Told::GaveUp)
            }
            _ => Some(Told::Wrong(failure.to_string())),
        }
    }

    fn note(&self, payment: u32, what: String) {
        self.events.lock().push(Event {
            at: self.system.clock().unix(),
            payment: Some(payment),
            bank: None,
            what,
        });
    }
}
