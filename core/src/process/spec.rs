//! What to start.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::confine::Limit;

/// How long a process has to end after it was asked to: OTP's default for workers.
pub const DEFAULT_SHUTDOWN_TIME: Duration = Duration::from_secs(5);

/// Where what a child writes to its standard error goes, and to its standard output if nobody else reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Output {
    /// To this process's own.
    Inherit,
    /// Line by line to `tracing`: target `callboard::process`, level `INFO`, with the fields `child` (its label),
    /// `pid` and `stream` (`stdout` or `stderr`). A line longer than 8 KiB is cut into pieces of that size; what
    /// is no UTF-8 is replaced. A child that writes faster than `tracing` takes it waits (G3).
    Trace,
    /// Nowhere.
    Null,
}

impl Output {
    fn stdio(self) -> Stdio {
        match self {
            Output::Inherit => Stdio::inherit(),
            Output::Trace => Stdio::piped(),
            Output::Null => Stdio::null(),
        }
    }
}

/// A description of a process: program, arguments, environment. It can be started any number of times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSpec {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, Option<OsString>)>,
    clear_env: bool,
    directory: Option<PathBuf>,
    label: Option<String>,
    stdout: Output,
    stderr: Output,
    shutdown: Duration,
    limits: BTreeMap<Limit, u64>,
    nice: Option<i8>,
    fatal: BTreeSet<u8>,
    heartbeat: Option<Duration>,
}

impl ProcessSpec {
    /// A process without arguments. A program without a slash is looked for in `PATH`.
    #[must_use]
    pub fn new(program: impl Into<OsString>) -> Self {
        ProcessSpec {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            clear_env: false,
            directory: None,
            label: None,
            stdout: Output::Trace,
            stderr: Output::Inherit,
            shutdown: DEFAULT_SHUTDOWN_TIME,
            limits: BTreeMap::new(),
            nice: None,
            fatal: BTreeSet::new(),
            heartbeat: None,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable. The rest is inherited, unless [`clear_env`](ProcessSpec::clear_env)
    /// says otherwise.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), Some(value.into())));
        self
    }

    /// Takes an environment variable away.
    #[must_use]
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.env.push((name.into(), None));
        self
    }

    /// Inherits no environment variable.
    #[must_use]
    pub fn clear_env(mut self) -> Self {
        self.clear_env = true;
        self
    }

    /// The directory it starts in; without one, this process's own. Give a program of its own then by an absolute
    /// path, or let it be found in `PATH`: from where a relative one counts differs between systems.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Its name for people; without one, the program's file name.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Where the standard output of a [plain](super::ProcessPlace::plain) process goes; [`Output::Trace`] unless said
    /// otherwise. That of any other is its byte stream, and this is without effect.
    #[must_use]
    pub fn stdout(mut self, stdout: Output) -> Self {
        self.stdout = stdout;
        self
    }

    /// Where its standard error goes; [`Output::Inherit`] unless said otherwise.
    #[must_use]
    pub fn stderr(mut self, stderr: Output) -> Self {
        self.stderr = stderr;
        self
    }

    /// How long it has to end after it was asked to, in the system's time, before its process group is
    /// killed; [`DEFAULT_SHUTDOWN_TIME`] unless said otherwise.
    #[must_use]
    pub fn shutdown_time(mut self, span: Duration) -> Self {
        self.shutdown = span;
        self
    }

    /// Limits what it may use, in the unit of the [`Limit`]. A second value for the same limit replaces the first.
    ///
    /// The limit is put on the process right after it was started, before it counts as started and before its byte
    /// stream is lent. In the moment between it runs without, and what it starts in that moment is never
    /// limited: a program that waits for its stdin first isn't concerned. (Without that moment it would take
    /// code between `fork` and `exec`, which can't be had in safe Rust.) It can't raise the limit again, unless it is
    /// the superuser's.
    ///
    /// A limit that the system refuses is a failed start that names it: a value above this process's own
    /// hard limit, which only the superuser may give. Only Linux can do this; elsewhere every limit is refused.
    #[must_use]
    pub fn limit(mut self, limit: Limit, value: u64) -> Self {
        self.limits.insert(limit, value);
        self
    }

