//! Local speed: Callboard beside the actor frameworks and bare channels, in one process.
//!
//! Repetitions are the outer loop and systems the inner one, so that a phase in which the machine is slow
//! meets them all. See `README.md` beside `Cargo.toml` for what is measured and what it does not say.

mod goals;
mod plan;
mod render;
mod systems;
mod workloads;

use std::process::ExitCode;
use std::thread;

use common::args::{Args, Defaults};
use common::machine;
use common::program::{self, Program, in_turn};
use common::render::block;
use common::results::Results;
use common::run::{self, PAUSE, Result};
use common::size::Size;

use plan::{Block, Cell};
use systems::Candidate;

const HELP: &str = "\
Callboard beside other actor frameworks and bare channels, all in one process.

    cargo bench --manifest-path benches/Cargo.toml --bench local [-- OPTIONS]

    --only <text>     only workloads whose name contains the text (may be given again)
    --system <text>   only systems whose name contains the text (may be given again)
    --reps <n>        repetitions (default 5), after one that is not counted
    --quick           fewer messages, 3 repetitions: shows that it works, not how fast it is
    --force           measure although the machine is busy
    --write-guide     write the Markdown into the guide instead of target/bench/
    --list            the names of workloads and systems
    --help            this text

Writes target/bench/local.json and target/bench/local.md.";

/// What is measured beside Callboard.
const PEERS: [&str; 8] = [
    "actix", "actix-rt", "kameo", "ractor", "xtra", "kanal", "flume", "tokio",
];

fn main() -> ExitCode {
    program::main::<Local>()
}

struct Local;

impl Program for Local {
    const NAME: &'static str = "local";
    const HELP: &'static str = HELP;
    const DEFAULTS: Defaults = Defaults { full: 5, quick: 3 };
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

    fn peers() -> String {
        machine::versions(&PEERS)
    }

    fn run(blocks: &[Block], systems: &[Box<dyn Candidate>], args: &Args) -> Result<Results> {
        run_all(blocks, systems, args)
    }

    fn report(
        blocks: &[Block],
        systems: &[Box<dyn Candidate>],
        results: &Results,
        conditions: &str,
    ) -> String {
        report(blocks, systems, results, conditions)
    }

    fn run_once(workload: &str, system: &str, size: Size) -> Result<()> {
        let (cell, system) = program::find::<Self>(workload, system)?;
        for figure in system.measure(cell.work, size) {
            println!("{figure}");
        }
        Ok(())
    }
}

fn run_all(blocks: &[Block], systems: &[Box<dyn Candidate>], args: &Args) -> Result<Results> {
    let mut results = Results::default();
    let cells = || blocks.iter().flat_map(|block| &block.cells);
    // Repetition 0 warms up the process and is not counted.
    for rep in 0..=args.reps {
        for cell in cells().filter(|cell| cell.work.is_timed()) {
            eprintln!("repetition {rep} of {}: {}", args.reps, cell.workload);
            run_systems(cell, systems, args.size, rep, |system, figures| {
                if rep > 0 {
                    results.add(cell, system, &figures, None);
                }
            })?;
        }
    }
    for rep in 1..=args.reps {
        for cell in cells().filter(|cell| !cell.work.is_timed()) {
            eprintln!("repetition {rep} of {}: {}", args.reps, cell.workload);
            run_systems(cell, systems, args.size, rep, |system, figures| {
                results.add(cell, system, &figures, None);
            })?;
        }
    }
    Ok(results)
}

/// Runs one cell once on every system that takes it, each repetition starting with another one.
fn run_systems(
    cell: &Cell,
    systems: &[Box<dyn Candidate>],
    size: Size,
    rep: usize,
    mut take: impl FnMut(&'static str, Vec<f64>),
) -> Result<()> {
    for system in in_turn(systems, rep) {
        if !system.takes(cell.work) {
            continue;
        }
        thread::sleep(PAUSE);
        let figures = if cell.work.needs_own_process() {
            run::in_own_process(cell.workload, system.name(), size)?
        } else {
            system.measure(cell.work, size)
        };
        take(system.name(), figures);
    }
    Ok(())
}

/// What is printed and written: under what conditions figures came about, tables, goals.
fn report(
    blocks: &[Block],
    systems: &[Box<dyn Candidate>],
    results: &Results,
    conditions: &str,
) -> String {
    let names: Vec<&'static str> = systems.iter().map(|system| system.name()).collect();
    let mut text = String::from("# Local speed\n\n");
    text += "`cargo bench --manifest-path benches/Cargo.toml --bench local";
    if cfg!(feature = "metrics") {
        text += " --features metrics";
    }
    text += "`\n\n";
    text += conditions;
    for one in blocks {
        text += &block(one, &names, results);
    }
    text + &render::goals(&goals::verdicts(blocks, systems, results))
}
