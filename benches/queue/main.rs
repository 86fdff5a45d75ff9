//! Queue speed: Callboard's queues, topics and its log beside channels, stores and servers, in one run.
//!
//! Repetitions are the outer loop and systems the inner one, so that a phase in which the machine is slow
//! meets them all. Where the disk matters, the smallest append there can be is measured between every two
//! systems, and a figure is compared with the two beside it. See `README.md` beside `Cargo.toml`.

mod goals;
mod item;
mod plan;
mod systems;
mod workloads;

use std::path::Path;
use std::process::ExitCode;
use std::thread;

use common::args::{Args, Defaults};
use common::folder::Folder;
use common::machine;
use common::program::{self, Program, in_turn};
use common::render::block;
use common::results::Results;
use common::run::{PAUSE, Result};

use plan::{Block, Cell};
use systems::Candidate;
use workloads::Run;

const HELP: &str = "\
Callboard's queues and topics beside channels, stores and servers.

    cargo bench --manifest-path benches/Cargo.toml --bench queue [-- OPTIONS]

    --only <text>     only workloads whose name contains the text (may be given again)
    --system <text>   only systems whose name contains the text (may be given again)
    --reps <n>        repetitions (default 7), after one that is not counted
    --quick           little of everything, 2 repetitions: shows that it works, not how fast it is
    --force           measure although the machine is busy
    --write-guide     write the Markdown into the guide instead of target/bench/
    --list            the names of workloads and systems
    --help            this text

Redis and NATS are measured if `redis-server` and `nats-server` are in PATH: started for each run, with a
folder of their own, and ended after it. What goes to disk goes below the target folder.

Writes target/bench/queue.json and target/bench/queue.md.";

/// The crates that are measured beside Callboard.
const PEERS: [&str; 9] = [
    "async-channel",
    "kanal",
    "flume",
    "tokio",
    "fjall",
    "redb",
    "rusqlite",
    "libsqlite3-sys",
    "actix",
];

fn main() -> ExitCode {
    program::main::<Queue>()
}

struct Queue;

impl Program for Queue {
    const NAME: &'static str = "queue";
    const HELP: &'static str = HELP;
    const DEFAULTS: Defaults = Defaults { full: 7, quick: 2 };
    type Work = workloads::Work;
    type System = dyn Candidate;

    fn blocks() -> Vec<Block> {
        plan::blocks()
    }

    fn systems() -> Vec<Box<dyn Candidate>> {
        systems::all()
    }

    fn name(system: &dyn Candidate) -> &'static str {
        system.name()
    }

    fn missing(system: &dyn Candidate) -> Option<String> {
        system.missing()
    }

    fn peers() -> String {
        let mut peers = machine::versions(&PEERS);
        for version in systems::server_versions() {
            peers += &format!(", {version}");
        }
        peers
    }

    fn run(blocks: &[Block], systems: &[Box<dyn Candidate>], args: &Args) -> Result<Results> {
        let folder = Folder::new(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
        run_all(blocks, systems, &folder, args)
    }

    fn report(
        blocks: &[Block],
        systems: &[Box<dyn Candidate>],
        results: &Results,
        conditions: &str,
    ) -> String {
        report(blocks, systems, results, conditions)
    }
}

fn run_all(
    blocks: &[Block],
    systems: &[Box<dyn Candidate>],
    folder: &Folder,
    args: &Args,
) -> Result<Results> {
    let mut results = Results::default();
    let run = Run::new(args.size, folder.path().to_owned());
    // Repetition 0 warms up the process and is not counted.
    for rep in 0..=args.reps {
        for cell in blocks.iter().flat_map(|block| &block.cells) {
            eprintln!("repetition {rep} of {}: {}", args.reps, cell.workload);
            run_systems(cell, systems, &run, rep, |system, figures, limit| {
                if rep > 0 {
                    results.add(cell, system, figures, limit);
                }
            })?;
        }
    }
    Ok(results)
}

/// Runs one cell once on every system that takes it, each repetition starting with another one. Where there is
/// a limit, that is measured before and after each system, in half of its time.
fn run_systems(
    cell: &Cell,
    systems: &[Box<dyn Candidate>],
    run: &Run,
    rep: usize,
    mut take: impl FnMut(&'static str, &[f64], Option<&[f64]>),
) -> Result<()> {
    let takers = in_turn(systems, rep).filter(|it| it.takes(cell.work));
    let all = systems::all();
    let limit = all.iter().find(|it| Some(it.name()) == cell.limit);
    let Some(limit) = limit else {
        for system in takers {
            let figures = run_one(cell, system, run)?;
            take(system.name(), &figures, None);
        }
        return Ok(());
    };
    let short = run.half();
    let mut limits = vec![run_one(cell, limit.as_ref(), &short)?];
    for system in takers.filter(|it| it.name() != limit.name()) {
        let figures = run_one(cell, system, run)?;
        let after = run_one(cell, limit.as_ref(), &short)?;
        let before = limits.last().ok_or("no limit before it")?;
        take(system.name(), &figures, Some(&mean(&[before, &after])));
        limits.push(after);
    }
    let limits: Vec<&Vec<f64>> = limits.iter().collect();
    take(limit.name(), &mean(&limits), None);
    Ok(())
}

fn run_one(cell: &Cell, system: &dyn Candidate, run: &Run) -> Result<Vec<f64>> {
    thread::sleep(PAUSE);
    let figures = system.measure(cell.work, run);
    figures.map_err(|error| format!("{} on {}: {error}", cell.workload, system.name()).into())
}

/// Column by column.
#[allow(clippy::cast_precision_loss)]
fn mean(runs: &[&Vec<f64>]) -> Vec<f64> {
    let columns = runs.first().map_or(0, |run| run.len());
    let mean_of = |column: usize| {
        let sum: f64 = runs.iter().map(|run| run[column]).sum();
        sum / runs.len() as f64
    };
    (0..columns).map(mean_of).collect()
}

/// What is printed and written: under what conditions figures came about, tables, goals.
fn report(
    blocks: &[Block],
    systems: &[Box<dyn Candidate>],
    results: &Results,
    conditions: &str,
) -> String {
    let names: Vec<&'static str> = systems.iter().map(|system| system.name()).collect();
    let mut text = String::from("# Queue speed\n\n");
    text += "`cargo bench --manifest-path benches/Cargo.toml --bench queue`\n\n";
    text += conditions;
    text += &format!(
        "Items have {} bytes.\nWhere the disk matters, `to {}` is the ratio to the smallest append there can be, measured \
         right before and after in the same repetition.\n\n",
        item::LENGTH,
        plan::LIMIT
    );
    for one in blocks {
        text += &block(one, &names, results);
    }
    text + &goals::report(blocks, systems, results)
}
