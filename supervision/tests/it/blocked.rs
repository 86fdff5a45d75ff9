//! A child that blocks its arbiter's thread, on real arbiters: its supervisor and its siblings go on (G4, G13).

use std::sync::mpsc;
use std::time::Duration;

use callboard::testing::{On, Test};
use callboard::{Actor, Context, Handler, Message, Placement};
use callboard_supervision::{Backoff, Child, ChildState, Supervisor};

use crate::common::{Bench, Crash, Note, brisk, ms};

/// Blocks its thread, as no handler should, until the other end of the channel is dropped.
struct Blocker;
impl Actor for Blocker {}

#[derive(Message)]
struct Block {
    begun: futures::channel::oneshot::Sender<()>,
    until: mpsc::Receiver<()>,
}

impl Handler<Block> for Blocker {
    async fn handle(&mut self, block: Block, _: &mut Context<Self>) {
        block.begun.send(()).unwrap();
        let _ = block.until.recv();
    }
}

#[test]
fn g04_a_child_that_blocks_its_thread_delays_no_supervisor() {
    Test::new(On::Arbiters)
        .arbiters(2)
        .run(|system| async move {
            let bench = Bench::new(&system);
            // The blocked one has an arbiter for itself; the supervisor is on the thread of supervisors.
            let (blocker, place) = system
                .actor(|| Blocker)
                .label("blocker")
                .placement(Placement::OwnThread)
                .place();
            let (sibling, sibling_place, failing) = bench.worker("sibling");
            let pages = Supervisor::builder("pages")
                .backoff(Backoff {
                    base: ms(20),
                    ..brisk()
                })
                .intensity(1_000, ms(1))
                .child(Child::permanent(place).shutdown_time(Duration::ZERO))
                .child(sibling_place)
                .start(&system)
                .unwrap();
            pages.up().await.unwrap();
            let (release, until) = mpsc::channel();
            let (begun_tx, begun) = futures::channel::oneshot::channel();
            let block = Block {
                begun: begun_tx,
                until,
            };
            blocker.tell(block).await.unwrap();
            begun.await.unwrap();
            // Siblings are started again, after back-offs, also where the start itself fails.
            sibling.ask(Crash).await.unwrap_err();
            failing.next(2);
            assert_eq!(sibling.ask(Note(1)).await.unwrap().0, 1);
            sibling.ask(Crash).await.unwrap_err();
            assert_eq!(sibling.ask(Note(2)).await.unwrap().0, 2);
            assert!(pages.restarts() >= 2);
            // It is asked to end, and killed: neither is heard, and nothing is started in its place.
            let id = pages.child("blocker").unwrap();
            let again = futures::FutureExt::now_or_never(Box::pin(pages.start_again(id)));
            assert!(again.is_none());
            pages
                .until(|tree| tree.find("blocker").unwrap().state == ChildState::Stopping)
                .await;
            assert_eq!(sibling.ask(Note(3)).await.unwrap().0, 3);
            assert_eq!(blocker.incarnation().0, 1);
            // Once the code returns, it ends and is started again as was ordered.
            drop(release);
            pages
                .until(|tree| {
                    let blocker = tree.find("blocker").unwrap();
                    blocker.state == ChildState::Running && blocker.incarnation.0 == 2
                })
                .await;
            pages.stop();
            assert!(pages.wait().await.is_normal());
        });
}
