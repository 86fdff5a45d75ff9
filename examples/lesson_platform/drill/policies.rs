//! Policies that are edited while pages are asked for: what somebody on call would do, a slip of theirs included.
//!
//! While `metadata` is silent all pages wait for it in vain, until the file switches its breaker on. Later a file with a
//! slip in it is written, and then the first one again.

use std::time::Duration;

use callboard::clock::Instant;
use callboard::supervision::{CallSettings, FilePosition, PolicyFileError, PolicyFileStatus};

use super::{Drill, Seen};
use crate::calls::{Part, readable};
use crate::platform::policies::{OWN_POLICIES, write};
use crate::report::{Table, thousands};

/// What is edited.
const EDITED: Part = Part::Metadata;
/// How often it is looked whether the file was.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A file that hasn't been looked at by then will not be.
const GIVE_UP: Duration = Duration::from_secs(5);

/// What came of the edits.
#[derive(Debug, Default)]
pub(super) struct Edits {
    /// For the table: what was written, when, and what became of it.
    rows: Vec<(&'static str, Instant, String)>,
    /// While the part was silent: since when its breaker was on.
    breaker_on: Option<Instant>,
    /// How many of its calls a breaker had refused by then.
    refused_before: u64,
    /// How many pages had come when the slip was refused.
    seen_at_slip: usize,
    /// What was not as promised.
    wrong: Vec<String>,
}

impl Drill {
    // ANCHOR: edit
    /// The part is silent, and each page waits for it as long as it may. Now its breaker is switched on.
    pub(super) async fn switch_breaker_on(&self) {
        let policy = self.platform.policies.of(EDITED);
        let before = policy.stats().broken;
        let changed = |now: &PolicyFileStatus| now.changes > 0;
        let Some(status) = self.edit(with_breaker(OWN_POLICIES), changed).await else {
            return self.wrong_edit("the breaker in the file was not switched on");
        };
        let now = self.clock.now();
        let mut edits = self.edits.lock();
        (edits.breaker_on, edits.refused_before) = (Some(now), before);
        let what = "the breaker of metadata, on";
        edits.rows.push((what, now, outcome(&status)));
        if policy.settings().breaker.is_none() {
            edits.wrong.push(format!("{what}: the policy has none"));
        }
    }
    // ANCHOR_END: edit

    /// A misspelt setting: nothing changes, and it is said where it is.
    pub(super) async fn make_a_slip(&self) {
        let (text, at) = with_slip(&with_breaker(OWN_POLICIES));
        let before = self.settings();
        let refused = |now: &PolicyFileStatus| now.last_error.is_some();
        let Some(status) = self.edit(text, refused).await else {
            return self.wrong_edit("the file with a slip in it was not refused");
        };
        let found = status.last_error.as_ref().and_then(PolicyFileError::at);
        let seen = self.seen.lock().len();
        let mut edits = self.edits.lock();
        edits.seen_at_slip = seen;
        let now = self.clock.now();
        edits.rows.push(("a slip", now, outcome(&status)));
        if found != Some(at) {
            let wrong = format!("the slip is at {at}, but the refusal says {found:?}");
            edits.wrong.push(wrong);
        }
        if status.changes != 1 || self.settings() != before {
            let wrong = "a file that was refused has changed something";
            edits.wrong.push(wrong.to_owned());
        }
    }

    /// All as it was in the beginning.
    pub(super) async fn write_the_first_one_again(&self) {
        let pages = self.seen.lock().len();
        let taken = |now: &PolicyFileStatus| now.changes > 1 && now.last_error.is_none();
        let Some(status) = self.edit(OWN_POLICIES.to_owned(), taken).await else {
            return self.wrong_edit("the first file was not taken back");
        };
        let now = self.clock.now();
        let mut edits = self.edits.lock();
        edits
            .rows
            .push(("the first one again", now, outcome(&status)));
        if pages <= edits.seen_at_slip {
            let wrong = "no page came while the file had a slip in it";
            edits.wrong.push(wrong.to_owned());
        }
    }

    /// Writes the file, and waits until the platform has seen it.
    async fn edit(
        &self,
        text: String,
        seen: impl Fn(&PolicyFileStatus) -> bool,
    ) -> Option<PolicyFileStatus> {
        let policies = &self.platform.policies;
        let path = policies.path();
        let written = tokio::task::spawn_blocking(move || write(&path, &text)).await;
        if !matches!(written, Ok(Ok(()))) {
            self.wrong_edit(&format!("the file could not be written: {written:?}"));
            return None;
        }
        let from = self.clock.now();
        while self.clock.now().since(from) < GIVE_UP {
            let status = policies.status();
            if seen(&status) {
                self.say(&format!("policy file edited: {}", outcome(&status)));
                return Some(status);
            }
            self.clock.sleep(LOOK_EVERY).await;
        }
        None
    }

    fn settings(&self) -> Vec<CallSettings> {
        let of = |part| self.platform.policies.of(part).settings();
        Part::ALL.into_iter().map(of).collect()
    }

    fn wrong_edit(&self, what: &str) {
        self.edits.lock().wrong.push(what.to_owned());
    }

