//! A socket or a pipe and a loop on either side, on tokio: frames with a header of 16 bytes, no codec, no task for a
//! message. What nobody above a socket can do without.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::run::Result;
use common::stopwatch::Stopwatch;
use serde_bytes::ByteArray;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Mutex;

use super::sockets::{self, Stream};
use super::tokio_client::{asks, on_client, on_server};
use super::{Candidate, Family};
use crate::messages::{self, Block, SMALL, Told};
use crate::server::{Role, Server};
use crate::workloads::ask::{Asks, thousands};
use crate::workloads::one_way::{self, Tells};
use crate::workloads::{Rounds, Run, Service, Shape, Work};

pub(crate) struct Raw;

impl Candidate for Raw {
    fn name(&self) -> &'static str {
        "raw tokio"
    }

    fn family(&self) -> Family {
        Family::Floor
    }

    fn takes(&self, work: Work) -> bool {
        match work {
            Work::Sequence(_) | Work::InFlight(..) => true,
            Work::OneWay(_, shape) => shape != Shape::Order,
            Work::Publish(..) | Work::Queue(..) | Work::Allocations(_) => false,
        }
    }

    fn serve(&self, role: &Role) -> Result<()> {
        on_server(async {
            let stream = sockets::accept(role).await?;
            match role.service {
                Service::Echo => echo(stream).await,
                Service::Sink => sink(stream).await,
                _ => Err("that is more than a socket".into()),
            }
        })
    }

    fn measure(&self, work: Work, run: &Run) -> Result<Vec<f64>> {
        let mut server = Server::start(self.name(), work.link(), work.service())?;
        let run = *run;
        on_client(move || async move {
            let stream = sockets::connect(&mut server).await?;
            match work {
                Work::InFlight(_, count) => in_flight(stream, usize::try_from(count)?, run).await,
                Work::OneWay(_, shape) => one_way::measure(Teller::over(stream), shape, run).await,
                _ => {
                    let client = PingPong(Arc::new(Mutex::new(stream)));
                    asks(client, work, run).await
                }
            }
        })
    }
}

/// Bytes before the payload: its length, what it is, and a number. As many as Callboard's frames have.
const HEADER: usize = 16;
const FRAME: usize = HEADER + SMALL;

const TELL: u8 = 1;
const TOLD: u8 = 2;

/// How much is read and written at once.
const CHUNK: usize = 64 * 1_024;

async fn echo(mut stream: Box<dyn Stream>) -> Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = stream.read(&mut chunk).await?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&chunk[..length]).await?;
    }
}

/// Counts frames and skips what they carry.
pub(super) async fn sink(mut stream: Box<dyn Stream>) -> Result<()> {
    let mut chunk = vec![0; 4 * CHUNK];
    let mut told = Told::default();
    // Of the chunk; and of the payload in hand, what is yet to come.
    let (mut filled, mut left) = (0, 0);
    loop {
        let length = stream.read(&mut chunk[filled..]).await?;
        if length == 0 {
            return Ok(());
        }
        filled += length;
        let mut at = 0;
        loop {
            let here = left.min(filled - at);
            at += here;
            left -= here;
            if left > 0 || filled - at < HEADER {
                break;
            }
            let header = &chunk[at..at + HEADER];
            at += HEADER;
            if header[4] == TOLD {
                stream.write_all(&told.to_bytes()).await?;
                told = Told::default();
                continue;
            }
            left = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
            told.add(left as u64);
        }
        chunk.copy_within(at..filled, 0);
        filled -= at;
    }
}

fn header(kind: u8, length: usize) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    // No message here is larger than a mebibyte.
    header[..4].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    header[4] = kind;
    header
}

/// One frame there, one frame back.
#[derive(Clone)]
struct PingPong(Arc<Mutex<Box<dyn Stream>>>);

impl Asks for PingPong {
    async fn ask(&self, block: Block) -> Result<Block> {
        let mut stream = self.0.lock().await;
        let mut frame = [0; FRAME];
        frame[HEADER..].copy_from_slice(&block[..]);
        stream.write_all(&frame).await?;
        let mut answer = [0; FRAME];
        stream.read_exact(&mut answer).await?;
        let mut block = [0; SMALL];
        block.copy_from_slice(&answer[HEADER..]);
        Ok(ByteArray::new(block))
    }
}

/// One loop that keeps so many frames under way, and writes as many as it has just read.
async fn in_flight(stream: Box<dyn Stream>, frames: usize, run: Run) -> Result<Vec<f64>> {
    let mut batches = Batches {
        stream,
        frames,
        out: vec![7; frames * FRAME],
        answers: vec![0; frames * FRAME],
    };
    let (count, took) = run.rounds(frames as u64 * 4, &mut batches).await?;
    Ok(vec![thousands(count, took)])
}

struct Batches {
    stream: Box<dyn Stream>,
    frames: usize,
    out: Vec<u8>,
    answers: Vec<u8>,
}

impl Rounds for Batches {
    async fn round(&mut self, count: u64) -> Result<Duration> {
        let count = usize::try_from(count)?;
        let begin = Stopwatch::start();
        let mut unsent = count - self.frames;
        let mut unread = count * FRAME;
        // What was read of a frame that isn't complete.
        let mut part = 0;
        self.stream.write_all(&self.out).await?;
        while unread > 0 {
            let length = self.stream.read(&mut self.answers).await?;
            if length == 0 || self.answers[..length] != self.out[..length] {
                return Err("the answer is another's".into());
            }
            unread -= length;
            part += length;
            let next = (part / FRAME).min(unsent);
            part %= FRAME;
            unsent -= next;
            self.stream.write_all(&self.out[..next * FRAME]).await?;
        }
        Ok(begin.elapsed())
    }
}

/// Small frames gather into chunks; large ones are written as they are.
pub(super) struct Teller {
    stream: Box<dyn Stream>,
    chunk: Vec<u8>,
}

impl Teller {
    pub(super) fn over(stream: Box<dyn Stream>) -> Self {
        Teller {
            stream,
            chunk: Vec::with_capacity(CHUNK + FRAME),
        }
    }

    async fn flush(&mut self) -> Result<()> {
        self.stream.write_all(&self.chunk).await?;
        self.chunk.clear();
        Ok(())
    }
}

impl Tells for Teller {
    async fn tell(&mut self, bytes: &Bytes) -> Result<()> {
        self.chunk.extend_from_slice(&header(TELL, bytes.len()));
        if bytes.len() > SMALL {
            self.flush().await?;
            self.stream.write_all(bytes).await?;
            return Ok(());
        }
        self.chunk.extend_from_slice(bytes);
        if self.chunk.len() >= CHUNK {
            self.flush().await?;
        }
        Ok(())
    }

    async fn told(&mut self, _: u64) -> Result<Told> {
        self.chunk.extend_from_slice(&header(TOLD, 0));
        self.flush().await?;
        let mut answer = [0; 16];
        self.stream.read_exact(&mut answer).await?;
        messages::Told::from_bytes(&answer).ok_or_else(|| "that is no count".into())
    }
}
