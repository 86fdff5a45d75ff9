//! G31: what becomes of a lock whose holder ends, panics, or is stuck.

use std::future::IntoFuture;
use std::sync::mpsc;
use std::time::Duration;

use callboard::locks::{Guard, LockOptions, Lost, Mutex, RwLock, Semaphore, Token};
use callboard::{Actor, ActorRef, Context, FailureKind, Handler, Message, Placement, System};
use futures::channel::oneshot;

use crate::common::{Boom, Do, Placed, player, worker};

const PATIENCE: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(5);

/// Keeps a guard in its state.
#[derive(Default)]
struct Keeper {
    guard: Option<Guard>,
}

impl Actor for Keeper {}

#[derive(Message)]
#[message(reply = Token)]
struct Keep(Mutex);

impl Handler<Keep> for Keeper {
    async fn handle(&mut self, Keep(mutex): Keep, _: &mut Context<Self>) -> Token {
        let guard = mutex.acquire().await.unwrap();
        self.guard.insert(guard).token()
    }
}

/// Holds the lock in the handler, for ever.
#[derive(Message)]
struct Cling {
    mutex: Mutex,
    held: oneshot::Sender<()>,
}

impl Handler<Cling> for Keeper {
    async fn handle(&mut self, cling: Cling, _: &mut Context<Self>) {
        let _guard = cling.mutex.acquire().await.unwrap();
        cling.held.send(()).unwrap();
        std::future::pending::<()>().await;
    }
}

#[derive(Message)]
struct Panic;

impl Handler<Panic> for Keeper {
    async fn handle(&mut self, _: Panic, _: &mut Context<Self>) {
        panic!("with a guard in hand");
    }
}

/// The next one gets it long before the lease of 30 s ends.
async fn is_free(mutex: &Mutex) -> bool {
    let guard = mutex.acquire().deadline(PATIENCE / 3).await;
    guard.is_ok() && mutex.state().await.unwrap().counts.expiries == 0
}

#[callboard::test(both)]
async fn g31_a_holder_that_panics_stops_or_is_killed_frees_what_it_held(system: System) {
    type End = fn(&ActorRef<Keeper>);
    let ends: [End; 3] = [
        |keeper| keeper.try_tell(Panic).unwrap(),
        ActorRef::stop,
        ActorRef::kill,
    ];
    let mutex = Mutex::new(&system, "till");
    for end in ends {
        let keeper = system.start(Keeper::default());
        keeper.ask(Keep(mutex.clone())).await.unwrap();
        assert!(mutex.try_acquire().await.unwrap().is_none());
        end(&keeper);
        assert!(is_free(&mutex).await);
    }
    let keeper = system.start(Keeper::default());
    let (held, is_held) = oneshot::channel();
    let mutex_too = mutex.clone();
    let cling = Cling {
        mutex: mutex_too,
        held,
    };
    keeper.tell(cling).await.unwrap();
    is_held.await.unwrap();
    keeper.kill();
    assert!(is_free(&mutex).await);
}

#[callboard::test(both)]
async fn g31_the_end_of_the_actor_it_is_tied_to_frees_it(system: System) {
    let mutex = Mutex::new(&system, "till");
    let index = RwLock::new(&system, "index");
    let presses = Semaphore::new(&system, "presses", 3);

    let (holder, _) = worker(&system);
    let wish = mutex.acquire().held_by(&holder);
    let exclusive = wish.await.unwrap();
    let reading = index.read().held_by(&holder.recipient::<Boom, _>());
    let reader = reading.await.unwrap();
    let permits = presses.acquire_many(3).held_by(&holder).await.unwrap();
    holder.ask(Boom).await.unwrap_err();

    assert!(is_free(&mutex).await);
    let writing = index.write().deadline(PATIENCE / 3);
    assert!(writing.await.is_ok());
    let all = presses.acquire_many(3).deadline(PATIENCE / 3);
    assert!(all.await.is_ok());
    for guard in [&exclusive, &reader, &permits] {
        assert_eq!(guard.lost().await, Lost::HolderEnded);
        assert!(!guard.is_held());
        assert!(guard.renew(PATIENCE).await.is_err());
    }
    assert_eq!(index.state().await.unwrap().counts.expiries, 0);
}

