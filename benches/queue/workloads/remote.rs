//! The same over servers: one connection with as many offers in flight as there are producers, which costs them
//! less than as many connections.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use common::run::Result;
use common::stopwatch::Stopwatch;

use super::durable::{check, check_order};
use super::{BATCH, Run, thousands};
use crate::item::Item;

/// A queue on a server.
pub(crate) trait Remote: Sized {
    /// Adds an offer to what is sent next.
    fn offer(&mut self, item: &Item);

    /// Sends it.
    fn send(&mut self) -> Result<()>;

    /// Waits for answers to offers: at least one.
    fn answers(&mut self) -> Result<usize>;

    /// Acknowledges the batch before, and leases the next one of at most [`BATCH`], in one round trip.
    fn take(&mut self, items: &mut Vec<Item>) -> Result<()>;

    /// Acknowledges the last batch.
    fn acknowledge(&mut self) -> Result<()>;

    /// How many items are there.
    fn stored(&mut self) -> Result<u64>;
}

/// How many offers are in flight while a queue is filled.
const FILLING: u64 = 256;

pub(crate) fn offer(mut queue: impl Remote, producers: usize, run: &Run) -> Result<Vec<f64>> {
    let in_flight = producers as u64;
    let begin = Stopwatch::start();
    let (count, elapsed) = offer_while(&mut queue, in_flight, |_| begin.elapsed() < run.span)?;
    check(queue.stored()?, count)?;
    Ok(vec![thousands(count, elapsed)])
}

pub(crate) fn take(mut queue: impl Remote, run: &Run) -> Result<Vec<f64>> {
    let count = run.stored();
    offer_while(&mut queue, FILLING, |sent| sent < count)?;
    check(queue.stored()?, count)?;
    let mut items = Vec::with_capacity(BATCH);
    let mut taken = 0;
    let begin = Stopwatch::start();
    while taken < count && begin.elapsed() < run.span {
        queue.take(&mut items)?;
        check_order(&items, taken)?;
        taken += items.len() as u64;
        items.clear();
    }
    queue.acknowledge()?;
    let elapsed = begin.elapsed();
    check(queue.stored()?, count - taken)?;
    Ok(vec![thousands(taken, elapsed)])
}

/// Offers as long as `more` says so to the number of those sent, and waits for all answers.
fn offer_while(
    queue: &mut impl Remote,
    in_flight: u64,
    more: impl Fn(u64) -> bool,
) -> Result<(u64, Duration)> {
    let begin = Stopwatch::start();
    let (mut sent, mut answered) = (0, 0);
    loop {
        while sent - answered < in_flight && more(sent) {
            queue.offer(&Item::new(sent));
            sent += 1;
        }
        if sent == answered {
            return Ok((sent, begin.elapsed()));
        }
        queue.send()?;
        answered += queue.answers()? as u64;
    }
}

/// How long a server may keep silent.
const SILENCE: Duration = Duration::from_secs(30);

/// A stream that a server answers on, with what was read and not yet understood.
pub(crate) struct Connection<S> {
    stream: S,
    pub(crate) out: Vec<u8>,
    input: Vec<u8>,
    used: usize,
}

impl<S: Read + Write> Connection<S> {
    /// Over a stream whose reads end with an error after a while.
    pub(crate) fn over(
        stream: S,
        limit: impl Fn(&S, Option<Duration>) -> std::io::Result<()>,
    ) -> Result<Self> {
        limit(&stream, Some(SILENCE))?;
        Ok(Connection {
            stream,
            out: Vec::new(),
            input: Vec::new(),
            used: 0,
        })
    }

    pub(crate) fn send(&mut self) -> Result<()> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// The next thing that `parse` finds complete, read from the stream if it must be. It answers how many
    /// bytes it understood.
    pub(crate) fn next<T>(
        &mut self,
        parse: impl Fn(&[u8]) -> Result<Option<(T, usize)>>,
    ) -> Result<T> {
        loop {
            if let Some(found) = self.next_here(&parse)? {
                return Ok(found);
            }
            self.fill()?;
        }
    }

    /// The same, of what was read already.
    pub(crate) fn next_here<T>(
        &mut self,
        parse: impl Fn(&[u8]) -> Result<Option<(T, usize)>>,
    ) -> Result<Option<T>> {
        let Some((found, length)) = parse(&self.input[self.used..])? else {
            return Ok(None);
        };
        self.used += length;
        Ok(Some(found))
    }

    fn fill(&mut self) -> Result<()> {
        self.input.drain(..self.used);
        self.used = 0;
        let mut chunk = [0; 64 * 1_024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err("the server closed the connection".into()),
            Ok(length) => {
                self.input.extend_from_slice(&chunk[..length]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
