//! What runs beside an actor and ends with its incarnation: tasks, timers, streams.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{AbortHandle, AbortRegistration, Abortable};
use futures::{FutureExt, Stream, StreamExt};

use super::Context;
use crate::actor::{Actor, Receives};
use crate::boundary::Verdict;
use crate::error::{Failure, FailureKind};
use crate::message::Message;
use crate::panics::panic_text;
use crate::stamp;
use crate::streamed::{AnswerSink, AnswerStream, answer_stream};

impl<A: Actor> Context<A> {
    /// Sends this actor a message after `span`. It takes its turn behind what is queued by then, and
    /// waits for room like any other.
    ///
    /// The timer ends with this incarnation, or when cancelled.
    pub fn tell_after<M, How>(&mut self, span: Duration, message: M) -> TaskHandle
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        let me = self.me();
        let due = self.sleep(span);
        self.spawn(async move {
            due.await;
            me.tell_or_bury(message).await;
        })
    }

    /// Sends this actor what `make` makes, every `period`, the first after one period.
    ///
    /// A tick is never queued behind an unhandled one for which there was no room: under a flood ticks
    /// get fewer, not later and later.
    pub fn tell_every<M, How>(
        &mut self,
        period: Duration,
        mut make: impl FnMut() -> M + 'static,
    ) -> TaskHandle
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        let me = self.me();
        let clock = self.system().clock().clone();
        self.spawn(async move {
            let mut due = clock.now() + period;
            loop {
                clock.sleep_until(due).await;
                if !me.tell_or_bury(make()).await {
                    return;
                }
                due = (due + period).max(clock.now());
            }
        })
    }

    /// Sends this actor the result of a future as a message, so that the actor goes on meanwhile: Akka's
    /// "pipe to self". The future ends with this incarnation, or when cancelled; then nothing is sent, and
    /// nothing if it panics (which is counted). What can fail says so in its result:
    ///
    /// ```
    /// # extern crate callboard_core as callboard;
    /// # use callboard_core::{Actor, Context, Handler, Message, Simulation};
    /// # async fn fetch(page: u32) -> Result<String, String> { Ok(format!("page {page}")) }
    /// #[derive(Message)]
    /// struct Load(u32);
    /// #[derive(Message)]
    /// struct Loaded(Result<String, String>);
    /// #[derive(Message)]
    /// #[message(reply = usize)]
    /// struct Count;
    ///
    /// #[derive(Default)]
    /// struct Shelf(Vec<String>);
    /// impl Actor for Shelf {}
    /// impl Handler<Load> for Shelf {
    ///     async fn handle(&mut self, Load(page): Load, ctx: &mut Context<Self>) {
    ///         ctx.pipe(async move { Loaded(fetch(page).await) });
    ///     }
    /// }
    /// impl Handler<Loaded> for Shelf {
    ///     async fn handle(&mut self, Loaded(page): Loaded, _: &mut Context<Self>) {
    ///         self.0.extend(page);
    ///     }
    /// }
    /// # impl Handler<Count> for Shelf {
    /// #     async fn handle(&mut self, _: Count, _: &mut Context<Self>) -> usize { self.0.len() }
    /// # }
    /// # Simulation::new(1).block_on(async {
    /// # let shelf = Shelf::default().start()?;
    /// # shelf.tell(Load(7)).await?;
    /// # while shelf.ask(Count).await? == 0 {}
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn pipe<M, How>(&mut self, future: impl Future<Output = M> + 'static) -> TaskHandle
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        let me = self.me();
        self.spawn(async move {
            let message = future.await;
            me.tell_or_bury(message).await;
        })
    }

    /// Sends this actor each item of a stream as a message, in order. An item is taken only when the one before
    /// has found room in the mailbox (back-pressure). To learn of the stream's end, chain a last item to it.
    ///
    /// It ends with the stream, with this incarnation, when the actor takes no more messages, or when cancelled.
    pub fn attach<M, How>(&mut self, stream: impl Stream<Item = M> + 'static) -> TaskHandle
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        let me = self.me();
        self.spawn(async move {
            let mut stream = pin!(stream);
            while let Some(message) = stream.next().await {
                if !me.tell_or_bury(message).await {
                    return;
                }
            }
        })
    }

    /// An answer in many parts: `produce` runs beside the actor and sends them, no further ahead than `capacity`
    /// (at least 1). The message says so in its type, `#[message(reply = AnswerStream<T>)]`, and what this
    /// returns is the answer.
    ///
    /// `produce` is dropped when the asker drops its stream, and with this incarnation; then, or when it fails
    /// or panics, the last item is the failure.
    ///
    /// ```
    /// # extern crate callboard_core as callboard;
    /// # use callboard_core::{Actor, AnswerStream, Context, Handler, Message, Simulation};
    /// # use futures::TryStreamExt;
    /// #[derive(Message)]
    /// #[message(reply = AnswerStream<u64>)]
    /// struct Squares(u64);
    ///
    /// struct Maths;
    /// impl Actor for Maths {}
    /// impl Handler<Squares> for Maths {
    ///     async fn handle(&mut self, Squares(end): Squares, ctx: &mut Context<Self>) -> AnswerStream<u64> {
    ///         ctx.stream(4, async move |sink| {
    ///             for n in 0..end {
    ///                 sink.send(n * n).await?;
    ///             }
    ///             Ok(())
    ///         })
    ///     }
    /// }
    /// Simulation::new(1).block_on(async {
    ///     let squares = Maths.start()?.ask(Squares(5)).await?;
    ///     let squares: Vec<_> = squares.try_collect().await?;
    ///     assert_eq!(squares, [0, 1, 4, 9, 16]);
    ///     Ok::<(), Box<dyn std::error::Error>>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn stream<T: Send + 'static>(
        &mut self,
        capacity: usize,
        produce: impl AsyncFnOnce(&mut AnswerSink<T>) -> Result<(), Failure> + 'static,
    ) -> AnswerStream<T> {
        let (mut sink, mut stream) = answer_stream(capacity);
        // Dropped without an end, the task was dropped with its actor.
        sink.break_off_as(FailureKind::Stopped);
        let system = self.system().clone();
        let task = self.spawn(async move {
            let produced = AssertUnwindSafe(produce(&mut sink)).catch_unwind().await;
            match produced {
                Ok(Ok(())) => sink.finish(),
                Ok(Err(failure)) => sink.fail(failure),
                Err(payload) => {
                    system.counters().count_panic();
                    let failure = Failure::new(FailureKind::Panicked, Verdict::Executed);
                    sink.fail(failure.with_detail(panic_text(payload.as_ref())));
                }
            }
        });
        stream.cancel_with(task);
        stream
    }

    /// Runs a future beside the actor, on its thread, until it ends, is cancelled, or this incarnation
    /// ends. A panic in it ends it alone, and is counted. It goes on in the span of the message in hand, if
    /// somebody listens to those.
    ///
    /// What it asks isn't asked by this actor: it inherits no deadline, and can't be part of a cycle.
    pub fn spawn(&mut self, future: impl Future<Output = ()> + 'static) -> TaskHandle {
        let tasks = self.rare().tasks.clone();
        let (number, handle, registration) = tasks.add();
        let cell = Arc::clone(&self.cell);
        let future = AssertUnwindSafe(stamp::carry(future));
        let task = Abortable::new(future.catch_unwind(), registration);
        let home = Arc::clone(self.cell.home());
        home.spawn_here(Box::pin(async move {
            if let Ok(Err(_)) = task.await {
                cell.system().counters().count_panic();
                tracing::warn!(target: "callboard::actor", actor = %cell.label(), "a task panicked");
            }
            tasks.remove(number);
        }));
        TaskHandle { handle }
    }
}

