use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::policy::file::{PolicyFile, sample};
use crate::policy::settings::{HedgeSettings, RetrySettings};

fn good(text: &str) -> Policies {
    match read(Path::new("p.toml"), text.as_bytes()) {
        Ok(policies) => policies,
        Err(error) => panic!("{error}"),
    }
}

/// The settings of the one policy `a`.
fn one(text: &str) -> CallSettings {
    let policies = good(text);
    assert_eq!(policies.keys().collect::<Vec<_>>(), ["a"]);
    policies["a"].clone()
}

#[track_caller]
fn bad(bytes: impl AsRef<[u8]>) -> PolicyFileError {
    match read(Path::new("p.toml"), bytes.as_ref()) {
        Err(error) => error,
        Ok(policies) => panic!("it should be refused, and has {} policies", policies.len()),
    }
}

/// That the text is refused, with this as the error's text.
#[track_caller]
fn refused(bytes: impl AsRef<[u8]>, expected: &str) {
    assert_eq!(bad(bytes).to_string(), expected);
}

/// That every place of an error is one of the text.
fn check_places(bytes: &[u8], error: &PolicyFileError) {
    assert!(!error.problems.is_empty());
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = without_mark(&text).split('\n').collect();
    for problem in &error.problems {
        let at = problem.at.expect("a place");
        assert!((1..=lines.len()).contains(&at.line), "{error} in {text:?}");
        let columns = lines[at.line - 1].chars().count() + 1;
        assert!((1..=columns).contains(&at.column), "{error} in {text:?}");
    }
}

#[test]
fn a_table_is_a_policy_and_what_is_left_out_has_its_default() {
    let policies = good(
        "[ledger]\ndeadline = '500ms'\n[ledger.retry]\nattempts = 4\nbudget.share = 0.1\n[mail]\n",
    );
    let mut ledger = CallSettings {
        deadline: Some(Duration::from_millis(500)),
        ..CallSettings::default()
    };
    let retry = ledger.retry.as_mut().unwrap();
    retry.attempts = 4;
    retry.budget.share = 0.1;
    assert_eq!(policies["ledger"], ledger);
    assert_eq!(policies["mail"], CallSettings::default());
    assert_eq!(policies.len(), 2);
}

#[test]
fn a_file_without_policies_is_one() {
    for text in [
        "",
        "\n",
        "# nothing\n",
        "\u{feff}",
        "\u{feff}# a\r\n",
        "[defaults]\n",
    ] {
        assert_eq!(good(text), Policies::new(), "{text:?}");
    }
}

#[test]
fn false_is_off_and_true_is_on_with_the_defaults() {
    let all = one(
        "[a]\nretry = false\nbreaker = false\nhedge = true\ndeadline = false\n\
         attempt = { limit = false, share = false, adaptive = false }\nbulkhead = false",
    );
    let expected = CallSettings {
        hedge: Some(HedgeSettings::default()),
        ..CallSettings::nothing()
    };
    assert_eq!(all, expected);
    assert_eq!(one("[a]\nretry = true"), CallSettings::default());
    refused(
        "[a]\ndeadline = true",
        "p.toml:2:12: `deadline` of policy `a`: invalid value: boolean `true`, expected a span of time such as \
         \"250ms\", or `false`",
    );
    refused(
        "[a]\nattempt.share = true",
        "p.toml:2:17: `attempt.share` of policy `a`: invalid value: boolean `true`, expected a number or `false`",
    );
}

#[test]
fn defaults_are_merged_key_by_key() {
    let defaults = "[defaults]\ndeadline = '2s'\nretry.attempts = 5\nretry.budget.share = 0.3\nhedge.percentile = 90\n";
    let settings = |own: &str| one(&format!("{defaults}{own}"));
    let retry = |own: &str| settings(own).retry;
    let base = settings("[a]\n");
    assert_eq!(base.deadline, Some(Duration::from_secs(2)));
    assert_eq!(base.retry.as_ref().unwrap().attempts, 5);
    // The policy's own keys win, and what it says nothing about stays.
    let own = retry("[a]\nretry.cap = '3s'\nretry.budget.window = '5s'\n").unwrap();
    assert_eq!((own.attempts, own.cap), (5, Duration::from_secs(3)));
    assert_eq!((own.budget.share, own.budget.window.as_secs()), (0.3, 5));
    // `true` keeps the group as the defaults have it, `false` doesn't.
    assert_eq!(retry("[a]\nretry = true\n"), base.retry);
    assert_eq!(retry("[a]\nretry = false\n"), None);
    assert_eq!(settings("[a]\ndeadline = false\n").deadline, None);
    // A group that is off in the defaults begins anew.
    let text = "[defaults]\nretry = false\n[a.retry]\nattempts = 2\n";
    let two = RetrySettings {
        attempts: 2,
        ..RetrySettings::default()
    };
    assert_eq!(one(text).retry, Some(two));
    // The order in the file is of no interest.
    assert_eq!(
        one("[a]\n[defaults]\ndeadline = '1s'").deadline,
        Some(Duration::from_secs(1))
    );
}

