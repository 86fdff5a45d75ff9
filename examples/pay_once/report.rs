//! What the runs came to, and whether each kept what its mode promises.

use std::io::{self, Write};

use crate::args::Mode;
use crate::crash::{Plan, Point};
use crate::customers::{CENTS, Told};
use crate::events::{FOUND, RECEIVED};
use crate::stage::Outcome;

#[cfg(test)]
mod tests;

/// How wide a column of figures is.
const COLUMN: usize = 18;
const FIRST: usize = 48;
/// So many numbers stand in a line.
const LISTED: usize = 20;

/// The runs side by side.
pub(crate) fn table(outcomes: &[Outcome], out: &mut impl Write) -> io::Result<()> {
    write!(out, "\n{:FIRST$}", "")?;
    for outcome in outcomes {
        write!(out, "{:>COLUMN$}", outcome.mode.name())?;
    }
    writeln!(out)?;
    let mut row = |label: &str, figure: &dyn Fn(&Outcome) -> String| {
        write!(out, "{label:FIRST$}")?;
        for outcome in outcomes {
            write!(out, "{:>COLUMN$}", figure(outcome))?;
        }
        writeln!(out)
    };
    row("payments", &|it| it.payments.to_string())?;
    row("kills", &|it| it.kills.values().sum::<u32>().to_string())?;
    let points = Point::ALL.map(Point::text);
    let outside = Plan::Outside(std::time::Duration::ZERO).text();
    for point in points.into_iter().chain([outside]) {
        let count = |it: &Outcome| it.kills.get(point).copied().unwrap_or(0).to_string();
        row(&format!("  {point}"), &count)?;
    }
    row("retries of the policy", &|it| it.calls.retries.to_string())?;
    row("presses of the button besides", &|it| {
        it.pressed_again.to_string()
    })?;
    row("times that the bank's handler began", &|it| {
        it.noted(RECEIVED).to_string()
    })?;
    // A store before the handler answers in its place.
    row("  and found its answer there", &|it| match it.mode {
        Mode::OwnTransaction => it.noted(FOUND).to_string(),
        Mode::DurableStore | Mode::NoKeys => "-".to_owned(),
    })?;
    row("customers that have a receipt", &|it| {
        it.were_told(&Told::Paid).to_string()
    })?;
    row("  that were told that nobody knows", &|it| {
        it.were_told(&Told::Indeterminate).to_string()
    })?;
    row("  that gave up", &|it| {
        it.were_told(&Told::GaveUp).to_string()
    })?;
    row("payments made once", &|it| {
        it.made(|times| times == 1).to_string()
    })?;
    row("  twice, or more often", &|it| {
        it.made(|times| times > 1).to_string()
    })?;
    row("  never", &|it| it.made(|times| times == 0).to_string())?;
    row("John should have got, in cents", &|it| {
        it.expected().to_string()
    })?;
    row("John got", &|it| it.books.john_got.to_string())?;
    writeln!(out)
}

/// What a mode promises, and whether it was kept. `true` if so.
pub(crate) fn judge(outcome: &Outcome, out: &mut impl Write) -> io::Result<bool> {
    let problems = outcome.problems();
    let name = outcome.mode.name();
    if problems.is_empty() {
        writeln!(out, "{name}: {}", outcome.kept())?;
    }
    let (made, not_made) = outcome.nobody_knew();
    list("by the ledger made:", &made, out)?;
    list("by the ledger not made:", &not_made, out)?;
    for problem in &problems {
        writeln!(out, "{name}: BROKEN: {problem}")?;
    }
    Ok(problems.is_empty())
}

