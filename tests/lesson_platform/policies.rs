//! How its parts are asked: a file that is edited while it serves, shown on the system page.

use serde_json::{Value, json};

use super::{Platform, Temporary, own_lessons, refused};

/// What comes with the example.
const OWN: &str = include_str!("../../examples/lesson_platform/policies.toml");
const LESSON: &str = "/lessons/paying-john-once";

/// What a policy is set to, what it did and whom it asked.
fn policy<'a>(figures: &'a Value, name: &str) -> &'a Value {
    let all = figures["policies"].as_array().unwrap();
    all.iter().find(|policy| policy["name"] == name).unwrap()
}

#[test]
fn its_own_file_is_edited_while_it_serves_and_a_slip_changes_nothing() {
    let platform = Platform::serve(&own_lessons());
    assert!(platform.get(LESSON).starts_with("HTTP/1.1 200 "));
    let figures = platform.figures();
    let file = figures["policy_file"]["path"].as_str().unwrap().to_owned();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), OWN);
    let all = figures["policies"].as_array().unwrap();
    let names: Vec<&Value> = all.iter().map(|policy| &policy["name"]).collect();
    let parts = [
        "renderer",
        "search",
        "enrolment",
        "thumbnails",
        "views",
        "metadata",
    ];
    assert_eq!(names, parts);
    for part in ["renderer", "thumbnails", "views", "metadata"] {
        let policy = policy(&figures, part);
        assert_eq!(policy["stats"]["requests"], 1, "{policy:#}");
        assert_eq!(policy["callees"].as_array().unwrap().len(), 1);
        assert!(policy["callees"][0]["budget_left"].is_number());
    }
    assert_eq!(policy(&figures, "views")["settings"]["deadline"], "400ms");

    let edited = OWN.replacen(
        "[views]\ndeadline = \"400ms\"",
        "[views]\ndeadline = \"350ms\"",
        1,
    );
    std::fs::write(&file, edited).unwrap();
    platform.until("the edit is taken", |now| {
        policy(now, "views")["settings"]["deadline"] == "350ms"
    });
    assert_eq!(platform.figures()["policy_file"]["changes"], 1);

    let slip = OWN.replacen("[views]\ndeadline", "[views]\ndedline", 1);
    let line = 1 + slip
        .lines()
        .position(|line| line.starts_with("dedline"))
        .unwrap();
    std::fs::write(&file, slip).unwrap();
    platform.until("the slip is refused", |now| {
        !now["policy_file"]["last_error"].is_null()
    });
    let figures = platform.figures();
    let problem = &figures["policy_file"]["last_error"]["problems"][0];
    assert_eq!(problem["at"], json!({ "line": line, "column": 1 }));
    assert_eq!(policy(&figures, "views")["settings"]["deadline"], "350ms");
    let page = platform.get("/system");
    let shown = format!("policies.toml:{line}:1: unknown field `dedline`");
    assert!(page.contains(&shown), "{page}");
    assert!(
        page.contains("deadline   350ms for all of a request"),
        "{page}"
    );
    assert!(platform.get(LESSON).starts_with("HTTP/1.1 200 "));

    std::fs::write(&file, OWN).unwrap();
    platform.until("the first file is taken again", |now| {
        now["policy_file"]["last_error"].is_null()
            && policy(now, "views")["settings"]["deadline"] == "400ms"
    });
    assert!(!platform.get("/system").contains("is refused"));
}

#[test]
fn another_file_is_read_where_it_is() {
    let folder = Temporary::new();
    let file = folder.0.join("mine.toml");
    // Views are asked for, and then nobody waits for them.
    let impatient = OWN.replacen(
        "[views]\ndeadline = \"400ms\"",
        "[views]\ndeadline = \"1ns\"",
        1,
    );
    std::fs::write(&file, impatient).unwrap();
    let options = ["--policies", file.to_str().unwrap()];
    let platform = Platform::serve_with(&options, &own_lessons());
    let page = platform.get(LESSON);
    assert!(page.contains("x-missing-parts: views\r\n"), "{page}");
    let figures = platform.figures();
    assert_eq!(figures["policy_file"]["path"], json!(file));
    assert_eq!(policy(&figures, "views")["stats"]["failed"], 1);

    std::fs::write(&file, OWN).unwrap();
    platform.until("the edit is taken", |now| {
        now["policy_file"]["changes"] == 1
    });
    let page = platform.get(LESSON);
    assert!(!page.contains("x-missing-parts"), "{page}");
}

#[test]
fn policies_that_are_wrong_start_nothing_and_say_where() {
    let folder = Temporary::new();
    let file = folder.0.join("policies.toml");
    let path = file.to_str().unwrap();
    let serve = ["--serve", "--port", "0", "--policies", path];

    let message = refused(&serve);
    assert!(message.contains(path), "{message}");
    std::fs::write(&file, OWN.replacen("attempts = 3", "attempts = 30", 1)).unwrap();
    let message = refused(&serve);
    let line = 1 + OWN.lines().position(|line| line == "attempts = 3").unwrap();
    let wanted = format!("{path}:{line}:12: `retry.attempts`");
    assert!(message.contains(&wanted), "{wanted}: {message}");
    std::fs::write(&file, OWN.replacen("[search]", "", 1)).unwrap();
    let message = refused(&serve);
    assert!(message.contains("no policy `search` in"), "{message}");
    let message = refused(&["--policies", path]);
    assert!(
        message.contains("`--policies` needs `--serve`"),
        "{message}"
    );
}