#[test]
fn problems_of_the_defaults_are_told_once_and_where_they_are() {
    refused(
        "[a]\n[b]\n[defaults]\nretry.attempts = 0\n",
        "p.toml:4:18: `retry.attempts` of the defaults must be 1 to 10",
    );
    refused(
        "[a]\n[b]\n[defaults]\nretri = 0\n",
        "p.toml:4:1: unknown field `retri`, expected one of `deadline`, `attempt`, `retry`, `breaker`, `bulkhead`, \
         `hedge`, `shed`, `rate`, in the defaults",
    );
    // Good by themselves, and bad with what the policy says: the place is the policy's.
    refused(
        "[defaults]\nretry.cap = '1s'\n[a.retry]\nbase = '2s'\n",
        "p.toml:3:1: `retry.cap` of policy `a` must be at least as long as `base`",
    );
}

#[test]
fn what_makes_no_sense_is_refused_at_its_value() {
    refused(
        "# policies\n\n[mail]\n[ledger]\n[ledger.retry]\njitter = 'full'\nattempts = 11\n",
        "p.toml:7:12: `retry.attempts` of policy `ledger` must be 1 to 10",
    );
    refused(
        "[a]\nattempt = { adaptive = { floor = \"0s\" } }",
        "p.toml:2:34: `attempt.adaptive.floor` of policy `a` must be longer than zero",
    );
    let error = bad("[a]\nrate.per_second = 0");
    assert_eq!(error.kind(), PolicyProblemKind::Setting);
    assert_eq!(
        error.problems[0].setting.as_deref(),
        Some("rate.per_second")
    );
    assert_eq!(error.problems[0].policy.as_deref(), Some("a"));
}

#[test]
fn what_there_is_not_is_refused_at_its_key_with_what_there_is() {
    refused(
        "[a.retry]\nattempts = 2\natempts = 3\n",
        "p.toml:3:1: unknown field `atempts`, expected one of `attempts`, `jitter`, `base`, `cap`, `budget`, in policy `a`",
    );
    refused(
        "[a.retry.budgets]\nshare = 0.5\n",
        "p.toml:1:10: unknown field `budgets`, expected one of `attempts`, `jitter`, `base`, `cap`, `budget`, in policy `a`",
    );
    let error = bad("[a]\ndedline = '1s'\n");
    assert_eq!(error.kind(), PolicyProblemKind::Unknown);
    assert_eq!(error.problems[0].setting.as_deref(), Some("dedline"));
    let no_table = "is no table: a policy is one, such as `[ledger]`, and what all policies share goes to `[defaults]`";
    refused(
        "deadline = '1s'\n",
        &format!("p.toml:1:1: `deadline` {no_table}"),
    );
    refused("[[a]]\n", &format!("p.toml:1:3: `a` {no_table}"));
    refused(
        "[b]\n[[defaults]]\n",
        &format!("p.toml:2:3: `defaults` {no_table}"),
    );
}

#[test]
fn a_value_of_another_type_is_refused_at_the_value() {
    refused(
        "[a]\nretry.attempts = 'three'\n",
        "p.toml:2:18: `retry.attempts` of policy `a`: invalid type: string \"three\", expected u32",
    );
    refused(
        "[a]\nretry.attempts = -1\n",
        "p.toml:2:18: `retry.attempts` of policy `a`: invalid value: integer `-1`, expected u32",
    );
    refused(
        "[a]\nretry.base = 5\n",
        "p.toml:2:14: `retry.base` of policy `a`: invalid type: integer `5`, expected a span of time such as \"250ms\"",
    );
    refused(
        "[a]\nretry.base = '5 parsecs'\n",
        "p.toml:2:14: `retry.base` of policy `a`: `5 parsecs` is no span of time: write a number and ns, us, ms, s, m \
         or h, such as `250ms`",
    );
    refused(
        "[a]\ndeadline = '5'\n",
        "p.toml:2:12: `deadline` of policy `a`: `5` is no span of time: write a number and ns, us, ms, s, m or h, such \
         as `250ms`",
    );
    refused(
        "[a]\nretry = 3\n",
        "p.toml:2:9: `retry` of policy `a`: invalid type: integer `3`, expected a table, `true` or `false`",
    );
    refused(
        "[a]\nretry.jitter = 'ful'\n",
        "p.toml:2:16: `retry.jitter` of policy `a`: unknown variant `ful`, expected `full` or `decorrelated`",
    );
    refused(
        "[a]\nattempt = ['1s', 0.5, false]\n",
        "p.toml:2:11: `attempt` of policy `a`: no setting is an array",
    );
}

