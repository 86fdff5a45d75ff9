//! A private folder for sockets, the policies and the ledger, gone when the platform is.
//!
//! A platform that is killed can't remove its own. It holds a lock in it as long as it lives, however it ends; the
//! next one to start removes the folders whose locks are free.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use callboard::RequestKey;

const PREFIX: &str = "callboard-";
/// The file that is locked.
const ALIVE: &str = "alive";

/// Only this user can look into it.
#[derive(Debug)]
pub(crate) struct WorkDir {
    path: PathBuf,
    /// Unlocked by the kernel when this process ends.
    _alive: File,
}

impl WorkDir {
    pub(crate) fn create() -> io::Result<Self> {
        Self::create_in(&std::env::temp_dir())
    }

    fn create_in(base: &Path) -> io::Result<Self> {
        remove_stale(base);
        // Short, because the path of a Unix socket has 107 bytes at most.
        let unique = RequestKey::new().as_uuid().simple().to_string();
        let path = base.join(format!("{PREFIX}{}", &unique[12..24]));
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(named)?;
        // Under a name that nobody looks for until it is locked.
        let (unlocked, alive) = (path.join("new"), path.join(ALIVE));
        let lock = File::create(&unlocked).map_err(named)?;
        lock.lock().map_err(named)?;
        std::fs::rename(&unlocked, &alive).map_err(named)?;
        Ok(WorkDir { path, _alive: lock })
    }

    /// Where the platform's topic is subscribed to.
    pub(crate) fn topic(&self) -> PathBuf {
        self.path.join("topic.sock")
    }

    /// Where the view counter is asked.
    pub(crate) fn views(&self) -> PathBuf {
        self.path.join("views.sock")
    }

    /// How the parts are asked: the file is there to be edited.
    pub(crate) fn policies(&self) -> PathBuf {
        self.path.join("policies.toml")
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.path.join("ledger.tsv")
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // What can't be removed is left to the next start, or to the system's own cleaning of temporary files.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Removes what platforms of this user left behind that were killed. What can't be looked at is left alone.
fn remove_stale(base: &Path) {
    let ours = rustix::process::getuid().as_raw();
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX)
            // Of the entry itself: a link is never followed.
            && entry.metadata().is_ok_and(|it| it.is_dir() && it.uid() == ours);
        if !is_ours {
            continue;
        }
        if let Ok(alive) = File::open(entry.path().join(ALIVE))
            && alive.try_lock().is_ok()
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lessons::tests::Folder;

    #[test]
    fn what_a_killed_platform_left_behind_goes_at_the_next_start_and_nothing_else() {
        let base = Folder::new("stale");
        let make = |name: &str, file: Option<&str>| {
            let path = base.0.join(name);
            std::fs::create_dir(&path).unwrap();
            if let Some(file) = file {
                std::fs::write(path.join(file), "").unwrap();
            }
            path
        };
        let running = WorkDir::create_in(&base.0).unwrap();
        let killed = make("callboard-0123456789ab", Some(ALIVE));
        let starting = make("callboard-ba9876543210", Some("new"));
        let foreign = make("notes", Some(ALIVE));
        let link = base.0.join("callboard-link");
        std::os::unix::fs::symlink(&foreign, &link).unwrap();

        let next = WorkDir::create_in(&base.0).unwrap();
        assert!(!killed.exists());
        for kept in [&running.path, &next.path, &starting, &foreign, &link] {
            assert!(kept.exists(), "{}", kept.display());
        }
        let path = next.path.clone();
        drop(next);
        assert!(!path.exists());
    }
}
