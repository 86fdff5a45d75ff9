//! Named pipes (FIFOs), in a directory that only our user may enter.
//!
//! A FIFO is one pipe for all who open it: two writers mix their bytes, and what a reader left is read by the next. So
//! none is used for two connections. In the directory lies one FIFO, `door`, where the node reads; who dials
//!
//! 1. makes two FIFOs with a name nobody has used, `<uuid>.up` (to the node) and `<uuid>.down` (from it), and opens
//!    `down` for reading;
//! 2. writes `<uuid>\n` to `door`, in one write (which is atomic up to `PIPE_BUF`);
//! 3. waits for one byte on `down`, by which the node says that it reads `up`, opens that, and removes both names.
//!
//! From there on it is a byte stream like any other. The door is locked (flock) by the node that reads it, so there is
//! one. Nothing here ever blocks a thread: all is opened with `O_NONBLOCK`, and opening a FIFO for writing that nobody
//! reads fails at once (ENXIO), which is "connection refused".

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use callboard::{Boundary, Principal, RequestKey};
use futures::future::BoxFuture;
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use uuid::Uuid;

use super::pipe::TwoPipes;
use super::{Connected, Connector, Proof};
use crate::error::ListenError;

#[cfg(test)]
mod tests;

/// The FIFO that the node reads.
const DOOR: &str = "door";
/// A name and its end of line.
const LINE: usize = 37;
/// By which the node says that it reads.
const COME_IN: &[u8] = b"\n";

/// What [`Peer::fifo`](crate::Peer::fifo) dials with, for who puts something around it.
#[derive(Debug, Clone)]
pub struct FifoConnector(PathBuf);

impl FifoConnector {
    /// Dials the node that listens in that directory.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        FifoConnector(directory.into())
    }

    async fn dial(&self) -> io::Result<Connected> {
        if !super::has_sockets() {
            return Err(io::Error::other("no arbiter with sockets to run on"));
        }
        let room = Room::enter(&self.0)?;
        let names = Names(RequestKey::new().as_uuid());
        let mut made = Made {
            room: &room,
            names: Vec::new(),
        };
        for name in [names.up(), names.down()] {
            room.make(&name)?;
            made.names.push(name);
        }
        let mut input = pipe::Receiver::from_owned_fd(room.open(&names.down(), OFlags::RDONLY)?)?;
        self.knock(&room, &names).await?;
        let mut answer = [0; COME_IN.len()];
        input.read_exact(&mut answer).await?;
        let output = pipe::Sender::from_owned_fd(room.open(&names.up(), OFlags::WRONLY)?)?;
        // Both ends are open: nobody needs the names any more.
        drop(made);
        let stream = TwoPipes::new(input, output);
        Ok(Connected::new(stream, Proof::local(Some(principal()))))
    }

    /// Tells the node of the pair.
    async fn knock(&self, room: &Room, names: &Names) -> io::Result<()> {
        let door = room.open(DOOR, OFlags::WRONLY).map_err(|error| {
            if error == Errno::NXIO {
                io::Error::new(io::ErrorKind::ConnectionRefused, "nobody reads its door")
            } else {
                error.into()
            }
        })?;
        let door = pipe::Sender::from_owned_fd(door)?;
        let line = format!("{}\n", names.0.hyphenated());
        loop {
            door.writable().await?;
            match door.try_write(line.as_bytes()) {
                Ok(count) if count == line.len() => return Ok(()),
                // So few bytes are written whole or not at all.
                Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Connector for FifoConnector {
    fn address(&self) -> String {
        self.0.display().to_string()
    }

    fn boundary(&self) -> Boundary {
        Boundary::SameHost
    }

    fn connect(&self) -> BoxFuture<'_, io::Result<Connected>> {
        Box::pin(self.dial())
    }
}

/// Reads the door.
pub(crate) struct FifoListener {
    room: Room,
    door: tokio::sync::Mutex<Door>,
}

struct Door {
    input: pipe::Receiver,
    /// Keeps the door from ending when a peer that knocked has left. Nobody writes to it.
    _open: OwnedFd,
    line: Vec<u8>,
}

impl FifoListener {
    /// Makes the directory and the door, if they aren't there, and takes the door. Must run on an arbiter.
    pub(crate) fn open(directory: &Path) -> Result<Self, ListenError> {
        let failed = |reason: String| ListenError::Io {
            address: directory.display().to_string(),
            reason,
        };
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(error.to_string()));
            }
            _ => {}
        }
        let room = Room::enter(directory).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory => {
                ListenError::NotPrivate {
                    directory: directory.to_owned(),
                    reason: error.to_string(),
                }
            }
            _ => failed(error.to_string()),
        })?;
        match room.make(DOOR) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(error.to_string()));
            }
            _ => {}
        }
        if !room.is_fifo(DOOR) {
            return Err(ListenError::NoFifo(directory.join(DOOR)));
        }
        let io_failed = |error: io::Error| failed(error.to_string());
        let errno_failed = |error: Errno| io_failed(error.into());
        let input = room.open(DOOR, OFlags::RDONLY).map_err(errno_failed)?;
        rustix::fs::flock(&input, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            if error == Errno::WOULDBLOCK {
                ListenError::InUse(directory.display().to_string())
            } else {
                errno_failed(error)
            }
        })?;
        let open = room.open(DOOR, OFlags::WRONLY).map_err(errno_failed)?;
        let input = pipe::Receiver::from_owned_fd(input).map_err(io_failed)?;
        room.sweep();
        Ok(FifoListener {
            room,
            door: tokio::sync::Mutex::new(Door {
                input,
                _open: open,
                line: Vec::with_capacity(LINE),
            }),
        })
    }

    /// The next peer. Dropping it loses nobody.
    pub(crate) async fn accept(&self) -> io::Result<TwoPipes> {
        let mut door = self.door.lock().await;
        loop {
            let byte = door.input.read_u8().await?;
            if byte != b'\n' {
                // What is no name is skipped up to its end of line, without being kept.
                if door.line.len() < LINE {
                    door.line.push(byte);
                }
                continue;
            }
            let name = Uuid::try_parse_ascii(&door.line);
            door.line.clear();
            let Ok(name) = name else {
                tracing::warn!(target: "callboard::remote", "somebody wrote to the door what is no name");
                continue;
            };
            match self.room.join(&Names(name)) {
                Ok(stream) => return Ok(stream),
                // It went away while it waited.
                Err(error) => {
                    tracing::debug!(target: "callboard::remote", %name, %error, "a pair of pipes is gone");
                }
            }
        }
    }

    /// Who can have come in.
    pub(crate) fn principal(&self) -> Principal {
        principal()
    }
}

