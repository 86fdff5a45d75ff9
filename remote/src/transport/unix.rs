//! Unix domain sockets. The kernel proves the peer's user id; ours is let in, and those that were allowed (G35).

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use callboard::{Boundary, Principal};
use futures::future::BoxFuture;
use tokio::net::{UnixListener, UnixStream};

use super::{Connected, Connector, Proof};
use crate::error::ListenError;

#[cfg(test)]
mod tests;

/// A Unix socket: where it is, and whose processes may be at its other end. A path is one, too.
///
/// Processes of the user that this process runs as are let in, and nobody else, root neither, unless
/// [allowed](UnixSocket::allow_user). The rule holds for both sides: a node refuses connections of other users, and
/// a peer refuses a listener of another user, who might have been there first.
///
/// ```
/// use callboard_remote::UnixSocket;
///
/// let plain: UnixSocket = "/run/depot/orders.sock".into();
/// assert_eq!(plain.to_string(), "/run/depot/orders.sock");
/// // The web server runs as user 33.
/// let shared = UnixSocket::path("/run/depot/orders.sock").allow_user(33);
/// assert_ne!(plain, shared);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixSocket {
    place: Place,
    users: BTreeSet<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Path(PathBuf),
    #[cfg(any(target_os = "linux", target_os = "android"))]
    Abstract(Vec<u8>),
}

impl UnixSocket {
    /// The socket file with that path, of at most 107 bytes.
    #[must_use]
    pub fn path(path: impl Into<PathBuf>) -> Self {
        UnixSocket {
            place: Place::Path(path.into()),
            users: BTreeSet::new(),
        }
    }

    /// The socket with that name, of 1 to 107 bytes, in the namespace of abstract sockets. There is no file: nothing
    /// is left behind by a process that is killed, and no permission keeps anybody from dialling or from taking the
    /// name first, which is why both sides look at the user id. Containers that share the host's network share the
    /// names. Linux only.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[must_use]
    pub fn abstract_name(name: impl AsRef<[u8]>) -> Self {
        UnixSocket {
            place: Place::Abstract(name.as_ref().to_vec()),
            users: BTreeSet::new(),
        }
    }

    /// Lets processes of another user in as well, with the principal `uid:<n>`. The socket file may then be opened by
    /// anybody; who isn't allowed is told so, and let go.
    ///
    /// Inside a user namespace every user that isn't mapped has the same id (65534): don't allow that one.
    #[must_use]
    pub fn allow_user(mut self, uid: u32) -> Self {
        self.users.insert(uid);
        self
    }

    /// What the system calls take: a zero byte in front means that the rest is a name. A path may not have one.
    fn address(&self) -> io::Result<PathBuf> {
        let refused = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        match &self.place {
            Place::Path(path) if path.as_os_str().as_bytes().contains(&0) => {
                refused("a path can't hold a zero byte")
            }
            Place::Path(path) => Ok(path.clone()),
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Place::Abstract(name) if name.is_empty() => refused("an abstract socket has a name"),
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Place::Abstract(name) => {
                let address = [&[0], &name[..]].concat();
                Ok(PathBuf::from(std::ffi::OsStr::from_bytes(&address)))
            }
        }
    }

    fn is_for(&self, uid: u32, ours: u32) -> bool {
        uid == ours || self.users.contains(&uid)
    }

    /// Decides about who dials, by the user id: the principal, or why it isn't let in.
    pub(crate) fn admit(&self, peer: io::Result<u32>, ours: u32) -> Result<Principal, String> {
        match peer {
            Ok(uid) if self.is_for(uid, ours) => Ok(principal(uid)),
            Ok(uid) if self.users.is_empty() => {
                Err(format!("user {uid} is not the user of this process"))
            }
            Ok(uid) => Err(format!(
                "user {uid} is neither the user of this process nor one that is allowed"
            )),
            Err(error) => Err(format!("no user id could be proved: {error}")),
        }
    }
}

/// As a path, or as a name behind an `@`, the way `ss` and `netstat` show it.
impl fmt::Display for UnixSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Path(path) => path.display().fmt(f),
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Place::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
        }
    }
}

impl From<PathBuf> for UnixSocket {
    fn from(path: PathBuf) -> Self {
        UnixSocket::path(path)
    }
}

