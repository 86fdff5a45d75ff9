//! Two clerks, one account, and a lock: what becomes of the money if one of them stalls with the lock in hand.
//!
//! Chapter 18 of the guide is cut from this file.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use callboard::Failure;
use callboard::locks::{Fence, Mutex, Stale, Token};
use callboard::prelude::*;
use futures::channel::oneshot;

/// Far too short, so that nobody has to wait for this program.
const LEASE: Duration = Duration::from_millis(50);

// ANCHOR: account
/// What is in the account?
#[derive(Message)]
#[message(reply = u32)]
struct Balance;

/// Writes the new balance, for whoever has the lock with that token.
#[derive(Message)]
#[message(reply = Result<(), Stale>)]
struct Write(u32, Token);

/// The account, and a fence before it, if anybody thought of one.
struct Account(u32, Option<Fence>);

impl Actor for Account {}

impl Handler<Balance> for Account {
    async fn handle(&mut self, _: Balance, _ctx: &mut Context<Self>) -> u32 {
        self.0
    }
}

impl Handler<Write> for Account {
    async fn handle(&mut self, write: Write, _ctx: &mut Context<Self>) -> Result<(), Stale> {
        if let Some(fence) = &mut self.1 {
            fence.check(write.1)?;
        }
        self.0 = write.0;
        Ok(())
    }
}
// ANCHOR_END: account

// ANCHOR: clerk
/// What stops a clerk with the lock in hand, and what says that it does.
type Stall = (oneshot::Sender<()>, oneshot::Receiver<()>);

/// Books a fee.
#[derive(Message)]
#[message(reply = Result<(), Failure>)]
struct Book(u32, Option<Stall>);

struct Clerk(&'static str, Mutex, ActorRef<Account>, SyncSender<String>);

impl Actor for Clerk {}

impl Handler<Book> for Clerk {
    async fn handle(&mut self, book: Book, _ctx: &mut Context<Self>) -> Result<(), Failure> {
        let (Clerk(name, till, account, diary), Book(fee, mut stall)) = (self, book);
        let say = |what| diary.try_send(format!("  {name}: {what}")).unwrap_or(()); // it has room
        loop {
            let guard = till.acquire().lease(LEASE).await?;
            let token = guard.token();
            let balance = account.ask(Balance).await?;
            say(format!("token {token}, reads {balance}"));
            if let Some((stalls, over)) = stall.take() {
                let _ = stalls.send(());
                let _ = over.await; // a debugger, a page that was swapped out, a laptop that slept
            }
            match account.ask(Write(balance + fee, token)).await? {
                Ok(()) => break say(format!("token {token}, writes {}", balance + fee)),
                Err(stale) => say(format!("refused, {stale}")),
            }
        }
        Ok(())
    }
}
// ANCHOR_END: clerk

/// What happens, told to `out`.
// ANCHOR: story
pub async fn story(system: System, out: &mut impl io::Write) -> callboard::Result<()> {
    for (what, fence) in [("ignores", None), ("checks", Some(Fence::default()))] {
        writeln!(out, "an account that {what} tokens:")?;
        let (diary, lines) = sync_channel(16);
        let till = Mutex::new(&system, "till");
        let account = system.start(Account(100, fence));
        let clerk = |name| Clerk(name, till.clone(), account.clone(), diary.clone());
        let (slow, quick) = (system.start(clerk("slow")), system.start(clerk("quick")));
        let (stalls, has_stalled) = oneshot::channel();
        let (go_on, over) = oneshot::channel();
        slow.tell(Book(10, Some((stalls, over)))).await?;
        has_stalled.await?;
        // The quick one waits until the lease of the slow one is over.
        quick.ask(Book(50, None)).await??;
        let _ = go_on.send(());
        slow.drain();
        slow.wait().await;
        let lines: Vec<_> = lines.try_iter().collect();
        writeln!(out, "{}", lines.join("\n"))?;
        writeln!(out, "  100 + 50 + 10 = {}", account.ask(Balance).await?)?;
    }
    Ok(())
}
// ANCHOR_END: story

/// The whole program.
pub fn run(out: &mut impl io::Write) -> callboard::Result<()> {
    callboard::run(|system| story(system, out))?
}

fn main() -> callboard::Result<()> {
    run(&mut std::io::stdout())
}
