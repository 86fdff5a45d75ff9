//! What travels between a node and who administers it: asks of one reserved name.
//!
//! Shapes that may grow are structs whose fields have defaults, so that an older side reads what a newer one says. What
//! is asked for is read strictly: a setting that this side doesn't know is refused, never left out.

use std::time::Duration;

use callboard::Message;
use callboard::queue::{Difference, OnlyIf, QueueConfig, QueueKind, QueueState};
use callboard::topic::TopicOptions;
use serde::{Deserialize, Serialize};

use super::views::{
    ActorDetails, ConsumerDetails, ExposedKind, Listing, MessageType, NodeDetails, Removed,
    RulesInForce, SessionsPage, TopicDetails,
};
use crate::entrance::WireFailure;
use crate::locks::WireState;
use crate::rights::Rules;

/// A wish of who administers.
#[derive(Debug, Message, Serialize, Deserialize)]
#[message(reply = Result<Answer, Refused>, name = "callboard.admin.op")]
pub(crate) enum AdminOp {
    #[serde(rename = "list")]
    List {
        names: String,
        kind: Option<ExposedKind>,
        after: Option<String>,
        max: u32,
        bytes: u32,
    },
    #[serde(rename = "inspect")]
    Inspect { name: String },
    #[serde(rename = "create")]
    Create {
        name: String,
        item: MessageType,
        config: Box<Wanted>,
    },
    #[serde(rename = "create_topic")]
    CreateTopic {
        name: String,
        message: MessageType,
        options: WantedTopic,
    },
    #[serde(rename = "remove")]
    Remove { name: String, only: OnlyIf },
    #[serde(rename = "purge")]
    Purge { name: String },
    #[serde(rename = "redrive")]
    Redrive { name: String, max: u64 },
    #[serde(rename = "purge_dead")]
    PurgeDead { name: String },
    #[serde(rename = "node")]
    Node,
    #[serde(rename = "sessions")]
    Sessions { after: u64, max: u32 },
    #[serde(rename = "disconnect")]
    Disconnect { session: u64 },
    #[serde(rename = "rules")]
    Rules,
    #[serde(rename = "replace_rules")]
    ReplaceRules { generation: u64, rules: Rules },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    #[serde(rename = "listing")]
    Listing(Listing),
    #[serde(rename = "details")]
    Details(Vec<WireDetails>),
    /// Whether it is new.
    #[serde(rename = "created")]
    Created(bool),
    #[serde(rename = "removed")]
    Removed(Removed),
    /// How many.
    #[serde(rename = "count")]
    Count(u64),
    #[serde(rename = "node")]
    Node(Box<NodeDetails>),
    #[serde(rename = "sessions")]
    Sessions(SessionsPage),
    #[serde(rename = "done")]
    Done,
    #[serde(rename = "rules")]
    Rules(Box<RulesInForce>),
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refused {
    #[serde(rename = "failed")]
    Failed(WireFailure),
    /// What has that name is this, for which it can't be done.
    #[serde(rename = "kind")]
    NotOfThat(ExposedKind),
    /// The name is malformed, or belongs to the house.
    #[serde(rename = "name")]
    BadName,
    /// Several things have that name.
    #[serde(rename = "several")]
    Several,
    /// Something has that name that isn't exposed.
    #[serde(rename = "taken")]
    Taken,
    #[serde(rename = "differs")]
    Differs(Vec<WireDifference>),
    #[serde(rename = "items")]
    OtherItems(MessageType),
    /// Queues of these items aren't made here; versions that are.
    #[serde(rename = "not_creatable")]
    NotCreatable(Vec<u32>),
    #[serde(rename = "range")]
    OutOfRange {
        setting: String,
        wanted: String,
        least: String,
        most: String,
    },
    #[serde(rename = "setting")]
    NotKept(String),
    #[serde(rename = "queues")]
    TooMany { most: u64 },
    #[serde(rename = "not_empty")]
    NotEmpty { items: u64 },
    #[serde(rename = "in_use")]
    InUse {
        in_hand: u64,
        waiting: u64,
        consumers: u64,
    },
    #[serde(rename = "own_session")]
    OwnSession,
    #[serde(rename = "no_session")]
    NoSession,
    #[serde(rename = "changed")]
    Changed { generation: u64 },
}

/// A [`Difference`] as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireDifference {
    setting: String,
    is: String,
    wanted: String,
}

