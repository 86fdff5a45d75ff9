//! What the drill found, as tables, and whether it is what was promised.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Drill, Fault, Seen};
use crate::calls::readable;
use crate::client::Client;
use crate::ledger;
use crate::markdown;
use crate::report::{Table, count, thousands};
use crate::words::{is_keyword, words};

/// A page that ends this soon after its part came back may have asked before.
const MARGIN: Duration = Duration::from_millis(250);
/// So many searches are compared with the files.
const SEARCHES: usize = 5;
/// How long the decoupled work may take to settle after the last page.
const SETTLE: Duration = Duration::from_secs(5);

/// Pages by how they were answered.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    full: u64,
    degraded: u64,
    failed: u64,
    /// Degraded although no fault explains it.
    unexplained: u64,
}

impl Drill {
    /// Prints everything, and answers whether all promises were kept.
    pub(super) async fn judge(&self) -> bool {
        let mut broken = Vec::new();
        let searches = self.check_searches(&mut broken).await;
        let views = self.check_views(&mut broken).await;
        self.progress.lock().clear();
        println!();
        self.judge_pages(&mut broken);
        self.judge_cuts(&mut broken);
        self.judge_policies(&mut broken);
        self.show_calls().await;
        self.judge_enrolments(&mut broken).await;
        println!("Decoupled");
        println!("  {searches}");
        println!("  {views}\n");
        for what in &broken {
            println!("BROKEN  {what}");
        }
        if broken.is_empty() {
            println!(
                "PASS    no page failed, pages were degraded only while a part was away, nobody paid twice,\n        no request was lost or ran twice when its connection was cut, a policy was changed while it was used, and a bad one refused"
            );
        } else {
            println!(
                "FAIL    {}",
                count(
                    broken.len() as u64,
                    "promise was broken",
                    "promises were broken"
                )
            );
        }
        broken.is_empty()
    }

    fn judge_pages(&self, broken: &mut Vec<String>) {
        let (seen, faults) = (self.seen.lock(), self.faults.lock());
        let total = tally(&seen, &faults);
        let mut pages = Table::new(0, ["pages", "full", "degraded", "failed"]);
        pages.row([seen.len() as u64, total.full, total.degraded, total.failed].map(thousands));
        println!("Pages\n{pages}");

        let mut table = Table::new(1, ["fault", "at", "away for", "pages degraded"]);
        for fault in faults.iter() {
            let at = fault.from.since(self.started).as_secs_f64();
            let away = fault.to.map(|to| to.since(fault.from).as_secs_f64());
            let degraded = seen
                .iter()
                .filter(|seen| seen.is_degraded() && seen.explained_by(fault));
            table.row([
                fault.what.clone(),
                format!("{at:.1} s"),
                away.map_or("never back".to_owned(), |away| format!("{away:.2} s")),
                degraded.count().to_string(),
            ]);
            if fault.to.is_none() {
                broken.push(format!("{}: it never came back", fault.what));
            }
        }
        println!("Faults\n{table}");

        if total.failed > 0 {
            broken.push(count(total.failed, "page failed", "pages failed"));
            let failures = seen.iter().filter_map(|seen| seen.page.as_ref().err());
            broken.extend(failures.take(3).cloned());
        }
        if total.unexplained > 0 {
            let pages = count(total.unexplained, "page was", "pages were");
            broken.push(format!("{pages} degraded while no part was away"));
            let unexplained = seen.iter().filter(|seen| seen.is_unexplained(&faults));
            broken.extend(unexplained.take(3).map(|seen| {
                let at = seen.from.since(self.started).as_secs_f64();
                format!(
                    "at {at:.2} s for {:.2} s: without {:?}",
                    seen.to.since(seen.from).as_secs_f64(),
                    seen.page
                )
            }));
        }
        if total.degraded == 0 {
            broken.push("no page was degraded: the faults were not felt".to_owned());
        }
    }

