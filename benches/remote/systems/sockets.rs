//! Byte streams between the two processes, for systems that take any.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;

use common::run::Result;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::process::{ChildStdin, ChildStdout};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::certificates;
use crate::server::{Role, Server, announce};
use crate::workloads::Link;

/// A byte stream in both directions.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// The client's end.
pub(super) async fn connect(server: &mut Server) -> Result<Box<dyn Stream>> {
    Ok(match server.role().link {
        Link::Tcp => {
            let stream = TcpStream::connect(server.address()).await?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
        Link::Tls => {
            let (config, address) = certificates::client(server)?;
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(certificates::NAME)?;
            let connector = TlsConnector::from(Arc::new(config));
            Box::new(connector.connect(name, stream).await?)
        }
        Link::Unix => Box::new(UnixStream::connect(server.address()).await?),
        Link::Pipe => {
            let (input, output) = server.pipes()?;
            let (input, output) = (ChildStdin::from_std(input)?, ChildStdout::from_std(output)?);
            Box::new(tokio::io::join(output, input))
        }
    })
}

/// The server's end. Announces itself.
pub(super) async fn accept(role: &Role) -> Result<Box<dyn Stream>> {
    Ok(match role.link {
        Link::Tcp => {
            let listener = TcpListener::bind(LOOPBACK).await?;
            announce(listener.local_addr()?)?;
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
        Link::Tls => {
            let (config, certificate) = certificates::server()?;
            let listener = TcpListener::bind(LOOPBACK).await?;
            announce(format!("{} {certificate}", listener.local_addr()?))?;
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let acceptor = TlsAcceptor::from(Arc::new(config));
            Box::new(acceptor.accept(stream).await?)
        }
        Link::Unix => {
            let path = role.socket();
            let listener = UnixListener::bind(&path)?;
            announce(path.display())?;
            Box::new(listener.accept().await?.0)
        }
        Link::Pipe => {
            let input = io::stdin().as_fd().try_clone_to_owned()?;
            let output = io::stdout().as_fd().try_clone_to_owned()?;
            let input = pipe::Receiver::from_owned_fd(input)?;
            let output = pipe::Sender::from_owned_fd(output)?;
            Box::new(tokio::io::join(input, output))
        }
    })
}

/// A port that the system picks.
pub(super) const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
