//! Live counts, under virtual time and many schedules.

use callboard::System;
use callboard::testing;
use parking_lot::Mutex;

use super::*;

/// The counter, as far as it has come.
#[derive(Clone, Default)]
struct Counter(Arc<Mutex<Option<Counted>>>);

impl Counter {
    /// It has counted `count` views of the lesson, up to message `through`.
    fn at(&self, count: u64, through: u64) {
        let counts = [(LESSON.to_owned(), count)].into();
        *self.0.lock() = Some(Counted { counts, through });
    }

    fn away(&self) {
        *self.0.lock() = None;
    }

    fn count(&self) -> Count {
        let counter = self.clone();
        Box::new(move || {
            let counted = counter.0.lock().clone();
            Box::pin(async move { counted })
        })
    }
}

const LESSON: &str = "verdicts";

struct Set {
    system: System,
    live: Live,
    topic: Topic<Viewed>,
    counter: Counter,
}

impl Set {
    fn new(system: &System) -> Self {
        let counter = Counter::default();
        counter.at(0, 0);
        Set {
            system: system.clone(),
            live: Live::new(),
            topic: Topic::start(system, LESSON_VIEWED),
            counter,
        }
    }

    async fn watch(&self) -> Result<BoxStream<'static, Beat>, NoWatch> {
        self.live
            .watch(
                self.system.clock(),
                &self.topic,
                LESSON,
                self.counter.count(),
            )
            .await
    }

    /// Answers the number of the message.
    async fn view(&self, slug: &str) -> u64 {
        let slug = slug.to_owned();
        let published = self.topic.publish(LESSON_VIEWED, Viewed { slug }).await;
        published.unwrap().sequence
    }

    fn subscribers(&self) -> usize {
        self.topic.state().subscribers
    }
}

#[callboard::test(both)]
async fn a_count_now_and_with_each_view_of_this_lesson(system: System) {
    let set = Set::new(&system);
    set.counter.at(7, 0);
    let mut watched = set.watch().await.unwrap();
    assert_eq!(watched.next().await, Some(Beat::Views(7)));
    for views in 8..20 {
        set.view("another").await;
        set.view(LESSON).await;
        assert_eq!(watched.next().await, Some(Beat::Views(views)));
    }
    assert_eq!(Beat::Views(8).to_string(), "event: views\ndata: 8\n\n");
}

#[callboard::test(both)]
async fn a_view_that_is_counted_and_on_its_way_is_counted_once(system: System) {
    let set = Set::new(&system);
    let mut watched = set.watch().await.unwrap();
    // Two views before the first look: the counter has heard of one.
    let first = set.view(LESSON).await;
    set.view(LESSON).await;
    set.counter.at(1, first);
    let mut told = watched.next().await;
    if told == Some(Beat::Views(1)) {
        told = watched.next().await;
    }
    assert_eq!(told, Some(Beat::Views(2)));
}

#[callboard::test]
async fn silence_has_a_heartbeat_at_which_the_count_is_taken_anew(system: System) {
    let set = Set::new(&system);
    let mut watched = set.watch().await.unwrap();
    assert_eq!(watched.next().await, Some(Beat::Views(0)));
    let from = system.clock().now();
    assert_eq!(watched.next().await, Some(Beat::Still));
    assert_eq!(system.clock().now().since(from), HEARTBEAT);
    // The counter was started again, or knows better.
    set.counter.at(3, 0);
    assert_eq!(watched.next().await, Some(Beat::Views(3)));
    assert_eq!(system.clock().now().since(from), 2 * HEARTBEAT);
    assert!(Beat::Still.to_string().starts_with(':'), "a comment");
}

#[callboard::test(both)]
async fn one_that_does_not_keep_up_loses_messages_and_not_the_count(system: System) {
    let set = Set::new(&system);
    let mut watched = set.watch().await.unwrap();
    assert_eq!(watched.next().await, Some(Beat::Views(0)));
    let most = BUFFER as u64 * 3;
    for views in 1..=most {
        let through = set.view(LESSON).await;
        set.counter.at(views, through);
    }
    assert_eq!(watched.next().await, Some(Beat::Views(most)));
    let state = set.topic.state();
    assert_eq!(state.dropped, most - BUFFER as u64, "its buffer is bounded");
}

