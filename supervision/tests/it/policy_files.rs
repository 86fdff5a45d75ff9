//! Policies in a file that is watched: what is taken, what is refused, and that it is all or nothing.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use callboard::{Actor, Context, FailureKind, Handler, Message, System, testing};
use callboard_store::{Disk, Op, RealDisk, SimDisk};
use callboard_supervision::{
    AskExt, CallPolicy, CallSettings, MAX_POLICIES, MAX_POLICY_FILE, PolicyFile, PolicyFileChange,
    PolicyFileError, PolicyFileEvent, PolicyProblemKind,
};
use futures::StreamExt;
use futures::channel::mpsc;
use futures::future::join_all;

use crate::common::{ms, secs};

pub(crate) const PATH: &str = "/etc/policies.toml";

fn disk(text: &str) -> SimDisk {
    let disk = SimDisk::new(7);
    put(&disk, text);
    disk
}

/// Puts it there at once, whole.
fn put(disk: &SimDisk, text: impl AsRef<[u8]>) {
    disk.put_bytes(Path::new(PATH), text.as_ref().to_vec());
}

/// Gives each event to a test.
type Events = mpsc::Receiver<PolicyFileEvent>;

async fn watch(system: &System, disk: &SimDisk) -> (PolicyFile, Events) {
    let (tx, mut events) = mpsc::channel(64);
    let policies = PolicyFile::builder(PATH)
        .on(Arc::new(disk.clone()))
        // In real time nobody wants to wait for a second.
        .every(if system.clock().is_manual() {
            secs(1)
        } else {
            ms(10)
        })
        .on_change(move |event| {
            // An error: the test has ended.
            let _ = tx.clone().try_send(event.clone());
        })
        .watch(system)
        .await
        .unwrap();
    assert!(loaded(&mut events).await.changed.is_empty());
    (policies, events)
}

async fn loaded(events: &mut Events) -> PolicyFileChange {
    match events.next().await {
        Some(PolicyFileEvent::Loaded(change)) => change,
        other => panic!("nothing was loaded: {other:?}"),
    }
}

async fn refused(events: &mut Events) -> PolicyFileError {
    match events.next().await {
        Some(PolicyFileEvent::Refused(error)) => error,
        other => panic!("nothing was refused: {other:?}"),
    }
}

fn attempts(policy: &CallPolicy) -> u32 {
    policy.settings().retry.map_or(0, |retry| retry.attempts)
}

fn ledger(attempts: u32) -> String {
    format!("[ledger]\nretry.attempts = {attempts}\n")
}

#[callboard::test(both)]
async fn a_file_that_changes_changes_its_policies_in_place(system: System) {
    let disk = disk(&ledger(4));
    let (policies, mut events) = watch(&system, &disk).await;
    let held = policies.get("ledger").unwrap();
    assert_eq!((held.name(), attempts(&held)), ("ledger", 4));
    put(
        &disk,
        "[ledger]\nretry.attempts = 5\nhedge = true\n[mail]\ndeadline = '3s'\n",
    );
    let change = loaded(&mut events).await;
    assert_eq!(
        change.to_string(),
        "ledger: retry.attempts 4 -> 5, hedge false -> true; added: mail"
    );
    assert_eq!(attempts(&held), 5);
    assert!(held.settings().hedge.is_some());
    let mail = policies.get("mail").unwrap();
    assert_eq!(mail.settings().deadline, Some(secs(3)));
    assert_eq!(policies.changes(), 1);
    // A comment changes the version and no policy.
    put(
        &disk,
        "[ledger]\nretry.attempts = 5\nhedge = true\n[mail] # slow\ndeadline = '3s'\n",
    );
    let comment = loaded(&mut events).await;
    assert!(comment.is_empty(), "{comment}");
    assert_ne!(comment.version, change.version);
    let status = policies.status();
    assert_eq!((status.loads, status.changes, status.refusals), (3, 1, 0));
    assert_eq!((status.version, status.last_error), (comment.version, None));
}

