//! Customers: they order, wait with a queue of their own, and leave.

use callboard::RequestKey;
use callboard::queue::{Offered, TemporaryQueue};

use super::plan::Customer;
use super::shop::{PATIENCE, Served, Shop};

/// What a customer knows when it leaves.
#[derive(Debug, Default)]
pub(super) struct Visit {
    /// Orders that were said again, and were there already.
    pub(super) said_twice: u32,
    /// The numbers of the orders whose cups came.
    pub(super) cups: Vec<u32>,
    /// Of those that were refused.
    pub(super) sorry: Vec<u32>,
    /// How it ended, if not well.
    pub(super) trouble: Option<String>,
}

impl Customer {
    pub(super) async fn visit(&self, shop: &Shop) -> Visit {
        let mut visit = Visit::default();
        if let Err(trouble) = self.order_and_wait(shop, &mut visit).await {
            visit.trouble = Some(format!("{}: {trouble}", self.name));
        }
        visit
    }

    async fn order_and_wait(&self, shop: &Shop, visit: &mut Visit) -> callboard::Result<()> {
        shop.system.clock().sleep(self.comes).await;
        let mine = TemporaryQueue::<Served>::start(&shop.system, self.orders.len());
        for order in &self.orders {
            let key = RequestKey::new();
            let table = format!("table {}", order.table);
            let say = || {
                let order = shop.counter.offer(order.clone());
                order.key(key).group(table.clone()).reply_to(&mine)
            };
            say().await?;
            let what = format!("orders {}, order {}", order.drink, order.number);
            shop.diary.note(&self.name, what).await;
            if self.is_impatient && matches!(say().await?, Offered::Duplicate(_)) {
                visit.said_twice += 1;
                shop.diary
                    .note(&self.name, "says it again, and it is known")
                    .await;
            }
        }
        for _ in &self.orders {
            let served = mine.poll().deadline(PATIENCE).await?;
            match served.ok_or("nothing came")? {
                (order, Ok(_)) => visit.cups.push(order),
                (order, Err(sorry)) => {
                    visit.sorry.push(order);
                    let what = format!("hears of order {order}: {sorry}");
                    shop.diary.note(&self.name, what).await;
                }
            }
        }
        let cups = visit.cups.len();
        let plural = if cups == 1 { "" } else { "s" };
        let what = format!("leaves with {cups} cup{plural}");
        shop.diary.note(&self.name, what).await;
        Ok(())
    }
}
