//! "Pay John 100", while the bank is killed: exactly once, and what it takes.
//!
//! ```text
//! cargo run --release --example pay_once                # all modes in turn
//! cargo run --release --example pay_once -- --trace     # and the story of one payment
//! cargo run --release --example pay_once -- --help
//! ```
//!
//! Customers pay John over a Unix socket. The bank is a process with its accounts in SQLite, which is killed by SIGKILL again and
//! again: on receipt of a payment, in the middle of its transaction, right before the commit, between the commit and
//! the answer, and from outside at any time. A supervisor starts it again, and customers press the button until
//! they know. Afterwards the books are read.
//!
//! Three files are worth reading: [`bank`] (the handler), [`sqlite`] (the adapter that keeps the request key in the
//! payment's own transaction) and [`customers`] (who retries, and with what). The rest makes trouble and judges.

mod args;
mod bank;
mod crash;
mod customers;
mod events;
mod report;
mod sqlite;
mod stage;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use callboard::System;

use crate::args::{Command, HELP, Run};

/// Each mode kept what it promises.
const KEPT: u8 = 0;
/// One did not, or something failed on the way.
const BROKEN: u8 = 1;
/// It could not start: bad arguments.
const NOT_STARTED: u8 = 2;

#[callboard::main]
async fn main(system: System) -> ExitCode {
    let ended = match args::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => {
            println!("{HELP}");
            Ok(KEPT)
        }
        Ok(Command::Bank(role)) => bank::serve(&system, role).await.map(|()| KEPT),
        Ok(Command::Run(run)) => all_modes(&system, &run).await,
        Err(why) => {
            eprintln!("pay_once: {why}\ntry `--help`");
            Ok(NOT_STARTED)
        }
    };
    ExitCode::from(ended.unwrap_or_else(|error| {
        eprintln!("pay_once: {error}");
        BROKEN
    }))
}

async fn all_modes(system: &System, run: &Run) -> callboard::Result<u8> {
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{} payments by {} customers, and the bank is killed {} times (seed {})",
        run.payments, run.clients, run.kills, run.seed
    )?;
    let is_terminal = out.is_terminal();
    let mut outcomes = Vec::new();
    for mode in &run.modes {
        let text = mode.text();
        let mut progress = |payments: u32, kills: u32| {
            if is_terminal {
                print!("\r{text}: {payments} payments, {kills} kills ");
                // A terminal that is gone is told nothing.
                let _ = std::io::stdout().flush();
            }
        };
        let outcome = stage::play(system, run, *mode, &mut progress).await?;
        let (again, kills) = (if is_terminal { "\r" } else { "" }, &outcome.kills);
        let (payments, kills) = (outcome.told.len(), kills.values().sum::<u32>());
        let took = outcome.took.as_secs_f64();
        writeln!(
            out,
            "{again}{text}: {payments} payments, {kills} kills, {took:.1} s"
        )?;
        outcomes.push(outcome);
    }
    report::table(&outcomes, &mut out)?;
    let mut kept = true;
    for outcome in &outcomes {
        kept &= report::judge(outcome, &mut out)?;
    }
    if run.trace {
        for outcome in &outcomes {
            report::timeline(outcome, &mut out)?;
        }
    }
    Ok(if kept { KEPT } else { BROKEN })
}
