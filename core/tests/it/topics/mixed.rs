//! G27 to G29 together against a model: subscribers of all policies, from replays, retained values, durable positions
//! and from now on, that come, read and go while messages are published to several subjects.

use std::time::Duration;

use callboard::topic::{
    Origin, Replay, SlowSubscriber, Subscription, Topic, TopicEvent, TopicOptions,
};
use callboard::{Simulation, System};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use proptest::prelude::*;
use proptest::sample::Index;

use super::common::{Owed, options};

const SUBJECTS: [&str; 4] = ["a", "a.b", "a.c", "b.c"];
const PATTERNS: [&str; 5] = [">", "a.*", "*.c", "a", "b.>"];

/// Which of the subjects a pattern matches.
fn matches(pattern: usize, subject: usize) -> bool {
    [
        [true, true, true, true],
        [false, true, true, false],
        [false, false, true, true],
        [true, false, false, false],
        [false, false, false, true],
    ][pattern][subject]
}

struct Reader {
    pattern: usize,
    subscription: Subscription<u64>,
    owed: Owed,
    /// The name, if it is durable, and the last number that it got.
    durable: Option<usize>,
    last: u64,
}

impl Reader {
    fn read(&mut self) -> bool {
        let Some(Some(event)) = self.subscription.next().now_or_never() else {
            return false;
        };
        if let TopicEvent::Message(message) = &event {
            assert_eq!(**message, message.sequence());
            assert_eq!(SUBJECTS[subject_of(**message)], message.subject());
            if message.origin() == Origin::Retained {
                return true;
            }
        }
        self.owed.take(&event);
        self.last = event.range().1;
        true
    }
}

/// What the message of that number is published to: any rule will do.
fn subject_of(sequence: u64) -> usize {
    usize::try_from((sequence * 7 + sequence / 5) % 4).unwrap()
}

type Publishing<'a> = BoxFuture<'a, ()>;

#[derive(Debug, Clone)]
struct Step {
    what: u8,
    pattern: usize,
    policy: usize,
    capacity: usize,
    index: Index,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..16_u8, 0..5_usize, 0..4_usize, 1..5_usize, any::<Index>()).prop_map(
        |(what, pattern, policy, capacity, index)| Step {
            what,
            pattern,
            policy,
            capacity,
            index,
        },
    );
    proptest::collection::vec(step, 1..150)
}

struct Model {
    history: usize,
    published: u64,
    readers: Vec<Reader>,
    /// By name: what was acknowledged, and whether somebody holds it.
    durables: [Option<(u64, bool)>; 2],
}

