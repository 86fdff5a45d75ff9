//! The node's side of administration: who may, and what is done.
//!
//! One wish of a session at a time, in the order they came (G2): a wish holds its line as a message does whose receiver
//! has no room, so that those behind it wait under the session's credit (G33). Each is done by a task of its own, which
//! goes on if the asker gives up or its session ends: what is begun is finished.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};

use callboard::queue::{OnlyIf, QueueConfig};
use callboard::topic::{Pattern, TopicOptions};
use callboard::{
    ActorId, Failure, FailureKind, Meta, OnLife, Placement, Responder, Verdict, WatchHandle,
};
use futures::FutureExt;
use futures::channel::oneshot;

use super::create::{Fresh, Item};
use super::create_topic::differences;
use super::thing::{MOST_SHOWN, Thing, number, unknown};
use super::views::{
    ActorDetails, ExposedKind, Listed, Listing, MailboxDetails, MessageType, NodeDetails, Removed,
    RulesInForce, SessionDetails, SessionsPage,
};
use super::wire::{AdminOp, Answer, Refused, Wanted, WireDetails};
use super::{ADMIN_NAME, is_reserved};
use crate::entrance::{refuse, yield_now};
use crate::error::{LinkErrorKind, check_name};
use crate::node::{self, Dispatch, Held, Payload, decode};
use crate::rights::{Decision, Denied, Place, PlaceKind, Verb, Verbs};
use crate::session::Session;
use crate::session::in_flight;

/// How many entries a page has at the most.
const MOST_ENTRIES: usize = 1_000;

/// After how many names it lets others have the thread.
const NAMES_A_TURN: usize = 64;

type Reply = <AdminOp as callboard::Message>::Reply;

/// See the module.
pub(super) struct Door {
    node: Weak<node::Core>,
    id: ActorId,
}

impl Door {
    pub(super) fn new(node: &Arc<node::Core>) -> Self {
        Door {
            node: Arc::downgrade(node),
            id: ActorId::fresh(),
        }
    }
}

impl Dispatch for Door {
    fn ask(
        &self,
        payload: Payload<'_>,
        meta: Meta,
        answer: in_flight::Answer,
    ) -> Result<Option<Held>, Failure> {
        let session = Arc::clone(&answer.answers.session);
        let op = decode::<AdminOp>(payload, session.number)?;
        let Some(node) = self.node.upgrade() else {
            let failure = Failure::new(FailureKind::UnknownName, Verdict::NotExecuted);
            return Err(failure.with_detail(ADMIN_NAME));
        };
        let mut responder = answer.responder::<Reply>();
        let (done, is_done) = oneshot::channel::<()>();
        let system = node.system.clone();
        system.spawn(Placement::Spread, move || async move {
            let asked = Asked {
                node,
                session,
                meta,
            };
            if responder.progress(Verdict::MaybeExecuted) {
                // Things have code of the program in them (G10); what it drops answers the ask.
                let serving = AssertUnwindSafe(asked.serve(op, responder));
                if serving.catch_unwind().await.is_err() {
                    tracing::error!(target: "callboard::remote", "administration panicked");
                }
            }
            drop(done);
        });
        Ok(Some(Box::pin(async move {
            // An error, always: it was dropped.
            let _ = is_done.await;
        })))
    }

    /// Nobody would hear what came of it.
    fn tell(&self, _: Payload<'_>, _: Meta, _: u64) -> Result<Option<Held>, Failure> {
        let failure = Failure::new(FailureKind::UnknownType, Verdict::NotExecuted);
        Err(failure.with_detail("administration is asked, not told"))
    }

    fn id(&self) -> ActorId {
        self.id
    }

    /// Nobody of this process sends to it.
    fn recipient(&self) -> Box<dyn Any> {
        Box::new(())
    }

    fn watch_life(&self, _: OnLife) -> WatchHandle {
        WatchHandle::over()
    }
}

/// Whose wish it is.
struct Asked {
    node: Arc<node::Core>,
    session: Arc<Session>,
    meta: Meta,
}

/// Why it isn't done.
enum No {
    /// No right, which is an event and a failure as everywhere.
    Denied(Denied),
    Refused(Refused),
}

impl From<Denied> for No {
    fn from(denied: Denied) -> Self {
        No::Denied(denied)
    }
}

impl From<Refused> for No {
    fn from(refused: Refused) -> Self {
        No::Refused(refused)
    }
}

