//! Speed between two processes: Callboard's remote layer beside remote calls, brokers and actor frameworks, and beside
//! the sockets alone.
//!
//! The program starts itself again as the server of each run. Repetitions are the outer loop and systems the inner
//! one, so that a phase in which the machine is slow meets them all. See `README.md` beside `Cargo.toml` for what
//! is measured and what it does not say.

mod goals;
mod messages;
mod plan;
mod server;
mod systems;
mod workloads;

use std::process::ExitCode;
use std::{env, panic, thread};

use common::args::{Args, Defaults};
use common::machine;
use common::program::{self, Program, in_turn};
use common::render::block;
use common::results::Results;
use common::run::{self, PAUSE, Result};
use common::size::Size;

use plan::{Block, Cell};
use systems::Candidate;
use workloads::Run;

const HELP: &str = "\
Callboard's remote layer beside others, in two processes.

    cargo bench --manifest-path benches/Cargo.toml --features remote --bench remote [-- OPTIONS]

    --only <text>     only workloads whose name contains the text (may be given again)
    --system <text>   only systems whose name contains the text (may be given again)
    --reps <n>        repetitions (default 7), after one that is not counted
    --quick           little of everything, 1 repetition: shows that it works, not how fast it is
    --force           measure although the machine is busy
    --write-guide     write the Markdown into the guide instead of target/bench/
    --list            the names of workloads and systems
    --help            this text

NATS is measured if `nats-server` is in PATH: started for each run, and ended after it. All listen on loopback
only. What goes to disk goes below the target folder.

Writes target/bench/remote.json and target/bench/remote.md.";

/// What is measured beside Callboard.
const PEERS: [&str; 8] = [
    "tarpc",
    "quinn",
    "zmq",
    "ractor_cluster",
    "tonic",
    "kameo",
    "async-nats",
    "tokio",
];

fn main() -> ExitCode {
    match server::Role::of(env::args().skip(1)) {
        Some(role) => server::run(role),
        None => program::main::<Remote>(),
    }
}

struct Remote;

impl Program for Remote {
    const NAME: &'static str = "remote";
    const HELP: &'static str = HELP;
    const DEFAULTS: Defaults = Defaults { full: 7, quick: 1 };
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
        let mut results = Results::default();
        let run = Run::new(args.size);
        // Repetition 0 warms up the machine and is not counted. A quick run does without.
        let first = match args.size {
            Size::Full => 0,
            Size::Quick => 1,
        };
        for rep in first..=args.reps {
            for cell in blocks.iter().flat_map(|block| &block.cells) {
                eprintln!("repetition {rep} of {}: {}", args.reps, cell.workload);
                run_systems(cell, systems, &run, rep, &mut results);
            }
        }
        Ok(results)
    }

    fn run_once(workload: &str, system: &str, size: Size) -> Result<()> {
        let (cell, system) = program::find::<Self>(workload, system)?;
        for figure in system.measure(cell.work, &Run::new(size))? {
            println!("{figure}");
        }
        Ok(())
    }

    fn report(
        blocks: &[Block],
        systems: &[Box<dyn Candidate>],
        results: &Results,
        conditions: &str,
    ) -> String {
        let names: Vec<&'static str> = systems.iter().map(|system| system.name()).collect();
        let mut text = String::from("# Remote speed\n\n");
        text +=
            "`cargo bench --manifest-path benches/Cargo.toml --features remote --bench remote`\n\n";
        text += conditions;
        text += plan::WHERE;
        for one in blocks {
            text += &block(one, &names, results);
        }
        text + &goals::report(blocks, systems, results)
    }
}

/// Runs one cell once on every system that takes it. One that fails doesn't keep the others from being measured.
fn run_systems(
    cell: &Cell,
    systems: &[Box<dyn Candidate>],
    run: &Run,
    rep: usize,
    results: &mut Results,
) {
    let mut all = Vec::new();
    for system in in_turn(systems, rep).filter(|it| it.takes(cell.work)) {
        thread::sleep(PAUSE);
        let measured = panic::catch_unwind(|| match system.needs_own_process() {
            true => run::in_own_process(cell.workload, system.name(), run.size),
            false => system.measure(cell.work, run),
        });
        let figures = measured.unwrap_or_else(|_| Err("it panicked, see above".into()));
        match figures {
            Ok(figures) => all.push((system.name(), figures)),
            Err(why) => {
                let why = why.to_string();
                let why = why.lines().last().unwrap_or_default();
                results.fail(format!("{} on {}: {why}", cell.workload, system.name()));
            }
        }
    }
    let limit = all.iter().find(|(name, _)| Some(*name) == cell.limit);
    let limit = limit.map(|(_, figures)| figures.as_slice());
    for (name, figures) in all.iter().filter(|_| rep > 0) {
        let limit = limit.filter(|_| Some(*name) != cell.limit);
        results.add(cell, name, figures, limit);
    }
}
