//! Connections that are cut while requests are on their way: the session goes on over the next one, and each request
//! runs once and in order.
//!
//! The process isn't harmed, only the TCP connection to it: both sides find it closed in the middle of whatever they
//! were saying. Nobody asks again here. There is no policy, no retry, and the messages are not idempotent: what holds
//! is the session's doing alone.

use std::time::Duration;

use callboard::remote::PeerStats;
use futures::stream::{self, StreamExt};

use super::Drill;
use crate::calls::Part;
use crate::messages::Counts;
use crate::report::{Table, count, thousands};

/// Whose connection is cut.
const CUT: Part = Part::Metadata;
/// How often.
const CUTS: usize = 12;
/// How long a connection is left alone once it has come back.
const LEFT_ALONE: Duration = Duration::from_millis(60);
/// A connection that hasn't come back by then will not.
const GIVE_UP: Duration = Duration::from_secs(10);
/// So many requests are on their way at once.
const AT_ONCE: usize = 64;
/// Between two requests, so that they last as long as the cuts.
const PACE: Duration = Duration::from_micros(400);

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// How often there was a connection to cut.
    cuts: u64,
    /// Of the link, during the cuts.
    resumes: u64,
    sessions_ended: u64,
    /// Requests that were on their way when a connection was cut.
    met: u64,
    asked: u64,
    answered: u64,
    /// What the other process has seen.
    counts: Counts,
    /// What was not as promised.
    wrong: Vec<String>,
}

impl Drill {
    /// Cuts connections while numbers are counted at their other end.
    pub(super) async fn cut_connections(&self) {
        let fault = self.begin(CUT, format!("{CUT} cut off {CUTS} times"));
        self.say(&format!(
            "{CUT}: its connection is cut {CUTS} times, under load"
        ));
        let before = self.platform.link(CUT);
        let over = std::sync::atomic::AtomicBool::new(false);
        // ANCHOR: cut
        let ((cuts, met), (asked, failures)) = tokio::join!(
            async {
                let cuts = self.cut_often().await;
                over.store(true, std::sync::atomic::Ordering::Relaxed);
                cuts
            },
            self.count_until(&over),
        );
        // ANCHOR_END: cut
        let after = self.platform.link(CUT);
        let mut outcome = Outcome {
            cuts,
            met,
            asked,
            answered: asked - failures.len() as u64,
            ..Outcome::default()
        };
        outcome.compare(&before, &after);
        outcome.wrong.extend(failures.into_iter().take(3));
        match self.platform.counts().await {
            Ok(counts) => outcome.counts = counts,
            Err(failure) => outcome.wrong.push(format!("the counts: {failure}")),
        }
        *self.cuts.lock() = outcome;
        self.wait_until_back(fault, CUT, |now| now.is_some()).await;
    }

    /// How often there was a connection to cut, and how many requests were on their way then.
    async fn cut_often(&self) -> (u64, u64) {
        let (mut cuts, mut met) = (0, 0);
        for _ in 0..CUTS {
            self.clock.sleep(LEFT_ALONE).await;
            let before = self.platform.link(CUT).resumes;
            let on_their_way = self.platform.in_flight(CUT);
            if !self.platform.cut(CUT) {
                continue;
            }
            (cuts, met) = (cuts + 1, met + on_their_way);
            let from = self.clock.now();
            while self.platform.link(CUT).resumes == before
                && self.clock.now().since(from) < GIVE_UP
            {
                self.clock.sleep(Duration::from_millis(1)).await;
            }
        }
        (cuts, met)
    }

    /// Asks one number after the other, many at once, until it is over: how many, and what went wrong.
    async fn count_until(&self, over: &std::sync::atomic::AtomicBool) -> (u64, Vec<String>) {
        let numbers = stream::iter(0..)
            .take_while(|_| std::future::ready(!over.load(std::sync::atomic::Ordering::Relaxed)))
            .then(async |number| {
                self.clock.sleep(PACE).await;
                number
            });
        // In the order of their numbers: each is sent before the next one is made.
        let answers = numbers.map(|number| self.platform.count(number));
        let mut answers = std::pin::pin!(answers.buffered(AT_ONCE));
        let (mut asked, mut failures) = (0, Vec::new());
        while let Some(answer) = answers.next().await {
            asked += 1;
            if let Err(failure) = answer {
                failures.push(format!("a request that met a cut: {failure}"));
            }
        }
        (asked, failures)
    }

    /// Whether nothing was lost or doubled.
    pub(super) fn judge_cuts(&self, broken: &mut Vec<String>) {
        let outcome = self.cuts.lock();
        let mut table = Table::new(
            0,
            [
                "cuts",
                "the session went on",
                "sessions ended",
                "requests",
                "met by a cut",
                "answered",
                "ran",
                "ran twice",
                "out of order",
            ],
        );
        let Counts {
            numbers,
            twice,
            out_of_order,
        } = outcome.counts;
        table.row(
            [
                outcome.cuts,
                outcome.resumes,
                outcome.sessions_ended,
                outcome.asked,
                outcome.met,
                outcome.answered,
                numbers,
                twice,
                out_of_order,
            ]
            .map(thousands),
        );
        println!("Connections to {CUT}, cut under load\n{table}");
        broken.extend(outcome.problems());
    }
}

impl Outcome {
    fn compare(&mut self, before: &PeerStats, after: &PeerStats) {
        self.resumes = after.resumes - before.resumes;
        self.sessions_ended = after.sessions_ended - before.sessions_ended;
    }

    /// What was not as promised.
    fn problems(&self) -> Vec<String> {
        let mut problems = self.wrong.clone();
        let lost = self.asked - self.answered;
        let Counts {
            numbers,
            twice,
            out_of_order,
        } = self.counts;
        for (is_wrong, what) in [
            (self.cuts == 0, "no connection was cut".to_owned()),
            (
                self.resumes < self.cuts,
                format!(
                    "the session went on {} after {}",
                    count(self.resumes, "time", "times"),
                    count(self.cuts, "cut", "cuts")
                ),
            ),
            (
                self.sessions_ended > 0,
                "a cut connection ended its session".to_owned(),
            ),
            (
                lost > 0,
                count(
                    lost,
                    "request was not answered",
                    "requests were not answered",
                ),
            ),
            (
                numbers != self.asked || twice > 0 || out_of_order > 0,
                format!(
                    "of {} requests {numbers} ran, {twice} of them twice, {out_of_order} out of order",
                    self.asked
                ),
            ),
        ] {
            if is_wrong {
                problems.push(what);
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_or_doubled_is_a_broken_promise() {
        let kept = || Outcome {
            cuts: 3,
            resumes: 3,
            asked: 100,
            answered: 100,
            counts: Counts {
                numbers: 100,
                twice: 0,
                out_of_order: 0,
            },
            ..Outcome::default()
        };
        assert_eq!(kept().problems(), [""; 0]);
        let spoilt: [fn(&mut Outcome); 7] = [
            |outcome| outcome.cuts = 0,
            |outcome| outcome.resumes = 2,
            |outcome| outcome.sessions_ended = 1,
            |outcome| outcome.answered = 99,
            |outcome| outcome.counts.numbers = 99,
            |outcome| outcome.counts.twice = 1,
            |outcome| outcome.counts.out_of_order = 1,
        ];
        for spoil in spoilt {
            let mut outcome = kept();
            spoil(&mut outcome);
            assert_eq!(outcome.problems().len(), 1, "{outcome:?}");
        }
    }
}