#[callboard::test(both)]
async fn a_file_that_is_wrong_anywhere_changes_nothing(system: System) {
    let good = "[ledger]\nretry.attempts = 4\n[mail]\n";
    let disk = disk(good);
    let (policies, mut events) = watch(&system, &disk).await;
    let held = policies.policies();
    let before: Vec<CallSettings> = held.values().map(CallPolicy::settings).collect();
    // The first policy is good, a new one too; the last one isn't.
    put(
        &disk,
        "[ledger]\nretry.attempts = 5\n[new]\n[mail]\nretry.attempts = 11\n",
    );
    let error = refused(&mut events).await;
    let text = "/etc/policies.toml:5:18: `retry.attempts` of policy `mail` must be 1 to 10";
    assert_eq!(error.to_string(), text);
    let after: Vec<CallSettings> = held.values().map(CallPolicy::settings).collect();
    assert_eq!(after, before);
    assert_eq!(
        policies.get("new").unwrap_err().there_are,
        ["ledger", "mail"]
    );
    assert_eq!(policies.last_error(), Some(error));
    assert_eq!(policies.changes(), 0);
    // What was there before is no change; the error is over.
    put(&disk, good);
    assert!(loaded(&mut events).await.is_empty());
    assert_eq!(policies.last_error(), None);
    assert_eq!(policies.status().refusals, 1);
}

#[callboard::test]
async fn a_bad_content_is_reported_once_however_long_it_stays(system: System) {
    let disk = disk(&ledger(4));
    let (policies, mut events) = watch(&system, &disk).await;
    put(&disk, "[ledger");
    assert_eq!(refused(&mut events).await.kind(), PolicyProblemKind::Syntax);
    let looks = policies.status().looks;
    testing::advance(&system, secs(60)).await.unwrap();
    let status = policies.status();
    assert!(status.looks >= looks + 50, "{} and {looks}", status.looks);
    assert_eq!(status.refusals, 1);
    assert!(events.try_recv().is_err());
    // Another one is another one.
    put(&disk, "[ledge");
    refused(&mut events).await;
    assert_eq!(policies.status().refusals, 2);
}

#[callboard::test(both)]
async fn what_cannot_be_read_changes_nothing_and_is_over_when_it_can(system: System) {
    type Break = fn(&SimDisk);
    let troubles: [(Break, PolicyProblemKind, &str); 6] = [
        (
            |disk| disk.remove(Path::new(PATH)).unwrap(),
            PolicyProblemKind::Missing,
            "/etc/policies.toml: there is no such file",
        ),
        (
            |disk| disk.fail_always(Op::Open, ErrorKind::PermissionDenied),
            PolicyProblemKind::Unreadable,
            "/etc/policies.toml: simulated: Open fails",
        ),
        (
            |disk| disk.fail_always(Op::Read, ErrorKind::Other),
            PolicyProblemKind::Unreadable,
            "/etc/policies.toml: simulated: Read fails",
        ),
        (
            |disk| {
                disk.remove(Path::new(PATH)).unwrap();
                disk.create_dir(Path::new(PATH)).unwrap();
            },
            PolicyProblemKind::Unreadable,
            "/etc/policies.toml: is a directory",
        ),
        (
            |disk| put(disk, b"[ledger] # \xff"),
            PolicyProblemKind::NotText,
            "/etc/policies.toml:1:12: no UTF-8 from here on",
        ),
        (
            |disk| put(disk, vec![b'\n'; MAX_POLICY_FILE + 1]),
            PolicyProblemKind::TooLarge,
            "/etc/policies.toml: more than 1048576 bytes, which is too much for a file of policies",
        ),
    ];
    let disk = disk(&ledger(4));
    let (policies, mut events) = watch(&system, &disk).await;
    let held = policies.get("ledger").unwrap();
    for (n, (trouble, kind, text)) in (5..).zip(troubles) {
        trouble(&disk);
        let error = refused(&mut events).await;
        assert_eq!((error.kind(), error.to_string()), (kind, text.to_owned()));
        assert_eq!(attempts(&held), n - 1);
        disk.heal();
        // An error: it is no directory.
        let _ = disk.remove_dir(Path::new(PATH));
        put(&disk, ledger(n));
        loaded(&mut events).await;
        assert_eq!(attempts(&held), n);
    }
    assert_eq!(policies.status().refusals, 6);
}

#[callboard::test(both)]
async fn a_policy_that_vanishes_keeps_its_last_settings_until_it_is_back(system: System) {
    let disk = disk("[ledger]\nretry.attempts = 4\n[mail]\n");
    let (policies, mut events) = watch(&system, &disk).await;
    let held = policies.get("ledger").unwrap();
    // An empty file is one without policies.
    put(&disk, "");
    let change = loaded(&mut events).await;
    assert_eq!(change.vanished, ["ledger", "mail"]);
    assert_eq!(change.to_string(), "no longer in the file: ledger, mail");
    assert_eq!(attempts(&held), 4);
    assert_eq!(attempts(&policies.get("ledger").unwrap()), 4);
    assert!(!policies.status().policies["ledger"]);
    put(&disk, ledger(6));
    let change = loaded(&mut events).await;
    assert_eq!(
        (change.added, change.vanished),
        (vec!["ledger".to_owned()], vec![])
    );
    assert_eq!(attempts(&held), 6);
    assert!(policies.status().policies["ledger"]);
    assert!(!policies.status().policies["mail"]);
}

