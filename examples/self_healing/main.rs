//! A bakery whose people are killed at random, and a supervision tree that brings them back.
//!
//! ```text
//! cargo run --example self_healing             # 15 seconds, a tree that is drawn in place
//! cargo run --example self_healing -- --plain  # the same, line by line
//! cargo run --example self_healing -- --tour   # one accident of each kind, in virtual time
//! ```
//!
//! Customers keep all mailboxes busy. Somebody panics, somebody is killed in the middle of a job, somebody hangs, the
//! gas is out for a while so that the oven doesn't start, a process is sent SIGKILL. In the end a table says how often
//! each of them was started again and why, and whether each job that waited in a mailbox was done: exactly once.
//!
//! Read [`bakery`] for the tree, [`worker`] for how its people fail, and [`ledger`] for what is checked.

mod accidents;
mod args;
mod bakery;
mod ledger;
mod report;
mod show;
mod worker;

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use callboard::Simulation;
use callboard::clock::Instant;
use callboard::prelude::*;
use callboard::supervision::{ALL_EVENTS, TreeEvent};
use callboard::topic::{SubscriberOptions, Subscription, TopicEvent};
use futures::future::join_all;
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;

use accidents::Accident;
pub use args::Run;
use args::{Command, HELP};
use bakery::Bakery;
use report::Report;
use show::{Show, Style};
use worker::BURNT;

/// How often the tree is drawn.
const FRAME: Duration = Duration::from_millis(100);
/// How long a bakery may take to be well again after the last accident.
const HEALING: Duration = Duration::from_secs(20);
/// So often a customer of the tour comes.
const TOUR_BURSTS: u32 = 100;

// ANCHOR: run
/// A day with these accidents. Answers whether nothing was lost.
async fn day(
    system: System,
    accidents: Vec<Accident>,
    style: Style,
    with_radio: bool,
    out: &mut impl Write,
) -> callboard::Result<bool> {
    let clock = system.clock().clone();
    let bakery = Bakery::open(&system, with_radio)?;
    let topic = bakery.top.events();
    let options = SubscriberOptions::default();
    let mut events = topic.subscribe(ALL_EVENTS, options).await?;
    bakery.top.up().await?;

    let (opened, closing) = (clock.now(), AtomicBool::new(false));
    let notes: Mutex<VecDeque<(Instant, String)>> = Mutex::default();
    let customers = bakery.workers.iter();
    let customers =
        customers.map(|(_, worker)| bakery.visit(worker, |_| !closing.load(Ordering::Acquire)));
    let (bakery, clock, notes) = (&bakery, &clock, &notes);
    let accidents = accidents
        .into_iter()
        .map(|Accident { at, what }| async move {
            clock.sleep_until(opened + at).await;
            notes.lock().push_back((clock.now(), what.text()));
            bakery.suffer(what).await;
        });
    let all_day = async {
        join_all(accidents).await;
        futures::future::select(Box::pin(bakery.healed()), clock.sleep(HEALING)).await;
        closing.store(true, Ordering::Release);
    };
    let all_day = async { futures::join!(join_all(customers), all_day) };
    futures::pin_mut!(all_day);

    let (mut report, mut show) = (Report::default(), Show::new(out, style));
    let mut listens = true;
    loop {
        let is_over = tokio::select! {
            biased;
            _ = &mut all_day => true,
            event = events.next(), if listens => {
                listens = event.is_some();
                for (at, note) in notes.lock().drain(..) {
                    show.line(at.since(opened), &format!("-- {note}"))?;
                }
                if let Some(event) = told(event, &mut report) {
                    show.line(event.at.since(opened), &event.to_string())?;
                }
                false
            }
            () = clock.sleep(FRAME) => false,
        };
        show.draw(&bakery.top.observe(), &bakery.ledger.books())?;
        if is_over {
            break;
        }
    }
    close(bakery, &mut events, report, true, out).await
}
// ANCHOR_END: run

/// One accident of each kind, each healed before the next, so that the story is the same whatever the jitter.
pub async fn tour(system: System, out: &mut impl Write) -> callboard::Result<bool> {
    let clock = system.clock().clone();
    let bakery = Bakery::open(&system, false)?;
    bakery.top.up().await?;
    writeln!(out, "{}", bakery.top.observe())?;

    let topic = bakery.top.events();
    let options = SubscriberOptions::default();
    let mut events = topic.subscribe(ALL_EVENTS, options).await?;
    let opened = clock.now();
    let customers = bakery.workers.iter();
    let customers = customers.map(|(_, it)| bakery.visit(it, |bursts| bursts < TOUR_BURSTS));
    let mut report = Report::default();
    let accidents = async {
        for Accident { at, what } in accidents::tour() {
            clock.sleep_until(opened + at).await;
            print(&mut events, &mut report, out)?;
            writeln!(out, "\n{}", what.text())?;
            bakery.suffer(what).await;
        }
        bakery.healed().await;
        print(&mut events, &mut report, out)
    };
    let (_, printed) = futures::join!(join_all(customers), accidents);
    printed?;
    close(&bakery, &mut events, report, false, out).await
}

