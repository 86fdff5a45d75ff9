//! NATS core: both processes are clients of a broker, over loopback. Requests for asks, publishes for what is told.

use std::fs;

use async_nats::{Client, ConnectOptions, Subscriber};
use bytes::Bytes;
use common::folder::Folder;
use common::run::Result;
use common::server::{self as programs, Server as Broker};
use futures::StreamExt;
use serde_bytes::ByteArray;
use serde_json::Value;

use super::Candidate;
use super::tokio_client::{asks, on_client, on_server};
use crate::messages::{self, Block, SMALL, Told};
use crate::server::{Role, Server, announce};
use crate::workloads::ask::Asks;
use crate::workloads::one_way::{self, Tells};
use crate::workloads::publish::{self, SUBSCRIBERS, Subscribers};
use crate::workloads::{Connections, Link, Run, Service, Shape, Work};

pub(crate) struct Nats;

pub(super) const PROGRAM: &str = "nats-server";

impl Candidate for Nats {
    fn name(&self) -> &'static str {
        "NATS core"
    }

    fn takes(&self, work: Work) -> bool {
        match work {
            Work::Publish(..) => true,
            Work::OneWay(_, Shape::Order) => false,
            _ => work.link() == Link::Tcp,
        }
    }

    fn missing(&self) -> Option<String> {
        programs::missing(PROGRAM)
    }

    fn serve(&self, role: &Role) -> Result<()> {
        on_server(serve(&role.shared, role.service))
    }

    fn measure(&self, work: Work, run: &Run) -> Result<Vec<f64>> {
        let folder = Folder::new(&std::env::temp_dir())?;
        let (_broker, address) = start(&folder)?;
        let _server = Server::sharing(&address, self.name(), work.link(), work.service())?;
        let run = *run;
        on_client(move || async move {
            let client = connect(&address).await?;
            match work {
                Work::Publish(_, connections) => {
                    let readers = Readers::connect(client, &address, connections).await?;
                    publish::measure(readers, run).await
                }
                Work::OneWay(_, shape) => one_way::measure(Teller(client), shape, run).await,
                _ => asks(Asker(client), work, run).await,
            }
        })
    }
}

/// The broker picks a free port, and writes it into a file.
fn start(folder: &Folder) -> Result<(Broker, String)> {
    const CONFIG: &str = "config";
    let config = "host: \"127.0.0.1\"\nport: -1\nports_file_dir: \".\"\n";
    fs::write(folder.path().join(CONFIG), config)?;
    let mut broker = Broker::start(PROGRAM, ["--config", CONFIG], folder.path())?;
    let address = broker.wait_for(|| {
        let entries = fs::read_dir(folder.path()).ok()?;
        let file = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|end| end == "ports"))?;
        let ports: Value = serde_json::from_str(&fs::read_to_string(file).ok()?).ok()?;
        Some(ports["nats"][0].as_str()?.to_owned())
    })?;
    Ok((broker, address))
}

const SUBJECT: &str = "bench.target";
/// What is published to.
const ITEMS: &str = "bench.items";

async fn connect(address: &str) -> Result<Client> {
    Ok(ConnectOptions::new().connect(address).await?)
}

async fn serve(broker: &str, service: Service) -> Result<()> {
    let client = connect(broker).await?;
    let mut requests = client.subscribe(SUBJECT).await?;
    // The broker has the subscription when it answers this.
    client.flush().await?;
    announce(SUBJECT)?;
    let mut told = Told::default();
    let item = messages::bytes(SMALL);
    while let Some(message) = requests.next().await {
        let answer = match (service, &message.reply) {
            (Service::Topic, _) => {
                let count = Told::from_bytes(&message.payload).ok_or("that is no count")?;
                for _ in 0..count.messages {
                    client.publish(ITEMS, item.clone()).await?;
                }
                Bytes::new()
            }
            (Service::Sink, None) => {
                told.add_bytes(&message.payload);
                continue;
            }
            (Service::Sink, Some(_)) => {
                let told = std::mem::take(&mut told);
                Bytes::copy_from_slice(&told.to_bytes())
            }
            _ => message.payload,
        };
        if let Some(reply) = message.reply {
            client.publish(reply, answer).await?;
        }
    }
    Ok(())
}

#[derive(Clone)]
struct Asker(Client);

impl Asks for Asker {
    async fn ask(&self, block: Block) -> Result<Block> {
        let asked = Bytes::copy_from_slice(&block[..]);
        let answer = self.0.request(SUBJECT, asked).await?.payload;
        let mut block = [0; SMALL];
        block.copy_from_slice(answer.get(..SMALL).ok_or("the answer is short")?);
        Ok(ByteArray::new(block))
    }
}

struct Teller(Client);

impl Tells for Teller {
    async fn tell(&mut self, bytes: &Bytes) -> Result<()> {
        Ok(self.0.publish(SUBJECT, bytes.clone()).await?)
    }

    async fn told(&mut self, _: u64) -> Result<Told> {
        let answer = self.0.request(SUBJECT, Bytes::new()).await?.payload;
        Told::from_bytes(&answer).ok_or_else(|| "that is no count".into())
    }

    /// A subscriber that is behind by more than 65,536 messages loses some, and the broker cuts one off that is behind by
    /// too many bytes.
    fn burst(&self, length: usize) -> Option<u64> {
        Some((24 * 1_024 * 1_024 / length as u64).min(50_000))
    }
}

/// Subscribers, over one connection or one each.
struct Readers {
    publisher: Client,
    subscribers: Vec<Subscriber>,
}

impl Readers {
    async fn connect(publisher: Client, address: &str, connections: Connections) -> Result<Self> {
        let mut subscribers = Vec::new();
        for _ in 0..SUBSCRIBERS {
            let client = match connections {
                Connections::One => publisher.clone(),
                Connections::Each => connect(address).await?,
            };
            subscribers.push(client.subscribe(ITEMS).await?);
            client.flush().await?;
        }
        Ok(Readers {
            publisher,
            subscribers,
        })
    }
}

impl Subscribers for Readers {
    async fn publish(&mut self, messages: u64) -> Result<()> {
        let wanted = Told { messages, sum: 0 };
        let wanted = Bytes::copy_from_slice(&wanted.to_bytes());
        self.publisher.request(SUBJECT, wanted).await?;
        Ok(())
    }

    async fn read(&mut self, subscriber: usize, count: u64) -> Result<()> {
        let subscriber = self.subscribers.get_mut(subscriber).ok_or("no such one")?;
        for _ in 0..count {
            let message = subscriber.next().await.ok_or("the broker has ended")?;
            if message.payload.len() != SMALL {
                return Err("that is something else".into());
            }
        }
        Ok(())
    }
}
