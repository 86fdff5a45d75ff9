//! Supervisors against a model of OTP's rules: random trees and trouble, one thing after the other, to the nanosecond.
//!
//! The model is sequential, like supervisor.erl: a function that starts, a function that stops, a function that says what
//! follows an end. A place may be slow, so each of its steps takes time; the next trouble comes when all is quiet again.
//! What comes in between is for `trouble`. There is no back-off here, which is OTP's way, and makes times exact.
//!
//! Where ours differs on purpose, the model does: who has ended for good stays so, who is held is started by order
//! alone, and a start that fails is one restart more, also the first one.

mod pair;

use std::sync::Arc;
use std::time::Duration;

use callboard::FailureClass;
use callboard_supervision::{AutoShutdown, Restart, Strategy};

use crate::places::FakePlace;

/// What becomes of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It was not started yet, or is down with its supervisor.
    Down,
    Running,
    Held,
    /// For good.
    Over,
}

/// A child in the model.
struct Node {
    name: String,
    restart: Restart,
    significant: bool,
    fate: Fate,
    what: What,
}

enum What {
    Leaf(Leaf),
    Supervisor(Box<Rules>),
}

struct Leaf {
    start: Duration,
    stop: Duration,
    deaf: bool,
    failing: u32,
    fatal: bool,
    /// `None` without limit.
    shutdown: Option<Duration>,
    brutal: bool,
    starts: u32,
    place: Arc<FakePlace>,
}

struct Rules {
    strategy: Strategy,
    max: usize,
    period: Duration,
    auto: AutoShutdown,
    window: Vec<Duration>,
    children: Vec<Node>,
}

/// Time and what happened in it.
#[derive(Default)]
struct Otp {
    now: Duration,
    log: Vec<(Duration, String)>,
    /// How many supervisors have ended by themselves.
    ends: u32,
}

/// How a supervisor's incarnation ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Normal,
    Failed(FailureClass),
}

impl Otp {
    fn note(&mut self, line: String) {
        self.log.push((self.now, line));
    }

    /// Starts a child; a supervisor with all its children.
    fn start(&mut self, node: &mut Node) -> Result<(), End> {
        match &mut node.what {
            What::Leaf(leaf) => {
                self.note(format!("start {}", node.name));
                leaf.starts += 1;
                self.now += leaf.start;
                if leaf.failing > 0 {
                    leaf.failing -= 1;
                    let class = match leaf.fatal {
                        true => FailureClass::Fatal,
                        false => FailureClass::Recoverable,
                    };
                    return Err(End::Failed(class));
                }
            }
            What::Supervisor(rules) => {
                rules.window.clear();
                let all: Vec<_> = (0..rules.children.len()).collect();
                for child in &mut rules.children {
                    if child.fate == Fate::Running {
                        unreachable!("bug in the model: {} runs already", child.name);
                    }
                }
                self.start_these(rules, &all)?;
            }
        }
        node.fate = Fate::Running;
        Ok(())
    }

    /// Starts those of them that are down, in order.
    fn start_these(&mut self, rules: &mut Rules, which: &[usize]) -> Result<(), End> {
        let mut which = which.to_vec();
        while let Some(index) = which
            .iter()
            .copied()
            .find(|n| rules.children[*n].fate == Fate::Down)
        {
            if let Err(end) = self.start(&mut rules.children[index]) {
                // As if it had been up, and failed; the group it starts again may be larger.
                which = self.after(rules, index, end, &which)?;
            }
        }
        Ok(())
    }

    /// What follows the end of a child by itself. Who is to be started next.
    fn after(
        &mut self,
        rules: &mut Rules,
        index: usize,
        end: End,
        pending: &[usize],
    ) -> Result<Vec<usize>, End> {
        let child = &mut rules.children[index];
        child.fate = Fate::Down;
        let again = match child.restart {
            Restart::Permanent => true,
            Restart::Transient => end != End::Normal,
            Restart::Temporary => false,
        };
        if !again {
            child.fate = Fate::Over;
            let significant = child.significant;
            self.close(&mut rules.children[index]);
            if significant && rules.is_to_end() {
                self.stop_all(rules);
                return Err(End::Normal);
            }
            return Ok(pending.to_vec());
        }
        if end == End::Failed(FailureClass::Fatal) {
            self.stop_all(rules);
            return Err(end);
        }
        // add_restart/3
        let (now, period) = (self.now, rules.period);
        rules.window.retain(|restart| *restart + period >= now);
        rules.window.push(now);
        if rules.window.len() > rules.max {
            self.stop_all(rules);
            return Err(End::Failed(FailureClass::Recoverable));
        }
        let first = match rules.strategy {
            Strategy::OneForAll => 0,
            Strategy::RestForOne => index,
            _ => {
                let mut next = pending.to_vec();
                next.push(index);
                next.sort_unstable();
                next.dedup();
                return Ok(next);
            }
        };
        for other in (first..rules.children.len()).rev() {
            if rules.children[other].fate == Fate::Running {
                self.stop(&mut rules.children[other]);
                if rules.children[other].restart == Restart::Temporary {
                    rules.children[other].fate = Fate::Over;
                    self.close(&mut rules.children[other]);
                }
            }
        }
        let mut next: Vec<_> = (first..rules.children.len())
            .chain(pending.iter().copied())
            .collect();
        next.sort_unstable();
        next.dedup();
        Ok(next)
    }