/// What has happened since it was last printed.
fn print(
    events: &mut Subscription<TreeEvent>,
    report: &mut Report,
    out: &mut impl Write,
) -> std::io::Result<()> {
    while let Some(event) = events.next().now_or_never() {
        match told(event, report) {
            Some(event) => writeln!(out, "    {}", without_time(&event.to_string()))?,
            None => return Ok(()),
        }
    }
    Ok(())
}

/// A wait is drawn by chance, and a handler named by its path: a story that is told again leaves that out.
fn without_time(line: &str) -> String {
    let line = line.split(": handler of").next().unwrap_or(line);
    let halves = line.split_once(" in ");
    match halves.map(|(head, tail)| (head, tail.split_once(" ms"))) {
        Some((head, Some((_, tail)))) => format!("{head}{tail}"),
        _ => line.to_owned(),
    }
}

fn told(event: Option<TopicEvent<TreeEvent>>, report: &mut Report) -> Option<TreeEvent> {
    match event? {
        TopicEvent::Message(message) => {
            report.note(&message);
            Some(message.value().clone())
        }
        TopicEvent::Gap { missed, .. } => {
            report.missed(missed.unwrap_or(1)); // at least
            None
        }
    }
}

/// Stops the tree, and says what the day was like.
async fn close(
    bakery: &Bakery,
    events: &mut Subscription<TreeEvent>,
    mut report: Report,
    with_times: bool,
    out: &mut impl Write,
) -> callboard::Result<bool> {
    while let Some(Some(event)) = events.next().now_or_never() {
        told(Some(event), &mut report);
    }
    let (books, worst) = (bakery.ledger.books(), bakery.top.worst_case());
    let dead = bakery.system.dead_letters().counts().total();
    bakery.top.stop();
    bakery.top.wait().await;
    report.write(&books, &worst, with_times, out)?;
    // A dead letter is an accident that waited for longer than it wanted to, and nothing else.
    Ok(books.lost == 0 && dead <= books.came_back.into())
}

/// The whole program, by a real clock.
pub fn run(run: &Run, out: &mut impl Write) -> callboard::Result<bool> {
    let length = Duration::from_secs(run.seconds.into());
    let style = if run.plain {
        Style::Plain
    } else {
        Style::Drawn
    };
    let accidents = accidents::draw(run.seed, length, true);
    callboard::run(|system| day(system, accidents, style, true, out))?
}

/// The same in virtual time, and without a process.
pub fn simulated(run: &Run, turns: u64, out: &mut impl Write) -> callboard::Result<bool> {
    let length = Duration::from_secs(run.seconds.into());
    let accidents = accidents::draw(run.seed, length, false);
    let mut simulation = Simulation::new(turns);
    let system = simulation.system().clone();
    simulation.block_on(day(system, accidents, Style::Plain, false, out))
}

/// The tour, in virtual time: that seed says whose turn it is, and how long supervisors wait.
pub fn simulated_tour(turns: u64, out: &mut impl Write) -> callboard::Result<bool> {
    let mut simulation = Simulation::new(turns);
    let system = simulation.system().clone();
    simulation.block_on(tour(system, out))
}

/// What the program does with these arguments: answers its exit status.
pub fn program(
    arguments: impl Iterator<Item = String>,
    is_terminal: bool,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> callboard::Result<u8> {
    let good = match args::parse(arguments) {
        Ok(Command::Help) => {
            writeln!(out, "{HELP}")?;
            return Ok(0);
        }
        Ok(Command::Tour) => simulated_tour(1, out)?,
        Ok(Command::Run(mut wanted)) => {
            wanted.plain |= !is_terminal;
            run(&wanted, out)?
        }
        Err(wrong) => {
            writeln!(errors, "{wrong}\n\n{HELP}")?;
            return Ok(2);
        }
    };
    Ok(u8::from(!good))
}

fn main() -> ExitCode {
    // Burnt trays are part of the programme, and the tree tells of them; any other panic is news.
    let news = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() != Some(BURNT) {
            news(panic);
        }
    }));
    let (mut out, arguments) = (std::io::stdout(), std::env::args().skip(1));
    let is_terminal = out.is_terminal();
    match program(arguments, is_terminal, &mut out, &mut std::io::stderr()) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("the bakery could not open: {error}");
            ExitCode::from(2)
        }
    }
}
