use proptest::prelude::*;

use super::*;
use crate::rights::subject::own_user as own_principal;
use crate::transport::Proof;
use callboard::Principal;

fn principal(name: &str) -> Option<Principal> {
    Some(Principal::new(name))
}

fn cert(name: &str) -> Subject {
    Subject::new(&Proof::encrypted(principal(&format!("cert:{name}"))))
}

#[track_caller]
fn check(rules: &Rules, subject: &Subject, name: &str, expected: Verbs) {
    assert_eq!(rules.verbs(subject, name), expected, "{subject} on {name}");
}

#[test]
fn g35_without_rules_only_this_host_may_anything() {
    let rules = Rules::new();
    let stranger = Subject::new(&Proof::local(principal("uid:4294967294")));
    let pipe = Subject::new(&Proof::local(None));
    let own = Subject::new(&Proof::local(Some(own_principal())));
    check(&rules, &own, "orders", Verbs::ALL);
    check(&rules, &pipe, "orders", Verbs::USE);
    check(&rules, &stranger, "orders", Verbs::NONE);
    check(&rules, &cert("billing"), "orders", Verbs::NONE);
    let unproved = Subject::new(&Proof::encrypted(None));
    check(&rules, &unproved, "orders", Verbs::NONE);
    check(
        &rules,
        &Subject::new(&Proof::plain()),
        "orders",
        Verbs::NONE,
    );
    // A user id proves nothing over a network, ours neither.
    let pretender = Subject::new(&Proof::encrypted(Some(own_principal())));
    check(&rules, &pretender, "orders", Verbs::NONE);
    for subject in [&own, &pipe, &stranger, &pretender] {
        check(&Rules::closed(), subject, "orders", Verbs::NONE);
    }
}

#[test]
fn g35_on_a_plain_channel_no_principal_counts() {
    let mut proof = Proof::plain();
    proof.principal = principal("cert:billing");
    let subject = Subject::new(&proof);
    assert_eq!(subject.principal(), None);
    let rules = Rules::closed()
        .allow("*", Verbs::ALL, ">")
        .and_then(|rules| rules.allow("cert:billing", Verbs::ALL, ">"))
        .unwrap();
    check(&rules, &subject, "orders", Verbs::NONE);
    let rules = rules.allow("anonymous", Verbs::OFFER, "public.>").unwrap();
    check(&rules, &subject, "public.orders", Verbs::OFFER);
    check(&rules, &subject, "orders", Verbs::NONE);
}

#[test]
fn g35_deny_beats_allow_in_any_order_and_at_any_width() {
    let wide = Rule::new(Effect::Deny, "cert:*", Verbs::OFFER, ">").unwrap();
    let narrow = Rule::new(
        Effect::Allow,
        "cert:billing",
        Verbs::OFFER | Verbs::POLL,
        "orders",
    )
    .unwrap();
    let one = Rules::new()
        .rule(wide.clone())
        .and_then(|rules| rules.rule(narrow.clone()));
    let other = Rules::new()
        .rule(narrow.clone())
        .and_then(|rules| rules.rule(wide.clone()));
    for rules in [one.unwrap(), other.unwrap()] {
        check(&rules, &cert("billing"), "orders", Verbs::POLL);
        let reason = rules.explain(&cert("billing"), Verb::Offer, "orders");
        assert_eq!(reason, Reason::Denied(wide.clone()));
        assert_eq!(reason.to_string(), "rule `deny cert:* to offer on >`");
        let reason = rules.explain(&cert("billing"), Verb::Poll, "orders");
        assert_eq!(reason, Reason::Allowed(narrow.clone()));
        let reason = rules.explain(&cert("billing"), Verb::Execute, "orders");
        assert_eq!(reason, Reason::DeniedByStanding(Standing::Remote));
        assert!(!reason.is_allowed());
    }
    // Those on this host aren't above a denial.
    let rules = Rules::new()
        .deny("anonymous", Verbs::EXECUTE, "bank.>")
        .unwrap();
    let pipe = Subject::new(&Proof::local(None));
    check(
        &rules,
        &pipe,
        "bank.transfer",
        Verbs::USE.without(Verbs::EXECUTE),
    );
    check(&rules, &pipe, "bank", Verbs::USE);
}

