//! A disk in memory whose power can be cut.

mod content;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use callboard_core::Entropy;
use parking_lot::Mutex;

use super::{Disk, DiskFile};
use content::{Content, NameOp, Node};

/// What a disk writes whole or not at all, in bytes.
pub const SECTOR: usize = 512;

/// What a disk is asked to do, for faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Op {
    /// Reading from a file.
    Read,
    /// Writing to a file.
    Write,
    /// Syncing a file.
    Sync,
    /// Syncing a directory.
    SyncDir,
    /// Making a file or a directory.
    Create,
    /// Opening a file.
    Open,
    /// Removing a file or a directory.
    Remove,
    /// Renaming.
    Rename,
    /// Reading a directory.
    List,
}

impl Op {
    /// Whether it changes what a loss of power leaves.
    fn changes(self) -> bool {
        !matches!(self, Op::Read | Op::Open | Op::List)
    }
}

/// A disk in memory that keeps what is there apart from what would survive a loss of power. All its choices come
/// from its seed (G38). A handle; clones are handles to the same disk.
///
/// [`power_loss`](SimDisk::power_loss) and [`kill`](SimDisk::kill) answer the disk as the next process finds it;
/// this one answers every call with an error from then on, so what still runs on it changes nothing.
///
/// After a loss of power a file has what was synced, and of each write since then any of its sectors, or a prefix,
/// or all, or none; a directory likewise has any of the changes of its names. That is as harsh as POSIX allows.
/// The idea is from redb's and `SQLite`'s crash tests.
///
/// ```
/// use std::path::Path;
///
/// use callboard_store::{Disk, SimDisk};
///
/// let disk = SimDisk::new(1);
/// let path = Path::new("/a");
/// let file = disk.create(path)?;
/// file.write_at(b"kept", 0)?;
/// file.sync()?;
/// disk.sync_dir(Path::new("/"))?;
/// file.write_at(b"lost", 0)?;
/// assert_eq!(disk.kill().bytes(path).unwrap(), b"lost"); // the system still has it
/// # let disk = SimDisk::new(1);
/// # let file = disk.create(path)?;
/// # file.write_at(b"kept", 0)?;
/// # file.sync()?;
/// let disk = disk.power_loss();
/// // It was synced, but its name was not: it is there or it isn't.
/// assert!(disk.bytes(path).is_none_or(|bytes| bytes == b"kept"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    entropy: Entropy,
    files: BTreeMap<u64, Content>,
    /// Names as they are.
    names: BTreeMap<PathBuf, Node>,
    /// Names as they survive, and the changes since, in their order.
    synced_names: BTreeMap<PathBuf, Node>,
    unsynced_names: Vec<NameOp>,
    locks: BTreeSet<PathBuf>,
    changes: u64,
    cut_at: Option<u64>,
    is_off: bool,
    faults: Vec<Fault>,
    capacity: Option<u64>,
    short_writes: bool,
    loses_syncs: bool,
}

