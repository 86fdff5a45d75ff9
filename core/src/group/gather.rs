//! Scatter and gather: one question to all members, and as many answers as are needed.

use std::collections::BTreeSet;
use std::fmt;
use std::future::IntoFuture;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::{Group, copies};
use crate::actor_ref::Recipient;
use crate::boundary::Verdict;
use crate::error::SendError;
use crate::id::ActorId;
use crate::message::Message;

/// What the members of a group said. An answer is a reply, whatever it says: where the reply is a `Result`,
/// its `Err` is an answer too.
#[non_exhaustive]
pub struct Gathered<M: Message> {
    /// The answers, in the order they came.
    pub answers: Vec<(ActorId, M::Reply)>,
    /// Those that failed, in the order they did, each with its verdict.
    pub failures: Vec<(ActorId, SendError<M>)>,
    /// Those that were asked and not waited for to the end, because enough had answered, or too many had
    /// failed. Their handlers don't begin, if they haven't (G9); if they have, their replies are counted as
    /// late (G8).
    pub withdrawn: Vec<ActorId>,
}

/// Why a question to a group has no result: fewer members answered than were needed.
pub struct TooFew<M: Message> {
    wanted: usize,
    gathered: Box<Gathered<M>>,
    /// It was never sent.
    message: Option<M>,
}

impl<M: Message + Clone> Group<M> {
    /// Asks all members, and waits for each to answer or fail, until `deadline` at most: what isn't answered
    /// by then is a failure, with its verdict (G9). Less, if the request that is being handled has less left.
    ///
    /// Costs an allocation per member.
    ///
    /// # Cancel safety
    /// Dropping it withdraws what isn't answered.
    pub async fn ask_all(&self, message: M, deadline: Duration) -> Gathered<M> {
        gather(&self.inner.members(), message, deadline, None).await
    }

    /// Asks all members; the first answer counts, and the other asks are withdrawn.
    ///
    /// # Errors
    /// [`TooFew`]: no member answered until `deadline`, or there is none.
    ///
    /// # Cancel safety
    /// Dropping it withdraws all of them.
    pub async fn ask_first(
        &self,
        message: M,
        deadline: Duration,
    ) -> Result<(ActorId, M::Reply), TooFew<M>> {
        let mut gathered = self.ask_quorum(1, message, deadline).await?;
        match gathered.answers.pop() {
            Some(first) => Ok(first),
            None => Err(TooFew::of(1, gathered, None)),
        }
    }

    /// Asks all members, until `wanted` of them have answered, or can't any more; the other asks are
    /// withdrawn then. For none wanted, nobody is asked.
    ///
    /// # Errors
    /// [`TooFew`], with the answers there were, as soon as too many members have failed, at `deadline` at
    /// the latest. If there are fewer members than answers wanted, at once: nothing is sent.
    ///
    /// # Cancel safety
    /// Dropping it withdraws what isn't answered.
    pub async fn ask_quorum(
        &self,
        wanted: usize,
        message: M,
        deadline: Duration,
    ) -> Result<Gathered<M>, TooFew<M>> {
        if wanted == 0 {
            return Ok(Gathered::new());
        }
        let members = self.inner.members();
        if members.len() < wanted {
            return Err(TooFew::of(wanted, Gathered::new(), Some(message)));
        }
        let gathered = gather(&members, message, deadline, Some(wanted)).await;
        if gathered.answers.len() < wanted {
            return Err(TooFew::of(wanted, gathered, None));
        }
        Ok(gathered)
    }
}

