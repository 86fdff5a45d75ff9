//! Power cut, and processes killed, at any point: what was told is so.
//!
//! A run works on a simulated disk with changes drawn from a seed, until the disk ends at a change that is drawn,
//! too. Then comes a loss of power or the end of the process, and the log is opened again. `CALLBOARD_CRASHES`
//! says how many runs there are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use callboard_core::journal::{Change, Durability, JournalErrorKind, OnProgress, Progress};
use callboard_core::{Entropy, Simulation, System};
use callboard_store::{Options, SimDisk, Store};
use parking_lot::Mutex;

use crate::common::{Home, Owner, bytes_of};

/// How many runs there are of each kind, unless the environment says otherwise.
const RUNS: u64 = 300;

fn runs() -> u64 {
    let set = std::env::var("CALLBOARD_CRASHES").ok();
    set.map_or(RUNS, |set| set.parse().unwrap())
}

/// What was done to one record, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Done {
    Put(Vec<u8>),
    Note(Vec<u8>),
    Drop,
}

/// A record as the log shows it: body and note.
type Shown = Option<(Vec<u8>, Option<Vec<u8>>)>;

/// What became of a record by the first `count` changes.
fn after(history: &[(u64, Done)], count: usize) -> Shown {
    let mut shown: Shown = None;
    for (_, done) in &history[..count] {
        match done {
            Done::Put(body) => shown = Some((body.clone(), None)),
            Done::Note(note) => {
                if let Some((_, own)) = &mut shown {
                    *own = Some(note.clone());
                }
            }
            Done::Drop => shown = None,
        }
    }
    shown
}

/// What was appended, with its tickets, and how far the log was told to be. Kept by the observer, so that it holds
/// exactly what was told before the end.
#[derive(Debug, Default)]
struct Ledger {
    histories: BTreeMap<u64, Vec<(u64, Done)>>,
    /// All changes in their order.
    order: Vec<(u64, u64)>,
}

#[derive(Default)]
struct Told(Mutex<Progress>);

impl OnProgress for Told {
    fn progressed(&self, progress: &Progress) {
        *self.0.lock() = progress.clone();
    }
}

impl Ledger {
    fn note(&mut self, ticket: u64, id: u64, done: Done) {
        self.histories.entry(id).or_default().push((ticket, done));
        self.order.push((ticket, id));
    }

    /// Takes what was found for all there ever was.
    fn restart(&mut self, found: &BTreeMap<u64, (Vec<u8>, Option<Vec<u8>>)>) {
        *self = Ledger::default();
        for (id, (body, note)) in found {
            self.note(0, *id, Done::Put(body.clone()));
            if let Some(note) = note {
                self.note(0, *id, Done::Note(note.clone()));
            }
        }
    }

    /// What was found must be what some beginning of the log says that holds all up to `told`.
    fn check(&self, found: &BTreeMap<u64, (Vec<u8>, Option<Vec<u8>>)>, told: u64) {
        let ids: BTreeSet<u64> = self.histories.keys().chain(found.keys()).copied().collect();
        // The last change that each record needs, and the first it can't have: a log is cut in one place.
        let (mut at_least, mut below) = (0, usize::MAX);
        let place = |id: u64, nth: usize| {
            let own = self
                .order
                .iter()
                .enumerate()
                .filter(|(_, (_, of))| *of == id);
            own.map(|(at, _)| at).nth(nth)
        };
        for id in ids {
            let shown = found.get(&id).cloned();
            let none = Vec::new();
            let history = self.histories.get(&id).unwrap_or(&none);
            let told = history.iter().filter(|(ticket, _)| *ticket <= told).count();
            let fits: Vec<usize> = (told..=history.len())
                .filter(|count| after(history, *count) == shown)
                .collect();
            let why =
                || format!("record {id}, {told} changes told: {history:?} and then {shown:?}");
            let (first, last) = (
                fits.first().unwrap_or_else(|| panic!("{}", why())),
                fits.last(),
            );
            if *first > told {
                at_least = at_least.max(place(id, first - 1).unwrap() + 1);
            }
            if let Some(missing) = place(id, *last.unwrap()) {
                below = below.min(missing);
            }
        }
        assert!(
            at_least <= below,
            "change {below} is missing, and {} is there: {:?}",
            at_least - 1,
            self.order
        );
    }
}

/// What a log shows when it is opened; `None` if the disk ended meanwhile.
async fn found_in(
    owner: &Owner,
    disk: &SimDisk,
) -> Option<BTreeMap<u64, (Vec<u8>, Option<Vec<u8>>)>> {
    let ids = owner.ids();
    let bodies = owner.read(&ids).await;
    if disk.is_off() {
        return None;
    }
    let records = owner.records.iter().zip(bodies);
    let found = records.map(|(record, body)| {
        assert_eq!(record.head, record.id.to_le_bytes());
        (record.id, (body.unwrap(), record.note.clone()))
    });
    Some(found.collect())
}

fn options(disk: &SimDisk) -> Options {
    Home::on(disk).options().segment_bytes(4 << 10)
}

async fn open(system: &System, disk: &SimDisk) -> Result<(Store, Owner), ()> {
    let store = options(disk).open(system, "/store").await.map_err(|_| ())?;
    let owner = Owner::try_open(&store).await.map_err(|_| ())?;
    Ok((store, owner))
}

