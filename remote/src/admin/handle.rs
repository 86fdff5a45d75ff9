//! The handle of who administers a node.

use std::fmt;
use std::future::IntoFuture;
use std::time::Duration;

use callboard::queue::{OnlyIf, QueueConfig};
use callboard::topic::TopicOptions;
use callboard::{Failure, FailureKind, Recipient, Verdict, WireMessage};
use futures::future::BoxFuture;

use super::ADMIN_NAME;
use super::error::{AdminError, Wish};
use super::views::{
    Details, ExposedKind, Listing, MessageType, NodeDetails, QueueDetails, Removed, RulesInForce,
    SessionsPage,
};
use super::wire::{AdminOp, Answer, WireDetails};
use crate::config::LinkConfig;
use crate::entrance::REACH;
use crate::rights::Rules;

/// Administers a node in another process. Clones administer the same one. Made by [`Peer::admin`](crate::Peer::admin).
///
/// Each method asks the node, and gives up after [`deadline`](Admin::deadline): 5 s unless told otherwise. What one
/// handle asks is done in the order it was asked.
///
/// # Errors
/// All methods: [`AdminError`]. That it can't be reached, that there is no right, and that there is nothing of that
/// name is [`AdminError::Failed`], with its verdict.
///
/// # Cancel safety
/// Dropped, what changes something may have been done.
#[derive(Clone)]
pub struct Admin {
    way: Recipient<AdminOp>,
    deadline: Duration,
    /// How many bytes of entries an answer may have.
    room: u32,
}

impl Admin {
    pub(super) fn new(way: Recipient<AdminOp>, config: &LinkConfig) -> Self {
        Admin {
            way,
            deadline: REACH,
            room: config.max_message.saturating_sub(1_024),
        }
    }

    /// Gives up after `span`: 5 s unless told otherwise. The creation of a durable queue waits for the disk.
    #[must_use]
    pub fn deadline(mut self, span: Duration) -> Self {
        self.deadline = span;
        self
    }

    /// What the node exposes under names that match the pattern, as far as one may administer it. Await it; see
    /// [`List`].
    pub fn list(&self, names: &str) -> List {
        List {
            admin: self.clone(),
            names: names.to_owned(),
            kind: None,
            after: None,
            max: 1_000,
        }
    }

    /// All that is known of what has that name: one entry for each kind of thing.
    ///
    /// # Errors
    /// [`AdminError::Failed`] with `UnknownName` if there is nothing.
    pub async fn inspect(&self, name: &str) -> Result<Vec<Details>, AdminError> {
        let op = AdminOp::Inspect {
            name: name.to_owned(),
        };
        match self.ask(name, op).await? {
            Answer::Details(details) => Ok(details.into_iter().map(|one| self.seen(one)).collect()),
            _ => Err(nonsense(name)),
        }
    }

    /// What is known of the queue of that name.
    ///
    /// # Errors
    /// As [`inspect`](Admin::inspect); [`AdminError::NotOfThat`] if it is none.
    pub async fn inspect_queue(&self, name: &str) -> Result<QueueDetails, AdminError> {
        let mut kind = ExposedKind::Actor;
        for details in self.inspect(name).await? {
            kind = details.kind();
            if let Details::Queue(queue) = details {
                return Ok(*queue);
            }
        }
        let name = name.to_owned();
        Err(AdminError::NotOfThat { name, kind })
    }

    /// Has a queue of items `T` made and exposed under that name. Answers whether it is new; one that is there with the
    /// same settings is what was wanted. A durable queue compares keys, whatever the settings say.
    ///
    /// # Errors
    /// [`AdminError::Differs`] and [`AdminError::OtherItems`] if there is another queue of that name,
    /// [`AdminError::Taken`] if there is something else; [`AdminError::NotCreatable`], [`AdminError::OutOfRange`],
    /// [`AdminError::NotKept`] and [`AdminError::TooMany`] if the node doesn't make such a one.
    pub async fn create_queue<T: WireMessage>(
        &self,
        name: &str,
        config: &QueueConfig,
    ) -> Result<bool, AdminError> {
        let item = MessageType::of::<T>();
        let op = AdminOp::Create {
            name: name.to_owned(),
            item: item.clone(),
            config: Box::new(config.clone().into()),
        };
        let wish = Wish(ExposedKind::Queue, item);
        match self.ask_for(name, Some(wish), op).await? {
            Answer::Created(is_new) => Ok(is_new),
            _ => Err(nonsense(name)),
        }
    }