#[test]
fn syntax_is_refused_where_it_breaks() {
    refused(
        "[a]\nretry.attempts = \n",
        "p.toml:2:18: string values must be quoted, expected literal string",
    );
    refused(
        "[a]\ndeadline = \"1s\n",
        "p.toml:2:15: invalid basic string, expected `\"`",
    );
    refused("[a\n", "p.toml:1:3: unclosed table, expected `]`");
    refused(
        "[a]\nshed = true\nshed = true\n",
        "p.toml:3:1: duplicate key",
    );
    refused("[a]\n[b]\n[a]\n", "p.toml:3:2: duplicate key");
    assert_eq!(bad("[a]\nx = ").kind(), PolicyProblemKind::Syntax);
}

#[test]
fn every_policy_with_a_problem_is_named_in_the_order_of_the_file() {
    refused(
        "[z]\nretry.attempts = 0\n[m]\n[b]\nfoo = 1\n[a]\nshed = 1\n",
        "p.toml:2:18: `retry.attempts` of policy `z` must be 1 to 10\n\
         p.toml:5:1: unknown field `foo`, expected one of `deadline`, `attempt`, `retry`, `breaker`, `bulkhead`, \
         `hedge`, `shed`, `rate`, in policy `b`\n\
         p.toml:7:8: `shed` of policy `a`: invalid type: integer `1`, expected a table, `true` or `false`",
    );
    let many: String = (0..13)
        .map(|n| format!("[p{n}]\nretry.attempts = 0\n"))
        .collect();
    let text = bad(&many).to_string();
    assert_eq!(text.lines().count(), 11);
    assert!(text.ends_with("\np.toml: and 3 more"), "{text}");
}

#[test]
fn columns_are_characters_and_neither_a_byte_order_mark_nor_cr_moves_them() {
    let bad = |text: &str| bad(text).at().map(|at| (at.line, at.column));
    assert_eq!(bad("\u{feff}[a]\nretry.attempts = 0"), Some((2, 18)));
    assert_eq!(bad("\u{feff}x = 1"), Some((1, 1)));
    assert_eq!(bad("# b\r\n[a]\r\nretry.attempts = 0\r\n"), Some((3, 18)));
    // Two umlauts of two bytes each in the key of an inline table.
    assert_eq!(
        bad("\"\u{e4}\u{f6}\" = { retry = { attempts = 0 } }"),
        Some((1, 31))
    );
    assert_eq!(bad("\t[a]\n\tretry.attempts = 0"), Some((2, 19)));
}

#[test]
fn what_is_no_text_is_refused_where_it_ends_to_be_one() {
    let mut bytes = b"[a]\n# \xc3\xa4".to_vec();
    bytes.extend(b"\xff more");
    refused(&bytes, "p.toml:2:4: no UTF-8 from here on");
    assert_eq!(bad(&bytes).kind(), PolicyProblemKind::NotText);
    refused(b"\xef\xbb\xbf\xff", "p.toml:1:1: no UTF-8 from here on");
}

#[test]
fn a_file_has_a_bound_in_bytes_and_policies() {
    let line = "# a comment of sixty-four bytes, the line's end among them....\n";
    let filled = line.repeat(MAX_POLICY_FILE / line.len());
    let room = MAX_POLICY_FILE - filled.len();
    let full = format!("{filled}{}", "\n".repeat(room));
    assert_eq!(good(&full), Policies::new());
    let error = bad(format!("{full}\n"));
    assert_eq!(
        (error.kind(), error.at()),
        (PolicyProblemKind::TooLarge, None)
    );
    let many = |n: usize| -> String { (0..n).map(|n| format!("[p{n}]\n")).collect() };
    assert_eq!(good(&many(MAX_POLICIES)).len(), MAX_POLICIES);
    assert_eq!(
        good(&format!("[defaults]\n{}", many(MAX_POLICIES))).len(),
        MAX_POLICIES
    );
    for more in [
        many(MAX_POLICIES + 1),
        format!("[defaults]\n{}", many(MAX_POLICIES + 1)),
    ] {
        refused(more, "p.toml: more than 1024 policies");
    }
}

