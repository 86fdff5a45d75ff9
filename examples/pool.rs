//! The lesson platform prints certificates: several presses, one of which jams now and then.
//!
//! Chapter 7 of the guide is cut from this file.

use std::io::Write;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{Pool, PoolState};
use futures::future::join_all;

// ANCHOR: press
/// Print a certificate. The answer: what stands on it.
#[derive(Message)]
#[message(reply = String)]
struct Print(&'static str);

/// One press. Paper takes its time.
struct Press;

impl Actor for Press {}

impl Handler<Print> for Press {
    async fn handle(&mut self, Print(name): Print, ctx: &mut Context<Self>) -> String {
        ctx.sleep(Duration::from_millis(5)).await;
        assert!(!name.is_empty(), "no ink on an empty sheet");
        format!("{name} has finished the course")
    }
}
// ANCHOR_END: press

/// Waits until the pool looks like that.
async fn until(pool: &Pool<Press>, system: &System, looks: impl Fn(PoolState) -> bool) {
    while !looks(pool.state()) {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
}

/// What happens, told to `out`.
// ANCHOR: story
pub async fn story(system: System, out: &mut impl Write) -> callboard::Result<()> {
    let pool = Pool::builder(&system, || Press)
        .size(3)
        .label("presses")
        .mailbox(2)
        .start()?;

    // The office knows a recipient, as if there were one press.
    let office: Recipient<Print> = pool.recipient();
    writeln!(out, "{}", office.ask(Print("ada")).await?)?;

    // Forty orders for nine places. Nobody is turned away; they wait for room, wherever it comes.
    let names = ["ada", "grace", "alan", "edsger"];
    let orders = join_all((0..40).map(|at| office.ask(Print(names[at % 4])).into_future())).await;
    let printed = orders.iter().filter(|order| order.is_ok()).count();
    writeln!(out, "printed: {printed} of {}", orders.len())?;

    // An order that jams a press. Its sender hears at once; the press is made anew.
    if let Err(error) = office.ask(Print("")).await {
        writeln!(out, "jammed: {} ({})", error.kind(), error.verdict())?;
    }
    until(&pool, &system, |now| now.restarts == 1 && now.down == 0).await;
    writeln!(out, "{}", office.ask(Print("grace")).await?)?;

    // More presses for the end of term; then one is enough. The others finish what they have.
    pool.resize(8)?;
    let orders = join_all((0..40).map(|_| office.ask(Print("alan")).into_future()));
    let shrink = async { pool.resize(1) };
    let (orders, shrunk) = futures::join!(orders, shrink);
    shrunk?;
    until(&pool, &system, |now| now.retiring == 0).await;
    let printed = orders.iter().filter(|order| order.is_ok()).count();
    let PoolState {
        workers, accepted, ..
    } = pool.state();
    writeln!(out, "printed: {printed} of {}", orders.len())?;
    writeln!(out, "presses: {workers}, orders so far: {accepted}")?;

    // Whoever still holds the recipient is told that the office is closed.
    pool.drain();
    let end = pool.wait().await;
    let late = office.ask(Print("late")).await.is_err();
    writeln!(out, "the presses have {end}; late orders come back: {late}")?;
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
