//! Disks that fail, fill up, forget and lie, and bytes that aren't what was written.

use std::io::ErrorKind;

use callboard_core::journal::{JournalErrorKind, Journals, Ticket};
use callboard_core::{Entropy, Simulation, System};
use callboard_store::{Op, SimDisk, check, repair};

use crate::common::{Home, Owner, SEGMENT, bytes_of, segment};

#[callboard::test]
async fn g25_after_a_failed_sync_the_log_refuses_and_what_was_told_is_there(system: System) {
    let disk = SimDisk::new(system.entropy().next_u64());
    let home = Home::on(&disk);
    let store = home.store(&system).await;
    let owner = Owner::open(&store).await;
    let told = owner.put(1, b"told").unwrap();
    owner.synced(told).await;
    disk.fail_once(Op::Sync, 0, ErrorKind::Other);
    owner.put(2, b"in doubt").unwrap();
    let why = owner.failed().await;
    assert_eq!(why.kind(), JournalErrorKind::SyncFailed, "{why}");
    assert_eq!(owner.watcher.last().synced, told);
    // Once, and no more: the disk works again, and nothing is tried.
    assert_eq!(owner.put(3, b"no").unwrap_err(), why);
    assert_eq!(owner.read(&[1]).await, [Ok(b"told".to_vec())]);
    assert_eq!(store.close().await.unwrap_err(), why);
    assert_eq!(owner.put(3, b"no").unwrap_err(), why);
    drop((owner, store));

    // What the next opening shows stays, although the system took it for synced when that failed.
    let store = home.store(&system).await;
    let shown = Owner::open(&store).await.ids();
    drop(store);
    let disk = disk.power_loss();
    let home = Home::on(&disk);
    let store = home.store(&system).await;
    let owner = Owner::open(&store).await;
    assert_eq!(owner.ids(), shown);
    assert!(shown.contains(&1) && owner.report.is_sound());
    store.close().await.unwrap();
}

#[callboard::test]
async fn a_write_that_fails_ends_the_log_with_its_reason(system: System) {
    for (kind, expected) in [
        (ErrorKind::Other, JournalErrorKind::Io),
        (ErrorKind::ReadOnlyFilesystem, JournalErrorKind::ReadOnly),
        (ErrorKind::PermissionDenied, JournalErrorKind::Denied),
    ] {
        let disk = SimDisk::new(1);
        let home = Home::on(&disk);
        let store = home.store(&system).await;
        let owner = Owner::open(&store).await;
        let told = owner.put(1, b"told").unwrap();
        owner.synced(told).await;
        disk.fail_always(Op::Write, kind);
        owner.put(2, b"lost").unwrap();
        let why = owner.failed().await;
        assert_eq!(why.kind(), expected);
        assert!(why.to_string().contains("0000000000000001.seg"), "{why}");
        let _ = store.close().await;
        drop((owner, store));
        // Opening on such a disk says so, too.
        let again = home.options().open(&system, &home.dir).await.unwrap();
        let refused = Owner::try_open(&again).await.map(drop).unwrap_err();
        assert_eq!(refused.kind(), expected, "{refused}");
        disk.heal();
        assert_eq!(Owner::open(&again).await.ids(), [1]);
        again.close().await.unwrap();
    }
}

#[callboard::test]
async fn a_directory_that_can_t_be_made_is_named(system: System) {
    let disk = SimDisk::new(1);
    disk.fail_always(Op::Create, ErrorKind::PermissionDenied);
    let home = Home::on(&disk);
    let refused = home.options().open(&system, &home.dir).await.unwrap_err();
    assert_eq!(refused.kind(), JournalErrorKind::Denied);
    assert!(refused.to_string().contains("/store"), "{refused}");
}

