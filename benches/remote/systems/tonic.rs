//! gRPC: unary calls for asks, one stream of the client for all that is told. What `tonic-build` would write is written by
//! hand, so that nobody needs `protoc`.

use std::convert::Infallible;

use bytes::Bytes;
use common::run::Result;
use futures::future::BoxFuture;
use http::uri::PathAndQuery;
use serde_bytes::ByteArray;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming, client, server};
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::Candidate;
use super::sockets::LOOPBACK;
use super::tokio_client::{asks, on_client, on_server};
use crate::messages::{Block, Order, SMALL, Told};
use crate::server::{Role, Server, announce};
use crate::workloads::ask::Asks;
use crate::workloads::one_way::{self, Tells};
use crate::workloads::{Link, Run, Shape, Work};

pub(crate) struct Tonic;

impl Candidate for Tonic {
    fn name(&self) -> &'static str {
        "tonic"
    }

    fn takes(&self, work: Work) -> bool {
        work.link() == Link::Tcp
    }

    fn serve(&self, _: &Role) -> Result<()> {
        on_server(serve())
    }

    fn measure(&self, work: Work, run: &Run) -> Result<Vec<f64>> {
        let server = Server::start(self.name(), work.link(), work.service())?;
        let run = *run;
        on_client(move || async move {
            let endpoint = Endpoint::from_shared(format!("http://{}", server.address()))?
                .tcp_nodelay(true)
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW);
            let channel = endpoint.connect().await?;
            match work {
                Work::OneWay(_, Shape::Order) => {
                    let teller = Teller::over(channel, PLACE, PlacedOrder::from);
                    one_way::measure(Orders(teller), Shape::Order, run).await
                }
                Work::OneWay(_, shape) => {
                    let teller = Teller::over(channel, TELL, |data| Payload { data });
                    one_way::measure(Parcels(teller), shape, run).await
                }
                _ => asks(Client(channel), work, run).await,
            }
        })
    }
}

/// Of HTTP/2's flow control; what it has by default is too small for large messages.
const WINDOW: u32 = 4 * 1_024 * 1_024;
/// More than the 200 calls at a time it allows by default.
const CALLS: u32 = 4_096;

const ECHO: &str = "/bench.Target/Echo";
const TELL: &str = "/bench.Target/Tell";
const PLACE: &str = "/bench.Target/Place";

