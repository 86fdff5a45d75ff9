//! Subjects with levels: `*` stands for one of them, a last `>` for all the rest.
//!
//! The fifth of RabbitMQ's tutorials, whose `#` is our `>`.

use std::io::Write;

use callboard::prelude::*;
use callboard::topic::{SubscriberOptions, Topic};
use futures::StreamExt;

const SUBJECTS: [&str; 5] = [
    "kernel.error",
    "kernel.disk.error",
    "kernel.disk.sda.full",
    "cron.error",
    "cron",
];
const PATTERNS: [&str; 6] = [
    "kernel.error", // this one alone
    "*.error",      // one level, whichever
    "kernel.*",     // one level more, and no deeper
    "kernel.>",     // at least one more
    "*.disk.>",
    ">", // everything
];

/// What happens, told to `out`.
pub async fn story(system: System, out: &mut impl Write) -> callboard::Result<()> {
    let logs: Topic<&str> = Topic::start(&system, "logs");
    let mut subscriptions = Vec::new();
    for pattern in PATTERNS {
        let subscription = logs.subscribe(pattern, SubscriberOptions::default());
        subscriptions.push(subscription.await?);
    }

    let mut matched = Vec::new();
    for subject in SUBJECTS {
        matched.push(logs.publish(subject, subject).await?.matched);
    }
    // They get what they have, and then the end.
    logs.stop();

    let row = |name: &str, cells: Vec<String>| {
        let cells: Vec<String> = SUBJECTS
            .iter()
            .zip(cells)
            .map(|(subject, cell)| format!("{cell:^width$}", width = subject.len()))
            .collect();
        format!("{name:<14}{}", cells.join("  "))
            .trim_end()
            .to_owned()
    };
    let heads = SUBJECTS.map(str::to_owned).to_vec();
    writeln!(out, "{}", row("", heads))?;
    for (pattern, subscription) in PATTERNS.into_iter().zip(subscriptions) {
        let got: Vec<&str> = subscription
            .filter_map(async |event| event.message().map(|message| *message.value()))
            .collect()
            .await;
        let cells = SUBJECTS.map(|subject| if got.contains(&subject) { "x" } else { "" });
        writeln!(out, "{}", row(pattern, cells.map(str::to_owned).to_vec()))?;
    }
    let counts = matched.iter().map(ToString::to_string).collect();
    writeln!(out, "{}", row("matched", counts))?;

    // What can't be a pattern is refused when somebody subscribes, not silent for ever.
    let logs: Topic<&str> = Topic::start(&system, "more logs");
    for wrong in ["kernel.>.error", "kernel..error", ""] {
        if let Err(error) = logs.subscribe(wrong, SubscriberOptions::default()).await {
            writeln!(out, "{wrong:?}: {error}")?;
        }
    }
    Ok(())
}

/// The whole program.
pub fn run(out: &mut impl Write) -> callboard::Result<()> {
    callboard::run(|system| story(system, out))?
}

fn main() -> callboard::Result<()> {
    run(&mut std::io::stdout())
}
