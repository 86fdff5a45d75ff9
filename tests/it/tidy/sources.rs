//! What Rust files must not hold.

use crate::source_tree::{RustFile, assert_none, line_of, lines_with, rust_files, text_of};

/// The modules that may hold `unsafe` code, each named for it in ARCHITECTURE.md.
const UNSAFE: &[&str] = &[
    "core/src/sync/spin.rs",
    "core/src/sync/home.rs",
    "core/src/sync/in_hand.rs",
    "core/src/sync/pool.rs",
    "core/src/sync/two.rs",
    "core/src/future_buffer.rs",
    "core/src/mailbox/records.rs",
    "core/src/cell/body.rs",
];

/// What is shipped to nobody and can't do without: an allocator that counts, and models in which loom
/// watches the accesses.
const UNSAFE_TOOLS: &[&str] = &[
    "benches/common/alloc.rs",
    "core/loom/src/models/mailbox.rs",
    "core/loom/src/models/owners.rs",
];

/// The only places that read the machine's clock: one for programs, one for benchmarks.
const CLOCKS: &[&str] = &["core/src/clock.rs", "benches/common/stopwatch.rs"];

/// Where the payload format is known.
const MESSAGE_PACK: &[&str] = &[
    "core/src/codec.rs",
    "core/src/codec/",
    "remote/src/wire.rs",
    "remote/src/wire/",
];

/// Where operating-system threads are started.
const THREADS: &[&str] = &["core/src/executor.rs", "core/src/executor/"];

/// The crates that programs link, without their tests.
const LIBRARIES: &[&str] = &[
    "src/",
    "core/src/",
    "core/store/src/",
    "supervision/src/",
    "remote/src/",
];

/// The only place of the store that opens files.
const FILES: &str = "core/store/src/disk/real.rs";

fn starts_with_any(path: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| path.starts_with(prefix))
}

/// Where a word of the list stands in the code of a file.
fn find(file: &RustFile, code: &str, needles: &[&str]) -> Vec<String> {
    let found = needles.iter().flat_map(|needle| {
        let lines = lines_with(code, needle);
        lines
            .into_iter()
            .map(move |line| format!("{}:{line}: {needle}", file.path))
    });
    found.collect()
}

/// The same over all files that `concerned` picks.
fn find_in(concerned: impl Fn(&str) -> bool, needles: &[&str]) -> Vec<String> {
    let files = rust_files().iter().filter(|file| concerned(file.path));
    files
        .flat_map(|file| find(file, &file.code, needles))
        .collect()
}

/// Where the part of a file begins that only tests run: all of it, or what stands behind
/// `#[cfg(test)] mod`.
fn start_of_tests(file: &RustFile) -> usize {
    let whole = file.path.contains("tests/") || file.path.ends_with("/tests.rs");
    if whole {
        return 0;
    }
    let inline = file.code.match_indices("#[cfg(").find(|(at, _)| {
        let Some((condition, rest)) = file.code[*at..].split_once(")]") else {
            return false;
        };
        if condition != "#[cfg(test" && !condition.starts_with("#[cfg(all(test,") {
            return false;
        }
        let rest = rest.trim_start();
        let body = rest.find(['{', ';']);
        rest.starts_with("mod ") && body.is_some_and(|at| rest[at..].starts_with('{'))
    });
    inline.map_or(file.code.len(), |(at, _)| at)
}

/// The part that only tests run. Other lines are blank.
fn test_part(file: &RustFile) -> String {
    let (shipped, tests) = file.code.split_at(start_of_tests(file));
    "\n".repeat(shipped.matches('\n').count()) + tests
}

/// The part that is shipped.
fn shipped_part(file: &RustFile) -> &str {
    &file.code[..start_of_tests(file)]
}

#[test]
fn unsafe_code_stands_only_in_modules_named_for_it() {
    let may = |path: &str| UNSAFE.contains(&path) || UNSAFE_TOOLS.contains(&path);
    let problems = find_in(|path| !may(path), &["unsafe"]);
    assert_none("`unsafe` outside the modules named for it:", &problems);
    let named = text_of("ARCHITECTURE.md");
    let problems: Vec<String> = UNSAFE
        .iter()
        .chain(UNSAFE_TOOLS)
        .filter(|path| find_in(|other| other == **path, &["unsafe"]).is_empty())
        .map(|path| format!("{path}: holds none, so take it off the list"))
        .chain(UNSAFE.iter().filter_map(|path| {
            let module = path.trim_start_matches("core/src/").trim_end_matches(".rs");
            let module = format!("`{}`", module.replace('/', "::"));
            (!named.contains(&module)).then(|| format!("ARCHITECTURE.md doesn't name {module}"))
        }))
        .collect();
    assert_none("the list of modules with `unsafe`:", &problems);
}

