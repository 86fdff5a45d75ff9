use callboard_core::{ChildKind, Incarnation};

use super::{ChildState, TreeSnapshot};

fn node(label: &str, kind: ChildKind, children: Vec<TreeSnapshot>) -> TreeSnapshot {
    TreeSnapshot {
        label: label.to_owned(),
        kind,
        id: None,
        state: ChildState::Running,
        restart: None,
        policy: None,
        supervises: None,
        incarnation: Incarnation(1),
        restarts: 0,
        resumed: 0,
        last_cause: None,
        mailbox: None,
        pid: None,
        children,
    }
}

#[test]
fn a_tree_is_drawn_one_line_a_node() {
    let mut failing = node("renderer", ChildKind::Actor, Vec::new());
    failing.state = ChildState::BackingOff {
        retry_in_ms: 120,
        attempt: 2,
    };
    failing.restarts = 2;
    failing.incarnation = Incarnation(3);
    failing.last_cause = Some("failed: first\nsecond".to_owned());
    let mut process = node("thumbnails", ChildKind::Process, Vec::new());
    process.pid = Some(4711);
    let pages = node("pages", ChildKind::Supervisor, vec![failing, process]);
    let index = node("index", ChildKind::Actor, Vec::new());
    let root = node("root", ChildKind::Supervisor, vec![pages, index]);
    let expected = "\
root (supervisor): running
|-- pages (supervisor): running
|   |-- renderer (actor): backing off, try 2 in 120 ms, incarnation 3, restarts 2, last: failed: first / second
|   `-- thumbnails (process): running, pid 4711
`-- index (actor): running";
    assert_eq!(root.to_string(), expected);
    assert_eq!(root.restarts_below(), 2);
    assert_eq!(
        root.find("thumbnails").and_then(|node| node.pid),
        Some(4711)
    );
    assert!(root.find("nobody").is_none());
}

#[test]
fn a_tree_can_be_serialised() {
    let root = node("root", ChildKind::Supervisor, Vec::new());
    assert!(callboard_core::codec::encode(&root).is_ok());
}
