//! actix: an actor system per run, one arbiter per thread.
//!
//! `Addr::send().await` never really waits for room (a clone of the sender owns a slot of its own) and is
//! slower, so the bounded row is `try_send` with a turn for others when full. The unbounded row is
//! `do_send`.

use std::future::Future;

use actix::{Actor, Addr, Context, Handler, Message};
use actix_rt::{Arbiter, ArbiterHandle};

use common::tally::Tally;
use common::threads::{Layout, on_fresh_thread, yield_now};

use super::{CAPACITY, Family, System};
use crate::workloads::Work;

pub(crate) struct Actix<const BOUNDED: bool>;

#[derive(Message)]
#[rtype(result = "u64")]
struct Add(u64);

#[derive(Message)]
#[rtype(result = "()")]
struct Token(u64);

#[derive(Message)]
#[rtype(result = "()")]
struct Link(Addr<Counter>);

pub(crate) struct Counter {
    tally: Tally,
    next: Option<Addr<Counter>>,
}

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<Add> for Counter {
    type Result = u64;

    fn handle(&mut self, Add(value): Add, _ctx: &mut Context<Self>) -> u64 {
        self.tally.add(value)
    }
}

impl Handler<Token> for Counter {
    type Result = ();

    fn handle(&mut self, Token(hops): Token, _ctx: &mut Context<Self>) {
        match &self.next {
            Some(next) if hops > 0 => next.do_send(Token(hops - 1)),
            _ => self.tally.finish_now(),
        }
    }
}

impl Handler<Link> for Counter {
    type Result = ();

    fn handle(&mut self, Link(next): Link, _ctx: &mut Context<Self>) {
        self.next = Some(next);
    }
}

/// The receivers' arbiter, if it is not the senders' own.
#[derive(Clone)]
pub(crate) struct Stage {
    receivers: Option<ArbiterHandle>,
}

impl<const BOUNDED: bool> System for Actix<BOUNDED> {
    type Stage = Stage;
    type Counter = Addr<Counter>;

    fn name(&self) -> &'static str {
        if BOUNDED {
            "actix"
        } else {
            "actix (unbounded)"
        }
    }

    fn family(&self) -> Family {
        if BOUNDED {
            Family::Actors
        } else {
            Family::UnboundedActors
        }
    }

    fn takes(&self, work: Work) -> bool {
        BOUNDED || work.floods()
    }

    fn run<F, Fut>(&self, layout: Layout, body: F) -> Fut::Output
    where
        F: FnOnce(Stage) -> Fut + Send + 'static,
        Fut: Future<Output: Send> + Send + 'static,
    {
        on_fresh_thread(move || {
            actix_rt::System::new().block_on(async move {
                let arbiter = (layout == Layout::TwoThreads).then(Arbiter::new);
                let stage = Stage {
                    receivers: arbiter.as_ref().map(Arbiter::handle),
                };
                let output = actix_rt::spawn(body(stage)).await;
                if let Some(arbiter) = arbiter {
                    arbiter.stop();
                    arbiter.join().expect("the arbiter ended in order");
                }
                output.expect("the run did not panic")
            })
        })
    }

    fn spawn(_stage: &Stage, task: impl Future<Output = ()> + Send + 'static) {
        drop(actix_rt::spawn(task));
    }

    async fn start(stage: &Stage, tally: Tally) -> Addr<Counter> {
        let counter = move |ctx: &mut Context<Counter>| {
            ctx.set_mailbox_capacity(CAPACITY);
            Counter { tally, next: None }
        };
        match &stage.receivers {
            None => Counter::create(counter),
            Some(arbiter) => Counter::start_in_arbiter(arbiter, counter),
        }
    }

    /// An actor without addresses ends.
    fn stop(counter: Addr<Counter>) {
        drop(counter);
    }

    async fn tell(counter: &Addr<Counter>, value: u64) {
        if !BOUNDED {
            counter.do_send(Add(value));
            return;
        }
        let mut message = Add(value);
        loop {
            match counter.try_send(message) {
                Ok(()) => return,
                Err(actix::prelude::SendError::Full(back)) => {
                    message = back;
                    yield_now().await;
                }
                Err(actix::prelude::SendError::Closed(_)) => panic!("the counter has ended"),
            }
        }
    }

    async fn ask(counter: &Addr<Counter>, value: u64) -> u64 {
        counter.send(Add(value)).await.expect("the counter answers")
    }

    async fn link(counter: &Addr<Counter>, next: Addr<Counter>) {
        counter.do_send(Link(next));
    }

    async fn pass(counter: &Addr<Counter>, hops: u64) {
        counter.do_send(Token(hops));
    }
}
