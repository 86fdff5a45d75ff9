//! What is done when the lock is free again.

use std::task::Waker;

use super::{Local, Payload};
use crate::counters::DropReason;
use crate::dead_letter::DeadLetter;
use crate::queue::dead::DeadReason;
use crate::queue::engine::Item;

/// What is done when the lock is free again. Made for each operation, so what few have is in a box.
pub(in crate::queue) struct Afterwards<T> {
    wake: Option<Waker>,
    trash: Option<Payload<T>>,
    rare: Option<Box<Rare<T>>>,
    pub(super) rearm: bool,
}

struct Rare<T> {
    wakes: Vec<Waker>,
    /// Of those who don't wait any more.
    idle: Vec<Waker>,
    trash: Vec<Payload<T>>,
    letters: Vec<(Item<Payload<T>>, DropReason)>,
    dead: Vec<(Item<Payload<T>>, DeadReason)>,
}

impl<T: Send + 'static> Afterwards<T> {
    pub(super) fn new() -> Self {
        Afterwards {
            wake: None,
            trash: None,
            rare: None,
            rearm: false,
        }
    }

    /// To be woken.
    pub(super) fn wake(&mut self, waker: Option<Waker>) {
        let Some(waker) = waker else {
            return;
        };
        match &self.wake {
            None => self.wake = Some(waker),
            Some(_) => self.rare().wakes.push(waker),
        }
    }

    pub(super) fn wake_all(&mut self, wakers: Vec<Waker>) {
        self.rare().wakes.extend(wakers);
    }

    /// To be dropped outside the lock.
    pub(in crate::queue) fn drop_item(&mut self, item: Option<T>) {
        self.discard(item.map(Payload::Live));
    }

    /// The same for what may be stored.
    pub(in crate::queue) fn discard(&mut self, payload: Option<Payload<T>>) {
        let Some(payload) = payload else {
            return;
        };
        match &self.trash {
            None => self.trash = Some(payload),
            Some(_) => self.rare().trash.push(payload),
        }
    }

    /// To the system's dead letters.
    pub(in crate::queue) fn letter(&mut self, item: Item<Payload<T>>, reason: DropReason) {
        self.rare().letters.push((item, reason));
    }

    /// The same, because the queue has ended, for what isn't on disk.
    pub(in crate::queue) fn letter_live(&mut self, item: Item<Payload<T>>) {
        if let Some(Payload::Live(_)) = item.payload {
            self.letter(item, DropReason::Stopped);
        }
    }

    /// To where the dead are.
    pub(super) fn bury(&mut self, item: Item<Payload<T>>, reason: DeadReason) {
        self.rare().dead.push((item, reason));
    }

    /// To be dropped outside the lock: with a waker a task may go, and what it holds.
    pub(in crate::queue) fn drop_waker(&mut self, waker: Option<Waker>) {
        if let Some(waker) = waker {
            self.rare().idle.push(waker);
        }
    }

    fn rare(&mut self) -> &mut Rare<T> {
        self.rare.get_or_insert_with(|| {
            Box::new(Rare {
                wakes: Vec::new(),
                idle: Vec::new(),
                trash: Vec::new(),
                letters: Vec::new(),
                dead: Vec::new(),
            })
        })
    }

    pub(super) fn run(self, local: &Local<T>) {
        let Afterwards {
            wake,
            trash,
            rare,
            rearm,
        } = self;
        if rearm {
            local.alarm.ring();
        }
        if let Some(waker) = wake {
            waker.wake();
        }
        if let Some(rare) = rare {
            rare.run(local);
        }
        drop(trash);
    }
}

impl<T: Send + 'static> Rare<T> {
    #[cold]
    fn run(self, local: &Local<T>) {
        let Rare {
            wakes,
            idle,
            trash,
            letters,
            dead,
        } = self;
        wakes.into_iter().for_each(Waker::wake);
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
                attempts: Vec::new(),
                message,
            });
        }
        drop((trash, idle));
    }
}