#[derive(Clone, PartialEq, prost::Message)]
struct Payload {
    #[prost(bytes = "bytes", tag = "1")]
    data: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PlacedOrder {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    customer: String,
    #[prost(uint32, repeated, tag = "3")]
    quantities: Vec<u32>,
    #[prost(string, tag = "4")]
    note: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Counted {
    #[prost(uint64, tag = "1")]
    messages: u64,
    #[prost(uint64, tag = "2")]
    sum: u64,
}

impl From<Order> for PlacedOrder {
    fn from(order: Order) -> Self {
        PlacedOrder {
            id: order.id,
            customer: order.customer,
            quantities: order.quantities,
            note: order.note,
        }
    }
}

async fn serve() -> Result<()> {
    let incoming = TcpIncoming::bind(LOOPBACK)?.with_nodelay(Some(true));
    announce(incoming.local_addr()?)?;
    tonic::transport::Server::builder()
        .max_concurrent_streams(CALLS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .serve_with_incoming(service_fn(handle), incoming)
        .await?;
    Ok(())
}

type Handled = BoxFuture<'static, std::result::Result<http::Response<Body>, Infallible>>;

fn handle(request: http::Request<Body>) -> Handled {
    Box::pin(async move {
        Ok(match request.uri().path() {
            ECHO => {
                let mut grpc = server::Grpc::new(ProstCodec::<Payload, Payload>::default());
                grpc.unary(service_fn(echo), request).await
            }
            TELL => {
                let mut grpc = server::Grpc::new(ProstCodec::<Counted, Payload>::default());
                let counting = service_fn(|stream: Request<Streaming<Payload>>| {
                    count(stream, |told, payload| told.add_bytes(&payload.data))
                });
                grpc.client_streaming(counting, request).await
            }
            PLACE => {
                let mut grpc = server::Grpc::new(ProstCodec::<Counted, PlacedOrder>::default());
                let counting = service_fn(|stream: Request<Streaming<PlacedOrder>>| {
                    count(stream, |told, order| told.add(order.id))
                });
                grpc.client_streaming(counting, request).await
            }
            path => Status::unimplemented(path.to_owned()).into_http(),
        })
    })
}

async fn echo(request: Request<Payload>) -> std::result::Result<Response<Payload>, Status> {
    Ok(Response::new(request.into_inner()))
}

async fn count<M>(
    request: Request<Streaming<M>>,
    add: impl Fn(&mut Told, M) + Send,
) -> std::result::Result<Response<Counted>, Status> {
    let mut stream = request.into_inner();
    let mut told = Told::default();
    while let Some(message) = stream.message().await? {
        add(&mut told, message);
    }
    let Told { messages, sum } = told;
    Ok(Response::new(Counted { messages, sum }))
}

#[derive(Clone)]
struct Client(Channel);

impl Asks for Client {
    async fn ask(&self, block: Block) -> Result<Block> {
        let data = Bytes::copy_from_slice(&block[..]);
        let mut grpc = client::Grpc::new(self.0.clone());
        grpc.ready().await?;
        let codec = ProstCodec::<Payload, Payload>::default();
        let path = PathAndQuery::from_static(ECHO);
        let answer = grpc.unary(Request::new(Payload { data }), path, codec);
        let mut block = [0; SMALL];
        let data = answer.await?.into_inner().data;
        block.copy_from_slice(data.get(..SMALL).ok_or("the answer is short")?);
        Ok(ByteArray::new(block))
    }
}

/// A call that lasts from the first message to the count of them.
struct Teller<T, M> {
    channel: Channel,
    path: &'static str,
    message: fn(T) -> M,
    call: Option<Call<M>>,
}

struct Call<M> {
    messages: mpsc::Sender<M>,
    answer: JoinHandle<Result<Told>>,
}

/// Messages between the caller and the connection.
const BUFFER: usize = 1_024;

impl<T, M: prost::Message + Default + Send + Sync + 'static> Teller<T, M> {
    fn over(channel: Channel, path: &'static str, message: fn(T) -> M) -> Self {
        Teller {
            channel,
            path,
            message,
            call: None,
        }
    }

    async fn tell(&mut self, value: T) -> Result<()> {
        let (channel, path) = (&self.channel, self.path);
        let call = self.call.get_or_insert_with(|| begin(channel, path));
        let sent = call.messages.send((self.message)(value)).await;
        sent.map_err(|_| "the call has ended".into())
    }

    async fn told(&mut self) -> Result<Told> {
        let call = self.call.take().ok_or("nothing was told")?;
        drop(call.messages);
        call.answer.await?
    }
}

fn begin<M>(channel: &Channel, path: &'static str) -> Call<M>
where
    M: prost::Message + Default + Send + Sync + 'static,
{
    let (messages, mut waiting) = mpsc::channel(BUFFER);
    let stream = futures::stream::poll_fn(move |cx| waiting.poll_recv(cx));
    let mut grpc = client::Grpc::new(channel.clone());
    let answer = tokio::spawn(async move {
        grpc.ready().await?;
        let codec = ProstCodec::<M, Counted>::default();
        let path = PathAndQuery::from_static(path);
        let counted = grpc.client_streaming(Request::new(stream), path, codec);
        let Counted { messages, sum } = counted.await?.into_inner();
        Ok(Told { messages, sum })
    });
    Call { messages, answer }
}

struct Parcels(Teller<Bytes, Payload>);

impl Tells for Parcels {
    async fn tell(&mut self, bytes: &Bytes) -> Result<()> {
        self.0.tell(bytes.clone()).await
    }

    async fn told(&mut self, _: u64) -> Result<Told> {
        self.0.told().await
    }
}

struct Orders(Teller<Order, PlacedOrder>);

impl Tells for Orders {
    async fn tell(&mut self, _: &Bytes) -> Result<()> {
        Err("this one takes orders".into())
    }

    async fn tell_order(&mut self, order: Order) -> Result<()> {
        self.0.tell(order).await
    }

    async fn told(&mut self, _: u64) -> Result<Told> {
        self.0.told().await
    }
}
