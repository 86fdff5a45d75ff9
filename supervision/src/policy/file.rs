//! Policies from a file, which is watched: see [`PolicyFile`].

mod error;
mod report;
mod sample;
mod text;
mod watcher;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use callboard_core::System;
use callboard_core::clock::Clock;
use callboard_store::{Disk, RealDisk};

use super::CallPolicy;
use super::settings::CallSettings;
use watcher::{OnChange, Owner, Watched};

pub use error::{FilePosition, NoSuchPolicy, PolicyFileError, PolicyProblem, PolicyProblemKind};
pub use report::{PolicyFileChange, PolicyFileEvent, PolicyFileStatus, SettingChange};
pub use text::{MAX_POLICIES, MAX_POLICY_FILE};

/// How often a policy file is looked at, unless said otherwise.
pub const DEFAULT_POLICY_LOOK: Duration = Duration::from_secs(1);
/// How often it can be looked at, at most.
pub const SHORTEST_POLICY_LOOK: Duration = Duration::from_millis(10);
/// How long a new content must have stood before it is taken, since it may be half-written.
const QUIET: Duration = Duration::from_millis(100);

/// Call policies in a TOML file, which is watched: a change of the file changes the policies while they are in use.
///
/// # The file
/// Each table is a policy, with the fields of [`CallSettings`] as keys and its groups as tables below it:
///
/// ```toml
/// [defaults]                    # what all others start from
/// deadline = "2s"
///
/// [ledger]
/// deadline = "500ms"
/// hedge = true                  # on, with its defaults
///
/// [ledger.retry]
/// attempts = 4
/// budget.share = 0.1
///
/// [mail]
/// breaker = false               # off
/// ```
///
/// Spans of time are texts with a unit (`"250ms"`). What is left out has its default. `false` is off, `true` is on with
/// the defaults. [`example`](PolicyFile::example) has every key, with its default and a line about it.
///
/// A table `[defaults]` is no policy: it is what the others start from. Tables are merged key by key; anything else
/// that a policy says replaces what the defaults say; `true` keeps a group as the defaults have it. The defaults must
/// make sense by themselves.
///
/// # All or nothing
/// A file that is wrong anywhere changes nothing: its policies stay as they are, and [`last_error`] says what is wrong,
/// with line and column, for each policy. It is counted, and logged once per content. Keys and tables that there
/// are not are refused, so a misspelt setting is no silent default. So is a file of more than [`MAX_POLICY_FILE`] bytes
/// or [`MAX_POLICIES`] policies.
///
/// A file that can't be read, or is gone, changes nothing either. An empty file is one without policies.
///
/// # When a change is seen
/// The file is read every second ([`every`](PolicyFileBuilder::every)) on a thread for that, and its bytes are
/// compared. A new content is taken when it was the same 100 ms later, so most writers that are caught half-way do no
/// harm; who wants to be sure writes another file and renames it over this one, as editors and `ConfigMap`s do.
/// [`reload`](PolicyFile::reload) takes what is there at once.
///
/// # What a load does to policies
/// It sets every policy of the file to what the file says, also one that [`CallPolicy::change`] has set otherwise. The
/// handles that the program has stay valid, and their next call has the new settings. A policy that is new can be had
/// from then on. One that the file has no longer keeps its last settings: its callers are there still.
///
/// # Its end
/// The thread ends when the last handle is dropped, and with the system. Policies outlive both.
///
/// # Guarantees
/// What it keeps is bounded (G3): one content, and [`MAX_POLICIES`] policies, those among them that the file has no
/// longer; a file that would bring more is refused. A panic of an observer ends nothing (G10). In the simulation
/// looks are in virtual time and the disk can be simulated, so a run is repeatable (G38). Arbiters never wait for
/// the disk, but for [`load`](PolicyFile::load) and [`reload_blocking`](PolicyFile::reload_blocking) where they are
/// called there.
///
/// # Example
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = std::env::temp_dir().join(format!("callboard-policies-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir)?;
/// # let path = dir.join("policies.toml");
/// use callboard_core::System;
/// use callboard_supervision::PolicyFile;
///
/// std::fs::write(&path, "[ledger]\nretry.attempts = 4\n")?;
/// let system = System::with_arbiters(1)?;
/// # futures::executor::block_on(async {
/// let policies = PolicyFile::watch(&system, &path).await?;
/// let ledger = policies.get("ledger")?;
/// assert_eq!(ledger.settings().retry.map(|retry| retry.attempts), Some(4));
///
/// std::fs::write(&path, "[ledger]\nretry.attempts = 5\n")?;
/// let change = policies.reload().await?; // or wait for a second
/// assert_eq!(change.to_string(), "ledger: retry.attempts 4 -> 5");
/// assert_eq!(ledger.settings().retry.map(|retry| retry.attempts), Some(5));
///
/// std::fs::write(&path, "[ledger]\nretry.attempts = 50\n")?;
/// let error = policies.reload().await.unwrap_err();
/// assert!(error.to_string().ends_with("policies.toml:2:18: `retry.attempts` of policy `ledger` must be 1 to 10"));
/// assert_eq!(ledger.settings().retry.map(|retry| retry.attempts), Some(5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # system.shutdown_blocking()?;
/// # std::fs::remove_dir_all(&dir)?;
/// # Ok(())
/// # }
/// ```
///
/// [`last_error`]: PolicyFile::last_error
#[derive(Clone)]
pub struct PolicyFile {
    watched: Arc<Watched>,
    owner: Option<Arc<Owner>>,
}

impl PolicyFile {
    /// Reads a file once, and watches nothing: for programs that load again when they are told to
    /// ([`reload_blocking`](PolicyFile::reload_blocking)), and for checking a file. Blocks the thread for as long as
    /// reading takes.
    ///
    /// # Errors
    /// [`PolicyFileError`] says what is wrong, and where.
    pub fn load(path: impl Into<PathBuf>) -> Result<PolicyFile, PolicyFileError> {
        PolicyFile::builder(path).load()
    }

    /// Reads a file and watches it from then on.
    ///
    /// # Errors
    /// [`PolicyFileError`] says what is wrong, and where: a program should not start with policies that nobody
    /// wrote. From then on a bad file is only reported.
    ///
    /// # Cancel safety
    /// Dropping it ends the watching.
    pub async fn watch(
        system: &System,
        path: impl Into<PathBuf>,
    ) -> Result<PolicyFile, PolicyFileError> {
        PolicyFile::builder(path).watch(system).await
    }

    /// Prepares the same with options.
    pub fn builder(path: impl Into<PathBuf>) -> PolicyFileBuilder {
        PolicyFileBuilder {
            path: path.into(),
            every: DEFAULT_POLICY_LOOK,
            disk: Arc::new(RealDisk),
            on_change: None,
        }
    }

    /// What a text says, without a file: for tests and for tools. `name` stands in errors for the path.
    ///
    /// # Errors
    /// [`PolicyFileError`] says what is wrong, and where.
    pub fn parse(
        name: impl AsRef<Path>,
        text: &str,
    ) -> Result<BTreeMap<String, CallSettings>, PolicyFileError> {
        text::read(name.as_ref(), text.as_bytes())
    }

    /// Settings as a file that says the same.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use callboard_supervision::{CallSettings, PolicyFile};
    ///
    /// let policies = BTreeMap::from([("ledger".to_owned(), CallSettings::nothing())]);
    /// let text = PolicyFile::to_toml(&policies);
    /// assert_eq!(PolicyFile::parse("policies.toml", &text)?, policies);
    /// # Ok::<(), callboard_supervision::PolicyFileError>(())
    /// ```
    #[must_use]
    pub fn to_toml(policies: &BTreeMap<String, CallSettings>) -> String {
        sample::to_toml(policies)
    }

    /// A file to start from: one policy with every key, its default and a line about it. What is off by default is
    /// commented out.
    #[must_use]
    pub fn example() -> String {
        sample::example()
    }

    /// A policy. It follows the file from now on, whether it is kept or got again for each call.
    ///
    /// # Errors
    /// [`NoSuchPolicy`] names those that there are.
    pub fn get(&self, name: &str) -> Result<CallPolicy, NoSuchPolicy> {
        self.watched.get(name).ok_or_else(|| NoSuchPolicy {
            name: name.to_owned(),
            path: self.watched.path().to_path_buf(),
            there_are: self.watched.all().into_keys().collect(),
        })
    }

    /// All policies by name, those among them that the file has no longer.
    #[must_use]
    pub fn policies(&self) -> BTreeMap<String, CallPolicy> {
        self.watched.all()
    }

    /// Looks at the file now and takes what is there, also if it was written this moment: the caller knows that it is
    /// whole. Policies that were changed otherwise meanwhile are set to what the file says.
    ///
    /// # Errors
    /// [`PolicyFileError`] says what is wrong, and where; then nothing has changed.
    /// [`NotWatched`](PolicyProblemKind::NotWatched) after [`load`](PolicyFile::load) or the end of the system.
    ///
    /// # Cancel safety
    /// The file is looked at also if this is dropped.
    pub async fn reload(&self) -> Result<PolicyFileChange, PolicyFileError> {
        match &self.owner {
            Some(owner) => owner.look(&self.watched).await,
            None => Err(PolicyFileError::whole(
                self.watched.path(),
                PolicyProblemKind::NotWatched,
                "it was loaded and isn't watched: use `reload_blocking`",
            )),
        }
    }

    /// The same on this thread, which it blocks for as long as reading takes. Works without a system. On an arbiter
    /// use [`reload`](PolicyFile::reload).
    ///
    /// # Errors
    /// [`PolicyFileError`] says what is wrong, and where; then nothing has changed.
    pub fn reload_blocking(&self) -> Result<PolicyFileChange, PolicyFileError> {
        self.watched.look_now()
    }

    /// How often a load, after the first, has changed something.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.watched.changes()
    }

    /// Why the file as it stands was refused; `None` if it was not.
    #[must_use]
    pub fn last_error(&self) -> Option<PolicyFileError> {
        self.watched.last_error()
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> PolicyFileStatus {
        self.watched.status()
    }
}

impl fmt::Debug for PolicyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyFile")
            .field("path", &self.watched.path())
            .field("is_watched", &self.owner.is_some())
            .finish_non_exhaustive()
    }
}

