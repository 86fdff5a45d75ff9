//! What is going to happen on a day: drawn from its seed, before the shop opens.

use std::time::Duration;

use callboard::Entropy;

use super::shop::{Accident, Drink, Order};

/// Between two customers, about.
const PAUSE_MICROS: u64 = 12_000;
const TABLES: usize = 3;
const NAMES: [&str; 10] = [
    "Ada", "Grace", "Alan", "Edsger", "Barbara", "Tony", "Frances", "Niklaus", "Radia", "Ken",
];

/// A day.
#[derive(Debug)]
pub struct Plan {
    pub(super) customers: Vec<Customer>,
}

/// Who comes, when, and what for.
#[derive(Debug)]
pub(super) struct Customer {
    pub(super) name: String,
    pub(super) comes: Duration,
    pub(super) orders: Vec<Order>,
    /// Says each order twice, because nobody seems to have heard.
    pub(super) is_impatient: bool,
}

impl Plan {
    /// The day of that seed: the same one each time.
    pub(super) fn draw(seed: u64, customers: usize) -> Plan {
        let entropy = Entropy::seeded(seed);
        let mut number = 0;
        let mut customers: Vec<Customer> = (0..customers)
            .map(|at| {
                let day = at as u64 * PAUSE_MICROS + entropy.below(PAUSE_MICROS);
                let table = at % TABLES;
                let orders = (0..=entropy.below(2)).map(|_| {
                    number += 1;
                    Order {
                        number,
                        table,
                        drink: Drink::draw(&entropy),
                        accident: None,
                    }
                });
                let orders = orders.collect();
                let (round, name) = (at / NAMES.len(), NAMES[at % NAMES.len()]);
                Customer {
                    name: match round {
                        0 => name.to_owned(),
                        round => format!("{name} {}", round + 1),
                    },
                    comes: Duration::from_micros(day),
                    orders,
                    is_impatient: entropy.below(4) == 0,
                }
            })
            .collect();
        // One accident of each kind in the first orders, whatever the seed; the last one wants what there is not.
        let mut orders: Vec<&mut Order> = customers
            .iter_mut()
            .flat_map(|customer| &mut customer.orders)
            .collect();
        if let Some(last) = orders.pop() {
            last.drink = Drink::Beer;
        }
        let accidents = [
            Accident::DropsMidCup,
            Accident::IsAway,
            Accident::DropsOncePoured,
        ];
        for (order, accident) in orders.iter_mut().zip(accidents) {
            order.accident = Some(accident);
        }
        Plan { customers }
    }

    /// All orders of the day.
    pub(super) fn orders(&self) -> impl Iterator<Item = &Order> {
        self.customers.iter().flat_map(|customer| &customer.orders)
    }
}
