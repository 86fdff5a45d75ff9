//! A private folder for sockets and the ledger, gone when the platform is.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use callboard::RequestKey;

/// Only this user can look into it.
#[derive(Debug)]
pub(crate) struct WorkDir {
    path: PathBuf,
}

impl WorkDir {
    pub(crate) fn create() -> io::Result<Self> {
        // Short, because the path of a Unix socket has 107 bytes at most.
        let unique = RequestKey::new().as_uuid().simple().to_string();
        let path = std::env::temp_dir().join(format!("callboard-{}", &unique[12..24]));
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(named)?;
        Ok(WorkDir { path })
    }

    /// Where the platform's topic is subscribed to.
    pub(crate) fn topic(&self) -> PathBuf {
        self.path.join("topic.sock")
    }

    /// Where the view counter is asked.
    pub(crate) fn views(&self) -> PathBuf {
        self.path.join("views.sock")
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.path.join("ledger.tsv")
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // What can't be removed is left to the system's own cleaning of temporary files.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
