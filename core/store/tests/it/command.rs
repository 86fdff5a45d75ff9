//! The command `callboard-log`, as another process.

use std::path::Path;
use std::process::{Command, Output};

use callboard_core::System;
use callboard_core::journal::Journals;

use crate::common::{Home, Owner, segment};

fn callboard_log(arguments: &[&str], dir: Option<&Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callboard-log"));
    command.args(arguments).args(dir).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[callboard::test(arbiters)]
async fn another_process_may_look_and_not_change(system: System) {
    let home = Home::new(&system);
    assert!(home.sim.is_none());
    let store = home.store(&system).await;
    let owner = Owner::open(&store).await;
    owner.put(1, b"two coffees").unwrap();
    let ticket = owner.put(2, b"tea").unwrap();
    owner.synced(ticket).await;
    assert_eq!(store.list().await.unwrap(), ["j"]);

    let checked = callboard_log(&["check"], Some(store.dir()));
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    assert!(
        out(&checked).contains("2 records in 1 segments\nsound"),
        "{checked:?}"
    );
    let dumped = callboard_log(&["dump", "--bodies"], Some(&home.journal_dir()));
    assert!(out(&dumped).contains("body=\"two coffees\""), "{dumped:?}");
    // The store is open: nobody else writes to it.
    let refused = callboard_log(&["repair"], Some(&home.journal_dir()));
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("is open"),
        "{refused:?}"
    );
    store.close().await.unwrap();

    let path = segment(&home.journal_dir(), 1);
    let file = home.disk.open(&path, true).unwrap();
    file.write_at(b"?", 160).unwrap();
    let checked = callboard_log(&["check"], Some(store.dir()));
    assert_eq!(checked.status.code(), Some(1), "{checked:?}");
    assert!(out(&checked).contains("damaged: segment 1"), "{checked:?}");
    let repaired = callboard_log(&["repair"], Some(store.dir()));
    assert!(out(&repaired).contains("set aside in"), "{repaired:?}");
    let checked = callboard_log(&["check"], Some(store.dir()));
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
}

#[test]
fn the_command_explains_itself_and_names_what_is_wrong() {
    let help = callboard_log(&["--help"], None);
    assert!(help.status.success() && out(&help).contains("repair  Cuts torn ends"));
    for (arguments, complaint) in [
        (&["check"][..], "a directory"),
        (&["check", "no-such-directory"], "no-such-directory"),
        (&["chekc", "."], "no journal"),
        (&["check", ".", "--fast"], "no option --fast"),
    ] {
        let refused = callboard_log(arguments, None);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(text.contains(complaint), "{arguments:?}: {text}");
    }
}