    /// All that runs below a supervisor ends, the last one first; at the same time if it is a dynamic one.
    fn stop_all(&mut self, rules: &mut Rules) {
        let (began, mut ended) = (self.now, self.now);
        let first = self.log.len();
        for child in rules.children.iter_mut().rev() {
            if child.fate == Fate::Running {
                if rules.strategy == Strategy::Dynamic {
                    self.now = began;
                }
                self.stop(child);
                ended = ended.max(self.now);
            }
        }
        self.now = ended;
        if rules.strategy == Strategy::Dynamic {
            // Asked in reverse; those whose time is over at the same moment are killed in order.
            let (asked, mut late): (Vec<_>, Vec<_>) =
                self.log.drain(first..).partition(|(at, _)| *at == began);
            late.reverse();
            late.sort_by_key(|(at, _)| *at);
            self.log.extend(asked.into_iter().chain(late));
        }
    }

    fn stop(&mut self, node: &mut Node) {
        node.fate = Fate::Down;
        match &mut node.what {
            What::Leaf(leaf) if leaf.brutal => self.note(format!("kill {}", node.name)),
            What::Leaf(leaf) => {
                self.note(format!("stop {}", node.name));
                let takes = (!leaf.deaf).then_some(leaf.stop);
                match (takes, leaf.shutdown) {
                    (Some(takes), None) => self.now += takes,
                    // At the same moment the end may come before the kill or after it: the test draws no such times.
                    (Some(takes), Some(limit)) if takes < limit => self.now += takes,
                    (_, limit) => {
                        self.now += limit.unwrap_or_default();
                        self.note(format!("kill {}", node.name));
                    }
                }
            }
            What::Supervisor(rules) => {
                self.stop_all(rules);
                self.forget_dynamic(rules);
            }
        }
    }

    /// Those that were added at run time end with the incarnation of their supervisor.
    fn forget_dynamic(&mut self, rules: &mut Rules) {
        for child in rules.children.iter_mut().rev() {
            if child.name.starts_with('+') && child.fate != Fate::Over {
                child.fate = Fate::Over;
                self.close(child);
            }
        }
    }

    /// Its reference ends, and those of all below, the last one first.
    fn close(&mut self, node: &mut Node) {
        match &mut node.what {
            What::Leaf(_) => self.note(format!("close {}", node.name)),
            What::Supervisor(rules) => {
                for child in rules.children.iter_mut().rev() {
                    if child.fate != Fate::Over {
                        child.fate = Fate::Over;
                        self.close(child);
                    }
                }
            }
        }
    }
}

/// What the one above makes of a trouble below.
impl Otp {
    /// Does something at a child, and what follows if that fails, on all levels above it.
    fn at(
        &mut self,
        rules: &mut Rules,
        path: &[usize],
        what: &mut dyn FnMut(&mut Self, &mut Node) -> Result<(), End>,
    ) -> Result<(), End> {
        let index = path[0];
        let child = &mut rules.children[index];
        let done = match (&mut child.what, &path[1..]) {
            (_, []) => what(self, child),
            (What::Supervisor(below), rest) => {
                let done = self.at(below, rest, what);
                if done.is_err() {
                    self.ends += 1;
                    self.forget_dynamic(below);
                }
                done
            }
            (What::Leaf(_), _) => unreachable!("bug in the model: nothing is below a leaf"),
        };
        let Err(end) = done else {
            return Ok(());
        };
        let next = self.after(rules, index, end, &[])?;
        self.start_these(rules, &next)
    }
}

impl Rules {
    fn is_to_end(&self) -> bool {
        let runs =
            |child: &Node| child.significant && matches!(child.fate, Fate::Running | Fate::Down);
        match self.auto {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            AutoShutdown::AllSignificant => !self.children.iter().any(runs),
        }
    }

    /// All children on all levels whose supervisor runs, by their paths.
    fn paths(&self) -> Vec<Vec<usize>> {
        let mut paths = Vec::new();
        for (index, child) in self.children.iter().enumerate() {
            paths.push(vec![index]);
            if let (What::Supervisor(below), Fate::Running) = (&child.what, child.fate) {
                for path in below.paths() {
                    paths.push([vec![index], path].concat());
                }
            }
        }
        paths
    }

    fn node(&mut self, path: &[usize]) -> &mut Node {
        let child = &mut self.children[path[0]];
        if path.len() == 1 {
            return child;
        }
        match &mut child.what {
            What::Supervisor(below) => below.node(&path[1..]),
            What::Leaf(_) => unreachable!("bug in the model: nothing is below a leaf"),
        }
    }

    fn above(&mut self, path: &[usize]) -> &mut Rules {
        match path {
            [] | [_] => self,
            [index, rest @ ..] => match &mut self.children[*index].what {
                What::Supervisor(below) => below.above(rest),
                What::Leaf(_) => unreachable!("bug in the model: nothing is below a leaf"),
            },
        }
    }

    fn counted(&self, now: Duration) -> usize {
        let young = |restart: &&Duration| **restart + self.period >= now;
        self.window.iter().filter(young).count()
    }
}
