//! What the system page says of the pool, of actors, and of the last pages.

use std::io::{Read, Write};
use std::net::TcpStream;

use callboard::RequestKey;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use super::{PATIENCE, Platform, own_lessons, pid};

const LESSON: &str = "/lessons/paying-john-once";

impl Platform {
    /// Asks for another number of renderers.
    fn resize(&self, headers: &str, form: &str) -> String {
        let length = form.len();
        let head = format!(
            "POST /system/renderers HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\
             content-type: application/x-www-form-urlencoded\r\n{headers}"
        );
        self.send(&head, form.as_bytes())
    }
}

/// What an actor shows of itself.
fn state(figures: &Value, actor: &str) -> Option<String> {
    let all = figures["observed"].as_array().unwrap();
    let found = all.iter().find(|row| row["actor"] == actor)?;
    found["state"].as_str().map(str::to_owned)
}

/// The spans of the last page: depth, name and place of each.
fn spans(figures: &Value) -> Vec<(u64, String, String)> {
    let all = figures["pages"]["last"]["spans"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    all.iter()
        .map(|row| {
            let depth = row["depth"].as_u64().unwrap();
            (depth, text(&row["name"]), text(&row["place"]))
        })
        .collect()
}

#[test]
fn actors_show_what_they_have_done() {
    let platform = Platform::serve(&own_lessons());
    platform.get(LESSON);
    platform.get("/search?q=receipts");
    let of = |figures: &Value, actor: &str, shows: &str| {
        state(figures, actor).is_some_and(|state| state.contains(shows))
    };
    // Its workers index it in their own time.
    platform.until("the lesson is indexed", |now| {
        of(now, "index", "lessons: 1") && of(now, "index", "searches: 1")
    });
    let figures = platform.figures();
    let workers = figures["renderers"]["workers"].as_u64().unwrap();
    let rendered: usize = (1..=workers)
        .filter(|n| of(&figures, &format!("renderers-{n}"), "rendered: 1"))
        .count();
    assert_eq!(rendered, 1, "{figures:#}");
    assert_eq!(figures["renderers"]["accepted"], 1);
    assert!(of(&figures, "enrolment", "is_open: true"), "{figures:#}");
    let page = platform.get("/system");
    assert!(page.contains("RendererState {"), "{page}");
    // The pool is no child of the tree's.
    assert!(!figures["tree"].to_string().contains("renderer"));
    assert!(page.contains("renderers</span> <span class=\"dim\">pool</span>"));
}

#[test]
fn the_pool_is_resized_while_it_works() {
    let platform = Platform::serve(&own_lessons());
    for size in [5_u64, 1, 3] {
        let answer = platform.resize("", &format!("workers={size}"));
        assert!(answer.starts_with("HTTP/1.1 303 "), "{answer}");
        assert!(platform.get(LESSON).starts_with("HTTP/1.1 200 "));
        platform.until("it has its size", |now| {
            let pool = &now["renderers"];
            pool["workers"] == size && pool["retiring"] == 0
        });
        let listed = platform.figures()["observed"].to_string();
        assert_eq!(listed.matches("renderers-").count() as u64, size);
    }
    for form in ["workers=0", "workers=17", "workers=many", "workers=-1", ""] {
        let answer = platform.resize("", form);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{form}: {answer}");
        assert!(answer.contains("from 1 to 16"), "{form}: {answer}");
    }
    let answer = platform.resize("sec-fetch-site: cross-site\r\n", "workers=2");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(platform.figures()["renderers"]["workers"], 3);
}

#[test]
fn the_last_page_is_shown_span_by_span_down_to_its_actors() {
    let platform = Platform::serve(&own_lessons());
    assert_eq!(platform.figures()["pages"]["last"], Value::Null);
    let page = platform.get(LESSON);
    assert!(!page.contains("notice degraded"), "{page}");
    let figures = platform.figures();
    let spans = spans(&figures);
    let at = |depth: u64, name: &str, place: &str| {
        let found = spans
            .iter()
            .position(|span| span.0 == depth && span.1 == name && span.2.starts_with(place));
        found.unwrap_or_else(|| panic!("no {name} at {place}: {spans:?}"))
    };
    assert_eq!(at(0, &format!("GET {LESSON}"), ""), 0);
    // The renderer's handler is below its part, wherever it ran.
    assert_eq!(
        at(2, "Render", "renderers-"),
        at(1, "renderer", "same process") + 1
    );
    at(1, "thumbnails", "pipe");
    at(1, "views", "Unix socket");
    at(1, "metadata", "TCP");
    // Neither is a message: they run here, under the locks of topic and queue.
    at(1, "publish and offer", "");
    let rows = figures["pages"]["last"]["spans"].as_array().unwrap();
    assert!(
        rows.iter().all(|row| row["took_micros"].is_u64()),
        "{figures:#}"
    );
    let html = platform.get("/system");
    assert!(html.contains("The last page, span by span"), "{html}");
    assert!(html.contains("What other processes did for it has no spans here yet"));
}

#[test]
fn a_part_that_failed_says_so_in_its_span_and_in_the_slowest_page() {
    let platform = Platform::serve(&own_lessons());
    // The last child is the metadata service: its connection stays, its answers don't come.
    let metadata = pid(platform.children[2]);
    kill_process(metadata, Signal::STOP).unwrap();
    let page = platform.get(LESSON);
    assert!(page.contains("x-missing-parts: metadata"), "{page}");
    kill_process(metadata, Signal::CONT).unwrap();
    let figures = platform.figures();
    for which in ["last", "slowest"] {
        let rows = figures["pages"][which]["spans"].as_array().unwrap();
        let failed = rows.iter().filter(|row| row["failed"].is_string());
        let failed: Vec<&Value> = failed.map(|row| &row["name"]).collect();
        assert_eq!(failed, [&json!("metadata")], "{figures:#}");
    }
}

#[test]
fn without_spans_nothing_is_kept_and_all_else_works() {
    let platform = Platform::serve_with(&["--no-spans"], &own_lessons());
    assert!(platform.get(LESSON).starts_with("HTTP/1.1 200 "));
    let figures = platform.figures();
    assert_eq!(figures["pages"], Value::Null);
    assert!(state(&figures, "index").is_some());
    assert!(platform.get("/system").starts_with("HTTP/1.1 200 "));
}

#[test]
fn drops_are_shown_by_reason_and_receiver() {
    let platform = Platform::serve(&own_lessons());
    // The desk takes its time for each: who hangs up meanwhile withdraws what has not begun.
    let enrol = |number: usize| {
        let form = format!("learner=Learner+{number}&lesson=paying-john-once");
        let mut stream = TcpStream::connect(&platform.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "POST /enrol HTTP/1.1\r\nhost: x\r\nidempotency-key: {}\r\ncontent-length: {}\r\n\
             content-type: application/x-www-form-urlencoded\r\nconnection: close\r\n\r\n{form}",
            RequestKey::new(),
            form.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    platform.until("a withdrawn enrolment is counted", |now| {
        let drops = now["drops"].as_array().unwrap();
        let row = drops.iter().find(|row| row["reason"] == "withdrawn");
        if let Some(row) = row {
            assert_eq!(row["targets"], json!(["enrolment"]));
            return true;
        }
        let mut streams: Vec<TcpStream> = (0..4).map(enrol).collect();
        let mut answer = String::new();
        streams[0].read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        false
    });
    let page = platform.get("/system");
    assert!(
        page.contains("<td>withdrawn</td><td>enrolment</td>"),
        "{page}"
    );
}
