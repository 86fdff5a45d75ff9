//! An exposed queue, as who administers its node sees it.

use std::sync::Arc;

use callboard::queue::{NotEnded, OnlyIf, Queue, QueueState};
use callboard::{ActorId, FailureKind, Verdict, WireMessage, codec};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::BATCH_ITEMS;
use super::door::{Door, ITEM_OVERHEAD, wire_browsed};
use super::page::Page;
use super::wire::{Administered, WireDead, WireDeadInfo};
use crate::admin::{
    ConsumerDetails, ExposedKind, Glance, MOST_SHOWN, MessageType, Refused, Removed, Thing,
    WireDetails, WireQueue, number,
};
use crate::entrance::{WireFailure, refuse, yield_now};

/// How many dead letters are offered again before others have the thread.
const A_TURN: usize = 256;

impl<T: WireMessage + Clone> Thing for Door<T> {
    fn kind(&self) -> ExposedKind {
        ExposedKind::Queue
    }

    fn message(&self) -> Option<MessageType> {
        Some(MessageType::of::<T>())
    }

    fn id(&self) -> Option<ActorId> {
        Some(self.queue().id())
    }

    fn glance(&self) -> Option<Glance> {
        let queue = self.queue();
        // One of a third process would have to be asked.
        let state = queue.state().now_or_never()?.ok()?;
        let dead = queue.dead_letters()?.state();
        Some(Glance::Queue {
            waiting: number(state.len),
            in_hand: number(state.in_flight),
            dead: number(dead.len),
        })
    }

    fn inspect(self: Arc<Self>) -> BoxFuture<'static, Result<WireDetails, Refused>> {
        Box::pin(async move {
            let queue = self.queue();
            let state = queue.state().await.map_err(|failure| failed(&failure))?;
            let consumers = queue.consumers().into_iter().take(MOST_SHOWN);
            let consumers = consumers.map(|one| ConsumerDetails {
                name: one.name.to_string(),
                age: one.age,
                in_hand: number(one.in_flight),
                delivered: one.delivered,
                is_active: one.is_active,
            });
            Ok(WireDetails::Queue(Box::new(WireQueue {
                item: MessageType::of::<T>(),
                config: queue.config().map(Into::into),
                state,
                dead: queue.dead_letters().map(|dead| dead.state()),
                holders: number(self.holders()),
                consumers: consumers.collect(),
                made_by: None,
            })))
        })
    }

    fn purge(self: Arc<Self>) -> BoxFuture<'static, Result<u64, Refused>> {
        Box::pin(async move {
            let purged = self.queue().purge().await;
            purged.map(number).map_err(|failure| failed(&failure))
        })
    }

    fn redrive(self: Arc<Self>, max: u64) -> BoxFuture<'static, Result<u64, Refused>> {
        Box::pin(async move {
            let moved = self.redriven(max).await;
            moved.map_err(Refused::Failed)
        })
    }

    fn purge_dead(self: Arc<Self>) -> BoxFuture<'static, Result<u64, Refused>> {
        Box::pin(async move { self.dead_purged().map_err(Refused::Failed) })
    }

    fn remove(self: Arc<Self>, only: OnlyIf) -> BoxFuture<'static, Result<Removed, Refused>> {
        Box::pin(async move {
            let queue = self.queue();
            if only.unused && self.holders() > 0 {
                return Err(Refused::InUse {
                    in_hand: number(self.seen().in_flight),
                    waiting: 0,
                    consumers: number(self.holders()),
                });
            }
            let before = self.seen();
            let dead = queue.dead_letters().map_or(0, |dead| dead.state().len);
            if only.empty && dead > 0 {
                return Err(Refused::NotEmpty {
                    items: number(dead),
                });
            }
            ended(queue, only).await?;
            Ok(Removed {
                items: number(before.len + before.in_flight),
                dead: number(dead),
            })
        })
    }

    fn can_be_removed(&self) -> bool {
        true
    }
}

