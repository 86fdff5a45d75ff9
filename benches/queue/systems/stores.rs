//! Embedded stores, each used as a queue in the way that its documentation shows, and synced before the answer.

use std::marker::PhantomData;
use std::path::Path;

use common::run::Result;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use redb::{ReadableDatabase, ReadableTableMetadata, TableDefinition};

use super::Candidate;
use crate::item::{Item, LENGTH};
use crate::workloads::durable::{self, Engine, Gather};
use crate::workloads::{BATCH, Run, Work};

/// A store as a system.
pub(crate) struct Store<E>(&'static str, PhantomData<fn() -> E>);

impl<E> Store<E> {
    pub(crate) fn called(name: &'static str) -> Self {
        Store(name, PhantomData)
    }
}

impl<E: Engine> Candidate for Store<E> {
    fn name(&self) -> &'static str {
        self.0
    }

    fn takes(&self, work: Work) -> bool {
        matches!(work, Work::DurableOffer { .. } | Work::DurableTake)
    }

    fn measure(&self, work: Work, run: &Run) -> Result<Vec<f64>> {
        match work {
            Work::DurableOffer { producers: 1 } => durable::offer_one::<E>(run),
            Work::DurableOffer { producers } => {
                durable::offer_many::<E>(producers, Gather::Nothing, run)
            }
            Work::DurableTake => durable::take::<E>(run),
            _ => Err("a store doesn't do that".into()),
        }
    }
}

/// fjall: a batch per commit, persisted with `fdatasync`.
pub(crate) struct Fjall {
    database: Database,
    items: Keyspace,
    first: u64,
    next: u64,
}

impl Engine for Fjall {
    fn open(folder: &Path) -> Result<Self> {
        let database = Database::builder(folder).open()?;
        let items = database.keyspace("items", KeyspaceCreateOptions::default)?;
        Ok(Fjall {
            database,
            items,
            first: 0,
            next: 0,
        })
    }

    fn put(&mut self, items: &[Item]) -> Result<()> {
        let mut batch = self
            .database
            .batch()
            .durability(Some(PersistMode::SyncData));
        for item in items {
            batch.insert(&self.items, self.next.to_be_bytes(), item.0.as_slice());
            self.next += 1;
        }
        Ok(batch.commit()?)
    }

    fn take(&mut self, items: &mut Vec<Item>) -> Result<()> {
        let mut batch = self
            .database
            .batch()
            .durability(Some(PersistMode::SyncData));
        // From the first that is left: whoever starts at the front walks over all that was removed.
        for found in self.items.range(self.first.to_be_bytes()..).take(BATCH) {
            let (key, value) = found.into_inner()?;
            items.push(Item::from_bytes(&value).ok_or("a short value")?);
            batch.remove(&self.items, key);
            self.first += 1;
        }
        Ok(batch.commit()?)
    }

    fn stored(&mut self) -> Result<u64> {
        Ok(self.items.len()? as u64)
    }
}

/// redb: a transaction per commit, with its default durability, which is to sync.
pub(crate) struct Redb {
    database: redb::Database,
    next: u64,
}

const ITEMS: TableDefinition<'_, u64, &[u8; LENGTH]> = TableDefinition::new("items");

impl Engine for Redb {
    fn open(folder: &Path) -> Result<Self> {
        let database = redb::Database::create(folder.join("items.redb"))?;
        Ok(Redb { database, next: 0 })
    }

    fn put(&mut self, items: &[Item]) -> Result<()> {
        let transaction = self.database.begin_write()?;
        let mut table = transaction.open_table(ITEMS)?;
        for item in items {
            table.insert(self.next, &item.0)?;
            self.next += 1;
        }
        drop(table);
        Ok(transaction.commit()?)
    }

    fn take(&mut self, items: &mut Vec<Item>) -> Result<()> {
        let transaction = self.database.begin_write()?;
        let mut table = transaction.open_table(ITEMS)?;
        while items.len() < BATCH
            && let Some((_, item)) = table.pop_first()?
        {
            items.push(Item(*item.value()));
        }
        drop(table);
        Ok(transaction.commit()?)
    }

    fn stored(&mut self) -> Result<u64> {
        let transaction = self.database.begin_read()?;
        Ok(transaction.open_table(ITEMS)?.len()?)
    }
}

/// SQLite: a write-ahead log that is synced at each commit.
pub(crate) struct Sqlite(rusqlite::Connection);

impl Engine for Sqlite {
    fn open(folder: &Path) -> Result<Self> {
        let connection = rusqlite::Connection::open(folder.join("items.sqlite"))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute(
            "CREATE TABLE items (id INTEGER PRIMARY KEY, item BLOB NOT NULL)",
            [],
        )?;
        Ok(Sqlite(connection))
    }

    fn put(&mut self, items: &[Item]) -> Result<()> {
        let transaction = self.0.transaction()?;
        let mut insert = transaction.prepare_cached("INSERT INTO items (item) VALUES (?1)")?;
        for item in items {
            insert.execute([item.0.as_slice()])?;
        }
        drop(insert);
        Ok(transaction.commit()?)
    }

    fn take(&mut self, items: &mut Vec<Item>) -> Result<()> {
        let transaction = self.0.transaction()?;
        let mut oldest =
            transaction.prepare_cached("SELECT id, item FROM items ORDER BY id LIMIT ?1")?;
        let mut rows = oldest.query([i64::try_from(BATCH)?])?;
        let mut last = 0;
        while let Some(row) = rows.next()? {
            last = row.get::<_, i64>(0)?;
            let item = Item::from_bytes(row.get_ref(1)?.as_blob()?);
            items.push(item.ok_or("a short blob")?);
        }
        drop(rows);
        drop(oldest);
        let mut remove = transaction.prepare_cached("DELETE FROM items WHERE id <= ?1")?;
        remove.execute([last])?;
        drop(remove);
        Ok(transaction.commit()?)
    }

    fn stored(&mut self) -> Result<u64> {
        let count = "SELECT count(*) FROM items";
        let count: i64 = self.0.query_row(count, [], |row| row.get(0))?;
        Ok(u64::try_from(count)?)
    }
}