    async fn show_calls(&self) {
        let report = self.platform.report().await;
        let mut table = Table::new(
            2,
            [
                "part",
                "boundary",
                "calls",
                "answered",
                "not sent",
                "not executed",
                "maybe",
                "executed",
                "p50",
                "p99",
            ],
        );
        for row in report.calls {
            table.row([
                row.part.to_string(),
                row.boundary.to_owned(),
                thousands(row.calls),
                thousands(row.answered),
                thousands(row.not_sent),
                thousands(row.not_executed),
                thousands(row.maybe_executed),
                thousands(row.executed),
                readable(row.p50_micros),
                readable(row.p99_micros),
            ]);
        }
        println!("Calls, by what is known about them\n{table}");
        let mut table = Table::new(1, ["counted", "times"]);
        for figure in report.figures {
            table.row([figure.name.to_owned(), thousands(figure.value)]);
        }
        println!("Supervision, retries, queues\n{table}");
        if let Some(page) = self.platform.slowest_page() {
            println!("The slowest page, span by span\n{page}");
        }
    }

    async fn judge_enrolments(&self, broken: &mut Vec<String>) {
        let path = self.platform.ledger();
        let charges = tokio::task::spawn_blocking(move || ledger::read(&path)).await;
        let enrolments = self.enrolments.lock();
        broken.extend(enrolments.wrong.iter().cloned());
        let charges = match charges {
            Ok(Ok(charges)) => charges,
            Ok(Err(error)) => return broken.push(error.to_string()),
            Err(error) => return broken.push(format!("the ledger could not be read: {error}")),
        };
        let mut by_key = BTreeMap::new();
        for charge in &charges {
            *by_key.entry(charge.key).or_insert(0_u64) += 1;
        }
        for key in &enrolments.keys {
            match by_key.get(key) {
                Some(1) => {}
                Some(times) => {
                    broken.push(format!("the enrolment {key} was charged {times} times"));
                }
                None => broken.push(format!("the enrolment {key} was not charged")),
            }
        }
        if by_key.len() > enrolments.keys.len() {
            broken.push("the ledger holds charges that nobody asked for".to_owned());
        }
        let mut table = Table::new(
            0,
            [
                "enrolments",
                "requests",
                "answers lost",
                "charges in the ledger",
                "charged twice",
            ],
        );
        let twice = by_key.values().filter(|times| **times > 1).count();
        table.row(
            [
                enrolments.keys.len() as u64,
                enrolments.requests,
                enrolments.hung_up,
                charges.len() as u64,
                twice as u64,
            ]
            .map(thousands),
        );
        println!("Enrolments\n{table}");
    }

    /// Searches find exactly the lessons whose files hold the word.
    async fn check_searches(&self, broken: &mut Vec<String>) -> String {
        if !self.platform.index_is_idle(SETTLE).await {
            broken.push("the index workers did not finish their queue".to_owned());
        }
        let expected = self.expected_searches();
        let mut client = Client::new(self.server);
        for (word, slugs) in &expected {
            let found = match client.get(&format!("/search?q={word}")).await {
                Ok(response) => slugs_on_page(&response.text()),
                Err(error) => {
                    broken.push(format!("the search for {word} failed: {error}"));
                    continue;
                }
            };
            if found != *slugs {
                broken.push(format!(
                    "the search for {word} found {found:?}, not {slugs:?}"
                ));
            }
        }
        let words: Vec<String> = expected
            .iter()
            .map(|(word, slugs)| format!("{word} ({})", slugs.len()))
            .collect();
        format!("searches compared with the files: {}", words.join(", "))
    }

    /// A few words, and the lessons whose files hold them: counted without the index.
    fn expected_searches(&self) -> Vec<(String, BTreeSet<String>)> {
        let mut holders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for lesson in self.platform.library.lessons() {
            for word in words(&markdown::plain_text(&lesson.markdown)) {
                if is_keyword(&word) && word.is_ascii() && !word.contains('\'') {
                    holders.entry(word).or_default().insert(lesson.slug.clone());
                }
            }
        }
        // One word that one lesson has, one that two have, and so on; the longest are the most telling.
        let mut chosen: BTreeMap<usize, (String, BTreeSet<String>)> = BTreeMap::new();
        for (word, slugs) in holders {
            let best = chosen.entry(slugs.len()).or_default();
            if word.len() > best.0.len() {
                *best = (word, slugs);
            }
        }
        chosen.into_values().take(SEARCHES).collect()
    }

