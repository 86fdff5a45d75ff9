//! Why an administrator's wish wasn't fulfilled.

use callboard::queue::Difference;
use callboard::{Failure, Verdict};

use super::views::{ExposedKind, MessageType};
use super::wire::Refused;

/// Why what was asked of a node wasn't done. Each says about which name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// There is no right to it, nothing has that name, or the node can't be reached or doesn't let itself be
    /// administered.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// It can't be a name, or a pattern over names; or it belongs to the house.
    #[error("{0:?} can't be the name of that")]
    BadName(String),
    /// What has that name is of another kind, of which that can't be done.
    #[error("{name} is a {kind}, with which that can't be done")]
    NotOfThat {
        /// The name.
        name: String,
        /// What has it.
        kind: ExposedKind,
    },
    /// The name stands for a queue and a topic, say: which of them is meant, a wish can't say.
    #[error("{0} stands for several things")]
    Several(String),
    /// The name is in use over there for something else.
    #[error("{0} is in use for something else")]
    Taken(String),
    /// There is a queue or topic of that name, and it is another one.
    #[error("{name} is there with other settings: {}", list(.differences))]
    Differs {
        /// The name.
        name: String,
        /// In what they differ.
        differences: Vec<Difference>,
    },
    /// There is a queue or topic of that name for other items or messages.
    #[error("{name} is there for {is}, not {wanted}")]
    OtherItems {
        /// The name.
        name: String,
        /// What it holds.
        is: MessageType,
        /// What was wanted.
        wanted: MessageType,
    },
    /// The node makes no queues of those items, or topics of those messages.
    #[error("{name}: {kind}s of {wanted} aren't made there{}", known(.versions))]
    NotCreatable {
        /// The name.
        name: String,
        /// What was wanted.
        kind: ExposedKind,
        /// The items or messages.
        wanted: MessageType,
        /// The versions of these of which it does.
        versions: Vec<u32>,
    },
    /// A setting is out of the bounds of that node.
    #[error("{name}: {setting} is {wanted}, and may be {least} to {most}")]
    OutOfRange {
        /// The name of the queue or topic.
        name: String,
        /// The field of [`QueueConfig`](callboard::queue::QueueConfig) or
        /// [`TopicOptions`](callboard::topic::TopicOptions).
        setting: String,
        /// What was wanted.
        wanted: String,
        /// The least that may be.
        least: String,
        /// The most that may be.
        most: String,
    },
    /// The node keeps no such promise: `durable` where it has no journals, say.
    #[error("{name}: the node has no queues that are {setting}")]
    NotKept {
        /// The name of the queue.
        name: String,
        /// What it can't keep.
        setting: String,
    },
    /// There are as many queues, or topics, as there may be, of the node or of this principal.
    #[error("{name}: there are {most} {kind}s already")]
    TooMany {
        /// The name of the one that was wanted.
        name: String,
        /// What was wanted.
        kind: ExposedKind,
        /// How many there may be.
        most: u64,
    },
    /// It was to be removed only if it is empty.
    #[error("{name}: it holds {items} items")]
    NotEmpty {
        /// The name.
        name: String,
        /// How many items it holds; if none, how many dead letters.
        items: u64,
    },
    /// It was to be removed only if it is unused.
    #[error(
        "{name} is in use: {in_hand} items in hand, {waiting} wait for items or room, {consumers} consumers"
    )]
    InUse {
        /// The name.
        name: String,
        /// Items in somebody's hands.
        in_hand: u64,
        /// Those who wait for items or for room.
        waiting: u64,
        /// Consumers, handles in other processes, or subscribers.
        consumers: u64,
    },
    /// The session that was to be ended is the one that was asked over: close the peer instead.
    #[error("that is the session that was asked over")]
    OwnSession,
    /// There is no session of that number, or no more.
    #[error("there is no session {0}")]
    NoSession(u64),
    /// The rules have been changed since they were asked for.
    #[error("the rules were changed meanwhile: they are number {generation} now")]
    Changed {
        /// The generation they have now.
        generation: u64,
    },
}

/// What is to be made, for what.
pub(super) struct Wish(pub(super) ExposedKind, pub(super) MessageType);

impl AdminError {
    /// What is known about the wish.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            AdminError::Failed(failure) => failure.verdict(),
            _ => Verdict::NotExecuted,
        }
    }

    /// The refusal of a wish about that name.
    pub(super) fn about(name: &str, wanted: Option<Wish>, refused: Refused) -> Self {
        let Wish(kind, wanted) = wanted.unwrap_or_else(|| {
            let nothing = MessageType::new("?", 0);
            Wish(ExposedKind::Queue, nothing)
        });
        let text = name;
        let name = name.to_owned();
        match refused {
            Refused::Failed(failure) => AdminError::Failed(failure.about(text)),
            Refused::NotOfThat(kind) => AdminError::NotOfThat { name, kind },
            Refused::BadName => AdminError::BadName(name),
            Refused::Several => AdminError::Several(name),
            Refused::Taken => AdminError::Taken(name),
            Refused::Differs(differences) => AdminError::Differs {
                name,
                differences: differences.into_iter().map(Into::into).collect(),
            },
            Refused::OtherItems(is) => AdminError::OtherItems { name, is, wanted },
            Refused::NotCreatable(versions) => AdminError::NotCreatable {
                name,
                kind,
                wanted,
                versions,
            },
            Refused::OutOfRange {
                setting,
                wanted,
                least,
                most,
            } => AdminError::OutOfRange {
                name,
                setting,
                wanted,
                least,
                most,
            },
            Refused::NotKept(setting) => AdminError::NotKept { name, setting },
            Refused::TooMany { most } => AdminError::TooMany { name, kind, most },
            Refused::NotEmpty { items } => AdminError::NotEmpty { name, items },
            Refused::InUse {
                in_hand,
                waiting,
                consumers,
            } => AdminError::InUse {
                name,
                in_hand,
                waiting,
                consumers,
            },
            Refused::OwnSession => AdminError::OwnSession,
            Refused::NoSession => AdminError::NoSession(name.parse().unwrap_or(0)),
            Refused::Changed { generation } => AdminError::Changed { generation },
        }
    }
}

fn list(differences: &[Difference]) -> String {
    let texts: Vec<String> = differences.iter().map(Difference::to_string).collect();
    texts.join("; ")
}

fn known(versions: &[u32]) -> String {
    if versions.is_empty() {
        return String::new();
    }
    let texts: Vec<String> = versions.iter().map(ToString::to_string).collect();
    format!(" (in version {})", texts.join(", "))
}