    /// Has a topic of messages `T` made and exposed under that name, to publish and to subscribe. Answers whether it is
    /// new; one that is there with the same options is what was wanted.
    ///
    /// # Errors
    /// [`AdminError::Differs`] and [`AdminError::OtherItems`] if there is another topic of that name,
    /// [`AdminError::Taken`] if there is something else, or a topic that isn't exposed for both;
    /// [`AdminError::NotCreatable`], [`AdminError::OutOfRange`] and [`AdminError::TooMany`] if the node doesn't make such
    /// a one.
    pub async fn create_topic<T: WireMessage>(
        &self,
        name: &str,
        options: &TopicOptions,
    ) -> Result<bool, AdminError> {
        let message = MessageType::of::<T>();
        let op = AdminOp::CreateTopic {
            name: name.to_owned(),
            message: message.clone(),
            options: (*options).into(),
        };
        let wish = Wish(ExposedKind::Topic, message);
        match self.ask_for(name, Some(wish), op).await? {
            Answer::Created(is_new) => Ok(is_new),
            _ => Err(nonsense(name)),
        }
    }

    /// Removes the queue or topic of that name: it ends, whoever uses it is told so, and the name is free. Of a durable
    /// queue also what is on disk; of a topic that stays. Await it; see [`Remove`].
    pub fn remove(&self, name: &str) -> Remove {
        Remove {
            admin: self.clone(),
            name: name.to_owned(),
            only: OnlyIf::default(),
        }
    }

    /// Removes all that waits in the queue of that name, for good; what is in hand stays. Answers how many.
    ///
    /// # Errors
    /// [`AdminError::NotOfThat`] if it is no queue.
    pub async fn purge(&self, name: &str) -> Result<u64, AdminError> {
        let to = name.to_owned();
        self.count(name, AdminOp::Purge { name: to }).await
    }

    /// Offers up to `max` dead letters of the queue of that name to it again, oldest first. Answers how many; fewer if
    /// it has no room for more.
    ///
    /// # Errors
    /// As [`purge`](Admin::purge).
    pub async fn redrive(&self, name: &str, max: u64) -> Result<u64, AdminError> {
        let to = name.to_owned();
        self.count(name, AdminOp::Redrive { name: to, max }).await
    }

    /// Removes the dead letters of the queue of that name, for good. Answers how many.
    ///
    /// # Errors
    /// As [`purge`](Admin::purge).
    pub async fn purge_dead_letters(&self, name: &str) -> Result<u64, AdminError> {
        let to = name.to_owned();
        self.count(name, AdminOp::PurgeDead { name: to }).await
    }

    /// How the node is doing.
    ///
    /// # Errors
    /// [`AdminError::Failed`].
    pub async fn node(&self) -> Result<NodeDetails, AdminError> {
        match self.ask(ADMIN_NAME, AdminOp::Node).await? {
            Answer::Node(node) => Ok(*node),
            _ => Err(nonsense(ADMIN_NAME)),
        }
    }

    /// Up to 1,000 sessions of the node with higher numbers than `after`, with a connection or waiting for one.
    ///
    /// # Errors
    /// [`AdminError::Failed`].
    pub async fn sessions(&self, after: u64) -> Result<SessionsPage, AdminError> {
        let op = AdminOp::Sessions { after, max: 1_000 };
        match self.ask(ADMIN_NAME, op).await? {
            Answer::Sessions(page) => Ok(page),
            _ => Err(nonsense(ADMIN_NAME)),
        }
    }

    /// Ends a session: what is in flight on it ends with its verdict, leases of queues that its peer holds come back.
    /// The peer may connect again and begin another; who must be kept out is denied by the rules.
    ///
    /// # Errors
    /// [`AdminError::NoSession`], [`AdminError::OwnSession`].
    pub async fn disconnect(&self, session: u64) -> Result<(), AdminError> {
        let about = session.to_string();
        match self.ask(&about, AdminOp::Disconnect { session }).await? {
            Answer::Done => Ok(()),
            _ => Err(nonsense(ADMIN_NAME)),
        }
    }

    /// The rules in force.
    ///
    /// # Errors
    /// [`AdminError::Failed`].
    pub async fn rules(&self) -> Result<RulesInForce, AdminError> {
        match self.ask(ADMIN_NAME, AdminOp::Rules).await? {
            Answer::Rules(rules) => Ok(*rules),
            _ => Err(nonsense(ADMIN_NAME)),
        }
    }

    /// Puts other rules in force in place of `seen`, all at once, if those still are. They may take away the right to
    /// change them back.
    ///
    /// # Errors
    /// [`AdminError::Changed`] if somebody else has changed them meanwhile.
    pub async fn replace_rules(&self, seen: &RulesInForce, rules: Rules) -> Result<(), AdminError> {
        let generation = seen.generation;
        let op = AdminOp::ReplaceRules { generation, rules };
        match self.ask(ADMIN_NAME, op).await? {
            Answer::Done => Ok(()),
            _ => Err(nonsense(ADMIN_NAME)),
        }
    }