macro_rules! from_path {
    ($($path:ty)*) => {$(
        impl From<$path> for UnixSocket {
            fn from(path: $path) -> Self {
                UnixSocket::path(path)
            }
        }
    )*};
}

from_path! { &PathBuf &Path &str &String String }

/// What [`Peer::unix`](crate::Peer::unix) dials with, for who puts something around it.
#[derive(Debug, Clone)]
pub struct UnixConnector(UnixSocket);

impl UnixConnector {
    /// Dials that socket.
    #[must_use]
    pub fn new(socket: impl Into<UnixSocket>) -> Self {
        UnixConnector(socket.into())
    }
}

impl Connector for UnixConnector {
    fn address(&self) -> String {
        self.0.to_string()
    }

    fn boundary(&self) -> Boundary {
        Boundary::SameHost
    }

    fn connect(&self) -> BoxFuture<'_, io::Result<Connected>> {
        Box::pin(async move {
            if !super::has_sockets() {
                return Err(io::Error::other("no arbiter with sockets to run on"));
            }
            let stream = UnixStream::connect(self.0.address()?).await?;
            // The other direction of the check: whoever may write to the directory could listen there.
            let uid = stream.peer_cred()?.uid();
            let ours = own_uid()?;
            if !self.0.is_for(uid, ours) {
                let text = format!("it belongs to user {uid}, this process to {ours}");
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
            }
            Ok(Connected::new(stream, Proof::local(Some(principal(uid)))))
        })
    }
}

fn principal(uid: u32) -> Principal {
    Principal::new(format!("uid:{uid}"))
}

/// Whom the kernel says this process runs as. Must run on an arbiter.
pub(crate) fn own_uid() -> io::Result<u32> {
    let (one, _other) = UnixStream::pair()?;
    Ok(one.peer_cred()?.uid())
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

/// How often a listener looks again when others come and go at its path.
const ATTEMPTS: u32 = 8;

/// Why a path can't be had.
enum Taken {
    InUse,
    NoSocket,
    Io(io::Error),
}

/// Removes a socket file that nobody listens on. Ok too if it went by itself: a listener that ends takes its file along.
async fn give_free(path: &Path) -> Result<(), Taken> {
    let gone = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(Taken::Io(error)),
    };
    match fs::symlink_metadata(path) {
        Err(error) => return gone(error),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(Taken::NoSocket),
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // What a process that ended without removing it leaves behind.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).or_else(gone)
        }
        // Also a listener whose backlog is full is one.
        _ => Err(Taken::InUse),
    }
}

/// Binds, replacing a socket file that nobody listens on. Must run on an arbiter.
pub(crate) async fn listen(
    socket: &UnixSocket,
) -> Result<(UnixListener, Option<SocketFile>), ListenError> {
    let failed = |error: io::Error| ListenError::Io {
        address: socket.to_string(),
        reason: error.to_string(),
    };
    let path = match &socket.place {
        Place::Path(path) => path.clone(),
        #[cfg(any(target_os = "linux", target_os = "android"))]
        Place::Abstract(_) => {
            let bound = UnixListener::bind(socket.address().map_err(failed)?);
            return match bound {
                Ok(listener) => Ok((listener, None)),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    Err(ListenError::InUse(socket.to_string()))
                }
                Err(error) => Err(failed(error)),
            };
        }
    };
    let address = socket.address().map_err(failed)?;
    let mut attempts = 0..ATTEMPTS;
    let listener = loop {
        match UnixListener::bind(&address) {
            Ok(listener) => break listener,
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => return Err(failed(error)),
            Err(_) => {}
        }
        let last = attempts.next().is_none();
        match give_free(&path).await {
            Ok(()) if !last => {}
            Ok(()) | Err(Taken::InUse) => return Err(ListenError::InUse(socket.to_string())),
            Err(Taken::NoSocket) => return Err(ListenError::NoSocket(path)),
            Err(Taken::Io(error)) => return Err(failed(error)),
        }
    };
    // The peer's user id is checked at each connection; this only turns others away earlier.
    let mode = if socket.users.is_empty() {
        0o600
    } else {
        0o666
    };
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(failed)?;
    let file = identity(&path);
    Ok((listener, Some(SocketFile { path, file })))
}
