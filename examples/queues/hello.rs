//! Hello, queue: one offers, one polls, and neither knows the other.
//!
//! The first of RabbitMQ's tutorials. Chapter 9 of the guide is cut from this file.

use std::io::Write;
use std::time::Duration;

use callboard::prelude::*;
use callboard::queue::{Offered, OpenError, Queue};

// ANCHOR: open
/// Whoever opens the name first makes the queue; everybody else gets the same one.
fn greetings(system: &System) -> Result<Queue<String>, OpenError> {
    system.queue("greetings").capacity(100).open()
}

async fn offer(system: &System, text: &str) -> callboard::Result<Offered> {
    Ok(greetings(system)?.offer(text.to_owned()).await?)
}

async fn poll(system: &System) -> callboard::Result<Option<String>> {
    Ok(greetings(system)?.poll().await?)
}
// ANCHOR_END: open

/// What happens, told to `out`.
// ANCHOR: story
pub async fn story(system: System, out: &mut impl Write) -> callboard::Result<()> {
    // The one who polls is there first, and waits.
    let (got, offered) = futures::join!(poll(&system), offer(&system, "Hello, world"));
    let got = got?.unwrap_or_default();
    writeln!(out, "{got:?} came, as item {}", offered?.sequence())?;

    // The one who offers is there first, and doesn't wait: the queue does.
    for text in ["Is anybody there?", "I'll leave a note"] {
        let offered = offer(&system, text).await?;
        writeln!(out, "{text:?} is item {}", offered.sequence())?;
    }
    let queue = greetings(&system)?;
    let waiting = queue.state().await?.len;
    writeln!(out, "{waiting} items wait, and nobody polls")?;
    while let Some(text) = queue.poll().deadline(Duration::ZERO).await? {
        writeln!(out, "{text:?} came")?;
    }
    writeln!(out, "nothing is left")?;

    // The name stands for one queue, with one type and one set of settings.
    if let Err(error) = system.queue::<String>("greetings").capacity(5).open() {
        writeln!(out, "{error}")?;
    }
    if let Err(error) = system.queue::<u64>("greetings").capacity(100).open() {
        let told = error.to_string();
        let told = told.replace(std::any::type_name::<String>(), "String");
        writeln!(out, "{told}")?;
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
