//! Unix domain sockets. The kernel proves the peer's user id; only ours is let in (G35).

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use callboard::{Boundary, Principal};
use futures::future::BoxFuture;
use tokio::net::{UnixListener, UnixStream};

use super::{Connected, Connector, Proof};
use crate::error::ListenError;

#[cfg(test)]
mod tests;

/// Dials one path.
pub(crate) struct UnixConnector(pub(crate) PathBuf);

impl Connector for UnixConnector {
    fn address(&self) -> String {
        self.0.display().to_string()
    }

    fn boundary(&self) -> Boundary {
        Boundary::SameHost
    }

    fn connect(&self) -> BoxFuture<'_, io::Result<Connected>> {
        Box::pin(async move {
            if !super::has_sockets() {
                return Err(io::Error::other("no arbiter with sockets to run on"));
            }
            let stream = UnixStream::connect(&self.0).await?;
            // The other direction of the check: whoever may write to the directory could listen there.
            let uid = stream.peer_cred()?.uid();
            let ours = own_uid()?;
            if uid != ours {
                let text = format!("it belongs to user {uid}, this process to {ours}");
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
            }
            let principal = Principal::new(format!("uid:{uid}"));
            Ok(Connected::new(stream, Proof::local(Some(principal))))
        })
    }
}

/// Whom the kernel says this process runs as. Must run on an arbiter.
pub(crate) fn own_uid() -> io::Result<u32> {
    let (one, _other) = UnixStream::pair()?;
    Ok(one.peer_cred()?.uid())
}

/// Decides about a peer by its user id: its principal, or why it isn't let in.
pub(crate) fn admit(peer: io::Result<u32>, ours: u32) -> Result<Principal, String> {
    match peer {
        Ok(uid) if uid == ours => Ok(Principal::new(format!("uid:{uid}"))),
        Ok(uid) => Err(format!("user {uid} is not the user of this process")),
        Err(error) => Err(format!("no user id could be proved: {error}")),
    }
}

/// A socket file that goes when its listener does.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode: a successor may have put its own in the same place.
    file: Option<(u64, u64)>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.file.is_some() && identity(&self.path) == self.file {
            // If it can't be removed the next listener replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Binds, replacing a socket file that nobody listens on. Must run on an arbiter.
pub(crate) async fn listen(path: PathBuf) -> Result<(UnixListener, SocketFile), ListenError> {
    let failed = |error: io::Error| ListenError::Io {
        address: path.display().to_string(),
        reason: error.to_string(),
    };
    let listener = match UnixListener::bind(&path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let kind = fs::symlink_metadata(&path).map_err(failed)?.file_type();
            if !kind.is_socket() {
                return Err(ListenError::NoSocket(path));
            }
            match UnixStream::connect(&path).await {
                // What a process that ended without removing it leaves behind.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    fs::remove_file(&path).map_err(failed)?;
                    UnixListener::bind(&path).map_err(failed)?
                }
                // Also a listener whose backlog is full is one.
                _ => return Err(ListenError::InUse(path.display().to_string())),
            }
        }
        bound => bound.map_err(failed)?,
    };
    // The peer's user id is checked at each connection; this only turns others away earlier.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    let file = identity(&path);
    Ok((listener, SocketFile { path, file }))
}