#[callboard::test]
async fn a_full_disk_refuses_puts_until_there_is_room(system: System) {
    let disk = SimDisk::new(system.entropy().next_u64());
    let home = Home::on(&disk);
    let store = home.store(&system).await;
    let owner = Owner::open(&store).await;
    disk.set_capacity(Some(3 * SEGMENT + 100));
    let mut stored = Vec::new();
    let refused = loop {
        let id = stored.len() as u64;
        match owner.put(id, &bytes_of(id, 400)) {
            Ok(ticket) => {
                owner.synced(ticket).await;
                stored.push(id);
            }
            Err(error) => break error,
        }
        assert!(stored.len() < 1_000, "it never fills");
    };
    assert_eq!(refused.kind(), JournalErrorKind::Full, "{refused}");
    assert!(
        stored.len() > 30,
        "two segments at least are used: {stored:?}"
    );
    assert_eq!(owner.journal.progress().failed, None);
    let note = owner.note(0, b"can be noted").unwrap();
    owner.synced(note).await;
    if system.entropy().below(2) == 0 {
        // By itself, when others free the disk.
        disk.set_capacity(None);
    } else {
        // By emptying it.
        let mut last = Ticket(0);
        for id in stored.drain(..25) {
            last = owner.drop(id).unwrap();
        }
        owner.synced(last).await;
    }
    let second = std::time::Duration::from_secs(1);
    callboard_core::testing::advance(&system, second)
        .await
        .unwrap();
    let ticket = owner.put(5_000, b"there is room").unwrap();
    owner.synced(ticket).await;
    store.close().await.unwrap();
    let store = home.store(&system).await;
    stored.push(5_000);
    assert_eq!(Owner::open(&store).await.ids(), stored);
    store.close().await.unwrap();
}

/// A journal with records of several lengths over a few segments, closed; its disk.
fn written(seed: u64, count: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    let mut simulation = Simulation::new(seed);
    let system = simulation.system().clone();
    simulation.block_on(async {
        let home = Home::on(&disk);
        let options = home.options().segment_bytes(4 << 10);
        let store = options.open(&system, &home.dir).await.unwrap();
        let owner = Owner::open(&store).await;
        for id in 0..count {
            let len = usize::try_from(id * 37 % 300).unwrap();
            let ticket = owner.put(id, &bytes_of(id, len)).unwrap();
            if id % 4 == 0 {
                owner.synced(ticket).await;
            }
        }
        store.close().await.unwrap();
    });
    disk
}

#[test]
fn g25_a_flipped_bit_inside_costs_its_own_record_and_is_told() {
    const RECORDS: u64 = 40;
    let entropy = Entropy::seeded(7);
    for seed in 0..150 {
        let disk = written(seed, RECORDS);
        let home = Home::on(&disk);
        let paths: Vec<_> = disk
            .paths()
            .into_iter()
            .filter(|path| path.extension().is_some_and(|end| end == "seg"))
            .collect();
        let path = &paths[usize::try_from(entropy.below(paths.len() as u64)).unwrap()];
        let bytes = disk.bytes(path).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
        let bit = entropy.below(used * 8);
        assert!(disk.flip_bit(path, bit));
        let seen = check(&disk, &home.journal_dir()).unwrap();

        let mut simulation = Simulation::new(seed);
        let system = simulation.system().clone();
        simulation.block_on(async {
            let store = home.store(&system).await;
            let owner = Owner::open(&store).await;
            let ids = owner.ids();
            let bodies = owner.read(&ids).await;
            for (id, body) in ids.iter().zip(&bodies) {
                let len = usize::try_from(id * 37 % 300).unwrap();
                assert_eq!(body, &Ok(bytes_of(*id, len)));
            }
            let lost = RECORDS - ids.len() as u64;
            let report = &owner.report;
            assert!(lost <= 1, "seed {seed}: {ids:?}");
            // A bit of a padding, or of nothing, is of no importance; one of the last mark looks like a torn end.
            let told = report.damaged.len() as u64 + u64::from(report.torn.is_some());
            assert!(
                lost <= report.damaged.len() as u64 && told <= 1,
                "seed {seed}: {report}"
            );
            assert_eq!(seen.damaged.len(), report.damaged.len());
            assert_eq!(owner.journal.state().damaged, report.damaged.len() as u64);
            for damage in &report.damaged {
                if damage.offset > 0 {
                    let aside = disk.bytes(damage.set_aside.as_ref().unwrap()).unwrap();
                    let from = usize::try_from(damage.offset).unwrap();
                    let mut was = bytes[from..][..aside.len()].to_vec();
                    was[usize::try_from(bit / 8).unwrap() - from] ^= 1 << (bit % 8);
                    assert_eq!(aside, was, "seed {seed}");
                }
            }
            owner.put(1_000, b"goes on").unwrap();
            store.close().await.unwrap();
            // Told once: what was set aside is a gap from then on.
            let store = home.store(&system).await;
            let owner = Owner::open(&store).await;
            assert!(
                owner.report.is_sound() && owner.report.torn.is_none(),
                "{}",
                owner.report
            );
            assert_eq!(owner.records.len(), ids.len() + 1);
            store.close().await.unwrap();
        });
    }
}

