//! Golden files: segments that were written by the guide's description of the format, and not by this program.

use std::path::Path;

use callboard_core::System;
use callboard_core::journal::{JournalErrorKind, Recovered};
use callboard_store::{RealDisk, Torn, check, dump, repair};

use crate::common::{Home, Owner, segment};

fn fixture(version: &str, number: u64) -> Vec<u8> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    std::fs::read(segment(&fixtures.join(version), number)).unwrap()
}

/// Puts segments where the journal is to be.
fn place(home: &Home, version: &str, numbers: &[u64]) {
    home.disk.create_dir(&home.journal_dir()).unwrap();
    for number in numbers {
        let path = segment(&home.journal_dir(), *number);
        let file = home.disk.create(&path).unwrap();
        let bytes = fixture(version, *number);
        assert_eq!(file.write_at(&bytes, 0).unwrap(), bytes.len());
        file.sync().unwrap();
    }
}

fn recovered(id: u64, head: &[u8], note: Option<&[u8]>, body_len: u32) -> Recovered {
    Recovered {
        id,
        head: head.to_vec(),
        note: note.map(<[u8]>::to_vec),
        body_len,
    }
}

#[callboard::test(both)]
async fn version_1_is_what_its_description_says(system: System) {
    let home = Home::new(&system);
    place(&home, "version-1", &[1, 2]);
    let store = home.store(&system).await;
    let owner = Owner::open(&store).await;
    assert!(owner.report.is_sound(), "{}", owner.report);
    assert_eq!(owner.report.torn, None);
    assert_eq!(
        owner.records,
        [
            recovered(1, b"head", Some(b"late"), 9),
            recovered(2, b"", Some(b"n"), 100),
            recovered(4, b"h4", Some(b"note of 4"), 4),
        ]
    );
    let bodies = owner.read(&[1, 2, 4]).await;
    assert_eq!(bodies[0], Ok(b"body of 1".to_vec()));
    assert_eq!(bodies[1], Ok(vec![b'x'; 100]));
    assert_eq!(bodies[2], Ok(b"four".to_vec()));
    store.close().await.unwrap();
}

#[callboard::test(both)]
async fn what_is_written_is_what_the_description_says(system: System) {
    // The golden file again, from a log that goes on: the same changes give the same bytes.
    let home = Home::new(&system);
    place(&home, "version-1", &[1]);
    let store = home.store(&system).await;
    let owner = Owner::open(&store).await;
    let ticket = owner.put(0x0102_0304, b"five.").unwrap();
    owner.synced(ticket).await;
    store.close().await.unwrap();
    let path = segment(&home.journal_dir(), 1);
    let file = home.disk.open(&path, false).unwrap();
    let mut bytes = [0; 2048];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 2048);
    let golden = fixture("version-1", 1);
    let end = 64 + 56 + 48 + 136 + 40 + 40 + 72;
    assert_eq!(bytes[..end], golden[..end]);
    // A mark comes first, whose checks the log itself made; behind it stands the put.
    let put = &bytes[end + 56..][..48];
    assert_eq!(put[8], 1, "the kind");
    assert_eq!(
        put[9..16],
        [7, 0, 0, 0, 0, 0, 0],
        "the sequence, after five and a mark; a gap has none"
    );
    assert_eq!(put[16..24], [4, 3, 2, 1, 0, 0, 0, 0], "the number");
    assert_eq!(put[24..28], [5, 0, 0, 0], "the length of the body");
    assert_eq!(put[28..32], [8, 0, 0, 0], "those of head and note");
    assert_eq!(put[32..45], *b"\x04\x03\x02\x01\0\0\0\0five.");
    assert_eq!(put[45..], [0; 3], "the padding");
    assert_eq!(put[4..8], crc32fast::hash(&put[32..45]).to_le_bytes());
    let mut checked = 1_u64.to_le_bytes().to_vec();
    checked.extend_from_slice(&put[4..32]);
    assert_eq!(put[..4], crc32fast::hash(&checked).to_le_bytes());
}

