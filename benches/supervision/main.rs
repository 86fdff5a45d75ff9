//! Supervision speed: what a crash, ten thousand children and a tell cost under Callboard's supervisors, beside the
//! actor frameworks that supervise, and beside a task that is spawned again.
//!
//! Repetitions are the outer loop and systems the inner one, so that a phase in which the machine is slow
//! meets them all. See `README.md` beside `Cargo.toml` for what is measured and what it does not say.

mod goals;
mod plan;
mod roll;
mod systems;
mod workloads;

use std::process::ExitCode;
use std::{panic, thread};

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
Callboard's supervisors beside those of other actor frameworks, all in one process.

    cargo bench --manifest-path benches/Cargo.toml --bench supervision [-- OPTIONS]

    --only <text>     only workloads whose name contains the text (may be given again)
    --system <text>   only systems whose name contains the text (may be given again)
    --reps <n>        repetitions (default 7), after one that is not counted
    --quick           little of everything, 2 repetitions: shows that it works, not how fast it is
    --force           measure although the machine is busy
    --write-guide     write the Markdown into the guide instead of target/bench/
    --list            the names of workloads and systems
    --help            this text

Writes target/bench/supervision.json and target/bench/supervision.md.";

/// What is measured beside Callboard.
const PEERS: [&str; 3] = ["kameo", "ractor", "tokio"];

fn main() -> ExitCode {
    silence_crashes();
    program::main::<Supervision>()
}

struct Supervision;

impl Program for Supervision {
    const NAME: &'static str = "supervision";
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

/// A panic that is part of a run says nothing: what the hook does would be most of what is measured. Of all systems
/// alike.
fn silence_crashes() {
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref::<&str>() != Some(&roll::CRASH) {
            others(panic);
        }
    }));
}

fn run_all(blocks: &[Block], systems: &[Box<dyn Candidate>], args: &Args) -> Result<Results> {
    let mut results = Results::default();
    // Repetition 0 warms up the process and is not counted.
    for rep in 0..=args.reps {
        for cell in blocks.iter().flat_map(|block| &block.cells) {
            if rep == 0 && cell.work.needs_own_process() {
                continue;
            }
            eprintln!("repetition {rep} of {}: {}", args.reps, cell.workload);
            let all = run_systems(cell, systems, args.size, rep)?;
            let limit = all.iter().find(|(name, _)| Some(*name) == cell.limit);
            let limit = limit.map(|(_, figures)| figures.as_slice());
            for (name, figures) in all.iter().filter(|_| rep > 0) {
                let limit = limit.filter(|_| Some(*name) != cell.limit);
                results.add(cell, name, figures, limit);
            }
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
) -> Result<Vec<(&'static str, Vec<f64>)>> {
    let takers = in_turn(systems, rep).filter(|it| it.takes(cell.work));
    let run = |system: &dyn Candidate| {
        thread::sleep(PAUSE);
        let figures = match cell.work.needs_own_process() {
            true => run::in_own_process(cell.workload, system.name(), size)?,
            false => system.measure(cell.work, size),
        };
        Ok((system.name(), figures))
    };
    takers.map(run).collect()
}

/// What is printed and written: under what conditions figures came about, tables, goals.
fn report(
    blocks: &[Block],
    systems: &[Box<dyn Candidate>],
    results: &Results,
    conditions: &str,
) -> String {
    let names: Vec<&'static str> = systems.iter().map(|system| system.name()).collect();
    let mut text = String::from("# Supervision speed\n\n");
    text += "`cargo bench --manifest-path benches/Cargo.toml --bench supervision`\n\n";
    text += conditions;
    text += &format!(
        "`to {0}` is how many times as long it took as `{0}` did in the same repetition.\n\n",
        plan::FLOOR
    );
    for one in blocks {
        text += &block(one, &names, results);
    }
    text + &goals::report(blocks, systems, results)
}