impl Asked {
    async fn serve(self, op: AdminOp, responder: Responder<Reply>) {
        match self.served(op).await {
            Ok(answer) => responder.send(Ok(answer)),
            Err(No::Refused(refused)) => responder.send(Err(refused)),
            Err(No::Denied(denied)) => responder.fail(denied.into()),
        }
    }

    async fn served(&self, op: AdminOp) -> Result<Answer, No> {
        self.in_time()?;
        match op {
            AdminOp::List {
                names,
                kind,
                after,
                max,
                bytes,
            } => {
                let max = usize::try_from(max).unwrap_or(MOST_ENTRIES);
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                let names = Pattern::new(&names).map_err(|_| Refused::BadName)?;
                let max = max.clamp(1, MOST_ENTRIES);
                let listing = self.list(&names, kind, after, max, bytes).await;
                Ok(Answer::Listing(listing))
            }
            AdminOp::Inspect { name } => {
                self.may(&name)?;
                Ok(Answer::Details(self.inspect(&name).await?))
            }
            AdminOp::Create { name, item, config } => {
                self.may(&name)?;
                Ok(Answer::Created(self.create(&name, &item, *config).await?))
            }
            AdminOp::CreateTopic {
                name,
                message,
                options,
            } => {
                self.may(&name)?;
                let created = self.create_topic(&name, &message, options.into());
                Ok(Answer::Created(created.await?))
            }
            AdminOp::Remove { name, only } => {
                self.may(&name)?;
                Ok(Answer::Removed(self.remove(&name, only).await?))
            }
            AdminOp::Purge { name } => {
                let queue = self.queue(&name)?;
                Ok(Answer::Count(queue.purge().await?))
            }
            AdminOp::Redrive { name, max } => {
                let queue = self.queue(&name)?;
                Ok(Answer::Count(queue.redrive(max).await?))
            }
            AdminOp::PurgeDead { name } => {
                let queue = self.queue(&name)?;
                Ok(Answer::Count(queue.purge_dead().await?))
            }
            AdminOp::Node => {
                self.may(ADMIN_NAME)?;
                Ok(Answer::Node(Box::new(self.about_node())))
            }
            AdminOp::Sessions { after, max } => {
                self.may(ADMIN_NAME)?;
                Ok(Answer::Sessions(self.sessions(after, max)))
            }
            AdminOp::Disconnect { session } => {
                self.may(ADMIN_NAME)?;
                self.disconnect(session)?;
                Ok(Answer::Done)
            }
            AdminOp::Rules => {
                self.may(ADMIN_NAME)?;
                let state = self.node.gate.rights().state();
                Ok(Answer::Rules(Box::new(RulesInForce {
                    generation: state.generation,
                    rules: state.rules,
                })))
            }
            AdminOp::ReplaceRules { generation, rules } => {
                self.may(ADMIN_NAME)?;
                let rights = self.node.gate.rights();
                rights
                    .update(|_| match rights.generation() {
                        now if now == generation => Ok(rules),
                        generation => Err(Refused::Changed { generation }),
                    })
                    .map_err(No::Refused)?;
                Ok(Answer::Done)
            }
        }
    }

    /// Whether it may administer that name: asked before it is told anything of it.
    fn may(&self, name: &str) -> Result<(), No> {
        if check_name(name).is_err() {
            return Err(Refused::BadName.into());
        }
        let rights = self.node.gate.rights();
        Ok(rights.check(&self.session.subject, Verb::Admin, name)?)
    }

    /// Whether somebody still waits for it (G9).
    fn in_time(&self) -> Result<(), Refused> {
        if self.meta.is_expired(self.node.system.clock()) {
            return Err(Refused::Failed(refuse(FailureKind::DeadlineExceeded)));
        }
        Ok(())
    }

    async fn list(
        &self,
        names: &Pattern,
        kind: Option<ExposedKind>,
        mut after: Option<String>,
        max: usize,
        bytes: usize,
    ) -> Listing {
        let mut listing = Listing::default();
        let mut room = bytes.min(MOST_BYTES);
        loop {
            let chunk = self
                .node
                .exposed
                .names_after(after.as_deref(), NAMES_A_TURN);
            let Some(last) = chunk.last() else {
                return listing;
            };
            let last = last.to_string();
            for name in &chunk {
                let mut entries = Vec::new();
                if names.matches(name) && self.may_see(name) {
                    entries = self.entries(name);
                    entries.retain(|entry| kind.is_none_or(|kind| entry.kind == kind));
                }
                let takes = entries.iter().map(size_of).sum();
                let full = listing.entries.len() + entries.len() > max;
                let left = room.checked_sub(takes);
                // A page has one name at least, or it would never come to an end.
                if (full || left.is_none()) && !listing.entries.is_empty() {
                    listing.next = after;
                    return listing;
                }
                room = left.unwrap_or(0);
                listing.entries.extend(entries);
                after = Some(name.to_string());
            }
            after = Some(last);
            yield_now().await;
        }
    }

