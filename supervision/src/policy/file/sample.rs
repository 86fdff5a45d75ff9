//! Settings as the text of a policy file, and a commented sample of one.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use crate::policy::settings::{
    AdaptiveMode, AdaptiveSettings, AttemptSettings, BreakerMode, BreakerSettings, BudgetSettings,
    BulkheadSettings, CallSettings, HedgeSettings, Jitter, RateSettings, RetrySettings,
    ShedSettings, span,
};

/// A table of settings.
pub(super) struct Group {
    /// Below the policy's own; empty for that one.
    pub(super) path: &'static str,
    doc: &'static str,
    /// Whether it is on. If not, its keys are the defaults.
    pub(super) is_on: bool,
    /// Whether it can be off at all.
    pub(super) is_switch: bool,
    pub(super) keys: Vec<Key>,
}

/// A setting.
pub(super) struct Key {
    pub(super) name: &'static str,
    doc: &'static str,
    /// As it is written in a file; `None` if it is off.
    pub(super) value: Option<String>,
    /// What it might be, where it is off.
    sample: &'static str,
}

/// All settings there are. Every struct is taken apart field by field, so that none can be forgotten here.
pub(super) fn groups(settings: &CallSettings) -> Vec<Group> {
    let CallSettings {
        deadline,
        attempt,
        retry,
        breaker,
        bulkhead,
        hedge,
        shed,
        rate,
    } = settings;
    let AttemptSettings {
        limit,
        share,
        adaptive,
    } = attempt;
    let mut groups = vec![
        Group {
            path: "",
            doc: "",
            is_on: true,
            is_switch: false,
            keys: vec![optional(
                "deadline",
                deadline.map(time),
                "\"500ms\"",
                "How long a request may take with all its attempts.",
            )],
        },
        Group {
            path: "attempt",
            doc: "How long one attempt may take: the least of these and what is left of the request.",
            is_on: true,
            is_switch: false,
            keys: vec![
                optional("limit", limit.map(time), "\"200ms\"", "So long at most."),
                optional(
                    "share",
                    share.map(float),
                    "0.5",
                    "That share of what is left of the request's deadline: above 0, at most 1.",
                ),
            ],
        },
        switch(
            "attempt.adaptive",
            adaptive.as_ref(),
            adaptive_keys,
            "A limit from how long calls of that callee take.",
        ),
    ];
    groups.push(switch(
        "retry",
        retry.as_ref(),
        retry_keys,
        "Whether and how a failed attempt is followed by another.",
    ));
    if let Some(retry) = retry {
        groups.push(Group {
            path: "retry.budget",
            doc: "How much all retries of a callee may be together.",
            is_on: true,
            is_switch: false,
            keys: budget_keys(&retry.budget),
        });
    }
    groups.extend([
        switch(
            "breaker",
            breaker.as_ref(),
            breaker_keys,
            "When a callee that fails is left alone for a time.",
        ),
        switch(
            "bulkhead",
            bulkhead.as_ref(),
            bulkhead_keys,
            "How many attempts may be under way at once.",
        ),
        switch(
            "hedge",
            hedge.as_ref(),
            hedge_keys,
            "A second attempt beside a slow one; for what may run twice.",
        ),
        switch(
            "shed",
            shed.as_ref(),
            shed_keys,
            "Calls that would come too late anyway are refused at once.",
        ),
        switch(
            "rate",
            rate.as_ref(),
            rate_keys,
            "How many attempts a second there may be.",
        ),
    ]);
    groups
}

fn adaptive_keys(settings: &AdaptiveSettings) -> Vec<Key> {
    let AdaptiveSettings {
        mode,
        percentile,
        factor,
        floor,
        ceiling,
        min_samples,
        half_life,
    } = settings;
    let mode = match mode {
        AdaptiveMode::Propose => "propose",
        AdaptiveMode::Follow => "follow",
    };
    vec![
        key(
            "mode",
            word(mode),
            "\"propose\" only shows it, \"follow\" uses it.",
        ),
        key(
            "percentile",
            float(*percentile),
            "Which percentile: above 0, below 100.",
        ),
        key(
            "factor",
            float(*factor),
            "How many times as long: above 1, at most 100.",
        ),
        key("floor", time(*floor), "Never less."),
        key(
            "ceiling",
            time(*ceiling),
            "Never more, and used while there are too few samples.",
        ),
        key(
            "min_samples",
            min_samples.to_string(),
            "How many calls must have been measured first.",
        ),
        key(
            "half_life",
            time(*half_life),
            "After that time a measured call counts half.",
        ),
    ]
}

