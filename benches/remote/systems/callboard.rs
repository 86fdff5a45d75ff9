//! Callboard: one arbiter in each process, all that is on by default left on. The caller, the connection and the
//! actor that answers live on the arbiter of their process.

mod queues;
mod tls;

use std::future::Future;
use std::sync::mpsc;

use bytes::Bytes;
use callboard::topic::{SubscriberOptions, Topic};
use callboard::{Actor, Context, Handler, Message, Placement, Recipient, System};
use callboard_remote::{Node, Peer, RemoteEvent, RemoteSubscription, Verbs};
use common::folder::Folder;
use common::run::Result;
use common::threads::{HUNG_AFTER, on_fresh_thread};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::process::{ChildStdin, ChildStdout};

use super::sockets::LOOPBACK;
use super::tokio_client::asks;
use super::{Candidate, Family};
use crate::messages::{self, Block, Order, SMALL, Told};
use crate::server::{Role, Server, announce};
use crate::workloads::ask::Asks;
use crate::workloads::one_way::{self, Tells};
use crate::workloads::publish::{self, SUBSCRIBERS, Subscribers};
use crate::workloads::{Connections, Link, Run, Work};

pub(crate) use queues::InProcess;

pub(crate) struct Callboard;

impl Candidate for Callboard {
    fn name(&self) -> &'static str {
        "callboard"
    }

    fn family(&self) -> Family {
        Family::Callboard
    }

    fn takes(&self, _: Work) -> bool {
        true
    }

    fn serve(&self, role: &Role) -> Result<()> {
        let role = role.clone();
        on_arbiter(move |system| async move { serve(&system, &role).await })
    }

    fn measure(&self, work: Work, run: &Run) -> Result<Vec<f64>> {
        let certificates = Folder::new(&std::env::temp_dir())?;
        if work.link() == Link::Tls {
            tls::make(certificates.path())?;
        }
        let shared = certificates.path().display().to_string();
        let mut server = Server::sharing(&shared, self.name(), work.link(), work.service())?;
        let run = *run;
        on_arbiter(move |system| async move {
            let peer = connect(&system, &mut server)?;
            peer.connected().await?;
            match work {
                Work::Queue(_, batch) => {
                    queues::measure(system, &peer, &mut server, batch, run).await
                }
                Work::Publish(_, connections) => {
                    let readers =
                        Readers::connect(&system, &peer, &mut server, connections).await?;
                    publish::measure(readers, run).await
                }
                Work::OneWay(_, shape) => one_way::measure(Teller::to(&peer)?, shape, run).await,
                _ => {
                    let echo = peer.recipient(TARGET)?;
                    asks(Client { system, echo }, work, run).await
                }
            }
        })
    }
}

/// Runs `body` as a task of the only arbiter of a fresh system, and tears all down.
fn on_arbiter<F, Fut, T>(body: F) -> Result<T>
where
    F: FnOnce(System) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T>> + 'static,
    T: Send + 'static,
{
    on_fresh_thread(move || {
        let system = System::with_arbiters(1)?;
        let (done, wait) = mpsc::sync_channel(1);
        let task = {
            let system = system.clone();
            move || async move {
                // Nobody waits only if the run was given up.
                let _ = done.send(body(system).await);
            }
        };
        assert!(system.spawn(ARBITER, task), "the system runs");
        let output = wait.recv_timeout(HUNG_AFTER)?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let killed = runtime.block_on(system.shutdown());
        assert!(killed.is_empty(), "actors that would not stop: {killed:?}");
        output
    })
}

const ARBITER: Placement = Placement::Pinned(0);
const TARGET: &str = "target";
const TOPIC: &str = "items";
const SUBJECT: &str = "bench.items";

async fn serve(system: &System, role: &Role) -> Result<()> {
    let topic = Topic::start(system, TOPIC);
    let target = system.start(Target {
        told: Told::default(),
        topic: topic.clone(),
    });
    let node = Node::new(system, "bench")?;
    node.expose::<Echo>(TARGET, &target.recipient())?;
    node.expose::<Parcel>(TARGET, &target.recipient())?;
    node.expose::<Place>(TARGET, &target.recipient())?;
    node.expose::<Count>(TARGET, &target.recipient())?;
    node.expose::<Publish>(TARGET, &target.recipient())?;
    node.expose_topic(TOPIC, &topic)?;
    let _queue = queues::expose(system, &node, role).await?;
    let _listener = match role.link {
        Link::Tcp => {
            let listener = node.listen_tcp(LOOPBACK).await?;
            announce(listener.socket_addr().ok_or("no address")?)?;
            listener
        }
        Link::Tls => {
            let tls = tls::of_server(role.shared.as_ref())?;
            node.rights()
                .grant(tls::CLIENT_PRINCIPAL, Verbs::USE, ">")?;
            let listener = node.listen_tls(LOOPBACK, &tls).await?;
            announce(listener.address())?;
            listener
        }
        Link::Unix => {
            let listener = node.listen_unix(role.socket()).await?;
            announce(role.socket().display())?;
            listener
        }
        Link::Pipe => return Ok(node.serve_stdio().await?),
    };
    std::future::pending().await
}