    fn may_see(&self, name: &str) -> bool {
        let rights = self.node.gate.rights();
        let decision: Decision = rights.decide(&self.session.subject, name);
        decision.allows_any(Verbs::ADMIN)
    }

    /// What has that name.
    fn entries(&self, name: &str) -> Vec<Listed> {
        let mut entries = Vec::new();
        let messages = self.messages(name);
        if !messages.is_empty() {
            entries.push(Listed {
                name: name.to_owned(),
                kind: ExposedKind::Actor,
                messages,
                glance: None,
                made_by: None,
            });
        }
        for thing in self.node.exposed.things.of(name) {
            entries.push(Listed {
                name: name.to_owned(),
                kind: thing.kind(),
                messages: thing.message().into_iter().collect(),
                glance: thing.glance(),
                made_by: self.made_by(name, &*thing),
            });
        }
        entries
    }

    /// Who had it made, if a peer did.
    fn made_by(&self, name: &str, thing: &dyn Thing) -> Option<String> {
        self.node.making.by(name, thing.id()?)
    }

    /// What is sent to that name as it is: not by way of a queue, a topic or a lock.
    fn messages(&self, name: &str) -> Vec<MessageType> {
        let types = self.node.exposed.actors.types(name);
        let plain = types
            .into_iter()
            .filter(|(type_name, _)| !is_reserved(type_name));
        let plain = plain.map(|(type_name, version)| MessageType::new(type_name, version));
        plain.collect()
    }

    async fn inspect(&self, name: &str) -> Result<Vec<WireDetails>, Refused> {
        let mut details = Vec::new();
        let messages = self.messages(name);
        if !messages.is_empty() {
            let mailbox = self.mailbox(name, &messages);
            details.push(WireDetails::Actor(ActorDetails { messages, mailbox }));
        }
        for thing in self.node.exposed.things.of(name) {
            let made_by = self.made_by(name, &*thing);
            let mut found = thing.inspect().await?;
            if let WireDetails::Queue(queue) = &mut found {
                queue.made_by = made_by;
            }
            details.push(found);
        }
        if details.is_empty() {
            return Err(unknown());
        }
        Ok(details)
    }

    fn mailbox(&self, name: &str, messages: &[MessageType]) -> Option<MailboxDetails> {
        let first = messages.first()?;
        let actors = &self.node.exposed.actors;
        let (_, dispatch) = actors.find(name, &first.name, first.version).ok()?;
        let id = dispatch.id();
        let mut actors = self.node.system.actors().into_iter();
        let actor = actors.find(|actor| actor.id == id)?;
        let mailbox = actor.mailbox;
        Some(MailboxDetails {
            waiting: number(mailbox.len),
            capacity: (!mailbox.is_unbounded()).then(|| number(mailbox.capacity)),
            waiting_senders: number(mailbox.waiting_senders),
            incarnation: actor.incarnation,
        })
    }

    /// The queue of that name, for who may administer it.
    fn queue(&self, name: &str) -> Result<Arc<dyn Thing>, No> {
        self.may(name)?;
        let things = self.node.exposed.things.of(name);
        let queue = things
            .iter()
            .find(|thing| thing.kind() == ExposedKind::Queue);
        if let Some(queue) = queue {
            return Ok(Arc::clone(queue));
        }
        let other = things.first().map(|thing| thing.kind());
        let actor = || (!self.messages(name).is_empty()).then_some(ExposedKind::Actor);
        Err(other
            .or_else(actor)
            .map_or_else(unknown, Refused::NotOfThat)
            .into())
    }

    /// The place of one more that the asker had made, of that kind.
    fn place(&self, kind: PlaceKind, item: Item, most: usize) -> Result<Place, Refused> {
        if self.node.making.count(kind, item) >= most {
            let most = number(most);
            return Err(Refused::TooMany { most });
        }
        let place = match &*self.session.account.lock() {
            Some(account) => account.take(kind),
            None => {
                let places = self.node.gate.places();
                places.take(&self.session.subject, kind)
            }
        };
        place.map_err(|none| {
            let most = number(none.most());
            Refused::TooMany { most }
        })
    }