#[test]
fn g35_principals_match_whole_or_by_their_beginning() {
    let of = |who: &str| Rules::new().allow(who, Verbs::POLL, "q").unwrap();
    let may = |who: &str, name: &str| !of(who).verbs(&cert(name), "q").is_empty();
    assert!(may("cert:build", "build"));
    assert!(!may("cert:build", "build-1"));
    assert!(!may("cert:build", "Build"));
    assert!(may("cert:build-*", "build-1"));
    assert!(may("cert:build*", "build"));
    assert!(!may("cert:build-*", "build"));
    assert!(may("cert:*", "build"));
    assert!(!may("uid:*", "build"));
    assert!(!may("secret:build", "build"));
    assert!(may("*", "build"));
    assert!(!may("anonymous", "build"));
    // A principal that looks like a pattern is one principal.
    assert!(!may("cert:build", "*"));
}

#[test]
fn malformed_rules_say_which_part_is_wrong() {
    let error = |who: &str, verbs, names: &str| {
        let error = Rules::new().allow(who, verbs, names).unwrap_err();
        error.to_string()
    };
    assert_eq!(
        error("cert:a*b", Verbs::POLL, "q"),
        "principal \"cert:a*b\" has `*` before its end"
    );
    for who in ["", "billing", "cert:", ":x", ":*"] {
        let expected = WhoError::NoKind(who.to_owned()).to_string();
        assert_eq!(error(who, Verbs::POLL, "q"), expected);
    }
    let long = format!("cert:{}", "a".repeat(MAX_WHO_TEXT));
    assert_eq!(
        error(&long, Verbs::POLL, "q"),
        "a principal pattern of 513 bytes is longer than 512"
    );
    assert_eq!(
        error("*", Verbs::POLL, "a.>.b"),
        "names of a rule: pattern `a.>.b` has `>` before its last level"
    );
    assert_eq!(error("*", Verbs::NONE, "q"), "a rule without verbs");
}

const MAX_WHO_TEXT: usize = crate::rights::MAX_WHO + 1 - "cert:".len();

#[test]
fn g03_rules_have_a_bound_and_the_same_one_twice_is_one() {
    let mut rules = Rules::new();
    for number in 0..MAX_RULES {
        rules = rules
            .allow("cert:a", Verbs::POLL, &format!("q{number}"))
            .unwrap();
    }
    let rules = rules.allow("cert:a", Verbs::POLL, "q7").unwrap();
    assert_eq!(rules.iter().count(), MAX_RULES);
    let error = rules.allow("cert:a", Verbs::POLL, "more").unwrap_err();
    assert_eq!(error.to_string(), "more than 4096 rules");
}

#[test]
fn what_was_allowed_is_taken_back_from_exactly_that_rule() {
    let rules = Rules::new()
        .allow("cert:a", Verbs::OFFER | Verbs::POLL, "q")
        .and_then(|rules| rules.allow("cert:*", Verbs::POLL, "q"))
        .unwrap();
    let (rules, taken) = rules
        .without("cert:a", Verbs::POLL | Verbs::ADMIN, "q")
        .unwrap();
    assert_eq!(taken, Verbs::POLL);
    // The wider rule stays.
    check(&rules, &cert("a"), "q", Verbs::OFFER | Verbs::POLL);
    let (rules, taken) = rules.without("cert:*", Verbs::ALL, "q").unwrap();
    assert_eq!(taken, Verbs::POLL);
    check(&rules, &cert("a"), "q", Verbs::OFFER);
    assert_eq!(rules.iter().count(), 1);
    let (rules, taken) = rules.without("cert:a", Verbs::ALL, "other").unwrap();
    assert_eq!((rules.iter().count(), taken), (1, Verbs::NONE));
}

#[test]
fn rules_come_from_a_file() {
    let text = r#"
        own_user = ["execute"]

        [[rule]]
        who = "cert:billing"
        allow = ["execute", "offer"]
        names = "orders.>"

        [[rule]]
        who = "*"
        deny = ["offer"]
        names = "orders.secret"
    "#;
    let rules: Rules = toml::from_str(text).unwrap();
    let expected = Rules::new()
        .own_user(Verbs::EXECUTE)
        .allow("cert:billing", Verbs::EXECUTE | Verbs::OFFER, "orders.>")
        .and_then(|rules| rules.deny("*", Verbs::OFFER, "orders.secret"))
        .unwrap();
    assert_eq!(rules, expected);
    // And go back into one.
    let json = serde_json::to_string(&rules).unwrap();
    assert_eq!(serde_json::from_str::<Rules>(&json).unwrap(), rules);
}

