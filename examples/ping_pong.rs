//! Two players, a ball, and a referee who watches; the game ends by itself.
//!
//! Chapter 5 of the guide is cut from this file.

use std::io::Write;

use callboard::Terminated;
use callboard::prelude::*;

// ANCHOR: player
/// The ball, and where it came from: a message can hold references.
#[derive(Message)]
struct Ball {
    stroke: u32,
    from: Recipient<Ball>,
}

/// Nobody was there for this stroke.
#[derive(Message)]
struct Missed(u32);

struct Player {
    /// For how many strokes.
    breath: u32,
    referee: Recipient<Missed>,
}
impl Actor for Player {}

impl Handler<Ball> for Player {
    async fn handle(&mut self, Ball { stroke, from }: Ball, ctx: &mut Context<Self>) {
        // Who can't be told has ended, and then the game has, too.
        if self.breath == 0 {
            let _ = self.referee.tell(Missed(stroke)).await;
            return ctx.stop();
        }
        self.breath -= 1;
        let (stroke, me) = (stroke + 1, ctx.me().recipient());
        let _ = from.tell(Ball { stroke, from: me }).await;
    }
}
// ANCHOR_END: player

/// Play, and tell how it went.
#[derive(Message)]
#[message(reply = Vec<String>)]
struct Play;

// ANCHOR: referee
#[derive(Default)]
struct Referee {
    players: Vec<ActorRef<Player>>,
    report: Vec<String>,
    asker: Option<Responder<Vec<String>>>,
}

impl Actor for Referee {}

impl DeferredHandler<Play> for Referee {
    async fn handle_deferred(
        &mut self,
        _: Play,
        asker: Responder<Vec<String>>,
        ctx: &mut Context<Self>,
    ) {
        self.asker = Some(asker);
        for (name, breath) in [("ada", 4), ("grace", 3)] {
            let referee = ctx.me().recipient();
            let player = ctx.child(move || Player { breath, referee }).label(name);
            let player = player.placement(Placement::Spread).start();
            ctx.watch(&player);
            self.players.push(player);
        }
        if let [ada, grace] = &self.players[..] {
            let from = grace.recipient();
            let _ = ada.tell(Ball { stroke: 1, from }).await;
        }
    }
}

impl Handler<Missed> for Referee {
    async fn handle(&mut self, Missed(stroke): Missed, _ctx: &mut Context<Self>) {
        self.report.push(format!("stroke {stroke} was missed"));
    }
}

impl Handler<Terminated> for Referee {
    async fn handle(&mut self, end: Terminated, ctx: &mut Context<Self>) {
        self.report
            .push(format!("{} has {}", end.label, end.reason));
        self.players.retain(|player| player.id() != end.id);
        if let Some(winner) = self.players.last() {
            self.report.push(format!("{} wins", winner.label()));
            return winner.stop();
        }
        if let Some(asker) = self.asker.take() {
            asker.send(std::mem::take(&mut self.report));
        }
        ctx.stop();
    }
}
// ANCHOR_END: referee

/// What happens, told to `out`.
pub async fn story(system: System, out: &mut impl Write) -> callboard::Result<()> {
    let referee = system.start(Referee::default());
    for line in referee.ask(Play).await? {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "the referee has {}", referee.wait().await)?;
    Ok(())
}

/// The whole program.
pub fn run(out: &mut impl Write) -> callboard::Result<()> {
    callboard::run(|system| story(system, out))?
}

fn main() -> callboard::Result<()> {
    run(&mut std::io::stdout())
}
