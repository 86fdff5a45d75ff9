//! The shapes of actix's own example programs: a ring, ping and pong, Fibonacci on threads, a subscriber.

use callboard::actix::{adopt, adopt_addr};
use callboard::topic::{SubscriberOptions, Subscription, Topic, TopicEvent};
use callboard::{ExitReason, Message, Placement, Recipient, System, Terminated, Watch};
use futures::channel::mpsc;
use futures::{StreamExt, future};

const NODES: usize = 50;
const ROUNDS: usize = 20;

/// Passes the token on to its neighbour.
struct Node {
    next: Option<Recipient<Token>>,
    arrived: mpsc::Sender<usize>,
}

impl actix::Actor for Node {
    type Context = actix::Context<Self>;
}

#[derive(Message, actix::Message)]
#[rtype(result = "()")]
struct Token(usize);

#[derive(Message, actix::Message)]
#[rtype(result = "()")]
struct Meet(Recipient<Token>);

impl actix::Handler<Meet> for Node {
    type Result = ();

    fn handle(&mut self, Meet(next): Meet, _: &mut Self::Context) {
        self.next = Some(next);
    }
}

impl actix::Handler<Token> for Node {
    type Result = ();

    fn handle(&mut self, Token(hops): Token, _: &mut Self::Context) {
        match &self.next {
            Some(next) if hops < NODES * ROUNDS => next.try_tell(Token(hops + 1)).unwrap(),
            _ => self.arrived.try_send(hops).unwrap(),
        }
    }
}

#[callboard::test(arbiters)]
async fn a_ring_of_adopted_actors_over_all_arbiters(system: System) {
    let (arrived, mut end) = mpsc::channel(16);
    let nodes: Vec<_> = (0..NODES)
        .map(|_| {
            let arrived = arrived.clone();
            let make = move || Node {
                next: None,
                arrived: arrived.clone(),
            };
            system.actor(adopt(make)).start()
        })
        .collect();
    for (n, node) in nodes.iter().enumerate() {
        let next = nodes[(n + 1) % NODES].recipient();
        node.ask(Meet(next)).await.unwrap();
    }
    nodes[0].tell(Token(0)).await.unwrap();
    assert_eq!(end.next().await, Some(NODES * ROUNDS));
    assert_eq!(system.counters().panics(), 0);
}

struct Player(u64);

impl actix::Actor for Player {
    type Context = actix::Context<Self>;
}

#[derive(Message, actix::Message)]
#[message(reply = u64)]
#[rtype(result = "u64")]
struct Ping;

impl actix::Handler<Ping> for Player {
    type Result = u64;

    fn handle(&mut self, _: Ping, _: &mut Self::Context) -> u64 {
        self.0 += 1;
        self.0
    }
}

#[callboard::test(arbiters)]
async fn ping_is_answered_on_this_thread_and_on_others(system: System) {
    for arbiter in 0..system.arbiter_count() {
        let player = system
            .actor(adopt(|| Player(0)))
            .placement(Placement::Pinned(arbiter))
            .start();
        for n in 1..=1_000 {
            assert_eq!(player.ask(Ping).await.unwrap(), n);
        }
    }
}

struct Mathematician;

impl actix::Actor for Mathematician {
    type Context = actix::SyncContext<Self>;
}

#[derive(Message, actix::Message)]
#[message(reply = Option<u64>)]
#[rtype(result = "Option<u64>")]
struct Fibonacci(u32);

impl actix::Handler<Fibonacci> for Mathematician {
    type Result = Option<u64>;

    fn handle(&mut self, Fibonacci(n): Fibonacci, _: &mut Self::Context) -> Option<u64> {
        let pairs = std::iter::successors(Some((0_u64, 1_u64)), |(a, b)| {
            Some((*b, a.checked_add(*b)?))
        });
        pairs.map(|(a, _)| a).nth(n as usize)
    }
}

#[callboard::test(arbiters)]
async fn fibonacci_on_a_sync_arbiter_is_adopted_by_its_address(system: System) {
    let addr = actix::SyncArbiter::start(3, || Mathematician);
    let mathematician = system.actor(adopt_addr(addr)).start();
    let asks = (0..200).map(|n| {
        let mathematician = mathematician.clone();
        async move { mathematician.ask(Fibonacci(n)).await.unwrap() }
    });
    let answers = future::join_all(asks).await;
    assert_eq!(answers[10], Some(55));
    assert_eq!(answers[92], Some(7_540_113_804_746_346_429));
    assert_eq!(answers[199], None);
}

/// Hears what is published, and of the end of others.
struct Listener(mpsc::Sender<String>);

impl actix::Actor for Listener {
    type Context = actix::Context<Self>;
}

#[derive(Message, actix::Message)]
#[rtype(result = "()")]
struct Listen(Subscription<u32>);

impl actix::Handler<Listen> for Listener {
    type Result = ();

    fn handle(&mut self, Listen(subscription): Listen, ctx: &mut Self::Context) {
        actix::AsyncContext::add_stream(ctx, subscription);
    }
}

impl actix::StreamHandler<TopicEvent<u32>> for Listener {
    fn handle(&mut self, event: TopicEvent<u32>, _: &mut Self::Context) {
        if let TopicEvent::Message(message) = event {
            let heard = format!("{} {}", message.subject(), *message);
            self.0.try_send(heard).unwrap();
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {
        self.0.try_send("finished".into()).unwrap();
    }
}

impl actix::Handler<Terminated> for Listener {
    type Result = ();

    fn handle(&mut self, notice: Terminated, _: &mut Self::Context) {
        let end = format!("{} {}", notice.label, notice.reason);
        self.0.try_send(end).unwrap();
    }
}

#[callboard::test(arbiters)]
async fn an_adopted_actor_subscribes_to_a_topic_and_is_told_of_ends(system: System) {
    let (heard_tx, mut heard) = mpsc::channel(16);
    let listener = system
        .actor(adopt(move || Listener(heard_tx.clone())))
        .start();
    let topic = Topic::start(&system, "lessons");
    let options = SubscriberOptions::default();
    let subscription = topic.subscribe("lesson.*", options).await.unwrap();
    listener.ask(Listen(subscription)).await.unwrap();
    for n in 1..=3 {
        topic.publish("lesson.one", n).await.unwrap();
        topic.publish("other", n).await.unwrap();
        assert_eq!(heard.next().await.unwrap(), format!("lesson.one {n}"));
    }
    topic.stop();
    assert_eq!(heard.next().await.unwrap(), "finished");
    // It handles messages all the same, and goes on when its stream has ended.
    let player = system.actor(adopt(|| Player(0))).label("player").start();
    let told = listener.recipient();
    player.watch(Box::new(move |notice| told.try_tell(notice).unwrap()));
    player.stop();
    assert_eq!(player.wait().await, ExitReason::Stopped);
    assert_eq!(heard.next().await.unwrap(), "player stopped");
}