    /// Every view that was published has been counted by the other process.
    async fn check_views(&self, broken: &mut Vec<String>) -> String {
        let published = self.platform.views_published();
        let from = self.clock.now();
        let mut counted = 0;
        while counted < published && self.clock.now().since(from) < SETTLE {
            let slugs = self
                .platform
                .library
                .lessons()
                .map(|lesson| lesson.slug.clone());
            counted = self
                .platform
                .views(slugs.collect())
                .await
                .value()
                .values()
                .sum();
            self.clock.sleep(Duration::from_millis(20)).await;
        }
        if counted != published {
            broken.push(format!(
                "{published} views were published, {counted} counted"
            ));
        }
        format!(
            "views published to the topic: {}, counted by the subscribed process: {}",
            thousands(published),
            thousands(counted)
        )
    }
}

impl Seen {
    fn is_degraded(&self) -> bool {
        self.page.as_ref().is_ok_and(|missing| !missing.is_empty())
    }

    fn explained_by(&self, fault: &Fault) -> bool {
        let missed = self
            .page
            .as_ref()
            .is_ok_and(|missing| missing.contains(&fault.part));
        let after = fault.to.is_some_and(|to| self.from > to + MARGIN);
        missed && self.to >= fault.from && !after
    }

    /// Degraded, with at least one part that no fault took away.
    fn is_unexplained(&self, faults: &[Fault]) -> bool {
        let Ok(missing) = &self.page else {
            return false;
        };
        !missing.iter().all(|part| {
            let of_part = faults.iter().filter(|fault| fault.part == *part);
            of_part.into_iter().any(|fault| self.explained_by(fault))
        })
    }
}

fn tally(seen: &[Seen], faults: &[Fault]) -> Tally {
    let mut tally = Tally::default();
    for seen in seen {
        match &seen.page {
            Err(_) => tally.failed += 1,
            Ok(missing) if missing.is_empty() => tally.full += 1,
            Ok(_) => tally.degraded += 1,
        }
        tally.unexplained += u64::from(seen.is_unexplained(faults));
    }
    tally
}

/// The lessons that a page of results links to.
fn slugs_on_page(page: &str) -> BTreeSet<String> {
    page.split("href=\"/lessons/")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use callboard::clock::Instant;

    use super::*;
    use crate::calls::Part;

    fn ms(number: u64) -> Instant {
        Instant::default() + Duration::from_millis(number)
    }

    fn seen(from: u64, to: u64, missing: &[Part]) -> Seen {
        Seen {
            from: ms(from),
            to: ms(to),
            page: Ok(missing.to_vec()),
        }
    }

    #[test]
    fn a_page_may_be_degraded_only_while_that_part_is_away() {
        let faults = [Fault {
            what: "metadata killed".into(),
            part: Part::Metadata,
            from: ms(1_000),
            to: Some(ms(1_500)),
        }];
        for (page, explained) in [
            (seen(900, 1_100, &[Part::Metadata]), true),
            (seen(1_490, 1_800, &[Part::Metadata]), true),
            (seen(1_800, 1_900, &[Part::Metadata]), false),
            (seen(800, 999, &[Part::Metadata]), false),
            (seen(1_100, 1_200, &[Part::Thumbnails]), false),
            (
                seen(1_100, 1_200, &[Part::Metadata, Part::Thumbnails]),
                false,
            ),
            (seen(100, 200, &[]), true),
        ] {
            assert_eq!(!page.is_unexplained(&faults), explained, "{page:?}");
        }
    }

    #[test]
    fn pages_are_counted_once() {
        let failed = Seen {
            from: ms(0),
            to: ms(1),
            page: Err("status 500".into()),
        };
        let all = [seen(0, 1, &[]), seen(0, 1, &[Part::Views]), failed];
        let tally = tally(&all, &[]);
        assert_eq!(
            (tally.full, tally.degraded, tally.failed, tally.unexplained),
            (1, 1, 1, 1)
        );
    }
}
