//! The page about the running system: dense, for those who operate it.

use std::fmt::Display;

use callboard::PoolState;
use callboard::supervision::{ChildState, Explanation, PolicyFileStatus, TreeSnapshot};
use serde::Serialize;

use super::observed::write_observed;
use super::policies::write_policies;
use super::spans::PagesReport;
use super::{Tab, escape, page, put};
use crate::calls::{CallsOfPart, Part, readable};
use crate::report::thousands;

/// More renderers than that would only wait for a processor.
pub(crate) const MOST_RENDERERS: usize = 16;

/// The running system in figures; `/system.json` is this, `/system` shows it as tables.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SystemReport {
    pub(crate) uptime_seconds: f64,
    pub(crate) tree: TreeSnapshot,
    pub(crate) calls: Vec<CallsOfPart>,
    /// How each part is asked: what that is set to, what it did, how its callee looks from here.
    pub(crate) policies: Vec<Explanation>,
    /// The file that says so.
    pub(crate) policy_file: PolicyFileStatus,
    pub(crate) links: Vec<Link>,
    /// The pool beside the tree.
    pub(crate) renderers: PoolState,
    /// What actors show of themselves.
    pub(crate) observed: Vec<ObservedRow>,
    /// The spans of the last pages, if they are kept.
    pub(crate) pages: Option<PagesReport>,
    pub(crate) drops: Vec<DropRow>,
    pub(crate) mailboxes: Vec<MailboxRow>,
    pub(crate) figures: Vec<Figure>,
    /// Lessons and pictures that can't be shown.
    pub(crate) problems: Vec<String>,
}

/// A connection to a process.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Link {
    pub(crate) to: Part,
    pub(crate) boundary: &'static str,
    pub(crate) state: String,
    pub(crate) connects: u64,
    pub(crate) losses: u64,
    pub(crate) bytes_out: u64,
    pub(crate) bytes_in: u64,
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

/// What an actor showed of itself.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ObservedRow {
    pub(crate) actor: String,
    /// Over several lines; `None` if it never came to that.
    pub(crate) state: Option<String>,
    /// Whether it came to it while the page was made. If not, it was busy.
    pub(crate) is_fresh: bool,
    pub(crate) age_millis: Option<u64>,
}

/// Messages that were dropped for one reason.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct DropRow {
    pub(crate) reason: &'static str,
    pub(crate) count: u64,
    /// Whom most of them were meant for.
    pub(crate) targets: Vec<String>,
}

/// Anything else that is counted.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) value: u64,
}

/// The system page.
pub(crate) fn system(report: &SystemReport) -> String {
    let mut body = format!(
        "<h1>System</h1>\n\
         <p class=\"meta\">Up for {:.0} s &middot; <a href=\"/system.json\">as JSON</a></p>\n",
        report.uptime_seconds
    );
    for problem in &report.problems {
        put(
            &mut body,
            format_args!("<p class=\"notice failed\">{}</p>\n", escape(problem)),
        );
    }
    body.push_str("<h2>Supervision tree</h2>\n<pre class=\"tree\">");
    draw(&mut body, &report.tree, 0);
    draw_pool(&mut body, &report.renderers);
    body.push_str("</pre>\n");
    if let Some(pages) = &report.pages {
        pages.write(&mut body);
    }
    write_observed(&mut body, &report.observed);
    write_pool(&mut body, &report.renderers);

    let calls = Sheet::new(
        "Calls, by what is known about them",
        &["Part", "Boundary"],
        &[
            "Calls",
            "Answered",
            "Not sent",
            "Not executed",
            "Maybe executed",
            "Executed",
            "p50",
            "p99",
        ],
    );
    calls.write(&mut body, &report.calls, |row| {
        let counts = [
            row.calls,
            row.answered,
            row.not_sent,
            row.not_executed,
            row.maybe_executed,
            row.executed,
        ];
        let times = [row.p50_micros, row.p99_micros].map(readable);
        let names = [row.part.to_string(), row.boundary.to_owned()];
        names
            .into_iter()
            .chain(counts.map(thousands))
            .chain(times)
            .collect()
    });

    write_policies(&mut body, &report.policies, &report.policy_file);

    let links = Sheet::new(
        "Links to other processes",
        &["To", "Over", "State"],
        &["Connected", "Lost", "Bytes out", "Bytes in"],
    );
    links.write(&mut body, &report.links, |row| {
        let counts = [row.connects, row.losses, row.bytes_out, row.bytes_in].map(thousands);
        [
            row.to.to_string(),
            row.boundary.to_owned(),
            row.state.clone(),
        ]
        .into_iter()
        .chain(counts)
        .collect()
    });

    let mailboxes = Sheet::new(
        "Mailboxes",
        &["Actor"],
        &["Arbiter", "Queued", "At most", "Capacity"],
    );
    mailboxes.write(&mut body, &report.mailboxes, |row| {
        let counts = [row.arbiter, row.queued, row.most, row.capacity];
        let counts = counts.map(|count| thousands(count as u64));
        std::iter::once(row.actor.clone()).chain(counts).collect()
    });

    let drops = Sheet::new(
        "Dropped messages and late answers of this process, by reason",
        &["Reason", "Most of them to"],
        &["How often"],
    );
    drops.write(&mut body, &report.drops, |row| {
        vec![
            row.reason.replace('_', " "),
            row.targets.join(", "),
            thousands(row.count),
        ]
    });

    let figures = Sheet::new("Counted since the start", &["What"], &["How often"]);
    figures.write(&mut body, &report.figures, |row| {
        vec![row.name.to_owned(), thousands(row.value)]
    });
    page("System", Tab::System, &body)
}