fn principal() -> Principal {
    Principal::new(format!("uid:{}", rustix::process::geteuid().as_raw()))
}

/// The names of one connection's pipes.
struct Names(Uuid);

impl Names {
    fn up(&self) -> String {
        format!("{}.up", self.0.hyphenated())
    }

    fn down(&self) -> String {
        format!("{}.down", self.0.hyphenated())
    }
}

/// FIFOs that were made, and are removed when they aren't needed any more.
struct Made<'a> {
    room: &'a Room,
    names: Vec<String>,
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        self.names.iter().for_each(|name| self.room.remove(name));
    }
}

/// The directory, held open, so that it stays the one that was checked.
struct Room {
    directory: OwnedFd,
    path: PathBuf,
}

impl Room {
    /// Opens a directory, if it is ours alone.
    fn enter(path: &Path) -> io::Result<Room> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&directory)?;
        let ours = rustix::process::geteuid().as_raw();
        let refused = |text| Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        if stat.st_uid != ours {
            let uid = stat.st_uid;
            return refused(format!("it belongs to user {uid}, this process to {ours}"));
        }
        let mode = stat.st_mode & 0o777;
        if mode & 0o077 != 0 {
            return refused(format!("its mode {mode:o} lets others in"));
        }
        Ok(Room {
            directory,
            path: path.to_owned(),
        })
    }

    fn make(&self, name: &str) -> io::Result<()> {
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(rustix::fs::mkfifoat(&self.directory, name, mode)?)
    }

    fn open(&self, name: &str, access: OFlags) -> rustix::io::Result<OwnedFd> {
        let flags = access | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.directory, name, flags, Mode::empty())
    }

    fn is_fifo(&self, name: &str) -> bool {
        rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
    }

    fn remove(&self, name: &str) {
        // It may be gone; what can't be removed is swept away when a node begins to listen.
        let _ = rustix::fs::unlinkat(&self.directory, name, AtFlags::empty());
    }

    /// The node's ends of a pair.
    fn join(&self, names: &Names) -> io::Result<TwoPipes> {
        let input = self.open(&names.up(), OFlags::RDONLY)?;
        let output = match self.open(&names.down(), OFlags::WRONLY) {
            // Nobody reads it: who made it is gone.
            Err(Errno::NXIO) => {
                self.remove(&names.up());
                self.remove(&names.down());
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            opened => opened?,
        };
        let (input, sender) = (
            pipe::Receiver::from_owned_fd(input)?,
            pipe::Sender::from_owned_fd(output.try_clone()?)?,
        );
        // Into an empty pipe, so it is taken at once.
        rustix::io::write(&output, COME_IN)?;
        Ok(TwoPipes::new(input, sender))
    }

    /// Removes pairs whose makers were killed before they could.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.path) else {
            return;
        };
        for entry in entries.flatten() {
            let file = entry.file_name();
            let Some(names) = file.to_str().and_then(pair_of) else {
                continue;
            };
            // Who waits for an answer reads it.
            if let Err(Errno::NXIO | Errno::NOENT) = self.open(&names.down(), OFlags::WRONLY) {
                self.remove(&names.up());
                self.remove(&names.down());
            }
        }
    }
}

/// The pair that a file belongs to, if it is one of a pair.
fn pair_of(file: &str) -> Option<Names> {
    let name = file
        .strip_suffix(".up")
        .or_else(|| file.strip_suffix(".down"))?;
    Uuid::try_parse(name).ok().map(Names)
}
