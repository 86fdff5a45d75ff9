//! The command line.

pub(super) const HELP: &str = "\
A coffee shop: orders in a queue, baristas under leases, and three accidents.

Usage: coffee_shop [OPTIONS]

Options:
      --seed N       Another day: other guests, drinks and accidents [default: 7]
      --customers N  How many come, from 4 to 1000 [default: 8]
      --live         On real threads and by a real clock, instead of in virtual time
  -h, --help         Print this help

Its exit status is 0 if every order was made once or refused with a reason, 1 if not,
2 if it could not start.";

const MOST_CUSTOMERS: usize = 1_000;
/// So that each kind of accident finds an order of its own.
const FEWEST_CUSTOMERS: usize = 4;

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Run(Run),
}

/// Which day, and how.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    pub(super) seed: u64,
    pub(super) customers: usize,
    pub(super) live: bool,
}

impl Default for Run {
    fn default() -> Self {
        Run {
            seed: 7,
            customers: 8,
            live: false,
        }
    }
}

impl Run {
    /// That day in virtual time.
    pub fn simulated(seed: u64, customers: usize) -> Self {
        let live = false;
        Run {
            seed,
            customers,
            live,
        }
    }

    /// That day as long as it takes.
    pub fn live(seed: u64, customers: usize) -> Self {
        let live = true;
        Run {
            seed,
            customers,
            live,
        }
    }
}

/// Reads the arguments behind the program's name. An error says which one is wrong.
pub(super) fn parse(mut args: impl Iterator<Item = String>) -> Result<Command, String> {
    let mut run = Run::default();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-h" | "--help" => return Ok(Command::Help),
            "--live" => run.live = true,
            "--seed" => run.seed = number(&arg, args.next())?,
            "--customers" => {
                run.customers = number(&arg, args.next())?;
                if !(FEWEST_CUSTOMERS..=MOST_CUSTOMERS).contains(&run.customers) {
                    return Err(format!(
                        "--customers is {}, which isn't from {FEWEST_CUSTOMERS} to {MOST_CUSTOMERS}",
                        run.customers
                    ));
                }
            }
            _ => return Err(format!("unknown argument {arg:?}")),
        }
    }
    Ok(Command::Run(run))
}

fn number<N: std::str::FromStr>(option: &str, text: Option<String>) -> Result<N, String> {
    let text = text.ok_or_else(|| format!("{option} needs a number"))?;
    let number = text.parse();
    number.map_err(|_| format!("{option} needs a number, not {text:?}"))
}
