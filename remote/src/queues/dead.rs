//! The dead letters of a queue in another process.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use callboard::queue::{Browsed, Dead, QueueState, Sequence};
use callboard::{Failure, WireMessage};

use super::OpenQueueError;
use super::page;
use super::route::{Ways, decode};
use super::wire::{Administer, Administered, Contract, WireDead};
use crate::entrance::REACH;
use crate::peer::Peer;

/// The items that a queue in another process gave up (G23), for who has the right to
/// [administer](crate::Verb::Admin) it. Clones are of the same queue. Made by [`Peer::dead_letters`].
///
/// They are looked at, offered again and removed here. Who wants to take them one by one does so in their own process:
/// [`Queue::dead_letters`](callboard::queue::Queue::dead_letters).
///
/// # Errors
/// All methods: [`Failure`]. `NotAuthorised` without the right, `UnknownName` if the queue isn't there any more,
/// `WrongVersion` if it became one of other items.
pub struct RemoteDeadLetters<T> {
    ways: Ways,
    contract: Contract,
    item: PhantomData<fn(T)>,
}

impl<T: WireMessage> RemoteDeadLetters<T> {
    /// What the dead-letter queue holds and has seen.
    ///
    /// # Errors
    /// See the type.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn state(&self) -> Result<QueueState, Failure> {
        let op = Administer::DeadState;
        match self.ways.admin.ask(op).deadline(REACH).await? {
            Ok(Administered::State(state)) => Ok(*state),
            Ok(_) => Err(self.ways.nonsense()),
            Err(failure) => Err(self.ways.about(&failure)),
        }
    }

    /// Looks at up to `max` of them from that number on, oldest first, without taking them; fewer if they don't fit in
    /// one message, and none only if there are none. The numbers are those of the dead-letter queue.
    ///
    /// # Errors
    /// See the type. `TooLarge` if the first doesn't fit in a message by itself, `BadPayload` if it can't be read; the
    /// text says its number, and looking from the next one on shows what is behind it.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn browse(
        &self,
        from: Sequence,
        max: usize,
    ) -> Result<Vec<Browsed<Dead<T>>>, Failure> {
        let op = Administer::BrowseDead {
            contract: self.contract,
            from,
            max: u32::try_from(max).unwrap_or(u32::MAX),
            bytes: self.ways.room(),
        };
        match self.ways.admin.ask(op).deadline(REACH).await? {
            Ok(Administered::Dead(found)) => {
                page::read(&self.ways.name, found, |found| found.about.sequence, seen)
            }
            Ok(Administered::Unfit { sequence, why }) => {
                Err(page::not_shown(&self.ways.name, sequence, &why))
            }
            Ok(_) => Err(self.ways.nonsense()),
            Err(failure) => Err(self.ways.about(&failure)),
        }
    }

    /// Offers up to `max` of those that nobody has in hand to the queue again, oldest first: at their old places, with
    /// no failures counted. Answers how many; fewer if the queue has no room for more.
    ///
    /// # Errors
    /// See the type.
    ///
    /// # Cancel safety
    /// Dropped, it may have been done.
    pub async fn redrive(&self, max: usize) -> Result<usize, Failure> {
        let max = u64::try_from(max).unwrap_or(u64::MAX);
        self.ways.count(Administer::Redrive { max }).await
    }

    /// Removes all that nobody has in hand, for good. Answers how many.
    ///
    /// # Errors
    /// See the type.
    ///
    /// # Cancel safety
    /// Dropped, it may have been done.
    pub async fn purge(&self) -> Result<usize, Failure> {
        self.ways.count(Administer::PurgeDead).await
    }
}

/// What can't be read here can't be shown.
fn seen<T: WireMessage>(found: WireDead) -> Option<Browsed<Dead<T>>> {
    let WireDead { about, info } = found;
    Some(Browsed {
        item: Dead {
            item: decode(&about.item)?,
            info: info.into(),
        },
        sequence: about.sequence,
        place: about.place,
        attempt: about.attempt,
        failed: about.failed,
        offered: Duration::from_nanos(about.offered),
        key: about.key,
        group: about.group.map(Arc::from),
    })
}

impl Peer {
    /// Opens the dead letters of the queue that is exposed under that name, within 5 s. They stay open over
    /// reconnects.
    ///
    /// # Errors
    /// As [`queue`](Peer::queue). That there is no right to them shows when they are asked for.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn dead_letters<T: WireMessage>(
        &self,
        name: &str,
    ) -> Result<RemoteDeadLetters<T>, OpenQueueError> {
        let (ways, _, contract) = self.queue::<T>(name).found().await?;
        Ok(RemoteDeadLetters {
            ways,
            contract,
            item: PhantomData,
        })
    }
}

impl<T> Clone for RemoteDeadLetters<T> {
    fn clone(&self) -> Self {
        RemoteDeadLetters {
            ways: self.ways.clone(),
            contract: self.contract,
            item: PhantomData,
        }
    }
}

impl<T> fmt::Debug for RemoteDeadLetters<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteDeadLetters({})", self.ways.name)
    }
}
