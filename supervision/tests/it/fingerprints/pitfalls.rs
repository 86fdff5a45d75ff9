//! What goes wrong with fingerprints, each by a test. (What has to do with the canonical form alone is tested in
//! core, `g19_pitfall_...`.)

use std::time::Duration;

use callboard::{Actor, ActorRef, Context, Fingerprint, Handler, Message, RequestKey, System};
use callboard_supervision::{Dedup, FINGERPRINT_WINDOW};

use super::{Bench, Then, Till, charge, on_behalf};
use crate::common::ms;

/// Nobody is told that the second "add 1" was not done; its answer is the first one's.
#[callboard::test(both)]
async fn g19_pitfall_equal_calls_that_are_meant_twice(system: System) {
    #[derive(Message, Fingerprint)]
    #[message(reply = u64)]
    struct Add(u64);
    #[derive(Message, Fingerprint)]
    #[message(reply = u64)]
    struct NumberedAdd {
        number: u64,
        amount: u64,
    }
    struct Counter(u64);
    impl Actor for Counter {}
    impl Handler<Add> for Counter {
        async fn handle(&mut self, Add(amount): Add, _: &mut Context<Self>) -> u64 {
            self.0 += amount;
            self.0
        }
    }
    impl Handler<NumberedAdd> for Counter {
        async fn handle(&mut self, add: NumberedAdd, _: &mut Context<Self>) -> u64 {
            self.0 += add.amount;
            self.0
        }
    }

    let add = Dedup::<Add>::builder_fingerprint(&system)
        .by_fingerprint(FINGERPRINT_WINDOW)
        .build();
    let numbered = Dedup::builder_fingerprint(&system)
        .by_fingerprint(FINGERPRINT_WINDOW)
        .build();
    let spawn = system.actor(|| Counter(0)).admission(add.clone());
    let counter = spawn.admission::<NumberedAdd>(numbered).start();
    assert_eq!(counter.ask(Add(1)).await.unwrap(), 1);
    assert_eq!(
        counter.ask(Add(1)).await.unwrap(),
        1,
        "meant twice, done once"
    );
    counter.tell(Add(1)).await.unwrap();
    assert_eq!(
        add.stats().by_fingerprint.answered,
        2,
        "a tell is gone without a word"
    );
    // What helps: keys, or a number that says which one it is.
    for sum in 2..=3 {
        assert_eq!(
            counter.ask(Add(1)).key(RequestKey::new()).await.unwrap(),
            sum
        );
    }
    for (number, sum) in [(1, 4), (2, 5), (2, 5)] {
        assert_eq!(
            counter
                .ask(NumberedAdd { number, amount: 1 })
                .await
                .unwrap(),
            sum
        );
    }
}

/// With a timestamp in it nothing is ever like anything, and only the numbers show it.
#[callboard::test]
async fn g19_pitfall_a_timestamp_that_is_not_left_out(system: System) {
    #[derive(Message, Fingerprint)]
    #[message(reply = u64)]
    struct Pay {
        cents: u64,
        sent_at: Duration,
    }
    struct Bank(u64);
    impl Actor for Bank {}
    impl Handler<Pay> for Bank {
        async fn handle(&mut self, pay: Pay, _: &mut Context<Self>) -> u64 {
            self.0 += pay.cents;
            self.0
        }
    }
    let dedup = Dedup::<Pay>::builder_fingerprint(&system)
        .by_fingerprint(FINGERPRINT_WINDOW)
        .build();
    let bank = system.actor(|| Bank(0)).admission(dedup.clone()).start();
    for attempt in 1..=3 {
        let pay = Pay {
            cents: 100,
            sent_at: system.clock().unix(),
        };
        assert_eq!(bank.ask(pay).await.unwrap(), 100 * attempt, "paid again");
        system.clock().sleep(ms(10)).await;
    }
    let prints = dedup.stats().by_fingerprint;
    assert_eq!((prints.started, prints.joined, prints.answered), (3, 0, 0));
}

/// In a process nobody has a principal: two who want the same are one.
#[callboard::test(both)]
async fn g19_pitfall_callers_without_a_name_are_one(system: System) {
    #[derive(Message)]
    #[message(reply = usize)]
    struct Buy;
    /// A caller among others, each of whom pays for itself.
    struct Customer(ActorRef<Till>, Option<&'static str>);
    impl Actor for Customer {}
    impl Handler<Buy> for Customer {
        async fn handle(&mut self, Buy: Buy, _: &mut Context<Self>) -> usize {
            let ask = self.0.ask(charge(1.0, Then::Answer));
            let ask = match self.1 {
                Some(name) => on_behalf(ask, name),
                None => ask,
            };
            ask.await.unwrap()
        }
    }
    let bench = Bench::new(&system);
    let buy = |name| {
        let till = bench.till.clone();
        let customer = system.actor(move || Customer(till.clone(), name)).start();
        async move { customer.ask(Buy).await.unwrap() }
    };
    assert_eq!(
        (buy(None).await, buy(None).await),
        (1, 1),
        "the second one never paid"
    );
    assert_eq!((buy(Some("ann")).await, buy(Some("ben")).await), (2, 3));
}

/// Within the window the answer is what it was, whatever happened since.
#[callboard::test(both)]
async fn g19_pitfall_the_world_moves_on(system: System) {
    #[derive(Message, Fingerprint)]
    #[message(reply = bool)]
    struct Set(bool);
    struct Lamp(bool);
    impl Actor for Lamp {}
    impl Handler<Set> for Lamp {
        async fn handle(&mut self, Set(on): Set, _: &mut Context<Self>) -> bool {
            self.0 = on;
            self.0
        }
    }
    #[derive(Message)]
    #[message(reply = bool)]
    struct IsOn;
    impl Handler<IsOn> for Lamp {
        async fn handle(&mut self, IsOn: IsOn, _: &mut Context<Self>) -> bool {
            self.0
        }
    }
    let dedup = Dedup::builder_fingerprint(&system)
        .by_fingerprint(FINGERPRINT_WINDOW)
        .build();
    let lamp = system.actor(|| Lamp(false)).admission::<Set>(dedup).start();
    for on in [true, false, true] {
        assert_eq!(lamp.ask(Set(on)).await.unwrap(), on, "so it is said");
    }
    assert!(
        !lamp.ask(IsOn).await.unwrap(),
        "and so it isn't: the second `on` was the first one"
    );
}
