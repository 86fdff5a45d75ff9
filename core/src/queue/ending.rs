//! Ending a queue that nobody needs any more.

use serde::{Deserialize, Serialize};

use super::local::{Local, stopped};
use super::{Inner, Queue};

/// What a queue must be, or it isn't ended: see [`Queue::stop_if`]. By default nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct OnlyIf {
    /// It holds no items: none that wait, none in hand, none on their way to the disk, none that can't be read. Its
    /// dead letters don't count.
    pub empty: bool,
    /// Nobody waits for items or for room, nobody has an item in hand, and no consumer with a name is there.
    pub unused: bool,
}

/// Why a queue was not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum NotEnded {
    /// It was to be empty.
    #[error("it holds {items} items")]
    NotEmpty {
        /// How many it holds.
        items: usize,
    },
    /// It was to be unused.
    #[error(
        "it is in use: {in_hand} items in hand, {waiting} wait for items or room, {consumers} consumers"
    )]
    InUse {
        /// Items in somebody's hands.
        in_hand: usize,
        /// Those who wait for items, and those who wait for room.
        waiting: usize,
        /// Consumers with a name.
        consumers: usize,
    },
    /// It lives in another process, where it is ended.
    #[error("it lives elsewhere")]
    Elsewhere,
}

impl<T: Send + 'static> Queue<T> {
    /// Ends the queue as [`stop`](Queue::stop) does, if it is as wished at that moment: whoever offers or polls does
    /// so either before, and is seen, or afterwards, and is told that it has ended. One that has ended already is as
    /// wished.
    ///
    /// # Errors
    /// [`NotEnded`]; then nothing has changed.
    pub fn stop_if(&self, only: OnlyIf) -> Result<(), NotEnded> {
        match &self.inner {
            Inner::Local { local, owner, .. } => {
                local.end_if(only)?;
                owner.stop();
                Ok(())
            }
            Inner::Routed(_) => Err(NotEnded::Elsewhere),
        }
    }
}

impl<T: Send + 'static> Local<T> {
    fn end_if(&self, only: OnlyIf) -> Result<(), NotEnded> {
        self.with(|inside, afterwards, now| {
            if inside.ended.is_some() || only == OnlyIf::default() {
                return Ok(());
            }
            let stages = inside.engine.stages;
            let items = inside.engine.waiting() + stages.leased + stages.storing + stages.set_aside;
            if only.empty && items > 0 {
                return Err(NotEnded::NotEmpty { items });
            }
            let waiting = inside.takers.len() + inside.offerers.len();
            let consumers = inside.consumers.iter().count();
            if only.unused && stages.leased + waiting + consumers > 0 {
                return Err(NotEnded::InUse {
                    in_hand: stages.leased,
                    waiting,
                    consumers,
                });
            }
            inside.end(stopped(&self.name), afterwards, now);
            Ok(())
        })
    }
}
