//! actix: a publisher that sends to one actor after the other. Its mailboxes are bounded; `try_send` is the
//! send that keeps the bound, and one that is full gets a turn.

use std::future::Future;

use ::actix::prelude::SendError;
use ::actix::{Actor, Addr, Context, Handler, Message};
use common::run::Result;
use common::threads::{on_fresh_thread, yield_now};

use super::Candidate;
use crate::item::Item;
use crate::workloads::fan_out::{self, Count, Topic};
use crate::workloads::{CAPACITY, Run, Work};

pub(crate) struct Actix;

#[derive(Message)]
#[rtype(result = "()")]
struct Published(Item);

pub(crate) struct Subscriber(Count);

impl Actor for Subscriber {
    type Context = Context<Self>;
}

impl Handler<Published> for Subscriber {
    type Result = ();

    fn handle(&mut self, Published(item): Published, _ctx: &mut Context<Self>) {
        self.0.add(&item);
    }
}

impl Candidate for Actix {
    fn name(&self) -> &'static str {
        "actix fan-out"
    }

    fn takes(&self, work: Work) -> bool {
        matches!(work, Work::Publish { .. })
    }

    fn measure(&self, work: Work, run: &Run) -> Result<Vec<f64>> {
        match work {
            Work::Publish { subscribers } => fan_out::measure(self, subscribers, run),
            _ => Err("an actor doesn't do that".into()),
        }
    }
}

impl Topic for Actix {
    type Publisher = Vec<Addr<Subscriber>>;

    fn run<F, Fut>(&self, body: F) -> Fut::Output
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output: Send> + Send + 'static,
    {
        on_fresh_thread(move || {
            actix_rt::System::new().block_on(async move {
                let output = actix_rt::spawn(body()).await;
                output.expect("the run did not panic")
            })
        })
    }

    async fn start(subscribers: Vec<Count>) -> Vec<Addr<Subscriber>> {
        let started = subscribers.into_iter().map(|count| {
            Subscriber::create(|ctx| {
                ctx.set_mailbox_capacity(CAPACITY);
                Subscriber(count)
            })
        });
        started.collect()
    }

    async fn publish(subscribers: &mut Vec<Addr<Subscriber>>, item: Item) {
        for subscriber in subscribers {
            let mut message = Published(item);
            while let Err(SendError::Full(back)) = subscriber.try_send(message) {
                message = back;
                yield_now().await;
            }
        }
    }

    async fn stop(subscribers: Vec<Addr<Subscriber>>) {
        drop(subscribers);
    }
}
