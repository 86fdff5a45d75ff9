//! The lesson platform's reading rooms: one actor per course, there from the first visit to the last.
//!
//! Chapter 7 of the guide is cut from this file.

use std::io::Write;

use callboard::StartFailure;
use callboard::prelude::*;
use futures::future::join_all;

// ANCHOR: room
/// Somebody comes in. The answer: how many are in the room now.
#[derive(Message)]
#[message(reply = u32)]
struct Enter;

/// Where the readers of one course meet.
struct Room {
    course: &'static str,
    readers: u32,
}

impl Actor for Room {
    async fn starting(&mut self, _ctx: &mut Context<Self>) -> Result<(), StartFailure> {
        if self.course == "alchemy" {
            return Err(StartFailure::new("there is no such course"));
        }
        Ok(())
    }
}

impl Handler<Enter> for Room {
    async fn handle(&mut self, _: Enter, _ctx: &mut Context<Self>) -> u32 {
        self.readers += 1;
        self.readers
    }
}

/// The room of a course; the first who asks opens it.
async fn room_of(system: &System, course: &'static str) -> callboard::Result<ActorRef<Room>> {
    let open = || system.actor(move || Room { course, readers: 0 });
    Ok(system.names().lookup_or_start(course, open).await?)
}
// ANCHOR_END: room

/// Answers the telephone.
struct FrontDesk;

impl Actor for FrontDesk {}

/// What happens, told to `out`.
// ANCHOR: story
pub async fn story(system: System, out: &mut impl Write) -> callboard::Result<()> {
    // Twenty readers arrive in the same moment, and there is one room.
    let rooms = join_all((0..20).map(|_| room_of(&system, "botany"))).await;
    for room in rooms {
        room?.ask(Enter).await?;
    }
    let room = room_of(&system, "botany").await?;
    writeln!(out, "readers in botany: {}", room.ask(Enter).await?)?;

    // Everybody who waits for a start that fails is told why, and the name is free.
    let closed = room_of(&system, "alchemy").await.map(|room| room.label());
    if let Err(error) = closed {
        writeln!(out, "alchemy: {error}")?;
    }

    // What must be there is started under its name, and a name has one holder.
    system.actor(|| FrontDesk).start_named("front desk")?;
    let second = system.actor(|| FrontDesk).start_named("front desk");
    let taken = second.is_err_and(|error| error.to_string().contains("is taken by front desk"));
    writeln!(out, "a second front desk is refused: {taken}")?;
    if let Err(error) = system.names().lookup::<Room>("front desk") {
        let short = |name: &'static str| name.rsplit("::").next().unwrap_or(name);
        let (is, wanted) = (short(error.registered), short(error.wanted));
        writeln!(out, "the front desk is a {is}, not a {wanted}")?;
    }
    for holder in system.names().all() {
        writeln!(out, "  on the board: {}", holder.name)?;
    }

    // The last reader switches the light off; whoever comes next opens the room anew.
    room.stop();
    room.wait().await;
    let room = room_of(&system, "botany").await?;
    writeln!(out, "the next morning: {}", room.ask(Enter).await?)?;
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
