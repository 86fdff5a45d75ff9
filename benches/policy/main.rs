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
use std::{env, thread};

use common::args::{self, Args, Command, Defaults};
use common::machine;
use common::plan::{chosen, contains_one};
use common::render::block;
use common::results::Results;
use common::run::{self, Conditions, PAUSE, Result};
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

const DEFAULTS: Defaults = Defaults { full: 7, quick: 2 };

/// What is measured beside Callboard.
const PEERS: [&str; 4] = ["tower", "backon", "recloser", "tokio"];

fn main() -> ExitCode {
    let done = match args::parse(env::args().skip(1), DEFAULTS) {
        Ok(Command::Help) => {
            println!("{HELP}");
            Ok(())
        }
        Ok(Command::List) => {
            list();
            Ok(())
        }
        Ok(Command::RunOnce { .. }) => Err("this one has no runs in processes of their own".into()),
        Ok(Command::Measure(args)) => measure(&args),
        Err(wrong) => Err(wrong.into()),
    };
    run::ended("policy", done)
}

fn list() {
    for cell in plan::blocks().iter().flat_map(|block| &block.cells) {
        println!("workload  {}", cell.workload);
    }
    for system in systems::all() {
        println!("system    {}", system.name());
    }
}

fn measure(args: &Args) -> Result<()> {
    run::wait_for_nobody("policy", args)?;
    let blocks = chosen(plan::blocks(), &args.only);
    let mut systems = systems::all();
    systems.retain(|system| contains_one(system.name(), &args.systems));
    if blocks.is_empty() || systems.is_empty() {
        return Err("nothing is called that; see --list".into());
    }

    let conditions = Conditions::watch();
    let results = run_all(&blocks, &systems, args)?;
    let conditions = conditions.report(args, &machine::versions(&PEERS));

    let names: Vec<&'static str> = systems.iter().map(|system| system.name()).collect();
    let text = report(&blocks, &names, &results, &conditions);
    print!("{text}");
    run::write("policy", &results.rows(&blocks, &names), &text, args)
}

fn run_all(blocks: &[Block], systems: &[Box<dyn Candidate>], args: &Args) -> Result<Results> {
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

/// Runs one cell once on every system that takes it, each repetition starting with another one.
fn run_systems(
    cell: &Cell,
    systems: &[Box<dyn Candidate>],
    size: Size,
    rep: usize,
    results: &mut Results,
) -> Result<()> {
    let (first, rest) = systems.split_at(rep % systems.len());
    let takers = rest.iter().chain(first).filter(|it| it.takes(cell.work));
    for system in takers {
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
