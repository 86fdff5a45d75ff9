//! What actors show of themselves, on the system page.

use super::system::ObservedRow;
use super::{escape, put};

/// States of several lines, each with its age if its actor was too busy to show another.
pub(super) fn write_observed(body: &mut String, rows: &[ObservedRow]) {
    body.push_str(
        "<table class=\"data\"><caption>What actors of this process show of themselves</caption>\
         <thead><tr><th>Actor</th><th>State</th><th>As of</th></tr></thead><tbody>\n",
    );
    for row in rows {
        let state = row.state.as_deref().unwrap_or("nothing yet");
        put(
            body,
            format_args!(
                "<tr><td>{}</td><td class=\"state\">{}</td><td>{}</td></tr>\n",
                escape(&row.actor),
                escape(state),
                age(row)
            ),
        );
    }
    body.push_str("</tbody></table>\n");
}

fn age(row: &ObservedRow) -> String {
    match (row.is_fresh, row.age_millis) {
        (true, _) => "now".to_owned(),
        (false, Some(millis)) => format!("busy now; this was {:.1} s ago", millis as f64 / 1e3),
        (false, None) => "busy since it was first asked".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_busy_shows_what_was_and_since_when() {
        let row = |is_fresh, age_millis: Option<u64>| ObservedRow {
            actor: "<worker>".to_owned(),
            state: age_millis.map(|_| "State {\n    jobs: \"<3>\",\n}".to_owned()),
            is_fresh,
            age_millis,
        };
        let mut body = String::new();
        let rows = [
            row(true, Some(2)),
            row(false, Some(2_340)),
            row(false, None),
        ];
        write_observed(&mut body, &rows);
        for shown in [
            "<td>now</td>",
            "busy now; this was 2.3 s ago",
            "busy since it was first asked",
            "nothing yet",
            "&lt;worker&gt;",
            "jobs: &quot;&lt;3&gt;&quot;",
        ] {
            assert!(body.contains(shown), "{shown}: {body}");
        }
    }
}
