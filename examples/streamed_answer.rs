//! An answer in many parts: held back by its reader, cancelled by a drop, broken off by a stop.
//!
//! Chapter 6 of the guide is cut from this file.

use std::io::Write;

use callboard::AnswerStream;
use callboard::prelude::*;
use futures::StreamExt;
use futures::channel::mpsc::{Receiver, Sender, channel};

// ANCHOR: archive
/// All rows of the view log up to this one, in order.
#[derive(Message)]
#[message(reply = AnswerStream<u32>)]
struct Rows {
    up_to: u32,
    /// Is told which row has to wait, and ends when the producer does.
    waits: Sender<u32>,
}

struct Archive;

impl Actor for Archive {}

impl Handler<Rows> for Archive {
    async fn handle(&mut self, rows: Rows, ctx: &mut Context<Self>) -> AnswerStream<u32> {
        let Rows { up_to, mut waits } = rows;
        // Three rows may be ahead of who reads.
        ctx.stream(3, async move |sink| {
            for row in 1..=up_to {
                if sink.try_send(row).is_err() {
                    let _ = waits.try_send(row);
                    sink.send(row).await?; // goes on when there is room
                }
            }
            Ok(())
        })
    }
}
// ANCHOR_END: archive

/// Asks, and answers with the rows and with what their producer tells.
async fn rows(
    archive: &ActorRef<Archive>,
    up_to: u32,
) -> callboard::Result<(AnswerStream<u32>, Receiver<u32>)> {
    let (waits, waiting) = channel(1);
    let rows = archive.ask(Rows { up_to, waits }).await?;
    Ok((rows, waiting))
}

// ANCHOR: story
/// What happens, told to `out`.
pub async fn story(system: System, out: &mut impl Write) -> callboard::Result<()> {
    let archive = system.start(Archive);

    let (mut stream, mut waiting) = rows(&archive, 7).await?;
    if let Some(row) = waiting.next().await {
        writeln!(out, "nobody reads, so row {row} waits")?;
    }
    while let Some(row) = stream.next_item().await? {
        write!(out, "{row} ")?;
    }
    writeln!(out, "and no more")?;

    let (mut stream, mut waiting) = rows(&archive, u32::MAX).await?;
    if let Some(row) = stream.next_item().await? {
        writeln!(out, "row {row} is all we wanted to see")?;
    }
    drop(stream);
    while waiting.next().await.is_some() {} // until nobody is there who could tell
    writeln!(out, "the producer has gone")?;

    let (mut stream, mut waiting) = rows(&archive, 7).await?;
    if let Some(row) = waiting.next().await {
        writeln!(out, "row {row} waits, and the archive closes")?;
    }
    archive.stop();
    archive.wait().await;
    loop {
        match stream.next_item().await {
            Ok(Some(row)) => write!(out, "{row} ")?,
            Ok(None) => break writeln!(out, "and no more")?,
            Err(failure) => break writeln!(out, "and then: {failure}")?,
        }
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
