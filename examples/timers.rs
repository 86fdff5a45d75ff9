//! A quiz against the clock: a clock that is cancelled, a bell, and the time that is left.
//!
//! Chapter 6 of the guide is cut from this file.

use std::io::Write;
use std::time::Duration;

use callboard::TaskHandle;
use callboard::prelude::*;

const TICK: Duration = Duration::from_millis(5);
const HOUR: Duration = Duration::from_secs(3_600);

// ANCHOR: quiz
/// Begin. Answered with all that happened, when the bell has rung.
#[derive(Message)]
#[message(reply = Vec<String>)]
struct Begin;

#[derive(Message)]
struct Tick;

#[derive(Message)]
struct Bell;

#[derive(Default)]
struct Quiz {
    seconds: u32,
    clock: Option<TaskHandle>,
    report: Vec<String>,
    asker: Option<Responder<Vec<String>>>,
}

impl Actor for Quiz {}

impl DeferredHandler<Begin> for Quiz {
    async fn handle_deferred(
        &mut self,
        _: Begin,
        asker: Responder<Vec<String>>,
        ctx: &mut Context<Self>,
    ) {
        self.asker = Some(asker);
        self.seconds = 3;
        self.clock = Some(ctx.tell_every(TICK, || Tick));
    }
}

impl Handler<Tick> for Quiz {
    async fn handle(&mut self, _: Tick, ctx: &mut Context<Self>) {
        // A tick that was in the mailbox when the clock was cancelled comes all the same.
        let Some(left) = self.seconds.checked_sub(1) else {
            return;
        };
        self.report.push(format!("{} ...", self.seconds));
        self.seconds = left;
        if left == 0 {
            self.clock.iter().for_each(TaskHandle::cancel);
            ctx.tell_after(TICK, Bell);
        }
    }
}

impl Handler<Bell> for Quiz {
    async fn handle(&mut self, _: Bell, _ctx: &mut Context<Self>) {
        self.report.push("the bell".to_owned());
        if let Some(asker) = self.asker.take() {
            asker.send(std::mem::take(&mut self.report));
        }
    }
}
// ANCHOR_END: quiz

// ANCHOR: remaining
/// Explain the solution, as well as there is time for.
#[derive(Message)]
#[message(reply = &'static str)]
struct Explain;

impl Handler<Explain> for Quiz {
    async fn handle(&mut self, _: Explain, ctx: &mut Context<Self>) -> &'static str {
        match ctx.remaining() {
            Some(left) if left < Duration::from_secs(60) => "in short: it depends",
            _ => "sit down, this is a long story",
        }
    }
}
// ANCHOR_END: remaining

/// What happens, told to `out`.
pub async fn story(system: System, out: &mut impl Write) -> callboard::Result<()> {
    let quiz = system.start(Quiz::default());
    for line in quiz.ask(Begin).await? {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "30 s: {}", quiz.ask(Explain).await?)?;
    let patient = quiz.ask(Explain).deadline(HOUR).await?;
    writeln!(out, "an hour: {patient}")?;
    Ok(())
}

/// The whole program.
pub fn run(out: &mut impl Write) -> callboard::Result<()> {
    callboard::run(|system| story(system, out))?
}

fn main() -> callboard::Result<()> {
    run(&mut std::io::stdout())
}