impl<T: WireMessage + Clone> Door<T> {
    fn seen(&self) -> QueueState {
        let state = self.queue().state().now_or_never();
        state.and_then(Result::ok).unwrap_or_default()
    }

    pub(super) fn dead_state(&self) -> Result<Administered, WireFailure> {
        let dead = self.queue().dead_letters().ok_or_else(elsewhere)?;
        Ok(Administered::State(Box::new(dead.state())))
    }

    /// Looks at dead letters, as many as fit.
    pub(super) async fn browse_dead(
        &self,
        from: u64,
        max: u32,
        bytes: u32,
    ) -> Result<Administered, WireFailure> {
        let dead = self.queue().dead_letters().ok_or_else(elsewhere)?;
        let max = usize::try_from(max).unwrap_or(BATCH_ITEMS).min(BATCH_ITEMS);
        let found = dead.browse(from, max).await;
        let found = found.map_err(|failure| WireFailure::from(&failure))?;
        let mut page = Page::new(bytes);
        for found in found {
            let item = codec::encode(&found.item.item);
            let info = WireDeadInfo::from(found.item.info.clone());
            // The group stands in it once more.
            let texts = info.texts() + ITEM_OVERHEAD;
            let show = |item, found| WireDead {
                about: wire_browsed(item, found),
                info,
            };
            if !page.add(found, item, texts, show) {
                break;
            }
        }
        Ok(page.answer(Administered::Dead))
    }

    /// Offers dead letters again. Answers how many.
    pub(super) async fn redriven(&self, max: u64) -> Result<u64, WireFailure> {
        let dead = self.queue().dead_letters().ok_or_else(elsewhere)?;
        let mut left = usize::try_from(max).unwrap_or(usize::MAX);
        let mut moved = 0;
        while left > 0 {
            let some = left.min(A_TURN);
            let done = dead.redrive(some);
            let done = done.map_err(|failure| WireFailure::from(&failure))?;
            moved += done;
            left -= done;
            if done < some {
                break;
            }
            yield_now().await;
        }
        Ok(number(moved))
    }

    /// Removes dead letters. Answers how many.
    pub(super) fn dead_purged(&self) -> Result<u64, WireFailure> {
        let dead = self.queue().dead_letters().ok_or_else(elsewhere)?;
        Ok(number(dead.purge()))
    }
}

/// It is a queue of a third process, where that has to be done.
pub(super) fn elsewhere() -> WireFailure {
    refuse(FailureKind::UnknownType)
}

fn failed(failure: &callboard::Failure) -> Refused {
    Refused::Failed(failure.into())
}

/// Ends a queue with what it has on disk, if it is as wished.
async fn ended<T: Send + 'static>(queue: &Queue<T>, only: OnlyIf) -> Result<(), Refused> {
    let (name, id) = (queue.name(), queue.id());
    let queues = queue.system().queues();
    let ended = match queues.remove_if(&name, id, only).await {
        Ok(Some(ended)) => ended,
        // It has no name of its own: its handle is all there is.
        Ok(None) => queue.stop_if(only),
        Err(error) => {
            // Its text names files of this host.
            tracing::warn!(target: "callboard::remote", queue = %name, %error, "its journal stays");
            let verdict = Verdict::Executed;
            let failure = WireFailure::new(FailureKind::StorageFailed, verdict);
            return Err(Refused::Failed(failure));
        }
    };
    match ended {
        Ok(()) => {
            queue.wait().await;
            Ok(())
        }
        Err(NotEnded::NotEmpty { items }) => Err(Refused::NotEmpty {
            items: number(items),
        }),
        Err(NotEnded::InUse {
            in_hand,
            waiting,
            consumers,
        }) => Err(Refused::InUse {
            in_hand: number(in_hand),
            waiting: number(waiting),
            consumers: number(consumers),
        }),
        Err(_) => Err(Refused::Failed(elsewhere())),
    }
}
