//! The command line.

use std::ops::RangeInclusive;

use super::storm::{RATE, Storm};

pub(super) const HELP: &str = "\
A callee that fails for five seconds under layers of callers that all mean well, four times over: with and without
budgets for retries, and with every layer retrying or only one.

Usage: retry_storm [OPTIONS]

Options:
      --layers N    How many layers of callers there are, from 2 to 6 [default: 5]
      --attempts N  How many attempts each of them makes, from 2 to 10 [default: 3]
      --capacity N  How many requests a second the callee can answer, from 51 to 1000000 [default: 75]
      --seed N      Other waits, in another order [default: 1]
      --svg FILE    Draws the load over time there, too
  -h, --help        Print this help

Time is virtual. The exit status is 0 if what is said at the end holds, 1 if it doesn't, 2 if it could not start.";

/// So many attempts for one request are enough for any chart.
const MOST: u64 = 1_000;

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Run { storm: Storm, svg: Option<String> },
}

/// Reads the arguments behind the program's name. An error says which one is wrong.
pub(super) fn parse(mut args: impl Iterator<Item = String>) -> Result<Command, String> {
    let (mut storm, mut svg) = (Storm::default(), None);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-h" | "--help" => return Ok(Command::Help),
            "--seed" => storm.seed = number(&arg, args.next(), &(0..=u64::MAX))?,
            "--layers" => storm.layers = number(&arg, args.next(), &(2..=6))?,
            "--attempts" => storm.attempts = number(&arg, args.next(), &(2..=10))?,
            "--capacity" => {
                storm.capacity = number(&arg, args.next(), &(RATE + 1..=1_000_000))?;
            }
            "--svg" => svg = Some(args.next().ok_or("--svg needs the name of a file")?),
            _ => return Err(format!("unknown argument {arg:?}")),
        }
    }
    if storm.worst() > MOST {
        let Storm {
            layers, attempts, ..
        } = storm;
        return Err(format!(
            "--attempts {attempts} in --layers {layers} is {} for each request, more than {MOST}",
            storm.worst()
        ));
    }
    Ok(Command::Run { storm, svg })
}

fn number<N>(option: &str, text: Option<String>, range: &RangeInclusive<N>) -> Result<N, String>
where
    N: std::str::FromStr + std::fmt::Display + PartialOrd,
{
    let text = text.ok_or_else(|| format!("{option} needs a number"))?;
    let number: N = text
        .parse()
        .map_err(|_| format!("{option} needs a number, not {text:?}"))?;
    if !range.contains(&number) {
        let (least, most) = (range.start(), range.end());
        return Err(format!(
            "{option} is {number}, which isn't from {least} to {most}"
        ));
    }
    Ok(number)
}
