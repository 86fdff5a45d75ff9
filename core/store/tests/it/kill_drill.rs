//! The kill -9 drill: a process that offers, leases and acknowledges under load is killed again and again, at a
//! moment that depends on the seed. What it was answered is there afterwards; what was acknowledged isn't (G25).
//!
//! 20 kills by default; `CALLBOARD_KILLS=200` for the long form.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use callboard_core::queue::{Queue, ack_all};
use callboard_core::{Entropy, Message, System};
use callboard_store::Store;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[message(name = "drill.item")]
struct Item(u64);

const DIR: &str = "CALLBOARD_DRILL_DIR";
const FIRST: &str = "CALLBOARD_DRILL_FIRST";

async fn open(system: &System, store: &Store) -> Queue<Item> {
    let queue = system.queue::<Item>("drill").capacity(1_000_000);
    let opened = queue.durable(Arc::new(store.clone())).open().await;
    opened.unwrap()
}

/// What one life of the writer was answered.
#[derive(Default)]
struct Answers {
    stored: BTreeSet<u64>,
    /// To be acknowledged: may or may not have been.
    begun: BTreeSet<u64>,
    acked: BTreeSet<u64>,
}

#[test]
fn g25_kill_9_loses_nothing_that_was_answered() {
    let kills = std::env::var("CALLBOARD_KILLS").ok();
    let kills: u64 = kills.and_then(|kills| kills.parse().ok()).unwrap_or(20);
    let dir = std::env::temp_dir().join(format!("callboard-kill-drill-{}", std::process::id()));
    let choice = Entropy::seeded(kills);
    let mut total = Answers::default();
    let mut next = 1;
    for kill in 0..kills {
        let lines = choice.below(1_500) as usize;
        let life = live(&dir, next, lines);
        // Also if it was heard of nothing: what it offered may be there.
        next += 1_000_000;
        total.stored.extend(life.stored);
        total.begun.extend(life.begun);
        total.acked.extend(life.acked);
        let found = what_is_there(&dir);
        for number in total.stored.difference(&total.begun) {
            assert!(found.contains(number), "kill {kill}: {number} is lost");
        }
        for number in &total.acked {
            assert!(!found.contains(number), "kill {kill}: {number} is back");
        }
    }
    println!(
        "{kills} kills: {} stored, {} acknowledged, none lost, none back",
        total.stored.len(),
        total.acked.len(),
    );
    let _ = std::fs::remove_dir_all(&dir);
    assert!(!total.acked.is_empty());
}

/// Runs a writer until it has said so many lines, and kills it.
fn live(dir: &Path, first: u64, lines: usize) -> Answers {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "kill_drill::writer",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(DIR, dir)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut answers = Answers::default();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    let mut count = 0;
    while reader.read_line(&mut line).unwrap() > 0 {
        // A last line may be cut: then its answer was never heard.
        if line.ends_with('\n')
            && let Some((what, number)) = line.trim_end().split_once(' ')
            && let Ok(number) = number.parse()
        {
            match what {
                "stored" => answers.stored.insert(number),
                "begun" => answers.begun.insert(number),
                "acked" => answers.acked.insert(number),
                _ => false,
            };
        }
        line.clear();
        count += 1;
        if count == lines.max(1) {
            // SIGKILL; what is in the pipe is still read.
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(
        !status.success(),
        "the writer was to be killed, and ended by itself"
    );
    answers
}

fn what_is_there(dir: &Path) -> BTreeSet<u64> {
    let system = System::with_arbiters(1).unwrap();
    futures::executor::block_on(async {
        let store = Store::open(&system, dir).await.unwrap();
        let queue = open(&system, &store).await;
        let items = queue.browse(0, usize::MAX).await.unwrap();
        assert!(queue.set_aside().is_empty());
        let numbers: BTreeSet<u64> = items.iter().map(|item| item.item.0).collect();
        assert_eq!(numbers.len(), items.len(), "each is there once");
        queue.stop();
        queue.wait().await;
        store.close().await.unwrap();
        system.shutdown().await;
        numbers
    })
}

/// The process that is killed. Does nothing when it isn't told where.
#[test]
fn writer() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    // The test runner has begun a line.
    println!();
    let system = System::with_arbiters(2).unwrap();
    let work = async {
        let store = Store::open(&system, Path::new(&dir)).await.unwrap();
        let queue = open(&system, &store).await;
        let offering = async {
            for batch in 0..100_000 {
                let numbers: Vec<u64> = (0..8).map(|n| first + batch * 8 + n).collect();
                let items = numbers.iter().map(|number| Item(*number));
                queue.offer_many(items).await.unwrap();
                say("stored", &numbers);
            }
        };
        let taking = async {
            loop {
                let deliveries = queue.lease_many(5).await.unwrap();
                let numbers: Vec<u64> = deliveries.iter().map(|item| item.0).collect();
                say("begun", &numbers);
                for acked in ack_all(deliveries).await {
                    acked.unwrap();
                }
                say("acked", &numbers);
            }
        };
        futures::future::select(Box::pin(offering), Box::pin(taking)).await;
    };
    futures::executor::block_on(work);
}

fn say(what: &str, numbers: &[u64]) {
    let lines: String = numbers
        .iter()
        .map(|number| format!("{what} {number}\n"))
        .collect();
    let mut out = std::io::stdout().lock();
    out.write_all(lines.as_bytes()).unwrap();
    out.flush().unwrap();
}
