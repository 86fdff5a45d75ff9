//! What the drill shows on the screen: a progress bar, events as they happen, tables.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use callboard::clock::{Clock, Instant};

const BAR: usize = 32;
/// How often the bar is drawn again on a terminal, and how often a line is written elsewhere.
const REDRAW: Duration = Duration::from_millis(100);
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Progress on stderr, events on stdout; on a terminal the bar stays below the events.
#[derive(Debug)]
pub(crate) struct Progress {
    clock: Clock,
    started: Instant,
    drawn: Option<Instant>,
    total: usize,
    done: usize,
    note: String,
    terminal: bool,
}

impl Progress {
    pub(crate) fn new(clock: &Clock, total: usize) -> Self {
        Progress {
            clock: clock.clone(),
            started: clock.now(),
            drawn: None,
            total,
            done: 0,
            note: String::new(),
            terminal: io::stderr().is_terminal(),
        }
    }

    /// The time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.clock.now().since(self.started)
    }

    /// So much is done. Drawn now and then only.
    pub(crate) fn update(&mut self, done: usize, note: String) {
        (self.done, self.note) = (done, note);
        let now = self.clock.now();
        let pause = if self.terminal { REDRAW } else { LINE_EVERY };
        if self.drawn.is_none_or(|drawn| now.since(drawn) >= pause) {
            self.drawn = Some(now);
            self.draw();
        }
    }

    /// Says what has just happened, and when.
    pub(crate) fn say(&mut self, what: &str) {
        self.clear();
        println!("{:>6.1}s  {what}", self.elapsed().as_secs_f64());
        if self.terminal {
            self.draw();
        }
    }

    /// Takes the bar away.
    pub(crate) fn clear(&mut self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }

    fn draw(&self) {
        let line = bar(self.done, self.total, &self.note);
        // A closed stderr is no reason to stop.
        let _ = if self.terminal {
            write!(io::stderr(), "\r\x1b[K{line}").and_then(|()| io::stderr().flush())
        } else {
            writeln!(io::stderr(), "{line}")
        };
    }
}

fn bar(done: usize, total: usize, note: &str) -> String {
    let filled = (done * BAR).checked_div(total).unwrap_or(BAR).min(BAR);
    let (full, open) = ("=".repeat(filled), " ".repeat(BAR - filled));
    format!("[{full}{open}] {done:>5}/{total} {note}")
}

/// A table of aligned columns: the first to the left, the others to the right.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    left: usize,
}

impl Table {
    /// A table whose first `left` columns hold text; the others hold figures.
    pub(crate) fn new<const N: usize>(left: usize, head: [&str; N]) -> Self {
        let rows = vec![head.map(str::to_owned).to_vec()];
        Table { rows, left }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let widths = self.rows.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if column > 0 {
                    line.push_str("  ");
                }
                if column < self.left {
                    write!(line, "{cell:<width$}")?;
                } else {
                    write!(line, "{cell:>width$}")?;
                }
            }
            writeln!(f, "  {}", line.trim_end())?;
            if number == 0 {
                let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
                writeln!(f, "  {}", rules.join("  "))?;
            }
        }
        Ok(())
    }
}

/// `1 child`, `2 children`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{} {many}", thousands(number)),
    }
}

/// `2,000`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(2, ["part", "boundary", "calls"]);
        table.row(["views".into(), "pipe".into(), "12".into()]);
        table.row(["x".into(), "TCP".into(), "1,234".into()]);
        let expected = "  part   boundary  calls
  -----  --------  -----
  views  pipe         12
  x      TCP       1,234
";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn a_bar_is_never_longer_than_itself() {
        assert_eq!(bar(0, 2, "a").matches('=').count(), 0);
        assert_eq!(bar(1, 2, "a").matches('=').count(), BAR / 2);
        assert_eq!(bar(9, 2, "a").matches('=').count(), BAR);
        assert_eq!(bar(0, 0, "a").matches('=').count(), BAR);
    }

    #[test]
    fn figures_are_grouped() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(thousands),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(count(1, "page", "pages"), "1 page");
        assert_eq!(count(2_000, "page", "pages"), "2,000 pages");
    }
}
