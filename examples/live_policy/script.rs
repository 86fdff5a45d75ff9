//! What happens when nobody edits the file by hand.

use std::time::Duration;

use callboard::supervision::CallSettings;

use super::callee::Health;
use super::load::Row;

/// How the file begins: no limit but the 30 s that every ask has.
pub(super) const OPEN: &str = "\
# How the pages ask for related pages.
[related]
retry = false
breaker = false
";

const LIMITED: &str = "\
# How the pages ask for related pages.
[related]
retry = false
breaker = false
attempt.limit = \"100ms\"
";

/// With a slip in it.
const SLIP: &str = "\
# How the pages ask for related pages.
[related]
retry = false
breaker = false
attempt.limt = \"50ms\"
";

const BREAKING: &str = "\
# How the pages ask for related pages.
[related]
retry = false
attempt.limit = \"100ms\"

[related.breaker]
consecutive = 5
open = \"250ms\"
max_open = \"500ms\"
";

/// The limit in them.
pub(super) const LIMIT: Duration = Duration::from_millis(100);

/// What the rows are, by their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Well,
    Unlimited,
    Limited,
    Slip,
    Worse,
    Breaking,
    WellAgain,
}

/// What happens before a row of the table.
pub(super) struct Step {
    pub(super) part: Part,
    pub(super) title: &'static str,
    /// How it is with the callee from now on.
    pub(super) health: Health,
    /// What is written to the file.
    pub(super) file: Option<&'static str>,
}

pub(super) fn steps() -> Vec<Step> {
    let step = |part, title, health, file| Step {
        part,
        title,
        health,
        file,
    };
    vec![
        step(Part::Well, "all is well", Health::Well, None),
        step(
            Part::Unlimited,
            "six in ten answers come late",
            Health::Slow,
            None,
        ),
        step(Part::Limited, "with a limit", Health::Slow, Some(LIMITED)),
        step(Part::Slip, "with a slip in it", Health::Slow, Some(SLIP)),
        step(Part::Worse, "all answers come late", Health::Worse, None),
        step(
            Part::Breaking,
            "with a breaker",
            Health::Worse,
            Some(BREAKING),
        ),
        step(
            Part::WellAgain,
            "all is well, nobody edits",
            Health::Well,
            None,
        ),
    ]
}

/// What is said of a row, and whether it holds. How long something took is only said in virtual time.
pub(super) fn claim(
    part: Part,
    row: &Row,
    settings: &CallSettings,
    is_virtual: bool,
) -> (bool, String) {
    let (all, p50, p99) = (row.requests(), row.percentile(50), row.percentile(99));
    let at_most = |took: Duration, limit: Duration| !is_virtual || took <= limit;
    let at_least = |took: Duration, limit: Duration| !is_virtual || took >= limit;
    let limited = settings.attempt.limit == Some(LIMIT);
    match part {
        Part::Well => (
            row.full == all && at_most(p99, LIMIT),
            "all answers are full".to_owned(),
        ),
        Part::Unlimited => (
            row.full == all && at_least(p50, LIMIT * 4),
            format!("full as well, and half of them take over {} ms", 4 * 100),
        ),
        Part::Limited => (
            limited && row.degraded > all / 2 && row.full > all / 4 && at_most(p99, LIMIT),
            "none takes longer than the limit; what isn't there by then is left out".to_owned(),
        ),
        Part::Slip => (
            limited && row.degraded > all / 2 && at_most(p99, LIMIT),
            "the file was refused, and all is as before".to_owned(),
        ),
        Part::Worse => (
            row.full == 0 && row.reached == all && at_least(p50, LIMIT),
            "all wait for as long as they may, for nothing, and the callee works for nobody"
                .to_owned(),
        ),
        Part::Breaking => (
            row.full == 0 && row.reached < all / 10 && at_most(p50, Duration::ZERO),
            "degraded at once, and the callee is left alone but for those who look after it"
                .to_owned(),
        ),
        Part::WellAgain => (
            row.full > all - all / 4,
            "the next one who looks finds it well, and the breaker closes".to_owned(),
        ),
    }
}
