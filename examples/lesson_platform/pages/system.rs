//! The page about the running system: dense, for those who operate it.

use serde::Serialize;

use super::{Tab, escape, page, put};
use crate::calls::{CallsOfPart, readable};
use crate::report::thousands;

/// The running system in figures; `/system.json` is this, `/system` shows it as tables.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SystemReport {
    pub(crate) uptime_seconds: f64,
    pub(crate) tree: Vec<Node>,
    pub(crate) calls: Vec<CallsOfPart>,
    pub(crate) mailboxes: Vec<MailboxRow>,
    pub(crate) figures: Vec<Figure>,
    pub(crate) problems: Vec<String>,
}

/// A line of the supervision tree.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Node {
    pub(crate) depth: usize,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) state: String,
    pub(crate) healthy: bool,
    pub(crate) restarts: u64,
    /// Why it last ended.
    pub(crate) last_cause: Option<String>,
    pub(crate) pid: Option<u32>,
}

/// How full a mailbox is.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct MailboxRow {
    pub(crate) actor: String,
    pub(crate) arbiter: usize,
    pub(crate) queued: usize,
    /// The most that ever waited at once.
    pub(crate) most: usize,
    pub(crate) capacity: usize,
}

/// Anything else that is counted.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) value: u64,
}

/// The system page.
pub(crate) fn system(report: &SystemReport) -> String {
    let mut body = String::new();
    put(
        &mut body,
        format_args!(
            "<h1>System</h1>\n<p class=\"meta\">Up for {:.0} s &middot; <a href=\"/system.json\">as JSON</a></p>\n",
            report.uptime_seconds
        ),
    );
    for problem in &report.problems {
        put(
            &mut body,
            format_args!("<p class=\"notice failed\">{}</p>\n", escape(problem)),
        );
    }
    tree(&mut body, &report.tree);
    calls(&mut body, &report.calls);

    table(
        &mut body,
        "Mailboxes",
        &["Actor", "Arbiter", "Queued", "At most", "Capacity"],
        1,
    );
    for row in &report.mailboxes {
        put(
            &mut body,
            format_args!(
                "<tr><th>{}</th>{}{}{}{}</tr>\n",
                escape(&row.actor),
                num(row.arbiter),
                num(row.queued),
                num(row.most),
                num(row.capacity)
            ),
        );
    }
    body.push_str("</tbody></table>\n");

    table(
        &mut body,
        "Counted since the start",
        &["What", "How often"],
        1,
    );
    for figure in &report.figures {
        put(
            &mut body,
            format_args!(
                "<tr><th>{}</th>{}</tr>\n",
                escape(figure.name),
                num(thousands(figure.value))
            ),
        );
    }
    body.push_str("</tbody></table>\n");
    page("System", Tab::System, &body)
}

fn tree(body: &mut String, nodes: &[Node]) {
    body.push_str("<h2>Supervision tree</h2>\n<pre class=\"tree\">");
    for node in nodes {
        let class = match (node.healthy, node.restarts) {
            (false, _) => "bad",
            (true, 0) => "ok",
            (true, _) => "warn",
        };
        let indent = "   ".repeat(node.depth);
        put(
            body,
            format_args!(
                "{indent}<span class=\"{class}\">{}</span> <span class=\"dim\">{}</span> {}",
                escape(&node.name),
                escape(&node.kind),
                escape(&node.state)
            ),
        );
        if let Some(pid) = node.pid {
            put(body, format_args!(" <span class=\"dim\">pid {pid}</span>"));
        }
        if node.restarts > 0 {
            let times = if node.restarts == 1 { "time" } else { "times" };
            put(
                body,
                format_args!(
                    ", <span class=\"warn\">restarted {} {times}</span>",
                    node.restarts
                ),
            );
        }
        if let Some(cause) = &node.last_cause {
            put(
                body,
                format_args!(" <span class=\"dim\">(last: {})</span>", escape(cause)),
            );
        }
        body.push('\n');
    }
    body.push_str("</pre>\n");
}

fn calls(body: &mut String, rows: &[CallsOfPart]) {
    table(
        body,
        "Calls by verdict",
        &[
            "Part",
            "Boundary",
            "Calls",
            "Answered",
            "Not sent",
            "Not executed",
            "Maybe executed",
            "Executed",
            "p50",
            "p99",
        ],
        2,
    );
    for row in rows {
        put(
            body,
            format_args!("<tr><th>{}</th><td>{}</td>", row.part, row.boundary),
        );
        for count in [
            row.calls,
            row.answered,
            row.not_sent,
            row.not_executed,
            row.maybe_executed,
            row.executed,
        ] {
            body.push_str(&num(thousands(count)));
        }
        body.push_str(&num(readable(row.p50_micros)));
        body.push_str(&num(readable(row.p99_micros)));
        body.push_str("</tr>\n");
    }
    body.push_str("</tbody></table>\n");
}

/// Opens a table; the columns after the first `text` ones hold figures.
fn table(body: &mut String, caption: &str, columns: &[&str], text: usize) {
    put(
        body,
        format_args!("<table class=\"data\"><caption>{caption}</caption><thead><tr>"),
    );
    for (number, column) in columns.iter().enumerate() {
        let class = if number < text { "" } else { " class=\"num\"" };
        put(body, format_args!("<th{class}>{column}</th>"));
    }
    body.push_str("</tr></thead><tbody>\n");
}

fn num(value: impl std::fmt::Display) -> String {
    format!("<td class=\"num\">{value}</td>")
}
