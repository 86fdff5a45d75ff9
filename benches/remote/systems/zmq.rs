//! ZeroMQ (libzmq): a pair of dealers, one loop on either side. It has no calls: what is in flight is what the loop has
//! sent and not got back, without a task for each.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use common::run::Result;
use common::stopwatch::Stopwatch;
use serde_bytes::ByteArray;
use zmq::{Context, Message, Socket};

use super::Candidate;
use super::tokio_client::{asks, on_client};
use crate::messages::{Block, SMALL, Told, block};
use crate::server::{Role, Server, announce};
use crate::workloads::ask::{Asks, thousands};
use crate::workloads::one_way::{self, Tells};
use crate::workloads::{Link, Rounds, Run, Service, Shape, Work};

pub(crate) struct ZeroMq;

impl Candidate for ZeroMq {
    fn name(&self) -> &'static str {
        "ZeroMQ"
    }

    fn takes(&self, work: Work) -> bool {
        let has = match work {
            Work::Sequence(_) | Work::InFlight(..) | Work::Allocations(_) => true,
            Work::OneWay(_, shape) => shape != Shape::Order,
            Work::Publish(..) | Work::Queue(..) => false,
        };
        matches!(work.link(), Link::Tcp | Link::Unix) && has
    }

    fn serve(&self, role: &Role) -> Result<()> {
        let context = Context::new();
        let socket = context.socket(zmq::DEALER)?;
        let address = match role.link {
            Link::Unix => format!("ipc://{}", role.socket().display()),
            _ => "tcp://127.0.0.1:*".to_owned(),
        };
        socket.bind(&address)?;
        let bound = socket.get_last_endpoint()?.map_err(|_| "no address")?;
        announce(bound)?;
        let mut message = Message::new();
        let mut told = Told::default();
        loop {
            socket.recv(&mut message, 0)?;
            match role.service {
                Service::Sink if message.is_empty() => {
                    socket.send(&told.to_bytes()[..], 0)?;
                    told = Told::default();
                }
                Service::Sink => told.add_bytes(&message),
                _ => {
                    let echo = std::mem::replace(&mut message, Message::new());
                    socket.send(echo, 0)?;
                }
            }
        }
    }

    fn measure(&self, work: Work, run: &Run) -> Result<Vec<f64>> {
        let server = Server::start(self.name(), work.link(), work.service())?;
        let run = *run;
        on_client(move || async move {
            let socket = Context::new().socket(zmq::DEALER)?;
            // What is yet to be sent when a run ends is for nobody.
            socket.set_linger(0)?;
            socket.connect(server.address())?;
            match work {
                Work::InFlight(_, asks) => {
                    let answer = Message::new();
                    let mut asking = InFlight {
                        socket,
                        asks,
                        answer,
                    };
                    let (count, took) = run.rounds(asks * 4, &mut asking).await?;
                    Ok(vec![thousands(count, took)])
                }
                Work::OneWay(_, shape) => one_way::measure(Teller(socket), shape, run).await,
                _ => asks(Client(Arc::new(Mutex::new(socket))), work, run).await,
            }
        })
    }
}

/// Nobody else runs on its thread, so it may block there.
#[derive(Clone)]
struct Client(Arc<Mutex<Socket>>);

impl Asks for Client {
    async fn ask(&self, block: Block) -> Result<Block> {
        let socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        socket.send(&block[..], 0)?;
        let mut answer = [0; SMALL];
        socket.recv_into(&mut answer, 0)?;
        Ok(ByteArray::new(answer))
    }
}

/// One loop that keeps so many asks under way. Answers come in the order of asks.
struct InFlight {
    socket: Socket,
    asks: u64,
    answer: Message,
}

impl Rounds for InFlight {
    async fn round(&mut self, count: u64) -> Result<Duration> {
        let begin = Stopwatch::start();
        for number in 0..self.asks {
            self.socket.send(&block(number)[..], 0)?;
        }
        for number in 0..count {
            self.socket.recv(&mut self.answer, 0)?;
            if self.answer[..] != block(number)[..] {
                return Err("the answer is another's".into());
            }
            if number + self.asks < count {
                self.socket.send(&block(number + self.asks)[..], 0)?;
            }
        }
        Ok(begin.elapsed())
    }
}

/// A send waits when a thousand messages are on their way, as ZeroMQ has it by default.
struct Teller(Socket);

impl Tells for Teller {
    async fn tell(&mut self, bytes: &Bytes) -> Result<()> {
        Ok(self.0.send(&bytes[..], 0)?)
    }

    async fn told(&mut self, _: u64) -> Result<Told> {
        self.0.send(&[][..], 0)?;
        let answer = self.0.recv_bytes(0)?;
        Told::from_bytes(&answer).ok_or_else(|| "that is no count".into())
    }
}