#[callboard::test(both)]
async fn g31_a_wish_for_an_actor_that_ended_or_ends_is_withdrawn(system: System) {
    let mutex = Mutex::new(&system, "till");
    let (holder, _) = worker(&system);
    let guard = mutex.acquire().await.unwrap();
    let mut wish = mutex.acquire().held_by(&holder).into_future();
    while mutex.state().await.unwrap().waiting == 0 {
        assert!(futures::poll!(&mut wish).is_pending());
    }
    holder.kill();
    let failure = wish.await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Withdrawn);
    let detail = "till was not acquired: the holder ended";
    assert_eq!(failure.detail(), Some(detail));
    drop(guard);
    // It was free, and is not given to somebody who has gone.
    holder.wait().await;
    let late = mutex.acquire().held_by(&holder).await.unwrap_err();
    assert_eq!(late.kind(), FailureKind::Withdrawn);
    assert!(is_free(&mutex).await);
}

#[callboard::test(both)]
async fn g31_a_restart_of_the_holder_is_no_end(system: System) {
    let mutex = Mutex::new(&system, "till");
    let mut holder = Placed::new(&system, "holder");
    holder.start().await;
    let guard = mutex.acquire().held_by(&holder.player).await.unwrap();
    holder.place.kill();
    holder.ended().await;
    holder.start().await;
    assert!(guard.is_held());
    holder.place.stop();
    holder.ended().await;
    holder.place.close(callboard::ExitReason::Stopped);
    assert_eq!(guard.lost().await, Lost::HolderEnded);
}

#[callboard::test(both)]
async fn a_guard_that_is_dropped_watches_nobody_any_more(system: System) {
    let mutex = Mutex::new(&system, "till");
    let (holder, _) = worker(&system);
    let guard = mutex.acquire().held_by(&holder).await.unwrap();
    let lost = guard.lost();
    drop(guard);
    assert_eq!(lost.await, Lost::Released);
    drop(mutex.acquire().held_by(&holder));
    let next = mutex.acquire().await.unwrap();
    holder.kill();
    holder.wait().await;
    let state = mutex.state().await.unwrap();
    assert!(next.is_held());
    assert_eq!((state.held.len(), state.counts.stale), (1, 0));
}

#[callboard::test]
async fn g31_an_actor_that_lives_keeps_its_lease_and_one_that_ended_does_not(system: System) {
    let mutex = Mutex::new(&system, "till");
    let (holder, _) = player(&system, "holder");
    let guard = mutex.acquire().lease(SHORT).await.unwrap();
    let renewals = guard.keep_alive();
    let keep = Do::this(move |_, ctx| {
        ctx.spawn(async move {
            renewals.await;
        });
    });
    holder.ask(keep).await.unwrap();
    while mutex.state().await.unwrap().counts.renewals < 10 {
        system.clock().sleep(SHORT / 5).await;
    }
    // Its renewals end with it; the guard is here.
    holder.kill();
    holder.wait().await;
    assert_eq!(guard.lost().await, Lost::Expired);
}

/// Holds the lock for longer than whoever asked waits.
#[derive(Message)]
#[message(reply = bool)]
struct Toil(Mutex);

#[derive(Message)]
#[message(reply = Option<Result<(), Lost>>)]
struct Toiled;

#[derive(Default)]
struct Toiler(Option<Result<(), Lost>>);

impl Actor for Toiler {}

impl Handler<Toil> for Toiler {
    async fn handle(&mut self, Toil(mutex): Toil, ctx: &mut Context<Self>) -> bool {
        let guard = mutex.acquire().lease(SHORT).await.unwrap();
        let work = ctx.sleep(SHORT * 100);
        self.0 = Some(guard.hold_while(work).await);
        true
    }
}

impl Handler<Toiled> for Toiler {
    async fn handle(&mut self, _: Toiled, _: &mut Context<Self>) -> Option<Result<(), Lost>> {
        self.0
    }
}

