//! What a journal does when nothing goes wrong.

use std::time::Duration;

use callboard_core::System;
use callboard_core::journal::{Change, Durability, JournalErrorKind, Journals, Ticket};
use callboard_core::testing;

use crate::common::{Home, Owner, bytes_of};

#[callboard::test(both)]
async fn what_is_put_noted_and_dropped_is_so_after_a_restart(system: System) {
    let home = Home::new(&system);
    let store = home.store(&system).await;
    let owner = Owner::open(&store).await;
    assert!(owner.records.is_empty() && owner.report.is_sound());
    for id in 1..=5 {
        owner.put(id, &bytes_of(id, 100)).unwrap();
    }
    owner.note(2, b"twice").unwrap();
    owner.note(2, b"thrice").unwrap();
    owner.note(9, b"of nobody").unwrap();
    owner.note(3, b"gone with its record").unwrap();
    owner.put(3, &bytes_of(33, 10)).unwrap();
    owner.drop(4).unwrap();
    let last = owner.drop(4).unwrap();
    owner.synced(last).await;
    let state = owner.journal.state();
    assert_eq!((state.records, state.appends, state.damaged), (4, 12, 0));
    store.close().await.unwrap();

    let store = home.store(&system).await;
    let owner = Owner::open(&store).await;
    assert_eq!(owner.ids(), [1, 2, 3, 5]);
    assert_eq!(owner.records[0].head, 1_u64.to_le_bytes());
    assert_eq!(owner.records[1].note.as_deref(), Some(&b"thrice"[..]));
    assert_eq!(
        (owner.records[2].note.as_ref(), owner.records[2].body_len),
        (None, 10)
    );
    assert!(owner.report.is_sound() && owner.report.torn.is_none());
    let bodies = owner.read(&[5, 4, 3]).await;
    assert_eq!(bodies[0], Ok(bytes_of(5, 100)));
    let refused = bodies[1].as_ref().unwrap_err();
    assert_eq!(refused.kind(), JournalErrorKind::NotFound);
    assert_eq!(bodies[2], Ok(bytes_of(33, 10)));
    store.close().await.unwrap();
}

#[callboard::test(both)]
async fn a_read_sees_what_was_appended_before_it(system: System) {
    let home = Home::new(&system);
    let store = home.store(&system).await;
    let owner = Owner::open(&store).await;
    for id in 1..=50 {
        owner.put(id, &bytes_of(id, 300)).unwrap();
        assert_eq!(owner.read(&[id]).await, [Ok(bytes_of(id, 300))]);
    }
    let ids: Vec<u64> = (1..=50).rev().collect();
    let all = owner.read(&ids).await;
    for (id, read) in ids.iter().zip(all) {
        assert_eq!(read, Ok(bytes_of(*id, 300)));
    }
    store.close().await.unwrap();
}

#[callboard::test(both)]
async fn appends_of_one_commit_share_a_sync(system: System) {
    let home = Home::new(&system);
    let store = home.store(&system).await;
    let owner = Owner::open(&store).await;
    let first = owner.put(0, b"to be at rest").unwrap();
    owner.synced(first).await;
    let before = owner.journal.state().syncs;
    let mut last = Ticket(0);
    for id in 1..=100 {
        let ticket = owner.put(id, b"small").unwrap();
        assert!(ticket > last);
        last = ticket;
    }
    owner.synced(last).await;
    let syncs = owner.journal.state().syncs - before;
    // A thread may see the first few before the rest; the simulated one comes for all.
    let most = if home.sim.is_some() { 1 } else { 99 };
    assert!((1..=most).contains(&syncs), "{syncs}");
    store.close().await.unwrap();
}

#[callboard::test]
async fn what_only_asked_to_be_written_is_synced_after_a_while(system: System) {
    let home = Home::new(&system);
    let store = home.store(&system).await;
    let owner = Owner::open(&store).await;
    let put = Change::Put {
        id: 1,
        head: b"",
        body: b"x",
    };
    let ticket = owner.journal.append(&[put], Durability::Written).unwrap();
    let progress = owner.watcher.until(|progress| progress.written >= ticket);
    assert!(progress.await.synced < ticket);
    testing::advance(&system, Duration::from_secs(2))
        .await
        .unwrap();
    assert_eq!(owner.watcher.last().synced, ticket);
    store.close().await.unwrap();
}

#[callboard::test]
async fn a_relaxed_store_syncs_as_often_as_it_says_and_tells_no_sooner(system: System) {
    let home = Home::new(&system);
    let options = home.options().sync_every(Duration::from_millis(100));
    let store = options.open(&system, &home.dir).await.unwrap();
    let owner = Owner::open(&store).await;
    let before = owner.journal.state().syncs;
    let mut last = Ticket(0);
    for id in 1..=10 {
        last = owner.put(id, b"x").unwrap();
        testing::advance(&system, Duration::from_millis(5))
            .await
            .unwrap();
    }
    assert_eq!(owner.watcher.last().written, last);
    assert_eq!(owner.watcher.last().synced, Ticket(0));
    testing::advance(&system, Duration::from_millis(100))
        .await
        .unwrap();
    assert_eq!(owner.watcher.last().synced, last);
    assert_eq!(owner.journal.state().syncs - before, 1);
    store.close().await.unwrap();
}

