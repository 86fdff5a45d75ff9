use proptest::prelude::*;

use super::*;
use crate::policy::file::PolicyFile;

fn parse(text: &str) -> BTreeMap<String, CallSettings> {
    match PolicyFile::parse("p.toml", text) {
        Ok(policies) => policies,
        Err(error) => panic!("{error}\n{text}"),
    }
}

/// With everything on, and as it is by default.
fn all_on() -> CallSettings {
    CallSettings {
        deadline: Some(Duration::from_millis(500)),
        attempt: AttemptSettings {
            limit: Some(Duration::from_millis(200)),
            share: Some(0.5),
            adaptive: Some(AdaptiveSettings::default()),
        },
        bulkhead: Some(BulkheadSettings::default()),
        hedge: Some(HedgeSettings::default()),
        shed: Some(ShedSettings::default()),
        rate: Some(RateSettings::default()),
        ..CallSettings::default()
    }
}

#[test]
fn the_example_says_what_the_defaults_are() {
    let policies = parse(&example());
    assert_eq!(
        policies,
        BTreeMap::from([("ledger".to_owned(), CallSettings::default())])
    );
}

#[test]
fn the_example_with_nothing_commented_out_has_everything() {
    let uncommented: String = example()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') && !rest.is_empty() => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let policies = parse(&uncommented);
    assert_eq!(policies, BTreeMap::from([("ledger".to_owned(), all_on())]));
    // Each key is there, so a setting that this file's author forgot would show.
    let json = serde_json::to_value(all_on()).unwrap();
    let mut keys = Vec::new();
    leaves("", &json, &mut keys);
    let listed: Vec<String> = groups(&all_on())
        .iter()
        .flat_map(|group| {
            let dot = if group.path.is_empty() { "" } else { "." };
            group
                .keys
                .iter()
                .map(move |key| format!("{}{dot}{}", group.path, key.name))
        })
        .collect();
    keys.sort();
    let mut listed = listed;
    listed.sort();
    assert_eq!(listed, keys);
}

fn leaves(path: &str, value: &serde_json::Value, into: &mut Vec<String>) {
    match value.as_object() {
        None => into.push(path.to_owned()),
        Some(object) => {
            for (key, value) in object {
                let dot = if path.is_empty() { "" } else { "." };
                leaves(&format!("{path}{dot}{key}"), value, into);
            }
        }
    }
}

#[test]
fn the_example_explains_every_line_that_says_something() {
    let text = example();
    let lines: Vec<&str> = text.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        assert!(line.len() <= 120, "{line}");
        if line.contains(" = ") && !line.starts_with("# ") {
            assert!(lines[number - 1].starts_with("# "), "{line}");
        }
    }
}

#[test]
fn settings_are_written_as_people_would() {
    let settings = CallSettings {
        deadline: Some(Duration::from_millis(1_500)),
        breaker: None,
        hedge: Some(HedgeSettings::default()),
        ..CallSettings::default()
    };
    let text = to_toml(&BTreeMap::from([("a b".to_owned(), settings)]));
    let expected = "\
[\"a b\"]
deadline = \"1500ms\"
breaker = false
bulkhead = false
shed = false
rate = false

[\"a b\".attempt]
adaptive = false

[\"a b\".retry]
attempts = 3
jitter = \"full\"
base = \"50ms\"
cap = \"1s\"

[\"a b\".retry.budget]
share = 0.2
per_second = 10.0
window = \"10s\"

[\"a b\".hedge]
percentile = 95.0
at_least = \"1ms\"
min_samples = 200
";
    assert_eq!(text, expected);
}

fn span() -> impl Strategy<Value = Duration> {
    // Up to two minutes, to the nanosecond.
    prop_oneof![
        (1..120_000_u64).prop_map(Duration::from_millis),
        (1..120_000_000_000_u64).prop_map(Duration::from_nanos),
    ]
}

prop_compose! {
    fn adaptive()(
        follow in any::<bool>(),
        percentile in 0.001..99.999,
        factor in 1.001..100.0,
        floor in span(),
        more in span(),
        min_samples in 1..u64::MAX,
        half_life in span(),
    ) -> AdaptiveSettings {
        AdaptiveSettings {
            mode: if follow { AdaptiveMode::Follow } else { AdaptiveMode::Propose },
            percentile,
            factor,
            floor,
            ceiling: floor + more,
            min_samples,
            half_life: half_life + Duration::from_secs(1),
        }
    }
}

prop_compose! {
    fn retry()(
        attempts in 1..=10_u32,
        full in any::<bool>(),
        base in span(),
        more in span(),
        share in 0.0..10.0,
        per_second in 0.0..1e9,
        window in 1_000..60_000_u64,
    ) -> RetrySettings {
        RetrySettings {
            attempts,
            jitter: if full { Jitter::Full } else { Jitter::Decorrelated },
            base,
            cap: base + more,
            budget: BudgetSettings { share, per_second, window: Duration::from_millis(window) },
        }
    }
}

prop_compose! {
    fn breaker()(
        always in any::<bool>(),
        consecutive in 1..u32::MAX,
        rate in 0.001..1.0,
        min_calls in 1..u32::MAX,
        window in 100..600_000_u64,
        open in span(),
        more in span(),
        probes in 1..u32::MAX,
    ) -> BreakerSettings {
        BreakerSettings {
            mode: if always { BreakerMode::Always } else { BreakerMode::Auto },
            consecutive,
            rate,
            min_calls,
            window: Duration::from_millis(window),
            open,
            max_open: open + more,
            probes,
        }
    }
}

prop_compose! {
    fn settings()(
        deadline in prop::option::of(span()),
        limit in prop::option::of(span()),
        share in prop::option::of(0.001..1.0),
        adaptive in prop::option::of(adaptive()),
        retry in prop::option::of(retry()),
        breaker in prop::option::of(breaker()),
        bulkhead in prop::option::of((1..u32::MAX, any::<u32>())),
        hedge in prop::option::of((0.001..99.999, span(), 1..u64::MAX)),
        shed in prop::option::of((0.001..99.999, 1..u64::MAX)),
        rate in prop::option::of((0.001..1e9, 1..u32::MAX, span())),
    ) -> CallSettings {
        CallSettings {
            deadline,
            attempt: AttemptSettings { limit, share, adaptive },
            retry,
            breaker,
            bulkhead: bulkhead.map(|(concurrency, queue)| BulkheadSettings { concurrency, queue }),
            hedge: hedge.map(|(percentile, at_least, min_samples)| {
                HedgeSettings { percentile, at_least, min_samples }
            }),
            shed: shed.map(|(percentile, min_samples)| ShedSettings { percentile, min_samples }),
            rate: rate.map(|(per_second, burst, wait)| RateSettings { per_second, burst, wait }),
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_it_was(
        policies in prop::collection::btree_map("\\PC{0,6}|[a-z\"\\\\\n\u{7f}]{1,6}", settings(), 0..4),
    ) {
        prop_assume!(!policies.contains_key("defaults"));
        let text = to_toml(&policies);
        prop_assert_eq!(parse(&text), policies, "{}", text);
    }

    /// Data that goes another way than through a file.
    #[test]
    fn settings_come_back_through_serde(settings in settings()) {
        let json = serde_json::to_value(&settings).unwrap();
        let again: CallSettings = serde_json::from_value(json.clone()).unwrap();
        prop_assert_eq!(again, settings, "{}", json);
    }
}
