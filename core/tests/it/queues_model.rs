//! Random use of a queue against a plain model of what SEMANTICS says of it (G21 to G24, G26).
//!
//! Times are chosen so that no two kinds of events fall on one point: the test moves in steps of 10 ms, and what is
//! due is due between them.

mod model;

use std::collections::{BTreeMap, HashMap};
use std::future::IntoFuture;
use std::time::Duration;

use callboard::queue::{Delivery, Offered, Queue, SettleError};
use callboard::testing;
use callboard::{Entropy, FailureKind, RequestKey, System};
use futures::FutureExt;

use model::{KEY_WINDOW, Model, State, Terms, Totals, Why};

const SEEDS: u64 = 600;
const STEPS: usize = 150;
const KEYS: u64 = 4;
/// Longer than any run.
const LONG: u64 = 100_004;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A model, the queue, and the deliveries that are out.
struct Run {
    model: Model,
    system: System,
    queue: Queue<u64>,
    choice: Entropy,
    out: Vec<Delivery<u64>>,
    last_token: u64,
    /// Numbers by what was offered; an item is the count of offers before it.
    numbers: HashMap<u64, u64>,
    offers: u64,
    keys: Vec<RequestKey>,
    parked: Parked,
}

/// Somebody who waits while something else happens.
enum Parked {
    Nobody,
    Poll,
    Lease,
    Offer(u64, Terms, u64),
}

impl Run {
    fn new(system: System) -> Self {
        let seed = testing::seed(&system).expect("simulated");
        let choice = Entropy::seeded(seed ^ 0x5eed);
        let capacity = 1 + choice.below(6) as usize;
        let model = Model {
            seed,
            circular: choice.below(4) == 0,
            capacity,
            max_in_flight: match choice.below(3) {
                0 => 1 + choice.below(3) as usize,
                _ => usize::MAX,
            },
            levels: 1 + choice.below(3),
            limit: 1 + choice.below(3) as u32,
            reordering: choice.below(3) == 0,
            now: 0,
            things: BTreeMap::new(),
            dead: Vec::new(),
            keys: HashMap::new(),
            totals: Totals::default(),
        };
        let mut builder = system
            .queue("q")
            .capacity(capacity)
            .max_in_flight(model.max_in_flight)
            .priorities(model.levels as u8)
            .delivery_limit(model.limit)
            .lease(ms(LONG))
            .key_window(ms(KEY_WINDOW), 1_000)
            .retry(Duration::ZERO, Duration::ZERO);
        if model.circular {
            builder = builder.circular();
        }
        if model.reordering {
            builder = builder.allow_reordering();
        }
        let queue = builder.open().unwrap();
        let mut model = model;
        if model.circular {
            model.max_in_flight = model.max_in_flight.min(capacity);
        }
        Run {
            model,
            system,
            queue,
            choice,
            out: Vec::new(),
            last_token: 0,
            numbers: HashMap::new(),
            offers: 0,
            keys: (0..KEYS).map(|_| RequestKey::new()).collect(),
            parked: Parked::Nobody,
        }
    }

    fn terms(&self) -> Terms {
        let choice = &self.choice;
        let maybe = |of: u64| (choice.below(2) == 0).then(|| choice.below(of));
        Terms {
            group: maybe(2),
            priority: maybe(4).unwrap_or(0),
            key: maybe(3 * KEYS).filter(|key| *key < KEYS),
            delay: maybe(8).filter(|n| *n < 4).map_or(0, |n| 10 * n + 3),
            time_to_live: maybe(20).filter(|n| *n < 10).map(|n| 10 * n + 5),
        }
    }

    fn offer_of(&self, item: u64, terms: Terms) -> callboard::queue::Offer<u64> {
        let mut offer = self
            .queue
            .offer(item)
            .priority(terms.priority as u8)
            .delay(ms(terms.delay));
        if let Some(group) = terms.group {
            offer = offer.group(format!("g{group}"));
        }
        if let Some(key) = terms.key {
            offer = offer.key(self.keys[key as usize]);
        }
        if let Some(span) = terms.time_to_live {
            offer = offer.time_to_live(ms(span));
        }
        offer
    }