#[callboard::test(both)]
async fn version_0_is_opened_and_goes_with_time(system: System) {
    let home = Home::new(&system);
    place(&home, "version-0", &[3, 4]);
    let store = home.store(&system).await;
    let owner = Owner::open(&store).await;
    assert!(owner.report.is_sound(), "{}", owner.report);
    assert_eq!(owner.report.older_segments, 2);
    let torn = owner.report.torn.clone().unwrap();
    assert_eq!((torn.segment, torn.records), (4, 0));
    assert_eq!(
        owner.records,
        [
            recovered(7, b"", None, 11),
            recovered(9, b"", Some(b""), 0),
            recovered(10, b"", None, 3),
            recovered(11, b"", None, 6),
        ]
    );
    let bodies = owner.read(&[11, 7]).await;
    assert_eq!(
        bodies,
        [Ok(b"eleven".to_vec()), Ok(b"seven again".to_vec())]
    );
    // The log goes on in the present version, and compaction brings the old records into it.
    for id in 100..400 {
        owner.put(id, &[0; 300]).unwrap();
        let dropped = owner.drop(id).unwrap();
        if id % 10 == 0 {
            owner.synced(dropped).await;
        }
    }
    // It gets there by itself: the files of the old format are the oldest.
    while home.segments().contains(&format!("{:016x}.seg", 4)) {
        let ticket = owner.drop(100).unwrap();
        owner.synced(ticket).await;
    }
    store.close().await.unwrap();
    let store = home.store(&system).await;
    let owner = Owner::open(&store).await;
    assert_eq!(owner.report.older_segments, 0, "{}", owner.report);
    assert_eq!(owner.ids(), [7, 9, 10, 11]);
    assert_eq!(owner.records[1].note.as_deref(), Some(&b""[..]));
    assert_eq!(owner.read(&[10]).await, [Ok(b"ten".to_vec())]);
    store.close().await.unwrap();
}

#[callboard::test(both)]
async fn a_later_version_is_left_alone(system: System) {
    let home = Home::new(&system);
    place(&home, "version-1", &[1, 2]);
    let path = segment(&home.journal_dir(), 2);
    let file = home.disk.open(&path, true).unwrap();
    let mut header = fixture("version-1", 2)[..64].to_vec();
    header[8] = 2;
    let check = crc32fast::hash(&header[..60]);
    header[60..].copy_from_slice(&check.to_le_bytes());
    file.write_at(&header, 0).unwrap();
    let store = home.store(&system).await;
    let refused = Owner::try_open(&store).await.map(drop).unwrap_err();
    assert_eq!(refused.kind(), JournalErrorKind::Format);
    assert!(refused.to_string().contains("version 2"), "{refused}");
    store.close().await.unwrap();
    let mut now = [0; 64];
    file.read_at(&mut now, 0).unwrap();
    assert_eq!(now[..], header[..]);
}

#[test]
fn logs_are_looked_at_and_repaired_from_outside() {
    let dir = std::env::temp_dir().join(format!("callboard-store-check-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir(&dir).unwrap();
    for number in [1, 2] {
        std::fs::write(segment(&dir, number), fixture("version-1", number)).unwrap();
    }
    let report = check(&RealDisk, &dir).unwrap();
    assert!(report.is_sound() && report.records == 3 && report.segments == 2);
    let lines = |bodies| {
        let mut out = Vec::new();
        dump(&RealDisk, &dir, bodies, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        lines(false),
        "segment 1: version 1, 456 of 2048 bytes\n        64  mark: synced up to 0 of 0, oldest 1\n       \
         120  put 1, head 4, body 9\n       168  put 2, head 0, body 100\n       304  note 2, 1\n       344  \
         put 3, head 2, body 5\n       384  gap of 72\nsegment 2: version 1, 240 of 2048 bytes\n        64  \
         mark: synced up to 456 of 1, oldest 1\n       120  put 4, head 2, body 4, note 9\n       168  drop 3\n       \
         200  note 1, 4\n"
    );
    assert!(lines(true).contains("put 1, head 4, body 9 head=\"head\" body=\"body of 1\""));

    // A segment of another journal, damage in the first, a torn end in the second.
    let mut foreign = fixture("version-1", 1);
    foreign[16] = 3;
    foreign[24] ^= 1;
    let checked = crc32fast::hash(&foreign[..60]);
    foreign[60..64].copy_from_slice(&checked.to_le_bytes());
    std::fs::write(segment(&dir, 3), foreign).unwrap();
    let refused = check(&RealDisk, &dir).unwrap_err();
    assert!(refused.to_string().contains("another journal"), "{refused}");
    let mut first = fixture("version-1", 1);
    first[160] ^= 4;
    std::fs::write(segment(&dir, 1), first).unwrap();
    let mut second = fixture("version-1", 2);
    second[300] = 1;
    std::fs::write(segment(&dir, 2), second).unwrap();
    let report = repair(&RealDisk, &dir).unwrap();
    let places: Vec<_> = report
        .damaged
        .iter()
        .map(|damage| (damage.segment, damage.offset, damage.id))
        .collect();
    assert_eq!(places, [(3, 0, None), (1, 120, Some(1))]);
    assert!(
        report
            .damaged
            .iter()
            .all(|damage| damage.set_aside.is_some())
    );
    let torn = Torn {
        segment: 2,
        offset: 240,
        bytes: 61,
        records: 0,
    };
    assert_eq!(report.torn, Some(torn));
    let report = check(&RealDisk, &dir).unwrap();
    assert!(report.is_sound() && report.torn.is_none() && report.records == 2);
    std::fs::remove_dir_all(&dir).unwrap();
}
