//! A pattern over subjects that was checked once.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::subject::{SubjectError, check_pattern, matches};

/// A pattern over subjects, and over whatever else has levels: `*` stands for one level, a last `>` for one or more.
///
/// The rules are those of subscriptions, after NATS.
///
/// ```
/// # extern crate callboard_core as callboard;
/// use callboard::topic::Pattern;
///
/// let pattern = Pattern::new("orders.*.paid")?;
/// assert!(pattern.matches("orders.eu.paid"));
/// assert!(!pattern.matches("orders.eu"));
/// assert!(Pattern::new("orders.>")?.matches("orders.eu.paid"));
/// # Ok::<(), callboard::topic::SubjectError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// Checks a pattern.
    ///
    /// # Errors
    /// [`SubjectError`]: it has an empty level, or `>` before its last level, or is longer than
    /// [`MAX_SUBJECT`](super::MAX_SUBJECT) bytes.
    pub fn new(pattern: &str) -> Result<Self, SubjectError> {
        check_pattern(pattern)?;
        Ok(Pattern(Arc::from(pattern)))
    }

    /// Whether it matches. Any text can be asked about; levels are what stands between its dots.
    #[must_use]
    pub fn matches(&self, subject: &str) -> bool {
        matches(&self.0, subject)
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As its text.
impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// From a text, which is checked.
impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Pattern::new(&text).map_err(serde::de::Error::custom)
    }
}
