//! The lesson platform asks several at once: all libraries, the fastest mirror, a majority of the jury.
//!
//! Chapter 7 of the guide is cut from this file.

use std::io::Write;
use std::time::Duration;

use callboard::Group;
use callboard::prelude::*;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

// ANCHOR: library
/// How many copies of this book have you got?
#[derive(Message, Clone)]
#[message(reply = u32)]
struct Copies(&'static str);

/// A library: how many copies it has, and how long it takes to look.
struct Library {
    copies: u32,
    takes: Duration,
}

impl Actor for Library {}

impl Handler<Copies> for Library {
    async fn handle(&mut self, Copies(title): Copies, ctx: &mut Context<Self>) -> u32 {
        assert!(!title.is_empty(), "which book?");
        ctx.sleep(self.takes).await;
        self.copies
    }
}

fn library(system: &System, copies: u32, takes: Duration) -> ActorRef<Library> {
    system.start(Library { copies, takes })
}
// ANCHOR_END: library

/// What happens, told to `out`.
// ANCHOR: story
pub async fn story(system: System, out: &mut impl Write) -> callboard::Result<()> {
    let libraries = Group::new(&system, "libraries");
    for copies in [3, 4] {
        libraries.join(&library(&system, copies, Duration::ZERO).recipient());
    }
    let asleep = library(&system, 9, HOUR);
    libraries.join(&asleep.recipient());

    // All of them, within a tenth of a second: the answers there are, and who is missing, and why.
    let found = libraries.ask_all(Copies("botany"), SECOND / 10).await;
    let copies: u32 = found.replies().sum();
    writeln!(out, "copies of botany: {copies} at {}", found.answers.len())?;
    for (_, error) in &found.failures {
        writeln!(
            out,
            "  one is missing: {} ({})",
            error.kind(),
            error.verdict()
        )?;
    }

    // The first answer, whoever gives it. The others needn't go on.
    let (_, copies) = libraries.ask_first(Copies("botany"), SECOND).await?;
    writeln!(out, "the first to answer has some: {}", copies > 0)?;

    // A majority, and no more than that: nobody waits for the one that is asleep.
    let jury = libraries.ask_quorum(2, Copies("botany"), HOUR).await?;
    let (answered, withdrawn) = (jury.answers.len(), jury.withdrawn.len());
    writeln!(out, "a quorum: {answered} answered, {withdrawn} withdrawn")?;

    // Two panic, and then two answers of three can't be had: the error comes at once, not in an hour.
    let too_few = libraries.ask_quorum(2, Copies(""), HOUR).await;
    if let Err(error) = too_few {
        let failed = error.gathered().failures.len();
        writeln!(out, "no quorum: {failed} failed ({})", error.verdict())?;
    }

    // They have ended by that, and so they have left.
    asleep.kill();
    asleep.wait().await;
    while !libraries.is_empty() {
        system.clock().sleep(SECOND / 1_000).await;
    }
    let nobody = libraries.next().try_tell(Copies("botany"));
    if let Err(error) = nobody {
        let back = error.message().is_some();
        writeln!(
            out,
            "nobody left: {}, the question came back: {back}",
            error.kind()
        )?;
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