/// Numbers, as many in a line as can be read.
fn list(label: &str, payments: &[u32], out: &mut impl Write) -> io::Result<()> {
    if payments.is_empty() {
        return Ok(());
    }
    writeln!(out, "    {label}")?;
    for line in payments.chunks(LISTED) {
        write!(out, "       ")?;
        for payment in line {
            write!(out, " {payment:>4}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

impl Outcome {
    /// So many events say that.
    fn noted(&self, what: &str) -> usize {
        let noted = self.events.iter();
        noted.filter(|event| event.what.starts_with(what)).count()
    }

    fn were_told(&self, what: &Told) -> usize {
        self.told.values().filter(|told| *told == what).count()
    }

    fn times(&self, payment: u32) -> u32 {
        self.books.times.get(&payment).copied().unwrap_or(0)
    }

    /// So many payments are in the ledger that often.
    fn made(&self, times: impl Fn(u32) -> bool) -> usize {
        (0..self.payments)
            .filter(|payment| times(self.times(*payment)))
            .count()
    }

    fn expected(&self) -> i64 {
        i64::from(self.payments) * i64::from(CENTS)
    }

    /// The payments of which nobody knew: those that the ledger has, and those that it hasn't.
    fn nobody_knew(&self) -> (Vec<u32>, Vec<u32>) {
        let told = self.told.iter();
        let unknown = told.filter(|(_, told)| **told == Told::Indeterminate);
        let unknown = unknown.map(|(payment, _)| *payment);
        unknown.partition(|payment| self.times(*payment) > 0)
    }

    // ANCHOR: problems
    fn problems(&self) -> Vec<String> {
        let mut problems = self.other_ends.clone();
        let books = &self.books;
        if books.check != "ok" {
            problems.push(format!("SQLite finds its file damaged: {}", books.check));
        }
        if books.made_of_nothing != 0 || books.john_got != books.by_the_ledger() {
            problems.push(format!(
                "the books are wrong: {} cents of nothing, John got {} and {} by the ledger",
                books.made_of_nothing,
                books.john_got,
                books.by_the_ledger()
            ));
        }
        for payment in 0..self.payments {
            let (told, times) = (self.told.get(&payment), self.times(payment));
            let fits = match (self.mode, told) {
                (Mode::OwnTransaction, Some(Told::Paid)) => times == 1,
                (Mode::DurableStore, Some(Told::Paid)) => times == 1,
                // It has begun, and the store never lets it begin again.
                (Mode::DurableStore, Some(Told::Indeterminate)) => times <= 1,
                // Nobody keeps count, so a receipt says no more than that it was made.
                (Mode::NoKeys, Some(Told::Paid)) => times >= 1,
                (Mode::NoKeys, Some(Told::GaveUp)) => times <= 1,
                _ => false,
            };
            if !fits {
                problems.push(format!(
                    "payment {payment} was made {times} times, and its customer was told {told:?}"
                ));
            }
        }
        problems
    }
    // ANCHOR_END: problems

    /// What was kept.
    fn kept(&self) -> String {
        match self.mode {
            Mode::OwnTransaction => {
                "each payment was made exactly once, and each customer knows it".to_owned()
            }
            Mode::DurableStore => {
                let (made, not_made) = self.nobody_knew();
                let unknown = made.len() + not_made.len();
                format!("no payment was made twice; of {unknown} the bank said that nobody knows")
            }
            Mode::NoKeys => {
                let (twice, never) = (self.made(|it| it > 1), self.made(|it| it == 0));
                if twice + never == 0 {
                    return "no payment happened to be made twice or lost, this time".to_owned();
                }
                format!("{twice} payments were made twice, {never} never: what keys are for")
            }
        }
    }
}

/// What became of one payment whose bank was killed.
pub(crate) fn timeline(outcome: &Outcome, out: &mut impl Write) -> io::Result<()> {
    let Some(payment) = interesting(outcome) else {
        return writeln!(out, "\nno payment was in hand when the bank was killed");
    };
    let is_its = |event: &&crate::events::Event| event.payment == Some(payment);
    let mut its = outcome.events.iter().filter(is_its);
    let Some(first) = its.next() else {
        return Ok(());
    };
    let last = its.next_back().unwrap_or(first);
    let name = outcome.mode.name();
    writeln!(out, "\n{name}: payment {payment}, in milliseconds")?;
    let during = outcome.events.iter().filter(|event| {
        let of_the_bank = event.payment.is_none() && event.at > first.at && event.at < last.at;
        is_its(event) || of_the_bank
    });
    for event in during {
        let at = event.at.saturating_sub(first.at).as_secs_f64() * 1_000.0;
        writeln!(out, "{at:>9.2}  {event}")?;
    }
    Ok(())
}

/// A payment whose bank was killed between commit and answer; if there is none, one whose bank was killed at all.
fn interesting(outcome: &Outcome) -> Option<u32> {
    let killed_at = |point: Point| {
        let events = outcome.events.iter();
        let mut events = events.filter(|event| event.what.ends_with(point.text()));
        events.find_map(|event| event.payment)
    };
    Point::ALL.into_iter().rev().find_map(killed_at)
}
