//! The storms as a table, and as bars of text over time.

use std::io::{self, Write};
use std::time::Duration;

use super::load::{Measured, SLICE, Share, USUAL, slice_of};
use super::storm::{AFTER, OUTAGE, Storm, WELL};

/// Where the picture begins: that long before the callee fails.
const LEAD: Duration = Duration::from_secs(2);
/// Slices in a column.
const COLUMN: usize = 2;
/// Bars from an eighth of a line to a whole one.
const EIGHTHS: [char; 8] = [
    '\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}',
];

pub(super) fn table(measured: &[Measured], out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{:36} {:>18}  {:>11}  {:>16}",
        "", "attempts a request", "more load", "answered of those"
    )?;
    writeln!(
        out,
        "{:36} {:>8}  {:>8}  {:>11}  {:>8} {:>8}",
        "", "worst", "worst", "than usual,", "asking", "asking"
    )?;
    writeln!(
        out,
        "{:36} {:>8}  {:>8}  {:>11}  {:>8} {:>8}",
        "", "100 ms", "10 s", "afterwards", "meantime", "later"
    )?;
    for it in measured {
        writeln!(
            out,
            "{}  {:33} {:>8.1}  {:>8.1}  {:>11}  {:>8} {:>8}",
            it.variant.letter(),
            it.variant.text(),
            it.peak_factor(),
            it.window_factor(),
            tail(it.tail),
            percent(it.during),
            percent(it.after),
        )?;
    }
    writeln!(out)
}

fn tail(tail: Option<Duration>) -> String {
    match tail {
        None => format!("over {} s", AFTER.as_secs()),
        Some(Duration::ZERO) => "none".to_owned(),
        Some(tail) => format!("{:.1} s", tail.as_secs_f64()),
    }
}

fn percent(share: Share) -> String {
    format!("{} %", share.percent())
}

// ANCHOR: bars
/// Attempts for each request, over time. One line up is one layer more that retries: so many times as much.
pub(super) fn over_time(
    storm: &Storm,
    measured: &[Measured],
    out: &mut impl Write,
) -> io::Result<()> {
    let factor = f64::from(storm.attempts.max(2));
    let peaks = measured.iter().map(Measured::peak_factor);
    let highest = peaks.fold(factor, f64::max).ln() / factor.ln();
    let lines = highest.ceil() as i32;
    let from = slice_of(WELL - LEAD);
    let lead = slice_of(LEAD) / COLUMN;
    let fails = slice_of(OUTAGE) / COLUMN - 1;
    for it in measured {
        writeln!(out, "{}  {}", it.variant.letter(), it.variant.text())?;
        let columns = it.slices[from..].chunks(COLUMN).map(|slices| {
            let usual = USUAL as f64 * slices.len() as f64;
            slices.iter().sum::<u64>() as f64 / usual
        });
        let heights: Vec<f64> = columns.map(|load| load.ln() / factor.ln()).collect();
        for line in (0..lines).rev() {
            let bars: String = heights.iter().map(|height| bar(*height, line)).collect();
            let label = factor.powi(line + 1).round();
            writeln!(out, "{label:>5} |{}", bars.trim_end())?;
        }
        let rest = heights.len().saturating_sub(lead + fails + 2);
        let (lead, fails, rest) = ("-".repeat(lead), "-".repeat(fails), "-".repeat(rest));
        writeln!(out, "    1 +{lead}+{fails}+{rest}")?;
    }
    let (ends, width) = ("is well again", fails + 1);
    writeln!(out, "{:7}{:lead$}{:width$}{ends}", "", "", "fails")?;
    let column = SLICE * COLUMN as u32;
    writeln!(
        out,
        "({} ms a column; a line is full at {factor} times the load of the one below)\n",
        column.as_millis()
    )
}
// ANCHOR_END: bars

/// What of a bar of that height, in lines, lies in that line. The usual load is the thinnest bar.
fn bar(height: f64, line: i32) -> char {
    let eighths = ((height - f64::from(line)) * 8.0).round() as i32;
    let least = i32::from(line == 0 && height > f64::NEG_INFINITY);
    match eighths.max(least) {
        ..=0 => ' ',
        eighths => EIGHTHS[eighths.min(8) as usize - 1],
    }
}
