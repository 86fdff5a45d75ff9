//! What is done when the lock is free again.

use std::task::Waker;

use super::{Local, Payload};
use crate::counters::DropReason;
use crate::dead_letter::DeadLetter;
use crate::queue::dead::DeadReason;
use crate::queue::engine::Item;

/// What is done when the lock is free again.
pub(in crate::queue) struct Afterwards<T> {
    pub(super) wakes: Vec<Waker>,
    /// Of those who don't wait any more.
    idle: Vec<Waker>,
    pub(super) trash: Vec<Payload<T>>,
    pub(super) items: Vec<T>,
    pub(in crate::queue) letters: Vec<(Item<Payload<T>>, DropReason)>,
    pub(super) dead: Vec<(Item<Payload<T>>, DeadReason)>,
    pub(super) rearm: bool,
}
impl<T: Send + 'static> Afterwards<T> {
    pub(super) fn new() -> Self {
        Afterwards {
            wakes: Vec::new(),
            idle: Vec::new(),
            trash: Vec::new(),
            items: Vec::new(),
            letters: Vec::new(),
            dead: Vec::new(),
            rearm: false,
        }
    }

    /// To be dropped outside the lock.
    pub(in crate::queue) fn drop_item(&mut self, item: Option<T>) {
        self.items.extend(item);
    }

    /// To be dropped outside the lock: with a waker a task may go, and what it holds.
    pub(in crate::queue) fn drop_waker(&mut self, waker: Option<Waker>) {
        self.idle.extend(waker);
    }

    pub(super) fn run(self, local: &Local<T>) {
        let Afterwards {
            wakes,
            idle,
            trash,
            items,
            letters,
            dead,
            rearm,
        } = self;
        if rearm {
            local.alarm.ring();
        }
        for waker in wakes {
            waker.wake();
        }
        if !dead.is_empty()
            && let Some(home) = &local.dead
        {
            home.bury(dead);
        }
        let system = if letters.is_empty() {
            None
        } else {
            local.post.upgrade()
        };
        for (item, reason) in letters {
            let Some(system) = &system else {
                break;
            };
            let key = item.key();
            let message: Box<dyn std::any::Any + Send> = match item.payload {
                Some(Payload::Live(live)) => Box::new(live),
                // Its bytes are nobody's to decode any more.
                _ => Box::new(item.sequence),
            };
            system.dead_letters().push(DeadLetter {
                at: system.clock().now(),
                target: format!("queue {}", local.name),
                message_type: std::any::type_name::<T>(),
                reason,
                key,
                message,
            });
        }
        drop((trash, items, idle));
    }
}
