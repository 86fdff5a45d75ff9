//! Who waits for one request. Mostly one, who needs no memory of its own.

#[derive(Debug)]
pub(super) struct Waiters<W> {
    first: Option<(u64, W)>,
    others: Vec<(u64, W)>,
}

impl<W> Default for Waiters<W> {
    fn default() -> Self {
        Waiters {
            first: None,
            others: Vec::new(),
        }
    }
}

impl<W> Waiters<W> {
    pub(super) fn of(number: u64, waiter: Option<W>) -> Self {
        Waiters {
            first: waiter.map(|waiter| (number, waiter)),
            others: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len()
    }

    pub(super) fn push(&mut self, number: u64, waiter: W) {
        if self.first.is_none() && self.others.is_empty() {
            self.first = Some((number, waiter));
        } else {
            self.others.push((number, waiter));
        }
    }

    pub(super) fn each(&mut self, mut each: impl FnMut(u64, &mut W)) {
        for (number, waiter) in self.first.iter_mut().chain(&mut self.others) {
            each(*number, waiter);
        }
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<W> {
        if self.first.as_ref().is_some_and(|(own, _)| *own == number) {
            return self.first.take().map(|(_, waiter)| waiter);
        }
        let index = self.others.iter().position(|(own, _)| *own == number)?;
        Some(self.others.remove(index).1)
    }

    /// Keeps those for whom that holds, and hands out the rest.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&mut W) -> bool, left: &mut Vec<W>) {
        if self.first.as_mut().is_some_and(|(_, waiter)| !keep(waiter)) {
            left.extend(self.first.take().map(|(_, waiter)| waiter));
        }
        let gone = self.others.extract_if(.., |(_, waiter)| !keep(waiter));
        left.extend(gone.map(|(_, waiter)| waiter));
    }
}

impl<W> IntoIterator for Waiters<W> {
    type Item = (u64, W);
    type IntoIter = std::iter::Chain<std::option::IntoIter<(u64, W)>, std::vec::IntoIter<(u64, W)>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.others)
    }
}
