//! Redis: a stream with a consumer group, the append-only file synced before each answer, over a Unix socket.

use std::io::Write;
use std::os::unix::net::UnixStream;

use common::run::Result;
use common::server::{self, Server};

use super::Candidate;
use crate::item::Item;
use crate::workloads::remote::{self, Connection, Remote};
use crate::workloads::{BATCH, Run, Work};
use common::folder::Folder;

pub(crate) struct Redis;

pub(super) const PROGRAM: &str = "redis-server";

impl Candidate for Redis {
    fn name(&self) -> &'static str {
        "Redis (always)"
    }

    fn takes(&self, work: Work) -> bool {
        matches!(work, Work::DurableOffer { .. } | Work::DurableTake)
    }

    fn missing(&self) -> Option<String> {
        server::missing(PROGRAM)
    }

    fn measure(&self, work: Work, run: &Run) -> Result<Vec<f64>> {
        let folder = Folder::new(&run.folder)?;
        let (_server, stream) = start(&folder)?;
        let queue = Queue::open(stream)?;
        match work {
            Work::DurableOffer { producers } => remote::offer(queue, producers, run),
            Work::DurableTake => remote::take(queue, run),
            _ => Err("Redis doesn't do that here".into()),
        }
    }
}

fn start(folder: &Folder) -> Result<(Server, UnixStream)> {
    // A short name beside the folder of the process: the path of a socket has about 100 bytes.
    let args = [
        ["--port", "0"],
        ["--unixsocket", "socket"],
        ["--appendonly", "yes"],
        ["--appendfsync", "always"],
        ["--save", ""],
    ];
    let mut server = Server::start(PROGRAM, args.as_flattened(), folder.path())?;
    let socket = folder.path().join("socket");
    let stream = server.wait_for(|| UnixStream::connect(&socket).ok())?;
    Ok((server, stream))
}

struct Queue {
    connection: Connection<UnixStream>,
    /// The identifiers of the batch in hand.
    leased: Vec<Vec<u8>>,
}

impl Queue {
    fn open(stream: UnixStream) -> Result<Self> {
        let connection = Connection::over(stream, UnixStream::set_read_timeout)?;
        let mut queue = Queue {
            connection,
            leased: Vec::new(),
        };
        queue.add(&[b"XGROUP", b"CREATE", b"q", b"g", b"0", b"MKSTREAM"]);
        queue.send()?;
        queue.reply()?;
        Ok(queue)
    }

    /// Adds a command to what is sent next.
    fn add(&mut self, words: &[&[u8]]) {
        let out = &mut self.connection.out;
        // Writing to a vector can't fail.
        let _ = write!(out, "*{}\r\n", words.len());
        for word in words {
            let _ = write!(out, "${}\r\n", word.len());
            out.extend_from_slice(word);
            out.extend_from_slice(b"\r\n");
        }
    }

    fn reply(&mut self) -> Result<Value> {
        refuse_error(self.connection.next(parse)?)
    }

    /// Adds the end of the batch in hand: acknowledged, and out of the stream. Answers how many replies come.
    fn add_acknowledgement(&mut self) -> usize {
        if self.leased.is_empty() {
            return 0;
        }
        let leased = std::mem::take(&mut self.leased);
        let ids = || leased.iter().map(Vec::as_slice);
        let acknowledge: [&[u8]; 3] = [b"XACK", b"q", b"g"];
        let remove: [&[u8]; 2] = [b"XDEL", b"q"];
        self.add(&acknowledge.into_iter().chain(ids()).collect::<Vec<_>>());
        self.add(&remove.into_iter().chain(ids()).collect::<Vec<_>>());
        2
    }
}

impl Remote for Queue {
    fn offer(&mut self, item: &Item) {
        self.add(&[b"XADD", b"q", b"*", b"i", &item.0]);
    }

    fn send(&mut self) -> Result<()> {
        self.connection.send()
    }

    fn answers(&mut self) -> Result<usize> {
        self.reply()?;
        let mut count = 1;
        while let Some(reply) = self.connection.next_here(parse)? {
            refuse_error(reply)?;
            count += 1;
        }
        Ok(count)
    }