/// Appends, waits, appends, until the disk ends or enough is done.
async fn work(owner: &Owner, entropy: &Entropy, ledger: &mut Ledger, rounds: u64) {
    for round in 0..rounds {
        for _ in 0..=entropy.below(6) {
            let id = entropy.below(12);
            let durability = match entropy.below(3) {
                0 => Durability::Written,
                _ => Durability::Synced,
            };
            let len = usize::try_from(entropy.below(700)).unwrap();
            let body = bytes_of(entropy.next_u64(), len);
            let head = id.to_le_bytes();
            let (change, done) = match entropy.below(8) {
                0..4 => {
                    let head = &head;
                    let body = &body;
                    (Change::Put { id, head, body }, Done::Put(body.clone()))
                }
                4 => (
                    Change::Note {
                        id,
                        note: &body[..len / 4],
                    },
                    Done::Note(body[..len / 4].to_vec()),
                ),
                _ => (Change::Drop { id }, Done::Drop),
            };
            let Ok(ticket) = owner.journal.append(&[change], durability) else {
                return;
            };
            ledger.note(ticket.0, id, done);
        }
        let last = owner.journal.append(&[], Durability::Synced);
        let Ok(last) = last else { return };
        if round % 3 != 0 {
            let done = |progress: &Progress| progress.synced >= last || progress.failed.is_some();
            if owner.watcher.until(done).await.failed.is_some() {
                return;
            }
        }
    }
}

/// One run: several processes one after the other on one disk. Answers a check over all bytes at the end.
fn run(seed: u64, with_power: bool) -> u32 {
    let entropy = Entropy::seeded(seed);
    let mut disk = SimDisk::new(entropy.next_u64());
    let mut ledger = Ledger::default();
    for process in 0..3 {
        let mut simulation = Simulation::new(entropy.next_u64());
        let system = simulation.system().clone();
        disk.cut_at(1 + entropy.below(120));
        disk.write_short(entropy.below(4) == 0);
        let told = Arc::new(Told::default());
        let before = ledger.order.len();
        simulation.block_on(async {
            let Ok((store, owner)) = open(&system, &disk).await else {
                return;
            };
            if process > 0 {
                // What was found is written again and synced by opening, so it is told from here on.
                let Some(found) = found_in(&owner, &disk).await else {
                    return;
                };
                ledger.check(&found, u64::MAX);
            }
            work(&owner, &entropy, &mut ledger, 30).await;
            if !disk.is_off() && entropy.below(2) == 0 {
                let _ = store.close().await;
            }
            *told.0.lock() = owner.journal.progress();
        });
        let told = told.0.lock().clone();
        let power_goes = with_power && entropy.below(3) > 0;
        // What was only written survives the end of the process, and not that of power.
        let promised = if power_goes {
            told.synced
        } else {
            told.written
        };
        disk = if power_goes {
            disk.power_loss()
        } else {
            disk.kill()
        };
        let mut simulation = Simulation::new(entropy.next_u64());
        let system = simulation.system().clone();
        let found = simulation.block_on(async {
            let (store, owner) = open(&system, &disk).await.unwrap();
            assert!(owner.report.is_sound(), "{}", owner.report);
            let found = found_in(&owner, &disk).await.unwrap();
            store.close().await.unwrap();
            found
        });
        let promised = if ledger.order.len() == before {
            u64::MAX
        } else {
            promised.0
        };
        ledger.check(&found, promised);
        ledger.restart(&found);
        // A process that starts on what was closed in order.
        disk = disk.kill();
    }
    disk.fingerprint()
}

fn all(with_power: bool, from: u64) {
    for seed in from..from + runs() {
        let run = std::panic::AssertUnwindSafe(|| run(seed, with_power));
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn g25_what_was_told_synced_survives_a_loss_of_power_at_any_point() {
    all(true, 0);
}

#[test]
fn g25_what_was_told_written_survives_a_kill_at_any_point() {
    all(false, 1 << 40);
}

#[test]
fn g38_the_same_seed_leaves_the_same_bytes_on_disk() {
    let mut prints = BTreeSet::new();
    for seed in 0..20 {
        let print = run(seed, true);
        assert_eq!(print, run(seed, true), "seed {seed}");
        prints.insert(print);
    }
    assert!(
        prints.len() > 10,
        "the seed makes no difference: {prints:?}"
    );
}

#[test]
fn a_disk_that_lies_about_syncs_is_not_trusted_to_the_end() {
    // Nothing can be promised then, except that the log opens, with a beginning of what was appended.
    for seed in 0..runs() {
        let entropy = Entropy::seeded(seed);
        let disk = SimDisk::new(seed);
        let mut ledger = Ledger::default();
        let mut simulation = Simulation::new(seed);
        let system = simulation.system().clone();
        simulation.block_on(async {
            let (store, owner) = open(&system, &disk).await.unwrap();
            disk.lose_syncs(true);
            work(&owner, &entropy, &mut ledger, 10).await;
            drop((store, owner));
        });
        let disk = disk.power_loss();
        let mut simulation = Simulation::new(seed);
        let system = simulation.system().clone();
        simulation.block_on(async {
            let store = options(&disk).open(&system, "/store").await;
            // Its directories may never have been there.
            let Ok(store) = store else { return };
            match Owner::try_open(&store).await {
                Ok(owner) => {
                    owner.put(99, b"goes on").unwrap();
                    store.close().await.unwrap();
                }
                Err(error) => assert_ne!(error.kind(), JournalErrorKind::Io, "{error}"),
            }
        });
    }
}