#[test]
fn tests_wait_for_something_not_for_some_time() {
    let needles = ["thread::sleep", "time::sleep("];
    let problems: Vec<String> = rust_files()
        .iter()
        .flat_map(|file| find(file, &test_part(file), &needles))
        .collect();
    assert_none(
        "wait on a probe, an event or virtual time instead:",
        &problems,
    );
}

#[test]
fn no_assertion_is_thrown_away() {
    let mut problems = Vec::new();
    for file in rust_files() {
        for (at, _) in file.code.match_indices("matches!(") {
            let before = file.code[..at].trim_end().chars().next_back();
            let is_statement = matches!(before, None | Some(';' | '{' | '}'));
            if is_statement && after_parenthesis(&file.code[at..]).starts_with(';') {
                problems.push(format!("{}:{}", file.path, line_of(&file.code, at)));
            }
        }
    }
    assert_none(
        "a bare `matches!(..);` checks nothing; wrap it in `assert!`:",
        &problems,
    );
}

/// What follows the parenthesis that `code` opens first.
fn after_parenthesis(code: &str) -> &str {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return code[at + 1..].trim_start(),
            ')' => depth -= 1,
            _ => {}
        }
    }
    ""
}

#[test]
fn nothing_is_ignored_or_left_undone() {
    let problems = find_in(|_| true, &["#[ignore", "todo!", "unimplemented!"]);
    assert_none(
        "assert what it does today, or leave it out and say so:",
        &problems,
    );
}

#[test]
fn rust_files_are_ascii() {
    let mut problems = Vec::new();
    for file in rust_files() {
        for (number, line) in file.text.lines().enumerate() {
            if let Some(c) = line.chars().find(|c| !c.is_ascii()) {
                problems.push(format!("{}:{}: {c:?}", file.path, number + 1));
            }
        }
    }
    assert_none("characters outside ASCII:", &problems);
}

#[test]
fn message_pack_is_known_in_one_place_of_a_crate() {
    let problems = find_in(
        |path| !starts_with_any(path, MESSAGE_PACK),
        &["rmp_serde", "rmp"],
    );
    assert_none("MessagePack outside the codec and the wire:", &problems);
}

#[test]
fn core_opens_no_socket_and_no_file() {
    // Child processes come with pipes; `tokio::process` is not on this list.
    let doors = [
        "fs::",
        "net::",
        "std::fs",
        "std::net",
        "tokio::fs",
        "tokio::net",
    ];
    let core = rust_files()
        .iter()
        .filter(|file| file.path.starts_with("core/src/"));
    let problems: Vec<String> = core
        .flat_map(|file| find(file, shipped_part(file), &doors))
        .collect();
    assert_none("`core` opens a file or a socket:", &problems);
}

#[test]
fn the_store_opens_files_in_one_place() {
    let doors = ["fs::", "std::fs", "File::open", "OpenOptions", "rustix::fs"];
    let store = rust_files()
        .iter()
        .filter(|file| file.path.starts_with("core/store/src/") && file.path != FILES);
    let problems: Vec<String> = store
        .flat_map(|file| find(file, shipped_part(file), &doors))
        .collect();
    assert_none("the store opens a file behind its `Disk`:", &problems);
    assert!(
        !find_in(|path| path == FILES, &doors).is_empty(),
        "{FILES} opens no file: the rule looks for the wrong words"
    );
}

#[test]
fn time_comes_from_one_clock() {
    let clocks = ["Instant::now", "SystemTime::now"];
    let problems = find_in(|path| !CLOCKS.contains(&path), &clocks);
    assert_none("the clock is read outside core::clock:", &problems);
}

#[test]
fn threads_are_started_in_one_place() {
    let problems: Vec<String> = rust_files()
        .iter()
        .filter(|file| starts_with_any(file.path, LIBRARIES))
        .filter(|file| !starts_with_any(file.path, THREADS))
        .flat_map(|file| {
            find(
                file,
                shipped_part(file),
                &["thread::spawn", "thread::Builder"],
            )
        })
        .collect();
    assert_none("threads are started outside core::executor:", &problems);
}

#[test]
fn the_rules_see_what_they_look_for() {
    let file = |path, code: &str| RustFile {
        path,
        text: "",
        code: code.to_owned(),
    };
    let source = file(
        "core/src/a.rs",
        "fn f() { x }\n#[cfg(test)]\nmod tests {\n sleep\n}",
    );
    assert_eq!(
        find(&source, &test_part(&source), &["sleep", "x"]),
        ["core/src/a.rs:4: sleep"]
    );
    let beside = file(
        "core/src/a.rs",
        "#[cfg(test)]\nmod tests;\nfn f() { sleep }",
    );
    assert_eq!(test_part(&beside).trim(), "");
    assert_eq!(shipped_part(&beside), beside.code);
    let whole = file("core/src/a/tests.rs", "sleep");
    assert_eq!(test_part(&whole), "sleep");
    assert_eq!(after_parenthesis("matches!(a, (b)) ; c"), "; c");
}
