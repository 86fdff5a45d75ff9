//! What a call policy and deduplication add to an ask: beside the bare ask of the same repetition, and beside stacks that
//! others build of tower, and of backon and recloser.
//!
//! Every figure of a call comes in pairs: a short batch by the bare ask, a short batch by what is measured, in turn, a
//! thousand times over. See `README.md` beside `Cargo.toml` for what is measured and what it does not say.

mod clerk;
mod goals;
mod meter;
mod plan;
mod systems;
mod workloads;

use std::process::ExitCode;
use std::thread;

use common::args::{Args, Defaults};
use common::machine;
use common::program::{self, Program, in_turn};
use common::render::block;
use common::results::Results;
use common::run::{PAUSE, Result};
use common::size::Size;

use plan::{Block, Cell};
use systems::Candidate;

const HELP: &str = "\
Callboard's call policies and deduplication, and what they add to an ask.

    cargo bench --manifest-path benches/Cargo.toml --bench policy [-- OPTIONS]

    --only <text>     only workloads whose name contains the text (may be given again)
    --system <text>   only systems whose name contains the text (may be given again)
    --reps <n>        repetitions (default 7), after one that is not counted
    --quick           little of everything, 2 repetitions: shows that it works, not how fast it is
    --force           measure although the machine is busy
    --write-guide     write the Markdown into the guide instead of target/bench/
    --list            the names of workloads and systems
    --help            this text

Writes target/bench/policy.json and target/bench/policy.md.";

/// What is measured beside Callboard.
const PEERS: [&str; 4] = ["tower", "backon", "recloser", "tokio"];

fn main() -> ExitCode {
    program::main::<Policy>()
}

struct Policy;

impl Program for Policy {
    const NAME: &'static str = "policy";
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
        let mut results = Results::default();
        // Repetition 0 warms up the process and is not counted.
        for rep in 0..=args.reps {
            for cell in blocks.iter().flat_map(|block| &block.cells) {
                eprintln!("repetition {rep} of {}: {}", args.reps, cell.workload);
                run_systems(cell, systems, args.size, rep, &mut results)?;
            }
        }
        Ok(results)
    }

    fn report(
        blocks: &[Block],
        systems: &[Box<dyn Candidate>],
        results: &Results,
        conditions: &str,
    ) -> String {
        let names: Vec<&'static str> = systems.iter().map(|system| system.name()).collect();
        report(blocks, &names, results, conditions)
    }
}

/// Runs one cell once on every system that takes it.
fn run_systems(
    cell: &Cell,
    systems: &[Box<dyn Candidate>],
    size: Size,
    rep: usize,
    results: &mut Results,
) -> Result<()> {
    for system in in_turn(systems, rep).filter(|it| it.takes(cell.work)) {
        thread::sleep(PAUSE);
        let figures = system.measure(cell.work, size);
        let figures =
            figures.map_err(|error| format!("{} by {}: {error}", cell.workload, system.name()))?;
        if rep > 0 {
            results.add(cell, system.name(), &figures, None);
        }
    }
    Ok(())
}

/// What is printed and written: under what conditions figures came about, tables, goals.
fn report(
    blocks: &[Block],
    systems: &[&'static str],
    results: &Results,
    conditions: &str,
) -> String {
    let mut text = String::from("# Policy speed\n\n");
    text += "`cargo bench --manifest-path benches/Cargo.toml --bench policy`\n\n";
    text += conditions;
    text += "`added` is the median, over all batches of a repetition, of what a call took more than in the batch of bare \
             calls right beside it.\n\
             A row with a `+` behind its colon has all of the row before it, and something more.\n\n";
    for one in blocks {
        text += &block(one, systems, results);
    }
    text + &goals::report(blocks, results)
}
