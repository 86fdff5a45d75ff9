//! A durable dedup store over a journal that refuses, and behind actors that get in each other's way (G19).

use std::sync::Arc;

use callboard::journal::{
    Change, Durability, Journal, JournalError, JournalErrorKind, JournalState, Journals,
    OnProgress, OnRead, OpenedJournal, Progress, RecordId, Ticket,
};
use callboard::{ActorRef, FailureKind, System};
use callboard_store::{Options, SimDisk, Store};
use callboard_supervision::{Dedup, Resolution};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;

use crate::dedups_durable::{Build, Ledger, Pay, Till, key_now, pay, plain};

/// Journals that refuse to put what the test says.
#[derive(Clone)]
struct Moody {
    store: Store,
    refuses: Arc<Mutex<Option<Refuses>>>,
}

#[derive(Clone, Copy)]
struct Refuses {
    kind: JournalErrorKind,
    /// Bodies longer than that.
    longer: Option<usize>,
}

struct MoodyJournal {
    journal: Arc<dyn Journal>,
    refuses: Arc<Mutex<Option<Refuses>>>,
}

impl Moody {
    fn refuse(&self, kind: JournalErrorKind) {
        *self.refuses.lock() = Some(Refuses { kind, longer: None });
    }

    fn take_all(&self) {
        *self.refuses.lock() = None;
    }
}

impl Journals for Moody {
    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<OpenedJournal, JournalError>> {
        async move {
            let opened = self.store.open(name).await?;
            Ok(OpenedJournal {
                journal: Arc::new(MoodyJournal {
                    journal: opened.journal,
                    refuses: Arc::clone(&self.refuses),
                }),
                ..opened
            })
        }
        .boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>, JournalError>> {
        self.store.list()
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), JournalError>> {
        self.store.remove(name)
    }
}

impl Journal for MoodyJournal {
    fn append(
        &self,
        changes: &[Change<'_>],
        durability: Durability,
    ) -> Result<Ticket, JournalError> {
        let refuses = *self.refuses.lock();
        if let Some(Refuses { kind, longer }) = refuses {
            let refused = changes.iter().any(|change| match change {
                Change::Put { body, .. } => longer.is_none_or(|longest| body.len() > longest),
                _ => false,
            });
            if refused {
                return Err(JournalError::new(kind, "not today"));
            }
        }
        self.journal.append(changes, durability)
    }

    fn read(&self, ids: &[RecordId], done: OnRead) {
        self.journal.read(ids, done);
    }

    fn progress(&self) -> Progress {
        self.journal.progress()
    }

    fn observe(&self, observer: std::sync::Weak<dyn OnProgress>) {
        self.journal.observe(observer);
    }

    fn state(&self) -> JournalState {
        self.journal.state()
    }
}

struct Shop {
    till: ActorRef<Till>,
    dedup: Dedup<Pay>,
    moody: Moody,
}

impl Shop {
    async fn open(system: &System, disk: &SimDisk, ledger: &Ledger, build: Build) -> Shop {
        let options = Options::new().on(Arc::new(disk.clone()));
        let store = options.segment_bytes(16 << 10).open(system, "/store");
        let moody = Moody {
            store: store.await.unwrap(),
            refuses: Arc::default(),
        };
        let dedup = build(Dedup::builder_encoded(system))
            .durable("pays", Arc::new(moody.clone()))
            .open()
            .await
            .unwrap();
        let own = ledger.clone();
        let spawn = system.actor(move || Till(own.clone())).label("till");
        Shop {
            till: spawn.admission(dedup.clone()).start(),
            dedup,
            moody,
        }
    }

    async fn close(self) {
        self.till.stop();
        self.till.wait().await;
        self.dedup.close().await.unwrap();
        self.moody.store.close().await.unwrap();
    }
}

#[callboard::test]
async fn g19_a_seal_that_the_journal_refused_settles_nothing(system: System) {
    let disk = SimDisk::new(1);
    let (ledger, _begun) = Ledger::new();
    for kind in [JournalErrorKind::Busy, JournalErrorKind::Full] {
        let shop = Shop::open(&system, &disk, &ledger, plain).await;
        let target = shop.till.recipient::<Pay, _>();
        let key = key_now(&system, kind as u64);
        shop.moody.refuse(kind);
        for _ in 0..2 {
            let resolved = shop.dedup.resolve(&target, key).await;
            assert_eq!(resolved, Resolution::Unknown, "{kind:?}");
        }
        shop.moody.take_all();
        assert_eq!(shop.dedup.stats().sealed, 0);
        let resolved = shop.dedup.resolve(&target, key).await;
        assert_eq!(resolved, Resolution::NotExecuted, "{kind:?}");
        assert_eq!(shop.dedup.stats().sealed, 1);
        shop.close().await;
        // What was said is on disk.
        let shop = Shop::open(&system, &disk, &ledger, plain).await;
        let refused = shop.till.ask(pay(1)).key(key).await.unwrap_err();
        assert_eq!(refused.kind(), FailureKind::Withdrawn);
        shop.close().await;
    }
    assert_eq!(ledger.count(), 0);
}
