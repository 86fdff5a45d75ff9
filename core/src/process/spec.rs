//! What to start.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

/// How long a process has to end after it was asked to: OTP's default for workers.
pub const DEFAULT_SHUTDOWN_TIME: Duration = Duration::from_secs(5);

/// Where a child's standard error goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Stderr {
    /// To this process's own.
    #[default]
    Inherit,
    /// Line by line to `tracing`, target `callboard::process`, level `INFO`. A line longer than 8 KiB is
    /// cut into pieces of that size.
    Trace,
    /// Nowhere.
    Null,
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
    stderr: Stderr,
    shutdown: Duration,
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
            stderr: Stderr::default(),
            shutdown: DEFAULT_SHUTDOWN_TIME,
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

    /// The directory it starts in; without one, this process's own.
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

    /// Where its standard error goes.
    #[must_use]
    pub fn stderr(mut self, stderr: Stderr) -> Self {
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

    /// The command: pipes for stdin and stdout, a process group of its own.
    pub(super) fn command(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
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
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(match self.stderr {
                Stderr::Inherit => Stdio::inherit(),
                Stderr::Trace => Stdio::piped(),
                Stderr::Null => Stdio::null(),
            })
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}