/// A task of an actor: a future, a timer, a stream. Dropping it changes nothing; the task goes on.
#[derive(Debug, Clone)]
pub struct TaskHandle {
    handle: AbortHandle,
}

impl TaskHandle {
    /// Ends it. A message that is in the mailbox already stays there.
    pub fn cancel(&self) {
        self.handle.abort();
    }

    /// Whether it was [cancelled](TaskHandle::cancel), or ended with its incarnation before it was done.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.handle.is_aborted()
    }
}

/// The tasks of one incarnation.
#[derive(Clone, Default)]
pub(super) struct Tasks(Rc<RefCell<TaskTable>>);

#[derive(Default)]
struct TaskTable {
    next: u64,
    running: BTreeMap<u64, AbortHandle>,
}

impl Tasks {
    fn add(&self) -> (u64, AbortHandle, AbortRegistration) {
        let (handle, registration) = AbortHandle::new_pair();
        let mut table = self.0.borrow_mut();
        table.next += 1;
        let number = table.next;
        table.running.insert(number, handle.clone());
        (number, handle, registration)
    }

    fn remove(&self, number: u64) {
        self.0.borrow_mut().running.remove(&number);
    }

    pub(super) fn cancel_all(&self) {
        let running = std::mem::take(&mut self.0.borrow_mut().running);
        running.into_values().for_each(|handle| handle.abort());
    }
}
