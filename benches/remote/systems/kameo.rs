//! kameo with its feature `remote`: libp2p over TCP with Noise and yamux, an actor that is looked up by name. A tell has
//! no bound.

use std::time::Duration;

use bytes::Bytes;
use common::run::Result;
use futures::StreamExt;
use kameo::actor::{RemoteActorRef, Spawn};
use kameo::message::{Context, Message};
use kameo::remote::{self, messaging};
use kameo::{Actor, RemoteActor, remote_message};
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder, noise, tcp, yamux};
use serde::{Deserialize, Serialize};

use super::Candidate;
use super::tokio_client::{asks, on_client, on_server};
use crate::messages::{Block, Order, SMALL, Told};
use crate::server::{Role, Server, announce};
use crate::workloads::ask::Asks;
use crate::workloads::one_way::{self, Tells};
use crate::workloads::{Link, Run, Work};

pub(crate) struct Kameo;

impl Candidate for Kameo {
    fn name(&self) -> &'static str {
        "kameo"
    }

    fn takes(&self, work: Work) -> bool {
        work.link() == Link::Tcp
    }

    /// A process has one swarm, for good.
    fn needs_own_process(&self) -> bool {
        true
    }

    fn serve(&self, _: &Role) -> Result<()> {
        on_server(async {
            let mut swarm = swarm()?;
            swarm.listen_on(LOOPBACK.parse()?)?;
            let address = loop {
                if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                    break address;
                }
            };
            let me = *swarm.local_peer_id();
            let swarming = tokio::spawn(drive(swarm));
            Target::spawn(Target(Told::default()))
                .register(NAME)
                .await?;
            announce(format!("{address} {me}"))?;
            Ok(swarming.await?)
        })
    }

    fn measure(&self, work: Work, run: &Run) -> Result<Vec<f64>> {
        let server = Server::start(self.name(), work.link(), work.service())?;
        let run = *run;
        on_client(move || async move {
            let mut swarm = swarm()?;
            let said = server.address().split_once(' ');
            let (address, peer) = said.ok_or("the server said no address")?;
            let (address, peer): (Multiaddr, PeerId) = (address.parse()?, peer.parse()?);
            swarm.add_peer_address(peer, address.clone());
            let known = DialOpts::peer_id(peer).addresses(vec![address]);
            swarm.dial(known.build())?;
            tokio::spawn(drive(swarm));
            let client = Client(find().await?);
            match work {
                Work::OneWay(_, shape) => one_way::measure(client, shape, run).await,
                _ => asks(client, work, run).await,
            }
        })
    }
}

const LOOPBACK: &str = "/ip4/127.0.0.1/tcp/0";
const NAME: &str = "target";
/// More than it allows by default (100 requests, 512 streams of yamux), since 1,024 ask at a time.
const STREAMS: usize = 8_192;

#[derive(NetworkBehaviour)]
struct Net {
    kameo: remote::Behaviour,
}

fn swarm() -> Result<Swarm<Net>> {
    let streams = || {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(STREAMS);
        config
    };
    let swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, streams)?
        .with_behaviour(|key| {
            let config = messaging::Config::default()
                .with_max_concurrent_streams(STREAMS)
                .with_request_size_maximum(4 * 1_024 * 1_024);
            Net {
                kameo: remote::Behaviour::new(key.public().to_peer_id(), config),
            }
        })?
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(300)))
        .build();
    swarm.behaviour().kameo.try_init_global()?;
    Ok(swarm)
}

async fn drive(mut swarm: Swarm<Net>) {
    loop {
        swarm.select_next_some().await;
    }
}

/// The other process's actor, once the swarms know each other.
async fn find() -> Result<RemoteActorRef<Target>> {
    for _ in 0..2_000 {
        if let Ok(Some(target)) = RemoteActorRef::<Target>::lookup(NAME).await {
            return Ok(target);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err("the actor is not found".into())
}

#[derive(Actor, RemoteActor)]
struct Target(Told);

#[derive(Serialize, Deserialize)]
struct Echo(Block);

#[derive(Serialize, Deserialize)]
struct Parcel(Bytes);

#[derive(Serialize, Deserialize)]
struct Place(Order);

#[derive(Serialize, Deserialize)]
struct Count;

#[remote_message]
impl Message<Echo> for Target {
    type Reply = std::result::Result<Block, ()>;

    async fn handle(
        &mut self,
        Echo(block): Echo,
        _: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        Ok(block)
    }
}

#[remote_message]
impl Message<Parcel> for Target {
    type Reply = ();

    async fn handle(&mut self, Parcel(bytes): Parcel, _: &mut Context<Self, Self::Reply>) {
        self.0.add_bytes(&bytes);
    }
}

#[remote_message]
impl Message<Place> for Target {
    type Reply = ();

    async fn handle(&mut self, Place(order): Place, _: &mut Context<Self, Self::Reply>) {
        self.0.add_order(&order);
    }
}

#[remote_message]
impl Message<Count> for Target {
    type Reply = std::result::Result<Told, ()>;

    async fn handle(&mut self, _: Count, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        Ok(std::mem::take(&mut self.0))
    }
}

#[derive(Clone)]
struct Client(RemoteActorRef<Target>);

impl Asks for Client {
    async fn ask(&self, block: Block) -> Result<Block> {
        let answer = self.0.ask(&Echo(block)).await;
        Ok(answer.map_err(|error| format!("{error:?}"))?)
    }
}

impl Tells for Client {
    async fn tell(&mut self, bytes: &Bytes) -> Result<()> {
        Ok(self.0.tell(&Parcel(bytes.clone())).send()?)
    }

    async fn tell_order(&mut self, order: Order) -> Result<()> {
        Ok(self.0.tell(&Place(order)).send()?)
    }

    /// Each message is a stream of its own, and these overtake each other: it asks until all have arrived.
    async fn told(&mut self, sent: u64) -> Result<Told> {
        let mut told = Told::default();
        for _ in 0..10_000 {
            let answer = self.0.ask(&Count).await;
            let more = answer.map_err(|error| format!("{error:?}"))?;
            told.messages += more.messages;
            told.sum += more.sum;
            if told.messages >= sent {
                break;
            }
        }
        Ok(told)
    }

    fn burst(&self, length: usize) -> Option<u64> {
        Some(match length {
            ..=SMALL => 256,
            ..=65_536 => 64,
            _ => 8,
        })
    }
}
