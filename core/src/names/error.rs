//! What can be wrong with a name.

use std::sync::Arc;

use crate::id::ActorId;

/// The longest name, in bytes of UTF-8. The same as on the wire, so that what has a name can be exposed under
/// it.
pub const MAX_NAME: usize = 255;

/// A text that can't be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadName {
    /// It is empty.
    #[error("a name must not be empty")]
    Empty,
    /// It is longer than [`MAX_NAME`].
    #[error("a name may have {MAX_NAME} bytes, and this has {bytes}: {start:?}...")]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// How it begins.
        start: String,
    },
    /// It has a control character in it, which logs and consoles would show in their own way.
    #[error("a name must not hold control characters: {name:?}")]
    ControlCharacter {
        /// The text.
        name: Arc<str>,
    },
}

/// Somebody has the name already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the name {name:?} is taken by {label}{id}")]
pub struct NameTaken {
    /// The name.
    pub name: Arc<str>,
    /// Who has it.
    pub id: ActorId,
    /// Who that is for people.
    pub label: Arc<str>,
}

/// Why a name was not given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// It can't be a name.
    #[error(transparent)]
    BadName(#[from] BadName),
    /// Somebody has it already.
    #[error(transparent)]
    Taken(#[from] NameTaken),
    /// Who was to have it has ended.
    #[error("{label} has ended, and can't have the name {name:?}")]
    Ended {
        /// The name.
        name: Arc<str>,
        /// Who was to have it.
        label: Arc<str>,
    },
}

/// A name was looked up as something else than it stands for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the name {name:?} stands for {registered}, not for {wanted}")]
pub struct WrongType {
    /// The name.
    pub name: Arc<str>,
    /// The Rust type that is registered under it.
    pub registered: &'static str,
    /// The Rust type that was wanted.
    pub wanted: &'static str,
}

/// Why [`Names::lookup_or_start`](crate::Names::lookup_or_start) has no actor to give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NamedStartError {
    /// It can't be a name.
    #[error(transparent)]
    BadName(#[from] BadName),
    /// Somebody has the name who is no such actor.
    #[error(transparent)]
    WrongType(#[from] WrongType),
    /// The start failed; the name is free again.
    #[error("the start of {name:?} failed: {why}")]
    Failed {
        /// The name.
        name: Arc<str>,
        /// What the factory or `starting` said.
        why: String,
    },
}

impl From<RegisterError> for NamedStartError {
    /// Only what ended before its start could be registered gets here with another error than
    /// [`BadName`](NamedStartError::BadName).
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::BadName(bad) => NamedStartError::BadName(bad),
            RegisterError::Taken(NameTaken { ref name, .. })
            | RegisterError::Ended { ref name, .. } => NamedStartError::Failed {
                name: Arc::clone(name),
                why: error.to_string(),
            },
        }
    }
}

/// How much of a bad name an error shows.
const SHOWN: usize = 32;

/// The text as a name, if it can be one.
pub(crate) fn check(name: Arc<str>) -> Result<Arc<str>, BadName> {
    if name.is_empty() {
        return Err(BadName::Empty);
    }
    if name.len() > MAX_NAME {
        return Err(BadName::TooLong {
            bytes: name.len(),
            start: name.chars().take(SHOWN).collect(),
        });
    }
    if name.chars().any(char::is_control) {
        return Err(BadName::ControlCharacter { name });
    }
    Ok(name)
}