#[callboard::test]
async fn names_that_come_and_go_have_a_bound(system: System) {
    let many = |from: usize, count: usize| -> String {
        (from..from + count).map(|n| format!("[p{n}]\n")).collect()
    };
    let disk = disk(&many(0, MAX_POLICIES - 1));
    let (policies, mut events) = watch(&system, &disk).await;
    put(&disk, many(MAX_POLICIES, 1));
    assert_eq!(loaded(&mut events).await.vanished.len(), MAX_POLICIES - 1);
    put(&disk, many(MAX_POLICIES, 2));
    assert_eq!(
        refused(&mut events).await.kind(),
        PolicyProblemKind::TooLarge
    );
    assert_eq!(policies.policies().len(), MAX_POLICIES);
    put(&disk, many(0, MAX_POLICIES - 1));
    loaded(&mut events).await;
}

#[callboard::test]
async fn a_write_that_is_seen_half_done_is_taken_when_it_is_whole(system: System) {
    // The first half of the new content is a good file too: 1 of 10 attempts, and no policy `mail`.
    let (old, half, whole) = (ledger(4), ledger(1), ledger(10) + "[mail]\n");
    let half = half.trim_end();
    assert!(whole.starts_with(half));
    let disk = disk(&old);
    let (policies, mut events) = watch(&system, &disk).await;
    let held = policies.get("ledger").unwrap();
    // Half of the time it is half-written, so some looks find it so; never the same twice.
    let before = policies.status().looks;
    for n in 0..100 {
        put(&disk, format!("# {n}\n{half}"));
        testing::advance(&system, ms(50)).await.unwrap();
        assert_eq!(attempts(&held), 4);
        put(&disk, format!("# {n}\n{whole}"));
        testing::advance(&system, ms(40)).await.unwrap();
        assert_eq!(attempts(&held), 4);
    }
    assert!(policies.status().looks > before + 50);
    put(&disk, &whole);
    let change = loaded(&mut events).await;
    assert_eq!(
        change.to_string(),
        "ledger: retry.attempts 4 -> 10; added: mail"
    );
    // A slower one may be seen: what is no good file is refused, and then the whole is taken.
    put(&disk, "[ledger]\nretry.att");
    refused(&mut events).await;
    assert_eq!(attempts(&held), 10);
    put(&disk, ledger(3));
    loaded(&mut events).await;
    assert_eq!(attempts(&held), 3);
}

#[callboard::test]
async fn a_file_that_is_gone_for_a_moment_is_not_missed(system: System) {
    let disk = disk(&ledger(4));
    let (policies, mut events) = watch(&system, &disk).await;
    // As editors save: the old one aside, the new one in its place.
    for n in 1..=10 {
        let aside = PathBuf::from(format!("{PATH}~{n}"));
        disk.rename(Path::new(PATH), &aside).unwrap();
        let span = ms(system.entropy().below(90));
        testing::advance(&system, span).await.unwrap();
        let new = PathBuf::from(format!("{PATH}.new"));
        disk.put_bytes(&new, ledger(n).into_bytes());
        disk.rename(&new, Path::new(PATH)).unwrap();
        let held = policies.get("ledger").unwrap();
        if attempts(&held) != n {
            loaded(&mut events).await;
            assert_eq!(attempts(&held), n);
        }
    }
    assert_eq!(policies.status().refusals, 0);
    assert_eq!(policies.last_error(), None);
}

#[callboard::test(both)]
async fn a_reload_takes_what_is_there_at_once(system: System) {
    let disk = disk(&ledger(1));
    let policies = PolicyFile::builder(PATH)
        .on(Arc::new(disk.clone()))
        .every(secs(3_600))
        .watch(&system)
        .await
        .unwrap();
    let held = policies.get("ledger").unwrap();
    for n in 2..=10 {
        put(&disk, ledger(n));
        // Many at once are one look or two, and each sees what was written before it asked.
        let reloads = join_all((0..20).map(|_| policies.reload())).await;
        assert!(reloads.iter().all(Result::is_ok));
        assert_eq!(attempts(&held), n);
    }
    let looks = policies.status().looks;
    assert!(looks <= 1 + 9 * 2, "{looks}");
    put(&disk, ledger(0));
    let error = policies.reload().await.unwrap_err();
    assert_eq!(Some(&error), policies.last_error().as_ref());
    assert_eq!(attempts(&held), 10);
    // Again the same: told to who asks, and counted once.
    assert_eq!(policies.reload().await.unwrap_err(), error);
    assert_eq!(policies.status().refusals, 1);
    // The file says what is set, also against who said otherwise.
    put(&disk, ledger(3));
    policies.reload().await.unwrap();
    held.change(CallSettings::nothing()).unwrap();
    let change = policies.reload().await.unwrap();
    assert_eq!(
        change.to_string(),
        "ledger: retry false -> true, breaker false -> true"
    );
    assert_eq!(attempts(&held), 3);
}