impl From<Difference> for WireDifference {
    fn from(difference: Difference) -> Self {
        WireDifference {
            setting: difference.setting.to_owned(),
            is: difference.is,
            wanted: difference.wanted,
        }
    }
}

impl From<WireDifference> for Difference {
    fn from(difference: WireDifference) -> Self {
        let mut known = SETTINGS.iter().chain(TOPIC_SETTINGS);
        let known = known.find(|known| **known == difference.setting);
        Difference {
            setting: known.copied().unwrap_or("a setting that is unknown here"),
            is: difference.is,
            wanted: difference.wanted,
        }
    }
}

const TOPIC_SETTINGS: &[&str] = &["history", "history_age", "retained", "durables"];

/// [`TopicOptions`] as they are wished for: read strictly.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WantedTopic {
    history: usize,
    history_age: Option<Duration>,
    retained: usize,
    durables: usize,
}

impl From<TopicOptions> for WantedTopic {
    fn from(options: TopicOptions) -> Self {
        WantedTopic {
            history: options.history,
            history_age: options.history_age,
            retained: options.retained,
            durables: options.durables,
        }
    }
}

impl From<WantedTopic> for TopicOptions {
    fn from(wanted: WantedTopic) -> Self {
        let options = TopicOptions::new()
            .history(wanted.history)
            .retained(wanted.retained)
            .durables(wanted.durables);
        match wanted.history_age {
            Some(age) => options.history_age(age),
            None => options,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WireDetails {
    #[serde(rename = "actor")]
    Actor(ActorDetails),
    #[serde(rename = "queue")]
    Queue(Box<WireQueue>),
    #[serde(rename = "topic")]
    Topic(TopicDetails),
    #[serde(rename = "lock")]
    Lock(ExposedKind, Box<WireState>),
}

/// [`QueueDetails`](super::QueueDetails) as they travel.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireQueue {
    pub(crate) item: MessageType,
    pub(crate) config: Option<Shown>,
    pub(crate) state: QueueState,
    pub(crate) dead: Option<QueueState>,
    pub(crate) holders: u64,
    pub(crate) consumers: Vec<ConsumerDetails>,
    #[serde(default)]
    pub(crate) made_by: Option<String>,
}

/// [`QueueConfig`] as it travels: strictly read where it is a wish, leniently where it is shown.
macro_rules! settings {
    ($($field:ident: $type:ty,)*) => {
        #[derive(Debug, Clone, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct Wanted {
            $(pub(crate) $field: $type,)*
        }

        #[derive(Debug, Clone, Serialize, Deserialize)]
        #[serde(default)]
        pub(crate) struct Shown {
            $($field: $type,)*
        }

        const SETTINGS: &[&str] = &[$(stringify!($field)),*];

        settings!(both Wanted $($field)*);
        settings!(both Shown $($field)*);
    };
    (both $name:ident $($field:ident)*) => {
        impl Default for $name {
            fn default() -> Self {
                $name::from(QueueConfig::default())
            }
        }

        impl From<QueueConfig> for $name {
            fn from(config: QueueConfig) -> Self {
                $name {
                    $($field: config.$field,)*
                }
            }
        }

        impl From<$name> for QueueConfig {
            fn from(settings: $name) -> Self {
                let mut config = QueueConfig::default();
                $(config.$field = settings.$field;)*
                config
            }
        }
    };
}

settings! {
    kind: QueueKind,
    capacity: usize,
    max_in_flight: usize,
    priorities: u8,
    lease: Duration,
    delivery_limit: Option<u32>,
    retry_first: Duration,
    retry_cap: Duration,
    time_to_live: Option<Duration>,
    key_window: Duration,
    key_capacity: usize,
    dead_capacity: usize,
    single_active: bool,
    reordering: bool,
    compare_keys: bool,
    durable: bool,
    cache_bytes: usize,
}
