//! Baristas: they take an order under a lease, make it, serve it, and acknowledge it, in this order.

use std::collections::BTreeMap;
use std::future::{Future, IntoFuture, pending};
use std::pin::pin;
use std::time::Duration;

use callboard::locks::Token;
use callboard::prelude::*;
use callboard::queue::{Delivery, Queue};
use callboard::{Failure, FailureKind};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{Either, Shared, select};

use super::shop::{Accident, LEASE, Order, Served, Shop};
use super::till::{Pour, Poured};

/// Take one order after the other, until the shop closes.
#[derive(Message)]
struct Work;

struct Barista {
    name: &'static str,
    shop: Shop,
    /// Where those are reported who have dropped.
    dropped: Queue<&'static str>,
    /// Completes when nobody takes another order.
    closing: Closing,
}

type Closing = Shared<oneshot::Receiver<()>>;

impl Actor for Barista {}

impl Handler<Work> for Barista {
    async fn handle(&mut self, _: Work, ctx: &mut Context<Self>) {
        loop {
            let lease = self.shop.counter.lease().into_future();
            let Either::Left((Ok(Some(delivery)), _)) = select(lease, self.closing.clone()).await
            else {
                return;
            };
            if let Err(error) = self.make(delivery, ctx).await {
                self.note(error).await;
            }
        }
    }
}

// ANCHOR: make
impl Barista {
    async fn make(&self, delivery: Delivery<Order>, ctx: &Context<Self>) -> callboard::Result<()> {
        let (order, attempt) = (delivery.item().clone(), delivery.attempt());
        let Order {
            number,
            table,
            drink,
            accident,
        } = order;
        let accident = accident.filter(|_| attempt == 1);
        let again = if attempt > 1 { ", again" } else { "" };
        self.note(format!(
            "begins {drink} for table {table}, order {number}{again}"
        ))
        .await;
        let Some(takes) = drink.takes() else {
            let sorry = "that isn't on the menu";
            self.serve(&delivery, (number, Err(sorry))).await?;
            return Ok(delivery.bury(sorry).await?);
        };
        ctx.sleep(takes).await;
        match accident {
            Some(Accident::DropsMidCup) => self.drop_down("in the middle of it").await,
            Some(Accident::IsAway) => {
                self.note("takes a call outside, the cup half full").await;
                ctx.sleep(3 * LEASE).await;
            }
            _ => {}
        }
        let pour = Pour {
            order: number,
            table,
            place: delivery.sequence(),
            token: Token(delivery.token()),
        };
        match self.shop.till.ask(pour).await? {
            Ok(Poured::Now) => {}
            Ok(Poured::Before) => self.note(format!("finds order {number} poured")).await,
            // The order is somebody else's by now; nothing is left to be done.
            Err(stale) => {
                return Err(format!("is back, too late for order {number}: {stale}").into());
            }
        }
        if accident == Some(Accident::DropsOncePoured) {
            self.drop_down("with the cup poured").await;
        }
        self.serve(&delivery, (number, Ok(drink))).await?;
        Ok(delivery.ack().await?)
    }
}
// ANCHOR_END: make

impl Barista {
    /// To whoever ordered. With the order's key: should it be served again, the second cup is the first.
    async fn serve(&self, delivery: &Delivery<Order>, served: Served) -> Result<(), Failure> {
        let (Some(table), Some(key)) = (delivery.reply_to::<Served>(), delivery.key()) else {
            return Ok(()); // the customer has gone
        };
        match table.offer(served).key(key).await {
            Err(error) if error.kind() != FailureKind::Stopped => Err(error.into()),
            _ => Ok(()), // the customer has got it, or has gone with the first of two
        }
    }

    /// Says so, and never does anything again.
    async fn drop_down(&self, when: &str) {
        self.note(format!("drops, {when}")).await;
        // An error: the shop has closed.
        let _ = self.dropped.offer(self.name).await;
        pending::<()>().await;
    }

    async fn note(&self, what: impl std::fmt::Display) {
        self.shop.diary.note(self.name, what).await;
    }
}

/// All who work in the shop, and those who wait for somebody to drop.
pub(super) struct Staff {
    shop: Shop,
    dropped: Queue<&'static str>,
    working: BTreeMap<&'static str, ActorRef<Barista>>,
    reserve: Vec<&'static str>,
    close: oneshot::Sender<()>,
    closing: Closing,
}

impl Staff {
    /// Three begin, two are in reserve.
    pub(super) async fn hire(shop: &Shop) -> Self {
        let (close, closing) = oneshot::channel();
        let mut staff = Staff {
            shop: shop.clone(),
            dropped: Queue::bounded(&shop.system, "dropped", 4),
            working: BTreeMap::new(),
            reserve: vec!["Zoe", "Yuri"],
            close,
            closing: closing.shared(),
        };
        for name in ["Will", "Vera", "Ugo"] {
            staff.begin(name);
            // One comes in after the other, and waits for orders in this order.
            shop.system.clock().sleep(Duration::from_millis(1)).await;
        }
        staff
    }

    fn begin(&mut self, name: &'static str) {
        let (shop, dropped) = (self.shop.clone(), self.dropped.clone());
        let closing = self.closing.clone();
        let make = move || Barista {
            name,
            shop: shop.clone(),
            dropped: dropped.clone(),
            closing: closing.clone(),
        };
        let barista = self.shop.system.actor(make).label(name).start();
        // It can't fail: the mailbox is empty.
        let _ = barista.try_tell(Work);
        self.working.insert(name, barista);
    }

    /// Kills whoever has dropped, and calls somebody in, until `open` is over. Answers what came of that.
    pub(super) async fn while_open<F: Future>(&mut self, open: F) -> callboard::Result<F::Output> {
        let mut open = pin!(open);
        loop {
            let next = self.dropped.poll().into_future();
            let name = match select(open.as_mut(), next).await {
                Either::Left((over, _)) => return Ok(over),
                Either::Right((name, _)) => {
                    name?.ok_or("the list of those who dropped has ended")?
                }
            };
            if let Some(barista) = self.working.remove(name) {
                // Its handler is dropped, with the delivery in it: the order goes back to its place.
                barista.kill();
                barista.wait().await;
            }
            if let Some(next) = self.reserve.pop() {
                self.shop
                    .diary
                    .note(next, format!("takes over from {name}"))
                    .await;
                self.begin(next);
            }
        }
    }

    /// Everybody finishes what is in hand, and goes.
    pub(super) async fn go_home(self) {
        drop(self.close);
        for barista in self.working.into_values() {
            barista.stop();
            barista.wait().await;
        }
    }
}
