//! A small file read whole, on a real disk and on a simulated one.

use std::io::ErrorKind;
use std::path::Path;

use callboard_core::System;
use callboard_store::Op;

use crate::common::Home;

/// Longer than any buffer in between.
const LONG: usize = 100_000;

#[callboard::test(both)]
async fn a_small_file_is_read_whole_or_refused(system: System) {
    let home = Home::new(&system);
    home.disk.create_dir(&home.dir).unwrap();
    let path = home.dir.join("small");
    let read = |max| {
        home.disk
            .read_small(&path, max)
            .map_err(|error| error.kind())
    };
    assert_eq!(read(10), Err(ErrorKind::NotFound));
    let file = home.disk.create(&path).unwrap();
    assert_eq!(read(0), Ok(Vec::new()));
    let bytes: Vec<u8> = (0..LONG).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let mut written = 0;
    while written < LONG {
        written += file.write_at(&bytes[written..], written as u64).unwrap();
    }
    assert_eq!(read(LONG + 1).as_ref(), Ok(&bytes));
    assert_eq!(read(LONG).as_ref(), Ok(&bytes));
    assert_eq!(read(LONG - 1), Err(ErrorKind::FileTooLarge));
    assert_eq!(read(0), Err(ErrorKind::FileTooLarge));
    let directory = home.disk.read_small(&home.dir, LONG).unwrap_err();
    assert_eq!(directory.kind(), ErrorKind::IsADirectory);
    if let Some(disk) = &home.sim {
        for op in [Op::Open, Op::Read] {
            disk.fail_once(op, 0, ErrorKind::PermissionDenied);
            assert_eq!(read(LONG), Err(ErrorKind::PermissionDenied));
        }
        // An interrupted read is done again.
        disk.fail_once(Op::Read, 1, ErrorKind::Interrupted);
        assert_eq!(read(LONG).as_ref(), Ok(&bytes));
    } else {
        // It never ends, and is never opened.
        let device = home.disk.read_small(Path::new("/dev/zero"), LONG);
        assert_eq!(device.unwrap_err().kind(), ErrorKind::Unsupported);
    }
    home.disk.remove(&path).unwrap();
    home.disk.remove_dir(&home.dir).unwrap();
}
