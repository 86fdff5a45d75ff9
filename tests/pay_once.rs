//! Payments while their bank is killed: the program as a whole, and the adapter that it shows.

// The whole file is tests.
#![allow(clippy::unwrap_used)]

// The adapter of the example, by itself.
#[path = "../examples/pay_once/sqlite.rs"]
#[allow(dead_code)]
mod sqlite;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use callboard::RequestKey;
use callboard::supervision::testing::{OutcomeStoreCase, check_outcome_store};
use callboard::supervision::{Once, OutcomeStore, RequestId};
use futures::executor::block_on;

use sqlite::{Accounts, AccountsTx};

/// A folder of one test's own, gone at its end.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Temporary {
        // Short: a socket lies in it.
        let unique = RequestKey::new().as_uuid().simple().to_string();
        let path = std::env::temp_dir().join(format!("pay-{}", &unique[20..]));
        std::fs::create_dir_all(&path).unwrap();
        Temporary(path)
    }

    /// Another connection to the same database. It doesn't wait long for others.
    fn connect(&self) -> Accounts {
        let patience = Duration::from_millis(20);
        Accounts::open(&self.0.join("bank.db"), patience).unwrap()
    }

    /// A bank at which Mira has 300 and John nothing.
    fn bank(&self) -> Accounts {
        let bank = self.connect();
        bank.open_account("Mira", 300).unwrap();
        bank.open_account("John", 0).unwrap();
        bank
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl OutcomeStoreCase for Temporary {
    type Store = Accounts;

    async fn connect(&self) -> Accounts {
        self.bank()
    }

    async fn effect<'t, 's: 't>(tx: &'t mut AccountsTx<'s>) {
        tx.pay(1, "Mira", "John", 1).unwrap();
    }

    async fn effects(store: &mut Accounts) -> u64 {
        let lines = store.payments().unwrap().len() as u64;
        let cents = u64::try_from(store.balance("John").unwrap()).unwrap();
        assert_eq!(lines, cents, "the parts of an effect differ");
        lines
    }
}

#[test]
fn g19_the_adapter_over_sqlite_keeps_the_rules() {
    let folder = Temporary::new();
    block_on(check_outcome_store(&folder));
    assert_eq!(folder.connect().check().unwrap(), "ok");
}

#[test]
fn g19_an_effect_that_fails_half_way_leaves_nothing_in_sqlite() {
    let folder = Temporary::new();
    let mut bank = folder.bank();
    let id = RequestId::new(None, "bank", "pay", RequestKey::new());
    // There is no account of that name, which shows when Mira's money is gone already.
    let lost = bank.once(&id, &100, async |tx| tx.pay(1, "Mira", "Jhon", 100));
    let error = block_on(lost).unwrap_err();
    assert!(error.verdict().is_safe_to_resend(), "{error}");
    assert_eq!(bank.balance("Mira").unwrap(), 300);
    let paid = bank.once(&id, &100, async |tx| tx.pay(1, "Mira", "John", 100));
    assert_eq!(block_on(paid).unwrap(), Once::First(200));
    assert_eq!(
        (bank.total().unwrap(), bank.payments().unwrap()),
        (300, vec![1])
    );
}

/// The example, built by cargo beside this test unless only some targets were named.
fn pay_once(folder: &Temporary, args: &[&str]) -> Output {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push("examples/pay_once");
    assert!(
        path.exists(),
        "build it first: cargo build --example pay_once"
    );
    let mut command = Command::new(path);
    command.args(args).env("TMPDIR", &folder.0);
    command.stdin(Stdio::null()).output().unwrap()
}

/// The figures of a row of the table, mode by mode.
fn figures(table: &str, row: &str) -> Vec<u32> {
    let line = table
        .lines()
        .find(|line| line.trim_start().starts_with(row));
    let line = line.unwrap_or_else(|| panic!("no row {row:?} in {table}"));
    let figures = line.trim_start()[row.len()..].split_whitespace();
    // Where a mode has nothing to say stands a dash.
    let figures = figures.filter(|figure| *figure != "-");
    figures.map(|figure| figure.parse().unwrap()).collect()
}

#[test]
fn g19_payments_are_exact_over_kills_and_show_damage_without_keys() {
    const PAYMENTS: u32 = 200;
    let folder = Temporary::new();
    let args = [
        "--payments",
        "200",
        "--kills",
        "10",
        "--seed",
        "11",
        "--trace",
    ];
    let Output {
        status,
        stdout,
        stderr,
    } = pay_once(&folder, &args);
    let table = String::from_utf8(stdout).unwrap();
    let errors = String::from_utf8(stderr).unwrap();
    assert!(status.success(), "{status}: {table}{errors}");
    assert_eq!(errors, "");

    let kills = figures(&table, "kills");
    assert!(kills.iter().all(|kills| *kills == 10), "{table}");
    let after_commit = figures(&table, "after the commit, before the answer")[0];
    let again = figures(&table, "and found its answer there")[0];
    assert_eq!(after_commit, 2, "{table}");
    assert!(
        again >= after_commit,
        "who was killed after the commit: {table}"
    );

    let (once, twice) = (
        figures(&table, "payments made once"),
        figures(&table, "twice, or more often"),
    );
    let never = figures(&table, "never");
    let (due, got) = (
        figures(&table, "John should have got, in cents"),
        figures(&table, "John got"),
    );
    for mode in 0..kills.len() {
        assert_eq!(once[mode] + twice[mode] + never[mode], PAYMENTS, "{table}");
        assert_eq!(due[mode], PAYMENTS * 100, "{table}");
    }
    assert_eq!((once[0], got[0]), (PAYMENTS, due[0]), "{table}");
    // The store on disk doesn't know of those at least, and pays nobody twice.
    let unknown = figures(&table, "that were told that nobody knows");
    assert!(unknown[1] >= after_commit, "{table}");
    assert_eq!((unknown[0], twice[0], twice[1]), (0, 0, 0), "{table}");
    let receipts = figures(&table, "customers that have a receipt");
    assert_eq!(receipts[1] + unknown[1], PAYMENTS, "{table}");
    // Without keys: all of these were in doubt, and everybody in doubt pays twice or gives up.
    let keyless = kills.len() - 1;
    let damage = twice[keyless] + figures(&table, "that gave up")[keyless];
    assert!(damage >= after_commit, "{table}");

    let story = table.split("own-transaction: payment").nth(1).unwrap();
    for expected in [
        "pays John 100 cents, key",
        "sends itself SIGKILL after the commit",
        "found its key",
        "has the receipt",
    ] {
        assert!(story.contains(expected), "no {expected:?} in {story}");
    }
    let left: Vec<_> = std::fs::read_dir(&folder.0).unwrap().collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn pay_once_says_what_it_does_and_what_it_does_not_understand() {
    let folder = Temporary::new();
    let check = |args: &[&str], code, on_out: &str, on_errors: &str| {
        let output = pay_once(&folder, args);
        let out = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{out}{errors}");
        assert!(out.contains(on_out), "{out}");
        assert!(errors.contains(on_errors), "{errors}");
        assert_eq!(errors.is_empty(), on_errors.is_empty(), "{errors}");
    };
    check(&["--help"], 0, "Usage: pay_once", "");
    check(&["--kills", "many"], 2, "", "not \"many\"");
    let calm = ["--payments", "20", "--kills", "0", "--mode", "no-keys"];
    check(&calm, 0, "no payment happened to be made twice", "");
}
