//! What every benchmark does around its runs.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{self, ExitCode};
use std::time::Duration;

use crate::args::{self, Args};
use crate::machine::{self, Usage};
use crate::results::Row;
use crate::size::Size;
use crate::stopwatch::Stopwatch;

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Lets threads of the run before come to their end.
pub const PAUSE: Duration = Duration::from_millis(10);

/// The end of `main`.
#[must_use]
pub fn ended(program: &str, result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Makes sure that the machine is quiet.
///
/// # Errors
/// If it isn't, and nobody said that this doesn't matter.
pub fn wait_for_nobody(program: &str, args: &Args) -> Result<()> {
    if let Some(why) = machine::why_busy() {
        if !args.force {
            return Err(format!("not measured: {why}. Wait, or give --force.").into());
        }
        eprintln!("{program}: {why}; measuring all the same");
    }
    Ok(())
}

/// Under what conditions figures came about.
#[derive(Debug)]
pub struct Conditions {
    begin: Stopwatch,
    before: Option<Usage>,
}

impl Conditions {
    /// Begins now.
    #[must_use]
    pub fn watch() -> Self {
        Conditions {
            begin: Stopwatch::start(),
            before: Usage::now(),
        }
    }

    /// The list that stands above the tables. Ends now.
    #[must_use]
    pub fn report(&self, args: &Args, peers: &str) -> String {
        let took = self.begin.elapsed();
        let others = self
            .before
            .zip(Usage::now())
            .map(|(before, now)| now.since(&before).others_share());
        let mut text = format!("- Machine: {}.\n", machine::describe());
        text += &format!("- Peers: {peers}\n");
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
            text +=
                "- **A quick run: it shows that the program works, not how fast anything is.**\n";
        }
        if args.force {
            text += "- **Forced: nobody made sure that the machine was quiet.**\n";
        }
        text + "\n"
    }
}

/// Writes `target/bench/<name>.json`, and the Markdown beside it or into the guide.
///
/// # Errors
/// What the file system says.
pub fn write(name: &str, rows: &[&Row], text: &str, args: &Args) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = root.join("target/bench");
    let json = serde_json::to_string_pretty(rows)?;
    write_file(&folder.join(format!("{name}.json")), &json)?;
    let markdown = match args.write_guide {
        true => root.join(format!("guide/src/bench-{name}.md")),
        false => folder.join(format!("{name}.md")),
    };
    write_file(&markdown, text)
}

/// Runs a workload once in a process of its own, which gets [`Command::RunOnce`](crate::args::Command::RunOnce).
///
/// # Errors
/// What that process says, if it fails.
pub fn in_own_process(workload: &str, system: &str, size: Size) -> Result<Vec<f64>> {
    let output = process::Command::new(env::current_exe()?)
        .args(args::run_once(workload, system, size))
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{workload} on {system}: {said}").into());
    }
    let text = String::from_utf8(output.stdout)?;
    let figures: std::result::Result<_, _> = text.split_whitespace().map(str::parse).collect();
    Ok(figures?)
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
