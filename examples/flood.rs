//! The lesson platform's help desk on a busy evening: five questions for three places, and a flood.
//!
//! Chapter 3 of the guide is cut from this file.

use std::io::Write;
use std::sync::mpsc::{SyncSender, sync_channel};

use callboard::Overflow;
use callboard::prelude::*;
use futures::future::join_all;

// ANCHOR: desk
/// A learner's question, with the number that the learner drew at the door.
#[derive(Message)]
struct Question(u32);

/// Answers questions, and notes the numbers on a list that outlives it.
struct Desk(SyncSender<u32>);

impl Actor for Desk {}

impl Handler<Question> for Desk {
    async fn handle(&mut self, Question(number): Question, _ctx: &mut Context<Self>) {
        // The list has room for all.
        let _ = self.0.try_send(number);
    }
}
// ANCHOR_END: desk

// ANCHOR: five
/// Five questions at once for a desk with three places.
async fn five(system: &System, policy: Overflow, out: &mut impl Write) -> callboard::Result<()> {
    let (list, answered) = sync_channel(5);
    let desk = system
        .actor(|| Desk(list))
        .label("desk")
        .mailbox(3, policy)
        .placement(Placement::Pinned(0)) // this thread: no turn for the desk until we wait
        .start();

    let learners = join_all((1..=5).map(|number| desk.tell(Question(number)).into_future()));
    let look = async { desk.mailbox() };
    let (told, crowd) = futures::join!(learners, look);
    desk.drain();
    desk.wait().await;

    let (inside, outside) = (crowd.len, crowd.waiting_senders);
    writeln!(out, "{policy:?}: {inside} inside, {outside} in line")?;
    let answered: Vec<u32> = answered.try_iter().collect();
    let back = told
        .into_iter()
        .filter_map(|told| told.err()?.into_message());
    let back: Vec<u32> = back.map(|Question(number)| number).collect();
    let dead = system.dead_letters().take().into_iter();
    let dead = dead.filter_map(|dead| dead.message.downcast::<Question>().ok());
    let dead: Vec<u32> = dead.map(|question| question.0).collect();
    writeln!(out, "  answered {answered:?}, back {back:?}, dead {dead:?}")?;
    Ok(())
}
// ANCHOR_END: five

// ANCHOR: neighbour
/// How many questions wait at the desk next door, when you have a turn?
#[derive(Message)]
#[message(reply = usize)]
struct Look;

struct Neighbour(ActorRef<Desk>);

impl Actor for Neighbour {}

impl Handler<Look> for Neighbour {
    async fn handle(&mut self, _: Look, _ctx: &mut Context<Self>) -> usize {
        self.0.mailbox().len
    }
}

/// A thousand questions, a neighbour on the same thread, and a stop.
async fn flood(system: &System, out: &mut impl Write) -> callboard::Result<()> {
    let (list, answered) = sync_channel(1_000);
    let desk = Desk(list).start()?;
    let neighbour = Neighbour(desk.clone()).start()?;
    for number in 1..=1_000 {
        desk.try_tell(Question(number))?;
    }
    let in_time = neighbour.ask(Look).await? > 0;
    writeln!(out, "the neighbour had a turn during the flood: {in_time}")?;
    desk.stop();
    desk.wait().await;
    let (answered, dead) = (answered.try_iter().count(), system.dead_letters().len());
    writeln!(out, "answered or dead: {} of 1000", answered + dead)?;
    Ok(())
}
// ANCHOR_END: neighbour

/// What happens, told to `out`.
pub async fn story(system: System, out: &mut impl Write) -> callboard::Result<()> {
    for policy in [
        Overflow::Wait,
        Overflow::Fail,
        Overflow::DropNewest,
        Overflow::DropOldest,
    ] {
        five(&system, policy, out).await?;
    }
    flood(&system, out).await
}

/// The whole program.
pub fn run(out: &mut impl Write) -> callboard::Result<()> {
    callboard::run(|system| story(system, out))?
}

fn main() -> callboard::Result<()> {
    run(&mut std::io::stdout())
}
