//! Who looks at a policy file: on a thread for work that blocks, every so often.
//!
//! A look reads the whole file and compares it with what was seen before: times of files are too coarse for that and
//! can be set, notices of the system differ from one to the next and don't reach over a network's file system, and the
//! file is small. A difference is taken once two looks in a row saw the same, since who writes a file in place shows
//! it half-written.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use callboard_core::clock::Clock;
use callboard_core::{Placement, Rest, System, Worker};
use callboard_store::Disk;
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::Shared as SharedFuture;
use parking_lot::Mutex;
use siphasher::sip128::{Hasher128, SipHasher13};

use super::error::{PolicyFileError, PolicyProblem, PolicyProblemKind};
use super::report::{PolicyFileChange, PolicyFileEvent, PolicyFileStatus, difference};
use super::text::{self, MAX_POLICIES, MAX_POLICY_FILE, Policies};
use super::{CallPolicy, QUIET};

/// What a look answers.
pub(super) type Looked = Result<PolicyFileChange, PolicyFileError>;
/// Who is told of each new content.
pub(super) type OnChange = Box<dyn Fn(&PolicyFileEvent) + Send + Sync>;

/// A policy file, looked at or not.
pub(super) struct Watched {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    clock: Clock,
    every: Duration,
    on_change: Option<OnChange>,
    /// Locked for as long as a look takes, by threads that may block.
    looking: Mutex<Looking>,
    /// Locked for moments only.
    held: Mutex<Held>,
    /// The look that somebody has asked for and that has not begun.
    asked: Mutex<Option<Asked>>,
    looks: AtomicU64,
    panics: AtomicU64,
    is_watched: AtomicBool,
}

/// What was read: bytes, or why there are none.
type Seen = Result<Vec<u8>, PolicyProblem>;

#[derive(Default)]
struct Looking {
    /// What was taken or refused last.
    settled: Option<Seen>,
    /// What the last look saw, if that is something else.
    candidate: Option<Seen>,
}

/// What became of what was read.
struct Settled {
    outcome: Looked,
    /// Whether it is another content than the last one.
    is_new: bool,
}

#[derive(Default)]
struct Held {
    policies: BTreeMap<String, Kept>,
    version: String,
    loaded: Duration,
    loads: u64,
    changes: u64,
    refusals: u64,
    last_error: Option<PolicyFileError>,
}

struct Kept {
    policy: CallPolicy,
    is_in_file: bool,
}

type Answer = SharedFuture<oneshot::Receiver<Looked>>;

struct Asked {
    tx: oneshot::Sender<Looked>,
    answer: Answer,
}