#[callboard::test(both)]
async fn while_the_counter_is_away_nothing_is_made_up(system: System) {
    let set = Set::new(&system);
    set.counter.away();
    let mut watched = set.watch().await.unwrap();
    assert!(watched.next().now_or_never().is_none());
    let through = set.view(LESSON).await;
    set.counter.at(5, through);
    // It is asked again with the next view.
    assert_eq!(watched.next().await, Some(Beat::Views(5)));
    set.counter.away();
    set.view(LESSON).await;
    assert_eq!(
        watched.next().await,
        Some(Beat::Views(6)),
        "what was known stays"
    );
}

#[callboard::test(both)]
async fn who_leaves_leaves_nothing_behind(system: System) {
    let set = Set::new(&system);
    let watched = set.watch().await.unwrap();
    let other = set.watch().await.unwrap();
    assert_eq!((set.live.watchers(), set.subscribers()), (2, 2));
    drop(watched);
    assert_eq!((set.live.watchers(), set.subscribers()), (1, 1));
    drop(other);
    assert_eq!((set.live.watchers(), set.subscribers()), (0, 0));
}

#[callboard::test(both)]
async fn there_is_room_for_so_many_and_no_more(system: System) {
    let set = Set::new(&system);
    let mut all = Vec::new();
    for _ in 0..WATCHERS {
        all.push(set.watch().await.unwrap());
    }
    assert_eq!(set.watch().await.err(), Some(NoWatch::Full));
    assert_eq!(set.subscribers(), WATCHERS, "who is refused leaves nothing");
    all.pop();
    assert!(set.watch().await.is_ok());
}

#[callboard::test(both)]
async fn they_end_with_the_platform_and_with_the_topic(system: System) {
    let set = Set::new(&system);
    let mut watched = set.watch().await.unwrap();
    assert_eq!(watched.next().await, Some(Beat::Views(0)));
    set.live.close();
    assert_eq!(watched.next().await, None);
    assert_eq!(set.watch().await.err(), Some(NoWatch::Stopping));

    let set = Set::new(&system);
    let mut watched = set.watch().await.unwrap();
    assert_eq!(watched.next().await, Some(Beat::Views(0)));
    set.topic.stop();
    assert_eq!(watched.next().await, None);
}

/// Whatever the counter has heard of when it is asked, a watcher that keeps up is told the true number.
#[callboard::test]
async fn however_far_behind_the_counter_is_the_number_is_right(system: System) {
    let set = Set::new(&system);
    let mut watched = set.watch().await.unwrap();
    assert_eq!(watched.next().await, Some(Beat::Views(0)));
    let entropy = system.entropy();
    let (mut heard, mut truth) = ((0, 0), vec![(0, 0)]);
    for step in 0..200 {
        match entropy.next_u64() % 4 {
            // The counter hears of some more.
            0 => {
                let ahead = truth.iter().filter(|(through, _)| *through >= heard.0);
                let ahead: Vec<(u64, u64)> = ahead.copied().collect();
                heard = ahead[entropy.next_u64() as usize % ahead.len()];
                set.counter.at(heard.1, heard.0);
            }
            // It is asked.
            1 => testing::advance(&system, HEARTBEAT / 2).await.unwrap(),
            2 => {
                let through = set.view("another").await;
                truth.push((through, truth[truth.len() - 1].1));
            }
            _ => {
                let through = set.view(LESSON).await;
                truth.push((through, truth[truth.len() - 1].1 + 1));
            }
        }
        if entropy.next_u64().is_multiple_of(3) {
            // It looks away for a moment.
            continue;
        }
        let mut last = None;
        while let Some(Some(beat)) = watched.next().now_or_never() {
            if beat != Beat::Still {
                last = Some(beat);
            }
        }
        if let Some(last) = last {
            assert_eq!(last, Beat::Views(truth[truth.len() - 1].1), "step {step}");
        }
    }
    assert!(truth[truth.len() - 1].1 > 10);
}
