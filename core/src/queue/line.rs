//! Those who wait, in the order they came. Each has a place that it looks at when it is woken.

use std::collections::VecDeque;
use std::task::Waker;

use super::slab::{Place, Slab};

/// Which one in a line: a place, and a number that tells it from those who had the place before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WaiterId {
    place: Place,
    number: u64,
}

pub(super) struct Line<W> {
    waiters: Slab<Waiter<W>>,
    order: VecDeque<WaiterId>,
    next: u64,
    /// How many of `order` still wait in line.
    in_line: usize,
}

struct Waiter<W> {
    number: u64,
    waker: Option<Waker>,
    in_line: bool,
    what: W,
}

impl<W> Line<W> {
    pub(super) fn new() -> Self {
        Line {
            waiters: Slab::new(),
            order: VecDeque::new(),
            next: 0,
            in_line: 0,
        }
    }

    /// How many wait in line.
    pub(super) fn len(&self) -> usize {
        self.in_line
    }

    /// Somebody comes, to the end of the line.
    pub(super) fn join(&mut self, what: W, waker: Waker) -> WaiterId {
        let id = self.enter(what, waker);
        if let Some(waiter) = self.waiter_mut(id) {
            waiter.in_line = true;
        }
        self.order.push_back(id);
        self.in_line += 1;
        if self.order.len() > 2 * self.in_line + 64 {
            let waiters = &self.waiters;
            self.order.retain(|id| stands(waiters, *id));
        }
        id
    }

    /// Somebody waits, but for nothing that there is a line for.
    pub(super) fn enter(&mut self, what: W, waker: Waker) -> WaiterId {
        self.next += 1;
        let number = self.next;
        let place = self.waiters.insert(Waiter {
            number,
            waker: Some(waker),
            in_line: false,
            what,
        });
        WaiterId { place, number }
    }

    /// The first in line.
    pub(super) fn first(&mut self) -> Option<WaiterId> {
        while let Some(id) = self.order.front().copied() {
            if stands(&self.waiters, id) {
                return Some(id);
            }
            self.order.pop_front();
        }
        None
    }

    /// Those in line, in order.
    pub(super) fn in_line(&self) -> impl Iterator<Item = (WaiterId, &W)> {
        let standing = self.order.iter().filter(|id| stands(&self.waiters, **id));
        standing.filter_map(|id| Some((*id, &self.waiters.get(id.place)?.what)))
    }

    pub(super) fn get_mut(&mut self, id: WaiterId) -> Option<&mut W> {
        self.waiter_mut(id).map(|waiter| &mut waiter.what)
    }

    /// Replaces what somebody waits for, who leaves the line but not the place. Answers whom to wake.
    pub(super) fn serve(&mut self, id: WaiterId, what: W) -> (Option<W>, Option<Waker>) {
        self.step_out(id);
        match self.waiter_mut(id) {
            Some(waiter) => {
                let before = std::mem::replace(&mut waiter.what, what);
                (Some(before), waiter.waker.take())
            }
            None => (None, None),
        }
    }

    /// Somebody who was first in line is so again.
    pub(super) fn rejoin_first(&mut self, id: WaiterId, what: W, waker: Option<Waker>) {
        if let Some(waiter) = self.waiter_mut(id) {
            waiter.what = what;
            waiter.in_line = true;
            waiter.waker = waker;
            self.in_line += 1;
            if self.order.front() != Some(&id) {
                self.order.push_front(id);
            }
        }
    }

    /// Replaces what lies in somebody's place, and who is to be woken.
    pub(super) fn put(&mut self, id: WaiterId, what: W, waker: Option<Waker>) {
        if let Some(waiter) = self.waiter_mut(id) {
            waiter.what = what;
            waiter.waker = waker;
        }
    }

    /// Somebody looks again and finds nothing: is to be woken by this. Answers the waker that it replaces: to be
    /// dropped outside the lock, because with it a task may go.
    #[must_use = "to be dropped outside the lock"]
    pub(super) fn set_waker(&mut self, id: WaiterId, waker: &Waker) -> Option<Waker> {
        let place = &mut self.waiter_mut(id)?.waker;
        match place {
            Some(old) if old.will_wake(waker) => None,
            _ => place.replace(waker.clone()),
        }
    }

    /// Somebody goes, with what there was; and the waker, as above.
    #[must_use = "to be dropped outside the lock"]
    pub(super) fn remove(&mut self, id: WaiterId) -> (Option<W>, Option<Waker>) {
        self.step_out(id);
        if self.waiter_mut(id).is_none() {
            return (None, None);
        }
        match self.waiters.remove(id.place) {
            Some(waiter) => (Some(waiter.what), waiter.waker),
            None => (None, None),
        }
    }

    /// What everybody waits for, in line or not.
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut W> {
        self.waiters.iter_mut().map(|waiter| &mut waiter.what)
    }

    /// Replaces what everybody waits for. Answers whom to wake.
    pub(super) fn serve_all(&mut self, mut what: impl FnMut(&mut W)) -> Vec<Waker> {
        self.order.clear();
        self.in_line = 0;
        let places: Vec<Place> = self.waiters.iter().map(|(place, _)| place).collect();
        let mut wakers = Vec::with_capacity(places.len());
        for place in places {
            if let Some(waiter) = self.waiters.get_mut(place) {
                waiter.in_line = false;
                what(&mut waiter.what);
                wakers.extend(waiter.waker.take());
            }
        }
        wakers
    }

    fn waiter_mut(&mut self, id: WaiterId) -> Option<&mut Waiter<W>> {
        let waiter = self.waiters.get_mut(id.place)?;
        (waiter.number == id.number).then_some(waiter)
    }

    fn step_out(&mut self, id: WaiterId) {
        if let Some(waiter) = self.waiter_mut(id)
            && std::mem::take(&mut waiter.in_line)
        {
            self.in_line -= 1;
        }
    }
}

fn stands<W>(waiters: &Slab<Waiter<W>>, id: WaiterId) -> bool {
    let waiter = waiters.get(id.place);
    waiter.is_some_and(|waiter| waiter.number == id.number && waiter.in_line)
}
