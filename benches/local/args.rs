//! The command line.

use crate::workloads::Size;

pub(crate) const HELP: &str = "\
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

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) only: Vec<String>,
    pub(crate) systems: Vec<String>,
    pub(crate) reps: usize,
    pub(crate) size: Size,
    pub(crate) force: bool,
    pub(crate) write_guide: bool,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
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
pub(crate) fn run_once(workload: &str, system: &str, size: Size) -> Vec<String> {
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
pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Command, String> {
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
        Size::Full => 5,
        Size::Quick => 3,
    });
    Ok(Command::Measure(parsed))
}
