//! NATS JetStream: a work-queue stream in files with a pull consumer, over loopback.
//!
//! By default its answer to a publish doesn't wait for a sync: it syncs every two minutes. Newer servers can be
//! told to sync before each answer; that one is measured where the installed server takes the setting.

use std::fs;
use std::io::Write;
use std::net::TcpStream;

use common::run::Result;
use common::server::{self, Server};
use serde_json::Value;

use super::Candidate;
use crate::item::{Item, LENGTH};
use crate::workloads::remote::{self, Connection, Remote};
use crate::workloads::{BATCH, Run, Work};
use common::folder::Folder;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JetStream {
    /// As it comes.
    Unsynced,
    /// Synced before each answer.
    Synced,
}

pub(super) const PROGRAM: &str = "nats-server";

impl Candidate for JetStream {
    fn name(&self) -> &'static str {
        match self {
            JetStream::Unsynced => "JetStream (no sync)",
            JetStream::Synced => "JetStream (always)",
        }
    }

    fn takes(&self, work: Work) -> bool {
        matches!(work, Work::DurableOffer { .. } | Work::DurableTake)
    }

    fn missing(&self) -> Option<String> {
        let missing = server::missing(PROGRAM);
        missing.or_else(|| {
            let takes_it = *self == JetStream::Unsynced || accepts(&self.config());
            (!takes_it).then(|| "the installed server has no `sync_interval: always`".to_owned())
        })
    }

    fn syncs(&self) -> bool {
        *self == JetStream::Synced
    }

    fn measure(&self, work: Work, run: &Run) -> Result<Vec<f64>> {
        let folder = Folder::new(&run.folder)?;
        let (_server, stream) = start(&folder, &self.config())?;
        let queue = Queue::open(stream)?;
        match work {
            Work::DurableOffer { producers } => remote::offer(queue, producers, run),
            Work::DurableTake => remote::take(queue, run),
            _ => Err("JetStream doesn't do that here".into()),
        }
    }
}

impl JetStream {
    fn config(self) -> String {
        let sync = match self {
            JetStream::Unsynced => "",
            JetStream::Synced => "sync_interval: always",
        };
        // It chooses a free port, and writes it into a file.
        format!(
            "host: \"127.0.0.1\"\nport: -1\nports_file_dir: \".\"\njetstream {{ store_dir: store\n{sync} }}\n"
        )
    }
}

const CONFIG: &str = "config";

/// Whether the installed server understands a configuration.
fn accepts(config: &str) -> bool {
    let try_it = || -> Result<bool> {
        let folder = Folder::new(&std::env::temp_dir())?;
        fs::write(folder.path().join(CONFIG), config)?;
        server::succeeds(PROGRAM, ["--config", CONFIG, "-t"], folder.path())
    };
    try_it().unwrap_or(false)
}

fn start(folder: &Folder, config: &str) -> Result<(Server, TcpStream)> {
    fs::write(folder.path().join(CONFIG), config)?;
    let args = ["--config", CONFIG];
    let mut server = Server::start(PROGRAM, args, folder.path())?;
    let stream = server.wait_for(|| {
        let entries = fs::read_dir(folder.path()).ok()?;
        let file = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|end| end == "ports"))?;
        let ports: Value = serde_json::from_str(&fs::read_to_string(file).ok()?).ok()?;
        let address = ports["nats"][0].as_str()?.trim_start_matches("nats://");
        TcpStream::connect(address).ok()
    })?;
    stream.set_nodelay(true)?;
    Ok((server, stream))
}

struct Queue {
    connection: Connection<TcpStream>,
    /// Where each item of the batch in hand is acknowledged.
    leased: Vec<String>,
}

/// Where answers come in.
const ANSWERS: &str = "_INBOX.bench";

