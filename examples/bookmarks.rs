//! The lesson platform remembers where its readers stopped, and ends a printer in three ways.
//!
//! Chapter 2 of the guide is cut from this file.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Write;
use std::rc::Rc;
use std::time::Duration;

use callboard::prelude::*;

// ANCHOR: bookmarks
/// This reader stopped reading at that paragraph.
#[derive(Message)]
struct Mark(&'static str, u32);

/// Where did this reader stop?
#[derive(Message)]
#[message(reply = Option<u32>)]
struct Resume(&'static str);

#[derive(Default)]
struct Bookmarks(BTreeMap<&'static str, u32>);

impl Actor for Bookmarks {}

impl Handler<Mark> for Bookmarks {
    async fn handle(&mut self, Mark(reader, at): Mark, _ctx: &mut Context<Self>) {
        self.0.insert(reader, at);
    }
}

impl Handler<Resume> for Bookmarks {
    async fn handle(&mut self, Resume(reader): Resume, _ctx: &mut Context<Self>) -> Option<u32> {
        self.0.get(reader).copied()
    }
}
// ANCHOR_END: bookmarks

// ANCHOR: page
/// Needs somebody who can answer `Resume`, and doesn't care who.
async fn greeting(bookmarks: &Recipient<Resume>, reader: &'static str) -> String {
    match bookmarks.ask(Resume(reader)).await {
        Ok(Some(paragraph)) => format!("{reader}, go on at paragraph {paragraph}"),
        Ok(None) => format!("{reader}, start at the top"),
        Err(_) => format!("{reader}, welcome"), // no page fails for want of a bookmark
    }
}
// ANCHOR_END: page

// ANCHOR: printer
/// Print a certificate. Answered when the paper is in the machine.
#[derive(Message)]
struct Print;

struct Printer(Rc<Cell<u32>>);

impl Actor for Printer {}

impl DeferredHandler<Print> for Printer {
    async fn handle_deferred(&mut self, _: Print, paper: Responder<()>, ctx: &mut Context<Self>) {
        paper.send(()); // the answer, by hand; the work goes on
        ctx.sleep(Duration::from_millis(50)).await;
        self.0.set(self.0.get() + 1);
    }
}

/// Three certificates, one of them in the machine; then the end, in the way that `end` says.
async fn ended(system: &System, end: impl Fn(&ActorRef<Printer>)) -> callboard::Result<String> {
    let printed = Rc::new(Cell::new(0)); // not `Send`, and needn't be
    let printer = Printer(Rc::clone(&printed)).start()?;
    printer.ask(Print).await?;
    printer.try_tell(Print)?;
    printer.try_tell(Print)?;
    end(&printer);
    let (reason, printed) = (printer.wait().await, printed.get());
    let dead = system.dead_letters().take().len();
    Ok(format!("{printed} printed, {dead} dead letters, {reason}"))
}
// ANCHOR_END: printer

// ANCHOR: story
/// What happens, told to `out`.
pub async fn story(system: System, out: &mut impl Write) -> callboard::Result<()> {
    let bookmarks = system.actor(Bookmarks::default).label("bookmarks").start();
    for (reader, at) in [("grace", 3), ("ada", 12), ("grace", 7)] {
        bookmarks.tell(Mark(reader, at)).await?;
    }
    for reader in ["grace", "ada", "alan"] {
        writeln!(out, "{}", greeting(&bookmarks.recipient(), reader).await)?;
    }
    bookmarks.stop();
    writeln!(out, "the bookmarks have {}", bookmarks.wait().await)?;
    writeln!(out, "{}", greeting(&bookmarks.recipient(), "grace").await)?;
    writeln!(out, "stop:  {}", ended(&system, ActorRef::stop).await?)?;
    writeln!(out, "drain: {}", ended(&system, ActorRef::drain).await?)?;
    writeln!(out, "kill:  {}", ended(&system, ActorRef::kill).await?)?;
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

// ANCHOR: test
#[callboard::test]
async fn the_latest_mark_counts(system: System) {
    let bookmarks = system.start(Bookmarks::default());
    bookmarks.tell(Mark("grace", 3)).await.unwrap();
    bookmarks.tell(Mark("grace", 7)).await.unwrap();
    assert_eq!(bookmarks.ask(Resume("grace")).await.unwrap(), Some(7));
}
// ANCHOR_END: test