    /// Whoever is parked gets what there is for it.
    fn serve_parked(&mut self, got: &mut Option<u64>) {
        match self.parked {
            Parked::Nobody => {}
            Parked::Poll | Parked::Lease if got.is_some() => {}
            Parked::Poll => {
                if let Some(number) = self.model.next() {
                    self.model.hand_out(number);
                    // Held back with its group until who waits has looked.
                    let (token, due) = (u64::MAX, self.model.now + LONG);
                    let thing = self.model.thing(number);
                    if thing.group.is_some() {
                        thing.state = State::Leased { token, due };
                    } else {
                        thing.state = State::Acknowledged;
                        self.model.totals.settled += 1;
                    }
                    *got = Some(number);
                }
            }
            Parked::Lease => {
                if let Some(number) = self.model.leasable() {
                    self.model.hand_out(number);
                    let (token, due) = (u64::MAX, self.model.now + LONG);
                    self.model.thing(number).state = State::Leased { token, due };
                    *got = Some(number);
                }
            }
            Parked::Offer(item, terms, made) => {
                if got.is_none()
                    && let Some(offered) = self.model.offer(terms, made)
                {
                    if let Offered::Stored(number) = offered {
                        self.numbers.insert(item, number);
                    }
                    *got = Some(offered.sequence());
                }
            }
        }
    }

    async fn advance(&mut self, span: u64, got: &mut Option<u64>) {
        let until = self.model.now + span;
        while let Some(next) = self.model.next_event(until) {
            self.model.now = next;
            self.model.tick();
            self.serve_parked(got);
        }
        self.model.now = until;
        testing::advance(&self.system, ms(span)).await.unwrap();
    }

    async fn offer(&mut self) {
        let (item, terms) = (self.offers, self.terms());
        self.offers += 1;
        let expected = match self.parked {
            // Who waits comes first; a duplicate needs no room.
            Parked::Offer(..) => {
                let known = terms.key.and_then(|key| self.model.keys.get(&key));
                let now = self.model.now;
                known
                    .filter(|(_, since)| since + KEY_WINDOW > now)
                    .map(|(number, _)| Offered::Duplicate(*number))
            }
            _ => self.model.offer(terms, self.model.now),
        };
        let offered = self.offer_of(item, terms).deadline(Duration::ZERO).await;
        let seed = self.model.seed;
        match (offered, expected) {
            (Ok(offered), expected) => {
                assert_eq!(Some(offered), expected, "seed {seed}");
                if let Offered::Stored(number) = offered {
                    self.numbers.insert(item, number);
                }
            }
            (Err(error), None) => {
                assert_eq!(error.failure.kind(), FailureKind::Full, "seed {seed}");
                assert_eq!(error.item, Some(item), "seed {seed}");
            }
            (Err(error), Some(expected)) => {
                panic!("{error:?} in place of {expected:?}, seed {seed}");
            }
        }
    }

    async fn poll(&mut self) {
        let expected = self.model.next();
        let got = self.queue.poll().deadline(Duration::ZERO).await.unwrap();
        let got = got.map(|item| self.numbers[&item]);
        assert_eq!(got, expected, "seed {}", self.model.seed);
        if let Some(number) = got {
            self.model.hand_out(number);
            self.model.totals.settled += 1;
            self.model.thing(number).state = State::Acknowledged;
        }
    }

    async fn lease(&mut self) {
        let span = 10 * self.choice.below(6) + 7;
        let lease = self.queue.lease().span(ms(span)).deadline(Duration::ZERO);
        let got = lease.await.unwrap();
        let expected = self.model.leasable();
        self.leased(got, expected, span);
    }

    fn leased(&mut self, got: Option<Delivery<u64>>, expected: Option<u64>, span: u64) {
        let seed = self.model.seed;
        let number = got.as_ref().map(|delivery| self.numbers[delivery.item()]);
        assert_eq!(number, expected, "seed {seed}");
        let (Some(delivery), Some(number)) = (got, number) else {
            return;
        };
        assert!(delivery.token() > self.last_token, "G22, seed {seed}");
        self.last_token = delivery.token();
        let (token, due) = (delivery.token(), self.model.now + span);
        if !matches!(self.model.thing(number).state, State::Leased { .. }) {
            self.model.hand_out(number);
        }
        let thing = self.model.thing(number);
        thing.state = State::Leased { token, due };
        assert_eq!(delivery.sequence(), number, "seed {seed}");
        assert_eq!(
            (delivery.attempt(), delivery.failed()),
            (thing.attempt, thing.failed),
            "seed {seed}"
        );
        self.out.push(delivery);
    }

