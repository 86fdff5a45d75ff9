//! What became of a policy file: what a load changed, and how it stands.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::error::PolicyFileError;
use super::sample::groups;
use crate::policy::settings::CallSettings;

/// A setting that is another one now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SettingChange {
    /// Which: `retry.attempts`, or the group if it was switched: `hedge`.
    pub setting: String,
    /// What it was, as it would stand in a file. `false` is off.
    pub from: String,
    /// What it is now.
    pub to: String,
}

impl fmt::Display for SettingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.setting, self.from, self.to)
    }
}

/// What a load of a policy file changed. All of it happened at once: a file that is refused changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct PolicyFileChange {
    /// Stands for the file's content: equal content has the same, in each process and on each machine.
    pub version: String,
    /// Policies that are new in the file, or back in it.
    pub added: Vec<String>,
    /// Policies that were there and have other settings now.
    pub changed: BTreeMap<String, Vec<SettingChange>>,
    /// Policies that the file had and has no longer. They keep their last settings.
    pub vanished: Vec<String>,
}

impl PolicyFileChange {
    /// Whether all policies are as they were, because only comments were edited, say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.vanished.is_empty()
    }
}

impl fmt::Display for PolicyFileChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing changed");
        }
        let mut parts = Vec::new();
        for (name, settings) in &self.changed {
            let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
            parts.push(format!("{name}: {}", settings.join(", ")));
        }
        if !self.added.is_empty() {
            parts.push(format!("added: {}", self.added.join(", ")));
        }
        if !self.vanished.is_empty() {
            let vanished = self.vanished.join(", ");
            parts.push(format!("no longer in the file: {vanished}"));
        }
        f.write_str(&parts.join("; "))
    }
}

/// What is different. Of a group that was off, what isn't the default; of one that is off now, nothing more.
pub(super) fn difference(from: &CallSettings, to: &CallSettings) -> Vec<SettingChange> {
    let off = || "false".to_owned();
    let (before, defaults) = (groups(from), groups(&CallSettings::default()));
    let mut changes = Vec::new();
    for group in groups(to) {
        let was = before.iter().find(|was| was.path == group.path);
        let was_on = was.is_some_and(|was| was.is_on);
        if group.is_switch && group.is_on != was_on {
            changes.push(SettingChange {
                setting: group.path.to_owned(),
                from: was_on.to_string(),
                to: group.is_on.to_string(),
            });
        }
        // A group below one that was off was in no list.
        let was = was.or_else(|| defaults.iter().find(|one| one.path == group.path));
        let Some(was) = was.filter(|_| group.is_on) else {
            continue;
        };
        for (key, was) in group.keys.iter().zip(&was.keys) {
            if key.value != was.value {
                let dot = if group.path.is_empty() { "" } else { "." };
                changes.push(SettingChange {
                    setting: format!("{}{dot}{}", group.path, key.name),
                    from: was.value.clone().unwrap_or_else(off),
                    to: key.value.clone().unwrap_or_else(off),
                });
            }
        }
    }
    changes
}

/// What a watched file did, for [`PolicyFileBuilder::on_change`](crate::PolicyFileBuilder::on_change).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyFileEvent {
    /// A new content was taken.
    Loaded(PolicyFileChange),
    /// A new content was refused, and everything is as it was; or the file can't be read.
    Refused(PolicyFileError),
}

/// How a policy file stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PolicyFileStatus {
    /// Which file.
    pub path: PathBuf,
    /// Whether somebody looks at it: not after [`load`](crate::PolicyFile::load), nor after the end of the system.
    pub is_watched: bool,
    /// How often, in milliseconds.
    pub every_ms: u64,
    /// Stands for the content that was taken last, as in [`PolicyFileChange::version`].
    pub version: String,
    /// When it was taken: milliseconds since 1970 began (UTC).
    pub loaded_unix_ms: u64,
    /// How often the file was looked at.
    pub looks: u64,
    /// How often a content was taken, the first time included.
    pub loads: u64,
    /// How many of these, the first time apart, changed something.
    pub changes: u64,
    /// How many contents were refused, or failures to read it in a row counted as one.
    pub refusals: u64,
    /// How many panics of the observer were fenced off.
    pub panics: u64,
    /// The policies, and whether the file has them at present. Those that it has no longer keep their last settings.
    pub policies: BTreeMap<String, bool>,
    /// Why the file as it stands was refused; `None` if it was not.
    pub last_error: Option<PolicyFileError>,
}
