//! Work for whoever has time: each task goes to one worker, and comes back if that one dies over it.
//!
//! The second of RabbitMQ's tutorials. Chapter 9 of the guide is cut from this file.

use std::io::Write;
use std::time::Duration;

use callboard::Failure;
use callboard::prelude::*;
use callboard::queue::Queue;
use futures::channel::oneshot;

// ANCHOR: task
/// A picture to be made smaller. Each dot is a millisecond of work.
#[derive(Debug, Clone)]
struct Picture(&'static str);

async fn work(system: &System, picture: &Picture) {
    let dots = picture.0.matches('.').count() - 1; // one belongs to the name
    let dots = u32::try_from(dots).unwrap_or(u32::MAX);
    system.clock().sleep(Duration::from_millis(1) * dots).await;
}
// ANCHOR_END: task

// ANCHOR: clumsy
/// A worker that takes one picture, says so, and then needs an hour.
struct Clumsy(Queue<Picture>);

#[derive(Message)]
struct Begin(oneshot::Sender<&'static str>);

impl Actor for Clumsy {}

impl Handler<Begin> for Clumsy {
    async fn handle(&mut self, Begin(tell): Begin, ctx: &mut Context<Self>) {
        if let Ok(Some(delivery)) = self.0.lease().await {
            let _ = tell.send(delivery.0);
            ctx.sleep(Duration::from_secs(3_600)).await;
            let _ = delivery.ack().await; // it won't come to that
        }
    }
}
// ANCHOR_END: clumsy

/// What happens, told to `out`.
// ANCHOR: story
pub async fn story(system: System, out: &mut impl Write) -> callboard::Result<()> {
    let pictures: Queue<Picture> = system.queue("pictures").open()?;
    let album = ["ada.png..", "grace.png....", "alan.png.", "edsger.png..."];
    pictures.offer_many(album.map(Picture)).await?;

    // One begins, and is killed over it. Its delivery is dropped with it: the picture goes back to its place.
    let (tell, begun) = oneshot::channel();
    let clumsy = system.start(Clumsy(pictures.clone()));
    clumsy.tell(Begin(tell)).await?;
    writeln!(out, "begun, and never finished: {}", begun.await?)?;
    clumsy.kill();
    clumsy.wait().await;

    // Two workers for the album. An item is acknowledged when the handler has answered Ok, and not before.
    let done: Queue<(u64, u32, Picture)> = Queue::bounded(&system, "done", 16);
    let (clock, finished) = (system.clone(), done.clone());
    let workers = pictures.consume(&system, 2, async move |delivery| {
        work(&clock, delivery.item()).await;
        let (place, attempt) = (delivery.sequence(), delivery.attempt());
        let report = (place, attempt, delivery.item().clone());
        finished.offer(report).await?;
        Ok::<(), Failure>(())
    });
    let mut reports = Vec::new();
    while reports.len() < album.len() {
        reports.extend(done.poll_many(album.len()).await?);
    }
    workers.stop().await; // they finish what they have in hand

    reports.sort_by_key(|(place, ..)| *place); // the album's order, whoever was faster
    for (place, attempt, picture) in &reports {
        writeln!(out, "item {place}, attempt {attempt}: {}", picture.0)?;
    }
    let state = pictures.state().await?;
    writeln!(
        out,
        "offered {}, handed out {}, acknowledged {}, left {}",
        state.offered, state.handed, state.settled, state.len
    )?;
    Ok(())
}
// ANCHOR_END: story

/// The whole program.
pub fn run(out: &mut impl Write) -> callboard::Result<()> {
    callboard::run(|system| story(system, out))?
}

fn main() -> callboard::Result<()> {
    run(&mut std::io::stdout())
}