    /// Answers whether it is new.
    async fn create(&self, name: &str, item: &MessageType, config: Wanted) -> Result<bool, No> {
        if is_reserved(name) {
            return Err(Refused::BadName.into());
        }
        let making = &self.node.making;
        let (item, maker) = making.maker(item)?;
        let config = maker.check(config.into())?;
        let _turn = making.turn.lock().await;
        self.in_time()?;
        if self.is_there(name, item, &config).await? {
            return Ok(false);
        }
        let system = &self.node.system;
        // Only what is exposed can be addressed (G35): a queue that the program has for itself stays that.
        if maker.has(system, name) {
            return Err(Refused::Taken.into());
        }
        let place = self.place(PlaceKind::Queue, item, maker.most())?;
        let fresh = maker.make(system, name, config).await?;
        self.take_in(name, item, fresh, place)
    }

    /// Answers whether it is new.
    async fn create_topic(
        &self,
        name: &str,
        message: &MessageType,
        options: TopicOptions,
    ) -> Result<bool, No> {
        if is_reserved(name) {
            return Err(Refused::BadName.into());
        }
        let making = &self.node.making;
        let (message, maker) = making.topic_maker(message)?;
        maker.check(&options)?;
        let _turn = making.turn.lock().await;
        self.in_time()?;
        if self.topic_is_there(name, message, &options)? {
            return Ok(false);
        }
        let place = self.place(PlaceKind::Topic, message, maker.most())?;
        let fresh = maker.make(&self.node.system, name, options);
        self.take_in(name, message, fresh, place)
    }

    /// Exposes what was made just now, as long as it lasts.
    fn take_in(
        &self,
        name: &str,
        item: Item,
        fresh: Box<dyn Fresh>,
        place: Place,
    ) -> Result<bool, No> {
        if fresh.expose(&self.node, name).is_err() {
            // The program was faster: its own thing has the name.
            fresh.stop();
            return Err(Refused::Taken.into());
        }
        let id = fresh.id();
        let by = self.session.principal().map(ToString::to_string);
        let making = &self.node.making;
        making.note(name, id, by.unwrap_or_default().into(), item, place);
        let things = self.node.exposed.things.of(name);
        let exposed = things.into_iter().find(|thing| thing.id() == Some(id));
        let (core, name) = (Arc::downgrade(&self.node), name.to_owned());
        let system = &self.node.system;
        system.spawn(Placement::Spread, move || async move {
            // As long as it lasts: then its name is free again, and its place.
            fresh.ended().await;
            if let Some(core) = core.upgrade() {
                if let Some(thing) = exposed {
                    core.exposed.remove_thing(&name, &thing);
                }
                core.making.ended(&name, id);
            }
        });
        Ok(true)
    }

    /// Whether just that topic is there, for publishers and subscribers. An error if the name stands for anything else.
    fn topic_is_there(
        &self,
        name: &str,
        message: Item,
        options: &TopicOptions,
    ) -> Result<bool, Refused> {
        let exposed = &self.node.exposed;
        let publish = exposed.actors.types(name);
        let subscribe = exposed.topics.types(name);
        if publish.is_empty() && subscribe.is_empty() {
            return Ok(false);
        }
        let things = exposed.things.of(name);
        let [topic] = &things[..] else {
            return Err(Refused::Taken);
        };
        let is = topic.topic_options().ok_or(Refused::Taken)?;
        if publish.is_empty() || subscribe.is_empty() || !self.messages(name).is_empty() {
            return Err(Refused::Taken);
        }
        let holds = topic.message().ok_or(Refused::Taken)?;
        if (&*holds.name, holds.version) != message {
            return Err(Refused::OtherItems(holds));
        }
        let differences = differences(&is, options);
        if differences.is_empty() {
            return Ok(true);
        }
        Err(Refused::Differs(
            differences.into_iter().map(Into::into).collect(),
        ))
    }