fn retry_keys(settings: &RetrySettings) -> Vec<Key> {
    let RetrySettings {
        attempts,
        jitter,
        base,
        cap,
        budget: _,
    } = settings;
    let jitter = match jitter {
        Jitter::Full => "full",
        Jitter::Decorrelated => "decorrelated",
    };
    vec![
        key(
            "attempts",
            attempts.to_string(),
            "How many, the first included: 1 to 10.",
        ),
        key(
            "jitter",
            word(jitter),
            "How waits are drawn: \"full\" or \"decorrelated\".",
        ),
        key("base", time(*base), "The longest the first wait can be."),
        key("cap", time(*cap), "The longest any wait can be."),
    ]
}

fn budget_keys(settings: &BudgetSettings) -> Vec<Key> {
    let BudgetSettings {
        share,
        per_second,
        window,
    } = settings;
    vec![
        key("share", float(*share), "Retries per request: 0 to 10."),
        key(
            "per_second",
            float(*per_second),
            "Retries a second besides, for quiet callers.",
        ),
        key("window", time(*window), "Over which time: 1 s to 60 s."),
    ]
}

fn breaker_keys(settings: &BreakerSettings) -> Vec<Key> {
    let BreakerSettings {
        mode,
        consecutive,
        rate,
        min_calls,
        window,
        open,
        max_open,
        probes,
    } = settings;
    let mode = match mode {
        BreakerMode::Auto => "auto",
        BreakerMode::Always => "always",
    };
    vec![
        key(
            "mode",
            word(mode),
            "\"auto\" where there is a fallback or another callee, or \"always\".",
        ),
        key(
            "consecutive",
            consecutive.to_string(),
            "So many failures in a row open it.",
        ),
        key(
            "rate",
            float(*rate),
            "That share of failures opens it: above 0, at most 1.",
        ),
        key(
            "min_calls",
            min_calls.to_string(),
            "But only of so many attempts.",
        ),
        key(
            "window",
            time(*window),
            "Within that time: 100 ms to 10 minutes.",
        ),
        key(
            "open",
            time(*open),
            "How long it is open for the first time.",
        ),
        key("max_open", time(*max_open), "How long it is open at most."),
        key(
            "probes",
            probes.to_string(),
            "How many attempts try a callee that was left alone.",
        ),
    ]
}

fn bulkhead_keys(settings: &BulkheadSettings) -> Vec<Key> {
    let BulkheadSettings { concurrency, queue } = settings;
    vec![
        key("concurrency", concurrency.to_string(), "So many at once."),
        key("queue", queue.to_string(), "So many more wait in line."),
    ]
}

fn hedge_keys(settings: &HedgeSettings) -> Vec<Key> {
    let HedgeSettings {
        percentile,
        at_least,
        min_samples,
    } = settings;
    vec![
        key(
            "percentile",
            float(*percentile),
            "After the time that this percentile of calls takes: above 0, below 100.",
        ),
        key("at_least", time(*at_least), "But never before that."),
        key(
            "min_samples",
            min_samples.to_string(),
            "How many calls must have been measured first.",
        ),
    ]
}

fn shed_keys(settings: &ShedSettings) -> Vec<Key> {
    let ShedSettings {
        percentile,
        min_samples,
    } = settings;
    vec![
        key(
            "percentile",
            float(*percentile),
            "Less time left than this percentile of calls takes is too little.",
        ),
        key(
            "min_samples",
            min_samples.to_string(),
            "How many calls must have been measured first.",
        ),
    ]
}

