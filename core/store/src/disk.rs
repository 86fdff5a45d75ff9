//! What the log needs of a disk. Everything here blocks, so it is called on threads for that only.

mod real;
#[cfg(feature = "test")]
mod sim;

use std::any::Any;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use real::RealDisk;
#[cfg(feature = "test")]
pub use sim::{Op, SECTOR, SimDisk};

/// Files by path. [`RealDisk`] is the operating system's; with the feature `test` there is `SimDisk`, whose
/// power can be cut.
///
/// The log relies on this, and on no more: what [`DiskFile::sync`] answered Ok to is on disk after a loss of
/// power, and the names of a directory are after [`sync_dir`](Disk::sync_dir). What was not synced may be there
/// in part, in any order (ALICE: Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014).
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Makes a directory, and those above it. Without effect if it is there.
    ///
    /// # Errors
    /// Those of the operating system.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names in a directory, sorted.
    ///
    /// # Errors
    /// Those of the operating system; `NotFound` if there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes an empty file, to read and to write.
    ///
    /// # Errors
    /// Those of the operating system; `AlreadyExists` if the name is taken.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that is there: to read, and to write if `write`.
    ///
    /// # Errors
    /// Those of the operating system.
    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>>;

    /// Reads a whole file that is small: of at most `max` bytes.
    ///
    /// # Errors
    /// Those of the operating system; `FileTooLarge` if it has more, of which no more than `max` and one is read;
    /// `IsADirectory` for a directory. What is neither, a pipe say, is refused too: opening it might wait for ever.
    fn read_small(&self, path: &Path, max: usize) -> io::Result<Vec<u8>> {
        let file = self.open(path, false)?;
        let mut bytes = Vec::new();
        let mut part = [0; 8 << 10];
        loop {
            let read = read_full(&*file, &mut part, bytes.len() as u64)?;
            bytes.extend_from_slice(part.get(..read).unwrap_or_default());
            if bytes.len() > max {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            if read < part.len() {
                return Ok(bytes);
            }
        }
    }

    /// Gives a file or a directory another name on the same disk.
    ///
    /// # Errors
    /// Those of the operating system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Those who have it open can read it on.
    ///
    /// # Errors
    /// Those of the operating system.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// Those of the operating system.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes the names in a directory survive the end of power.
    ///
    /// # Errors
    /// Those of the operating system.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the lock that this file stands for, and makes the file if it isn't there: `None` if somebody has the
    /// lock, in this process or another. It is free again when the answer is dropped, or the process ends.
    ///
    /// # Errors
    /// Those of the operating system.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>>;
}

/// An open file.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Its length in bytes.
    ///
    /// # Errors
    /// Those of the operating system.
    fn size(&self) -> io::Result<u64>;

    /// Reads from `at` on, and answers how much: 0 at the end of the file only.
    ///
    /// # Errors
    /// Those of the operating system.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes from `at` on, and answers how much was written, which may be less.
    ///
    /// # Errors
    /// Those of the operating system.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize>;

    /// Makes what was written survive the end of power, the length of the file included.
    ///
    /// # Errors
    /// Those of the operating system. What was written since the last sync may be lost then, for good.
    fn sync(&self) -> io::Result<()>;
}

/// Writes all of it.
pub(crate) fn write_all(file: &dyn DiskFile, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                at += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills the buffer as far as the file goes, and answers how far.
pub(crate) fn read_full(file: &dyn DiskFile, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// How much is filled with zeros at a time.
const ZEROS: usize = 256 << 10;

/// Writes zeros over a part of a file.
///
/// That is how a segment is allocated, too. `fallocate` would be quicker to call, but each sync of a block that is
/// written for the first time then has to note that in the file system's journal.
pub(crate) fn write_zeros(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS];
    let mut at = from;
    while at < to {
        let portion = usize::try_from(to - at).unwrap_or(ZEROS).min(ZEROS);
        write_all(file, &zeros[..portion], at)?;
        at += portion as u64;
    }
    Ok(())
}
