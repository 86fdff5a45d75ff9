//! Local speed: Callboard beside the actor frameworks and bare channels, in one process.
//!
//! Repetitions are the outer loop and systems the inner one, so that a phase in which the machine is slow
//! meets them all. See `README.md` beside `Cargo.toml` for what is measured and what it does not say.

mod alloc;
mod args;
mod goals;
mod machine;
mod plan;
mod render;
mod results;
mod stopwatch;
mod systems;
mod tally;
mod threads;
mod workloads;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::time::Duration;
use std::{env, fs, thread};

use args::{Args, Command};
use machine::Usage;
use plan::{Block, Cell};
use results::{Results, Row};
use stopwatch::Stopwatch;
use systems::Candidate;
use workloads::Size;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Lets threads of the run before come to their end.
const PAUSE: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    let done = match args::parse(env::args().skip(1)) {
        Ok(Command::Help) => {
            println!("{}", args::HELP);
            Ok(())
        }
        Ok(Command::List) => {
            list();
            Ok(())
        }
        Ok(Command::RunOnce {
            workload,
            system,
            size,
        }) => run_once(&workload, &system, size),
        Ok(Command::Measure(args)) => measure(&args),
        Err(wrong) => Err(wrong.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("local: {error}");
            ExitCode::FAILURE
        }
    }
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
    if let Some(why) = machine::why_busy() {
        if !args.force {
            return Err(format!("not measured: {why}. Wait, or give --force.").into());
        }
        eprintln!("local: {why}; measuring all the same");
    }
    let blocks = chosen(plan::blocks(), &args.only);
    let mut systems = systems::all();
    systems.retain(|system| contains_one(system.name(), &args.systems));
    if blocks.is_empty() || systems.is_empty() {
        return Err("nothing is called that; see --list".into());
    }

    let before = Usage::now();
    let begin = Stopwatch::start();
    let results = run_all(&blocks, &systems, args)?;
    let took = begin.elapsed();
    let others = before
        .zip(Usage::now())
        .map(|(before, now)| now.since(&before).others_share());

    let names: Vec<&'static str> = systems.iter().map(|system| system.name()).collect();
    let text = report(&blocks, &systems, &results, args, took, others);
    print!("{text}");
    write(&results.rows(&blocks, &names), &text, args)
}

/// The blocks with those cells that are asked for.
fn chosen(mut blocks: Vec<Block>, only: &[String]) -> Vec<Block> {
    for block in &mut blocks {
        block.cells.retain(|cell| contains_one(cell.workload, only));
    }
    blocks.retain(|block| !block.cells.is_empty());
    blocks
}

fn contains_one(name: &str, texts: &[String]) -> bool {
    texts.is_empty() || texts.iter().any(|text| name.contains(text.as_str()))
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
                    results.add(cell, system, &figures);
                }
            })?;
        }
    }
    for rep in 1..=args.reps {
        for cell in cells().filter(|cell| !cell.work.is_timed()) {
            eprintln!("repetition {rep} of {}: {}", args.reps, cell.workload);
            run_systems(cell, systems, args.size, rep, |system, figures| {
                results.add(cell, system, &figures);
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
    let (first, rest) = systems.split_at(rep % systems.len());
    for system in rest.iter().chain(first) {
        if !system.takes(cell.work) {
            continue;
        }
        thread::sleep(PAUSE);
        let figures = if cell.work.needs_own_process() {
            in_own_process(cell, system.as_ref(), size)?
        } else {
            system.measure(cell.work, size)
        };
        take(system.name(), figures);
    }
    Ok(())
}

fn in_own_process(cell: &Cell, system: &dyn Candidate, size: Size) -> Result<Vec<f64>> {
    let output = process::Command::new(env::current_exe()?)
        .args(args::run_once(cell.workload, system.name(), size))
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{} on {}: {said}", cell.workload, system.name()).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let figures: std::result::Result<_, _> = text.split_whitespace().map(str::parse).collect();
    Ok(figures?)
}

/// The other side of [`in_own_process`].
fn run_once(workload: &str, system: &str, size: Size) -> Result<()> {
    let blocks = plan::blocks();
    let mut cells = blocks.iter().flat_map(|block| &block.cells);
    let cell = cells.find(|cell| cell.workload == workload);
    let systems = systems::all();
    let system = systems.iter().find(|known| known.name() == system);
    let (cell, system) = cell.zip(system).ok_or("nothing is called that")?;
    for figure in system.measure(cell.work, size) {
        println!("{figure}");
    }
    Ok(())
}

/// What is printed and written: tables, goals, and under what conditions they came about.
fn report(
    blocks: &[Block],
    systems: &[Box<dyn Candidate>],
    results: &Results,
    args: &Args,
    took: Duration,
    others: Option<f64>,
) -> String {
    let names: Vec<&'static str> = systems.iter().map(|system| system.name()).collect();
    let mut text = String::from("# Local speed\n\n");
    text += "`cargo bench --manifest-path benches/Cargo.toml --bench local";
    if cfg!(feature = "metrics") {
        text += " --features metrics";
    }
    text += "`\n\n";
    text += &format!("- Machine: {}.\n", machine::describe());
    text += &format!("- Peers: {}\n", machine::peers());
    text += &format!(
        "- Medians [smallest..largest] of {} repetitions, {} s in all.\n",
        args.reps,
        took.as_secs()
    );
    if let Some(others) = others {
        let percent = others * 100.0;
        text += &format!("- Other processes used {percent:.1} % of the processor time.\n");
    }
    if args.size == Size::Quick {
        text += "- **A quick run: it shows that the program works, not how fast anything is.**\n";
    }
    if args.force {
        text += "- **Forced: nobody made sure that the machine was quiet.**\n";
    }
    text += "\n";
    for block in blocks {
        text += &render::block(block, &names, results);
    }
    text + &render::goals(&goals::verdicts(blocks, systems, results))
}

fn write(rows: &[&Row], text: &str, args: &Args) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = root.join("target/bench");
    write_file(
        &folder.join("local.json"),
        &serde_json::to_string_pretty(rows)?,
    )?;
    let markdown: PathBuf = if args.write_guide {
        root.join("guide/src/bench-local.md")
    } else {
        folder.join("local.md")
    };
    write_file(&markdown, text)
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, format!("{}\n", text.trim_end()))?;
    let path = fs::canonicalize(path)?;
    eprintln!("wrote {}", path.display());
    Ok(())
}
