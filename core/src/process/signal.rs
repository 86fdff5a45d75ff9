//! Signals by their names, and how sending one can fail.

use std::fmt;
use std::io;

use rustix::process::Signal as Raw;
use thiserror::Error;

use crate::id::Incarnation;

/// A signal of the operating system. Shown as `SIGTERM`.
///
/// The usual ones are constants; any other that has a name is made of its number.
///
/// ```
/// use callboard_core::process::Signal;
///
/// assert_eq!(Signal::TERM.to_string(), "SIGTERM");
/// assert_eq!(Signal::from_number(15), Ok(Signal::TERM));
/// assert_eq!(Signal::from_number(0).unwrap_err().to_string(), "there is no signal with the number 0");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signal(Raw);

impl Signal {
    /// SIGHUP: by custom, read your configuration again.
    pub const HUP: Signal = Signal(Raw::HUP);
    /// SIGINT: what Ctrl-C sends.
    pub const INT: Signal = Signal(Raw::INT);
    /// SIGQUIT: end, and leave a core file.
    pub const QUIT: Signal = Signal(Raw::QUIT);
    /// SIGABRT: end, and leave a core file.
    pub const ABORT: Signal = Signal(Raw::ABORT);
    /// SIGKILL: end at once. Can't be caught.
    pub const KILL: Signal = Signal(Raw::KILL);
    /// SIGUSR1: what the program makes of it.
    pub const USR1: Signal = Signal(Raw::USR1);
    /// SIGUSR2: what the program makes of it.
    pub const USR2: Signal = Signal(Raw::USR2);
    /// SIGTERM: end in order.
    pub const TERM: Signal = Signal(Raw::TERM);
    /// SIGCONT: go on after a SIGSTOP.
    pub const CONT: Signal = Signal(Raw::CONT);
    /// SIGSTOP: stand still until SIGCONT. Can't be caught.
    pub const STOP: Signal = Signal(Raw::STOP);

    /// The signal with that number on this system: 1 to 31, which are those with a name. Real-time signals are
    /// not among them.
    ///
    /// # Errors
    /// [`NoSuchSignal`] for any other number, 0 among them.
    pub fn from_number(number: i32) -> Result<Self, NoSuchSignal> {
        let raw = Raw::from_named_raw(number).ok_or(NoSuchSignal { number })?;
        Ok(Signal(raw))
    }

    /// Its number on this system.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0.as_raw()
    }

    /// Its name, if it is one that all systems have.
    fn name(self) -> Option<&'static str> {
        let known = NAMES.iter().find(|(raw, _)| *raw == self.0);
        known.map(|(_, name)| *name)
    }

    pub(super) fn raw(self) -> Raw {
        self.0
    }
}

const NAMES: [(Raw, &str); 28] = [
    (Raw::HUP, "SIGHUP"),
    (Raw::INT, "SIGINT"),
    (Raw::QUIT, "SIGQUIT"),
    (Raw::ILL, "SIGILL"),
    (Raw::TRAP, "SIGTRAP"),
    (Raw::ABORT, "SIGABRT"),
    (Raw::BUS, "SIGBUS"),
    (Raw::FPE, "SIGFPE"),
    (Raw::KILL, "SIGKILL"),
    (Raw::USR1, "SIGUSR1"),
    (Raw::SEGV, "SIGSEGV"),
    (Raw::USR2, "SIGUSR2"),
    (Raw::PIPE, "SIGPIPE"),
    (Raw::ALARM, "SIGALRM"),
    (Raw::TERM, "SIGTERM"),
    (Raw::CHILD, "SIGCHLD"),
    (Raw::CONT, "SIGCONT"),
    (Raw::STOP, "SIGSTOP"),
    (Raw::TSTP, "SIGTSTP"),
    (Raw::TTIN, "SIGTTIN"),
    (Raw::TTOU, "SIGTTOU"),
    (Raw::URG, "SIGURG"),
    (Raw::XCPU, "SIGXCPU"),
    (Raw::XFSZ, "SIGXFSZ"),
    (Raw::VTALARM, "SIGVTALRM"),
    (Raw::PROF, "SIGPROF"),
    (Raw::WINCH, "SIGWINCH"),
    (Raw::SYS, "SIGSYS"),
];

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "signal {}", self.number()),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<i32> for Signal {
    type Error = NoSuchSignal;

    fn try_from(number: i32) -> Result<Self, NoSuchSignal> {
        Signal::from_number(number)
    }
}

/// A number for which there is no [`Signal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("there is no signal with the number {number}")]
pub struct NoSuchSignal {
    /// The number.
    pub number: i32,
}

/// Why a signal was not sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignalError {
    /// No process runs in that place just now: it has not been started, or has ended.
    #[error("`{label}` is not running, so {signal} was not sent")]
    NotRunning {
        /// Whose place.
        label: String,
        /// What was to be sent.
        signal: Signal,
    },
    /// The process that was meant has ended, and another runs in its place.
    #[error(
        "incarnation {meant} of `{label}` has ended, and {running} runs: {signal} was not sent"
    )]
    OtherIncarnation {
        /// Whose place.
        label: String,
        /// What was to be sent.
        signal: Signal,
        /// To whom it was to be sent.
        meant: Incarnation,
        /// Who runs.
        running: Incarnation,
    },
    /// The operating system refused: the process has taken on another user, say.
    #[error("could not send {signal} to `{label}`: {error}")]
    Refused {
        /// Whose place.
        label: String,
        /// What was to be sent.
        signal: Signal,
        /// What it said.
        #[source]
        error: io::Error,
    },
}

/// A signal as `signal 9 (SIGKILL)`.
pub(super) fn signal_text(number: i32) -> String {
    let named = Signal::from_number(number).ok().and_then(Signal::name);
    match named {
        Some(name) => format!("signal {number} ({name})"),
        None => format!("signal {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_a_signal_or_refused_by_name() {
        for number in -1..=65 {
            match Signal::from_number(number) {
                Ok(signal) => assert_eq!(signal.number(), number),
                Err(error) => {
                    assert_eq!(error, NoSuchSignal { number });
                    assert!(!(1..=31).contains(&number), "{error}");
                }
            }
        }
        assert!(Signal::try_from(i32::MIN).is_err());
        assert!(Signal::try_from(i32::MAX).is_err());
    }

    #[test]
    fn a_signal_is_shown_by_its_name() {
        for (raw, name) in NAMES {
            assert_eq!(Signal(raw).to_string(), name);
            assert_eq!(
                signal_text(raw.as_raw()),
                format!("signal {} ({name})", raw.as_raw())
            );
        }
        assert_eq!(format!("{:?}", Signal::HUP), "SIGHUP");
        assert_eq!(signal_text(40), "signal 40");
    }
}