    fn take(&mut self, items: &mut Vec<Item>) -> Result<()> {
        let before = self.add_acknowledgement();
        let most = BATCH.to_string();
        self.add(&[
            b"XREADGROUP",
            b"GROUP",
            b"g",
            b"c",
            b"COUNT",
            most.as_bytes(),
            b"STREAMS",
            b"q",
            b">",
        ]);
        self.send()?;
        for _ in 0..before {
            self.reply()?;
        }
        // One stream of its name and entries; an entry is its identifier with names and values.
        let streams = self.reply()?.array()?;
        let stream = streams.into_iter().next().ok_or("no stream")?;
        let entries = stream.array()?.into_iter().nth(1).ok_or("no entries")?;
        for entry in entries.array()? {
            let mut parts = entry.array()?.into_iter();
            let (id, fields) = parts.next().zip(parts.next()).ok_or("a short entry")?;
            let value = fields.array()?.into_iter().nth(1).ok_or("no value")?;
            items.push(Item::from_bytes(&value.bytes()?).ok_or("a short value")?);
            self.leased.push(id.bytes()?);
        }
        Ok(())
    }

    fn acknowledge(&mut self) -> Result<()> {
        let replies = self.add_acknowledgement();
        self.send()?;
        for _ in 0..replies {
            self.reply()?;
        }
        Ok(())
    }

    fn stored(&mut self) -> Result<u64> {
        self.add(&[b"XLEN", b"q"]);
        self.send()?;
        match self.reply()? {
            Value::Integer(count) => Ok(u64::try_from(count)?),
            other => Err(format!("{other:?} is no length").into()),
        }
    }
}

/// What Redis answers (its protocol's version 2).
#[derive(Debug)]
enum Value {
    Text,
    Error(String),
    Integer(i64),
    Bytes(Option<Vec<u8>>),
    Array(Option<Vec<Value>>),
}

impl Value {
    fn array(self) -> Result<Vec<Value>> {
        match self {
            Value::Array(Some(values)) => Ok(values),
            other => Err(format!("{other:?} is no array").into()),
        }
    }

    fn bytes(self) -> Result<Vec<u8>> {
        match self {
            Value::Bytes(Some(bytes)) => Ok(bytes),
            other => Err(format!("{other:?} is no string").into()),
        }
    }
}

fn refuse_error(value: Value) -> Result<Value> {
    match value {
        Value::Error(text) => Err(format!("Redis says {text}").into()),
        value => Ok(value),
    }
}

/// One value and its length, if it is there completely.
fn parse(input: &[u8]) -> Result<Option<(Value, usize)>> {
    let Some(end) = input.windows(2).position(|two| two == b"\r\n") else {
        return Ok(None);
    };
    let (kind, text) = input[..end].split_first().ok_or("an empty line")?;
    let text = std::str::from_utf8(text)?;
    let after = end + 2;
    let value = match kind {
        b'+' => Value::Text,
        b'-' => Value::Error(text.to_owned()),
        b':' => Value::Integer(text.parse()?),
        b'$' => {
            let Ok(length) = usize::try_from(text.parse::<i64>()?) else {
                return Ok(Some((Value::Bytes(None), after)));
            };
            let Some(bytes) = input.get(after..after + length + 2) else {
                return Ok(None);
            };
            let value = Value::Bytes(Some(bytes[..length].to_vec()));
            return Ok(Some((value, after + length + 2)));
        }
        b'*' => {
            let Ok(length) = usize::try_from(text.parse::<i64>()?) else {
                return Ok(Some((Value::Array(None), after)));
            };
            let mut values = Vec::new();
            let mut at = after;
            for _ in 0..length {
                let Some((value, used)) = parse(&input[at..])? else {
                    return Ok(None);
                };
                values.push(value);
                at += used;
            }
            return Ok(Some((Value::Array(Some(values)), at)));
        }
        _ => return Err(format!("Redis sent {:?}", char::from(*kind)).into()),
    };
    Ok(Some((value, after)))
}
