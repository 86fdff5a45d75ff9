//! Patterns over principals.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::subject::Subject;

/// The longest principal pattern, in bytes.
pub const MAX_WHO: usize = 512;

/// What stands for peers of whom nothing is proved.
const ANONYMOUS: &str = "anonymous";

/// Whom a rule is about. Written as:
///
/// | text | who |
/// |---|---|
/// | `cert:billing` | that principal |
/// | `cert:build-*` | each principal that begins so; the `*` stands at the end only |
/// | `*` | each principal: everybody who proved who they are, however |
/// | `anonymous` | who proved nothing: pipes, TCP on loopback, TCP without TLS |
///
/// A principal begins with how it was proved: `uid:`, `cert:`, `secret:`, or a word of a transport of your own. A
/// pattern must too, so that `billing` is an error and not a rule that never matches.
///
/// ```
/// use callboard_remote::Who;
///
/// let who: Who = "cert:build-*".parse()?;
/// assert_eq!(who.to_string(), "cert:build-*");
/// let error = "billing".parse::<Who>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "principal \"billing\" doesn't say how it is proved: `cert:`, `uid:` or `secret:` and then the name"
/// );
/// # Ok::<(), callboard_remote::WhoError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Who(Shape);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Shape {
    Proved,
    Anonymous,
    Exactly(Arc<str>),
    Beginning(Arc<str>),
}

/// Why a text is no principal pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WhoError {
    /// It has no word and colon at its start, or nothing after them.
    #[error(
        "principal {0:?} doesn't say how it is proved: `cert:`, `uid:` or `secret:` and then the name"
    )]
    NoKind(String),
    /// `*` stands elsewhere than at its end.
    #[error("principal {0:?} has `*` before its end")]
    StarNotLast(String),
    /// It is longer than [`MAX_WHO`] bytes.
    #[error("a principal pattern of {0} bytes is longer than {MAX_WHO}")]
    TooLong(usize),
}

impl Who {
    /// Whether the pattern is about that subject.
    #[must_use]
    pub fn matches(&self, subject: &Subject) -> bool {
        let Some(principal) = subject.principal() else {
            return self.0 == Shape::Anonymous;
        };
        match &self.0 {
            Shape::Proved => true,
            Shape::Anonymous => false,
            Shape::Exactly(name) => principal.name() == &**name,
            Shape::Beginning(start) => principal.name().starts_with(&**start),
        }
    }
}

impl FromStr for Who {
    type Err = WhoError;

    fn from_str(text: &str) -> Result<Self, WhoError> {
        if text.len() > MAX_WHO {
            return Err(WhoError::TooLong(text.len()));
        }
        let shape = match text {
            "*" => Shape::Proved,
            ANONYMOUS => Shape::Anonymous,
            _ => {
                let (start, rest) = match text.strip_suffix('*') {
                    Some(start) => (start, true),
                    None => (text, false),
                };
                if start.contains('*') {
                    return Err(WhoError::StarNotLast(text.to_owned()));
                }
                let named = start
                    .split_once(':')
                    .is_some_and(|(kind, name)| !kind.is_empty() && (rest || !name.is_empty()));
                match (named, rest) {
                    (false, _) => return Err(WhoError::NoKind(text.to_owned())),
                    (true, true) => Shape::Beginning(Arc::from(start)),
                    (true, false) => Shape::Exactly(Arc::from(start)),
                }
            }
        };
        Ok(Who(shape))
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Shape::Proved => f.write_str("*"),
            Shape::Anonymous => f.write_str(ANONYMOUS),
            Shape::Exactly(name) => f.write_str(name),
            Shape::Beginning(start) => write!(f, "{start}*"),
        }
    }
}

impl fmt::Debug for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Who({self})")
    }
}

/// As its text.
impl Serialize for Who {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// From a text, which is checked.
impl<'de> Deserialize<'de> for Who {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
