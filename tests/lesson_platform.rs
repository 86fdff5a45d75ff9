//! The lesson platform as a whole: real processes, real signals, bad input.
//!
//! What a page shows while a part is away is the drill's business
//! (`cargo run --release --example lesson_platform`); here is what surrounds it.

// The whole file is tests.
#![allow(clippy::unwrap_used)]

#[path = "lesson_platform/live.rs"]
mod live;
#[path = "lesson_platform/policies.rs"]
mod policies;
#[path = "lesson_platform/system.rs"]
mod system;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use callboard::clock::Clock;
use rustix::process::{Pid, Signal, kill_process};

/// As the platform promises: nothing is left by then.
const GONE: Duration = Duration::from_secs(5);

/// No page takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The example, built by cargo beside this test unless only some targets were named.
fn program() -> Command {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push("examples/lesson_platform");
    assert!(
        path.exists(),
        "build it first: cargo build --example lesson_platform"
    );
    let mut command = Command::new(path);
    command.stdin(Stdio::null());
    command
}

fn own_lessons() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/lesson_platform/lessons")
}

/// A serving platform; killed if a test fails.
struct Platform {
    child: Child,
    output: BufReader<ChildStdout>,
    address: String,
    children: Vec<u32>,
    /// What it leaves behind when it is killed goes with this.
    temporary: Temporary,
}

/// A folder of one test's own, gone at its end.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Temporary {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("lessons-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Temporary(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Platform {
    fn serve(lessons: &Path) -> Platform {
        Platform::serve_with(&[], lessons)
    }

    fn serve_with(options: &[&str], lessons: &Path) -> Platform {
        let temporary = Temporary::new();
        let mut command = program();
        command.args(["--serve", "--port", "0"]).args(options);
        command.arg(lessons);
        command.env("TMPDIR", &temporary.0);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        output.read_line(&mut first).unwrap();
        let address = first
            .split("http://")
            .nth(1)
            .and_then(|rest| rest.split('/').next())
            .unwrap_or_else(|| panic!("it did not say where it serves: {first:?}"));
        let mut platform = Platform {
            child,
            output,
            address: address.to_owned(),
            children: Vec::new(),
            temporary,
        };
        let system = platform.get("/system.json");
        platform.children = system
            .split("\"pid\": ")
            .skip(1)
            .filter_map(|rest| rest.split([',', '\n', ' ']).next()?.parse().ok())
            .collect();
        assert_eq!(platform.children.len(), 3, "{system}");
        platform
    }

    /// A page, its head included.
    fn get(&self, path: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n"), b"")
    }

    /// Enrols with these headers besides the usual ones.
    fn enrol(&self, headers: &str, form: &str) -> String {
        let length = form.len();
        let head = format!(
            "POST /enrol HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\
             content-type: application/x-www-form-urlencoded\r\n{headers}"
        );
        self.send(&head, form.as_bytes())
    }

    fn send(&self, head: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // What is refused early may be answered before it was sent.
        let _ = write!(stream, "{head}connection: close\r\n\r\n");
        let _ = stream.write_all(body);
        let mut response = Vec::new();
        let read = stream.read_to_end(&mut response);
        assert!(
            read.is_ok() || !response.is_empty(),
            "{head:.200}: {read:?}"
        );
        String::from_utf8_lossy(&response).into_owned()
    }

    fn signal(&self, signal: Signal) {
        kill_process(pid(self.child.id()), signal).unwrap();
    }

    /// The running system in figures.
    fn figures(&self) -> serde_json::Value {
        let answer = self.get("/system.json");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }

    /// Waits until the figures are such.
    fn until(&self, what: &str, are: impl Fn(&serde_json::Value) -> bool) {
        let clock = Clock::machine();
        let from = clock.now();
        loop {
            let figures = self.figures();
            if are(&figures) {
                return;
            }
            assert!(clock.now().since(from) < PATIENCE, "{what}: {figures:#}");
            futures::executor::block_on(clock.sleep(Duration::from_millis(10)));
        }
    }

    /// Waits until the platform's children are gone.
    fn assert_children_end(&self) {
        let clock = Clock::machine();
        let from = clock.now();
        loop {
            let left: Vec<&u32> = self.children.iter().filter(|pid| runs(**pid)).collect();
            if left.is_empty() {
                return;
            }
            assert!(clock.now().since(from) < GONE, "left behind: {left:?}");
            futures::executor::block_on(clock.sleep(Duration::from_millis(10)));
        }
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap()).unwrap()
}

/// Whether a process runs. One that has ended and waits for somebody to take note of it doesn't.
fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .starts_with(" Z")
    })
}

fn refused(args: &[&str]) -> String {
    let output: Output = program().args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn ctrl_c_stops_it_in_order_and_leaves_no_child() {
    let mut platform = Platform::serve(&own_lessons());
    platform.signal(Signal::INT);
    let mut rest = String::new();
    platform.output.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("stopping"), "{rest}");
    assert_eq!(platform.child.wait().unwrap().code(), Some(0));
    platform.assert_children_end();
    let left = std::fs::read_dir(&platform.temporary.0).unwrap().count();
    assert_eq!(left, 0, "its own folder is gone");
}