impl Queue {
    fn open(stream: TcpStream) -> Result<Self> {
        let connection = Connection::over(stream, TcpStream::set_read_timeout)?;
        let mut queue = Queue {
            connection,
            leased: Vec::new(),
        };
        let hello = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}";
        let subscribe = format!("SUB {ANSWERS} 1");
        for line in [hello, &subscribe] {
            queue.connection.out.extend_from_slice(line.as_bytes());
            queue.connection.out.extend_from_slice(b"\r\n");
        }
        queue.call(
            "$JS.API.STREAM.CREATE.Q",
            r#"{"name":"Q","subjects":["q"],"storage":"file","retention":"workqueue","num_replicas":1}"#,
        )?;
        queue.call(
            "$JS.API.CONSUMER.DURABLE.CREATE.Q.C",
            r#"{"stream_name":"Q","config":{"durable_name":"C","ack_policy":"explicit"}}"#,
        )?;
        Ok(queue)
    }

    /// Adds a message to what is sent next, and whether its answer is wanted.
    fn add(&mut self, subject: &str, answer: bool, body: &[u8]) {
        let out = &mut self.connection.out;
        let reply = if answer { ANSWERS } else { "" };
        // Writing to a vector can't fail.
        let _ = write!(out, "PUB {subject} {reply} {}\r\n", body.len());
        out.extend_from_slice(body);
        out.extend_from_slice(b"\r\n");
    }

    /// Asks the server's interface.
    fn call(&mut self, subject: &str, body: &str) -> Result<Value> {
        self.add(subject, true, body.as_bytes());
        self.send()?;
        let answer = self.message()?;
        let answer: Value = serde_json::from_slice(&answer.body)?;
        match answer.get("error") {
            Some(error) => Err(format!("JetStream says {error}").into()),
            None => Ok(answer),
        }
    }

    /// The next message for this side, after what isn't one.
    fn message(&mut self) -> Result<Message> {
        loop {
            if let Some(message) = self.connection.next(parse)? {
                return Ok(message);
            }
        }
    }

    /// Adds the acknowledgement of the batch in hand, of which only the last is answered: the server handles
    /// them in order.
    fn add_acknowledgement(&mut self) -> bool {
        let leased = std::mem::take(&mut self.leased);
        let last = leased.len().saturating_sub(1);
        for (at, subject) in leased.iter().enumerate() {
            self.add(subject, at == last, b"+ACK");
        }
        !leased.is_empty()
    }
}

impl Remote for Queue {
    fn offer(&mut self, item: &Item) {
        self.add("q", true, &item.0);
    }

    fn send(&mut self) -> Result<()> {
        self.connection.send()
    }

    fn answers(&mut self) -> Result<usize> {
        accepted(&self.message()?)?;
        let mut count = 1;
        while let Some(other) = self.connection.next_here(parse)? {
            if let Some(message) = other {
                accepted(&message)?;
                count += 1;
            }
        }
        Ok(count)
    }

    fn take(&mut self, items: &mut Vec<Item>) -> Result<()> {
        let mut confirmed = !self.add_acknowledgement();
        let next = format!("{{\"batch\":{BATCH},\"expires\":10000000000}}");
        self.add("$JS.API.CONSUMER.MSG.NEXT.Q.C", true, next.as_bytes());
        self.send()?;
        while items.len() < BATCH || !confirmed {
            let message = self.message()?;
            match message.reply {
                Some(subject) if message.body.len() == LENGTH => {
                    items.push(Item::from_bytes(&message.body).ok_or("a short body")?);
                    self.leased.push(subject);
                }
                _ if message.body.is_empty() && !confirmed => confirmed = true,
                _ => return Err(format!("an unexpected message: {message:?}").into()),
            }
        }
        Ok(())
    }

    fn acknowledge(&mut self) -> Result<()> {
        let confirmed = !self.add_acknowledgement();
        self.send()?;
        if !confirmed {
            self.message()?;
        }
        Ok(())
    }

    fn stored(&mut self) -> Result<u64> {
        let info = self.call("$JS.API.STREAM.INFO.Q", "")?;
        let count = info["state"]["messages"].as_u64();
        Ok(count.ok_or("a stream without a count")?)
    }
}

fn accepted(answer: &Message) -> Result<()> {
    let body = std::str::from_utf8(&answer.body)?;
    if !body.contains("\"seq\":") {
        return Err(format!("JetStream says {body}").into());
    }
    Ok(())
}

#[derive(Debug)]
struct Message {
    reply: Option<String>,
    body: Vec<u8>,
}

/// One line of the protocol, with its message if it has one.
fn parse(input: &[u8]) -> Result<Option<(Option<Message>, usize)>> {
    let Some(end) = input.windows(2).position(|two| two == b"\r\n") else {
        return Ok(None);
    };
    let line = std::str::from_utf8(&input[..end])?;
    let after = end + 2;
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        // Subject, subscription, where to reply if anywhere, length.
        ["MSG", _, _, ref rest @ ..] => {
            let (reply, length) = match rest {
                [length] => (None, length),
                [reply, length] => (Some((*reply).to_owned()), length),
                _ => return Err(format!("a wrong line: {line}").into()),
            };
            let length: usize = length.parse()?;
            let Some(body) = input.get(after..after + length) else {
                return Ok(None);
            };
            if input.len() < after + length + 2 {
                return Ok(None);
            }
            let body = body.to_vec();
            Ok(Some((Some(Message { reply, body }), after + length + 2)))
        }
        ["INFO" | "PONG" | "+OK", ..] => Ok(Some((None, after))),
        // Neither pings (every two minutes) nor headers nor errors come up in a run.
        _ => Err(format!("NATS says {line}").into()),
    }
}
