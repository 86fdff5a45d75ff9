//! What happened to payments, as everybody who takes part noted it.
//!
//! The bank writes lines to a file, so that they outlive its incarnations: what was written is the kernel's, and SIGKILL
//! takes nothing back of it.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use callboard::Incarnation;
use callboard::clock::Clock;

#[cfg(test)]
mod tests;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// Since 1970: the one clock that processes share.
    pub(crate) at: Duration,
    /// Of which payment; none, if it happened to the bank.
    pub(crate) payment: Option<u32>,
    /// In which incarnation of the bank; none, if it happened to a customer.
    pub(crate) bank: Option<Incarnation>,
    pub(crate) what: String,
}

/// What the bank notes when an attempt arrives; its number follows.
pub(crate) const RECEIVED: &str = "received, attempt";
/// What it notes when it has answered from what it has kept.
pub(crate) const FOUND: &str = "found its key: the first answer, and no effect";

/// `bank 7` or `customer`.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.bank {
            Some(incarnation) => format!("bank {incarnation}"),
            None => "customer".to_owned(),
        };
        write!(f, "{who:<9} {}", self.what)
    }
}

/// The file that the bank writes.
pub(crate) struct Log {
    file: File,
    clock: Clock,
    incarnation: Incarnation,
}

impl Log {
    pub(crate) fn append(path: &Path, clock: &Clock, incarnation: Incarnation) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Log {
            file,
            clock: clock.clone(),
            incarnation,
        })
    }

    pub(crate) fn note(&self, payment: u32, what: impl fmt::Display) {
        let line = format!(
            "{}\t{payment}\t{}\t{what}\n",
            self.clock.unix().as_nanos(),
            self.incarnation
        );
        // One write, so that a line is there or isn't.
        if let Err(error) = (&self.file).write_all(line.as_bytes()) {
            eprintln!("pay_once: the log: {error}");
        }
    }
}

/// All that the incarnations of a bank have written.
pub(crate) fn read(path: &Path) -> Result<Vec<Event>, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        // None of them came so far.
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("the log: {error}")),
    };
    let lines = text.lines().enumerate();
    let events = lines.map(|(number, line)| {
        parse(line).ok_or_else(|| format!("the log: line {} is no event", number + 1))
    });
    events.collect()
}

fn parse(line: &str) -> Option<Event> {
    let mut parts = line.splitn(4, '\t');
    let nanos: u64 = parts.next()?.parse().ok()?;
    let payment = parts.next()?.parse().ok()?;
    let incarnation = parts.next()?.parse().ok()?;
    Some(Event {
        at: Duration::from_nanos(nanos),
        payment: Some(payment),
        bank: Some(Incarnation(incarnation)),
        what: parts.next()?.to_owned(),
    })
}
