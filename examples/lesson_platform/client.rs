//! A small HTTP/1.1 client for the drill: one connection, kept alive, one request at a time.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// No page is larger; a response that says so is refused.
const LARGEST_BODY: usize = 8 * 1024 * 1024;
const LARGEST_HEAD: u64 = 64 * 1024;

/// A client of one server.
#[derive(Debug)]
pub(crate) struct Client {
    server: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

/// A response, read whole.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// A header by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    pub(crate) fn new(server: SocketAddr) -> Self {
        Client {
            server,
            connection: None,
        }
    }

    pub(crate) async fn get(&mut self, path: &str) -> io::Result<Response> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.server);
        self.exchange(&request).await
    }

    /// Posts a form with a request key.
    pub(crate) async fn post(&mut self, path: &str, key: &str, form: &str) -> io::Result<Response> {
        let request = self.form(path, key, form);
        self.exchange(&request).await
    }

    /// Posts a form, waits until `moment`, and hangs up without having read the answer.
    pub(crate) async fn post_and_hang_up(
        mut self,
        path: &str,
        key: &str,
        form: &str,
        moment: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let request = self.form(path, key, form);
        let stream = self.connected().await?;
        stream.get_mut().write_all(request.as_bytes()).await?;
        moment.await;
        Ok(())
    }

    fn form(&self, path: &str, key: &str, form: &str) -> String {
        format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\nidempotency-key: {key}\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
            self.server,
            form.len(),
        )
    }

    async fn exchange(&mut self, request: &str) -> io::Result<Response> {
        let stream = self.connected().await?;
        let answered = async {
            stream.get_mut().write_all(request.as_bytes()).await?;
            read_response(stream).await
        };
        let answered = answered.await;
        let closes = match &answered {
            Ok(response) => response.header("connection") == Some("close"),
            Err(_) => true,
        };
        if closes {
            self.connection = None;
        }
        answered
    }

    async fn connected(&mut self) -> io::Result<&mut BufReader<TcpStream>> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let stream = TcpStream::connect(self.server).await?;
                stream.set_nodelay(true)?;
                BufReader::new(stream)
            }
        };
        Ok(self.connection.insert(connection))
    }
}

async fn read_response(stream: &mut BufReader<TcpStream>) -> io::Result<Response> {
    let mut head = stream.take(LARGEST_HEAD);
    let status_line = read_line(&mut head).await?;
    let status = status_line
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| bad(format!("no HTTP response: {status_line}")))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(&mut head).await?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| bad(format!("no header: {line}")))?;
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let mut response = Response {
        status,
        headers,
        body: Vec::new(),
    };
    let length = response
        .header("content-length")
        .and_then(|length| length.parse().ok())
        .filter(|length| *length <= LARGEST_BODY)
        .ok_or_else(|| bad("a body without a sensible length".to_owned()))?;
    response.body.resize(length, 0);
    stream.read_exact(&mut response.body).await?;
    Ok(response)
}

async fn read_line(stream: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn bad(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
