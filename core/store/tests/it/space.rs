//! Space comes back while the log runs, and nothing else does.

use callboard_core::journal::{JournalErrorKind, Ticket};
use callboard_core::{Simulation, System};
use callboard_store::SimDisk;

use crate::common::{Home, Owner, SEGMENT, bytes_of};

#[callboard::test(both)]
async fn space_comes_back_and_what_lives_stays(system: System) {
    let home = Home::new(&system);
    let store = home.store(&system).await;
    let owner = Owner::open(&store).await;
    // Ten that stay, spread over the first segments, some with notes.
    for id in 0..10 {
        owner.put(id, &bytes_of(id, 200)).unwrap();
        owner.put(1_000 + id, &[0; 2_000]).unwrap();
        let ticket = owner.note(id, &[id as u8]).unwrap();
        owner.synced(ticket).await;
    }
    let mut last = Ticket(0);
    for id in 2_000..3_000 {
        owner.put(id, &[0; 700]).unwrap();
        last = owner.drop(id).unwrap();
        if id % 10 == 0 {
            owner.synced(last).await;
        }
    }
    for id in 1_000..1_010 {
        last = owner.drop(id).unwrap();
    }
    owner.synced(last).await;
    // It catches up: were it never to, this would not end.
    while owner.journal.state().disk_bytes > 6 * SEGMENT {
        let ticket = owner.drop(2_000).unwrap();
        owner.synced(ticket).await;
    }
    store.close().await.unwrap();
    let state = owner.journal.state();
    assert_eq!((state.records, state.damaged), (10, 0));
    assert!(home.segments().len() <= 8, "{:?}", home.segments());

    let store = home.store(&system).await;
    let owner = Owner::open(&store).await;
    assert_eq!(owner.ids(), (0..10).collect::<Vec<_>>());
    for id in 0..10 {
        assert_eq!(owner.records[id as usize].note, Some(vec![id as u8]));
        assert_eq!(owner.read(&[id]).await, [Ok(bytes_of(id, 200))]);
    }
    store.close().await.unwrap();
}