#[callboard::test(both)]
async fn a_journal_whose_handle_is_dropped_writes_what_it_has(system: System) {
    let home = Home::new(&system);
    let store = home.store(&system).await;
    let owner = Owner::open(&store).await;
    for id in 1..=20 {
        owner.put(id, &bytes_of(id, 50)).unwrap();
    }
    let used = Owner::try_open(&store).await.map(drop).unwrap_err();
    assert_eq!(used.kind(), JournalErrorKind::InUse);
    drop(owner);
    let owner = Owner::open(&store).await;
    assert_eq!(owner.ids(), (1..=20).collect::<Vec<_>>());
    store.close().await.unwrap();
    let refused = owner.put(21, b"late").unwrap_err();
    assert_eq!(refused.kind(), JournalErrorKind::Closed);
    let refused = Owner::try_open(&store).await.map(drop).unwrap_err();
    assert_eq!(refused.kind(), JournalErrorKind::Closed);
}

#[callboard::test(both)]
async fn a_directory_has_one_store_at_a_time(system: System) {
    let home = Home::new(&system);
    let store = home.store(&system).await;
    let again = home.options().open(&system, &home.dir).await.unwrap_err();
    assert_eq!(again.kind(), JournalErrorKind::InUse);
    assert!(again.to_string().contains("open already"), "{again}");
    store.close().await.unwrap();
    home.store(&system).await.close().await.unwrap();
}

#[callboard::test(both)]
async fn journals_are_listed_removed_and_apart(system: System) {
    let home = Home::new(&system);
    let store = home.store(&system).await;
    let names = ["orders/eu", "Orders", ".lock", "a b%"];
    for (id, name) in names.iter().enumerate() {
        let opened = store.open(name).await.unwrap();
        let put = Change::Put {
            id: id as u64,
            head: b"",
            body: name.as_bytes(),
        };
        opened.journal.append(&[put], Durability::Synced).unwrap();
    }
    let mut sorted = names.map(str::to_owned);
    sorted.sort();
    assert_eq!(store.list().await.unwrap(), sorted);
    let orders = store.open("Orders").await.unwrap();
    assert_eq!(orders.records[0].id, 1);
    let used = store.remove("Orders").await.unwrap_err();
    assert_eq!(used.kind(), JournalErrorKind::InUse);
    drop(orders);
    store.remove("Orders").await.unwrap();
    store.remove("never there").await.unwrap();
    assert!(store.open("Orders").await.unwrap().records.is_empty());
    let invalid = store.open("").await.map(drop).unwrap_err();
    assert_eq!(invalid.kind(), JournalErrorKind::Invalid);
    store.close().await.unwrap();
}

#[callboard::test]
async fn what_can_t_be_is_refused_with_a_reason(system: System) {
    let home = Home::new(&system);
    for options in [
        home.options().segment_bytes(100),
        home.options().segment_bytes(2 << 30),
        home.options().pending_bytes(10),
        home.options().max_bytes(20_000),
    ] {
        let refused = options.open(&system, &home.dir).await.unwrap_err();
        assert_eq!(refused.kind(), JournalErrorKind::Invalid, "{refused}");
    }
    let options = home.options().pending_bytes(2_000);
    let store = options.open(&system, &home.dir).await.unwrap();
    let owner = Owner::open(&store).await;
    let large = owner.put(1, &[0; 3_000]).unwrap_err();
    assert_eq!(large.kind(), JournalErrorKind::TooLarge, "{large}");
    let head = vec![0; 70_000];
    let put = Change::Put {
        id: 1,
        head: &head,
        body: b"",
    };
    let large = owner.journal.append(&[put], Durability::Synced);
    assert_eq!(large.unwrap_err().kind(), JournalErrorKind::TooLarge);
    // Nothing runs between these, so nothing is written.
    owner.put(1, &[1; 1_000]).unwrap();
    let busy = owner.put(2, &[2; 1_000]).unwrap_err();
    assert_eq!(busy.kind(), JournalErrorKind::Busy, "{busy}");
    let ticket = owner.put(3, &[3; 800]).unwrap();
    // Notes and drops are small, and are taken all the same.
    owner.note(1, &[7; 300]).unwrap();
    owner.drop(4).unwrap();
    owner.synced(ticket).await;
    owner.put(2, &[2; 1_000]).unwrap();
    store.close().await.unwrap();
    let store = home.store(&system).await;
    assert_eq!(Owner::open(&store).await.ids(), [1, 2, 3]);
    store.close().await.unwrap();
}
