//! One run in one mode: a bank that is killed and started again, customers, and the books afterwards.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use callboard::prelude::*;
use callboard::process::{ProcessPlace, ProcessRef, ProcessSpec, Signal};
use callboard::remote::{LinkConfig, Peer};
use callboard::supervision::{
    ALL_EVENTS, Backoff, PolicyStats, Supervisor, TreeEvent, TreeEventKind,
};
use callboard::topic::{SubscriberOptions, Subscription, TopicEvent};
use callboard::{Incarnation, RequestKey};
use futures::StreamExt;
use futures::future::join_all;
use parking_lot::Mutex;

use crate::args::{Mode, Run};
use crate::bank::{self, BANK, Folder, PATIENCE, Role};
use crate::crash::Plan;
use crate::customers::{CENTS, Customers, JOHN, Told, name, policy};
use crate::events::{self, Event};
use crate::sqlite::Accounts;

/// What is in each account at the beginning: John's, and that of who pays.
const OPENING: i64 = 1_000_000;
/// A run that takes longer than this, and that much for each payment and kill, is stuck.
const LONGEST: Duration = Duration::from_secs(120);
const LONGEST_EACH: Duration = Duration::from_millis(500);
/// How often somebody is told how far it is.
const FRAME: Duration = Duration::from_millis(100);
/// What the supervisor's cause of a SIGKILL looks like.
const SIGKILL: &str = "SIGKILL";

/// What a run came to.
pub(crate) struct Outcome {
    pub(crate) mode: Mode,
    pub(crate) payments: u32,
    pub(crate) took: Duration,
    pub(crate) told: BTreeMap<u32, Told>,
    /// How often the bank was killed, by where.
    pub(crate) kills: BTreeMap<&'static str, u32>,
    /// How it ended besides.
    pub(crate) other_ends: Vec<String>,
    pub(crate) calls: PolicyStats,
    pub(crate) pressed_again: u64,
    pub(crate) events: Vec<Event>,
    pub(crate) books: Books,
}

/// What the bank's files say when it is closed.
pub(crate) struct Books {
    /// How often each payment is in the ledger, and in what John has.
    pub(crate) times: BTreeMap<u32, u32>,
    pub(crate) john_got: i64,
    /// What has come into the world or gone out of it.
    pub(crate) made_of_nothing: i64,
    /// What SQLite says of its file.
    pub(crate) check: String,
}

// ANCHOR: play
/// Runs to the end: all payments made, or given up.
pub(crate) async fn play(
    system: &System,
    run: &Run,
    mode: Mode,
    progress: &mut impl FnMut(u32, u32),
) -> callboard::Result<Outcome> {
    let scratch = Scratch::new()?;
    let folder = &scratch.0;
    let mut accounts: Vec<_> = (0..run.clients).map(|it| (name(it), OPENING)).collect();
    accounts.push((JOHN.to_owned(), OPENING));
    bank::found(&folder.accounts(), &accounts)?;

    let (seed, kills, payments) = (run.seed, run.kills, run.payments);
    let plan = move |incarnation| Plan::draw(seed, incarnation, kills, payments);
    let place = process(system, folder, mode, plan)?;
    let process = place.reference();
    let tree = Supervisor::builder("street")
        // It is killed on purpose: as often as was asked for, and a few times more.
        .intensity(run.kills as usize + 20, Duration::from_secs(3_600))
        .backoff(Backoff {
            base: Duration::from_millis(2),
            cap: Duration::from_millis(10),
            ..Backoff::default()
        })
        .child(place)
        .start(system)?;
    let topic = tree.events();
    let tree_events = topic.subscribe(ALL_EVENTS, SubscriberOptions::default());
    let tree_events = tree_events.await?;

    let link = Peer::unix_with(system, folder.socket(), eager());
    let customers = Customers {
        system,
        run,
        mode,
        bank: link.recipient(BANK)?,
        link: link.clone(),
        policy: policy()?,
        pressed_again: AtomicU64::new(0),
        told: Mutex::default(),
        events: Mutex::default(),
    };
    let keeper = Keeper {
        system,
        plan: &plan,
        process,
        link,
        kills: Mutex::default(),
        killed: AtomicU32::new(0),
        other_ends: Mutex::default(),
        events: Mutex::default(),
    };
    let began = system.clock().now();
    let longest = LONGEST + LONGEST_EACH * (run.payments + run.kills);
    let frames = async {
        loop {
            let told = customers.told.lock().len();
            let told = u32::try_from(told).unwrap_or(u32::MAX);
            progress(told, keeper.killed.load(Ordering::Relaxed));
            system.clock().sleep(FRAME).await;
        }
    };
    let all = (0..run.clients).map(|customer| customers.all_of(customer));
    tokio::select! {
        _ = join_all(all) => {}
        () = frames => {}
        () = keeper.keep(tree_events) => return Err("the bank was given up".into()),
        () = system.clock().sleep(longest) => return Err(format!("stuck for {longest:?}").into()),
        _ = tokio::signal::ctrl_c() => return Err("interrupted".into()),
    }
    let took = system.clock().now().since(began);
    tree.stop();
    tree.wait().await;

    let mut events = events::read(&folder.log())?;
    events.append(&mut customers.events.lock());
    events.append(&mut keeper.events.lock());
    events.sort_by_key(|event| event.at);
    Ok(Outcome {
        mode,
        payments,
        took,
        told: customers.told.into_inner(),
        kills: keeper.kills.into_inner(),
        other_ends: keeper.other_ends.into_inner(),
        calls: customers.policy.stats(),
        pressed_again: customers.pressed_again.into_inner(),
        events,
        books: audit(folder, i64::from(run.clients + 1) * OPENING)?,
    })
}
// ANCHOR_END: play