    async fn count(&self, name: &str, op: AdminOp) -> Result<u64, AdminError> {
        match self.ask(name, op).await? {
            Answer::Count(count) => Ok(count),
            _ => Err(nonsense(name)),
        }
    }

    async fn ask(&self, name: &str, op: AdminOp) -> Result<Answer, AdminError> {
        self.ask_for(name, None, op).await
    }

    async fn ask_for(
        &self,
        name: &str,
        wanted: Option<Wish>,
        op: AdminOp,
    ) -> Result<Answer, AdminError> {
        let answer = self.way.ask(op).deadline(self.deadline).await;
        let answer = answer.map_err(Failure::from)?;
        answer.map_err(|refused| AdminError::about(name, wanted, refused))
    }

    fn seen(&self, details: WireDetails) -> Details {
        match details {
            WireDetails::Actor(actor) => Details::Actor(actor),
            WireDetails::Topic(topic) => Details::Topic(topic),
            WireDetails::Lock(kind, state) => {
                let now = self.way.route().system().clock().now();
                Details::Lock(kind, state.seen_at(now))
            }
            WireDetails::Queue(queue) => Details::Queue(Box::new(QueueDetails {
                item: queue.item,
                config: queue.config.map(Into::into),
                state: queue.state,
                dead: queue.dead,
                holders: queue.holders,
                consumers: queue.consumers,
                made_by: queue.made_by,
            })),
        }
    }
}

/// An answer that doesn't fit the question.
fn nonsense(name: &str) -> AdminError {
    let failure = Failure::new(FailureKind::BadPayload, Verdict::MaybeExecuted);
    failure
        .with_detail(format!("the answer about {name}"))
        .into()
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// A wish for a list. Made by [`Admin::list`]; awaited, it answers one page.
///
/// # Errors
/// [`AdminError::BadName`] if it is no pattern; [`AdminError::Failed`] if one may administer nothing at all.
///
/// # Cancel safety
/// Dropping it changes nothing.
#[must_use = "nothing is asked until it is awaited"]
#[derive(Debug, Clone)]
pub struct List {
    admin: Admin,
    names: String,
    kind: Option<ExposedKind>,
    after: Option<String>,
    max: u32,
}

impl List {
    /// Only things of that kind.
    pub fn kind(mut self, kind: ExposedKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Only names behind that one: [`Listing::next`] of the page before. What is exposed or concealed between two pages
    /// is in the next one, or isn't, by its name.
    pub fn after(mut self, name: impl Into<String>) -> Self {
        self.after = Some(name.into());
        self
    }

    /// How many entries a page has at the most, at least 1: 1,000 unless told otherwise, which is the most there can
    /// be. All that one name stands for is in one page.
    pub fn max(mut self, entries: u32) -> Self {
        self.max = entries;
        self
    }

    async fn page(self) -> Result<Listing, AdminError> {
        let op = AdminOp::List {
            names: self.names.clone(),
            kind: self.kind,
            after: self.after,
            max: self.max,
            bytes: self.admin.room,
        };
        match self.admin.ask(&self.names, op).await? {
            Answer::Listing(listing) => Ok(listing),
            _ => Err(nonsense(&self.names)),
        }
    }
}

impl IntoFuture for List {
    type Output = Result<Listing, AdminError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.page())
    }
}

/// A wish to remove something. Made by [`Admin::remove`].
///
/// # Errors
/// [`AdminError::NotEmpty`] and [`AdminError::InUse`] if it isn't as wished; [`AdminError::NotOfThat`] for actors and
/// locks; [`AdminError::Several`] if a queue and a topic have that name. Then nothing has changed.
///
/// # Cancel safety
/// Dropped, it may have been done.
#[must_use = "nothing is removed until it is awaited"]
#[derive(Debug, Clone)]
pub struct Remove {
    admin: Admin,
    name: String,
    only: OnlyIf,
}

impl Remove {
    /// Only if it holds no items, in hand included, and no dead letters; a topic, if it keeps no messages. An offer that
    /// comes meanwhile is either stored before, and then it isn't removed, or refused with its item.
    pub fn if_empty(mut self) -> Self {
        self.only.empty = true;
        self
    }

    /// Only if nobody waits for its items or for room, has an item in hand, or is there as a consumer with a name or as
    /// a handle of another process that has leased; a topic, if nobody subscribes.
    pub fn if_unused(mut self) -> Self {
        self.only.unused = true;
        self
    }

    async fn ask(self) -> Result<Removed, AdminError> {
        let op = AdminOp::Remove {
            name: self.name.clone(),
            only: self.only,
        };
        match self.admin.ask(&self.name, op).await? {
            Answer::Removed(removed) => Ok(removed),
            _ => Err(nonsense(&self.name)),
        }
    }
}

impl IntoFuture for Remove {
    type Output = Result<Removed, AdminError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.ask())
    }
}
