//! What a supervised tell costs beside a bare one: the same actor twice, once under a supervisor, told in turn.

use callboard::{Actor, ActorRef, Context, Handler, Message, Overflow};

use common::results::Spread;
use common::size::{Size, millions};
use common::stopwatch::Stopwatch;
use common::tally::{Finish, Tally};
use common::threads::Layout;

use super::super::CAPACITY;
use super::{Stage, Supervised, on_system, supervisor};

struct Counter {
    tally: Tally,
}

struct Add(u64);
impl Message for Add {
    type Reply = u64;
}

struct Expect(Tally);
impl Message for Expect {
    type Reply = ();
}

impl Actor for Counter {}

impl Handler<Add> for Counter {
    async fn handle(&mut self, Add(value): Add, _ctx: &mut Context<Self>) -> u64 {
        self.tally.add(value)
    }
}

impl Handler<Expect> for Counter {
    async fn handle(&mut self, Expect(tally): Expect, _ctx: &mut Context<Self>) {
        self.tally = tally;
    }
}

/// How often the two take turns.
const ROUNDS: usize = 21;

/// Answers the medians over all turns: millions of tells a second to the bare one and to the supervised one, and the
/// second through the first right beside it.
pub(crate) fn tells(layout: Layout, size: Size) -> Vec<f64> {
    on_system(layout, Supervised::OneForOne, move |stage| async move {
        let share = size.pick(200_000, 10_000);
        let counter = || Counter {
            tally: Tally::endless(),
        };
        let spawn = |stage: &Stage| {
            let spawn = stage.system.actor(counter);
            let spawn = spawn.mailbox(CAPACITY, Overflow::Wait);
            spawn.placement(stage.children)
        };
        let bare = spawn(&stage).start();
        let (supervised, place) = spawn(&stage).place();
        let tree = supervisor().child(place).start(&stage.system);
        let tree = tree.expect("it makes sense");
        tree.up().await.expect("it comes up");

        // Each once before anything counts.
        tell_all(&bare, share).await;
        tell_all(&supervised, share).await;
        let mut rates = [Vec::new(), Vec::new()];
        for round in 0..ROUNDS {
            let mut both = [(0, &bare), (1, &supervised)];
            if round % 2 == 1 {
                both.reverse();
            }
            for (which, counter) in both {
                rates[which].push(tell_all(counter, share).await);
            }
        }
        let [bare_rates, supervised_rates] = rates;
        let pairs = supervised_rates.iter().zip(&bare_rates);
        let shares: Vec<f64> = pairs.map(|(one, other)| one / other).collect();
        let figures = [bare_rates, supervised_rates, shares].map(|all| median(&all));

        tree.stop();
        assert!(tree.wait().await.is_normal());
        bare.stop();
        assert!(bare.wait().await.is_normal());
        figures.to_vec()
    })
}

/// Millions a second until the actor has counted so many tells.
async fn tell_all(counter: &ActorRef<Counter>, count: u64) -> f64 {
    let (finish, finished, _) = Finish::new(1);
    let expected = Expect(Tally::of(count, &finish));
    counter.ask(expected).await.expect("it lives");
    let begin = Stopwatch::start();
    for value in 0..count {
        counter.tell(Add(value)).await.expect("it lives");
    }
    let sum = finished.await.expect("it reports");
    let elapsed = begin.elapsed();
    assert_eq!(sum, count * (count - 1) / 2, "messages lost or doubled");
    millions(count, elapsed)
}

fn median(values: &[f64]) -> f64 {
    Spread::of(values).expect("there are some").median
}
