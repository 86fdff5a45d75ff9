//! What a supervisor owes to those who hold a reference where nothing runs: never started, over, or given to itself.

use std::sync::{Arc, OnceLock};

use callboard::topic::SubscriberOptions;
use callboard::{Actor, ExitReason, Fault, Place, System, TaskPlace};
use callboard_supervision::{ChildErrorKind, Supervisor, SupervisorRef, TreeProblem};
use futures::StreamExt as _;

struct Part;
impl Actor for Part {}

/// Its place was never given to anybody: who waits for it to start, or to end, isn't left waiting (G7, G12).
#[callboard::test(both)]
async fn g07_a_supervisor_that_nobody_can_start_any_more_answers_who_waits(system: System) {
    let (part, place) = system.actor(|| Part).place();
    let pages = Supervisor::builder("pages").child(place).place(&system);
    let (pages, child) = pages.unwrap();
    let (_, other) = system.actor(|| Part).place();
    let mut adding = Box::pin(pages.add(other));
    assert!(futures::poll!(&mut adding).is_pending());
    drop(child);
    let refused = adding.await.unwrap_err();
    assert_eq!(*refused.kind(), ChildErrorKind::NotRunning);
    assert!(refused.into_child().is_some());
    assert_eq!(pages.wait().await, ExitReason::Stopped);
    assert_eq!(part.wait().await, ExitReason::Stopped);
}

#[callboard::test(both)]
async fn a_supervisor_below_itself_is_refused(system: System) {
    let dynamic = |label: &'static str| {
        let made = Supervisor::builder(label).dynamic().place(&system);
        made.unwrap()
    };
    let (upper, upper_child) = dynamic("upper");
    let (lower, lower_child) = dynamic("lower");
    let top = Supervisor::builder("top").dynamic().start(&system).unwrap();
    // Lost unless it is given back each time.
    let refused = upper.add(upper_child).await.unwrap_err();
    let below_itself = |kind: &ChildErrorKind| match kind {
        ChildErrorKind::Invalid(error) => error.problem == TreeProblem::BelowItself,
        _ => false,
    };
    assert!(below_itself(refused.kind()), "{refused}");
    let upper_child = refused.into_child().unwrap();
    top.add(upper_child).await.unwrap();
    upper.add(lower_child).await.unwrap();
    assert!(lower.up().await.is_ok());
    top.stop();
    top.wait().await;
}

#[callboard::test(both)]
async fn the_events_of_a_supervisor_that_has_ended_are_over(system: System) {
    let top = Supervisor::builder("top").start(&system).unwrap();
    top.stop();
    top.wait().await;
    let events = top.events();
    let heard = events.subscribe("**", SubscriberOptions::default());
    if let Ok(mut heard) = heard.await {
        while heard.next().await.is_some() {}
    }
}

/// Looks at the tree when it is dropped.
struct Looks(Arc<OnceLock<SupervisorRef>>);

impl Drop for Looks {
    fn drop(&mut self) {
        if let Some(tree) = self.0.get() {
            let _ = tree.observe();
        }
    }
}

/// What a place holds is the code of others: it isn't dropped under the supervisor's lock (G10). Here nobody but the order
/// knows the place any more when it is refused.
#[callboard::test(both)]
async fn g10_a_place_whose_drop_looks_at_the_tree_blocks_nobody(system: System) {
    let tree = Arc::new(OnceLock::new());
    let looks = Looks(Arc::clone(&tree));
    let place = TaskPlace::new(&system, "never", move |_| {
        let _here = &looks;
        async { Ok::<(), Fault>(()) }
    });
    let pages = Supervisor::builder("pages").dynamic().place(&system);
    let (pages, child) = pages.unwrap();
    assert!(tree.set(pages.clone()).is_ok());
    let mut adding = Box::pin(pages.add(Arc::new(place) as Arc<dyn Place>));
    assert!(futures::poll!(&mut adding).is_pending());
    drop(adding);
    drop(child);
    assert_eq!(pages.wait().await, ExitReason::Stopped);
}
