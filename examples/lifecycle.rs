//! A library from its opening to its closing, with a clerk, a broken shelf and a note on the desk.
//!
//! Chapter 5 of the guide is cut from this file.

use std::io::Write;
use std::sync::mpsc::{SyncSender, sync_channel};

use callboard::prelude::*;
use callboard::supervision::Supervisor;
use callboard::{ExitReason, LeftBehind, StartFailure};

// ANCHOR: diary
/// What has happened, on a list that outlives who writes on it.
type Diary = SyncSender<String>;

fn note(diary: &Diary, line: impl Into<String>) {
    let _ = diary.try_send(line.into()); // it has room for all
}

/// Lends out books, and knows how many. Once started, it has a clerk.
struct Library {
    diary: Diary,
    lent: u32,
}

impl Actor for Library {
    async fn starting(&mut self, _ctx: &mut Context<Self>) -> Result<(), StartFailure> {
        note(&self.diary, "starting: the doors are still closed");
        Ok(())
    }

    async fn restarting(
        &mut self,
        mut left: LeftBehind,
        ctx: &mut Context<Self>,
    ) -> Result<(), StartFailure> {
        self.lent = left.take().unwrap_or(0);
        let (number, lent) = (ctx.incarnation(), self.lent);
        let line = format!("restarting as {number}, a note says: {lent} lent");
        note(&self.diary, line);
        Ok(())
    }

    async fn started(&mut self, ctx: &mut Context<Self>) {
        let diary = self.diary.clone();
        ctx.child(move || Clerk(diary)).label("clerk").start();
        let clerks = ctx.children();
        note(&self.diary, format!("started, clerks: {clerks}"));
    }

    async fn stopping(&mut self, ctx: &mut Context<Self>) {
        let clerks = ctx.children();
        note(&self.diary, format!("stopping, clerks: {clerks}"));
    }

    async fn stopped(&mut self, reason: &ExitReason) {
        note(&self.diary, format!("the library has {reason}"));
    }
}

struct Clerk(Diary);
impl Actor for Clerk {
    async fn stopped(&mut self, reason: &ExitReason) {
        note(&self.0, format!("the clerk has {reason}"));
    }
}
// ANCHOR_END: diary

// ANCHOR: lend
/// Lend me a book. The answer: how many are lent by now.
#[derive(Message)]
#[message(reply = u32)]
struct Lend(&'static str);

impl Handler<Lend> for Library {
    async fn handle(&mut self, Lend(book): Lend, ctx: &mut Context<Self>) -> u32 {
        assert!(book != "the heavy one", "the shelf broke");
        self.lent += 1;
        ctx.leave_behind(self.lent); // whole, so the next incarnation may have it
        self.lent
    }
}
// ANCHOR_END: lend

// ANCHOR: story
/// What happens, told to `out`.
pub async fn story(system: System, out: &mut impl Write) -> callboard::Result<()> {
    let (diary, lines) = sync_channel(64);
    let pen = diary.clone();
    let library = move || Library {
        diary: pen.clone(),
        lent: 0,
    };
    let (library, place) = system.actor(library).label("library").place();
    let school = Supervisor::builder("school").child(place).start(&system)?;

    for book in ["a novel", "an atlas", "the heavy one", "a cookbook"] {
        match library.ask(Lend(book)).await {
            Ok(lent) => note(&diary, format!("{book}: {lent} lent")),
            Err(error) => note(&diary, format!("{book}: {}", error.failure())),
        }
    }
    school.stop();
    note(&diary, format!("the school has {}", school.wait().await));
    lines
        .try_iter()
        .try_for_each(|line| writeln!(out, "{line}"))?;
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
