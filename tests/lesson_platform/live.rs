//! Views as they happen, over real connections.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use rustix::process::Signal;
use serde_json::Value;

use super::{PATIENCE, Platform, own_lessons};

const LESSON: &str = "/lessons/paying-john-once";

/// How many may watch at once.
const WATCHERS: u64 = 64;

/// A visitor's browser that listens to the views of the lesson.
struct Watching {
    stream: BufReader<TcpStream>,
}

impl Watching {
    fn start(platform: &Platform) -> Watching {
        let mut watching = Watching::try_start(platform);
        let head = watching.head();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        watching
    }

    fn try_start(platform: &Platform) -> Watching {
        let mut stream = TcpStream::connect(&platform.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {LESSON}/views HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let stream = BufReader::new(stream);
        Watching { stream }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.stream.read_line(&mut line).unwrap(), 0, "it has ended");
        line.trim_end().to_owned()
    }

    fn head(&mut self) -> String {
        let mut head = String::new();
        loop {
            match self.line() {
                line if line.is_empty() => return head,
                line => head = format!("{head}{line}\r\n"),
            }
        }
    }

    /// The next number of views.
    fn next(&mut self) -> u64 {
        loop {
            if let Some(views) = self.line().strip_prefix("data: ") {
                return views.parse().unwrap();
            }
        }
    }
}

fn watchers(figures: &Value) -> u64 {
    figure(figures, "visitors who watch views live")
}

fn figure(figures: &Value, name: &str) -> u64 {
    let all = figures["figures"].as_array().unwrap();
    let found = all.iter().find(|figure| figure["name"] == name).unwrap();
    found["value"].as_u64().unwrap()
}

#[test]
fn counts_come_as_pages_are_viewed_and_stop_when_the_visitor_leaves() {
    let platform = Platform::serve(&own_lessons());
    let (mut one, mut two) = (Watching::start(&platform), Watching::start(&platform));
    assert_eq!((one.next(), two.next()), (0, 0));
    for views in 1..=5 {
        // The other lesson is of no interest here.
        platform.get("/lessons/who-restarts-whom");
        platform.get(LESSON);
        assert_eq!((one.next(), two.next()), (views, views));
    }
    // Who comes later begins with the count of the other process.
    assert_eq!(Watching::start(&platform).next(), 5);

    platform.until("one visitor has left", |now| watchers(now) == 2);
    drop(one);
    platform.until("two visitors have left", |now| watchers(now) == 1);
    platform.get(LESSON);
    assert_eq!(two.next(), 6);
    drop(two);
    platform.until("all visitors have left", |now| watchers(now) == 0);
}

#[test]
fn there_is_room_for_so_many_and_others_are_told_at_once() {
    let platform = Platform::serve(&own_lessons());
    let mut all: Vec<Watching> = (0..WATCHERS).map(|_| Watching::start(&platform)).collect();
    let head = Watching::try_start(&platform).head();
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    // Pages are none of these.
    assert!(platform.get(LESSON).starts_with("HTTP/1.1 200 "));
    all.truncate(1);
    platform.until("all but one have left", |now| watchers(now) == 1);
    Watching::start(&platform);
}

#[test]
fn ctrl_c_ends_those_who_watch_and_does_not_wait_for_them() {
    let mut platform = Platform::serve(&own_lessons());
    let mut watching: Vec<Watching> = (0..3).map(|_| Watching::start(&platform)).collect();
    platform.signal(Signal::INT);
    for watching in &mut watching {
        let mut rest = Vec::new();
        watching.stream.read_to_end(&mut rest).unwrap();
        // The last chunk: it was ended, and didn't just break off.
        let rest = String::from_utf8(rest).unwrap();
        assert!(rest.ends_with("0\r\n\r\n"), "{rest:?}");
    }
    let mut rest = String::new();
    platform.output.read_to_string(&mut rest).unwrap();
    assert_eq!(platform.child.wait().unwrap().code(), Some(0), "{rest}");
    platform.assert_children_end();
}

#[test]
fn a_lesson_page_brings_the_script_and_allows_no_other() {
    let platform = Platform::serve(&own_lessons());
    let page = platform.get(LESSON);
    assert!(
        page.contains(&format!("data-views=\"{LESSON}/views\"")),
        "{page}"
    );
    assert_eq!(page.matches("<script").count(), 1, "{page}");
    assert!(page.contains("<script src=\"/live.js\" defer></script>"));
    assert!(page.contains("script-src 'self'; connect-src 'self'"));
    let script = platform.get("/live.js");
    assert!(script.contains("content-type: text/javascript"), "{script}");
    assert!(script.contains("EventSource"), "{script}");
    let nowhere = platform.get("/lessons/not-here/views");
    assert!(nowhere.starts_with("HTTP/1.1 404 "), "{nowhere}");
}
