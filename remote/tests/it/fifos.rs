//! What only named pipes have: a directory, a door, files that are left behind.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use callboard::{Boundary, Recipient, System};
use callboard_remote::{ListenError, Node, Peer};

use crate::actors::{Add, Look, tester};
use crate::wires::Directory;

const MOMENT: Duration = Duration::from_millis(1);

fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[callboard::test(arbiters)]
async fn each_peer_has_pipes_of_its_own_and_leaves_no_file(system: System) {
    let place = Directory::new();
    let (node, _actor, probe) = tester(&system, "node");
    let listener = node.listen_fifo(&place.0).await.unwrap();
    assert_eq!(listener.address(), place.0.display().to_string());
    let peers: Vec<Peer> = (0..8).map(|_| Peer::fifo(&system, &place.0)).collect();
    for (n, peer) in peers.iter().enumerate() {
        peer.connected().await.unwrap();
        let add: Recipient<Add> = peer.recipient("tester").unwrap();
        add.ask(Add(n as u64)).await.unwrap();
        assert_eq!(add.boundary(), Boundary::SameHost);
    }
    assert_eq!(probe.added_now(), (0..8).collect::<Vec<_>>());
    assert_eq!(files(&place.0), ["door"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.0), 0o700);
    assert_eq!(mode(&place.0.join("door")) & 0o077, 0);
    drop(peers);
    while !node.state().connections.is_empty() {
        system.clock().sleep(MOMENT).await;
    }
}

#[callboard::test(arbiters)]
async fn g35_a_directory_that_others_may_enter_is_refused_at_both_ends(system: System) {
    let place = Directory::new();
    fs::create_dir(&place.0).unwrap();
    let node = Node::new(&system, "node").unwrap();
    for mode in [0o701, 0o710, 0o777] {
        fs::set_permissions(&place.0, fs::Permissions::from_mode(mode)).unwrap();
        let error = node.listen_fifo(&place.0).await.unwrap_err();
        let path = place.0.display();
        assert_eq!(
            error.to_string(),
            format!("{path} is no directory for this user alone: its mode {mode:o} lets others in")
        );
        let peer = Peer::fifo(&system, &place.0);
        let error = peer.attempted().await.unwrap_err().to_string();
        assert!(error.contains("lets others in"), "{error}");
    }
    // A link to one that is ours could be turned to another.
    fs::set_permissions(&place.0, fs::Permissions::from_mode(0o700)).unwrap();
    let link = Directory::new();
    std::os::unix::fs::symlink(&place.0, &link.0).unwrap();
    assert!(node.listen_fifo(&link.0).await.is_err());
    node.listen_fifo(&place.0).await.unwrap();
    fs::remove_file(&link.0).unwrap();
}

#[callboard::test(arbiters)]
async fn g35_a_named_pipe_proves_the_user_that_owns_the_directory(system: System) {
    let place = Directory::new();
    let (node, _actor, _probe) = tester(&system, "node");
    node.listen_fifo(&place.0).await.unwrap();
    let peer = Peer::fifo(&system, &place.0);
    peer.connected().await.unwrap();
    let look: Recipient<Look> = peer.recipient("tester").unwrap();
    let principal = look.ask(Look).await.unwrap().principal.unwrap();
    let ours = format!(
        "uid:{}",
        std::os::unix::fs::MetadataExt::uid(&fs::metadata(&place.0).unwrap(),)
    );
    assert_eq!(principal, ours);
}

#[callboard::test(arbiters)]
async fn a_door_has_one_reader_and_the_next_finds_it_free(system: System) {
    let place = Directory::new();
    let first = Node::new(&system, "first").unwrap();
    let listener = first.listen_fifo(&place.0).await.unwrap();
    let (second, _actor, _probe) = tester(&system, "second");
    let error = second.listen_fifo(&place.0).await.unwrap_err();
    assert_eq!(error, ListenError::InUse(place.0.display().to_string()));
    listener.close();
    while second.listen_fifo(&place.0).await.is_err() {
        system.clock().sleep(MOMENT).await;
    }
    let peer = Peer::fifo(&system, &place.0);
    peer.connected().await.unwrap();
    assert_eq!(peer.state().remote.unwrap().name, "second");
}

