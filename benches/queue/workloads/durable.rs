//! What is synced before it is answered: the same over every engine that runs in this process.
//!
//! One producer appends and syncs on its own thread. Sixty-four are tasks of one thread; a committer on a
//! thread of its own puts what waits into one append and one sync, and tells all who waited. That is how an
//! engine without group commit is used at its best, and with the raw append it is the limit.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use common::run::Result;
use common::stopwatch::Stopwatch;
use common::threads::{Layout, run_on_tokio};
use tokio::sync::oneshot;

use super::{BATCH, Run, thousands};
use crate::item::Item;
use common::folder::Folder;

/// A store on disk that is used from one thread at a time.
pub(crate) trait Engine: Sized + Send + 'static {
    /// Opens it in an empty folder.
    fn open(folder: &Path) -> Result<Self>;

    /// Puts the items behind what is there. They are synced when it returns.
    fn put(&mut self, items: &[Item]) -> Result<()>;

    /// Takes the oldest items, at most a batch, and keeps in mind that they are taken. That is synced when it
    /// returns. The order is that in which they were put.
    fn take(&mut self, items: &mut Vec<Item>) -> Result<()>;

    /// How many items are there.
    fn stored(&mut self) -> Result<u64>;
}

/// How the committer waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gather {
    /// It takes what waits as soon as something does.
    Nothing,
    /// It waits for those whom it has just answered: at most that long.
    UpTo(Duration),
}

/// One producer on the engine's own thread.
pub(crate) fn offer_one<E: Engine>(run: &Run) -> Result<Vec<f64>> {
    let folder = Folder::new(&run.folder)?;
    let mut engine = E::open(folder.path())?;
    engine.put(&[Item::new(0)])?;
    let mut count = 0;
    let begin = Stopwatch::start();
    while begin.elapsed() < run.span {
        count += 1;
        engine.put(&[Item::new(count)])?;
    }
    let elapsed = begin.elapsed();
    check(engine.stored()?, count + 1)?;
    Ok(vec![thousands(count, elapsed)])
}

/// Producers that are tasks of one thread, and a committer.
pub(crate) fn offer_many<E: Engine>(
    producers: usize,
    gather: Gather,
    run: &Run,
) -> Result<Vec<f64>> {
    let folder = Folder::new(&run.folder)?;
    let mut engine = E::open(folder.path())?;
    engine.put(&[Item::new(0)])?;
    let line = Arc::new(Line::default());
    let committer = thread::spawn({
        let line = Arc::clone(&line);
        move || commit(engine, &line, gather)
    });
    let span = run.span;
    let (count, elapsed) = run_on_tokio(Layout::OneThread, {
        let line = Arc::clone(&line);
        move |_| async move {
            let begin = Stopwatch::start();
            let producers: Vec<_> = (0..producers)
                .map(|_| tokio::spawn(produce(Arc::clone(&line), begin, span)))
                .collect();
            let mut count = 0;
            for producer in producers {
                count += producer.await.expect("the producer ends");
            }
            (count, begin.elapsed())
        }
    });
    line.end();
    let engine = committer.join().map_err(|_| "the committer panicked")?;
    check(engine?.stored()?, count + 1)?;
    Ok(vec![thousands(count, elapsed)])
}

async fn produce(line: Arc<Line>, begin: Stopwatch, span: Duration) -> u64 {
    let mut count = 0;
    while begin.elapsed() < span {
        let (answer, answered) = oneshot::channel();
        line.put(Item::new(count), answer);
        if answered.await.is_err() {
            // The committer failed; its error is reported when it is joined.
            break;
        }
        count += 1;
    }
    count
}

/// Those who wait for a sync.
#[derive(Default)]
struct Line {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    items: Vec<Item>,
    answers: Vec<oneshot::Sender<()>>,
    ended: bool,
}

impl Line {
    fn put(&self, item: Item, answer: oneshot::Sender<()>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.ended {
            return;
        }
        waiting.items.push(item);
        waiting.answers.push(answer);
        let first = waiting.items.len() == 1;
        drop(waiting);
        if first {
            self.changed.notify_one();
        }
    }

    fn end(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.ended = true;
        // Their producers are told by that.
        waiting.answers.clear();
        drop(waiting);
        self.changed.notify_one();
    }

    fn len(&self) -> usize {
        let waiting = self.waiting.lock();
        waiting.unwrap_or_else(PoisonError::into_inner).items.len()
    }

    /// What waits, in exchange for empty buffers. Nothing at the end.
    fn take(&self, items: &mut Vec<Item>, answers: &mut Vec<oneshot::Sender<()>>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while waiting.items.is_empty() && !waiting.ended {
            let woken = self.changed.wait(waiting);
            waiting = woken.unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(items, &mut waiting.items);
        std::mem::swap(answers, &mut waiting.answers);
    }
}

/// Gives the engine back when the line has ended.
fn commit<E: Engine>(mut engine: E, line: &Line, gather: Gather) -> Result<E> {
    let (mut items, mut answers) = (Vec::new(), Vec::new());
    loop {
        line.take(&mut items, &mut answers);
        if items.is_empty() {
            return Ok(engine);
        }
        if let Err(error) = engine.put(&items) {
            line.end();
            return Err(error);
        }
        let answered = answers.len();
        let others = line.len();
        for answer in answers.drain(..) {
            // Nobody waits only if the run was given up.
            let _ = answer.send(());
        }
        items.clear();
        if let Gather::UpTo(most) = gather
            && answered + others > 1
        {
            let begin = Stopwatch::start();
            while line.len() < answered + others && begin.elapsed() < most {
                thread::yield_now();
            }
        }
    }
}

/// One consumer that takes batches, each synced.
pub(crate) fn take<E: Engine>(run: &Run) -> Result<Vec<f64>> {
    let folder = Folder::new(&run.folder)?;
    let mut engine = E::open(folder.path())?;
    let count = run.stored();
    let numbers: Vec<Item> = (0..count).map(Item::new).collect();
    for items in numbers.chunks(1_024) {
        engine.put(items)?;
    }
    let mut items = Vec::with_capacity(BATCH);
    let mut taken = 0;
    let begin = Stopwatch::start();
    while taken < count && begin.elapsed() < run.span {
        engine.take(&mut items)?;
        check_order(&items, taken)?;
        taken += items.len() as u64;
        items.clear();
    }
    let elapsed = begin.elapsed();
    check(engine.stored()?, count - taken)?;
    Ok(vec![thousands(taken, elapsed)])
}

/// That a batch is there and holds the items from that number on.
pub(crate) fn check_order(items: &[Item], first: u64) -> Result<()> {
    if items.is_empty() {
        return Err(format!("nothing is there in place of item {first}").into());
    }
    for (item, number) in items.iter().zip(first..) {
        if item.number() != number {
            return Err(format!("{item:?} in place of {number}").into());
        }
    }
    Ok(())
}

/// That what was answered is there, no less and no more.
pub(crate) fn check(stored: u64, answered: u64) -> Result<()> {
    if stored != answered {
        return Err(format!("{stored} items are stored where {answered} should be").into());
    }
    Ok(())
}
