//! The moment of the start: a thread that may block, and errors that say what and where.

use std::io;
use std::path::Path;

use futures::channel::oneshot;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;

use super::child::{kill_group, to_pid};
use super::spec::ProcessSpec;
use crate::executor;

/// Starts the process. Looking a program up and reading it can block for as long as a network's file system
/// likes, so that is done on a thread for the purpose and not on the one of the supervisors.
///
/// Dropping the future leaves no process: what comes up then is killed.
pub(super) async fn launch(spec: &ProcessSpec, lent: bool) -> Result<Child, String> {
    let program = spec.program().to_string_lossy().into_owned();
    let Ok(runtime) = Handle::try_current() else {
        return Err(format!(
            "could not start `{program}`: processes need arbiters, and the simulating executor has none"
        ));
    };
    let command = spec.command(lent);
    let spec = spec.clone();
    let (tx, rx) = oneshot::channel();
    executor::thread("callboard-start", move || {
        let _entered = runtime.enter();
        if let Err(Ok(late)) = tx.send(start(command, &spec)) {
            // Nobody owns it any more. When it is dropped, the runtime reaps it.
            late.id().and_then(to_pid).into_iter().for_each(kill_group);
        }
    });
    rx.await.unwrap_or_else(|_| {
        Err(format!(
            "could not start `{program}`: there is no thread left to do it on"
        ))
    })
}

fn start(mut command: Command, spec: &ProcessSpec) -> Result<Child, String> {
    command.spawn().map_err(|error| explain(spec, &error))
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
