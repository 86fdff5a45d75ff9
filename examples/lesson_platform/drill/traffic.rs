//! Visitors: page after page, at a steady pace.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{Either, join_all, select};

use super::{CLIENTS, Drill, LENGTH, PAGES, Seen};
use crate::calls::Part;
use crate::client::{Client, Response};
use crate::lessons::Lesson;
use crate::pages::escape;
use crate::web::MISSING;

/// A page that takes longer is no page.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a visitor looks at.
enum Page<'a> {
    List,
    Search(&'a Lesson),
    Lesson(&'a Lesson),
}

impl Drill {
    pub(super) async fn visit_pages(&self) {
        let next = AtomicUsize::new(0);
        join_all((0..CLIENTS).map(|_| self.visitor(&next))).await;
    }

    /// One client: takes the next page from the common plan, waits until it is due, and asks for it.
    async fn visitor(&self, next: &AtomicUsize) {
        let lessons: Vec<&Lesson> = self.platform.library.lessons().collect();
        let mut client = Client::new(self.server);
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= PAGES {
                return;
            }
            let due = LENGTH.mul_f64(number as f64 / PAGES as f64);
            self.clock.sleep_until(self.started + due).await;
            let lesson = lessons[number % lessons.len()];
            let page = match number / lessons.len() % 10 {
                0 => Page::List,
                1 => Page::Search(lesson),
                _ => Page::Lesson(lesson),
            };
            let from = self.clock.now();
            let page = self.visit(&mut client, &page).await;
            let to = self.clock.now();
            self.note(Seen { from, to, page });
        }
    }

    async fn visit(&self, client: &mut Client, page: &Page<'_>) -> Result<Vec<Part>, String> {
        let (path, expected) = match page {
            Page::List => ("/".to_owned(), "<h1>Lessons</h1>".to_owned()),
            Page::Search(lesson) => {
                let words = lesson
                    .title
                    .replace(|c: char| !c.is_ascii_alphanumeric(), "+");
                (format!("/search?q={words}"), "<h1>Search</h1>".to_owned())
            }
            Page::Lesson(lesson) => {
                let title = format!("<h1>{}</h1>", escape(&lesson.title));
                (format!("/lessons/{}", lesson.slug), title)
            }
        };
        let patience = self.clock.sleep(PATIENCE);
        let answered = match select(Box::pin(client.get(&path)), patience).await {
            Either::Left((answered, _)) => answered,
            Either::Right(_) => Err(std::io::ErrorKind::TimedOut.into()),
        };
        let response = answered.map_err(|error| format!("{path}: {error}"))?;
        if response.status != 200 {
            return Err(format!("{path}: status {}", response.status));
        }
        if !response.text().contains(&expected) {
            return Err(format!("{path}: the page doesn't hold {expected}"));
        }
        missing_parts(&response).ok_or_else(|| format!("{path}: an unknown part is missing"))
    }

    fn note(&self, seen: Seen) {
        let mut all = self.seen.lock();
        all.push(seen);
        let degraded = all
            .iter()
            .filter(|seen| seen.page.as_ref().is_ok_and(|missing| !missing.is_empty()))
            .count();
        let failed = all.iter().filter(|seen| seen.page.is_err()).count();
        let note = format!("pages, {degraded} degraded, {failed} failed");
        self.progress.lock().update(all.len(), note);
    }
}

fn missing_parts(response: &Response) -> Option<Vec<Part>> {
    let Some(names) = response.header(MISSING) else {
        return Some(Vec::new());
    };
    let part = |name: &str| Part::ALL.into_iter().find(|part| part.to_string() == name);
    names.split(',').map(part).collect()
}
