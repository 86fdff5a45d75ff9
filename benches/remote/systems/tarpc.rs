//! tarpc with bincode, over any byte stream. It has no messages without an answer: what is told is a call, with a
//! window of calls under way.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use common::run::Result;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tarpc::client::{self, RpcError};
use tarpc::server::{self, BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::{context, serde_transport};
use tokio_util::codec::LengthDelimitedCodec;

use super::Candidate;
use super::sockets;
use super::tokio_client::{asks, on_client, on_server};
use crate::messages::{Block, Order, SMALL, Told};
use crate::server::{Role, Server};
use crate::workloads::ask::Asks;
use crate::workloads::one_way::{self, Tells};
use crate::workloads::{Run, Work};

pub(crate) struct Tarpc;

impl Candidate for Tarpc {
    fn name(&self) -> &'static str {
        "tarpc"
    }

    fn takes(&self, work: Work) -> bool {
        !matches!(work, Work::Publish(..) | Work::Queue(..))
    }

    fn serve(&self, role: &Role) -> Result<()> {
        on_server(async {
            let stream = sockets::accept(role).await?;
            let framed = LengthDelimitedCodec::builder().new_framed(stream);
            let transport = serde_transport::new(framed, Bincode::default());
            let config = server::Config {
                pending_response_buffer: IN_FLIGHT,
            };
            let calls = BaseChannel::new(config, transport).execute(Counter::default().serve());
            calls
                .for_each(async |call| {
                    tokio::spawn(call);
                })
                .await;
            Ok(())
        })
    }

    fn measure(&self, work: Work, run: &Run) -> Result<Vec<f64>> {
        let mut server = Server::start(self.name(), work.link(), work.service())?;
        let run = *run;
        on_client(move || async move {
            let stream = sockets::connect(&mut server).await?;
            let framed = LengthDelimitedCodec::builder().new_framed(stream);
            let transport = serde_transport::new(framed, Bincode::default());
            let mut config = client::Config::default();
            config.max_in_flight_requests = IN_FLIGHT;
            config.pending_request_buffer = IN_FLIGHT;
            let client = TargetClient::new(config, transport).spawn();
            match work {
                Work::OneWay(_, shape) => one_way::measure(Window::over(client), shape, run).await,
                _ => asks(client, work, run).await,
            }
        })
    }
}

/// More than the 1,000 that it allows by default, since 1,024 callers ask at a time.
const IN_FLIGHT: usize = 4_096;

#[tarpc::service]
trait Target {
    async fn echo(block: Block) -> Block;
    async fn tell(bytes: Bytes);
    async fn order(order: Order);
    async fn told() -> Told;
}

#[derive(Clone, Default)]
struct Counter(Arc<Mutex<Told>>);

impl Counter {
    fn change<T>(&self, change: impl FnOnce(&mut Told) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Target for Counter {
    async fn echo(self, _: context::Context, block: Block) -> Block {
        block
    }

    async fn tell(self, _: context::Context, bytes: Bytes) {
        self.change(|told| told.add_bytes(&bytes));
    }

    async fn order(self, _: context::Context, order: Order) {
        self.change(|told| told.add_order(&order));
    }

    async fn told(self, _: context::Context) -> Told {
        self.change(std::mem::take)
    }
}

impl Asks for TargetClient {
    async fn ask(&self, block: Block) -> Result<Block> {
        Ok(self.echo(context::current(), block).await?)
    }
}

/// Calls under way, no more than a window of them.
struct Window {
    client: TargetClient,
    calls: FuturesUnordered<BoxFuture<'static, std::result::Result<(), RpcError>>>,
}

impl Window {
    fn over(client: TargetClient) -> Self {
        Window {
            client,
            calls: FuturesUnordered::new(),
        }
    }

    async fn add(
        &mut self,
        length: usize,
        call: impl Future<Output = std::result::Result<(), RpcError>> + Send + 'static,
    ) -> Result<()> {
        let window = match length {
            ..=SMALL => 1_024,
            ..=65_536 => 64,
            _ => 8,
        };
        if self.calls.len() >= window
            && let Some(answer) = self.calls.next().await
        {
            answer?;
        }
        self.calls.push(Box::pin(call));
        Ok(())
    }
}

impl Tells for Window {
    async fn tell(&mut self, bytes: &Bytes) -> Result<()> {
        let (client, length, bytes) = (self.client.clone(), bytes.len(), bytes.clone());
        self.add(length, async move {
            client.tell(context::current(), bytes).await
        })
        .await
    }

    async fn tell_order(&mut self, order: Order) -> Result<()> {
        let client = self.client.clone();
        self.add(SMALL, async move {
            client.order(context::current(), order).await
        })
        .await
    }

    async fn told(&mut self, _: u64) -> Result<Told> {
        while let Some(answer) = self.calls.next().await {
            answer?;
        }
        Ok(self.client.told(context::current()).await?)
    }
}
