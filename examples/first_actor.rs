//! The first piece of the lesson platform: an actor that counts how often a lesson was viewed.
//!
//! Chapter 1 of the guide is cut from this file.

use std::collections::BTreeMap;
use std::io::Write;

use callboard::prelude::*;

// ANCHOR: messages
/// Somebody opened a lesson. The answer: how often it has been opened by now.
#[derive(Message)]
#[message(reply = u64)]
struct Viewed {
    lesson: &'static str,
    by: &'static str,
}

#[derive(Message)]
#[message(reply = bool)]
struct IsRobot(&'static str);
// ANCHOR_END: messages

// ANCHOR: doorman
/// Knows who is a robot. One day it will ask a service that is far away.
struct Doorman;

impl Actor for Doorman {}

impl Handler<IsRobot> for Doorman {
    async fn handle(&mut self, IsRobot(name): IsRobot, _ctx: &mut Context<Self>) -> bool {
        name.ends_with("bot")
    }
}
// ANCHOR_END: doorman

// ANCHOR: counter
struct ViewCounter {
    views: BTreeMap<&'static str, u64>,
    doorman: ActorRef<Doorman>,
}

impl Actor for ViewCounter {}

impl Handler<Viewed> for ViewCounter {
    async fn handle(&mut self, viewed: Viewed, _ctx: &mut Context<Self>) -> u64 {
        let before = self.views.get(viewed.lesson).copied().unwrap_or(0);
        // If the doorman can't be asked, the view counts: better one too many than a page without a count.
        let robot = self.doorman.ask(IsRobot(viewed.by)).await.unwrap_or(false);
        let now = before + u64::from(!robot);
        self.views.insert(viewed.lesson, now);
        now
    }
}
// ANCHOR_END: counter

// ANCHOR: visitor
/// Opens a lesson that many times.
#[derive(Message)]
struct Browse {
    lesson: &'static str,
    times: u32,
}

struct Visitor(ActorRef<ViewCounter>);

impl Actor for Visitor {}

impl Handler<Browse> for Visitor {
    async fn handle(&mut self, Browse { lesson, times }: Browse, ctx: &mut Context<Self>) {
        for _ in 0..times {
            if self.0.ask(Viewed { lesson, by: "ada" }).await.is_err() {
                return ctx.stop();
            }
        }
    }
}
// ANCHOR_END: visitor

/// What happens, told to `out`.
// ANCHOR: story
pub async fn story(system: System, out: &mut impl Write) -> callboard::Result<()> {
    let (views, doorman) = (BTreeMap::new(), system.start(Doorman));
    let counter = system.start(ViewCounter { views, doorman });

    let lesson = "what-an-actor-buys-you";
    for by in ["grace", "crawlerbot", "ada"] {
        let views = counter.ask(Viewed { lesson, by }).await?;
        writeln!(out, "{by} looked in, views: {views}")?;
    }

    // Four visitors at once, spread over the cores of this machine.
    let visitors: Vec<_> = (0..4)
        .map(|_| system.start(Visitor(counter.clone())))
        .collect();
    for visitor in &visitors {
        visitor.tell(Browse { lesson, times: 25 }).await?;
        visitor.drain(); // nothing more will come; end when that is done
    }
    for visitor in &visitors {
        visitor.wait().await;
    }
    let by = "grace";
    let views = counter.ask(Viewed { lesson, by }).await?;
    writeln!(out, "four visitors later, grace again, views: {views}")?;
    Ok(())
}
// ANCHOR_END: story

/// The whole program.
// ANCHOR: main
pub fn run(out: &mut impl Write) -> callboard::Result<()> {
    callboard::run(|system| story(system, out))?
}

fn main() -> callboard::Result<()> {
    run(&mut std::io::stdout())
}
// ANCHOR_END: main
