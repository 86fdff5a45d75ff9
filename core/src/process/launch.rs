//! The start of a process, on a thread that may block, and its reaping, whatever becomes of its owner.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};

use futures::channel::oneshot;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::runtime::Handle;

use super::child::kill_group;
use super::spec::ProcessSpec;
use crate::executor;

/// A process that has been started. Dropped before it was reaped, its group is sent SIGKILL, and a thread waits
/// for the little that then takes.
///
/// Not tokio's `Child`: that one loses a process that comes up while its runtime goes down.
pub(super) struct Launched {
    pub(super) pid: Pid,
    /// There until it was reaped.
    child: Option<Child>,
}

/// Starts the process. Looking a program up and reading it can block for as long as a network's file system
/// likes, so that is done on a thread for the purpose and not on the one of the supervisors.
///
/// Dropping the future leaves no process: what comes up then is killed.
pub(super) async fn launch(spec: &ProcessSpec, lent: bool) -> Result<Launched, String> {
    let program = spec.program().to_string_lossy().into_owned();
    if Handle::try_current().is_err() {
        return Err(format!(
            "could not start `{program}`: processes need arbiters, and the simulating executor has none"
        ));
    }
    let command = spec.command(lent);
    let spec = spec.clone();
    let (tx, rx) = oneshot::channel();
    executor::thread("callboard-start", move || {
        // If nobody waits for it any more, this drops it.
        let _ = tx.send(start(command, &spec));
    });
    rx.await.unwrap_or_else(|_| {
        Err(format!(
            "could not start `{program}`: there is no thread left to do it on"
        ))
    })
}

impl Launched {
    /// The pipes to it: stdin, stdout, stderr, as far as they are pipes. There once.
    pub(super) fn pipes(
        &mut self,
    ) -> (Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>) {
        match &mut self.child {
            Some(child) => (child.stdin.take(), child.stdout.take(), child.stderr.take()),
            None => (None, None, None),
        }
    }

    /// Takes its exit status. Blocks if it has not [ended](wait_for_end).
    pub(super) fn reap(&mut self) -> io::Result<ExitStatus> {
        match self.child.take() {
            Some(mut child) => child.wait(),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            kill_group(self.pid);
            // Without a thread for it a zombie is left until this process ends.
            executor::thread("callboard-reap", move || {
                let _ = child.wait();
            });
        }
    }
}

/// Blocks until the process has ended, and doesn't reap it.
pub(super) fn wait_for_end(pid: Pid) {
    let how = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), how) {}
}

fn start(mut command: Command, spec: &ProcessSpec) -> Result<Launched, String> {
    command.process_group(0);
    let child = command.spawn().map_err(|error| explain(spec, &error))?;
    Ok(Launched {
        pid: Pid::from_child(&child),
        child: Some(child),
    })
}

/// The system's error names no path, and "not found" is one word for three things.
fn explain(spec: &ProcessSpec, error: &io::Error) -> String {
    let program = Path::new(spec.program());
    let name = program.display();
    if let Some(directory) = spec.working_directory() {
        let shown = directory.display();
        if !directory.is_dir() {
            return format!(
                "could not start `{name}`: its directory `{shown}` is not there, or can't be entered: {error}"
            );
        }
        return format!("could not start `{name}` in `{shown}`: {error}");
    }
    if error.kind() == io::ErrorKind::NotFound && program.is_absolute() && program.is_file() {
        return format!(
            "could not start `{name}`: the interpreter or loader that it names is not there: {error}"
        );
    }
    format!("could not start `{name}`: {error}")
}