/// The deadline of a request is not that of the lease that its handler keeps alive.
#[callboard::test]
async fn g31_a_lease_is_kept_alive_past_the_deadline_of_the_request(system: System) {
    let mutex = Mutex::new(&system, "till");
    let toiler = system.start(Toiler::default());
    let gave_up = toiler.ask(Toil(mutex)).deadline(SHORT * 2).await;
    assert_eq!(gave_up.unwrap_err().kind(), FailureKind::DeadlineExceeded);
    assert_eq!(toiler.ask(Toiled).await.unwrap(), Some(Ok(())));
}

/// Blocks its thread until it is let go.
#[derive(Message)]
struct Block {
    blocked: oneshot::Sender<()>,
    until: mpsc::Receiver<()>,
}

/// Holds a lock and keeps it alive, on its own thread.
#[derive(Default)]
struct Stuck {
    guard: Option<Guard>,
}

impl Actor for Stuck {}

impl Handler<Keep> for Stuck {
    async fn handle(&mut self, Keep(mutex): Keep, ctx: &mut Context<Self>) -> Token {
        let guard = mutex.acquire().lease(SHORT * 10).await.unwrap();
        let renewals = guard.keep_alive();
        ctx.spawn(async move {
            renewals.await;
        });
        self.guard.insert(guard).token()
    }
}

impl Handler<Block> for Stuck {
    async fn handle(&mut self, block: Block, _: &mut Context<Self>) {
        block.blocked.send(()).unwrap();
        let _ = block.until.recv();
    }
}

#[derive(Message)]
#[message(reply = Option<Lost>)]
struct IsLost;

impl Handler<IsLost> for Stuck {
    async fn handle(&mut self, _: IsLost, _: &mut Context<Self>) -> Option<Lost> {
        self.guard.as_ref().and_then(Guard::why_lost)
    }
}

#[callboard::test(arbiters)]
async fn g31_a_holder_whose_thread_is_blocked_loses_a_lease_that_it_keeps_alive(system: System) {
    let mutex = Mutex::new(&system, "till");
    let stuck = system.actor(Stuck::default).on_own_thread().start();
    assert_eq!(stuck.ask(Keep(mutex.clone())).await.unwrap(), Token(1));
    let (blocked, is_blocked) = oneshot::channel();
    let (go, until) = mpsc::channel();
    stuck.tell(Block { blocked, until }).await.unwrap();
    is_blocked.await.unwrap();
    // Its renewals have no turns, and the lock ends the lease without it.
    let next = mutex.acquire().deadline(PATIENCE).await.unwrap();
    assert_eq!(next.token(), Token(2));
    go.send(()).unwrap();
    assert_eq!(stuck.ask(IsLost).await.unwrap(), Some(Lost::Expired));
    assert!(next.is_held());
}

#[callboard::test(arbiters, arbiters = 2)]
async fn g31_a_holder_knows_the_end_of_its_lease_though_the_lock_can_not_say_so(system: System) {
    let there = Placement::Pinned(1);
    let options = LockOptions::default().placement(there);
    let mutex = Mutex::with(&system, "till", options);
    let guard = mutex.acquire().lease(SHORT * 10).await.unwrap();
    let blocker = system.actor(Stuck::default).placement(there).start();
    let (blocked, is_blocked) = oneshot::channel();
    let (go, until) = mpsc::channel();
    blocker.tell(Block { blocked, until }).await.unwrap();
    is_blocked.await.unwrap();
    // The lock has no turns: nobody is served, and nobody thinks to hold what has ended.
    assert_eq!(guard.lost().await, Lost::Expired);
    assert!(!guard.is_held());
    let mut next = mutex.acquire().into_future();
    assert!(futures::poll!(&mut next).is_pending());
    go.send(()).unwrap();
    assert_eq!(next.await.unwrap().token(), Token(2));
}

#[callboard::test(arbiters)]
async fn a_guard_dropped_where_its_system_has_ended_harms_nobody() {
    let other = System::with_arbiters(1).unwrap();
    let mutex = Mutex::new(&other, "till");
    let guard = mutex.acquire().await.unwrap();
    let lost = guard.lost();
    other.shutdown().await;
    assert_eq!(lost.await, Lost::Stopped);
    drop(guard);
    assert_eq!(
        mutex.try_acquire().await.unwrap_err().kind(),
        FailureKind::Stopped
    );
    assert_eq!(other.dead_letters().take().len(), 0);
}