    /// Whether just that queue is there. An error if the name stands for anything else.
    async fn is_there(
        &self,
        name: &str,
        item: Item,
        config: &QueueConfig,
    ) -> Result<bool, Refused> {
        if self.node.exposed.actors.types(name).is_empty() {
            return Ok(false);
        }
        let things = self.node.exposed.things.of(name);
        let queue = things
            .into_iter()
            .find(|thing| thing.kind() == ExposedKind::Queue);
        let queue = queue.ok_or(Refused::Taken)?;
        let holds = queue.message().ok_or(Refused::Taken)?;
        if (&*holds.name, holds.version) != item {
            return Err(Refused::OtherItems(holds));
        }
        let WireDetails::Queue(found) = queue.inspect().await? else {
            return Err(Refused::Taken);
        };
        let is: QueueConfig = found.config.ok_or(Refused::Taken)?.into();
        let differences = is.differences(config);
        if differences.is_empty() {
            return Ok(true);
        }
        Err(Refused::Differs(
            differences.into_iter().map(Into::into).collect(),
        ))
    }

    async fn remove(&self, name: &str, only: OnlyIf) -> Result<Removed, No> {
        if is_reserved(name) {
            return Err(Refused::BadName.into());
        }
        let _turn = self.node.making.turn.lock().await;
        self.in_time()?;
        let things = self.node.exposed.things.of(name);
        if !self.messages(name).is_empty() {
            return Err(Refused::NotOfThat(ExposedKind::Actor).into());
        }
        if let Some(lasting) = things.iter().find(|thing| !thing.can_be_removed()) {
            return Err(Refused::NotOfThat(lasting.kind()).into());
        }
        let thing = match &things[..] {
            [] => return Err(unknown().into()),
            [thing] => thing,
            // Which of them is meant, nobody said.
            _ => return Err(Refused::Several.into()),
        };
        let removed = Arc::clone(thing).remove(only).await?;
        self.node.exposed.remove_thing(name, thing);
        if let Some(id) = thing.id() {
            self.node.making.ended(name, id);
        }
        Ok(removed)
    }

    fn about_node(&self) -> NodeDetails {
        let node = &self.node;
        let state = node.state();
        let stats = state.stats;
        let mut accounts = node.gate.places().accounts();
        accounts.truncate(MOST_SHOWN);
        NodeDetails {
            name: state.name,
            incarnation: state.incarnation,
            listeners: state.listeners,
            connections: number(state.connections.len()),
            sessions: number(state.sessions.len()),
            made_queues: number(node.making.len(PlaceKind::Queue)),
            made_topics: number(node.making.len(PlaceKind::Topic)),
            bytes: (stats.bytes_in, stats.bytes_out),
            received: (stats.asks, stats.tells),
            failures: stats.failures,
            refused: node.gate.rights().state().refused,
            accounts,
        }
    }

    fn sessions(&self, after: u64, max: u32) -> SessionsPage {
        let mut sessions = self.node.sessions.list();
        sessions.retain(|session| session.number > after);
        sessions.sort_unstable_by_key(|session| session.number);
        let max = usize::try_from(max).unwrap_or(MOST_ENTRIES);
        let max = max.clamp(1, MOST_ENTRIES);
        let more = sessions.len() > max;
        sessions.truncate(max);
        let shown = sessions.iter().map(|session| {
            let snapshot = session.snapshot();
            SessionDetails {
                session: session.number,
                peer: snapshot.peer,
                principal: snapshot.principal,
                is_connected: snapshot.is_connected,
                is_ours: session.number == self.session.number,
                waiting_bytes: number(snapshot.waiting_bytes),
                outbox_bytes: number(snapshot.outbox_bytes),
                unacknowledged: number(snapshot.unacknowledged),
                in_flight: number(snapshot.in_flight),
            }
        });
        let shown: Vec<SessionDetails> = shown.collect();
        let last = shown.last().map(|session| session.session);
        SessionsPage {
            next: last.filter(|_| more),
            sessions: shown,
        }
    }

    fn disconnect(&self, number: u64) -> Result<(), Refused> {
        if number == self.session.number {
            return Err(Refused::OwnSession);
        }
        let sessions = self.node.sessions.list();
        let session = sessions.iter().find(|session| session.number == number);
        let session = session.ok_or(Refused::NoSession)?;
        session.end(&LinkErrorKind::ClosedHere);
        Ok(())
    }
}

/// How many bytes of entries a page has at the most.
const MOST_BYTES: usize = 256 * 1024;

/// What an entry takes in an answer, and a little more.
fn size_of(entry: &Listed) -> usize {
    let messages = entry.messages.iter().map(|message| message.name.len() + 24);
    entry.name.len() + messages.sum::<usize>() + entry.made_by.as_ref().map_or(0, String::len) + 128
}