    /// Ends one of the leases that are out, or one that is over.
    async fn settle(&mut self) {
        if self.out.is_empty() {
            return;
        }
        let at = self.choice.below(self.out.len() as u64) as usize;
        let delivery = self.out.swap_remove(at);
        let (number, token) = (delivery.sequence(), delivery.token());
        let held = matches!(self.model.thing(number).state, State::Leased { token: held, .. } if held == token);
        let delay = 10 * self.choice.below(5) + 3;
        let result = match self.choice.below(7) {
            0 | 1 => {
                if held {
                    self.model.totals.settled += 1;
                    self.model.thing(number).state = State::Acknowledged;
                }
                delivery.ack().await
            }
            2 => {
                if held {
                    self.model.come_back(number, delay);
                }
                delivery.release(ms(delay)).await
            }
            3 => {
                if held {
                    self.model.fail(number);
                }
                delivery.reject("no").await
            }
            4 => {
                if held {
                    self.model.totals.failed += 1;
                    self.model.thing(number).failed += 1;
                    self.model.die(number, Why::Buried);
                }
                delivery.bury("never").await
            }
            5 => {
                if held {
                    self.model.come_back(number, 0);
                }
                drop(delivery);
                return;
            }
            _ => {
                let span = 10 * self.choice.below(6) + 7;
                let due = self.model.now + span;
                if held {
                    self.model.thing(number).state = State::Leased { token, due };
                }
                let result = delivery.extend(ms(span)).await;
                self.out.push(delivery);
                result
            }
        };
        let seed = self.model.seed;
        match result {
            Ok(()) => assert!(held, "a stale lease was accepted, seed {seed}"),
            Err(SettleError::Stale {
                sequence,
                token: of,
                ..
            }) => {
                assert!(!held, "a lease that holds was refused, seed {seed}");
                assert_eq!((sequence, of), (number, token), "seed {seed}");
            }
            Err(error) => panic!("{error}, seed {seed}"),
        }
    }

    fn redrive(&mut self, got: &mut Option<u64>) {
        let max = 1 + self.choice.below(3) as usize;
        let mut moved = 0;
        while moved < max && self.model.has_room() && !self.model.dead.is_empty() {
            let number = self.model.dead.remove(0);
            let thing = self.model.thing(number);
            thing.state = State::Waiting(0);
            (thing.failed, thing.attempt, thing.expires) = (0, 0, None);
            moved += 1;
            // They come one by one.
            self.serve_parked(got);
        }
        let dead = self.queue.dead_letters().unwrap();
        assert_eq!(
            dead.redrive(max).unwrap(),
            moved,
            "seed {}",
            self.model.seed
        );
    }

    fn purge(&mut self) {
        let mut purged = 0;
        for thing in self.model.things.values_mut() {
            if matches!(thing.state, State::Waiting(_)) {
                thing.state = State::Purged;
                purged += 1;
            }
        }
        self.model.totals.purged += purged;
        assert_eq!(
            self.queue.purge().now_or_never().unwrap().unwrap() as u64,
            purged,
            "seed {}",
            self.model.seed
        );
    }

    /// Somebody waits, something happens, and then that somebody gives up, or looks.
    async fn park(&mut self) {
        let kind = self.choice.below(3);
        let gives_up = self.choice.below(2) == 0;
        let mut got = None;
        match kind {
            0 if self.model.next().is_none() => {
                let mut poll = Box::pin(self.queue.poll().into_future());
                assert!(futures::poll!(poll.as_mut()).is_pending());
                self.parked = Parked::Poll;
                self.meanwhile(&mut got).await;
                let looked = if gives_up {
                    None
                } else {
                    poll.as_mut().now_or_never()
                };
                drop(poll);
                if gives_up && let Some(number) = got {
                    self.model.thing(number).attempt -= 1;
                    self.model.totals.handed -= 1;
                    if self.model.thing(number).state == State::Acknowledged {
                        self.model.totals.settled -= 1;
                    }
                    self.model.come_back(number, 0);
                } else if !gives_up {
                    if let Some(number) = got {
                        let thing = self.model.thing(number);
                        if thing.state != State::Acknowledged {
                            thing.state = State::Acknowledged;
                            self.model.totals.settled += 1;
                        }
                    }
                    let looked = looked.map(|item| self.numbers[&item.unwrap().unwrap()]);
                    assert_eq!(looked, got, "seed {}", self.model.seed);
                }
            }
            1 if self.model.leasable().is_none() => {
                let lease = self.queue.lease().span(ms(LONG));
                let mut lease = Box::pin(lease.into_future());
                assert!(futures::poll!(lease.as_mut()).is_pending());
                self.parked = Parked::Lease;
                self.meanwhile(&mut got).await;
                if gives_up {
                    drop(lease);
                    if let Some(number) = got {
                        self.model.thing(number).attempt -= 1;
                        self.model.totals.handed -= 1;
                        self.model.come_back(number, 0);
                    }
                } else {
                    let looked = lease.as_mut().now_or_never();
                    drop(lease);
                    let looked = looked.map(|delivery| delivery.unwrap().unwrap());
                    self.leased(looked, got, LONG);
                }
            }
            2 => {
                let (item, terms) = (self.offers, self.terms());
                let terms = Terms { key: None, ..terms };
                if self.model.circular || self.model.has_room() {
                    return;
                }
                self.offers += 1;
                let mut offer = Box::pin(self.offer_of(item, terms).into_future());
                assert!(futures::poll!(offer.as_mut()).is_pending());
                self.parked = Parked::Offer(item, terms, self.model.now);
                self.meanwhile(&mut got).await;
                if !gives_up {
                    let looked = offer.as_mut().now_or_never();
                    let looked = looked.map(|offered| offered.unwrap().sequence());
                    assert_eq!(looked, got, "seed {}", self.model.seed);
                }
            }
            _ => {}
        }
        self.parked = Parked::Nobody;
    }