    /// How much it gives way to others on the processor: 19 most, 0 as usual, -20 least. Set with the
    /// [limits](ProcessSpec::limit), after the same moment. Below this process's own niceness is the superuser's to
    /// give: refused, it is a failed start, like a number out of range.
    #[must_use]
    pub fn nice(mut self, nice: i8) -> Self {
        self.nice = Some(nice);
        self
    }

    /// An exit status that says that a fresh start won't help: its end is a failure of class
    /// [`Fatal`](crate::FailureClass::Fatal), where any other status but 0 is
    /// [`Recoverable`](crate::FailureClass::Recoverable). Can be called for several. 0 is refused at the start.
    ///
    /// Programs that follow `sysexits.h` say 78 (`EX_CONFIG`) for a wrong configuration and 64 (`EX_USAGE`) for wrong
    /// arguments; a shell says 127 for a command that it did not find. systemd knows the same as
    /// `RestartPreventExitStatus=`.
    #[must_use]
    pub fn fatal_status(mut self, status: u8) -> Self {
        self.fatal.insert(status);
        self
    }

    /// How long it may be silent. Any byte from its stdout is a sign of life, as is its start; when none came
    /// for that long, the place says [`NoProgress`](crate::ChildEvent::NoProgress), once until the next sign, and its
    /// supervisor decides. Without a limit a process may be silent for ever.
    ///
    /// Bytes that lie in the pipe unread count as heard, because who is silent then is the reader. So a process
    /// is found frozen although the arbiter of its reader is, and isn't blamed for it.
    ///
    /// The process must have something to say that often. One that is spoken to over the remote layer beats by
    /// its traffic: a connection asks after a silent peer, and the answer is a sign, so a limit of a few times the
    /// link's `ping_after` will do. A plain process may write a line now and then, which needs [`Output::Trace`]. A limit of zero, and one for a process whose stdout
    /// isn't read here, are refused at the start.
    #[must_use]
    pub fn heartbeat(mut self, limit: Duration) -> Self {
        self.heartbeat = Some(limit);
        self
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &OsStr {
        &self.program
    }

    pub(super) fn label_text(&self) -> String {
        self.label.clone().unwrap_or_else(|| {
            let path = std::path::Path::new(&self.program);
            let name = path.file_name().unwrap_or(&self.program);
            name.to_string_lossy().into_owned()
        })
    }

    pub(super) fn shutdown(&self) -> Duration {
        self.shutdown
    }

    pub(super) fn limits(&self) -> impl Iterator<Item = (Limit, u64)> + '_ {
        self.limits.iter().map(|(limit, value)| (*limit, *value))
    }

    pub(super) fn niceness(&self) -> Option<i8> {
        self.nice
    }

    pub(super) fn is_fatal(&self, status: i32) -> bool {
        u8::try_from(status).is_ok_and(|status| self.fatal.contains(&status))
    }

    pub(super) fn silence_limit(&self) -> Option<Duration> {
        self.heartbeat
    }

    pub(super) fn working_directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// What no start can make sense of.
    pub(super) fn check(&self, lent: bool) -> Result<(), String> {
        let program = self.program.to_string_lossy();
        let wrong = |why: String| Err(format!("could not start `{program}`: {why}"));
        if let Some(nice) = self.nice.filter(|nice| !(-20..=19).contains(nice)) {
            return wrong(format!("its niceness is {nice}, and not from -20 to 19"));
        }
        if self.fatal.contains(&0) {
            return wrong("exit status 0 is an orderly end and can't be fatal".to_owned());
        }
        if self.heartbeat == Some(Duration::ZERO) {
            return wrong("its heartbeat has a limit of zero".to_owned());
        }
        if self.heartbeat.is_some() && !lent && self.stdout != Output::Trace {
            return wrong(format!(
                "it has a heartbeat, and its stdout, where that is heard, goes to `{:?}`",
                self.stdout
            ));
        }
        Ok(())
    }

    /// The command: a pipe for stdin, and one for stdout if it is `lent` or traced.
    pub(super) fn command(&self, lent: bool) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        if self.clear_env {
            command.env_clear();
        }
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let stdout = match lent {
            true => Stdio::piped(),
            false => self.stdout.stdio(),
        };
        command
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(self.stderr.stdio());
        command
    }
}