#[callboard::test(both)]
async fn watching_ends_with_the_last_handle(system: System) {
    let disk = disk(&ledger(4));
    let (policies, mut events) = watch(&system, &disk).await;
    let held = policies.get("ledger").unwrap();
    let clone = policies.clone();
    drop(policies);
    put(&disk, ledger(5));
    loaded(&mut events).await;
    drop(clone);
    // The observer is dropped with the last thing that has it, which is the thread.
    assert_eq!(events.next().await, None);
    // Policies outlive their file.
    assert_eq!(attempts(&held), 5);
}

#[test]
fn watching_ends_with_the_system() {
    let system = System::with_arbiters(1).unwrap();
    let disk = disk(&ledger(4));
    futures::executor::block_on(async {
        let (policies, mut events) = watch(&system, &disk).await;
        system.shutdown().await;
        let error = loop {
            // The arbiter drops what it has at some time after the shutdown.
            if let Err(error) = policies.reload().await {
                break error;
            }
        };
        assert_eq!(error.kind(), PolicyProblemKind::NotWatched);
        let text = "/etc/policies.toml: no longer watched: the system was shut down";
        assert_eq!(error.to_string(), text);
        assert!(!policies.status().is_watched);
        assert_eq!(attempts(&policies.get("ledger").unwrap()), 4);
        // By hand it can be loaded still.
        put(&disk, ledger(7));
        policies.reload_blocking().unwrap();
        assert_eq!(attempts(&policies.get("ledger").unwrap()), 7);
        loaded(&mut events).await;
        drop(policies);
        assert_eq!(events.next().await, None);
        // And nobody begins to.
        let again = PolicyFile::builder(PATH)
            .on(Arc::new(disk))
            .watch(&system)
            .await;
        assert_eq!(again.unwrap_err().kind(), PolicyProblemKind::NotWatched);
    });
}

#[callboard::test(both)]
async fn a_bad_start_is_an_error(system: System) {
    let start = |text: &str| PolicyFile::builder(PATH).on(Arc::new(disk(text)));
    let error = start(&ledger(11)).watch(&system).await.unwrap_err();
    assert_eq!(error.at().map(|at| (at.line, at.column)), Some((2, 18)));
    assert_eq!(start(&ledger(11)).load().unwrap_err(), error);
    let empty = Arc::new(SimDisk::new(1));
    let missing = PolicyFile::builder(PATH).on(empty).watch(&system).await;
    assert_eq!(missing.unwrap_err().kind(), PolicyProblemKind::Missing);
    let hasty = start("").every(ms(9)).watch(&system).await.unwrap_err();
    assert_eq!(
        hasty.to_string(),
        "/etc/policies.toml: to be looked at every 9ms, but it can be every 10ms at most"
    );
}

#[callboard::test(both)]
async fn a_panic_of_the_observer_ends_nothing(system: System) {
    let disk = disk(&ledger(4));
    let policies = PolicyFile::builder(PATH)
        .on(Arc::new(disk.clone()))
        .on_change(|_| panic!("told to"))
        .watch(&system)
        .await
        .unwrap();
    put(&disk, ledger(5));
    policies.reload().await.unwrap();
    put(&disk, ledger(0));
    policies.reload().await.unwrap_err();
    put(&disk, ledger(6));
    policies.reload().await.unwrap();
    assert_eq!(attempts(&policies.get("ledger").unwrap()), 6);
    assert_eq!(policies.status().panics, 4);
}

#[test]
fn the_observer_may_look_itself() {
    let disk = disk(&ledger(4));
    let itself: Arc<OnceLock<PolicyFile>> = Arc::default();
    let inside = Arc::clone(&itself);
    let told = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&told);
    let policies = PolicyFile::builder(PATH)
        .on(Arc::new(disk.clone()))
        .on_change(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            if let Some(policies) = inside.get() {
                assert!(policies.reload_blocking().unwrap().is_empty());
            }
        })
        .load()
        .unwrap();
    itself.set(policies.clone()).unwrap();
    put(&disk, ledger(5));
    policies.reload_blocking().unwrap();
    assert_eq!(policies.status().panics, 0);
    assert_eq!(told.load(Ordering::SeqCst), 2);
}