fn connect(system: &System, server: &mut Server) -> Result<Peer> {
    Ok(match server.role().link {
        Link::Tcp => Peer::tcp(system, server.address().parse()?)?,
        Link::Tls => {
            let (tls, expect) = tls::of_client(server.role().shared.as_ref())?;
            Peer::tls(system, server.address(), &tls, expect)?
        }
        Link::Unix => Peer::unix(system, server.address()),
        Link::Pipe => {
            let (input, output) = server.pipes()?;
            let (input, output) = (ChildStdin::from_std(input)?, ChildStdout::from_std(output)?);
            let peer = Peer::attached(system, "server");
            peer.attach(tokio::io::join(output, input));
            peer
        }
    })
}

#[derive(Message, Serialize, Deserialize)]
#[message(reply = Block, name = "bench.echo")]
struct Echo(Block);

#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[message(name = "bench.parcel", raw)]
struct Parcel(Bytes);

#[derive(Message, Serialize, Deserialize)]
#[message(name = "bench.place")]
struct Place(Order);

#[derive(Message, Serialize, Deserialize)]
#[message(reply = Told, name = "bench.count")]
struct Count;

/// Has the server publish so many parcels.
#[derive(Message, Serialize, Deserialize)]
#[message(name = "bench.publish")]
struct Publish(u64);

struct Target {
    told: Told,
    topic: Topic<Parcel>,
}

impl Actor for Target {}

impl Handler<Echo> for Target {
    async fn handle(&mut self, Echo(block): Echo, _ctx: &mut Context<Self>) -> Block {
        block
    }
}

impl Handler<Parcel> for Target {
    async fn handle(&mut self, Parcel(bytes): Parcel, _ctx: &mut Context<Self>) {
        self.told.add_bytes(&bytes);
    }
}

impl Handler<Place> for Target {
    async fn handle(&mut self, Place(order): Place, _ctx: &mut Context<Self>) {
        self.told.add_order(&order);
    }
}

impl Handler<Count> for Target {
    async fn handle(&mut self, _: Count, _ctx: &mut Context<Self>) -> Told {
        std::mem::take(&mut self.told)
    }
}

impl Handler<Publish> for Target {
    async fn handle(&mut self, Publish(count): Publish, _ctx: &mut Context<Self>) {
        let parcel = Parcel(messages::bytes(SMALL));
        for _ in 0..count {
            let published = self.topic.publish(SUBJECT, parcel.clone()).await;
            published.expect("the topic lives");
        }
    }
}

#[derive(Clone)]
struct Client {
    system: System,
    echo: Recipient<Echo>,
}

impl Asks for Client {
    async fn ask(&self, block: Block) -> Result<Block> {
        let answer = self.echo.ask(Echo(block)).await;
        Ok(answer.map_err(|error| error.to_string())?)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        assert!(self.system.spawn(ARBITER, move || task), "the system runs");
    }
}

struct Teller {
    parcels: Recipient<Parcel>,
    orders: Recipient<Place>,
    count: Recipient<Count>,
}

impl Teller {
    fn to(peer: &Peer) -> Result<Self> {
        Ok(Teller {
            parcels: peer.recipient(TARGET)?,
            orders: peer.recipient(TARGET)?,
            count: peer.recipient(TARGET)?,
        })
    }
}

impl Tells for Teller {
    async fn tell(&mut self, bytes: &Bytes) -> Result<()> {
        let told = self.parcels.tell(Parcel(bytes.clone())).await;
        Ok(told.map_err(|error| error.to_string())?)
    }

    async fn tell_order(&mut self, order: Order) -> Result<()> {
        let told = self.orders.tell(Place(order)).await;
        Ok(told.map_err(|error| error.to_string())?)
    }

    /// Large messages have a lane of their own, so that the question may overtake them: it asks until all have arrived.
    async fn told(&mut self, sent: u64) -> Result<Told> {
        let mut told = Told::default();
        for _ in 0..10_000 {
            let more = self.count.ask(Count).await;
            let more = more.map_err(|error| error.to_string())?;
            told.messages += more.messages;
            told.sum += more.sum;
            if told.messages >= sent {
                break;
            }
        }
        Ok(told)
    }
}

/// Subscribers, over one connection or one each.
struct Readers {
    publisher: Recipient<Publish>,
    subscribers: Vec<RemoteSubscription<Parcel>>,
}

impl Readers {
    async fn connect(
        system: &System,
        publisher: &Peer,
        server: &mut Server,
        connections: Connections,
    ) -> Result<Self> {
        let options = SubscriberOptions {
            // As many as a node keeps for one.
            capacity: publisher.config().subscriber_buffer,
            ..SubscriberOptions::default()
        };
        let mut subscribers = Vec::new();
        for _ in 0..SUBSCRIBERS {
            let peer = match connections {
                Connections::One => publisher.clone(),
                Connections::Each => connect(system, server)?,
            };
            let subscription = peer.subscribe_with(TOPIC, SUBJECT, options)?;
            subscription.ready().await.map_err(|why| why.to_string())?;
            subscribers.push(subscription);
        }
        Ok(Readers {
            publisher: publisher.recipient(TARGET)?,
            subscribers,
        })
    }
}

impl Subscribers for Readers {
    async fn publish(&mut self, count: u64) -> Result<()> {
        let published = self.publisher.ask(Publish(count)).await;
        Ok(published.map_err(|error| error.to_string())?)
    }

    async fn read(&mut self, subscriber: usize, count: u64) -> Result<()> {
        let subscriber = self.subscribers.get_mut(subscriber).ok_or("no such one")?;
        for _ in 0..count {
            match subscriber.next().await {
                Some(RemoteEvent::Message { value, .. }) if value.0.len() == SMALL => {}
                other => return Err(format!("a message is missing: {other:?}").into()),
            }
        }
        Ok(())
    }
}
