//! The same accident under each strategy: three actors, and the one in the middle fails.
//!
//! The chapter "Strategies and intensity" of the guide is cut from this file.

use std::io::Write;
use std::sync::mpsc::{SyncSender, sync_channel};

use callboard::prelude::*;
use callboard::supervision::{ChildState, Strategy, Supervisor, TreeSnapshot};
use callboard::{ExitReason, StartFailure};

// ANCHOR: part
/// Says when it starts, when it stops in order, and when it is gone.
struct Part {
    name: &'static str,
    diary: SyncSender<String>,
}

impl Part {
    fn note(&self, what: &str) {
        let _ = self.diary.try_send(format!("{} {what}", self.name)); // it has room for all
    }
}

impl Actor for Part {
    async fn starting(&mut self, _ctx: &mut Context<Self>) -> Result<(), StartFailure> {
        self.note("starts");
        Ok(())
    }

    async fn stopped(&mut self, _reason: &ExitReason) {
        self.note("stops");
    }
}
// ANCHOR_END: part

#[derive(Message)]
struct Break;

impl Handler<Break> for Part {
    async fn handle(&mut self, _: Break, _ctx: &mut Context<Self>) {
        self.note("fails");
        panic!("broken");
    }
}

// ANCHOR: accident
/// What happens when `b` of `a`, `b`, `c` fails.
async fn accident(system: &System, strategy: Strategy) -> callboard::Result<Vec<String>> {
    let (diary, lines) = sync_channel(32);
    let mut parts = Vec::new();
    let mut places = Vec::new();
    for name in ["a", "b", "c"] {
        let diary = diary.clone();
        let part = move || Part {
            name,
            diary: diary.clone(),
        };
        let (part, place) = system.actor(part).label(name).place();
        parts.push(part);
        places.push(place);
    }
    let group = Supervisor::builder("group").strategy(strategy);
    let group = if strategy == Strategy::Dynamic {
        // Has no children from the start: they come at run time.
        let group = group.start(system)?;
        for place in places {
            group.add(place).await?;
        }
        group
    } else {
        group.children(places).start(system)?
    };
    group.up().await.map_err(|reason| reason.to_string())?;
    let before = lines.try_iter().count();
    assert_eq!(before, 3, "all have started, in order");

    // It panics, and whoever asked is told so. A restart of a group counts once.
    assert!(parts[1].ask(Break).await.is_err());
    let is_up = |part: &TreeSnapshot| part.state == ChildState::Running;
    let healed =
        |tree: &TreeSnapshot| tree.restarts_below() == 1 && tree.children.iter().all(is_up);
    group.until(healed).await;
    let during = lines.try_iter().collect();
    group.stop();
    group.wait().await;
    Ok(during)
}
// ANCHOR_END: accident

/// What happens, told to `out`.
pub async fn story(system: System, out: &mut impl Write) -> callboard::Result<()> {
    for strategy in [
        Strategy::OneForOne,
        Strategy::OneForAll,
        Strategy::RestForOne,
        Strategy::Dynamic,
    ] {
        let happened = accident(&system, strategy).await?;
        writeln!(out, "{:<14}{}", strategy.to_string(), happened.join(", "))?;
    }
    Ok(())
}

/// The whole program.
pub fn run(out: &mut impl Write) -> callboard::Result<()> {
    callboard::run(|system| story(system, out))?
}

fn main() -> callboard::Result<()> {
    std::panic::set_hook(Box::new(|_| {})); // the accidents are told below
    run(&mut std::io::stdout())
}
