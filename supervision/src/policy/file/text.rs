//! From the text of a policy file to settings, or to what is wrong with it and where.

mod nesting;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::error::{FilePosition, PolicyFileError, PolicyProblem, PolicyProblemKind};
use crate::policy::settings::{BadSetting, CallSettings};

/// The table that the others start from.
pub(super) const DEFAULTS: &str = "defaults";

/// How many bytes a policy file may have.
pub const MAX_POLICY_FILE: usize = 1 << 20;
/// How many policies there may be of one file, those that it had once among them.
pub const MAX_POLICIES: usize = 1_024;

/// The settings of all policies of a file, by name.
pub(super) type Policies = BTreeMap<String, CallSettings>;

/// Reads a file's bytes. `path` is for errors only.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Policies, PolicyFileError> {
    let refused = |problems| PolicyFileError::new(path, problems);
    if bytes.len() > MAX_POLICY_FILE {
        return Err(refused(vec![too_large()]));
    }
    let text = text_of(bytes).map_err(|problem| refused(vec![problem]))?;
    let root = tree_of(text).map_err(|problem| refused(vec![problem]))?;
    policies_of(text, &root).map_err(refused)
}

pub(super) fn too_large() -> PolicyProblem {
    PolicyProblem::whole(
        PolicyProblemKind::TooLarge,
        format!("more than {MAX_POLICY_FILE} bytes, which is too much for a file of policies"),
    )
}

/// The text without its byte order mark, which is no part of any column either.
fn text_of(bytes: &[u8]) -> Result<&str, PolicyProblem> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(without_mark(text)),
        Err(error) => {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let good = without_mark(std::str::from_utf8(good).unwrap_or_default());
            Err(PolicyProblem {
                at: Some(FilePosition::of(good, good.len())),
                ..PolicyProblem::whole(PolicyProblemKind::NotText, "no UTF-8 from here on")
            })
        }
    }
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn tree_of(text: &str) -> Result<DeTable<'_>, PolicyProblem> {
    let syntax = |byte, message: &str| PolicyProblem {
        at: Some(FilePosition::of(text, byte)),
        ..PolicyProblem::whole(PolicyProblemKind::Syntax, message)
    };
    // Before the parser, which takes stack for each level.
    if let Some(byte) = nesting::too_deep(text) {
        return Err(syntax(byte, "nested too deep for a file of policies"));
    }
    match DeTable::parse(text) {
        Ok(root) => Ok(root.into_inner()),
        Err(error) => {
            let byte = error.span().map_or(text.len(), |span| span.start);
            Err(syntax(byte, error.message()))
        }
    }
}

/// What a table of the file is, with the place of its name.
struct Named<'t, 'i> {
    name: &'t str,
    at: usize,
    value: &'t Spanned<DeValue<'i>>,
}