#[test]
fn a_file_with_a_mistake_is_refused_whole() {
    let refused = |text: &str| toml::from_str::<Rules>(text).unwrap_err().to_string();
    let rule = |lines: &str| refused(&format!("[[rule]]\n{lines}"));
    let error = rule("who = \"cert:a\"\ndney = [\"poll\"]\nnames = \"q\"");
    assert!(error.contains("unknown field `dney`"), "{error}");
    let error = rule("who = \"cert:a\"\nallow = [\"pole\"]\nnames = \"q\"");
    assert!(error.contains("unknown variant `pole`"), "{error}");
    let error = rule("who = \"a\"\nallow = [\"poll\"]\nnames = \"q\"");
    assert!(error.contains("principal \"a\" doesn't say"), "{error}");
    let error = rule("who = \"*\"\nallow = [\"poll\"]\nnames = \"q..r\"");
    assert!(error.contains("empty level"), "{error}");
    let error = rule("who = \"*\"\nnames = \"q\"");
    assert!(error.contains("one of `allow` and `deny`"), "{error}");
    let error = rule("who = \"*\"\nallow = []\nnames = \"q\"");
    assert!(error.contains("without verbs"), "{error}");
    let error = refused("remote = [\"poll\"]");
    assert!(error.contains("unknown field `remote`"), "{error}");
}

/// A pattern over levels, decided level by level from the front, unlike the one under test.
fn matches_naively(pattern: &[&str], name: &[&str]) -> bool {
    match (pattern.first(), name.first()) {
        (None, None) => true,
        (Some(&">"), Some(_)) => true,
        (Some(&wanted), Some(&level)) if wanted == "*" || wanted == level => {
            matches_naively(&pattern[1..], &name[1..])
        }
        _ => false,
    }
}

fn levels(level: &'static str) -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(level, 1..4)
}

fn pattern() -> impl Strategy<Value = String> {
    (levels("[ab*]"), any::<bool>()).prop_map(|(mut levels, rest)| {
        if rest {
            levels.push(">".to_owned());
        }
        levels.join(".")
    })
}

fn who() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "cert:a",
        "cert:ab",
        "cert:a*",
        "cert:*",
        "uid:*",
        "uid:1",
        "*",
        "anonymous",
    ])
}

type Drawn = (bool, &'static str, u8, String);

fn drawn() -> impl Strategy<Value = Vec<Drawn>> {
    let verbs = 1..1u8 << Verb::ALL.len();
    proptest::collection::vec((any::<bool>(), who(), verbs, pattern()), 0..8)
}

proptest! {
    #[test]
    fn g35_rules_decide_as_a_model_does(
        drawn in drawn(),
        name in levels("[abc]"),
        who in proptest::sample::select(vec![None, Some("cert:a"), Some("cert:ab"), Some("uid:1"), Some("uid:2")]),
        channel in 0..3u8,
    ) {
        let principal = who.map(Principal::new);
        let mut proof = Proof::local(principal);
        proof.channel = match channel {
            0 => crate::transport::Channel::Local,
            1 => crate::transport::Channel::Encrypted,
            _ => crate::transport::Channel::Plain,
        };
        let subject = Subject::new(&proof);
        let mut rules = Rules::new();
        for (allows, who, verbs, names) in &drawn {
            let effect = if *allows { Effect::Allow } else { Effect::Deny };
            let verbs = Verb::ALL.into_iter().filter(|verb| verbs & (1 << *verb as u8) != 0).collect();
            rules = rules.rule(Rule::new(effect, who, verbs, names).unwrap()).unwrap();
        }
        let known = if channel == 2 { None } else { who };
        let levels: Vec<&str> = name.iter().map(String::as_str).collect();
        let name = name.join(".");
        for verb in Verb::ALL {
            let speaks = |(_, who, verbs, names): &Drawn| {
                let about = match (known, *who) {
                    (None, who) => who == "anonymous",
                    (Some(_), "anonymous") => false,
                    (Some(known), who) => match who.find('*') {
                        Some(at) => known.get(..at) == Some(&who[..at]),
                        None => known == who,
                    },
                };
                let names: Vec<&str> = names.split('.').collect();
                about && verbs & (1 << verb as u8) != 0 && matches_naively(&names, &levels)
            };
            let mut speaking = drawn.iter().filter(|rule| speaks(rule)).map(|rule| rule.0).peekable();
            let expected = if speaking.peek().is_some() {
                speaking.all(|allows| allows)
            } else {
                channel == 0 && known.is_none() && verb != Verb::Admin
            };
            prop_assert_eq!(rules.verbs(&subject, &name).has(verb), expected);
            prop_assert_eq!(rules.explain(&subject, verb, &name).is_allowed(), expected);
        }
    }
}
