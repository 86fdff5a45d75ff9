//! ractor_cluster: an actor in a process group, messages that carry bytes as they are. A cast has no bound.

use std::time::Duration;

use bytes::Bytes;
use common::run;
use ractor::rpc::CallResult;
use ractor::{
    Actor, ActorProcessingErr, ActorRef, BytesConvertable, RpcReplyPort, concurrency, pg,
};
use ractor_cluster::{NetworkStream, NodeServer, NodeServerMessage, RactorClusterMessage};
use serde_bytes::ByteArray;
use tokio::net::{TcpListener, TcpStream};

use super::Candidate;
use super::sockets::LOOPBACK;
use super::tokio_client::{asks, on_client, on_server};
use crate::messages::{Block, SMALL, Told};
use crate::server::{Role, Server, announce};
use crate::workloads::ask::Asks;
use crate::workloads::one_way::{self, Tells};
use crate::workloads::{Link, Run, Shape, Work};

pub(crate) struct Ractor;

impl Candidate for Ractor {
    fn name(&self) -> &'static str {
        "ractor_cluster"
    }

    fn takes(&self, work: Work) -> bool {
        let decodes = matches!(work, Work::OneWay(_, Shape::Order));
        work.link() == Link::Tcp && !decodes
    }

    fn needs_own_process(&self) -> bool {
        true
    }

    fn serve(&self, _: &Role) -> run::Result<()> {
        on_server(async {
            let (target, running) = Actor::spawn(None, Target, ()).await?;
            pg::join(GROUP.to_owned(), vec![target.get_cell()]);
            let node = start_node("server").await?;
            let listener = TcpListener::bind(LOOPBACK).await?;
            announce(listener.local_addr()?)?;
            let (stream, _) = listener.accept().await?;
            open(&node, stream, true)?;
            Ok(running.await?)
        })
    }

    fn measure(&self, work: Work, run: &Run) -> run::Result<Vec<f64>> {
        let server = Server::start(self.name(), work.link(), work.service())?;
        let run = *run;
        on_client(move || async move {
            let node = start_node("client").await?;
            open(&node, TcpStream::connect(server.address()).await?, false)?;
            let client = Client(find().await?);
            match work {
                Work::OneWay(_, shape) => one_way::measure(client, shape, run).await,
                _ => asks(client, work, run).await,
            }
        })
    }
}

const GROUP: &str = "target";

async fn start_node(name: &str) -> run::Result<ActorRef<NodeServerMessage>> {
    let (cookie, host) = ("bench".to_owned(), "localhost".to_owned());
    let node = NodeServer::new(0, cookie, name.to_owned(), host, None, None);
    // It listens by itself too; the connection is made here, where its port is known.
    let node = node.with_listen_addr(LOOPBACK.ip());
    Ok(Actor::spawn(None, node, ()).await?.0)
}

fn open(node: &ActorRef<NodeServerMessage>, stream: TcpStream, is_server: bool) -> run::Result<()> {
    stream.set_nodelay(true)?;
    let stream = NetworkStream::Raw {
        peer_addr: stream.peer_addr()?,
        local_addr: stream.local_addr()?,
        stream,
    };
    let opened = NodeServerMessage::ConnectionOpened {
        stream: Box::new(stream),
        is_server,
    };
    node.cast(opened).map_err(|_| "the node has ended".into())
}

/// The other process's actor, once the nodes know each other.
async fn find() -> run::Result<ActorRef<Request>> {
    let group = GROUP.to_owned();
    for _ in 0..5_000 {
        if let Some(target) = pg::get_members(&group).into_iter().next() {
            return Ok(ActorRef::from(target));
        }
        concurrency::sleep(Duration::from_millis(1)).await;
    }
    Err("the actor is not found".into())
}

/// Bytes that go over the wire as they are.
struct Raw(Vec<u8>);

impl BytesConvertable for Raw {
    fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn from_bytes(bytes: Vec<u8>) -> Self {
        Raw(bytes)
    }
}

#[derive(RactorClusterMessage)]
enum Request {
    #[rpc]
    Echo(Raw, RpcReplyPort<Raw>),
    Tell(Raw),
    #[rpc]
    Count(RpcReplyPort<Raw>),
}

struct Target;

impl Actor for Target {
    type Msg = Request;
    type State = Told;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Request>, (): ()) -> Result<Told, ActorProcessingErr> {
        Ok(Told::default())
    }

    async fn handle(
        &self,
        _: ActorRef<Request>,
        request: Request,
        told: &mut Told,
    ) -> Result<(), ActorProcessingErr> {
        match request {
            Request::Echo(bytes, port) => answer(port, bytes),
            Request::Tell(Raw(bytes)) => told.add_bytes(&bytes),
            Request::Count(port) => {
                let told = std::mem::take(told);
                answer(port, Raw(told.to_bytes().to_vec()));
            }
        }
        Ok(())
    }
}

fn answer(port: RpcReplyPort<Raw>, bytes: Raw) {
    // An error means that nobody waits for it.
    let _ = port.send(bytes);
}

#[derive(Clone)]
struct Client(ActorRef<Request>);

impl Client {
    async fn call(
        &self,
        request: impl FnOnce(RpcReplyPort<Raw>) -> Request + Send,
    ) -> run::Result<Vec<u8>> {
        let called = self.0.call(request, None).await;
        match called.map_err(|_| "the actor has ended")? {
            CallResult::Success(Raw(bytes)) => Ok(bytes),
            CallResult::Timeout | CallResult::SenderError => Err("no answer".into()),
        }
    }
}

impl Asks for Client {
    async fn ask(&self, block: Block) -> run::Result<Block> {
        let asked = Raw(block.to_vec());
        let answer = self.call(|port| Request::Echo(asked, port)).await?;
        let mut block = [0; SMALL];
        block.copy_from_slice(answer.get(..SMALL).ok_or("the answer is short")?);
        Ok(ByteArray::new(block))
    }
}

impl Tells for Client {
    async fn tell(&mut self, bytes: &Bytes) -> run::Result<()> {
        let told = self.0.cast(Request::Tell(Raw(bytes.to_vec())));
        told.map_err(|_| "the actor has ended".into())
    }

    async fn told(&mut self, _: u64) -> run::Result<Told> {
        let answer = self.call(Request::Count).await?;
        Told::from_bytes(&answer).ok_or_else(|| "that is no count".into())
    }

    fn burst(&self, length: usize) -> Option<u64> {
        Some((64 * 1_024 * 1_024 / length as u64).min(100_000))
    }
}
