//! The command line.

use std::ffi::OsString;

use callboard::Incarnation;

use crate::bank::{Folder, Role};

#[cfg(test)]
mod tests;

pub(crate) const HELP: &str = "\
Pay John 100: customers pay again and again while the bank is killed in the middle of it.

Usage: pay_once [OPTIONS]

Options:
      --mode M       One of the modes below, instead of all in turn
      --payments N   How many payments, from 1 to 100000 [default: 1000]
      --clients N    How many customers pay side by side, from 1 to 64 [default: 8]
      --kills N      How often the bank is killed in each mode, up to 1000 [default: 40]
      --seed N       Other points at which it is killed [default: 7]
      --trace        Afterwards, what became of one payment whose bank was killed
  -h, --help         Print this help

Modes:
  own-transaction    The request key is written by the payment's own transaction
  durable-store      It is kept by the built-in store, on disk beside the bank's database
  no-keys            Payments have no keys

Each payment is made by a bank process with its accounts in SQLite, over a Unix socket. It is killed by SIGKILL on
receipt of a payment, in the middle of the transaction, right before the commit, between commit and answer, and
from outside at any time.

Its exit status is 0 if each mode kept what it promises, 1 if not, 2 if it could not start.";

/// Whether, and where, the request keys are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// In the payment's own transaction.
    OwnTransaction,
    /// By the built-in store, on disk.
    DurableStore,
    /// There are none.
    NoKeys,
}

impl Mode {
    pub(crate) const ALL: [Mode; 3] = [Mode::OwnTransaction, Mode::DurableStore, Mode::NoKeys];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::OwnTransaction => "own-transaction",
            Mode::DurableStore => "durable-store",
            Mode::NoKeys => "no-keys",
        }
    }

    /// What it is, for people.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Mode::OwnTransaction => "the key in the payment's own transaction",
            Mode::DurableStore => "the key in a store on disk",
            Mode::NoKeys => "no keys",
        }
    }

    fn parse(name: &str) -> Result<Self, String> {
        let mode = Mode::ALL.into_iter().find(|mode| mode.name() == name);
        let names: Vec<&str> = Mode::ALL.into_iter().map(Mode::name).collect();
        mode.ok_or_else(|| format!("--mode is {name:?}, and not one of {}", names.join(", ")))
    }
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Run(Run),
    /// A child process: this executable, started again.
    Bank(Role),
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) modes: Vec<Mode>,
    pub(crate) payments: u32,
    pub(crate) clients: u32,
    pub(crate) kills: u32,
    pub(crate) seed: u64,
    pub(crate) trace: bool,
}

/// The first argument of a child process.
const BANK: &str = "--bank";

impl Role {
    /// The arguments that make the executable this child: what [`parse`] reads back.
    pub(crate) fn to_args(&self) -> Vec<OsString> {
        vec![
            BANK.into(),
            self.folder.0.clone().into(),
            self.mode.name().into(),
            self.incarnation.to_string().into(),
            self.plan.to_string().into(),
        ]
    }

    fn from_args(args: &[OsString]) -> Result<Self, String> {
        let [folder, mode, incarnation, plan] = args else {
            return Err(format!("{BANK} needs four arguments"));
        };
        let text = |arg: &OsString| arg.to_string_lossy().into_owned();
        let incarnation = text(incarnation).parse();
        Ok(Role {
            folder: Folder(folder.into()),
            mode: Mode::parse(&text(mode))?,
            incarnation: Incarnation(incarnation.map_err(|_| "no incarnation".to_owned())?),
            plan: text(plan).parse()?,
        })
    }
}

/// Reads the arguments behind the program's name. An error says which one is wrong.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut args = args.into_iter();
    let mut run = Run {
        modes: Mode::ALL.to_vec(),
        payments: 1_000,
        clients: 8,
        kills: 40,
        seed: 7,
        trace: false,
    };
    while let Some(arg) = args.next() {
        let option = arg.to_string_lossy().into_owned();
        match option.as_str() {
            "-h" | "--help" => return Ok(Command::Help),
            BANK => return Role::from_args(&args.collect::<Vec<_>>()).map(Command::Bank),
            "--trace" => run.trace = true,
            "--mode" => run.modes = vec![Mode::parse(&value(&option, args.next())?)?],
            "--payments" => run.payments = number(&option, args.next(), 1, 100_000)?,
            "--clients" => run.clients = number(&option, args.next(), 1, 64)?,
            "--kills" => run.kills = number(&option, args.next(), 0, 1_000)?,
            "--seed" => run.seed = number(&option, args.next(), 0, u64::MAX)?,
            _ => return Err(format!("unknown argument {option:?}")),
        }
    }
    Ok(Command::Run(run))
}

fn value(option: &str, value: Option<OsString>) -> Result<String, String> {
    let value = value.ok_or_else(|| format!("{option} needs a value"))?;
    Ok(value.to_string_lossy().into_owned())
}

fn number<N>(option: &str, text: Option<OsString>, least: N, most: N) -> Result<N, String>
where
    N: std::str::FromStr + PartialOrd + Copy + std::fmt::Display,
{
    let text = value(option, text)?;
    let number = text.parse();
    let number: N = number.map_err(|_| format!("{option} needs a number, not {text:?}"))?;
    if number < least || number > most {
        return Err(format!(
            "{option} is {number}, which isn't from {least} to {most}"
        ));
    }
    Ok(number)
}