/// How a policy file is read and watched.
#[must_use = "nothing is read before `watch` or `load`"]
pub struct PolicyFileBuilder {
    path: PathBuf,
    every: Duration,
    disk: Arc<dyn Disk>,
    on_change: Option<OnChange>,
}

impl PolicyFileBuilder {
    /// How often it is looked at: at least [`SHORTEST_POLICY_LOOK`], [`DEFAULT_POLICY_LOOK`] unless said otherwise.
    /// Each look reads the file.
    pub fn every(mut self, span: Duration) -> Self {
        self.every = span;
        self
    }

    /// On which disk it is; that of the operating system unless said otherwise. Tests have one in memory
    /// (`SimDisk` of the store).
    pub fn on(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = disk;
        self
    }

    /// Is told of each new content, taken or refused, the first one included. On the thread that looks, which it
    /// blocks; a panic of it is fenced off and counted (G10).
    pub fn on_change(mut self, tell: impl Fn(&PolicyFileEvent) + Send + Sync + 'static) -> Self {
        self.on_change = Some(Box::new(tell));
        self
    }

    /// See [`PolicyFile::watch`].
    ///
    /// # Errors
    /// As there. [`NotWatched`](PolicyProblemKind::NotWatched) if it was to be looked at too often, or the system
    /// has no thread for it or was shut down.
    pub async fn watch(self, system: &System) -> Result<PolicyFile, PolicyFileError> {
        if self.every < SHORTEST_POLICY_LOOK {
            let text = format!(
                "to be looked at every {:?}, but it can be every {SHORTEST_POLICY_LOOK:?} at most",
                self.every
            );
            let kind = PolicyProblemKind::NotWatched;
            return Err(PolicyFileError::whole(&self.path, kind, text));
        }
        let watched = self.into_watched(system.clock().clone());
        let owner = Owner::start(system, &watched).await?;
        Ok(PolicyFile {
            watched,
            owner: Some(owner),
        })
    }

    /// See [`PolicyFile::load`].
    ///
    /// # Errors
    /// As there.
    pub fn load(self) -> Result<PolicyFile, PolicyFileError> {
        let watched = self.into_watched(Clock::machine());
        watched.look_now()?;
        Ok(PolicyFile {
            watched,
            owner: None,
        })
    }

    fn into_watched(self, clock: Clock) -> Arc<Watched> {
        Arc::new(Watched::new(
            self.path,
            self.disk,
            clock,
            self.every,
            self.on_change,
        ))
    }
}

impl fmt::Debug for PolicyFileBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyFileBuilder")
            .field("path", &self.path)
            .field("every", &self.every)
            .field("disk", &self.disk)
            .finish_non_exhaustive()
    }
}
