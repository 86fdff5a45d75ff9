//! The bank: a process with accounts, which is killed in the middle of its work.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use callboard::prelude::*;
use callboard::remote::{Node, stdin_closed};
use callboard::store::Options;
use callboard::supervision::{Dedup, Once, OnceError, OutcomeStore, RequestId};
use callboard::{Failure, FailureKind, Incarnation};
use serde::{Deserialize, Serialize};

use crate::args::Mode;
use crate::crash::{Crash, Plan, Point};
use crate::events::{FOUND, Log, RECEIVED};
use crate::sqlite::{Accounts, AccountsTx};

/// The name under which the bank is exposed.
pub(crate) const BANK: &str = "bank";

/// How long the bank waits for others who write to its database. There should be none.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// The size of the durable store's files.
const SEGMENT: u64 = 64 << 10;

/// An order to pay.
#[derive(Message, Debug, Clone, Hash, Serialize, Deserialize)]
#[message(reply = Receipt, name = "bank.pay", version = 1)]
pub(crate) struct Pay {
    /// Which payment this is, for the ledger only: nothing is told apart by it.
    pub(crate) payment: u32,
    pub(crate) payer: String,
    pub(crate) payee: String,
    pub(crate) cents: u32,
}

/// What a customer gets for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    /// What was left to the payer then.
    pub(crate) left: i64,
}

/// Where a bank keeps its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn accounts(&self) -> PathBuf {
        self.0.join("bank.db")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("bank.log")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("bank.sock")
    }
}

/// What one incarnation of the bank is started with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Role {
    pub(crate) folder: Folder,
    pub(crate) mode: Mode,
    pub(crate) incarnation: Incarnation,
    pub(crate) plan: Plan,
}

// ANCHOR: serve
/// The process: serves on its socket until its parent is gone.
pub(crate) async fn serve(system: &System, role: Role) -> callboard::Result<()> {
    let bank = Bank::open(system, &role)?;
    // SQLite blocks: on a thread of its own it delays nobody else.
    let bank = system.actor(move || bank).label(BANK);
    let bank = bank.placement(Placement::OwnThread);
    let bank = match role.mode {
        Mode::DurableStore => bank.admission(durable(system, &role.folder).await?).start(),
        Mode::OwnTransaction | Mode::NoKeys => bank.start(),
    };
    let node = Node::new(system, BANK)?;
    node.expose(BANK, &bank.recipient::<Pay, _>())?;
    node.listen_unix(role.folder.socket()).await?;
    tokio::select! {
        closed = stdin_closed(system) => Ok(closed?),
        why = bank.wait() => Err(format!("the bank has ended: {why}").into()),
    }
}
// ANCHOR_END: serve

// ANCHOR: durable
/// Stands before the handler: a payment is reserved on disk before it runs, and its receipt is on disk before it is
/// given. One that was found running at the start is one of which nobody knows.
async fn durable(system: &System, folder: &Folder) -> callboard::Result<Dedup<Pay>> {
    // Small files: what a bank that starts again has to read through.
    let store = Options::new().segment_bytes(SEGMENT);
    let store = store.open(system, folder.store()).await?;
    let dedup = Dedup::<Pay>::builder_encoded(system);
    Ok(dedup.durable("payments", Arc::new(store)).open().await?)
}
// ANCHOR_END: durable

struct Bank {
    accounts: Accounts,
    mode: Mode,
    notes: Arc<Notes>,
}

/// What is said of the payment in hand before the process ends.
struct Notes {
    log: Log,
    crash: Crash,
    in_hand: AtomicU32,
}

impl Notes {
    fn take(&self, payment: u32, attempt: u32) {
        self.in_hand.store(payment, Ordering::Relaxed);
        self.say(&format!("{RECEIVED} {attempt}"));
        self.reach(Point::Received);
    }

    fn say(&self, what: &str) {
        self.log.note(self.in_hand.load(Ordering::Relaxed), what);
    }

    fn reach(&self, point: Point) {
        let last = || self.say(&format!("sends itself SIGKILL {}", point.text()));
        self.crash.at(point, last);
    }
}

impl Actor for Bank {}

// ANCHOR: pay
impl DeferredHandler<Pay> for Bank {
    async fn handle_deferred(
        &mut self,
        pay: Pay,
        responder: Responder<Receipt>,
        ctx: &mut Context<Self>,
    ) {
        self.notes.take(pay.payment, ctx.meta().attempt());
        let paid = match self.mode {
            Mode::OwnTransaction => match RequestId::of::<Pay>(BANK, ctx.meta()) {
                Some(id) => self.once(&id, &pay).await,
                None => Err(keyless()),
            },
            Mode::DurableStore | Mode::NoKeys => self.just_do_it(&pay),
        };
        match paid {
            Ok(receipt) => responder.send(receipt),
            Err(failure) => responder.fail(failure),
        }
    }
}

impl Bank {
    /// The key is written by the payment's own transaction.
    async fn once(&mut self, id: &RequestId, pay: &Pay) -> Result<Receipt, Failure> {
        let notes = Arc::clone(&self.notes);
        let paid = self
            .accounts
            .once(id, pay, async |tx| effect(tx, pay, &notes));
        match paid.await? {
            Once::First(receipt) => {
                notes.say("committed: the payment and its key");
                notes.reach(Point::Committed);
                Ok(receipt)
            }
            Once::Again(receipt) => {
                notes.say(FOUND);
                Ok(receipt)
            }
        }
    }
    // ANCHOR_END: pay

    /// The same payment, and nothing in it that would know it again.
    fn just_do_it(&mut self, pay: &Pay) -> Result<Receipt, Failure> {
        let paid = self.accounts.begin_plain().and_then(|mut tx| {
            let receipt = effect(&mut tx, pay, &self.notes)?;
            tx.commit_plain()?;
            Ok(receipt)
        });
        let receipt = paid.map_err(OnceError::<_, rusqlite::Error>::Effect)?;
        self.notes.say("committed");
        self.notes.reach(Point::Committed);
        Ok(receipt)
    }

    fn open(system: &System, role: &Role) -> callboard::Result<Self> {
        let log = Log::append(&role.folder.log(), system.clock(), role.incarnation)?;
        let notes = Arc::new(Notes {
            log,
            crash: Crash::new(role.plan),
            in_hand: AtomicU32::new(0),
        });
        let mut accounts = Accounts::open(&role.folder.accounts(), PATIENCE)?;
        let before = Arc::clone(&notes);
        accounts.before_commit(move || before.reach(Point::Stored))?;
        Ok(Bank {
            accounts,
            mode: role.mode,
            notes,
        })
    }
}

fn effect(tx: &mut AccountsTx<'_>, pay: &Pay, notes: &Notes) -> rusqlite::Result<Receipt> {
    let left = tx.pay(pay.payment, &pay.payer, &pay.payee, pay.cents)?;
    notes.reach(Point::Effect);
    Ok(Receipt { left })
}

fn keyless() -> Failure {
    let failure = Failure::new(FailureKind::BadPayload, Verdict::NotExecuted);
    failure.with_detail("a payment needs a request key")
}

/// Opens the accounts of a bank that has never been started.
pub(crate) fn found(path: &Path, accounts: &[(String, i64)]) -> rusqlite::Result<()> {
    let bank = Accounts::open(path, PATIENCE)?;
    for (name, cents) in accounts {
        bank.open_account(name, *cents)?;
    }
    Ok(())
}
