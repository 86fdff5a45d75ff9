//! The `main` of a benchmark: its command line, what is chosen, under what conditions, where results go.

use std::env;
use std::process::ExitCode;

use crate::args::{self, Args, Command, Defaults};
use crate::plan::{Block, Cell, chosen, contains_one};
use crate::results::Results;
use crate::run::{self, Conditions, Result};
use crate::size::Size;

/// What differs from one benchmark to the next.
pub trait Program {
    /// Of its files, and in what it says.
    const NAME: &'static str;
    /// What `--help` prints.
    const HELP: &'static str;
    /// Repetitions.
    const DEFAULTS: Defaults;
    /// A workload.
    type Work;
    /// A system under test.
    type System: ?Sized;

    /// The plan of the tables.
    fn blocks() -> Vec<Block<Self::Work>>;

    /// All systems, in the order of the tables.
    fn systems() -> Vec<Box<Self::System>>;

    /// In tables, and what `--system` looks at.
    fn name(system: &Self::System) -> &'static str;

    /// Why a system isn't measured on this machine, if it isn't.
    fn missing(system: &Self::System) -> Option<String> {
        let _ = system;
        None
    }

    /// What is measured beside Callboard, with versions.
    fn peers() -> String;

    /// All repetitions of what was chosen.
    ///
    /// # Errors
    /// What went wrong in a run.
    fn run(
        blocks: &[Block<Self::Work>],
        systems: &[Box<Self::System>],
        args: &Args,
    ) -> Result<Results>;

    /// What is printed and written.
    fn report(
        blocks: &[Block<Self::Work>],
        systems: &[Box<Self::System>],
        results: &Results,
        conditions: &str,
    ) -> String;

    /// The other side of [`run::in_own_process`].
    ///
    /// # Errors
    /// What went wrong in the run; always, where there are none.
    fn run_once(workload: &str, system: &str, size: Size) -> Result<()> {
        let _ = (workload, system, size);
        Err("this one has no runs in processes of their own".into())
    }
}

/// Does what the command line says.
#[must_use]
pub fn main<P: Program>() -> ExitCode {
    let done = match args::parse(env::args().skip(1), P::DEFAULTS) {
        Ok(Command::Help) => {
            println!("{}", P::HELP);
            Ok(())
        }
        Ok(Command::List) => {
            list::<P>();
            Ok(())
        }
        Ok(Command::RunOnce {
            workload,
            system,
            size,
        }) => P::run_once(&workload, &system, size),
        Ok(Command::Measure(args)) => measure::<P>(&args),
        Err(wrong) => Err(wrong.into()),
    };
    run::ended(P::NAME, done)
}

fn list<P: Program>() {
    for cell in P::blocks().iter().flat_map(|block| &block.cells) {
        println!("workload  {}", cell.workload);
    }
    for system in P::systems() {
        let missing = P::missing(&system).map(|why| format!(" ({why})"));
        println!(
            "system    {}{}",
            P::name(&system),
            missing.unwrap_or_default()
        );
    }
}

fn measure<P: Program>(args: &Args) -> Result<()> {
    run::wait_for_nobody(P::NAME, args)?;
    let blocks = chosen(P::blocks(), &args.only);
    let mut systems = P::systems();
    systems.retain(|system| contains_one(P::name(system), &args.systems));
    if blocks.is_empty() || systems.is_empty() {
        return Err("nothing is called that; see --list".into());
    }
    let missing: Vec<String> = systems
        .iter()
        .filter_map(|system| Some(format!("{}: {}", P::name(system), P::missing(system)?)))
        .collect();
    systems.retain(|system| P::missing(system).is_none());

    let conditions = Conditions::watch();
    let results = P::run(&blocks, &systems, args)?;
    let mut conditions = conditions.report(args, &P::peers()).trim_end().to_owned();
    for why in missing {
        conditions += &format!("\n- Not measured: {why}.");
    }
    for why in results.failures() {
        conditions += &format!("\n- **Failed: {why}.**");
    }
    conditions += "\n\n";

    let names: Vec<&'static str> = systems.iter().map(|system| P::name(system)).collect();
    let text = P::report(&blocks, &systems, &results, &conditions);
    print!("{text}");
    run::write(P::NAME, &results.rows(&blocks, &names), &text, args)?;
    match results.failures().len() {
        0 => Ok(()),
        failed => Err(format!("{failed} kinds of runs failed, see above").into()),
    }
}

/// The cell and the system of these names, for [`Program::run_once`].
///
/// # Errors
/// If nothing is called that.
pub fn find<P: Program>(workload: &str, system: &str) -> Result<(Cell<P::Work>, Box<P::System>)> {
    let cells = P::blocks().into_iter().flat_map(|block| block.cells);
    let cell = { cells }.find(|cell| cell.workload == workload);
    let system = P::systems().into_iter().find(|it| P::name(it) == system);
    cell.zip(system)
        .ok_or_else(|| "nothing is called that".into())
}

/// The systems, each repetition starting with another one.
pub fn in_turn<S: ?Sized>(systems: &[Box<S>], rep: usize) -> impl Iterator<Item = &S> {
    let (first, rest) = systems.split_at(rep % systems.len().max(1));
    rest.iter().chain(first).map(|system| &**system)
}