impl Watched {
    pub(super) fn new(
        path: PathBuf,
        disk: Arc<dyn Disk>,
        clock: Clock,
        every: Duration,
        on_change: Option<OnChange>,
    ) -> Self {
        Watched {
            path,
            disk,
            clock,
            every,
            on_change,
            looking: Mutex::default(),
            held: Mutex::default(),
            asked: Mutex::default(),
            looks: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            is_watched: AtomicBool::new(false),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<CallPolicy> {
        let held = self.held.lock();
        Some(held.policies.get(name)?.policy.clone())
    }

    pub(super) fn all(&self) -> BTreeMap<String, CallPolicy> {
        let held = self.held.lock();
        let policies = held.policies.iter();
        policies
            .map(|(name, kept)| (name.clone(), kept.policy.clone()))
            .collect()
    }

    pub(super) fn status(&self) -> PolicyFileStatus {
        let held = self.held.lock();
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let policies = held.policies.iter();
        PolicyFileStatus {
            path: self.path.clone(),
            is_watched: self.is_watched.load(Ordering::Acquire),
            every_ms: millis(self.every),
            version: held.version.clone(),
            loaded_unix_ms: millis(held.loaded),
            looks: self.looks.load(Ordering::Relaxed),
            loads: held.loads,
            changes: held.changes,
            refusals: held.refusals,
            panics: self.panics.load(Ordering::Relaxed),
            policies: policies
                .map(|(name, kept)| (name.clone(), kept.is_in_file))
                .collect(),
            last_error: held.last_error.clone(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn changes(&self) -> u64 {
        self.held.lock().changes
    }

    pub(super) fn last_error(&self) -> Option<PolicyFileError> {
        self.held.lock().last_error.clone()
    }

    /// Looks and takes what is there at once. Blocks.
    pub(super) fn look_now(&self) -> Looked {
        let mut looking = self.looking.lock();
        let seen = self.see();
        let settled = self.settle(&mut looking, seen);
        // The observer may look itself.
        drop(looking);
        self.tell(&settled);
        settled.outcome
    }

    /// Looks, and takes what two looks in a row saw. Answers when to look again. Blocks.
    fn look(&self) -> Rest {
        let mut looking = self.looking.lock();
        let seen = self.see();
        if looking.settled.as_ref() == Some(&seen) {
            looking.candidate = None;
        } else if looking.candidate.as_ref() == Some(&seen) {
            let settled = self.settle(&mut looking, seen);
            drop(looking);
            self.tell(&settled);
        } else {
            looking.candidate = Some(seen);
            return Rest::For(QUIET.min(self.every));
        }
        Rest::For(self.every)
    }

    fn see(&self) -> Seen {
        self.looks.fetch_add(1, Ordering::Relaxed);
        let read = self.disk.read_small(&self.path, MAX_POLICY_FILE);
        read.map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => text::too_large(),
            io::ErrorKind::NotFound => {
                PolicyProblem::whole(PolicyProblemKind::Missing, "there is no such file")
            }
            _ => PolicyProblem::whole(PolicyProblemKind::Unreadable, error.to_string()),
        })
    }

    fn settle(&self, looking: &mut Looking, seen: Seen) -> Settled {
        let is_new = looking.settled.as_ref() != Some(&seen);
        let read = match &seen {
            Err(problem) => Err(PolicyFileError::new(&self.path, vec![problem.clone()])),
            // The parser is code of others; a panic of it must not end the thread (G10).
            Ok(bytes) => catch_unwind(AssertUnwindSafe(|| text::read(&self.path, bytes)))
                .unwrap_or_else(|_| {
                    let text = "reading it panicked";
                    Err(PolicyFileError::whole(
                        &self.path,
                        PolicyProblemKind::Syntax,
                        text,
                    ))
                }),
        };
        let bytes = seen.as_deref().unwrap_or_default();
        let outcome = read.and_then(|policies| self.take(&policies, version_of(bytes)));
        if let Err(error) = &outcome {
            let mut held = self.held.lock();
            held.refusals += u64::from(is_new);
            held.last_error = Some(error.clone());
        }
        looking.settled = Some(seen);
        looking.candidate = None;
        Settled { outcome, is_new }
    }

    /// Sets all policies to what the file says, or none.
    fn take(&self, policies: &Policies, version: String) -> Looked {
        let refused = |kind, text: String| PolicyFileError::whole(&self.path, kind, text);
        let unforeseen = |bad| refused(PolicyProblemKind::Setting, format!("{bad}"));
        let mut held = self.held.lock();
        let is_known = |held: &Held, name: &String| held.policies.contains_key(name);
        let new = policies.keys().filter(|name| !is_known(&held, name));
        if held.policies.len() + new.count() > MAX_POLICIES {
            let text = format!(
                "more than {MAX_POLICIES} policies with those that were in it before: their names are free again when \
                 the program starts anew"
            );
            return Err(refused(PolicyProblemKind::TooLarge, text));
        }
        let mut change = PolicyFileChange {
            version,
            ..PolicyFileChange::default()
        };
        // All that could fail comes before anything is changed.
        let mut made = BTreeMap::new();
        for (name, settings) in policies {
            settings.check().map_err(unforeseen)?;
            if !is_known(&held, name) {
                let policy =
                    CallPolicy::new(name.as_str(), settings.clone()).map_err(unforeseen)?;
                made.insert(name.clone(), policy);
            }
        }
        for (name, kept) in &mut held.policies {
            let Some(settings) = policies.get(name) else {
                if std::mem::take(&mut kept.is_in_file) {
                    change.vanished.push(name.clone());
                }
                continue;
            };
            if !std::mem::replace(&mut kept.is_in_file, true) {
                change.added.push(name.clone());
            }
            let different = difference(&kept.policy.settings(), settings);
            if !different.is_empty() {
                // Checked above.
                kept.policy.change(settings.clone()).map_err(unforeseen)?;
                change.changed.insert(name.clone(), different);
            }
        }
        for (name, policy) in made {
            change.added.push(name.clone());
            let is_in_file = true;
            held.policies.insert(name, Kept { policy, is_in_file });
        }
        change.added.sort();
        held.changes += u64::from(held.loads > 0 && !change.is_empty());
        held.loads += 1;
        held.last_error = None;
        held.loaded = self.clock.unix();
        held.version.clone_from(&change.version);
        Ok(change)
    }

    /// Logs what became of a content, once, and tells the observer.
    fn tell(&self, Settled { outcome, is_new }: &Settled) {
        let path = self.path.display();
        let event = match outcome {
            Ok(change) if *is_new || !change.is_empty() => {
                tracing::info!(target: "callboard::policy", %path, %change, "policies loaded");
                PolicyFileEvent::Loaded(change.clone())
            }
            Err(error) if *is_new => {
                tracing::warn!(target: "callboard::policy", %path, %error, "policies refused, all as before");
                PolicyFileEvent::Refused(error.clone())
            }
            Ok(_) | Err(_) => return,
        };
        let Some(on_change) = &self.on_change else {
            return;
        };
        if catch_unwind(AssertUnwindSafe(|| on_change(&event))).is_err() {
            self.panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!(target: "callboard::policy", %path, "a panic in the observer of a policy file");
        }
    }

    fn ask(&self) -> Answer {
        let mut asked = self.asked.lock();
        let asked = asked.get_or_insert_with(|| {
            let (tx, rx) = oneshot::channel();
            Asked {
                tx,
                answer: rx.shared(),
            }
        });
        asked.answer.clone()
    }

    fn not_watched(&self, why: &str) -> PolicyFileError {
        PolicyFileError::whole(&self.path, PolicyProblemKind::NotWatched, why)
    }
}

/// Keeps the thread that looks; with it that thread ends.
pub(super) struct Owner {
    worker: Worker,
    /// Tells the task that stands for the system that nobody holds the file any more.
    _held: oneshot::Sender<()>,
}

impl Owner {
    /// Starts to look at the file, and answers after the first look.
    pub(super) async fn start(
        system: &System,
        watched: &Arc<Watched>,
    ) -> Result<Arc<Owner>, PolicyFileError> {
        watched.is_watched.store(true, Ordering::Release);
        let first = watched.ask();
        let looks = Arc::clone(watched);
        let work = move || {
            if !looks.is_watched.load(Ordering::Acquire) {
                return Rest::Ended;
            }
            // Taken before the look, so that the look is not older than the wish.
            let Some(asked) = looks.asked.lock().take() else {
                return looks.look();
            };
            // An error: nobody waits any more.
            let _ = asked.tx.send(looks.look_now());
            Rest::For(looks.every)
        };
        let worker = Worker::start(system, "callboard-policies", Duration::ZERO, work)
            .map_err(|error| watched.not_watched(&error.to_string()))?;
        let (held, released) = oneshot::channel();
        let owner = Arc::new(Owner {
            worker,
            _held: held,
        });
        let end = End {
            watched: Arc::clone(watched),
            owner: Arc::downgrade(&owner),
        };
        let until_then = move || async move {
            let _end = end;
            // Ends with an error when the last handle goes.
            let _ = released.await;
        };
        if !system.spawn(Placement::Spread, until_then) {
            return Err(watched.not_watched("the system was shut down"));
        }
        owner.answer(watched, first).await?;
        Ok(owner)
    }

    /// Has the file looked at now.
    pub(super) async fn look(&self, watched: &Watched) -> Looked {
        let answer = watched.ask();
        // Only now: who ends the watching takes the wishes away after it has said so.
        if !watched.is_watched.load(Ordering::Acquire) {
            watched.asked.lock().take();
        }
        self.answer(watched, answer).await
    }

    async fn answer(&self, watched: &Watched, answer: Answer) -> Looked {
        self.worker.wake();
        let ended = |_| Err(watched.not_watched("no longer watched: the system was shut down"));
        answer.await.unwrap_or_else(ended)
    }
}

/// In a task of the system: dropped with the last handle, or with the system.
struct End {
    watched: Arc<Watched>,
    owner: std::sync::Weak<Owner>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.watched.is_watched.store(false, Ordering::Release);
        self.watched.asked.lock().take();
        if let Some(owner) = self.owner.upgrade() {
            owner.worker.wake();
        }
    }
}

/// Stands for a content. The hash has no secret key: who can write the file needs no collision.
fn version_of(bytes: &[u8]) -> String {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    format!("{:032x}", hasher.finish128().as_u128())
}
