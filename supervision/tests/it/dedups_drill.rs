//! The kill -9 drill: a process that serves keyed requests from a durable store is killed again and again, at a moment
//! that depends on the seed. What ran is in a ledger of its own, which the handler writes before it answers; no
//! request is in it twice, and what was answered is answered so again (G19).
//!
//! 20 kills by default; `CALLBOARD_KILLS=200` for the long form.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use callboard::{Actor, Context, Entropy, FailureKind, Handler, Message, System};
use callboard_store::Store;
use callboard_supervision::Dedup;
use futures::future::join_all;
use serde::{Deserialize, Serialize};

use crate::dedups_durable::key_without_time;

const DIR: &str = "CALLBOARD_DEDUP_DRILL_DIR";
const LIFE: &str = "CALLBOARD_DEDUP_DRILL_LIFE";
const CLIENTS: u64 = 8;
/// Of how many requests a life asks that no life before it did.
const FRESH: u64 = 150;

#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[message(reply = u64)]
struct Charge(u64);

/// Writes down what it does, and then answers.
struct Till(File);
impl Actor for Till {}
impl Handler<Charge> for Till {
    async fn handle(&mut self, Charge(number): Charge, _: &mut Context<Self>) -> u64 {
        self.0.write_all(format!("{number}\n").as_bytes()).unwrap();
        number * 7
    }
}

struct Served {
    store: Store,
    dedup: Dedup<Charge>,
    till: callboard::ActorRef<Till>,
}

async fn serve(system: &System, dir: &Path) -> Served {
    let store = Store::open(system, dir.join("store")).await.unwrap();
    let dedup = Dedup::<Charge>::builder_encoded(system);
    let dedup = dedup.durable("charges", Arc::new(store.clone()));
    let dedup = dedup.open().await.unwrap();
    let ledger = OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.join("ledger"))
        .unwrap();
    let spawn = system.actor(move || Till(ledger)).label("till");
    let till = spawn.admission(dedup.clone()).start();
    Served { store, dedup, till }
}

#[test]
fn g19_kill_9_makes_nothing_run_twice_and_forgets_no_answer() {
    let kills = std::env::var("CALLBOARD_KILLS").ok();
    let kills: u64 = kills.and_then(|kills| kills.parse().ok()).unwrap_or(20);
    let dir = std::env::temp_dir().join(format!("callboard-dedup-drill-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let choice = Entropy::seeded(kills);
    let mut answered = BTreeSet::new();
    let mut in_doubt = BTreeSet::new();
    for life in 0..kills {
        let lines = 1 + choice.below(600);
        for (what, number) in live(&dir, life, lines) {
            match what.as_str() {
                "answered" => drop(answered.insert(number)),
                "doubt" => drop(in_doubt.insert(number)),
                other => panic!("{other}"),
            }
        }
        check(&dir, life, &answered, &in_doubt);
    }
    what_is_known(&dir, kills, &answered, &in_doubt);
    println!(
        "{kills} kills: {} requests answered, {} in doubt, none twice",
        answered.len(),
        in_doubt.len()
    );
    let _ = std::fs::remove_dir_all(&dir);
    assert!(!answered.is_empty());
}

/// The ledger has nothing twice, and all that was answered.
fn check(dir: &Path, life: u64, answered: &BTreeSet<u64>, in_doubt: &BTreeSet<u64>) {
    let ran = std::fs::read_to_string(dir.join("ledger")).unwrap_or_default();
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for line in ran.lines() {
        *counts.entry(line.parse().unwrap()).or_default() += 1;
    }
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "life {life}: more than once: {twice:?}");
    for number in answered {
        assert!(
            counts.contains_key(number),
            "life {life}: {number} never ran"
        );
        assert!(
            !in_doubt.contains(number),
            "life {life}: {number} was answered, and is in doubt"
        );
    }
}

/// Runs a server with its clients until it has said so many lines, and kills it. What it said.
fn live(dir: &Path, life: u64, lines: u64) -> Vec<(String, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "dedups_drill::server",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(DIR, dir)
        .env(LIFE, life.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    let mut killed = false;
    while reader.read_line(&mut line).unwrap() > 0 {
        // A last line may be cut: then its answer was never heard.
        if line.ends_with('\n')
            && let Some((what @ ("answered" | "doubt"), number)) = line.trim_end().split_once(' ')
        {
            said.push((what.to_owned(), number.parse().unwrap()));
        }
        line.clear();
        if !killed && said.len() as u64 >= lines {
            // SIGKILL; what is in the pipe is still read.
            child.kill().unwrap();
            killed = true;
        }
    }
    let status = child.wait().unwrap();
    assert!(
        killed && !status.success(),
        "the server was to be killed, and ended by itself: {status}"
    );
    said
}

/// What a last process says of all that was asked.
fn what_is_known(dir: &Path, lives: u64, answered: &BTreeSet<u64>, in_doubt: &BTreeSet<u64>) {
    let system = System::with_arbiters(1).unwrap();
    futures::executor::block_on(async {
        let served = serve(&system, dir).await;
        assert_eq!(served.dedup.stats().damaged, 0);
        for number in 0..lives * FRESH {
            let asked = served.till.ask(Charge(number));
            match asked.key(key_without_time(number)).await {
                Ok(reply) => {
                    assert_eq!(reply, number * 7);
                    assert!(!in_doubt.contains(&number), "{number} was in doubt");
                }
                Err(error) => {
                    assert_eq!(error.kind(), FailureKind::Indeterminate, "{number}");
                    assert!(!answered.contains(&number), "{number} was answered");
                }
            }
        }
        served.till.stop();
        served.till.wait().await;
        served.dedup.close().await.unwrap();
        served.store.close().await.unwrap();
        system.shutdown().await;
    });
    check(dir, lives, answered, in_doubt);
}

/// The process that is killed. Does nothing when it isn't told where.
#[test]
fn server() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let life: u64 = std::env::var(LIFE).unwrap().parse().unwrap();
    // The test runner has begun a line.
    println!();
    let system = System::with_arbiters(2).unwrap();
    let choice = Entropy::from_os();
    futures::executor::block_on(async {
        let served = serve(&system, Path::new(&dir)).await;
        let clients = (0..CLIENTS).map(|_| async {
            loop {
                // Old ones, too, and some at the same time as another client.
                let number = choice.below((life + 1) * FRESH);
                let asked = served.till.ask(Charge(number));
                let what = match asked.key(key_without_time(number)).await {
                    Ok(reply) => {
                        assert_eq!(reply, number * 7);
                        "answered"
                    }
                    Err(error) if error.kind() == FailureKind::Indeterminate => "doubt",
                    Err(error) => panic!("{number}: {error}"),
                };
                let mut out = std::io::stdout().lock();
                out.write_all(format!("{what} {number}\n").as_bytes())
                    .unwrap();
                out.flush().unwrap();
            }
        });
        join_all(clients).await;
    });
}