#[callboard::test(arbiters)]
async fn nobody_at_the_door_is_a_clear_error_and_leaves_nothing(system: System) {
    let place = Directory::new();
    let peer = Peer::fifo(&system, &place.0);
    let error = peer.attempted().await.unwrap_err().to_string();
    assert!(error.contains("can't be reached"), "{error}");
    peer.close();
    let node = Node::new(&system, "node").unwrap();
    node.listen_fifo(&place.0).await.unwrap();
    node.close();
    while !node.state().listeners.is_empty() {
        system.clock().sleep(MOMENT).await;
    }
    // The listener is taken off the list before it lets go of the door.
    loop {
        let peer = Peer::fifo(&system, &place.0);
        let error = peer.attempted().await.unwrap_err().to_string();
        peer.close();
        if error.contains("nobody reads its door") {
            break;
        }
        system.clock().sleep(MOMENT).await;
    }
    assert_eq!(files(&place.0), ["door"]);
}

#[callboard::test(arbiters)]
async fn a_file_where_the_door_should_be_is_left_alone(system: System) {
    let place = Directory::new();
    let node = Node::new(&system, "node").unwrap();
    let own = fs::Permissions::from_mode(0o700);
    fs::create_dir(&place.0).unwrap();
    fs::set_permissions(&place.0, own).unwrap();
    let door = place.0.join("door");
    fs::write(&door, "precious").unwrap();
    let error = node.listen_fifo(&place.0).await.unwrap_err();
    assert_eq!(error, ListenError::NoFifo(door.clone()));
    assert_eq!(fs::read_to_string(&door).unwrap(), "precious");
}

#[callboard::test(arbiters)]
async fn g36_what_is_written_to_the_door_harms_nobody(system: System) {
    let place = Directory::new();
    let (node, _actor, _probe) = tester(&system, "node");
    node.listen_fifo(&place.0).await.unwrap();
    let mut door = fs::OpenOptions::new()
        .write(true)
        .open(place.0.join("door"))
        .unwrap();
    let nobody = "0190a5a2-0000-7000-8000-000000000001\n";
    for text in ["\n", "../../precious\n", nobody, &"x".repeat(4_000), "\n"] {
        door.write_all(text.as_bytes()).unwrap();
    }
    let peer = Peer::fifo(&system, &place.0);
    peer.connected().await.unwrap();
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    assert_eq!(add.ask(Add(1)).await.unwrap(), 1);
}

#[callboard::test(arbiters)]
async fn what_a_killed_peer_leaves_behind_is_swept_and_who_waits_is_not(system: System) {
    let place = Directory::new();
    let first = Node::new(&system, "first").unwrap();
    first.listen_fifo(&place.0).await.unwrap();
    first.close();
    let make = |name: &str| {
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let path = place.0.join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).unwrap();
        path
    };
    let (dead, waits) = (
        "0190a5a2-0000-7000-8000-000000000001",
        "0190a5a2-0000-7000-8000-000000000002",
    );
    for name in [dead, waits] {
        make(&format!("{name}.up"));
    }
    make(&format!("{dead}.down"));
    let mut waiting = fs::OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
        .open(make(&format!("{waits}.down")))
        .unwrap();
    make("0190a5a2-0000-7000-8000-000000000003.notes");
    let (second, _actor, _probe) = tester(&system, "second");
    while second.listen_fifo(&place.0).await.is_err() {
        system.clock().sleep(MOMENT).await;
    }
    assert_eq!(
        files(&place.0),
        [
            format!("{waits}.down"),
            format!("{waits}.up"),
            "0190a5a2-0000-7000-8000-000000000003.notes".to_owned(),
            "door".to_owned(),
        ]
    );
    // Spoken by hand: it knocks, and is asked in.
    let door = fs::OpenOptions::new()
        .write(true)
        .open(place.0.join("door"));
    writeln!(door.unwrap(), "{waits}").unwrap();
    let mut answer = [0];
    loop {
        match waiting.read(&mut answer) {
            Ok(1) => break,
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
        system.clock().sleep(MOMENT).await;
    }
    assert_eq!(answer, *b"\n");
    let door = fs::metadata(place.0.join("door")).unwrap();
    assert!(door.file_type().is_fifo());
}