fn rate_keys(settings: &RateSettings) -> Vec<Key> {
    let RateSettings {
        per_second,
        burst,
        wait,
    } = settings;
    vec![
        key("per_second", float(*per_second), "So many on average."),
        key(
            "burst",
            burst.to_string(),
            "So many at once after a quiet time.",
        ),
        key(
            "wait",
            time(*wait),
            "How long an attempt may wait for its turn; zero: it is refused.",
        ),
    ]
}

fn switch<T: Default>(
    path: &'static str,
    group: Option<&T>,
    keys: impl Fn(&T) -> Vec<Key>,
    doc: &'static str,
) -> Group {
    Group {
        path,
        doc,
        is_on: group.is_some(),
        is_switch: true,
        keys: group.map_or_else(|| keys(&T::default()), &keys),
    }
}

fn key(name: &'static str, value: String, doc: &'static str) -> Key {
    optional(name, Some(value), "", doc)
}

fn optional(
    name: &'static str,
    value: Option<String>,
    sample: &'static str,
    doc: &'static str,
) -> Key {
    Key {
        name,
        doc,
        value,
        sample,
    }
}

fn time(span: Duration) -> String {
    word(&span::text(span))
}

fn word(text: &str) -> String {
    format!("\"{text}\"")
}

fn float(number: f64) -> String {
    if number.is_nan() {
        // No setting may be that; but it must not look like a word.
        return "nan".to_owned();
    }
    format!("{number:?}")
}

/// A name as a key of a file.
fn quoted(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(bare) {
        return name.to_owned();
    }
    let mut text = String::from("\"");
    for c in name.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            // An error: writing to a text has none.
            c if c.is_control() => drop(write!(text, "\\u{:04X}", u32::from(c))),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// See [`PolicyFile::to_toml`](crate::PolicyFile::to_toml).
pub(super) fn to_toml(policies: &BTreeMap<String, CallSettings>) -> String {
    let mut text = String::new();
    for (name, settings) in policies {
        let name = quoted(name);
        let groups = groups(settings);
        for group in groups.iter().filter(|group| group.is_on) {
            let keys: Vec<String> = group
                .keys
                .iter()
                .filter_map(|key| Some(format!("{} = {}", key.name, key.value.as_ref()?)))
                .collect();
            let off = groups.iter().filter(|off| !off.is_on);
            let off: Vec<String> = off
                .filter(|off| group.path == parent(off.path))
                .map(|off| format!("{} = false", leaf(off.path)))
                .collect();
            if keys.is_empty() && off.is_empty() && !group.path.is_empty() {
                continue;
            }
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&header(&name, group.path));
            for line in keys.iter().chain(&off) {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

fn header(name: &str, path: &str) -> String {
    let dot = if path.is_empty() { "" } else { "." };
    format!("[{name}{dot}{path}]\n")
}

fn parent(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(parent, _)| parent)
}

fn leaf(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, leaf)| leaf)
}

const INTRODUCTION: &str = "\
# Call policies: a table for each, with the settings of its calls.
#
# What is set here is the default. What begins with `#` and no space is off by default: take the `#` away, with that of
# the table's header. A group that is on is switched off by `false` in the table above it: `retry = false`.
# Spans of time are written with ns, us, ms, s, m or h: \"250ms\", \"1.5s\".
# What all policies share can be written into tables called `defaults`; the policy's own keys come before.
";

/// See [`PolicyFile::example`](crate::PolicyFile::example).
pub(super) fn example() -> String {
    let mut text = INTRODUCTION.to_owned();
    for group in groups(&CallSettings::default()) {
        let mark = if group.is_on { "" } else { "#" };
        text.push('\n');
        if !group.doc.is_empty() {
            text.extend(["# ", group.doc, "\n"]);
        }
        text.push_str(mark);
        text.push_str(&header("ledger", group.path));
        for key in group.keys {
            let mark = if key.value.is_some() { mark } else { "#" };
            let value = key.value.as_deref().unwrap_or(key.sample);
            text.extend(["# ", key.doc, "\n", mark, key.name, " = ", value, "\n"]);
        }
    }
    text
}