struct Fault {
    op: Op,
    /// How many of these are done before.
    after: u64,
    /// Whether it stays.
    always: bool,
    kind: io::ErrorKind,
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    number: u64,
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        SimDisk {
            state: Arc::new(Mutex::new(State {
                entropy: Entropy::seeded(seed),
                files: BTreeMap::new(),
                names: BTreeMap::new(),
                synced_names: BTreeMap::new(),
                unsynced_names: Vec::new(),
                locks: BTreeSet::new(),
                changes: 0,
                cut_at: None,
                is_off: false,
                faults: Vec::new(),
                capacity: None,
                short_writes: false,
                loses_syncs: false,
            })),
        }
    }

    /// The disk after a loss of power, with nothing planned for it.
    #[must_use]
    pub fn power_loss(&self) -> SimDisk {
        let mut state = self.state.lock();
        let entropy = state.entropy.clone();
        let next = SimDisk::new(entropy.next_u64());
        let names = content::names_after(&entropy, &state.synced_names, &state.unsynced_names);
        let mut files = BTreeMap::new();
        for (number, file) in &state.files {
            files.insert(*number, file.after_power_loss(&entropy));
        }
        state.is_off = true;
        let mut after = next.state.lock();
        after.files = files;
        after.names.clone_from(&names);
        after.synced_names = names;
        drop(after);
        next
    }

    /// The disk after the end of the process, by `kill -9` say: the operating system still has all that was
    /// written. A loss of power may follow.
    #[must_use]
    pub fn kill(&self) -> SimDisk {
        let mut state = self.state.lock();
        let next = SimDisk::new(state.entropy.next_u64());
        state.is_off = true;
        let mut after = next.state.lock();
        after.files.clone_from(&state.files);
        after.names.clone_from(&state.names);
        after.synced_names.clone_from(&state.synced_names);
        after.unsynced_names.clone_from(&state.unsynced_names);
        drop(after);
        next
    }

    /// Ends everything in the midst of the change with that number, counted from the first one of this disk on: a
    /// write is done in part, others or not at all. See [`changes`](SimDisk::changes).
    pub fn cut_at(&self, change: u64) {
        self.state.lock().cut_at = Some(change);
    }

    /// How many changes it was asked for: writes, syncs, and changes of names.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.state.lock().changes
    }

    /// Whether it has ended: by [`cut_at`](SimDisk::cut_at), or because there is one that came after it.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.state.lock().is_off
    }

    /// One operation fails: the one after the next `after` of its kind. A sync that fails may lose what was to be
    /// synced, for good.
    pub fn fail_once(&self, op: Op, after: u64, kind: io::ErrorKind) {
        let mut state = self.state.lock();
        state.faults.push(Fault {
            op,
            after,
            always: false,
            kind,
        });
    }

    /// All operations of a kind fail until [`heal`](SimDisk::heal).
    pub fn fail_always(&self, op: Op, kind: io::ErrorKind) {
        let mut state = self.state.lock();
        state.faults.push(Fault {
            op,
            after: 0,
            always: true,
            kind,
        });
    }

    /// Takes back all faults and limits.
    pub fn heal(&self) {
        let mut state = self.state.lock();
        state.faults.clear();
        state.capacity = None;
        state.short_writes = false;
        state.loses_syncs = false;
    }

    /// How many bytes all files together may have: beyond that it is full.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }

    /// Writes are done in part, as `write` may.
    pub fn write_short(&self, short: bool) {
        self.state.lock().short_writes = short;
    }

    /// Syncs answer Ok and do nothing, as disks do that lie.
    pub fn lose_syncs(&self, lose: bool) {
        self.state.lock().loses_syncs = lose;
    }

    /// The files there are, in the order of their paths.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        let state = self.state.lock();
        let files = state.names.iter();
        files
            .filter(|(_, node)| matches!(node, Node::File(_)))
            .map(|(path, _)| path.clone())
            .collect()
    }

    /// The bytes of a file; `None` if there is none.
    #[must_use]
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state.lock();
        match state.names.get(path)? {
            Node::File(number) => Some(state.files.get(number)?.bytes().to_vec()),
            Node::Dir => None,
        }
    }

    /// Puts a file there, synced, with the directories above it.
    pub fn put_bytes(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state.lock();
        let number = state.next_file();
        state.files.insert(number, Content::synced(bytes));
        let above = path.ancestors().skip(1).map(|dir| (dir, Node::Dir));
        for (path, node) in above.chain([(path, Node::File(number))]) {
            state.names.insert(path.to_path_buf(), node);
            state.synced_names.insert(path.to_path_buf(), node);
        }
    }

    /// Flips one bit of a file, where it is and where it survives. Answers whether there is that bit.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> bool {
        let mut state = self.state.lock();
        let Some(Node::File(number)) = state.names.get(path).copied() else {
            return false;
        };
        let file = state.files.get_mut(&number);
        file.is_some_and(|file| file.flip(bit))
    }

    /// A check over all names and bytes: two disks with the same one hold the same.
    #[must_use]
    pub fn fingerprint(&self) -> u32 {
        let state = self.state.lock();
        let mut hasher = crc32fast::Hasher::new();
        for (path, node) in &state.names {
            hasher.update(path.as_os_str().as_encoded_bytes());
            if let Node::File(number) = node
                && let Some(file) = state.files.get(number)
            {
                hasher.update(file.bytes());
            }
        }
        hasher.finalize()
    }
}

fn off() -> io::Error {
    io::Error::other("simulated: the machine is off")
}

impl State {
    fn next_file(&self) -> u64 {
        self.files.last_key_value().map_or(1, |(last, _)| last + 1)
    }

    /// Bytes of all files that have a name.
    fn taken(&self) -> u64 {
        let files = self.names.values().filter_map(|node| match node {
            Node::File(number) => self.files.get(number),
            Node::Dir => None,
        });
        files.map(|file| file.bytes().len() as u64).sum()
    }