#[test]
fn depth_costs_no_stack() {
    let deep = [
        format!("{}a = 1", "a.".repeat(200_000)),
        format!("[{}a]", "a.".repeat(200_000)),
        format!("a = {}", "[".repeat(500_000)),
        format!("a = {}", "{b=".repeat(300_000)),
        format!("a = {}", "{a.a.a.a.a.a.a.a=\n".repeat(50_000)),
    ];
    for text in deep {
        let error = bad(&text);
        assert_eq!(error.kind(), PolicyProblemKind::Syntax);
        assert_eq!(
            error.problems[0].message,
            "nested too deep for a file of policies"
        );
        check_places(text.as_bytes(), &error);
    }
    // What looks deep in a comment or a name isn't.
    let dots = "..................";
    good(&format!(
        "# {dots} [[[[[[[[[[\n[\"{dots}\"]\n['{{{{{{{{{{{{{{{{{{{{']\n"
    ));
    good(&format!(
        "[a] # {dots}\ndeadline = '1.5s' # {dots}\nrate.wait='0.5s'\n"
    ));
    good("[a]\ndeadline = \"\"\"\\\n   1s\"\"\"\n[\"a\\\"{{{{{{{{{{{{{\"]\n");
}

#[test]
fn names_are_anything_that_toml_can_write() {
    let policies = good("['']\n[\"a.b\"]\n[\"\\u00e4 \\n\"]\n");
    assert_eq!(
        policies.keys().collect::<Vec<_>>(),
        ["", "a.b", "\u{e4} \n"]
    );
}

/// A change of a file, as a slip of the keyboard or a torn write makes it.
#[derive(Debug, Clone)]
enum Mutation {
    Replace(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    Cut(prop::sample::Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let index = any::<prop::sample::Index>;
    // Those that mean something, more often.
    let byte = || {
        prop_oneof![
            any::<u8>(),
            prop::sample::select(b"[]{}=.,\"'#\\\r\n 0-_a".to_vec())
        ]
    };
    prop_oneof![
        (index(), byte()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        (index(), prop::collection::vec(byte(), 1..4)).prop_map(|(at, b)| Mutation::Insert(at, b)),
        (index(), 1..40_usize).prop_map(|(at, len)| Mutation::Remove(at, len)),
        index().prop_map(Mutation::Cut),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    if bytes.is_empty() {
        return;
    }
    let len = bytes.len();
    match mutation {
        Mutation::Replace(at, byte) => bytes[at.index(len)] = *byte,
        Mutation::Insert(at, new) => drop(bytes.splice(at.index(len)..at.index(len), new.clone())),
        Mutation::Remove(at, count) => {
            let from = at.index(len);
            bytes.drain(from..len.min(from + count));
        }
        Mutation::Cut(at) => bytes.truncate(at.index(len)),
    }
}

/// A file that uses all of what there is.
fn rich() -> Vec<u8> {
    let mut text =
        String::from("\u{feff}[defaults]\r\ndeadline = \"2s\"\r\nretry.attempts = 2\r\n\n");
    text.push_str(&sample::example());
    text.push_str("[\"m\u{e4}il\"]\nretry = false\nattempt = { share = 0.5, adaptive = true }\nhedge = true\n");
    text.into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn no_bytes_panic_and_every_error_has_a_place_in_the_file(
        mutations in prop::collection::vec(mutation(), 1..6),
    ) {
        let mut bytes = rich();
        prop_assert!(read(Path::new("p.toml"), &bytes).is_ok());
        for mutation in &mutations {
            mutate(&mut bytes, mutation);
        }
        if let Err(error) = read(Path::new("p.toml"), &bytes) {
            check_places(&bytes, &error);
        }
    }

    #[test]
    fn what_is_read_makes_sense(mutations in prop::collection::vec(mutation(), 1..4)) {
        let mut bytes = rich();
        for mutation in &mutations {
            mutate(&mut bytes, mutation);
        }
        if let Ok(policies) = read(Path::new("p.toml"), &bytes) {
            for settings in policies.values() {
                prop_assert_eq!(settings.check(), Ok(()));
            }
            // And it can be written down again.
            let text = PolicyFile::to_toml(&policies);
            let again = PolicyFile::parse("again.toml", &text);
            prop_assert_eq!(again, Ok(policies), "{}", text);
        }
    }
}