fn policies_of(text: &str, root: &DeTable<'_>) -> Result<Policies, Vec<PolicyProblem>> {
    let mut tables: Vec<Named<'_, '_>> = root
        .iter()
        .map(|(name, value)| Named {
            name: name.get_ref(),
            at: name.span().start,
            value,
        })
        .collect();
    // The tree is in the order of names; people read files from the top.
    tables.sort_by_key(|table| table.at);
    // They must make sense by themselves; if they don't, what else there is might be only their fault.
    let defaults = tables.iter().position(|table| table.name == DEFAULTS);
    let defaults = defaults.map(|at| tables.remove(at));
    if let Some(defaults) = &defaults {
        settings_of(text, defaults, None).map_err(|problem| vec![problem])?;
    }
    let defaults = defaults.and_then(|defaults| defaults.value.get_ref().as_table());
    if tables.len() > MAX_POLICIES {
        let message = format!("more than {MAX_POLICIES} policies");
        let problem = PolicyProblem::whole(PolicyProblemKind::TooLarge, message);
        return Err(vec![problem]);
    }
    let mut policies = Policies::new();
    let mut problems = Vec::new();
    for table in &tables {
        match settings_of(text, table, defaults) {
            Ok(settings) => drop(policies.insert(table.name.to_owned(), settings)),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        Ok(policies)
    } else {
        Err(problems)
    }
}

fn settings_of(
    text: &str,
    table: &Named<'_, '_>,
    defaults: Option<&DeTable<'_>>,
) -> Result<CallSettings, PolicyProblem> {
    let whose = if table.name == DEFAULTS {
        "the defaults".to_owned()
    } else {
        format!("policy `{}`", table.name)
    };
    let problem = |kind, byte, setting: Option<String>, message| PolicyProblem {
        kind,
        at: Some(FilePosition::of(text, byte)),
        policy: Some(table.name.to_owned()),
        setting,
        message,
    };
    let Some(own) = table.value.get_ref().as_table() else {
        let message = format!(
            "`{}` is no table: a policy is one, such as `[ledger]`, and what all policies share goes to `[{DEFAULTS}]`",
            table.name
        );
        return Err(problem(PolicyProblemKind::Unknown, table.at, None, message));
    };
    let merged = defaults.map_or_else(|| own.clone(), |defaults| merged(defaults, own));
    let merged = Spanned::new(table.value.span(), DeValue::Table(merged));
    let deserializer = ValueDeserializer::from(merged.clone());
    // Serde would take one for the fields in their order.
    if let Some((path, byte)) = array_in(own) {
        let message = format!("`{path}` of {whose}: no setting is an array");
        return Err(problem(PolicyProblemKind::Value, byte, Some(path), message));
    }
    let settings = CallSettings::deserialize(deserializer).map_err(|error| {
        let byte = error.span().map_or(table.at, |span| span.start);
        let (setting, is_key) = setting_at(merged.get_ref(), byte);
        let message = error.message();
        if is_key {
            let message = format!("{message}, in {whose}");
            problem(PolicyProblemKind::Unknown, byte, setting, message)
        } else {
            let what = setting
                .as_ref()
                .map_or_else(String::new, |setting| format!("`{setting}` of "));
            let message = format!("{what}{whose}: {message}");
            problem(PolicyProblemKind::Value, byte, setting, message)
        }
    })?;
    settings
        .check()
        .map_err(|BadSetting { setting, must, .. }| {
            let byte = place_of(table, own, setting);
            let message = format!("`{setting}` of {whose} {must}");
            let setting = Some(setting.to_owned());
            problem(PolicyProblemKind::Setting, byte, setting, message)
        })?;
    Ok(settings)
}

/// A policy's table over the defaults: tables are merged key by key, anything else is replaced. `true` keeps the group
/// as the defaults have it.
fn merged<'i>(defaults: &DeTable<'i>, own: &DeTable<'i>) -> DeTable<'i> {
    let mut all = own.clone();
    for (key, default) in defaults {
        let merged = match (default.get_ref(), own.get(key).map(Spanned::get_ref)) {
            (_, None) => default.clone(),
            (DeValue::Table(_), Some(DeValue::Boolean(true))) => default.clone(),
            (DeValue::Table(default), Some(DeValue::Table(table))) => {
                let span = own.get(key).map_or(0..0, Spanned::span);
                Spanned::new(span, DeValue::Table(merged(default, table)))
            }
            (_, Some(_)) => continue,
        };
        all.insert(key.clone(), merged);
    }
    all
}

/// The first array in a table, and where it stands.
fn array_in(table: &DeTable<'_>) -> Option<(String, usize)> {
    table.iter().find_map(|(key, value)| match value.get_ref() {
        DeValue::Array(_) => Some((key.get_ref().to_string(), value.span().start)),
        DeValue::Table(below) => {
            let (path, byte) = array_in(below)?;
            Some((format!("{}.{path}", key.get_ref()), byte))
        }
        _ => None,
    })
}

/// Which setting stands at that byte, and whether it is its key that does.
fn setting_at(value: &DeValue<'_>, byte: usize) -> (Option<String>, bool) {
    let Some(table) = value.as_table() else {
        return (None, false);
    };
    for (key, value) in table {
        let name = key.get_ref();
        // A table that is made by `[ledger.retry.budget]` alone has its key's place, so look into it first.
        let (below, is_key) = setting_at(value.get_ref(), byte);
        if let Some(below) = below {
            return (Some(format!("{name}.{below}")), is_key);
        }
        let is_key = key.span().start == byte;
        if is_key || value.span().start == byte {
            return (Some(name.to_string()), is_key);
        }
    }
    (None, false)
}

/// Where a setting of a policy stands; the nearest table around it if it doesn't.
fn place_of(policy: &Named<'_, '_>, own: &DeTable<'_>, setting: &str) -> usize {
    let mut place = policy.at;
    let mut table = Some(own);
    for part in setting.split('.') {
        let Some(value) = table.and_then(|table| table.get(part)) else {
            break;
        };
        place = value.span().start;
        table = value.get_ref().as_table();
    }
    place
}
