//! Essays that are graded by a task, by a colleague, and by nobody: who has the responder has the duty.
//!
//! Chapter 6 of the guide is cut from this file.

use std::io::Write;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{Failure, FailureKind};
use futures::future::join_all;

// ANCHOR: desk
/// Grade this essay. The answer: the grade.
#[derive(Message)]
#[message(reply = &'static str)]
struct Grade(&'static str);

/// An essay for a colleague. All that counts of it here is the duty to answer.
#[derive(Message)]
struct Take(Responder<&'static str>);

struct Desk(ActorRef<Colleague>);

impl Actor for Desk {}

impl DeferredHandler<Grade> for Desk {
    async fn handle_deferred(
        &mut self,
        Grade(essay): Grade,
        asker: Responder<&'static str>,
        ctx: &mut Context<Self>,
    ) {
        match essay {
            "maths" => {
                let reading = ctx.sleep(Duration::from_millis(20));
                ctx.spawn(async move {
                    reading.await; // beside the desk, which goes on
                    asker.send("A");
                });
            }
            "history" => {
                // If the colleague has gone, this comes back, is dropped here, and the asker is told.
                let _ = self.0.tell(Take(asker)).await;
            }
            "poetry" => {
                let refusal = Failure::new(FailureKind::Overloaded, Verdict::NotExecuted);
                asker.fail(refusal.with_detail("no poetry before Monday"));
            }
            _ => drop(asker), // it fell behind the cupboard
        }
    }
}
// ANCHOR_END: desk

// ANCHOR: colleague
/// Takes essays home, and answers when there are two.
#[derive(Default)]
struct Colleague(Vec<Responder<&'static str>>);

impl Actor for Colleague {}

impl Handler<Take> for Colleague {
    async fn handle(&mut self, Take(asker): Take, _ctx: &mut Context<Self>) {
        self.0.push(asker);
        if self.0.len() == 2 {
            self.0.drain(..).for_each(|asker| asker.send("B"));
        }
    }
}
// ANCHOR_END: colleague

/// How many grades does the desk know by heart?
#[derive(Message)]
#[message(reply = usize)]
struct Scale;

impl Handler<Scale> for Desk {
    async fn handle(&mut self, _: Scale, _ctx: &mut Context<Self>) -> usize {
        6
    }
}

// ANCHOR: story
/// What happens, told to `out`.
pub async fn story(system: System, out: &mut impl Write) -> callboard::Result<()> {
    let colleague = system.start(Colleague::default());
    let desk = system.start(Desk(colleague.clone()));
    let essays = ["maths", "history", "history", "poetry", "geography"];
    let grades = join_all(essays.map(|essay| desk.ask(Grade(essay)).into_future())).await;
    for (essay, grade) in essays.into_iter().zip(grades) {
        match grade {
            Ok(grade) => writeln!(out, "{essay}: {grade}")?,
            Err(error) => writeln!(out, "{essay}: {}", error.failure())?,
        }
    }

    // One essay waits at the colleague's for a second one, and the desk is free.
    let mut history = desk.ask(Grade("history")).into_future();
    let waits = futures::poll!(&mut history).is_pending();
    writeln!(out, "waiting for a grade: {waits}")?;
    writeln!(out, "grades from A to F: {}", desk.ask(Scale).await?)?;
    colleague.drain(); // ends when what is queued is done, with the essay in its bag
    writeln!(out, "the colleague has {}", colleague.wait().await)?;
    if let Err(error) = history.await {
        writeln!(out, "history: {}", error.failure())?;
    }
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
