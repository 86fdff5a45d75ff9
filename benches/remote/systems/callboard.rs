//! Callboard: one arbiter in each process, all that is on by default left on. The caller, the connection and the
//! actor that answers live on the arbiter of their process.

use std::future::Future;
use std::sync::mpsc;

use bytes::Bytes;
use callboard::{Actor, Context, Handler, Message, Placement, Recipient, System};
use callboard_remote::{Node, Peer};
use common::run::Result;
use common::threads::{HUNG_AFTER, on_fresh_thread};
use serde::{Deserialize, Serialize};
use tokio::process::{ChildStdin, ChildStdout};

use super::sockets::LOOPBACK;
use super::tokio_client::asks;
use super::{Candidate, Family};
use crate::messages::{Block, Order, Told};
use crate::server::{Role, Server, announce};
use crate::workloads::ask::Asks;
use crate::workloads::one_way::{self, Tells};
use crate::workloads::{Link, Run, Work};

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
        let mut server = Server::start(self.name(), work.link(), work.service())?;
        let run = *run;
        on_arbiter(move |system| async move {
            let peer = connect(&system, &mut server)?;
            peer.connected().await?;
            match work {
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

async fn serve(system: &System, role: &Role) -> Result<()> {
    let target = system.start(Target::default());
    let node = Node::new(system, "bench")?;
    node.expose::<Echo>(TARGET, &target.recipient())?;
    node.expose::<Parcel>(TARGET, &target.recipient())?;
    node.expose::<Place>(TARGET, &target.recipient())?;
    node.expose::<Count>(TARGET, &target.recipient())?;
    let _listener = match role.link {
        Link::Tcp => {
            let listener = node.listen_tcp(LOOPBACK).await?;
            announce(listener.socket_addr().ok_or("no address")?)?;
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

#[derive(Message, Serialize, Deserialize)]
#[message(name = "bench.parcel")]
struct Parcel(Bytes);

#[derive(Message, Serialize, Deserialize)]
#[message(name = "bench.place")]
struct Place(Order);

#[derive(Message, Serialize, Deserialize)]
#[message(reply = Told, name = "bench.count")]
struct Count;

#[derive(Default)]
struct Target(Told);

impl Actor for Target {}

impl Handler<Echo> for Target {
    async fn handle(&mut self, Echo(block): Echo, _ctx: &mut Context<Self>) -> Block {
        block
    }
}

impl Handler<Parcel> for Target {
    async fn handle(&mut self, Parcel(bytes): Parcel, _ctx: &mut Context<Self>) {
        self.0.add_bytes(&bytes);
    }
}

impl Handler<Place> for Target {
    async fn handle(&mut self, Place(order): Place, _ctx: &mut Context<Self>) {
        self.0.add_order(&order);
    }
}

impl Handler<Count> for Target {
    async fn handle(&mut self, _: Count, _ctx: &mut Context<Self>) -> Told {
        std::mem::take(&mut self.0)
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

    async fn told(&mut self) -> Result<Told> {
        let told = self.count.ask(Count).await;
        Ok(told.map_err(|error| error.to_string())?)
    }
}