#[test]
fn ctrl_c_leaves_no_child_that_was_frozen() {
    let mut platform = Platform::serve(&own_lessons());
    for child in &platform.children {
        kill_process(pid(*child), Signal::STOP).unwrap();
    }
    platform.signal(Signal::INT);
    platform.assert_children_end();
    assert_eq!(platform.child.wait().unwrap().code(), Some(0));
}

#[test]
fn no_child_outlives_a_parent_that_was_killed() {
    let platform = Platform::serve(&own_lessons());
    platform.signal(Signal::KILL);
    platform.assert_children_end();
}

#[test]
fn broken_files_are_named_and_the_rest_is_served() {
    let temporary = Temporary::new();
    let folder = &temporary.0;
    std::fs::create_dir_all(folder.join("images")).unwrap();
    let good = "# Good\n\nIt works.\n\n![whole](images/whole.png) ![half](images/half.png) ![none](images/none.png)\n";
    let picture = std::fs::read(own_lessons().join("images/verdicts.png")).unwrap();
    std::fs::write(folder.join("1-good.md"), good).unwrap();
    std::fs::write(folder.join("2-bad.md"), b"# Bad\n\n\xff").unwrap();
    std::fs::write(folder.join("images/whole.png"), &picture).unwrap();
    std::fs::write(
        folder.join("images/half.png"),
        &picture[..picture.len() / 2],
    )
    .unwrap();

    let platform = Platform::serve(folder);

    let list = platform.get("/");
    assert!(list.contains("2-bad.md</code> is not UTF-8 text"), "{list}");
    assert!(list.contains("images/none.png</code> is missing"), "{list}");
    assert!(
        platform
            .get("/lessons/bad")
            .contains("503 Service Unavailable")
    );
    let page = platform.get("/lessons/good");
    assert!(
        page.contains("200 OK") && !page.contains("notice degraded"),
        "{page}"
    );
    assert!(
        page.contains("/thumbs/whole.png") && !page.contains("/thumbs/half.png"),
        "{page}"
    );
    let half = platform.get("/thumbs/half.png");
    assert!(
        half.contains("404 Not Found") && half.contains("is damaged"),
        "{half}"
    );
    assert!(platform.get("/thumbs/whole.png").contains("200 OK"));
}

#[test]
fn what_keeps_it_from_starting_is_said_in_a_sentence() {
    let message = refused(&["--serve", "/not/here"]);
    assert!(message.contains("/not/here does not exist"), "{message}");

    let message = refused(&["--sreve"]);
    assert!(message.contains("unknown option `--sreve`"), "{message}");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let message = refused(&["--serve", "--port", &port]);
    assert!(
        message.contains(&format!("port {port} is in use")),
        "{message}"
    );
}

#[test]
fn requests_of_bad_will_get_an_answer_and_harm_nobody() {
    let platform = Platform::serve(&own_lessons());
    for path in [
        "/images/..%2f08-paying-john-once.md",
        "/images/../08-paying-john-once.md",
        "/images/%00",
        "/thumbs/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/lessons/%zz",
        "/lessons/..%2f..",
    ] {
        let page = platform.get(path);
        assert!(page.starts_with("HTTP/1.1 404 "), "{path}: {page}");
    }
    let page = platform.get("/images/%ff");
    assert!(page.starts_with("HTTP/1.1 400 "), "{page}");
    let page = platform.get("/search?q=%3Cscript%3E%22%27%3Cimg%20src=x");
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    assert!(
        !page.contains("<script") && !page.contains("<img"),
        "{page}"
    );
    let page = platform.get(&format!("/search?q={}", "x".repeat(201)));
    assert!(page.starts_with("HTTP/1.1 400 "), "{page}");
    let page = platform.send(
        &format!("GET / HTTP/1.1\r\nx: {}\r\n", "x".repeat(1_000_000)),
        b"",
    );
    assert!(page.starts_with("HTTP/1.1 4"), "{page}");

    let one = "idempotency-key: 018f0000-0000-7000-8000-000000000001\r\n";
    let two = "idempotency-key: 018f0000-0000-7000-8000-000000000002\r\n";
    let form = "learner=Mira&lesson=paying-john-once";
    let long = format!("learner={}", "x".repeat(100_000));
    for (headers, form, why) in [
        ("", form, "needs a key"),
        ("idempotency-key: <script>\r\n", form, "is no UUID"),
        ("idempotency-key: \r\n", form, "is no UUID"),
        (&format!("{one}{two}"), form, "several"),
        (one, &format!("{form}&key=x"), "differ"),
        (one, "lesson=paying-john-once", "is empty"),
        (one, "learner=Mira&lesson=<script>", "There is no lesson"),
        (
            one,
            "learner=Mi%0Ara&lesson=paying-john-once",
            "on one line",
        ),
        (one, &long, "no form"),
    ] {
        let page = platform.enrol(headers, form);
        assert!(page.starts_with("HTTP/1.1 400 "), "{why}: {page}");
        assert!(
            page.contains(why) && !page.contains("<script"),
            "{why}: {page}"
        );
    }
    // The first that is charged: none of those was.
    let page = platform.enrol(one, form);
    assert!(page.contains("x-receipt: 1\r\n"), "{page}");
    let page = platform.enrol(one, "learner=John&lesson=paying-john-once");
    assert!(page.starts_with("HTTP/1.1 409 "), "{page}");
    let page = platform.get("/");
    assert!(!page.contains("notice degraded"), "{page}");
}
