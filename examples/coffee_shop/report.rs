//! What became of each order, and whether that is what was promised.

use std::collections::BTreeMap;
use std::fmt;

use super::customer::Visit;
use super::plan::Plan;
use super::shop::Kept;

/// The day in figures.
pub(super) struct Report {
    orders: usize,
    said_twice: u32,
    made: u32,
    /// What was refused, and why.
    refused: Vec<String>,
    handed: u64,
    lapsed: u64,
    stale: u32,
    before: u32,
    wrong: Vec<String>,
}

impl Report {
    pub(super) fn new(plan: &Plan, visits: &[Visit], kept: Kept) -> Self {
        let Kept {
            books,
            counter,
            refused,
        } = kept;
        let mut wrong: Vec<String> = visits
            .iter()
            .filter_map(|visit| visit.trouble.clone())
            .collect();
        let count = |orders: Vec<u32>| {
            let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
            orders
                .into_iter()
                .for_each(|order| *counts.entry(order).or_default() += 1);
            counts
        };
        let served = count(visits.iter().flat_map(|visit| visit.cups.clone()).collect());
        let sorry = count(
            visits
                .iter()
                .flat_map(|visit| visit.sorry.clone())
                .collect(),
        );
        let buried = count(refused.iter().map(|dead| dead.item.number).collect());
        for order in plan.orders() {
            let of = |counts: &BTreeMap<u32, u32>| counts.get(&order.number).copied().unwrap_or(0);
            let found = (of(&books.made), of(&served), of(&buried), of(&sorry));
            if !matches!(found, (1, 1, 0, 0) | (0, 0, 1, 1)) {
                let (made, served, buried, told) = found;
                wrong.push(format!(
                    "order {}: made {made}, served {served}, refused {buried}, told so {told} times",
                    order.number
                ));
            }
        }
        if books.overtaken > 0 {
            wrong.push(format!(
                "{} cups overtook others of their table",
                books.overtaken
            ));
        }
        if counter.len + counter.in_flight > 0 {
            wrong.push(format!(
                "{} orders are still on the counter",
                counter.len + counter.in_flight
            ));
        }
        Report {
            orders: plan.orders().count(),
            said_twice: visits.iter().map(|visit| visit.said_twice).sum(),
            made: books.made.values().sum(),
            refused: refused
                .iter()
                .map(|dead| {
                    format!(
                        "{} ({}: {})",
                        dead.item.drink, dead.info.reason, dead.info.detail
                    )
                })
                .collect(),
            handed: counter.handed,
            lapsed: counter.lapsed,
            stale: books.stale,
            before: books.before,
            wrong,
        }
    }

    /// Every order was made once, or refused with a reason that its customer was told.
    pub(super) fn is_good(&self) -> bool {
        self.wrong.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |what: &str, count: u64, note: &str| {
            writeln!(f, "{}", format!("{what:<26}{count:>5}  {note}").trim_end())
        };
        row("orders", self.orders as u64, "")?;
        row("  said twice", self.said_twice.into(), "stored once")?;
        row("handed to baristas", self.handed, "")?;
        row("  leases that lapsed", self.lapsed, "")?;
        row("cups made", self.made.into(), "")?;
        row(
            "  poured too late",
            self.stale.into(),
            "refused by the till",
        )?;
        row("  poured before", self.before.into(), "served by the next")?;
        row(
            "refused",
            self.refused.len() as u64,
            &self.refused.join(", "),
        )?;
        for wrong in &self.wrong {
            writeln!(f, "WRONG: {wrong}")?;
        }
        let verdict = match self.is_good() {
            true => "no order was lost, none was made twice",
            false => "this is not what was promised",
        };
        writeln!(f, "{verdict}")
    }
}
