//! A post office that gets a SIGTERM: the counter closes, letters in hand are delivered, then the house is stopped.
//!
//! Chapter 23 of the guide is cut from this file.

use std::io::Write;
use std::process::ExitCode;

use callboard::prelude::*;
use callboard::supervision::Supervisor;
use callboard::{ExitReason, Failure};
use futures::StreamExt;
use futures::channel::mpsc::{Sender, channel};
use rustix::process::{Signal, getpid, kill_process};

/// What is to be heard in the house.
type Hall = Sender<String>;

fn say(hall: &Hall, line: impl Into<String>) {
    // Full or gone: then nobody listens.
    let _ = hall.clone().try_send(line.into());
}

// ANCHOR: postman
#[derive(Message)]
struct Letter(u32);

/// Delivers letters, one at a time.
struct Postman(Hall);

impl Actor for Postman {
    async fn stopped(&mut self, _: &ExitReason) {
        say(&self.0, "the postman goes home");
    }
}

impl Handler<Letter> for Postman {
    async fn handle(&mut self, Letter(number): Letter, _ctx: &mut Context<Self>) {
        say(&self.0, format!("letter {number} is delivered"));
    }
}
// ANCHOR_END: postman

/// Keeps what was not fetched.
struct Archive(Hall);

impl Actor for Archive {
    async fn stopped(&mut self, _: &ExitReason) {
        say(&self.0, "the archive is locked");
    }
}

/// What happens, told to `out`.
pub async fn story(system: System, out: &mut impl Write) -> callboard::Result<u8> {
    let (hall, mut heard) = channel(16);

    // ANCHOR: plan
    let shutdown = Shutdown::new(&system);

    let own = hall.clone();
    let archive = system.actor(move || Archive(own.clone()));
    let (_, archive) = archive.label("archive").place();
    let house = Supervisor::builder("house").child(archive).start(&system)?;
    house.up().await?;
    shutdown.tree(&house);

    let postman = system.actor({
        let hall = hall.clone();
        move || Postman(hall)
    });
    let postman = postman.label("postman").start();
    shutdown.drain(&postman);

    // Whoever comes first to the end is registered last.
    let (own, desk) = (hall.clone(), postman.clone());
    shutdown.on(Phase::StopTakingWork, "counter", move || async move {
        say(
            &own,
            "the counter is closed; one last customer had two letters",
        );
        desk.tell(Letter(3)).await?;
        desk.tell(Letter(4)).await?;
        Ok::<(), Failure>(())
    });
    let over = shutdown.on_signals()?;
    // ANCHOR_END: plan

    writeln!(out, "the post office is open")?;
    for number in 1..=2 {
        postman.tell(Letter(number)).await?;
        writeln!(out, "{}", heard.next().await.unwrap_or_default())?;
    }

    // ANCHOR: signal
    writeln!(out, "-- SIGTERM")?;
    kill_process(getpid(), Signal::TERM)?; // as `kill`, systemd or Kubernetes would
    let report = over.await;
    // ANCHOR_END: signal

    drop((hall, shutdown));
    while let Ok(line) = heard.try_recv() {
        writeln!(out, "{line}")?;
    }
    // ANCHOR: report
    writeln!(out, "-- the report, after {}", report.cause)?;
    for (phase, part) in report.parts() {
        writeln!(out, "{phase}: {} {}, {}", part.kind, part.name, part.end)?;
    }
    writeln!(out, "clean: {}", report.is_clean())?;
    writeln!(out, "messages given up: {}", report.given_up.len())?;
    Ok(report.exit_code())
    // ANCHOR_END: report
}

/// The whole program.
pub fn run(out: &mut impl Write) -> callboard::Result<ExitCode> {
    Ok(callboard::run(|system| story(system, out))??.into())
}

fn main() -> callboard::Result<ExitCode> {
    run(&mut std::io::stdout())
}