#[callboard::test(both)]
async fn records_are_found_while_compaction_moves_them(system: System) {
    let home = Home::new(&system);
    let store = home.store(&system).await;
    let owner = Owner::open(&store).await;
    for id in 0..10 {
        owner.put(id, &bytes_of(id, 300)).unwrap();
    }
    let done = std::sync::atomic::AtomicBool::new(false);
    let churn = async {
        for id in 100..700 {
            owner.put(id, &[0; 700]).unwrap();
            let ticket = owner.drop(id).unwrap();
            if id % 20 == 0 {
                owner.synced(ticket).await;
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    let read = async {
        let ids: Vec<u64> = (0..10).collect();
        let expected: Vec<_> = ids.iter().map(|id| Ok(bytes_of(*id, 300))).collect();
        let mut rounds = 0;
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            assert_eq!(owner.read(&ids).await, expected, "round {rounds}");
            rounds += 1;
        }
        rounds
    };
    let ((), rounds) = futures::join!(churn, read);
    assert!(rounds > 5, "{rounds}");
    let first = home.segments().remove(0);
    assert_ne!(first, format!("{:016x}.seg", 1), "nothing was moved");
    store.close().await.unwrap();
}

#[callboard::test(both)]
async fn a_journal_at_its_limit_refuses_puts_and_can_be_emptied(system: System) {
    let home = Home::new(&system);
    let options = home.options().max_bytes(6 * SEGMENT);
    let store = options.open(&system, &home.dir).await.unwrap();
    let owner = Owner::open(&store).await;
    let mut stored = Vec::new();
    let refused = loop {
        let id = stored.len() as u64;
        match owner.put(id, &bytes_of(id, 500)) {
            Ok(ticket) => {
                owner.synced(ticket).await;
                stored.push(id);
            }
            Err(error) => break error,
        }
        assert!(stored.len() < 1_000, "it never fills");
    };
    assert_eq!(refused.kind(), JournalErrorKind::Full);
    assert!(refused.to_string().contains("49152 bytes"), "{refused}");
    assert!(owner.journal.state().disk_bytes <= 6 * SEGMENT);
    // What is there can be taken out, and notes are taken.
    owner.note(stored[0], b"seen").unwrap();
    let half = stored.len() / 2;
    let mut last = Ticket(0);
    for id in stored.drain(..half) {
        last = owner.drop(id).unwrap();
    }
    owner.synced(last).await;
    assert_eq!(owner.journal.progress().failed, None);
    // Then there is room again, as soon as the space came back.
    let again = loop {
        match owner.put(5_000, &[5; 500]) {
            Ok(ticket) => break ticket,
            Err(error) => assert_eq!(error.kind(), JournalErrorKind::Full, "{error}"),
        }
        let ticket = owner.drop(4_999).unwrap();
        owner.synced(ticket).await;
    };
    owner.synced(again).await;
    store.close().await.unwrap();
    let store = home.store(&system).await;
    stored.push(5_000);
    assert_eq!(Owner::open(&store).await.ids(), stored);
    store.close().await.unwrap();
}

/// Segments that live, by their records in turn, and die in one go, on a disk that ends at a change. Answers the
/// records that must not come back, and how many changes there were.
fn puts_and_drops(disk: &SimDisk, seed: u64, cut: u64) -> (Vec<u64>, u64) {
    disk.cut_at(cut);
    let mut drops: Vec<(u64, Ticket)> = Vec::new();
    let mut simulation = Simulation::new(seed);
    let system = simulation.system().clone();
    let told = simulation.block_on(async {
        let home = Home::on(disk);
        let options = home.options().segment_bytes(4 << 10);
        let Ok(store) = options.open(&system, &home.dir).await else {
            return Ticket(0);
        };
        let Ok(owner) = Owner::try_open(&store).await else {
            return Ticket(0);
        };
        for round in 0..3 {
            let ids = round * 100..round * 100 + 30;
            let mut last = Ok(Ticket(0));
            for id in ids.clone() {
                last = owner.put(id, &[1; 300]);
            }
            // The drops of the first stand behind the puts of the last, in segments that die before long.
            for id in ids.rev() {
                last = owner.drop(id);
                drops.extend(last.as_ref().ok().map(|ticket| (id, *ticket)));
            }
            let Ok(last) = last else { break };
            let done = owner
                .watcher
                .until(|progress| progress.synced >= last || progress.failed.is_some());
            done.await;
        }
        if !disk.is_off() {
            callboard_core::testing::settle(&system).await.unwrap();
        }
        owner.journal.progress().synced
    });
    let dropped = drops.into_iter().filter(|(_, ticket)| *ticket <= told);
    (dropped.map(|(id, _)| id).collect(), disk.changes())
}

#[test]
fn g25_what_was_dropped_does_not_come_back_when_files_vanish_in_any_order() {
    let (dropped, changes) = puts_and_drops(&SimDisk::new(0), 0, u64::MAX);
    assert_eq!(dropped.len(), 90);
    for cut in 1..changes + 2 {
        for seed in 0..6 {
            // The disk draws little before the end, so equal seeds would end in equal ways.
            let disk = SimDisk::new(cut << 8 | seed);
            let (dropped, _) = puts_and_drops(&disk, 0, cut);
            let disk = disk.power_loss();
            let mut simulation = Simulation::new(seed);
            let system = simulation.system().clone();
            simulation.block_on(async {
                let home = Home::on(&disk);
                let store = home.store(&system).await;
                let owner = Owner::open(&store).await;
                assert!(
                    owner.report.is_sound(),
                    "cut {cut}, seed {seed}: {}",
                    owner.report
                );
                let ids = owner.ids();
                let back = ids.iter().find(|id| dropped.contains(id));
                assert_eq!(back, None, "cut {cut}, seed {seed}: {ids:?}");
                store.close().await.unwrap();
            });
        }
    }
}
