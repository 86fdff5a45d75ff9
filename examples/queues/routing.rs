//! A topic before queues: each queue says what it wants, and each item in it is handled once.
//!
//! The fourth of RabbitMQ's tutorials: what it calls a binding is a subscription that offers. Chapter 13 of the guide
//! is cut from this file.

use std::io::Write;

use callboard::prelude::*;
use callboard::queue::Queue;
use callboard::topic::{Handling, SubscriberOptions, Topic, TopicError, TopicEvent};

/// A line of a log, and its number in the topic.
type Line = (u64, &'static str);

// ANCHOR: bind
/// What is published under `subject` goes into the queue too, as long as the answer lives.
async fn bind(
    logs: &Topic<&'static str>,
    subject: &str,
    queue: &Queue<Line>,
) -> Result<Handling, TopicError> {
    let queue = queue.clone();
    let offer = async move |event: TopicEvent<&'static str>| {
        if let TopicEvent::Message(line) = event {
            // Waits for room. An error: the queue has ended.
            let _ = queue.offer((line.sequence(), *line.value())).await;
        }
    };
    logs.on(subject, SubscriberOptions::default(), offer).await
}
// ANCHOR_END: bind

/// Takes that many lines, and shows them in the order they were published.
async fn show(queue: &Queue<Line>, count: usize, out: &mut impl Write) -> callboard::Result<()> {
    let mut lines = Vec::new();
    while lines.len() < count {
        lines.extend(queue.poll_many(count).await?);
    }
    lines.sort_unstable(); // each binding goes at its own speed
    writeln!(out, "{}:", queue.name())?;
    for (sequence, line) in lines {
        writeln!(out, "  {sequence} {line}")?;
    }
    Ok(())
}

/// What happens, told to `out`.
pub async fn story(system: System, out: &mut impl Write) -> callboard::Result<()> {
    let logs = Topic::start(&system, "logs");
    let alarm: Queue<Line> = system.queue("alarm").open()?;
    let archive: Queue<Line> = system.queue("archive").open()?;

    let mut bindings = vec![bind(&logs, "log.error", &alarm).await?];
    for severity in ["log.info", "log.warning", "log.error"] {
        bindings.push(bind(&logs, severity, &archive).await?);
    }

    for (subject, line) in [
        ("log.info", "disk at 80 %"),
        ("log.warning", "disk at 95 %"),
        ("log.error", "disk full"),
        ("log.debug", "block 1,234,567 written"),
        ("log.error", "disk on fire"),
    ] {
        let published = logs.publish(subject, line).await?;
        writeln!(out, "{subject:<13}{line:<25}to {}", published.matched)?;
    }
    show(&alarm, 2, out).await?;
    show(&archive, 4, out).await?;

    // Without its binding a queue gets nothing more; the topic doesn't know that it was one.
    let alarm_bell = bindings.remove(0);
    alarm_bell.cancel();
    alarm_bell.ended().await;
    let published = logs.publish("log.error", "no alarm any more").await?;
    writeln!(out, "without the alarm's binding: to {}", published.matched)?;
    Ok(())
}

/// The whole program.
pub fn run(out: &mut impl Write) -> callboard::Result<()> {
    callboard::run(|system| story(system, out))?
}

fn main() -> callboard::Result<()> {
    run(&mut std::io::stdout())
}