/// This executable, as a bank. Each incarnation is told beforehand how it ends.
fn process(
    system: &System,
    folder: &Folder,
    mode: Mode,
    plan: impl Fn(Incarnation) -> Plan + Send + Sync + 'static,
) -> std::io::Result<ProcessPlace> {
    let spec = ProcessSpec::new(std::env::current_exe()?).label(BANK);
    let folder = folder.clone();
    let place = ProcessPlace::plain(system, spec).each_start(move |spec, incarnation| {
        let role = Role {
            folder: folder.clone(),
            mode,
            incarnation,
            plan: plan(incarnation),
        };
        spec.args(role.to_args())
    });
    Ok(place)
}

/// A neighbour that is back in a moment is dialled again soon.
fn eager() -> LinkConfig {
    let mut config = LinkConfig::default();
    config.backoff = Duration::from_millis(5);
    config.backoff_cap = Duration::from_millis(20);
    config
}

/// Kills the bank where it doesn't do it itself, and counts how it ends.
struct Keeper<'a, P> {
    system: &'a System,
    plan: &'a P,
    process: ProcessRef,
    link: Peer,
    kills: Mutex<BTreeMap<&'static str, u32>>,
    killed: AtomicU32,
    other_ends: Mutex<Vec<String>>,
    events: Mutex<Vec<Event>>,
}

impl<P: Fn(Incarnation) -> Plan> Keeper<'_, P> {
    /// Until the supervisor has ended.
    async fn keep(&self, mut tree: Subscription<TreeEvent>) {
        while let Some(event) = tree.next().await {
            let TopicEvent::Message(message) = event else {
                continue;
            };
            let event = message.value();
            let incarnation = Incarnation(event.incarnation);
            match &event.what {
                TreeEventKind::Started | TreeEventKind::Restarted => {
                    self.note(incarnation, "is started".to_owned());
                    if let Plan::Outside(after) = (self.plan)(incarnation) {
                        self.kill(incarnation, after).await;
                    }
                }
                TreeEventKind::Failed { cause, .. } | TreeEventKind::GaveUp { cause } => {
                    self.ended(incarnation, cause);
                }
                _ => {}
            }
        }
    }

    async fn kill(&self, incarnation: Incarnation, after: Duration) {
        // An error is none: the link is open as long as there is a keeper.
        let _ = self.link.connected().await;
        self.system.clock().sleep(after).await;
        self.note(incarnation, "is sent SIGKILL from outside".to_owned());
        // An error: it has ended already, and that was noted.
        let _ = self.process.signal_incarnation(incarnation, Signal::KILL);
    }

    fn ended(&self, incarnation: Incarnation, cause: &str) {
        self.note(incarnation, format!("has ended: {cause}"));
        let plan = (self.plan)(incarnation);
        if cause.contains(SIGKILL) && plan != Plan::Lives {
            *self.kills.lock().entry(plan.text()).or_default() += 1;
            self.killed.fetch_add(1, Ordering::Relaxed);
        } else {
            let end = format!("bank {incarnation} ended {}: {cause}", plan.text());
            self.other_ends.lock().push(end);
        }
    }

    fn note(&self, incarnation: Incarnation, what: String) {
        self.events.lock().push(Event {
            at: self.system.clock().unix(),
            payment: None,
            bank: Some(incarnation),
            what,
        });
    }
}

/// Reads the books, when nobody writes them any more.
fn audit(folder: &Folder, opened_with: i64) -> callboard::Result<Books> {
    let accounts = Accounts::open(&folder.accounts(), PATIENCE)?;
    let mut times = BTreeMap::new();
    for payment in accounts.payments()? {
        *times.entry(payment).or_default() += 1;
    }
    Ok(Books {
        times,
        john_got: accounts.balance(JOHN)? - OPENING,
        made_of_nothing: accounts.total()? - opened_with,
        check: accounts.check()?,
    })
}

impl Books {
    /// What the lines of the ledger say that John should have got.
    pub(crate) fn by_the_ledger(&self) -> i64 {
        let lines: u32 = self.times.values().sum();
        i64::from(lines) * i64::from(CENTS)
    }
}

/// A folder that is gone afterwards.
struct Scratch(Folder);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        // Short, because the path of a Unix socket has 107 bytes at most.
        let unique = RequestKey::new().as_uuid().simple().to_string();
        let path: PathBuf = std::env::temp_dir().join(format!("pay-once-{}", &unique[12..24]));
        let made = std::fs::create_dir(&path);
        made.map_err(|error| {
            std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        Ok(Scratch(Folder(path)))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What can't be removed is left to the system's own cleaning of temporary files.
        let _ = std::fs::remove_dir_all(&self.0.0);
    }
}
