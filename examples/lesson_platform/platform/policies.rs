//! How each part is asked: with how much patience, how often again, and at whose cost. All of it is in a file that can
//! be edited while the platform runs.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use callboard::System;
use callboard::supervision::{CallPolicy, Explanation, PolicyFile, PolicyFileStatus, PolicyStats};

use crate::calls::Part;

/// What the file says at first: it comes with the program, and explains itself.
pub(crate) const OWN_POLICIES: &str = include_str!("../policies.toml");

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(100);

// ANCHOR: policies
/// One policy for each part, so that one part that is away doesn't use up the others' budget.
#[derive(Debug)]
pub(crate) struct Policies {
    file: PolicyFile,
    renderer: CallPolicy,
    search: CallPolicy,
    enrolment: CallPolicy,
    thumbnails: CallPolicy,
    views: CallPolicy,
    metadata: CallPolicy,
}

impl Policies {
    /// Those of a file, as it is now and as it will be. An error says what is wrong with it, and where: nobody wants
    /// a platform whose limits are not the ones that somebody wrote down.
    pub(super) async fn watch(system: &System, path: &Path) -> callboard::Result<Self> {
        let file = PolicyFile::builder(path).every(LOOK).watch(system).await?;
        // Handles: what the file says later is what they are then.
        let of = |part: Part| file.get(&part.to_string());
        Ok(Policies {
            renderer: of(Part::Renderer)?,
            search: of(Part::Search)?,
            enrolment: of(Part::Enrolment)?,
            thumbnails: of(Part::Thumbnails)?,
            views: of(Part::Views)?,
            metadata: of(Part::Metadata)?,
            file,
        })
    }

    pub(crate) fn of(&self, part: Part) -> &CallPolicy {
        match part {
            Part::Renderer => &self.renderer,
            Part::Search => &self.search,
            Part::Enrolment => &self.enrolment,
            Part::Thumbnails => &self.thumbnails,
            Part::Views => &self.views,
            Part::Metadata => &self.metadata,
        }
    }
}
// ANCHOR_END: policies

impl Policies {
    pub(crate) fn stats(&self) -> Vec<PolicyStats> {
        let stats = |part| self.of(part).stats();
        Part::ALL.into_iter().map(stats).collect()
    }

    /// What each is set to and did, and how its callee looks from here.
    pub(crate) fn explain(&self) -> Vec<Explanation> {
        let explain = |part| self.of(part).explain();
        Part::ALL.into_iter().map(explain).collect()
    }

    /// How the file stands.
    pub(crate) fn status(&self) -> PolicyFileStatus {
        self.file.status()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.file.status().path
    }
}

/// Makes this the file's content: beside it first, so that nobody ever sees half of it.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("toml.new");
    std::fs::write(&beside, text)?;
    std::fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use callboard::supervision::AdaptiveMode;

    use super::*;
    use crate::lessons::tests::Folder;

    #[test]
    fn the_file_that_comes_with_it_says_what_the_platform_needs() {
        let all = PolicyFile::parse("policies.toml", OWN_POLICIES).unwrap();
        let names: Vec<&str> = all.keys().map(String::as_str).collect();
        let mut parts = Part::ALL.map(|part| part.to_string());
        parts.sort();
        assert_eq!(names, parts);
        for (name, settings) in &all {
            assert!(settings.deadline.is_some(), "{name} waits for ever");
            assert!(settings.retry.is_some(), "{name} is asked once");
            // Not where nothing can stand in; and that of `metadata` is for the drill to switch on.
            let has_breaker = ["thumbnails", "views"].contains(&&**name);
            assert_eq!(settings.breaker.is_some(), has_breaker, "{name}");
        }
        let mode = |name: &str| all[name].attempt.adaptive.as_ref().map(|it| it.mode);
        assert_eq!(mode("thumbnails"), Some(AdaptiveMode::Follow));
        assert_eq!(mode("views"), Some(AdaptiveMode::Propose));
        assert_eq!(mode("renderer"), None);
    }

    #[test]
    fn a_file_that_lacks_a_part_or_is_wrong_starts_nothing() {
        let folder = Folder::new("policies");
        let path = folder.0.join("policies.toml");
        let refused = |text: &str| {
            write(&path, text).unwrap();
            let path = path.clone();
            callboard::run(|system| async move {
                let watched = Policies::watch(&system, &path).await;
                watched.unwrap_err().to_string()
            })
            .unwrap()
        };
        let without = OWN_POLICIES.replace("[search]", "");
        let why = refused(&without);
        assert!(why.contains("no policy `search` in"), "{why}");
        let why = refused("[views]\ndedline = \"1s\"\n");
        assert!(why.contains("policies.toml:2:1: "), "{why}");
    }
}
