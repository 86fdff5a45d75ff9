//! The command line.

pub(super) const HELP: &str = "\
A callee that becomes slow, and the file that says how it is called, edited while the load runs.

Usage: live_policy [OPTIONS]

Options:
      --seed N       Other latencies [default: 1]
      --live         By a real clock, which takes 21 seconds
      --by-hand      By a real clock, and nobody edits the file but you: its path is printed
      --seconds N    How long that goes on, from 6 to 3600 [default: 120]
  -h, --help         Print this help

Without --live and --by-hand time is virtual; the file is one of the disk in any case. The exit status is 0 if what is
said at the end holds, 1 if it doesn't, 2 if it could not start.";

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    /// In virtual time.
    Simulated {
        seed: u64,
    },
    Live,
    ByHand {
        seconds: u64,
    },
}

/// Reads the arguments behind the program's name. An error says which one is wrong.
pub(super) fn parse(mut args: impl Iterator<Item = String>) -> Result<Command, String> {
    let (mut seed, mut seconds) = (None, None);
    let (mut live, mut by_hand) = (false, false);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-h" | "--help" => return Ok(Command::Help),
            "--seed" => seed = Some(number(&arg, args.next())?),
            "--live" => live = true,
            "--by-hand" => by_hand = true,
            "--seconds" => {
                let wanted = number(&arg, args.next())?;
                if !(6..=3_600).contains(&wanted) {
                    return Err(format!("--seconds is {wanted}, which isn't from 6 to 3600"));
                }
                seconds = Some(wanted);
            }
            _ => return Err(format!("unknown argument {arg:?}")),
        }
    }
    match (live, by_hand) {
        (true, true) => Err("--live and --by-hand: one of them".to_owned()),
        (_, false) if seconds.is_some() => Err("--seconds needs --by-hand".to_owned()),
        (true, _) | (_, true) if seed.is_some() => {
            Err("--seed: a real clock repeats nothing".to_owned())
        }
        (true, false) => Ok(Command::Live),
        (false, true) => Ok(Command::ByHand {
            seconds: seconds.unwrap_or(120),
        }),
        (false, false) => Ok(Command::Simulated {
            seed: seed.unwrap_or(1),
        }),
    }
}

fn number(option: &str, text: Option<String>) -> Result<u64, String> {
    let text = text.ok_or_else(|| format!("{option} needs a number"))?;
    let number = text.parse();
    number.map_err(|_| format!("{option} needs a number, not {text:?}"))
}