/// One line for each child, with what is below it.
fn draw(body: &mut String, node: &TreeSnapshot, depth: usize) {
    let class = match (node.state, node.restarts) {
        (ChildState::Running, 0) => "ok",
        (ChildState::Running | ChildState::Starting, _) => "warn",
        _ => "bad",
    };
    put(
        body,
        format_args!(
            "{}<span class=\"{class}\">{}</span> <span class=\"dim\">{}</span> {}",
            "   ".repeat(depth),
            escape(&node.label),
            node.kind,
            node.state
        ),
    );
    if let Some(rules) = &node.supervises {
        let seconds = rules.period_ms.div_ceil(1_000);
        put(
            body,
            format_args!(
                " <span class=\"dim\">{}, {} of {} restarts in {seconds} s counted, {}</span>",
                rules.strategy, rules.counted, rules.max_restarts, rules.worst_case
            ),
        );
    }
    if let Some(pid) = node.pid {
        put(body, format_args!(" <span class=\"dim\">pid {pid}</span>"));
    }
    if node.restarts > 0 {
        let times = if node.restarts == 1 { "once" } else { "times" };
        let count = if node.restarts == 1 {
            String::new()
        } else {
            format!("{} ", node.restarts)
        };
        put(
            body,
            format_args!(", <span class=\"warn\">restarted {count}{times}</span>"),
        );
    }
    if let Some(cause) = &node.last_cause {
        put(
            body,
            format_args!(" <span class=\"dim\">(last: {})</span>", escape(cause)),
        );
    }
    body.push('\n');
    for child in &node.children {
        draw(body, child, depth + 1);
    }
}

/// The pool, below the tree: it supervises its own.
fn draw_pool(body: &mut String, pool: &PoolState) {
    let class = match (pool.down, pool.restarts) {
        (0, 0) => "ok",
        (0, _) => "warn",
        _ => "bad",
    };
    put(
        body,
        format_args!(
            "<span class=\"{class}\">renderers</span> <span class=\"dim\">pool</span> {} of {} up",
            pool.workers - pool.down,
            pool.workers
        ),
    );
    if pool.restarts > 0 {
        put(
            body,
            format_args!(", <span class=\"warn\">made anew: {}</span>", pool.restarts),
        );
    }
    body.push('\n');
}

fn write_pool(body: &mut String, pool: &PoolState) {
    let sheet = Sheet::new(
        "Renderers: a pool",
        &[],
        &[
            "Workers",
            "Down",
            "Retiring",
            "Queued",
            "Senders in line",
            "Taken so far",
            "Made anew",
        ],
    );
    sheet.write(body, &[*pool], |pool| {
        let now = [
            pool.workers,
            pool.down,
            pool.retiring,
            pool.queued,
            pool.waiting_senders,
        ];
        let now = now.map(|count| thousands(count as u64));
        let since = [pool.accepted, pool.restarts].map(thousands);
        now.into_iter().chain(since).collect()
    });
    put(
        body,
        format_args!(
            "<form class=\"resize\" method=\"post\" action=\"/system/renderers\">
<label for=\"workers\">Renderers</label>
<input id=\"workers\" name=\"workers\" type=\"number\" min=\"1\" max=\"{MOST_RENDERERS}\" value=\"{}\" required>
<button>Resize the pool</button>
</form>\n",
            pool.workers
        ),
    );
}

/// A table: first columns of text, then columns of figures.
pub(super) struct Sheet<'a> {
    caption: &'a str,
    text: &'a [&'a str],
    figures: &'a [&'a str],
}

impl<'a> Sheet<'a> {
    pub(super) fn new(caption: &'a str, text: &'a [&'a str], figures: &'a [&'a str]) -> Self {
        Sheet {
            caption,
            text,
            figures,
        }
    }

    pub(super) fn write<T>(
        &self,
        body: &mut String,
        rows: &[T],
        cells: impl Fn(&T) -> Vec<String>,
    ) {
        put(
            body,
            format_args!(
                "<table class=\"data\"><caption>{}</caption><thead><tr>",
                self.caption
            ),
        );
        let head = self.text.iter().chain(self.figures);
        self.row(body, "th", head);
        body.push_str("</tr></thead><tbody>\n");
        for row in rows {
            body.push_str("<tr>");
            self.row(body, "td", cells(row).iter());
            body.push_str("</tr>\n");
        }
        body.push_str("</tbody></table>\n");
    }

    fn row<T: Display>(&self, body: &mut String, tag: &str, cells: impl Iterator<Item = T>) {
        for (number, cell) in cells.enumerate() {
            let class = if number < self.text.len() {
                ""
            } else {
                " class=\"num\""
            };
            let cell = cell.to_string();
            put(
                body,
                format_args!("<{tag}{class}>{}</{tag}>", escape(&cell)),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use callboard::Simulation;
    use callboard::supervision::Supervisor;

    use super::*;

    #[test]
    fn a_supervisor_shows_by_which_rules_it_works_and_how_near_it_is_to_giving_up() {
        let mut simulation = Simulation::new(1);
        let system = simulation.system().clone();
        let tree = simulation.block_on(async move {
            let index = system.actor(crate::actors::IndexActor::default);
            let (index, place) = index.label("index").place();
            let search = Supervisor::builder("search").rest_for_one().child(place);
            let search = search.start(&system).unwrap();
            search.up().await.unwrap();
            index.kill();
            let again = |tree: &TreeSnapshot| {
                tree.restarts_below() == 1 && tree.children[0].state == ChildState::Running
            };
            search.until(again).await
        });
        let mut drawn = String::new();
        draw(&mut drawn, &tree, 0);
        let wanted = "rest for one, 1 of 5 restarts in 10 s counted, at the worst 6 starts";
        assert!(drawn.contains(wanted), "{drawn}");
        assert!(drawn.contains("restarted once"), "{drawn}");
    }
}
