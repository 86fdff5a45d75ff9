//! QUIC: a stream of its own for each ask; one stream for all that is told, written in chunks.

use std::sync::Arc;

use common::run::Result;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, Endpoint, RecvStream, SendStream, ServerConfig, TransportConfig,
};
use serde_bytes::ByteArray;

use super::sockets::LOOPBACK;
use super::tokio_client::{asks, on_client, on_server};
use super::{Candidate, certificates, raw};
use crate::messages::{Block, SMALL};
use crate::server::{Role, Server, announce};
use crate::workloads::ask::Asks;
use crate::workloads::one_way;
use crate::workloads::{Link, Run, Service, Shape, Work};

pub(crate) struct Quinn;

impl Candidate for Quinn {
    fn name(&self) -> &'static str {
        "quinn"
    }

    fn takes(&self, work: Work) -> bool {
        let decodes = matches!(work, Work::OneWay(_, Shape::Order));
        matches!(work.link(), Link::Tcp | Link::Tls) && !decodes
    }

    fn serve(&self, role: &Role) -> Result<()> {
        on_server(serve(role.service))
    }

    fn measure(&self, work: Work, run: &Run) -> Result<Vec<f64>> {
        let server = Server::start(self.name(), work.link(), work.service())?;
        let run = *run;
        on_client(move || async move {
            let connection = connect(&server).await?;
            match work {
                Work::OneWay(_, shape) => {
                    let (send, receive) = connection.open_bi().await?;
                    let stream = Box::new(tokio::io::join(receive, send));
                    one_way::measure(raw::Teller::over(stream), shape, run).await
                }
                _ => asks(Client(connection), work, run).await,
            }
        })
    }
}

/// More than the 100 streams it allows by default, since 1,024 ask at a time.
fn transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(4_096_u32.into());
    Arc::new(transport)
}

async fn serve(service: Service) -> Result<()> {
    let (tls, certificate) = certificates::server()?;
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(transport());
    let endpoint = Endpoint::server(config, LOOPBACK)?;
    announce(format!("{} {certificate}", endpoint.local_addr()?))?;

    let connection = endpoint.accept().await.ok_or("the endpoint is closed")?;
    let connection = connection.await?;
    // An error means that the client is gone.
    while let Ok((send, receive)) = connection.accept_bi().await {
        tokio::spawn(answer(service, send, receive));
    }
    Ok(())
}

async fn answer(service: Service, mut send: SendStream, mut receive: RecvStream) -> Result<()> {
    if service == Service::Sink {
        return raw::sink(Box::new(tokio::io::join(receive, send))).await;
    }
    let asked = receive.read_to_end(2 * SMALL).await?;
    send.write_all(&asked).await?;
    send.finish()?;
    Ok(())
}

async fn connect(server: &Server) -> Result<Connection> {
    let (tls, address) = certificates::client(server)?;
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(transport());
    let mut endpoint = Endpoint::client(LOOPBACK)?;
    endpoint.set_default_client_config(config);
    Ok(endpoint
        .connect(address.parse()?, certificates::NAME)?
        .await?)
}

#[derive(Clone)]
struct Client(Connection);

impl Asks for Client {
    async fn ask(&self, block: Block) -> Result<Block> {
        let (mut send, mut receive) = self.0.open_bi().await?;
        send.write_all(&block[..]).await?;
        send.finish()?;
        let mut answer = [0; SMALL];
        receive.read_exact(&mut answer).await?;
        Ok(ByteArray::new(answer))
    }
}
