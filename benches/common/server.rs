//! Servers that this program starts for one run, and ends.

use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::run::Result;
use crate::stopwatch::Stopwatch;

/// How long one may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(10);
const NEXT_TRY: Duration = Duration::from_millis(5);

/// Where a program is, if it is installed.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Why a program isn't used, if it can't be.
pub fn missing(program: &str) -> Option<String> {
    match find(program) {
        Some(_) => None,
        None => Some(format!("`{program}` is not installed")),
    }
}

/// What a program says of its version.
pub fn version(program: &str) -> Option<String> {
    let output = Command::new(find(program)?)
        .arg("--version")
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = said.split([' ', '\n']);
    let version = words
        .map(|word| word.trim_start_matches("v=").trim_start_matches('v'))
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    Some(format!("{program} {version}"))
}

/// Whether a program that ends by itself, run in a folder, ends well.
pub fn succeeds<A: AsRef<OsStr>>(
    program: &str,
    args: impl IntoIterator<Item = A>,
    folder: &Path,
) -> Result<bool> {
    let file = find(program).ok_or_else(|| format!("`{program}` is not installed"))?;
    let mut command = Command::new(file);
    let output = command.args(args).current_dir(folder).output()?;
    Ok(output.status.success())
}

/// A server process that ends with its owner.
#[derive(Debug)]
pub struct Server(Child);

impl Server {
    /// Starts it in a folder, where it also logs.
    pub fn start<A: AsRef<OsStr>>(
        program: &str,
        args: impl IntoIterator<Item = A>,
        folder: &Path,
    ) -> Result<Self> {
        let file = find(program).ok_or_else(|| format!("`{program}` is not installed"))?;
        let log = File::create(folder.join("log"))?;
        let child = Command::new(file)
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Server(child))
    }

    /// Tries until it works, or until the server has ended or taken too long.
    pub fn wait_for<T>(&mut self, mut attempt: impl FnMut() -> Option<T>) -> Result<T> {
        let begin = Stopwatch::start();
        loop {
            if let Some(done) = attempt() {
                return Ok(done);
            }
            if let Some(status) = self.0.try_wait()? {
                return Err(format!("the server has ended: {status}").into());
            }
            if begin.elapsed() > START_LIMIT {
                return Err("the server doesn't listen".into());
            }
            thread::sleep(NEXT_TRY);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing it holds is needed any more. An error means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
