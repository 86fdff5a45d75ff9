//! The command line.

pub(super) const HELP: &str = "\
A bakery whose people are killed at random, and a supervision tree that brings them back.

Usage: self_healing [OPTIONS]

Options:
      --seconds N  How long, from 1 to 3600 [default: 15]
      --seed N     Other accidents, at other times [default: 7]
      --plain      One line for each thing that happens, instead of a tree that is drawn in place;
                   so it is also where standard output is no terminal
      --tour       One accident of each kind, in virtual time, each healed before the next
  -h, --help       Print this help

Its exit status is 0 if nothing that was queued was lost, 1 if something was, 2 if it could not start.";

const LONGEST: u32 = 3_600;

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Tour,
    Run(Run),
}

/// A run by a real clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub(super) seconds: u32,
    pub(super) seed: u64,
    pub(super) plain: bool,
}

impl Run {
    /// That long, under that seed, line by line.
    pub fn plain(seconds: u32, seed: u64) -> Self {
        Run {
            seconds,
            seed,
            plain: true,
        }
    }
}

/// Reads the arguments behind the program's name. An error says which one is wrong.
pub(super) fn parse(mut args: impl Iterator<Item = String>) -> Result<Command, String> {
    let mut run = Run {
        seconds: 15,
        seed: 7,
        plain: false,
    };
    let mut tour = false;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-h" | "--help" => return Ok(Command::Help),
            "--plain" => run.plain = true,
            "--tour" => tour = true,
            "--seed" => run.seed = number(&arg, args.next())?,
            "--seconds" => {
                run.seconds = number(&arg, args.next())?;
                if !(1..=LONGEST).contains(&run.seconds) {
                    let seconds = run.seconds;
                    return Err(format!(
                        "--seconds is {seconds}, which isn't from 1 to {LONGEST}"
                    ));
                }
            }
            _ => return Err(format!("unknown argument {arg:?}")),
        }
    }
    Ok(if tour {
        Command::Tour
    } else {
        Command::Run(run)
    })
}

fn number<N: std::str::FromStr>(option: &str, text: Option<String>) -> Result<N, String> {
    let text = text.ok_or_else(|| format!("{option} needs a number"))?;
    let number = text.parse();
    number.map_err(|_| format!("{option} needs a number, not {text:?}"))
}
