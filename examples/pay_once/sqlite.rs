//! Accounts in SQLite, and in the same database the request keys: what [`OutcomeStore`] needs of an adapter.
//!
//! Everything that is particular to keys is in the two `impl`s at the end of the file; the rest is a bank.

use std::path::Path;
use std::time::Duration;

use callboard::supervision::{OutcomeStore, OutcomeTx, RequestId};
use rusqlite::{Connection, Error, OptionalExtension, Result, Transaction, TransactionBehavior};

// ANCHOR: schema
/// The ledger has no unique payment on purpose: a payment that is made twice shows, as two lines.
///
/// The times are the database's own, so that all processes that share it mean the same. Outcomes that are
/// forgotten are found by an index on them.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS accounts (
        name TEXT PRIMARY KEY,
        cents INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS ledger (
        line INTEGER PRIMARY KEY,
        payment INTEGER NOT NULL,
        payer TEXT NOT NULL,
        payee TEXT NOT NULL,
        cents INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS outcomes (
        id BLOB PRIMARY KEY,
        outcome BLOB NOT NULL,
        kept_at INTEGER NOT NULL DEFAULT (unixepoch())
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS outcomes_by_age ON outcomes (kept_at);
";
// ANCHOR_END: schema

/// A connection to the bank's database.
pub(crate) struct Accounts(Connection);

impl Accounts {
    /// Opens the database, which is made if it isn't there. Who finds that somebody else writes waits for so long.
    pub(crate) fn open(path: &Path, patience: Duration) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(patience)?;
        // A commit is on disk before it returns: what was answered survives the power, too (G25).
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(SCHEMA)?;
        Ok(Accounts(connection))
    }

    /// Opens an account with so much in it, unless there is one.
    pub(crate) fn open_account(&self, name: &str, cents: i64) -> Result<()> {
        let sql = "INSERT OR IGNORE INTO accounts (name, cents) VALUES (?1, ?2)";
        self.0.execute(sql, (name, cents)).map(drop)
    }

    /// Calls that just before each commit.
    pub(crate) fn before_commit(&mut self, mut call: impl FnMut() + Send + 'static) -> Result<()> {
        let hook = move || {
            call();
            false // goes on with it
        };
        self.0.commit_hook(Some(hook))
    }

    /// A transaction without a key.
    pub(crate) fn begin_plain(&mut self) -> Result<AccountsTx<'_>> {
        let behavior = TransactionBehavior::Immediate;
        Ok(AccountsTx(self.0.transaction_with_behavior(behavior)?))
    }

    /// What is in an account.
    pub(crate) fn balance(&self, name: &str) -> Result<i64> {
        let sql = "SELECT cents FROM accounts WHERE name = ?1";
        self.0.query_row(sql, [name], |row| row.get(0))
    }

    /// What is in all accounts together.
    pub(crate) fn total(&self) -> Result<i64> {
        let sql = "SELECT coalesce(sum(cents), 0) FROM accounts";
        self.0.query_row(sql, (), |row| row.get(0))
    }

    /// The numbers of the payments in the ledger, in the order of its lines.
    pub(crate) fn payments(&self) -> Result<Vec<u32>> {
        let mut lines = self.0.prepare("SELECT payment FROM ledger ORDER BY line")?;
        let payments = lines.query_map((), |row| row.get(0))?;
        payments.collect()
    }

    /// What SQLite says of the file: `ok`.
    pub(crate) fn check(&self) -> Result<String> {
        let sql = "PRAGMA integrity_check";
        self.0.query_row(sql, (), |row| row.get(0))
    }
}

/// A transaction. Rolled back unless it is committed.
pub(crate) struct AccountsTx<'c>(Transaction<'c>);

impl AccountsTx<'_> {
    /// The effect: takes from one account, gives to the other, and writes a line. Answers what is left to the payer.
    pub(crate) fn pay(&self, payment: u32, payer: &str, payee: &str, cents: u32) -> Result<i64> {
        let sql = "UPDATE accounts SET cents = cents - ?2 WHERE name = ?1 RETURNING cents";
        let left = self.0.query_row(sql, (payer, cents), |row| row.get(0))?;
        let sql = "UPDATE accounts SET cents = cents + ?2 WHERE name = ?1";
        if self.0.execute(sql, (payee, cents))? == 0 {
            return Err(Error::QueryReturnedNoRows); // no such account
        }
        let sql = "INSERT INTO ledger (payment, payer, payee, cents) VALUES (?1, ?2, ?3, ?4)";
        self.0.execute(sql, (payment, payer, payee, cents))?;
        Ok(left)
    }

    pub(crate) fn commit_plain(self) -> Result<()> {
        self.0.commit()
    }
}

// ANCHOR: adapter
impl OutcomeStore for Accounts {
    type Error = Error;
    type Tx<'c> = AccountsTx<'c>;

    async fn begin(&mut self) -> Result<AccountsTx<'_>> {
        // Immediate: who is to write waits for its turn here, and not in the middle.
        self.begin_plain()
    }

    async fn forget_older_than(&mut self, age: Duration) -> Result<u64> {
        let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        let sql = "DELETE FROM outcomes WHERE kept_at < unixepoch() - ?1";
        let forgotten = self.0.execute(sql, [seconds])?;
        Ok(u64::try_from(forgotten).unwrap_or(u64::MAX))
    }
}

impl OutcomeTx for AccountsTx<'_> {
    type Error = Error;

    async fn find(&mut self, id: &RequestId) -> Result<Option<Vec<u8>>> {
        let sql = "SELECT outcome FROM outcomes WHERE id = ?1";
        let found = self.0.query_row(sql, [id.as_bytes()], |row| row.get(0));
        found.optional()
    }

    async fn keep(&mut self, id: &RequestId, outcome: &[u8]) -> Result<()> {
        let sql = "INSERT INTO outcomes (id, outcome) VALUES (?1, ?2)";
        self.0.execute(sql, (id.as_bytes(), outcome)).map(drop)
    }

    async fn commit(self) -> Result<()> {
        self.commit_plain()
    }
}
// ANCHOR_END: adapter