impl Model {
    fn publish<'a>(&mut self, topic: &'a Topic<u64>, may_wait: bool) -> Publishing<'a> {
        self.published += 1;
        let sequence = self.published;
        let subject = subject_of(sequence);
        let mut matched = 0;
        for reader in &mut self.readers {
            if matches(reader.pattern, subject) {
                matched += 1;
                reader.owed.add(sequence);
            }
        }
        let unheld = self.durables.iter().flatten().filter(|(_, held)| !held);
        let unheld = if matches(1, subject) {
            unheld.count()
        } else {
            0
        };
        let publish = topic.publish(SUBJECTS[subject], sequence);
        let publish = match may_wait {
            true => publish,
            false => publish.deadline(Duration::ZERO),
        };
        async move {
            let published = publish.retain().await.unwrap();
            assert_eq!(
                (published.sequence, published.matched),
                (sequence, matched + unheld)
            );
        }
        .boxed()
    }

    async fn subscribe(&mut self, topic: &Topic<u64>, step: &Step) {
        let wait = SlowSubscriber::Wait(Duration::from_secs(3_600));
        let policy = [
            SlowSubscriber::DropOldest,
            SlowSubscriber::DropNewest,
            wait,
            SlowSubscriber::DropOldest,
        ][step.policy];
        let from = 1 + step
            .index
            .index(usize::try_from(self.published).unwrap() + 1) as u64;
        let options = options(step.capacity, policy);
        let mut subscribe = topic.subscribe(PATTERNS[step.pattern], options);
        let mut owed_from = self.published + 1;
        match step.what % 3 {
            0 => {}
            1 => {
                subscribe = subscribe.from(Replay::Sequence(from));
                owed_from = from;
            }
            _ => subscribe = subscribe.with_retained(),
        }
        let subscription = subscribe.await.unwrap();
        self.readers
            .push(self.reader(step.pattern, subscription, owed_from, None));
    }

    fn reader(
        &self,
        pattern: usize,
        subscription: Subscription<u64>,
        from: u64,
        durable: Option<usize>,
    ) -> Reader {
        let mut owed = Owed::default();
        (from..=self.published)
            .filter(|sequence| matches(pattern, subject_of(*sequence)))
            .for_each(|sequence| owed.add(sequence));
        Reader {
            pattern,
            subscription,
            owed,
            durable,
            last: from - 1,
        }
    }

    async fn hold(&mut self, topic: &Topic<u64>, step: &Step) {
        let number = step.policy % 2;
        let name = ["one", "two"][number];
        let options = options(step.capacity, SlowSubscriber::DropNewest);
        let held = topic.subscribe(PATTERNS[1], options).durable(name).await;
        match self.durables[number] {
            Some((_, true)) => assert!(held.is_err(), "one holder at a time"),
            before => {
                let acked = before.map_or(self.published, |(acked, _)| acked);
                self.durables[number] = Some((acked, true));
                let reader = self.reader(1, held.unwrap(), acked + 1, Some(number));
                self.readers.push(reader);
            }
        }
    }

    fn acknowledge(&mut self, at: usize) {
        let reader = &self.readers[at];
        if let Some(Some((acked, _))) = reader.durable.map(|number| &mut self.durables[number]) {
            reader.subscription.acknowledge_to(reader.last).unwrap();
            *acked = (*acked).max(reader.last);
        }
    }

    fn leave(&mut self, at: usize) {
        let reader = self.readers.swap_remove(at);
        if let Some(Some((_, held))) = reader.durable.map(|number| &mut self.durables[number]) {
            *held = false;
        }
    }
}

async fn run(system: System, history: usize, steps: Vec<Step>) {
    let kept = TopicOptions::new().history(history);
    let topic = Topic::start_with(&system, "t", kept);
    let mut model = Model {
        history,
        published: 0,
        readers: Vec::new(),
        durables: [None; 2],
    };
    let mut waiting: Vec<Publishing<'_>> = Vec::new();
    for step in steps {
        match step.what {
            0..=5 => {
                let mut publishing = model.publish(&topic, step.what > 1);
                if (&mut publishing).now_or_never().is_none() {
                    waiting.push(publishing);
                }
            }
            6..=8 => model.subscribe(&topic, &step).await,
            9 => model.hold(&topic, &step).await,
            10 if !waiting.is_empty() => drop(waiting.swap_remove(step.index.index(waiting.len()))),
            _ if model.readers.is_empty() => {}
            11 => model.leave(step.index.index(model.readers.len())),
            12 => model.acknowledge(step.index.index(model.readers.len())),
            _ => {
                let at = step.index.index(model.readers.len());
                model.readers[at].read();
            }
        }
        waiting.retain_mut(|publishing| publishing.now_or_never().is_none());
        let state = topic.state();
        assert_eq!(state.published, model.published);
        assert_eq!(state.subscribers, model.readers.len());
        assert!(state.kept <= model.history);
    }
    // Readers that make publishers wait let the next in as they read.
    for reader in &mut model.readers {
        while reader.read() {}
        reader.owed.assert_none();
    }
    for publishing in waiting {
        assert!(
            publishing.now_or_never().is_some(),
            "nobody is waited for any more"
        );
    }
}

proptest! {
    #[test]
    fn g29_every_subscriber_gets_every_number_once_or_in_a_gap(
        history in 1..30_usize,
        steps in steps(),
    ) {
        let mut simulation = Simulation::new(1);
        let system = simulation.system().clone();
        simulation.block_on(run(system, history, steps));
    }
}