    async fn meanwhile(&mut self, got: &mut Option<u64>) {
        match self.choice.below(6) {
            0 if !matches!(self.parked, Parked::Offer(..)) => self.offer().await,
            1 if matches!(self.parked, Parked::Offer(..)) => self.poll().await,
            2 if !matches!(self.parked, Parked::Offer(..)) => self.redrive(got),
            3 if matches!(self.parked, Parked::Offer(..)) => self.purge(),
            4 => {
                let span = 10 * (1 + self.choice.below(5));
                self.advance(span, got).await;
            }
            _ => self.settle().await,
        }
        self.serve_parked(got);
    }

    async fn check(&mut self) {
        let seed = self.model.seed;
        let model = &mut self.model;
        let state = self.queue.state().await.unwrap();
        let totals = &model.totals;
        assert_eq!(
            (state.len, state.in_flight),
            (model.waiting(), model.leased()),
            "seed {seed}"
        );
        assert_eq!(state.offered, model.things.len() as u64, "seed {seed}");
        assert_eq!(
            (state.handed, state.settled, state.failed, state.lapsed),
            (totals.handed, totals.settled, totals.failed, totals.lapsed),
            "handed, settled, failed, lapsed: seed {seed}"
        );
        assert_eq!(
            (state.expired, state.dropped, state.purged),
            (totals.expired, totals.evicted, totals.purged),
            "expired, evicted, purged: seed {seed}"
        );
        let dead = self.queue.dead_letters().unwrap();
        let browsed = dead.browse(0, usize::MAX).await.unwrap();
        let browsed: Vec<u64> = browsed.iter().map(|dead| dead.item.info.sequence).collect();
        let sorted = |mut numbers: Vec<u64>| {
            numbers.sort_unstable();
            numbers
        };
        assert_eq!(
            sorted(browsed.clone()),
            sorted(model.dead.clone()),
            "seed {seed}"
        );
        // Which of those that died at one point of time did so first is nobody's business.
        model.dead = browsed;
        // Where each item is that the queue has, as a look says.
        let seen = self.queue.browse(0, usize::MAX).await.unwrap();
        let seen: Vec<u64> = seen.iter().map(|item| item.sequence).collect();
        let held = model
            .things
            .iter()
            .filter(|(_, thing)| matches!(thing.state, State::Waiting(_) | State::Leased { .. }));
        let held: Vec<u64> = held.map(|(number, _)| *number).collect();
        assert_eq!(seen, held, "seed {seed}");
    }
}

#[test]
fn g24_a_queue_does_what_its_model_does() {
    testing::seeds(0..SEEDS, |system| async move {
        let mut run = Run::new(system);
        for _ in 0..STEPS {
            match run.choice.below(16) {
                0..5 => run.offer().await,
                5 => run.poll().await,
                6..9 => run.lease().await,
                9..12 => run.settle().await,
                12 => {
                    let span = 10 * (1 + run.choice.below(5));
                    run.advance(span, &mut None).await;
                }
                13 => run.redrive(&mut None),
                14 if run.choice.below(8) == 0 => run.purge(),
                _ => run.park().await,
            }
            run.check().await;
        }
    });
}
