//! Taking items out of queues of this process.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Context};
use std::time::Duration;

use futures::channel::oneshot;

use super::hands::{Opening, Originals};
use super::{Catch, Fetched};
use crate::boundary::Verdict;
use crate::clock::Sleep;
use crate::error::{Failure, FailureKind};
use crate::journal::{JournalError, JournalErrorKind};
use crate::queue::delivery::{Delivery, Receipt};
use crate::queue::line::WaiterId;
use crate::queue::local::{
    Haul, Local, Mode, Payload, Taken, Taker, Want, stopped, storage_failure,
};

pub(super) struct LocalFetch<T: Send + 'static> {
    local: Arc<Local<T>>,
    want: Want,
    copy: Option<fn(&T) -> T>,
    deadline: Option<Duration>,
    sleep: Option<Sleep>,
    stage: Stage<T>,
}

enum Stage<T> {
    New,
    Waiting(WaiterId),
    /// Leased, and on their way from the disk.
    Reading(Vec<Taken<T>>, oneshot::Receiver<Read>),
    Done,
}

type Read = Vec<Result<Vec<u8>, JournalError>>;

impl<T: Send + 'static> LocalFetch<T> {
    pub(super) fn new(
        local: Arc<Local<T>>,
        want: Want,
        copy: Option<fn(&T) -> T>,
        deadline: Option<Duration>,
    ) -> Self {
        LocalFetch {
            local,
            want,
            copy,
            deadline,
            sleep: None,
            stage: Stage::New,
        }
    }

    /// It has been served another way.
    pub(super) fn is_done(&mut self) {
        self.stage = Stage::Done;
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> task::Poll<Result<Catch<T>, Failure>> {
        loop {
            let step = match &mut self.stage {
                Stage::New => self.begin(cx),
                Stage::Waiting(id) => {
                    let id = *id;
                    self.look(id, cx)
                }
                Stage::Reading(_, read) => match Pin::new(read).poll(cx) {
                    task::Poll::Pending => Step::Wait,
                    task::Poll::Ready(read) => self.have_read(read.unwrap_or_default()),
                },
                Stage::Done => Step::Wait,
            };
            match step {
                Step::Wait => return task::Poll::Pending,
                Step::Again => {}
                Step::End(end) => {
                    self.stage = Stage::Done;
                    return task::Poll::Ready(end);
                }
                Step::Have(Haul::One(taken)) if !matches!(taken.payload, Payload::Stored(None)) => {
                    let fetched = self.open(taken, &mut Originals::new(&self.local));
                    match fetched {
                        Some(fetched) => {
                            self.stage = Stage::Done;
                            return task::Poll::Ready(Ok(Catch::One(fetched)));
                        }
                        None => self.stage = Stage::New,
                    }
                }
                Step::Have(haul) => {
                    let all = match haul {
                        Haul::One(one) => vec![one],
                        Haul::Many(all) => all,
                    };
                    if let Some(all) = self.read_missing(all) {
                        let fetched = self.open_all(all);
                        if fetched.is_empty() {
                            self.stage = Stage::New;
                        } else {
                            self.stage = Stage::Done;
                            return task::Poll::Ready(Ok(Catch::Many(fetched)));
                        }
                    }
                }
            }
        }
    }

    fn begin(&mut self, cx: &mut Context<'_>) -> Step<T> {
        let LocalFetch {
            local,
            want,
            deadline,
            ..
        } = self;
        let want = *want;
        if local.settings.single_active && want.consumer.is_none() {
            let failure = Failure::new(FailureKind::NotAuthorised, Verdict::NotExecuted);
            return Step::End(Err(failure.with_detail(format!(
                "queue {} has a single active consumer: take items as a `Queue::consumer`",
                local.name
            ))));
        }
        let wait = *deadline != Some(Duration::ZERO);
        let begun = local.with(|inside, afterwards, now| {
            if let Some(failure) = inside.is_shut_to(want, &local.name) {
                return Err(Err(failure));
            }
            if let Some(haul) = inside.take(local, want, afterwards, now) {
                inside.settle(local, afterwards, now);
                return Ok(Err(haul));
            }
            if !wait {
                return Err(Ok(Catch::Nothing));
            }
            let id = inside.wait_for_items(want, cx.waker(), &local.name);
            id.map(Ok).map_err(Err)
        });
        match begun {
            Err(end) => Step::End(end),
            Ok(Err(haul)) => Step::Have(haul),
            Ok(Ok(id)) => {
                self.stage = Stage::Waiting(id);
                if self.sleep.is_none() {
                    self.sleep = self.deadline.map(|span| self.local.clock.sleep(span));
                }
                // To be woken when it is over.
                let sleep = self.sleep.as_mut();
                match sleep.map(|sleep| Pin::new(sleep).poll(cx)) {
                    Some(task::Poll::Ready(())) => Step::Again,
                    _ => Step::Wait,
                }
            }
        }
    }

    /// Looks what lies in its place.
    fn look(&mut self, id: WaiterId, cx: &mut Context<'_>) -> Step<T> {
        let late = match &mut self.sleep {
            Some(sleep) => Pin::new(sleep).poll(cx).is_ready(),
            None => false,
        };
        let want = self.want;
        let local = &*self.local;
        let found = local.with(|inside, afterwards, now| {
            match inside.takers.get_mut(id) {
                Some(Taker::Waiting(_)) if !late => {
                    let idle = inside.takers.set_waker(id, cx.waker());
                    afterwards.drop_waker(idle);
                    return None;
                }
                _ => {}
            }
            let (mut found, idle) = inside.takers.remove(id);
            afterwards.drop_waker(idle);
            // More may have come since there was one.
            if let Some(Taker::Got(haul)) = &mut found {
                inside.keep_promise(local, want, haul, afterwards, now);
                inside.top_up(local, want, haul, afterwards, now);
            }
            Some(found)
        });
        match found {
            None => Step::Wait,
            Some(Some(Taker::Got(haul))) => {
                self.stage = Stage::Done;
                Step::Have(haul)
            }
            Some(Some(Taker::Ended(failure))) => Step::End(Err(failure)),
            // It came too late to its item, and starts again.
            Some(Some(Taker::Lapsed)) => {
                self.stage = Stage::New;
                Step::Again
            }
            Some(_) => Step::End(Ok(Catch::Nothing)),
        }
    }

    /// Has what isn't in memory read. Answers the items if nothing is missing.
    fn read_missing(&mut self, all: Vec<Taken<T>>) -> Option<Vec<Taken<T>>> {
        let missing = all
            .iter()
            .filter(|taken| matches!(taken.payload, Payload::Stored(None)));
        let records: Vec<u64> = missing.map(|taken| taken.record).collect();
        let Some(durable) = self.local.durable.as_ref().filter(|_| !records.is_empty()) else {
            return Some(all);
        };
        let (tx, rx) = oneshot::channel();
        let done = Box::new(move |read| {
            // An error: who asked has left, and has given its leases back.
            let _ = tx.send(read);
        });
        durable.read(&records, done);
        self.stage = Stage::Reading(all, rx);
        None
    }

    fn have_read(&mut self, read: Read) -> Step<T> {
        let Stage::Reading(mut all, _) = std::mem::replace(&mut self.stage, Stage::Done) else {
            return Step::Wait;
        };
        let mut read = read.into_iter();
        let mut broken = None;
        for at in (0..all.len()).rev() {
            if !matches!(all[at].payload, Payload::Stored(None)) {
                continue;
            }
            // They come in the order they were asked for: from the back.
            match read.next_back() {
                Some(Ok(bytes)) => all[at].payload = Payload::Stored(Some(bytes.into())),
                Some(Err(error)) if is_of_one_record(&error) => {
                    let (about, _) = all.remove(at).split();
                    self.local.set_aside(&about, &error.to_string());
                }
                Some(Err(error)) => broken = Some(storage_failure(&error, Verdict::NotExecuted)),
                None => broken = Some(stopped(&self.local.name)),
            }
        }
        if let Some(failure) = broken {
            self.hand_back(Haul::Many(all));
            return Step::End(Err(failure));
        }
        if all.is_empty() {
            self.stage = Stage::New;
            return Step::Again;
        }
        Step::Have(Haul::Many(all))
    }

    fn open_all(&self, all: Vec<Taken<T>>) -> Vec<Fetched<T>> {
        let mut opening = Opening {
            fetch: self,
            fetched: Vec::with_capacity(all.len()),
            rest: all.into_iter(),
        };
        // Behind that, so that what goes back is whole again by then.
        let mut originals = Originals::new(&self.local);
        for taken in opening.rest.by_ref() {
            let fetched = self.open(taken, &mut originals);
            opening.fetched.extend(fetched);
        }
        std::mem::take(&mut opening.fetched)
    }

    /// The short way of a poll: for what is in memory and ready.
    pub(super) fn take_one(&self) -> Option<Option<T>> {
        let (local, want) = (&*self.local, self.want);
        if local.durable.is_some() {
            return None;
        }
        local.with(|inside, afterwards, now| {
            let item = inside.take_away(want, now)?;
            inside.settle(local, afterwards, now);
            Some(Some(item))
        })
    }

    /// The same for several.
    pub(super) fn take_many(&self) -> Option<Vec<T>> {
        let (local, want) = (&*self.local, self.want);
        if local.durable.is_some() {
            return None;
        }
        local.with(|inside, afterwards, now| {
            let first = inside.take_away(want, now)?;
            let mut items = Vec::with_capacity(want.max.min(inside.engine.stages.ready + 1));
            items.push(first);
            while items.len() < want.max
                && let Some(next) = inside.take_away(want, now)
            {
                items.push(next);
            }
            inside.settle(local, afterwards, now);
            Some(items)
        })
    }

    /// The short way to a lease: for what is in memory and ready.
    pub(super) fn lease_one(&self) -> Option<Option<Delivery<T>>> {
        let local = &*self.local;
        if local.durable.is_some() {
            return None;
        }
        let copy = self.copy?;
        let (plain, payload) = local.with(|inside, _, now| inside.lease_plain(self.want, now))?;
        let Payload::Live(original) = payload else {
            return None;
        };
        let mut originals = Originals::new(local);
        let item = originals.copy_of(plain.place, plain.token, original, copy);
        drop(originals);
        let receipt = Receipt::plain(&self.local, plain);
        Some(Some(Delivery::new(item, receipt)))
    }

    /// The same for several.
    pub(super) fn lease_many(&self) -> Option<Vec<Delivery<T>>> {
        let local = &*self.local;
        if local.durable.is_some() {
            return None;
        }
        let copy = self.copy?;
        let mut opening = Opening {
            fetch: self,
            fetched: Vec::new(),
            rest: Vec::new().into_iter(),
        };
        // Behind that, so that what goes back is whole again by then.
        let mut originals = Originals::new(local);
        let mut plains = Vec::new();
        local.with(|inside, _, now| {
            let most = self.want.max.min(inside.engine.stages.ready);
            plains.reserve(most);
            originals.reserve(most);
            while plains.len() < self.want.max
                && let Some((plain, payload)) = inside.lease_plain(self.want, now)
            {
                if let Payload::Live(original) = payload {
                    originals.keep(plain.place, plain.token, original);
                    plains.push(plain);
                }
            }
            if plains.is_empty() {
                return;
            }
            // From the first on of which there is more to know.
            let mut rest = Vec::new();
            while plains.len() + rest.len() < self.want.max
                && let Some(taken) = inside.take_one(local, self.want, now)
            {
                rest.push(taken);
            }
            opening.rest = rest.into_iter();
        });
        if plains.is_empty() {
            return None;
        }
        opening.fetched.reserve(plains.len());
        for (plain, item) in plains.into_iter().zip(originals.copies(copy)) {
            let receipt = Some(Receipt::plain(&self.local, plain));
            opening.fetched.push(Fetched { item, receipt });
        }
        for taken in opening.rest.by_ref() {
            let fetched = self.open(taken, &mut originals);
            opening.fetched.extend(fetched);
        }
        let fetched = std::mem::take(&mut opening.fetched);
        Some(fetched.into_iter().filter_map(Fetched::deliver).collect())
    }

    /// The item itself. `None` if it can't be made of its bytes: then it is set aside.
    fn open(&self, taken: Taken<T>, originals: &mut Originals<'_, T>) -> Option<Fetched<T>> {
        let local = &self.local;
        let (mut taken, payload) = taken.split();
        let item = match payload {
            Payload::Live(item) if taken.token == 0 => {
                return Some(Fetched {
                    item,
                    receipt: None,
                });
            }
            Payload::Live(original) => {
                // Without `copy` it was taken away, and has no token.
                originals.copy_of(taken.place, taken.token, original, self.copy?)
            }
            Payload::Stored(bytes) => {
                let durable = local.durable.as_ref()?;
                let dead = taken.extra.as_ref().and_then(|extra| extra.dead.as_deref());
                match durable.decode(bytes.as_deref().unwrap_or_default(), dead) {
                    Ok(item) => item,
                    Err(error) => {
                        local.set_aside(&taken, &error);
                        return None;
                    }
                }
            }
        };
        let receipt = Receipt::local(local, &mut taken);
        if let Mode::Take = self.want.mode {
            receipt.ack_soon();
            let receipt = None;
            return Some(Fetched { item, receipt });
        }
        Some(Fetched {
            item,
            receipt: Some(receipt),
        })
    }

    pub(super) fn hand_back(&self, haul: Haul<T>) {
        let local = &*self.local;
        local.with(|inside, afterwards, now| {
            inside.hand_back(haul, afterwards, now);
            inside.settle(local, afterwards, now);
        });
    }
}

/// The others can be read all the same.
fn is_of_one_record(error: &JournalError) -> bool {
    let kind = error.kind();
    matches!(kind, JournalErrorKind::Damaged | JournalErrorKind::NotFound)
}

enum Step<T: Send + 'static> {
    Wait,
    Again,
    Have(Haul<T>),
    End(Result<Catch<T>, Failure>),
}

impl<T: Send + 'static> Drop for LocalFetch<T> {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Waiting(id) => {
                let local = &*self.local;
                local.with(|inside, afterwards, now| {
                    let (left, idle) = inside.takers.remove(id);
                    afterwards.drop_waker(idle);
                    if let Some(Taker::Got(haul)) = left {
                        inside.hand_back(haul, afterwards, now);
                        inside.settle(local, afterwards, now);
                    }
                });
            }
            Stage::Reading(all, _) => self.hand_back(Haul::Many(all)),
            Stage::New | Stage::Done => {}
        }
    }
}
