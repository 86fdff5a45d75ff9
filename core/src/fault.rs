//! Why an incarnation failed, and of which class the failure is: what a supervisor decides by (G15).

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What starting again can be expected to do about a failure. Kompact's classes (`Benign`, `Recoverable`,
/// `Unrecoverable`), with a shorter word for the last.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The state is sound and the actor can go on: worth telling, not worth a restart.
    Benign,
    /// A fresh start may help. What a panic is, and every failure that doesn't say otherwise.
    #[default]
    Recoverable,
    /// A fresh start won't help: a wrong configuration, a licence that has run out.
    Fatal,
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FailureClass::Benign => "benign",
            FailureClass::Recoverable => "recoverable",
            FailureClass::Fatal => "fatal",
        })
    }
}

/// An error type that knows its [class](FailureClass). It turns into a [`Fault`], so that
/// [`ctx.fail(error)`](crate::Context::fail) carries the class to the supervisor.
///
/// ```
/// use callboard_core::{Classified, FailureClass, Fault};
///
/// #[derive(Debug)]
/// enum ImportError {
///     BadLine(usize),
///     NoSuchFolder,
/// }
/// impl std::fmt::Display for ImportError {
///     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
///         match self {
///             ImportError::BadLine(line) => write!(f, "line {line} is no record"),
///             ImportError::NoSuchFolder => f.write_str("the folder is not there"),
///         }
///     }
/// }
/// impl std::error::Error for ImportError {}
/// impl Classified for ImportError {
///     fn class(&self) -> FailureClass {
///         match self {
///             ImportError::BadLine(_) => FailureClass::Benign,
///             ImportError::NoSuchFolder => FailureClass::Fatal,
///         }
///     }
/// }
///
/// let fault = Fault::from(ImportError::NoSuchFolder);
/// assert_eq!(fault.class(), FailureClass::Fatal);
/// assert_eq!(fault.text(), "the folder is not there");
/// ```
pub trait Classified: Error {
    /// Its class.
    fn class(&self) -> FailureClass;
}

/// A failure of an incarnation: a sentence for people and a class for its supervisor.
///
/// A text alone is [`Recoverable`](FailureClass::Recoverable). A panic says another class by its payload:
/// `std::panic::panic_any(Fault::fatal("the licence has run out"))`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fault {
    class: FailureClass,
    /// Shared: on its way up a failure is told to many.
    text: Arc<str>,
}

impl Fault {
    /// A failure of that class.
    #[must_use]
    pub fn new(class: FailureClass, text: impl Into<String>) -> Self {
        Fault {
            class,
            text: text.into().into(),
        }
    }

    /// One that the actor can live with.
    #[must_use]
    pub fn benign(text: impl Into<String>) -> Self {
        Fault::new(FailureClass::Benign, text)
    }

    /// One that a fresh start won't help.
    #[must_use]
    pub fn fatal(text: impl Into<String>) -> Self {
        Fault::new(FailureClass::Fatal, text)
    }

    /// Its class.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        self.class
    }

    /// What it says, without the class.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The text; the class is shown where it isn't the usual one.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.class {
            FailureClass::Recoverable => f.write_str(&self.text),
            class => write!(f, "{} ({class})", self.text),
        }
    }
}

impl From<String> for Fault {
    fn from(text: String) -> Self {
        Fault::new(FailureClass::default(), text)
    }
}

impl From<&str> for Fault {
    fn from(text: &str) -> Self {
        Fault {
            class: FailureClass::default(),
            text: text.into(),
        }
    }
}

impl From<Cow<'_, str>> for Fault {
    fn from(text: Cow<'_, str>) -> Self {
        Fault::from(&*text)
    }
}

impl<E: Classified> From<E> for Fault {
    fn from(error: E) -> Self {
        Fault::new(error.class(), error.to_string())
    }
}
