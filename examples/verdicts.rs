//! The lesson platform's cashier and a bank that is closed: three askers, three verdicts.
//!
//! Chapter 4 of the guide is cut from this file.

use std::io::Write;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{DropReason, Failure, Overflow};

// ANCHOR: bank
/// Is this learner's card good?
#[derive(Message)]
struct Approve;

#[derive(Message)]
struct Open;

/// A bank that is closed keeps those who ask waiting, and goes on taking messages.
#[derive(Default)]
struct Bank {
    open: bool,
    waiting: Vec<Responder<()>>,
}

impl Actor for Bank {}

impl DeferredHandler<Approve> for Bank {
    async fn handle_deferred(&mut self, _: Approve, asker: Responder<()>, _: &mut Context<Self>) {
        if self.open {
            asker.send(());
        } else {
            self.waiting.push(asker);
        }
    }
}

impl Handler<Open> for Bank {
    async fn handle(&mut self, _: Open, _ctx: &mut Context<Self>) {
        self.open = true;
        self.waiting.drain(..).for_each(|asker| asker.send(()));
    }
}
// ANCHOR_END: bank

// ANCHOR: cashier
/// Charge this learner. The answer: the number of the receipt, or why there is none.
#[derive(Clone, Message)]
#[message(reply = Result<u32, Failure>)]
struct Charge(&'static str);

/// Knows a bank, and counts receipts.
struct Cashier(Recipient<Approve>, u32);

impl Actor for Cashier {}

impl Handler<Charge> for Cashier {
    async fn handle(&mut self, _: Charge, _ctx: &mut Context<Self>) -> Result<u32, Failure> {
        self.0.ask(Approve).await?; // in what is left of the learner's time
        self.1 += 1;
        Ok(self.1)
    }
}
// ANCHOR_END: cashier

// ANCHOR: advice
/// What a caller may do who has no key.
fn what_now(failure: &Failure) -> String {
    let advice = match failure.verdict() {
        Verdict::NotSent | Verdict::NotExecuted => "send it again",
        Verdict::MaybeExecuted => "send it again only if twice does no harm",
        Verdict::Executed => "find out what happened first",
    };
    format!("{} ({}): {advice}", failure.kind(), failure.verdict())
}
// ANCHOR_END: advice

// ANCHOR: story
const PATIENCE: Duration = Duration::from_millis(200);

/// What happens, told to `out`.
pub async fn story(system: System, out: &mut impl Write) -> callboard::Result<()> {
    let bank = system.start(Bank::default());
    let to_bank = bank.recipient();
    let cashier = system.actor(move || Cashier(to_bank, 0));
    let cashier = cashier.mailbox(1, Overflow::Wait).start();
    if let Err(error) = bank.ask(Approve).deadline(PATIENCE).await {
        writeln!(out, "the bank: {}", what_now(error.failure()))?;
    }
    let ada = async { cashier.ask(Charge("ada")).await };
    let grace = async { cashier.ask(Charge("grace")).deadline(PATIENCE).keep().await };
    let alan = async { cashier.ask(Charge("alan")).deadline(PATIENCE).await };
    let others = async {
        let others = futures::join!(grace, alan);
        bank.tell(Open).await.map(|()| others)
    };
    let (ada, others) = futures::join!(ada, others);
    writeln!(out, "ada: receipt {}", ada??)?;
    let (grace, alan) = others?;
    for error in [grace.err(), alan.err()].into_iter().flatten() {
        let (failure, message) = error.into_parts();
        let charge = message.ok_or("no message came back")?;
        writeln!(out, "{}: {}", charge.0, what_now(&failure))?;
        let receipt = cashier.ask(charge).await??;
        writeln!(out, "  again: receipt {receipt}")?;
    }
    let late = system.counters().drops(DropReason::LateReply);
    writeln!(out, "replies that came too late: {late}")?;
    Ok(())
}
// ANCHOR_END: story

/// The whole program.
pub fn run(out: &mut impl Write) -> callboard::Result<()> {
    callboard::run(|system| story(system, out))?
}

fn main() -> callboard::Result<()> {
    run(&mut std::io::stdout())
}
