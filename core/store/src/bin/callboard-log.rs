//! `callboard-log`: looks into journals from a shell.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use callboard_store::{Disk, RealDisk, check, dump, repair};

const HELP: &str = "\
Looks into the journals of a store.

Usage: callboard-log <command> <directory>

Commands:
  check   Says what is there and what is damaged; changes nothing
  repair  Cuts torn ends and sets damaged bytes aside, in the directory `damaged`
  dump    Writes a line for each record; with --bodies, also its bytes

The directory is that of one journal, or of a store: then all of its journals are looked at.

Ends with 0 if all is sound, with 1 if something is damaged or missing, with 2 if that could not be found out.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let out = &mut std::io::stdout().lock();
    match run(&arguments, out) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("callboard-log: {error}");
            ExitCode::from(2)
        }
    }
}

type AnyError = Box<dyn std::error::Error>;

fn run(arguments: &[String], out: &mut dyn Write) -> Result<bool, AnyError> {
    let bodies = arguments.iter().any(|argument| argument == "--bodies");
    if arguments
        .iter()
        .any(|argument| argument == "--help" || argument == "-h")
    {
        write!(out, "{HELP}")?;
        return Ok(true);
    }
    let unknown = |argument: &&String| argument.starts_with('-') && *argument != "--bodies";
    if let Some(unknown) = arguments.iter().find(unknown) {
        return Err(format!("there is no option {unknown}; see --help").into());
    }
    let words: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let [command, dir] = words[..] else {
        return Err(format!("a command and a directory are needed\n\n{HELP}").into());
    };
    let mut sound = true;
    for journal in journals(Path::new(dir))? {
        writeln!(out, "{}", journal.display())?;
        match command.as_str() {
            "check" | "repair" => {
                let report = if command == "check" {
                    check(&RealDisk, &journal)?
                } else {
                    repair(&RealDisk, &journal)?
                };
                sound &= report.is_sound();
                writeln!(out, "{report}\n")?;
            }
            "dump" => dump(&RealDisk, &journal, bodies, out)?,
            other => return Err(format!("there is no command {other}; see --help").into()),
        }
    }
    Ok(sound)
}

/// The directory itself if it holds segments, else those in it that do.
fn journals(dir: &Path) -> Result<Vec<PathBuf>, AnyError> {
    let has_segments = |dir: &Path| {
        let names = RealDisk.list(dir).unwrap_or_default();
        names.iter().any(|name| name.ends_with(".seg"))
    };
    if has_segments(dir) {
        return Ok(vec![dir.to_path_buf()]);
    }
    let names = RealDisk.list(dir);
    let names = names.map_err(|error| format!("{}: {error}", dir.display()))?;
    let inside = names
        .iter()
        .filter(|name| !name.starts_with('.'))
        .map(|name| dir.join(name));
    let journals: Vec<PathBuf> = inside.filter(|dir| has_segments(dir)).collect();
    if journals.is_empty() {
        return Err(format!("{} holds no journal", dir.display()).into());
    }
    Ok(journals)
}
