//! A request through a queue: the answer comes to a queue that ends with whoever asked.
//!
//! The sixth of RabbitMQ's tutorials. Chapter 9 of the guide is cut from this file.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use callboard::prelude::*;
use callboard::queue::{Consuming, Delivery, Queue, TemporaryQueue};
use callboard::{Failure, FailureKind};

// ANCHOR: server
/// Which Fibonacci number?
type Question = u8;
/// To which request, and the answer.
type Answer = (RequestKey, u64);

/// Answers wherever the answer is wanted, and acknowledges the question after that.
async fn answer(question: &Delivery<Question>) -> Result<(), Failure> {
    let (Some(key), Some(replies)) = (question.key(), question.reply_to::<Answer>()) else {
        return Ok(()); // nobody wants to know
    };
    let fibonacci = (0..*question.item()).fold((0, 1), |(a, b), _| (b, a + b)).0;
    // With its key: an answer that is offered again, because the question came again, is stored once.
    let offered = replies.offer((key, fibonacci)).key(key).await;
    match offered {
        Err(error) if error.kind() != FailureKind::Stopped => Err(error.into()),
        _ => Ok(()), // a client that has gone is no failure of ours
    }
}

fn serve(system: &System, questions: &Queue<Question>) -> Consuming {
    questions.consume(system, 2, answer)
}
// ANCHOR_END: server

/// What happens, told to `out`.
// ANCHOR: story
pub async fn story(system: System, out: &mut impl Write) -> callboard::Result<()> {
    let questions: Queue<Question> = system.queue("fibonacci").open()?;

    // The queue for answers has no name that anybody could guess, and ends when `replies` is dropped.
    let replies = TemporaryQueue::start(&system, 16);
    let mut asked: BTreeMap<RequestKey, Question> = BTreeMap::new();
    for n in [10, 30, 90] {
        let key = RequestKey::new();
        asked.insert(key, n);
        questions.offer(n).key(key).reply_to(&replies).await?;
    }
    let waiting = questions.state().await?.len;
    writeln!(out, "{waiting} questions wait for a server")?;

    // The server comes later, and the questions are still there.
    let server = serve(&system, &questions);
    let mut answered: BTreeMap<Question, u64> = BTreeMap::new();
    while answered.len() < asked.len() {
        let patience = Duration::from_secs(10);
        let (key, fibonacci) = replies
            .poll()
            .deadline(patience)
            .await?
            .ok_or("no answer")?;
        answered.extend(asked.get(&key).map(|n| (*n, fibonacci))); // whose answer is this?
    }
    for (n, fibonacci) in answered {
        writeln!(out, "fibonacci({n}) = {fibonacci}")?;
    }

    // This one asks, and goes. Its question is answered to nobody, and is no question any more.
    let impatient = TemporaryQueue::<Answer>::start(&system, 1);
    let key = RequestKey::new();
    questions
        .offer(50)
        .key(key)
        .reply_to(&impatient)
        .delay(Duration::from_millis(5))
        .await?;
    drop(impatient);
    while questions.state().await?.settled < 4 {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    server.stop().await;
    let state = questions.state().await?;
    writeln!(
        out,
        "asked {}, failed {}, left {}",
        state.offered, state.failed, state.len
    )?;
    Ok(())
}
// ANCHOR_END: story

/// The whole program.
pub fn run(out: &mut impl Write) -> callboard::Result<()> {
    callboard::run(|system| story(system, out))?
}

fn main() -> callboard::Result<()> {
    run(&mut std::io::stdout())
}
