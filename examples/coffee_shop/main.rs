//! A coffee shop: customers order, baristas make, and some of them don't finish what they began.
//!
//! Orders wait in a queue, one group for each table. A barista has an order under a lease; one drops in the middle
//! of a cup and its order goes to the next, one is away for longer than its lease lasts, one drops when the cup is
//! poured and not yet served. Each customer gets its cups in a queue of its own, which ends when it leaves. At the
//! end the till says for each order whether it was made once.
//!
//! `--help` lists the options. By default the shop runs in virtual time, so that a seed tells one story.

mod args;
mod barista;
mod customer;
mod plan;
mod report;
mod shop;
mod till;

use std::io::Write;
use std::process::ExitCode;

use callboard::prelude::*;
use callboard::queue::Queue;
use callboard::{Failure, Simulation};
use futures::future::join_all;

pub use args::Run;
use args::{Command, HELP};
use barista::Staff;
use plan::Plan;
use report::Report;
use shop::{Diary, Entry, Shop};

/// One day. Answers whether every order was made once, or refused with a reason.
pub async fn day(system: System, plan: Plan, out: &mut impl Write) -> callboard::Result<bool> {
    let (diary, entries) = Diary::open(&system);
    let works = async {
        let report = open_and_close(&system, plan, &diary).await;
        diary.close().await;
        report
    };
    let (report, printed) = futures::join!(works, print(&entries, out));
    printed?;
    let report = report?;
    write!(out, "\n{report}")?;
    Ok(report.is_good())
}

/// Prints what happens. Of one millisecond by name, so that it doesn't matter who was noted first.
async fn print(entries: &Queue<Option<Entry>>, out: &mut impl Write) -> std::io::Result<()> {
    let mut together: Vec<Entry> = Vec::new();
    loop {
        let next = entries.poll().await.ok().flatten().flatten();
        let at = next.as_ref().map(|entry| entry.at);
        if together.last().map(|entry| entry.at) != at {
            together.sort_by(|one, other| one.who.cmp(&other.who)); // keeps each one's order
            for entry in together.drain(..) {
                writeln!(out, "{entry}")?;
            }
        }
        match next {
            Some(entry) => together.push(entry),
            None => return Ok(()),
        }
    }
}

async fn open_and_close(system: &System, plan: Plan, diary: &Diary) -> callboard::Result<Report> {
    let shop = Shop::open(system, diary)?;
    let mut staff = Staff::hire(&shop).await;
    let customers = plan.customers.iter().map(|customer| customer.visit(&shop));
    let served = async {
        let visits = join_all(customers).await;
        shop.is_done().await?;
        Ok::<_, Failure>(visits)
    };
    // Replaces whoever drops, until the last customer has gone and nothing is left on the counter.
    let visits = staff.while_open(served).await??;
    staff.go_home().await;
    let kept = shop.close().await?;
    Ok(Report::new(&plan, &visits, kept))
}

/// The whole program.
pub fn run(run: &Run, out: &mut impl Write) -> callboard::Result<bool> {
    if run.live {
        let plan = Plan::draw(run.seed, run.customers);
        return callboard::run(|system| day(system, plan, out))?;
    }
    simulated(run, run.seed, out)
}

/// In virtual time, where that seed says whose turn it is when it could be somebody else's.
pub fn simulated(run: &Run, turns: u64, out: &mut impl Write) -> callboard::Result<bool> {
    let plan = Plan::draw(run.seed, run.customers);
    let mut simulation = Simulation::new(turns);
    let system = simulation.system().clone();
    simulation.block_on(day(system, plan, out))
}

/// What the program does with these arguments: answers its exit status.
pub fn program(
    arguments: impl Iterator<Item = String>,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> callboard::Result<u8> {
    let command = match args::parse(arguments) {
        Ok(Command::Help) => {
            writeln!(out, "{HELP}")?;
            return Ok(0);
        }
        Ok(Command::Run(run)) => run,
        Err(wrong) => {
            writeln!(errors, "{wrong}\n\n{HELP}")?;
            return Ok(2);
        }
    };
    Ok(u8::from(!run(&command, out)?))
}

fn main() -> ExitCode {
    let arguments = std::env::args().skip(1);
    match program(arguments, &mut std::io::stdout(), &mut std::io::stderr()) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("the shop could not work: {error}");
            ExitCode::from(2)
        }
    }
}
