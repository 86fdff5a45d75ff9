//! How it looks: line by line, or as a tree that is drawn in place.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::Duration;

use callboard::supervision::{ChildState, TreeSnapshot};

use super::ledger::Books;

/// So many of the last lines stand below the tree.
const TICKER: usize = 10;

/// Where it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// On a terminal.
    Drawn,
    /// Anywhere.
    Plain,
}

/// Shows what happens.
pub(super) struct Show<'a, W: Write> {
    out: &'a mut W,
    style: Style,
    ticker: VecDeque<String>,
    /// How many lines the last picture had.
    drawn: usize,
}

impl<'a, W: Write> Show<'a, W> {
    pub(super) fn new(out: &'a mut W, style: Style) -> Self {
        Show {
            out,
            style,
            ticker: VecDeque::new(),
            drawn: 0,
        }
    }

    /// Something has happened.
    pub(super) fn line(&mut self, at: Duration, text: &str) -> io::Result<()> {
        let line = format!("{:>6.2} s  {text}", at.as_secs_f64());
        match self.style {
            Style::Plain => writeln!(self.out, "{line}"),
            Style::Drawn => {
                if self.ticker.len() == TICKER {
                    self.ticker.pop_front();
                }
                self.ticker.push_back(line);
                Ok(())
            }
        }
    }

    /// The tree as it is now, over the picture before.
    pub(super) fn draw(&mut self, tree: &TreeSnapshot, books: &Books) -> io::Result<()> {
        if self.style == Style::Plain {
            return Ok(());
        }
        let mut lines = Vec::new();
        node(tree, "", "", &mut lines);
        lines.push(String::new());
        let Books { jobs, answered, .. } = books;
        lines.push(format!("jobs {jobs}, answered {answered}"));
        lines.push(String::new());
        lines.extend(self.ticker.iter().cloned());
        // Up to where the last picture began; long lines are cut off meanwhile, so that a line stays one.
        let mut picture = String::from("\x1b[?7l");
        if self.drawn > 0 {
            picture.push_str(&format!("\x1b[{}A\x1b[J", self.drawn));
        }
        for line in &lines {
            picture.push_str(line);
            picture.push('\n');
        }
        picture.push_str("\x1b[?7h");
        self.drawn = lines.len();
        self.out.write_all(picture.as_bytes())?;
        self.out.flush()
    }
}

fn node(node: &TreeSnapshot, branch: &str, below: &str, lines: &mut Vec<String>) {
    lines.push(line(node, branch));
    for (index, child) in node.children.iter().enumerate() {
        let last = index + 1 == node.children.len();
        let (here, under) = if last {
            ("`-- ", "    ")
        } else {
            ("|-- ", "|   ")
        };
        self::node(
            child,
            &format!("{below}{here}"),
            &format!("{below}{under}"),
            lines,
        );
    }
}

fn line(node: &TreeSnapshot, branch: &str) -> String {
    let colour = match node.state {
        ChildState::Running => 32,
        ChildState::Starting | ChildState::Waiting | ChildState::BackingOff { .. } => 33,
        _ => 31,
    };
    let name = format!("{branch}{}", node.label);
    let mut line = format!(
        "{name:<22} \x1b[{colour}m{:<32}\x1b[0m",
        node.state.to_string()
    );
    if let Some(rules) = &node.supervises {
        line.push_str(&format!(
            " {}, {} of {} restarts",
            rules.strategy, rules.counted, rules.max_restarts
        ));
    } else if let Some(mailbox) = &node.mailbox {
        line.push_str(&format!(" {:<8}", "#".repeat(mailbox.len.min(8))));
    }
    if node.restarts > 0 {
        line.push_str(&format!(" \x1b[2mrestarted {}\x1b[0m", node.restarts));
    }
    line
}