    /// Before an operation: whether it fails. Answers whether everything ends in the midst of it.
    fn begin(&mut self, op: Op) -> io::Result<bool> {
        if self.is_off {
            return Err(off());
        }
        let mut failure = None;
        for fault in self.faults.iter_mut().filter(|fault| fault.op == op) {
            match fault.after.checked_sub(1) {
                Some(left) => fault.after = left,
                None if failure.is_none() => failure = Some(fault.kind),
                None => {}
            }
        }
        if let Some(kind) = failure {
            let spent = |fault: &Fault| {
                fault.op == op && fault.after == 0 && !fault.always && fault.kind == kind
            };
            if let Some(at) = self.faults.iter().position(spent) {
                self.faults.remove(at);
            }
            return Err(io::Error::new(kind, format!("simulated: {op:?} fails")));
        }
        if op.changes() {
            self.changes += 1;
            if self.cut_at.is_some_and(|cut| self.changes >= cut) {
                self.is_off = true;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A change of names.
    fn change(&mut self, op: Op, change: NameOp) -> io::Result<()> {
        let ends = self.begin(op)?;
        if !ends || self.entropy.below(2) == 0 {
            change.apply(&mut self.names);
            self.unsynced_names.push(change);
        }
        if ends { Err(off()) } else { Ok(()) }
    }

    fn file(&mut self, number: u64) -> io::Result<&mut Content> {
        self.files
            .get_mut(&number)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn has_dir(&self, dir: &Path) -> bool {
        content::is_root(dir) || self.names.get(dir) == Some(&Node::Dir)
    }

    /// Whether a name can be made here.
    fn check_new(&self, path: &Path) -> io::Result<()> {
        if self.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        match path.parent() {
            Some(dir) if self.has_dir(dir) => Ok(()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let mut new: Vec<&Path> = dir.ancestors().filter(|dir| !state.has_dir(dir)).collect();
        new.reverse();
        for dir in new {
            state.change(Op::Create, NameOp::Make(dir.to_path_buf(), Node::Dir))?;
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state.lock();
        state.begin(Op::List)?;
        if !state.has_dir(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        let names = inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
        Ok(names.collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.check_new(path)?;
        let number = state.next_file();
        state.files.insert(number, Content::default());
        state.change(
            Op::Create,
            NameOp::Make(path.to_path_buf(), Node::File(number)),
        )?;
        let disk = self.clone();
        Ok(Arc::new(SimFile { disk, number }))
    }

    fn open(&self, path: &Path, _write: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.begin(Op::Open)?;
        let number = match state.names.get(path) {
            Some(Node::File(number)) => *number,
            Some(Node::Dir) => return Err(io::ErrorKind::IsADirectory.into()),
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        let disk = self.clone();
        Ok(Arc::new(SimFile { disk, number }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let change = NameOp::Rename(from.to_path_buf(), to.to_path_buf());
        state.change(Op::Rename, change)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if !matches!(state.names.get(path), Some(Node::File(_))) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(Op::Remove, NameOp::Remove(path.to_path_buf()))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if !state.has_dir(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if state.names.keys().any(|path| path.parent() == Some(dir)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        state.change(Op::Remove, NameOp::Remove(dir.to_path_buf()))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let ends = state.begin(Op::SyncDir)?;
        if !state.loses_syncs && (!ends || state.entropy.below(2) == 0) {
            let changes = std::mem::take(&mut state.unsynced_names);
            let (synced, left): (Vec<_>, Vec<_>) =
                changes.into_iter().partition(|change| change.is_in(dir));
            synced
                .iter()
                .for_each(|change| change.apply(&mut state.synced_names));
            state.unsynced_names = left;
        }
        if ends { Err(off()) } else { Ok(()) }
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let mut state = self.state.lock();
        if state.is_off {
            return Err(off());
        }
        if !state.names.contains_key(path) {
            let number = state.next_file();
            state.files.insert(number, Content::default());
            let change = NameOp::Make(path.to_path_buf(), Node::File(number));
            state.change(Op::Create, change)?;
        }
        if !state.locks.insert(path.to_path_buf()) {
            return Ok(None);
        }
        Ok(Some(Box::new(Held {
            disk: self.clone(),
            path: path.to_path_buf(),
        })))
    }
}

struct Held {
    disk: SimDisk,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.disk.state.lock().locks.remove(&self.path);
    }
}

impl DiskFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        let mut state = self.disk.state.lock();
        if state.is_off {
            return Err(off());
        }
        Ok(state.file(self.number)?.bytes().len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut state = self.disk.state.lock();
        state.begin(Op::Read)?;
        Ok(state.file(self.number)?.read(buffer, at))
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let mut state = self.disk.state.lock();
        let ends = state.begin(Op::Write)?;
        let len = if ends {
            usize::try_from(state.entropy.below(bytes.len() as u64 + 1)).unwrap_or(0)
        } else if state.short_writes && bytes.len() > 1 {
            1 + usize::try_from(state.entropy.below(bytes.len() as u64)).unwrap_or(0)
        } else {
            bytes.len()
        };
        let bytes = &bytes[..len.min(bytes.len())];
        let taken = state.taken();
        let before = state.file(self.number)?.bytes().len() as u64;
        let after = before.max(at + bytes.len() as u64);
        let grows = after > before;
        if state
            .capacity
            .is_some_and(|most| grows && taken + (after - before) > most)
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.file(self.number)?.write(bytes, at);
        if ends { Err(off()) } else { Ok(bytes.len()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        let ends = match state.begin(Op::Sync) {
            Ok(ends) => ends,
            Err(error) => {
                let lost = state.entropy.below(2) == 0;
                if let Some(file) = state.files.get_mut(&self.number).filter(|_| lost) {
                    file.forget_unsynced();
                }
                return Err(error);
            }
        };
        if !state.loses_syncs && (!ends || state.entropy.below(2) == 0) {
            state.file(self.number)?.sync();
        }
        if ends { Err(off()) } else { Ok(()) }
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("SimDisk")
            .field("names", &state.names.len())
            .field("changes", &state.changes)
            .field("is_off", &state.is_off)
            .finish_non_exhaustive()
    }
}