    /// Whether the change was felt, and the slip was not.
    pub(super) fn judge_policies(&self, broken: &mut Vec<String>) {
        let (seen, faults, edits) = (self.seen.lock(), self.faults.lock(), self.edits.lock());
        broken.extend(edits.wrong.iter().cloned());
        let mut table = Table::new(1, ["policy file", "at", "what became of it"]);
        for (what, at, outcome) in &edits.rows {
            let at = at.since(self.started).as_secs_f64();
            table.row([(*what).to_owned(), format!("{at:.1} s"), outcome.clone()]);
        }
        println!("Policies, edited while pages were asked for\n{table}");

        let Some(edited) = edits.breaker_on else {
            return;
        };
        // The part was away more than once.
        let silent = faults.iter().filter(|fault| fault.part == EDITED);
        let mut silent = silent.filter_map(|fault| Some((fault.from, fault.to?)));
        let Some((from, to)) = silent.find(|(from, to)| (*from..=*to).contains(&edited)) else {
            return;
        };
        let refused = self.platform.policies.of(EDITED).stats().broken;
        let mut table = Table::new(
            1,
            [
                "while metadata was silent",
                "pages without it",
                "half of them within",
                "calls refused by the breaker",
            ],
        );
        let before = waits(&seen, from, edited);
        let after = waits(&seen, edited, to);
        let refused_after = refused - edits.refused_before.min(refused);
        for (when, waits, refused) in [
            ("before the edit", &before, edits.refused_before),
            ("after the edit", &after, refused_after),
        ] {
            table.row([
                when.to_owned(),
                thousands(waits.len() as u64),
                median(waits).map_or("-".to_owned(), shown),
                thousands(refused),
            ]);
        }
        println!("{table}");
        if edits.refused_before > 0 {
            broken.push("a breaker refused calls before it was switched on".to_owned());
        }
        if refused_after == 0 {
            broken.push("the breaker was switched on and refused nothing".to_owned());
        }
        match (median(&before), median(&after)) {
            (Some(before), Some(after)) if after < before => {}
            (before, after) => broken.push(format!(
                "pages took {before:?} before the breaker was on, {after:?} then"
            )),
        }
    }
}

/// The file with the line that it has as a comment for us.
fn with_breaker(text: &str) -> String {
    text.replace("\n# breaker = ", "\nbreaker = ")
}

/// The file with a slip in it, and where that is.
fn with_slip(text: &str) -> (String, FilePosition) {
    let text = text.replacen("attempt.limit", "attempt.limt", 1);
    let at = text.lines().zip(1..).find_map(|(text, line)| {
        let before = text.find("limt")?;
        Some((line, before + 1))
    });
    let (line, column) = at.unwrap_or_default();
    (text, FilePosition { line, column })
}

/// What the file did last, in a few words.
fn outcome(status: &PolicyFileStatus) -> String {
    let at = status.last_error.as_ref().and_then(PolicyFileError::at);
    match at {
        Some(at) => format!("refused, line {} column {}", at.line, at.column),
        None if status.last_error.is_some() => "refused".to_owned(),
        None => format!("taken, change {}", status.changes),
    }
}

/// How long pages took that came without the part, and were asked for and answered between these.
fn waits(seen: &[Seen], from: Instant, to: Instant) -> Vec<Duration> {
    let without = |seen: &&Seen| {
        let missed = seen
            .page
            .as_ref()
            .is_ok_and(|parts| parts.contains(&EDITED));
        missed && seen.from >= from && seen.to <= to
    };
    let mut waits: Vec<Duration> = seen
        .iter()
        .filter(without)
        .map(|seen| seen.to.since(seen.from))
        .collect();
    waits.sort();
    waits
}

fn median(sorted: &[Duration]) -> Option<Duration> {
    sorted.get(sorted.len() / 2).copied()
}

fn shown(took: Duration) -> String {
    readable(u64::try_from(took.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use callboard::supervision::PolicyFile;

    use super::*;

    #[test]
    fn the_edits_are_what_they_say() {
        let first = PolicyFile::parse("p", OWN_POLICIES).unwrap();
        let mut changed = PolicyFile::parse("p", &with_breaker(OWN_POLICIES)).unwrap();
        let metadata = changed.get_mut(&EDITED.to_string()).unwrap();
        assert!(metadata.breaker.take().is_some());
        assert_eq!(changed, first, "and nothing else");

        let (text, at) = with_slip(&with_breaker(OWN_POLICIES));
        let refused = PolicyFile::parse("p", &text).unwrap_err();
        assert_eq!(refused.at(), Some(at), "{refused}");
        assert_eq!(refused.problems.len(), 1, "{refused}");
    }

    #[test]
    fn only_pages_without_the_part_and_within_that_time_count() {
        let ms = |number: u64| Instant::default() + Duration::from_millis(number);
        let seen = |from, to, missing: &[Part]| Seen {
            from: ms(from),
            to: ms(to),
            page: Ok(missing.to_vec()),
        };
        let all = [
            seen(100, 500, &[EDITED]),
            seen(90, 490, &[EDITED]),
            seen(200, 501, &[EDITED]),
            seen(200, 300, &[Part::Views]),
            seen(200, 202, &[EDITED]),
            seen(200, 220, &[EDITED]),
        ];
        let waits = waits(&all, ms(100), ms(500));
        assert_eq!(waits, [2, 20, 400].map(Duration::from_millis));
        assert_eq!(median(&waits), Some(Duration::from_millis(20)));
        assert_eq!(median(&[]), None);
    }
}
