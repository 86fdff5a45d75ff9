//! News for everybody: each subscriber gets each message, and the publisher knows how many that are.
//!
//! The third of RabbitMQ's tutorials.

use std::io::Write;

use callboard::prelude::*;
use callboard::topic::{SubscriberOptions, Subscription, Topic, TopicEvent};
use futures::StreamExt;

type Line = &'static str;

async fn subscribe(logs: &Topic<Line>) -> callboard::Result<Subscription<Line>> {
    let options = SubscriberOptions::default();
    Ok(logs.subscribe("log", options).await?)
}

async fn publish(logs: &Topic<Line>, line: Line, out: &mut impl Write) -> callboard::Result<()> {
    let published = logs.publish("log", line).await?;
    let missed = match published.dropped {
        0 => String::new(),
        missed => format!(", {missed} missed something"),
    };
    writeln!(out, "published {line:?} for {}{missed}", published.matched)?;
    Ok(())
}

/// Prints what there is for a subscriber, up to that many lines.
async fn show(
    name: &str,
    lines: &mut Subscription<Line>,
    count: usize,
    out: &mut impl Write,
) -> callboard::Result<()> {
    for _ in 0..count {
        match lines.next().await {
            Some(TopicEvent::Message(line)) => {
                writeln!(out, "  {name}: {} {}", line.sequence(), line.value())?;
            }
            Some(TopicEvent::Gap { from, to, .. }) => {
                writeln!(out, "  {name}: {from} to {to} are missing")?;
            }
            None => writeln!(out, "  {name}: the topic has ended")?,
        }
    }
    Ok(())
}

/// What happens, told to `out`.
pub async fn story(system: System, out: &mut impl Write) -> callboard::Result<()> {
    let logs = Topic::start(&system, "logs");
    publish(&logs, "is anybody there?", out).await?;

    // Each has its own copy of the news, and reads it when it has time.
    let mut screen = subscribe(&logs).await?;
    let mut file = subscribe(&logs).await?;
    publish(&logs, "disk is filling up", out).await?;
    publish(&logs, "disk is full", out).await?;
    show("screen", &mut screen, 2, out).await?;

    // Who leaves has unsubscribed.
    drop(screen);
    publish(&logs, "disk has been replaced", out).await?;
    show("file", &mut file, 3, out).await?;

    // A subscriber with little room, and no time: it misses something, and is told exactly what.
    let mut pager = logs
        .subscribe("log", SubscriberOptions::default())
        .capacity(2)
        .await?;
    for line in ["one", "two", "three", "four"] {
        publish(&logs, line, out).await?;
    }
    show("pager", &mut pager, 3, out).await?;

    logs.stop();
    show("file", &mut file, 5, out).await?;
    Ok(())
}

/// The whole program.
pub fn run(out: &mut impl Write) -> callboard::Result<()> {
    callboard::run(|system| story(system, out))?
}

fn main() -> callboard::Result<()> {
    run(&mut std::io::stdout())
}
