//! Processes as children: real ones, on real arbiters.

use std::sync::Arc;

use callboard::process::{ProcessPlace, ProcessSpec};
use callboard::{ExitReason, Incarnation, System};
use callboard_supervision::{ChildState, Supervisor};
use parking_lot::Mutex;

use crate::common::{Bench, brisk, secs};

#[callboard::test(arbiters)]
async fn g13_a_killed_process_is_started_again(system: System) {
    let streams = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&streams);
    let spec = ProcessSpec::new("cat").label("thumbnails");
    let place = ProcessPlace::new(&system, spec, move |stream, incarnation| {
        kept.lock().push((stream, incarnation));
    });
    let bench = Bench::new(&system);
    let pages = Supervisor::builder("pages")
        .backoff(brisk())
        .child(place)
        .child(bench.worker("renderer").1)
        .start(&system)
        .unwrap();
    pages.up().await.unwrap();
    let tree = pages.observe();
    let before = tree.find("thumbnails").unwrap().pid.unwrap();
    let killed = std::process::Command::new("kill")
        .args(["-9", &before.to_string()])
        .status();
    assert!(killed.unwrap().success());
    let tree = pages
        .until(|tree| {
            let child = tree.find("thumbnails").unwrap();
            child.state == ChildState::Running && child.incarnation == Incarnation(2)
        })
        .await;
    let child = tree.find("thumbnails").unwrap();
    assert_ne!(child.pid, Some(before));
    assert_eq!(
        child.last_cause.as_deref(),
        Some("failed: signal 9 (SIGKILL)")
    );
    assert_eq!(child.restarts, 1);
    assert_eq!(streams.lock().len(), 2);
    pages.stop();
    assert!(pages.wait().await.is_normal());
    assert_eq!(pages.observe().find("thumbnails").unwrap().pid, None);
}

#[callboard::test(arbiters)]
async fn g16_a_missing_program_leads_to_giving_up_with_its_name(system: System) {
    let place = ProcessPlace::new(&system, ProcessSpec::new("/nowhere/sidecar"), |_, _| {});
    let pages = Supervisor::builder("pages")
        .intensity(2, secs(60))
        .backoff(brisk())
        .child(place)
        .start(&system)
        .unwrap();
    let ExitReason::Failed(cause) = pages.wait().await else {
        panic!("expected a failure");
    };
    assert!(cause.text().contains("/nowhere/sidecar"), "{cause}");
}