#[test]
fn a_file_that_is_loaded_is_not_watched() {
    let disk = disk(&ledger(4));
    let policies = PolicyFile::builder(PATH)
        .on(Arc::new(disk.clone()))
        .load()
        .unwrap();
    put(&disk, ledger(5));
    let error = futures::executor::block_on(policies.reload()).unwrap_err();
    assert_eq!(error.kind(), PolicyProblemKind::NotWatched);
    let change = policies.reload_blocking().unwrap();
    assert_eq!(change.to_string(), "ledger: retry.attempts 4 -> 5");
    assert_eq!(
        policies.get("ledgr").unwrap_err().to_string(),
        "no policy `ledgr` in /etc/policies.toml, which has `ledger`"
    );
}

#[test]
fn the_status_is_data() {
    let policies = PolicyFile::builder(PATH)
        .on(Arc::new(disk(&ledger(4))))
        .load()
        .unwrap();
    let status = serde_json::to_value(policies.status()).unwrap();
    assert_eq!(status["path"], PATH);
    assert_eq!(status["policies"], serde_json::json!({"ledger": true}));
    assert_eq!(status["is_watched"], false);
    assert_eq!(status["loads"], 1);
    assert_eq!(status["version"].as_str().map(str::len), Some(32));
}

/// A directory of the operating system's, with the file in it; gone with this.
struct Home(PathBuf);

impl Home {
    fn new(text: &str) -> Home {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("callboard-policies-it-{}-{number}", std::process::id());
        let home = Home(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&home.0).unwrap();
        std::fs::write(home.path(), text).unwrap();
        home
    }

    fn path(&self) -> PathBuf {
        self.0.join("policies.toml")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // An error: something is in the way, and the directory of the tests stays.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[callboard::test(arbiters)]
async fn files_of_the_operating_system_are_watched(system: System) {
    let home = Home::new(&ledger(4));
    let (tx, mut events) = mpsc::channel(64);
    let policies = PolicyFile::builder(home.path())
        .on(Arc::new(RealDisk))
        .every(ms(10))
        .on_change(move |event| drop(tx.clone().try_send(event.clone())))
        .watch(&system)
        .await
        .unwrap();
    loaded(&mut events).await;
    let held = policies.get("ledger").unwrap();
    // In place.
    std::fs::write(home.path(), ledger(5)).unwrap();
    while attempts(&held) != 5 {
        // Half of it may have been seen.
        events.next().await.unwrap();
    }
    // By another file in its place.
    let new = home.0.join("new");
    std::fs::write(&new, ledger(6)).unwrap();
    std::fs::rename(&new, home.path()).unwrap();
    loaded(&mut events).await;
    assert_eq!(attempts(&held), 6);
    // Gone, and a directory, in that order; the file may be seen as gone before it is one.
    std::fs::remove_file(home.path()).unwrap();
    assert_eq!(
        refused(&mut events).await.kind(),
        PolicyProblemKind::Missing
    );
    std::fs::create_dir(home.path()).unwrap();
    assert_eq!(
        refused(&mut events).await.kind(),
        PolicyProblemKind::Unreadable
    );
    assert_eq!(attempts(&held), 6);
    // What is neither might be a pipe, which nobody opens.
    let device = PolicyFile::load("/dev/zero").unwrap_err();
    assert_eq!(
        device.to_string(),
        "/dev/zero: neither a file nor a directory"
    );
}

/// Ends before it is asked.
struct Gone;
impl Actor for Gone {}

#[derive(Message, Clone)]
struct Ping;

impl Handler<Ping> for Gone {
    async fn handle(&mut self, _: Ping, _: &mut Context<Self>) {}
}

#[callboard::test(both)]
async fn g17_a_call_has_the_settings_that_the_file_has_when_it_begins(system: System) {
    let disk = disk(&ledger(1));
    let (policies, mut events) = watch(&system, &disk).await;
    let policy = policies.get("ledger").unwrap();
    let gone = system.start(Gone);

    gone.stop();
    for n in [2, 4, 3] {
        put(&disk, format!("{}retry.base = '1ms'\n", ledger(n)));
        loaded(&mut events).await;
        let before = policy.stats();
        let error = gone.ask(Ping).policy(&policy).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Stopped);
        let after = policy.stats();
        assert_eq!(after.requests - before.requests, 1);
        assert_eq!(after.retries - before.retries, u64::from(n) - 1);
    }
}