#[test]
fn g25_records_that_rot_while_the_log_runs_are_told_when_they_are_read() {
    let disk = written(1, 40);
    let mut simulation = Simulation::new(1);
    let system = simulation.system().clone();
    simulation.block_on(async {
        let home = Home::on(&disk);
        let options = home.options().segment_bytes(4 << 10);
        let store = options.open(&system, &home.dir).await.unwrap();
        let owner = Owner::open(&store).await;
        // The first record is behind a header and a mark.
        let path = segment(&home.journal_dir(), 1);
        let mut rotten = None;
        for id in 1..2 {
            let bytes = disk.bytes(&path).unwrap();
            let body = bytes_of(id, 37 * usize::try_from(id).unwrap());
            if let Some(at) = bytes
                .windows(body.len().max(30))
                .position(|part| part == body)
            {
                disk.flip_bit(&path, at as u64 * 8);
                rotten = Some(id);
            }
        }
        let rotten = rotten.unwrap();
        let read = owner.read(&[rotten, 5]).await;
        let refused = read[0].as_ref().unwrap_err();
        assert_eq!(refused.kind(), JournalErrorKind::Damaged);
        assert!(
            refused.to_string().contains("0000000000000001.seg"),
            "{refused}"
        );
        assert!(read[1].is_ok());
        // Compaction doesn't carry it along, and doesn't lose it in silence.
        let before = owner.journal.state().damaged;
        for id in 6..40 {
            owner.drop(id).unwrap();
        }
        for id in 100..300 {
            owner.put(id, &[0; 300]).unwrap();
            let ticket = owner.drop(id).unwrap();
            owner.synced(ticket).await;
        }
        assert_eq!(owner.journal.state().damaged, before + 1);
        assert_eq!(owner.journal.state().records, 5);
        assert!(
            disk.paths()
                .iter()
                .any(|path| path.starts_with("/store/j/damaged"))
        );
        store.close().await.unwrap();
    });
}

#[test]
fn a_segment_that_is_gone_is_missed() {
    let disk = written(3, 60);
    let home = Home::on(&disk);
    callboard_store::Disk::remove(&disk, &segment(&home.journal_dir(), 2)).unwrap();
    let report = check(&disk, &home.journal_dir()).unwrap();
    assert_eq!(report.missing, [2]);
    assert!(!report.is_sound());
    assert!(
        report.to_string().contains("missing: segment 2"),
        "{report}"
    );
    // Also the first, although what is before the first was removed in order.
    callboard_store::Disk::remove(&disk, &segment(&home.journal_dir(), 1)).unwrap();
    assert_eq!(check(&disk, &home.journal_dir()).unwrap().missing, [1, 2]);
    let mut simulation = Simulation::new(1);
    let system = simulation.system().clone();
    simulation.block_on(async {
        let store = home.store(&system).await;
        let owner = Owner::open(&store).await;
        assert_eq!(owner.journal.state().damaged, 2);
        assert!(!owner.records.is_empty());
        store.close().await.unwrap();
    });
}

