//! How the parts are asked, on the system page: the file, what each policy did, and all of it for people.

use callboard::supervision::{BreakerState, Explanation, PolicyFileStatus};

use super::system::Sheet;
use super::{escape, put};
use crate::report::{count, thousands};

pub(super) fn write_policies(body: &mut String, policies: &[Explanation], file: &PolicyFileStatus) {
    body.push_str("<h2>Call policies</h2>\n");
    let path = file.path.display().to_string();
    put(
        body,
        format_args!(
            "<p class=\"meta\">From <code>{}</code>, version {}: {}, {}</p>\n",
            escape(&path),
            escape(&file.version),
            count(file.changes, "change", "changes"),
            count(file.refusals, "refusal", "refusals"),
        ),
    );
    if let Some(error) = &file.last_error {
        // A line for each problem.
        put(
            body,
            format_args!(
                "<div class=\"notice failed\"><p>The file as it stands is refused; what it said before holds.</p>\
                 <pre>{}</pre></div>\n",
                escape(&error.to_string())
            ),
        );
    }
    let sheet = Sheet::new(
        "What the policies did",
        &["Policy", "Breaker"],
        &[
            "Requests",
            "Tried again",
            "Answered then",
            "Timed out",
            "Over budget",
            "Out of time",
            "Refused by breaker",
            "Failed",
            "Changed",
        ],
    );
    sheet.write(body, policies, |policy| {
        let stats = &policy.stats;
        let counts = [
            stats.requests,
            stats.retries,
            stats.recovered,
            stats.timed_out,
            stats.over_budget,
            stats.out_of_time,
            stats.broken,
            stats.failed,
            policy.changes,
        ];
        [policy.name.clone(), breaker(policy).to_owned()]
            .into_iter()
            .chain(counts.map(thousands))
            .collect()
    });
    body.push_str("<pre class=\"tree\">");
    for policy in policies {
        put(body, format_args!("{}", escape(&policy.to_string())));
    }
    body.push_str("</pre>\n");
}

/// Each policy here is for one part.
fn breaker(policy: &Explanation) -> &'static str {
    let state = policy.callees.first().and_then(|callee| callee.breaker);
    match (&policy.settings.breaker, state) {
        (None, _) => "off",
        (Some(_), None | Some(BreakerState::Closed { .. })) => "closed",
        (Some(_), Some(BreakerState::Open { .. })) => "open",
        (Some(_), Some(_)) => "half open",
    }
}
