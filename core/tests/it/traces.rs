//! A trace of the outside world goes through actors: beside messages, over awaits, into tasks.

use callboard::{
    Actor, ActorRef, Context, DeferredHandler, Handler, Message, Recipient, Responder, System,
    TraceParent,
};
use futures::StreamExt;
use futures::channel::mpsc;
use std::time::Duration;

fn parent(n: u64) -> TraceParent {
    TraceParent::new(7, n, 1).unwrap()
}

type Seen = Vec<Option<TraceParent>>;

/// One of a chain, which sees the trace it is in.
struct Link {
    next: Option<ActorRef<Link>>,
}

impl Actor for Link {}

impl Link {
    /// What is to be seen here, by what the message says and what the thread does.
    fn look(ctx: &Context<Self>) -> Option<TraceParent> {
        let current = TraceParent::current();
        assert_eq!(ctx.meta().trace_parent(), current);
        current
    }
}

/// Asked along the chain.
#[derive(Message)]
#[message(reply = Seen)]
struct Look;

impl Handler<Look> for Link {
    async fn handle(&mut self, _: Look, ctx: &mut Context<Self>) -> Seen {
        let before = Link::look(ctx);
        let mut seen = vec![before];
        ctx.sleep(Duration::from_millis(1)).await;
        if let Some(next) = &self.next {
            seen.extend(next.ask(Look).await.unwrap());
        }
        assert_eq!(Link::look(ctx), before);
        seen
    }
}

/// Told along the chain.
#[derive(Message, Debug)]
struct Walk(mpsc::Sender<Option<TraceParent>>);

impl Handler<Walk> for Link {
    async fn handle(&mut self, Walk(mut to): Walk, ctx: &mut Context<Self>) {
        to.try_send(Link::look(ctx)).unwrap();
        if let Some(next) = &self.next {
            next.tell(Walk(to.clone())).await.unwrap();
            next.try_tell(Walk(to.clone())).unwrap();
            next.recipient::<Walk, _>().try_tell(Walk(to)).unwrap();
        }
    }
}

/// Answered by a task.
#[derive(Message)]
#[message(reply = Seen)]
struct Later;

impl DeferredHandler<Later> for Link {
    async fn handle_deferred(
        &mut self,
        _: Later,
        responder: Responder<Seen>,
        ctx: &mut Context<Self>,
    ) {
        let next = self.next.clone().unwrap();
        let pause = ctx.sleep(Duration::from_millis(1));
        ctx.spawn(async move {
            pause.await;
            let mut seen = vec![TraceParent::current()];
            seen.extend(next.ask(Look).await.unwrap());
            responder.send(seen);
        });
    }
}

/// What a route gets to see of what is sent here.
#[derive(Message)]
#[message(reply = Seen)]
struct Parts(Recipient<Look>);

impl Handler<Parts> for Link {
    async fn handle(&mut self, Parts(to): Parts, _: &mut Context<Self>) -> Seen {
        let own = to.ask(Look).into_parts();
        let other = to.ask(Look).trace_parent(parent(99)).into_parts();
        vec![own.meta.trace_parent(), other.meta.trace_parent()]
    }
}

fn chain(system: &System, length: usize) -> ActorRef<Link> {
    let end = system.actor(|| Link { next: None }).start();
    (1..length).fold(end, |next, _| {
        let next = Some(next);
        system.actor(move || Link { next }).start()
    })
}

#[callboard::test(both)]
async fn asks_hand_their_trace_down_and_nothing_else_has_it(system: System) {
    let chain = chain(&system, 3);
    let seen = chain.ask(Look).trace_parent(parent(1)).await.unwrap();
    assert_eq!(seen, [Some(parent(1)); 3]);
    assert_eq!(chain.ask(Look).await.unwrap(), [None; 3]);
    assert_eq!(TraceParent::current(), None);
}

#[callboard::test(both)]
async fn tells_of_every_kind_hand_it_down(system: System) {
    let chain = chain(&system, 2);
    let (tx, rx) = mpsc::channel(8);
    chain.tell(Walk(tx)).trace_parent(parent(2)).await.unwrap();
    assert_eq!(rx.collect::<Seen>().await, [Some(parent(2)); 4]);
}

#[callboard::test(both)]
async fn a_task_goes_on_in_the_trace_of_the_message_it_was_started_for(system: System) {
    let chain = chain(&system, 2);
    let later = chain.ask(Later).trace_parent(parent(3)).await.unwrap();
    assert_eq!(later, [Some(parent(3)); 2]);
    assert_eq!(chain.ask(Later).await.unwrap(), [None; 2]);
}

#[callboard::test(both)]
async fn handlers_that_run_in_turns_keep_their_traces_apart(system: System) {
    let asks = (1..20_u64).map(|n| {
        let chain = chain(&system, 3);
        async move {
            // Every third has none.
            let own = (n % 3 > 0).then(|| parent(n));
            let ask = chain.ask(Look);
            let ask = match own {
                Some(own) => ask.trace_parent(own),
                None => ask,
            };
            assert_eq!(ask.await.unwrap(), [own; 3]);
        }
    });
    futures::future::join_all(asks).await;
}

#[callboard::test(both)]
async fn routes_of_others_see_it_on_what_is_sent_and_one_that_is_given_stands(system: System) {
    let chain = chain(&system, 1);
    let ask = chain.ask(Parts(chain.recipient()));
    let seen = ask.trace_parent(parent(5)).await.unwrap();
    assert_eq!(seen, [Some(parent(5)), Some(parent(99))]);
}

/// Panics the first time.
#[derive(Message, Clone)]
#[message(reply = Seen)]
struct Fragile(std::sync::Arc<std::sync::atomic::AtomicBool>);

impl Handler<Fragile> for Link {
    async fn handle(&mut self, Fragile(broken): Fragile, ctx: &mut Context<Self>) -> Seen {
        let seen = vec![Link::look(ctx)];
        if !broken.swap(true, std::sync::atomic::Ordering::SeqCst) {
            panic!("the first time");
        }
        seen
    }
}

#[callboard::test(both)]
async fn g14_it_stays_with_a_message_that_is_replayed(system: System) {
    let actor = system.actor(|| Link { next: None }).replay::<Fragile>(1);
    let mut placed = crate::common::Placed::of(actor.place(), crate::common::Log::default());
    placed.start().await;
    let link = placed.player.clone();
    let fragile = Fragile(std::sync::Arc::default());
    let ask = link.ask(fragile).trace_parent(parent(6));
    let seen = placed.through_crashes(ask).await.unwrap();
    assert_eq!(seen, [Some(parent(6))]);
    // The panic left nothing of it on the thread.
    assert_eq!(link.ask(Look).await.unwrap(), [None]);
    placed.close().await;
}