#[test]
fn a_header_that_is_damaged_is_written_anew() {
    let disk = written(3, 60);
    let home = Home::on(&disk);
    let path = segment(&home.journal_dir(), 2);
    let before = disk.bytes(&path).unwrap();
    disk.flip_bit(&path, 3);
    let report = repair(&disk, &home.journal_dir()).unwrap();
    assert_eq!(report.records, 60);
    assert_eq!(
        (report.damaged[0].segment, report.damaged[0].offset),
        (2, 0)
    );
    assert_eq!(disk.bytes(&path).unwrap(), before);
    assert!(check(&disk, &home.journal_dir()).unwrap().is_sound());
}

#[test]
fn any_bytes_are_opened_or_refused_and_nothing_panics() {
    let entropy = Entropy::seeded(11);
    for seed in 0..200 {
        let disk = written(seed, 20);
        let home = Home::on(&disk);
        for number in 1..=3 + entropy.below(2) {
            let path = segment(&home.journal_dir(), number);
            let mut bytes = disk.bytes(&path).unwrap_or_default();
            match entropy.below(5) {
                0 => {
                    let any = (0..entropy.below(5_000)).map(|_| entropy.next_u64() as u8);
                    bytes = any.collect();
                }
                1 => bytes.truncate(usize::try_from(entropy.below(4_000)).unwrap()),
                2 => {
                    // Like records everywhere: plausible kinds and lengths.
                    for at in (64..bytes.len()).step_by(8) {
                        bytes[at] = entropy.below(7) as u8;
                    }
                }
                3 => {
                    for _ in 0..40 {
                        let at = usize::try_from(entropy.below(bytes.len().max(1) as u64)).unwrap();
                        if let Some(byte) = bytes.get_mut(at) {
                            *byte = entropy.next_u64() as u8;
                        }
                    }
                }
                _ => {}
            }
            disk.put_bytes(&path, bytes);
        }
        let _ = check(&disk, &home.journal_dir());
        let mut simulation = Simulation::new(seed);
        let system = simulation.system().clone();
        simulation.block_on(async {
            let store = home.store(&system).await;
            match Owner::try_open(&store).await {
                Ok(owner) => {
                    let ids = owner.ids();
                    assert!(owner.read(&ids).await.iter().all(Result::is_ok));
                    let ticket = owner.put(77_777, b"goes on").unwrap();
                    owner.synced(ticket).await;
                    drop(owner);
                    let again = Owner::open(&store).await;
                    assert!(
                        again.report.damaged.is_empty(),
                        "seed {seed}: {}",
                        again.report
                    );
                    assert_eq!(again.records.len(), ids.len() + 1);
                }
                Err(refused) => assert_eq!(refused.kind(), JournalErrorKind::Format, "{refused}"),
            }
            store.close().await.unwrap();
        });
    }
}

#[callboard::test]
async fn a_removal_that_was_cut_short_is_finished(system: System) {
    for cut in 1..60 {
        let disk = written(5, 30);
        let home = Home::on(&disk);
        let store = home.store(&system).await;
        disk.cut_at(disk.changes() + cut);
        let removed = store.remove("j").await;
        drop(store);
        let was_off = disk.is_off();
        let disk = disk.power_loss();
        let home = Home::on(&disk);
        let store = home.store(&system).await;
        let owner = Owner::open(&store).await;
        assert!(owner.report.is_sound(), "{}", owner.report);
        // All or nothing, and nothing once it was answered.
        let left = owner.records.len();
        assert!(left == 0 || (left == 30 && removed.is_err()), "{left} left");
        assert_eq!(store.list().await.unwrap(), ["j"]);
        store.close().await.unwrap();
        if !was_off {
            return;
        }
    }
    panic!("it was never done");
}