/// Asks all members, until that many have answered or can't any more; without a number, until each has
/// answered or failed.
async fn gather<M: Message + Clone>(
    members: &[Recipient<M>],
    message: M,
    deadline: Duration,
    wanted: Option<usize>,
) -> Gathered<M> {
    let mut pending: BTreeSet<ActorId> = BTreeSet::new();
    let mut asks: FuturesUnordered<_> = copies(members, message)
        .map(|(member, message)| {
            let id = member.id();
            pending.insert(id);
            // The deadline is fixed here: one for all, however long the first polls take.
            let ask = member.ask(message).deadline(deadline);
            let ask = ask.into_parts().into_ask().into_future();
            async move { (id, ask.await) }
        })
        .collect();
    let all = members.len();
    let wanted = wanted.unwrap_or(usize::MAX);
    let spare = all.checked_sub(wanted).unwrap_or(all);
    let mut gathered = Gathered::new();
    while gathered.answers.len() < wanted && gathered.failures.len() <= spare {
        let Some((id, outcome)) = asks.next().await else {
            break;
        };
        pending.remove(&id);
        match outcome {
            Ok(reply) => gathered.answers.push((id, reply)),
            Err(error) => gathered.failures.push((id, error)),
        }
    }
    gathered.withdrawn = pending.into_iter().collect();
    gathered
}

impl<M: Message> Gathered<M> {
    fn new() -> Self {
        Gathered {
            answers: Vec::new(),
            failures: Vec::new(),
            withdrawn: Vec::new(),
        }
    }

    /// The answers without their members.
    pub fn replies(&self) -> impl Iterator<Item = &M::Reply> {
        self.answers.iter().map(|(_, reply)| reply)
    }

    /// Whether every member answered.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failures.is_empty() && self.withdrawn.is_empty()
    }
}

impl<M: Message> TooFew<M> {
    fn of(wanted: usize, gathered: Gathered<M>, message: Option<M>) -> Self {
        TooFew {
            wanted,
            gathered: Box::new(gathered),
            message,
        }
    }

    /// How many answers were needed.
    #[must_use]
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// What the members said.
    #[must_use]
    pub fn gathered(&self) -> &Gathered<M> {
        &self.gathered
    }

    /// Takes that out.
    #[must_use]
    pub fn into_gathered(self) -> Gathered<M> {
        *self.gathered
    }

    /// What is known about the message over all members: the verdict of the one with whom it went farthest.
    /// A member that was withdrawn counts as `MaybeExecuted`.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let gathered = &self.gathered;
        if !gathered.answers.is_empty() {
            return Verdict::Executed;
        }
        let withdrawn = (!gathered.withdrawn.is_empty()).then_some(Verdict::MaybeExecuted);
        let failed = gathered.failures.iter().map(|(_, error)| error.verdict());
        // In the order in which verdicts are declared.
        failed.chain(withdrawn).max().unwrap_or(Verdict::NotSent)
    }

    /// The message, if it was never sent, or came back from a member.
    #[must_use]
    pub fn into_message(self) -> Option<M> {
        let failures = self.gathered.failures.into_iter();
        let mut back = failures.filter_map(|(_, error)| error.into_message());
        self.message.or_else(|| back.next())
    }
}

impl<M: Message> fmt::Display for TooFew<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gathered {
            answers,
            failures,
            withdrawn,
        } = &*self.gathered;
        let (answered, failed) = (answers.len(), failures.len());
        let (wanted, asked) = (self.wanted, answered + failed + withdrawn.len());
        if let Some(_unsent) = &self.message {
            return write!(
                f,
                "{wanted} answers wanted of too few members ({})",
                self.verdict()
            );
        }
        write!(
            f,
            "{answered} of {wanted} answers wanted, {failed} of {asked} members failed ({})",
            self.verdict()
        )?;
        match failures.first() {
            Some((id, error)) => write!(f, ": {id}: {error}"),
            None => Ok(()),
        }
    }
}

impl<M: Message> std::error::Error for TooFew<M> {}

impl<M: Message> fmt::Debug for TooFew<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TooFew")
            .field("wanted", &self.wanted)
            .field("gathered", &self.gathered)
            .field("message_returned", &self.message.is_some())
            .finish()
    }
}

impl<M: Message> fmt::Debug for Gathered<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answered: Vec<_> = self.answers.iter().map(|(id, _)| id).collect();
        f.debug_struct("Gathered")
            .field("answered", &answered)
            .field("failures", &self.failures)
            .field("withdrawn", &self.withdrawn)
            .finish()
    }
}
