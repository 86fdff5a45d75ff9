//! The lesson platform's renderer, broken on purpose: a panic, and a full mailbox.
//!
//! Chapter 1 of the guide is cut from this file.

use std::io::Write;

use callboard::prelude::*;
use callboard::{ExitReason, Overflow};

// ANCHOR: renderer
/// Render the title of a lesson as a short heading.
#[derive(Message)]
#[message(reply = String)]
struct Heading(&'static str);

struct Renderer;

impl Actor for Renderer {}

impl Handler<Heading> for Renderer {
    async fn handle(&mut self, Heading(title): Heading, _ctx: &mut Context<Self>) -> String {
        // The bug: byte 12 may lie in the middle of a character.
        let short = &title[..title.len().min(12)];
        format!("<h1>{short}</h1>")
    }
}
// ANCHOR_END: renderer

// ANCHOR: panic
async fn a_panic(system: &System, out: &mut impl Write) -> callboard::Result<()> {
    let bystander = system.start(Renderer);
    let renderer = system.start(Renderer);
    let html = renderer.ask(Heading("Who restarts whom?")).await?;
    writeln!(out, "rendered: {html}")?;

    if let Err(error) = renderer.ask(Heading("Paying Andr\u{e9} once")).await {
        writeln!(out, "asked: {} ({})", error.kind(), error.verdict())?;
    }
    if let ExitReason::Failed(_) = renderer.wait().await {
        writeln!(out, "the renderer has failed")?;
    }
    if let Err(error) = renderer.ask(Heading("Pipes and sockets")).await {
        writeln!(out, "asked again: {} ({})", error.kind(), error.verdict())?;
        let message = error.into_message().map(|Heading(title)| title);
        writeln!(out, "the message came back: {message:?}")?;
    }

    let html = bystander.ask(Heading("Locks that let go")).await?;
    writeln!(out, "meanwhile, next door: {html}")?;
    writeln!(out, "panics caught: {}", system.counters().panics())?;
    Ok(())
}
// ANCHOR_END: panic

// ANCHOR: full
async fn a_full_mailbox(system: &System, out: &mut impl Write) -> callboard::Result<()> {
    let renderer = system
        .actor(|| Renderer)
        .label("renderer")
        .mailbox(2, Overflow::Wait)
        .placement(Placement::Pinned(0)) // the thread that runs this function
        .start();

    // Until this function awaits, the renderer gets no turn: its mailbox can only fill.
    for title in ["One", "Two", "Three"] {
        match renderer.try_tell(Heading(title)) {
            Ok(()) => writeln!(out, "{title}: pinned to the board")?,
            Err(error) => writeln!(out, "{title}: {} ({})", error.kind(), error.verdict())?,
        }
    }
    writeln!(out, "waiting on the board: {}", renderer.mailbox().len)?;

    // `tell` and `ask` wait for room where `try_tell` came back.
    let html = renderer.ask(Heading("Three")).await?;
    writeln!(out, "with some patience: {html}")?;
    Ok(())
}
// ANCHOR_END: full

/// What happens, told to `out`.
pub async fn story(system: System, out: &mut impl Write) -> callboard::Result<()> {
    writeln!(out, "-- a panic")?;
    a_panic(&system, out).await?;
    writeln!(out, "-- a full mailbox")?;
    a_full_mailbox(&system, out).await
}

/// The whole program.
pub fn run(out: &mut impl Write) -> callboard::Result<()> {
    callboard::run(|system| story(system, out))?
}

fn main() -> callboard::Result<()> {
    run(&mut std::io::stdout())
}
