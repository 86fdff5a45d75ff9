//! The command line.

use crate::size::Size;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Args {
    pub only: Vec<String>,
    pub systems: Vec<String>,
    pub reps: usize,
    pub size: Size,
    pub force: bool,
    pub write_guide: bool,
}

/// What a benchmark does unless it is told otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    /// Repetitions of a run that measures.
    pub full: usize,
    /// Repetitions of a run that shows that it works.
    pub quick: usize,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Help,
    List,
    Measure(Args),
    /// For this program itself: one run, in a process of its own, whose figures go to standard output.
    RunOnce {
        workload: String,
        system: String,
        size: Size,
    },
}

/// How this program calls itself for a run in a process of its own.
#[must_use]
pub fn run_once(workload: &str, system: &str, size: Size) -> Vec<String> {
    let mut args = vec![
        "--run-once".to_owned(),
        workload.to_owned(),
        system.to_owned(),
    ];
    if size == Size::Quick {
        args.push("--quick".to_owned());
    }
    args
}

/// Understands the arguments.
///
/// # Errors
/// What is wrong with them, as a sentence.
pub fn parse(args: impl Iterator<Item = String>, defaults: Defaults) -> Result<Command, String> {
    let mut args = args.peekable();
    let mut once = None;
    let mut reps = None;
    let mut parsed = Args {
        only: Vec::new(),
        systems: Vec::new(),
        reps: 0,
        size: Size::Full,
        force: false,
        write_guide: false,
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            // Cargo gives it to every benchmark.
            "--bench" => {}
            "--help" | "-h" => return Ok(Command::Help),
            "--list" => return Ok(Command::List),
            "--only" => parsed.only.push(value()?),
            "--system" => parsed.systems.push(value()?),
            "--reps" => {
                let text = value()?;
                let count = text.parse().ok().filter(|count| *count > 0);
                reps = Some(count.ok_or(format!("--reps {text}: not a number above 0"))?);
            }
            "--quick" => parsed.size = Size::Quick,
            "--force" => parsed.force = true,
            "--write-guide" => parsed.write_guide = true,
            "--run-once" => once = Some((value()?, value()?)),
            _ => return Err(format!("{arg}: unknown; see --help")),
        }
    }
    if let Some((workload, system)) = once {
        let size = parsed.size;
        return Ok(Command::RunOnce {
            workload,
            system,
            size,
        });
    }
    let partial = !parsed.only.is_empty() || !parsed.systems.is_empty();
    if parsed.write_guide && (partial || parsed.size == Size::Quick) {
        return Err("--write-guide wants a whole run: no --quick, --only or --system".to_owned());
    }
    parsed.reps = reps.unwrap_or(match parsed.size {
        Size::Full => defaults.full,
        Size::Quick => defaults.quick,
    });
    Ok(Command::Measure(parsed))
}
