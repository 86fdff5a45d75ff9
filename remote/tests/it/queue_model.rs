//! Random use of a queue in another process against a local one as the model: two clients over a network that cuts
//! their connections do to the one what is done to the other, and both show the same (G21 to G24, G26, G32).
//!
//! Both go by one clock. The test moves in steps, and what is due is due between them, so that the time which the
//! network takes makes no difference.

use std::time::Duration;

use callboard::queue::{Delivery, ItemPlace, Offer, Queue, QueueBuilder, QueueState, SettleError};
use callboard::testing;
use callboard::{Entropy, RequestKey, System};
use callboard_remote::testing::SimNet;
use callboard_remote::{LinkConfig, Node, Peer};

use crate::queues::Job;

const SEEDS: u64 = 60;
const STEPS: usize = 60;
const KEYS: usize = 4;

/// From one step to the next.
const STEP: Duration = Duration::from_secs(10);
/// A step may take this long, cuts included; what is due is due later than that in its step.
const LATE: Duration = Duration::from_secs(5);

/// The middle between two steps, so many steps from now.
fn due(steps: u64) -> Duration {
    u32::try_from(steps).map_or(STEP, |steps| STEP * steps) + LATE
}

/// The same item, leased from both queues.
struct Pair {
    near: Delivery<Job>,
    far: Delivery<Job>,
    /// Of which client.
    client: usize,
}

struct Run {
    system: System,
    seed: u64,
    choice: Entropy,
    net: SimNet,
    /// The model.
    near: Queue<Job>,
    /// What is used from elsewhere.
    home: Queue<Job>,
    clients: Vec<(Peer, Queue<Job>)>,
    out: Vec<Pair>,
    keys: Vec<RequestKey>,
    items: u64,
    circular: bool,
    _node: Node,
}

/// What an attempt to offer came to.
#[derive(Debug, PartialEq)]
enum Offered {
    At(String),
    Not(callboard::FailureKind, bool),
}

impl Run {
    async fn new(system: System) -> Run {
        let seed = testing::seed(&system).unwrap();
        let choice = Entropy::seeded(seed ^ 0xfa_5eed);
        let (capacity, levels) = (2 + choice.below(6), 1 + choice.below(3));
        let limit = 1 + choice.below(3);
        let (circular, reorders) = (choice.below(4) == 0, choice.below(3) == 0);
        let settings = |builder: QueueBuilder<Job>| {
            let builder = builder
                .capacity(usize::try_from(capacity).unwrap())
                .priorities(u8::try_from(levels).unwrap())
                .delivery_limit(u32::try_from(limit).unwrap())
                .lease(due(1_000))
                .key_window(due(6), 1_000)
                .retry(Duration::ZERO, Duration::ZERO);
            let builder = if circular {
                builder.circular()
            } else {
                builder
            };
            if reorders {
                builder.allow_reordering()
            } else {
                builder
            }
        };
        let near = settings(system.queue("near")).open().unwrap();
        let home = settings(system.queue("home")).open().unwrap();
        let node = Node::new(&system, "home").unwrap();
        node.expose_queue("jobs", &home).unwrap();
        let net = SimNet::new(&system);
        net.listen("home", &node);
        net.change_all(|way| {
            way.delay = Duration::ZERO..=Duration::from_millis(20);
            way.piece = Some(60);
            // Often in the middle of something.
            way.ends_after = Some((200..=4_000, callboard_remote::testing::Ending::Reset));
        });
        node.rights()
            .grant("anonymous", callboard_remote::Verbs::ALL, ">")
            .unwrap();
        let mut run = Run {
            seed,
            choice,
            net,
            near,
            home,
            clients: Vec::new(),
            out: Vec::new(),
            keys: (0..KEYS).map(|_| RequestKey::new()).collect(),
            items: 0,
            circular,
            _node: node,
            system,
        };
        for client in 0..2 {
            let client = run.client(client).await;
            run.clients.push(client);
        }
        run
    }

    async fn client(&self, number: usize) -> (Peer, Queue<Job>) {
        let mut config = LinkConfig::default();
        config.backoff_cap = Duration::from_millis(100);
        // Who closes while its connection is cut isn't heard: its session ends by time.
        config.session_time = Duration::from_secs(3);
        let connector = self.net.connector(&format!("client {number}"), "home");
        let peer = Peer::dialled(&self.system, connector, config);
        peer.connected().await.unwrap();
        let queue = peer.queue("jobs").await.unwrap();
        (peer, queue)
    }

    fn any(&self, below: usize) -> usize {
        usize::try_from(self.choice.below(below as u64)).unwrap()
    }

    fn maybe(&self, of: u64) -> Option<u64> {
        (self.choice.below(2) == 0).then(|| self.choice.below(of))
    }

    /// An offer to each, with the same words.
    fn offers(&self, client: usize) -> [Offer<Job>; 2] {
        let (group, priority) = (self.maybe(2), self.maybe(4));
        let delay = self.maybe(4).map(due);
        let time_to_live = self.maybe(8).map(due);
        let key = self.maybe(2 * KEYS as u64);
        [&self.near, &self.clients[client].1].map(|queue| {
            let mut offer = queue.offer(Job(self.items)).deadline(Duration::ZERO);
            if let Some(group) = group {
                offer = offer.group(format!("g{group}"));
            }
            if let Some(priority) = priority {
                offer = offer.priority(u8::try_from(priority).unwrap());
            }
            if let Some(delay) = delay {
                offer = offer.delay(delay);
            }
            if let Some(span) = time_to_live {
                offer = offer.time_to_live(span);
            }
            let key = key.and_then(|key| self.keys.get(usize::try_from(key).unwrap()));
            if let Some(key) = key {
                offer = offer.key(*key);
            }
            offer
        })
    }

    async fn offer(&mut self, client: usize) {
        self.items += 1;
        let mut seen = Vec::new();
        for offer in self.offers(client) {
            seen.push(match offer.await {
                Ok(offered) => Offered::At(format!("{offered:?}")),
                Err(error) => Offered::Not(error.kind(), error.item == Some(Job(self.items))),
            });
        }
        assert_eq!(seen[0], seen[1], "seed {}", self.seed);
    }

    async fn offer_many(&mut self, client: usize) {
        let items: Vec<Job> = (0..3).map(|n| Job(self.items + n + 1)).collect();
        self.items += 3;
        let group = self.maybe(2);
        let mut seen = Vec::new();
        for queue in [&self.near, &self.clients[client].1] {
            let mut offer = queue.offer_many(items.clone()).deadline(Duration::ZERO);
            if let Some(group) = group {
                offer = offer.group(format!("g{group}"));
            }
            seen.push(match offer.await {
                Ok(offered) => (offered, Vec::new(), None),
                Err(error) => (error.offered, error.rest, Some(error.failure.kind())),
            });
        }
        assert_eq!(seen[0], seen[1], "seed {}", self.seed);
    }

    /// One from elsewhere is a lease until it is acknowledged, and so waits while as many are out as may be: of a
    /// circular queue that is its capacity.
    async fn poll(&mut self, client: usize) {
        let state = self.near.state().await.unwrap();
        if self.circular && state.in_flight >= state.capacity {
            return;
        }
        let near = self.near.poll().deadline(Duration::ZERO).await.unwrap();
        let far = &self.clients[client].1;
        let far = far.poll().deadline(Duration::ZERO).await.unwrap();
        assert_eq!(near, far, "seed {}", self.seed);
    }

    async fn lease(&mut self, client: usize) {
        let (many, span) = (1 + self.any(3), due(self.choice.below(6)));
        let near = self.near.lease_many(many).span(span);
        let near = near.deadline(Duration::ZERO).await.unwrap();
        let far = self.clients[client].1.lease_many(many).span(span);
        let far = far.deadline(Duration::ZERO).await.unwrap();
        assert_eq!(near.len(), far.len(), "seed {}", self.seed);
        for (near, far) in near.into_iter().zip(far) {
            let seen = |one: &Delivery<Job>| {
                let group = one.group().map(str::to_owned);
                let counts = (one.sequence(), one.attempt(), one.failed());
                (one.item().clone(), counts, one.key(), group)
            };
            assert_eq!(seen(&near), seen(&far), "seed {}", self.seed);
            self.out.push(Pair { near, far, client });
        }
    }

    async fn settle(&mut self) {
        if self.out.is_empty() {
            return;
        }
        let at = self.any(self.out.len());
        let Pair { near, far, client } = self.out.swap_remove(at);
        let delay = due(self.choice.below(4));
        let (near, far) = match self.choice.below(6) {
            0 => (near.ack().await, far.ack().await),
            1 => (near.release(delay).await, far.release(delay).await),
            2 => (near.reject("no").await, far.reject("no").await),
            3 => (near.bury("never").await, far.bury("never").await),
            4 => return drop((near, far)),
            _ => {
                let ended = (near.extend(delay).await, far.extend(delay).await);
                self.out.push(Pair { near, far, client });
                ended
            }
        };
        let of = |ended: Result<(), SettleError>| match ended {
            Ok(()) => None,
            Err(SettleError::Stale { sequence, .. }) => Some(sequence),
            Err(error) => panic!("{error}, seed {}", self.seed),
        };
        assert_eq!(of(near), of(far), "seed {}", self.seed);
    }

    /// A client ends. What it holds has failed, in the order in which it got it.
    async fn leave(&mut self, client: usize) {
        self.clients[client].0.close();
        let (mut left, stay): (Vec<Pair>, Vec<Pair>) =
            self.out.drain(..).partition(|pair| pair.client == client);
        self.out = stay;
        left.sort_by_key(|pair| pair.near.token());
        for Pair { near, .. } in left {
            // An error: it had lapsed.
            let _ = near.reject("the consumer's session ended").await;
        }
        let out = async |queue: &Queue<Job>| queue.state().await.unwrap().in_flight;
        while out(&self.home).await != out(&self.near).await {
            self.system.clock().sleep(Duration::from_millis(1)).await;
        }
        self.clients[client] = self.client(client).await;
    }

    async fn check(&mut self) {
        let of = |state: QueueState| {
            let lens = (state.len, state.delayed, state.in_flight, state.keys);
            let totals = [state.offered, state.handed, state.settled, state.failed];
            let losses = [state.lapsed, state.expired, state.dropped];
            (lens, totals, losses)
        };
        let near = of(self.near.state().await.unwrap());
        let home = of(self.home.state().await.unwrap());
        assert_eq!(near, home, "seed {}", self.seed);
        let mut seen = Vec::new();
        for queue in [&self.near, &self.clients[0].1] {
            let items = queue.browse(0, 1_000).await.unwrap();
            let items = items.into_iter().map(|item| {
                let place: ItemPlace = item.place;
                (item.item, item.sequence, place, item.attempt, item.failed)
            });
            seen.push(items.collect::<Vec<_>>());
        }
        assert_eq!(seen[0], seen[1], "seed {}", self.seed);
        let mut dead = Vec::new();
        for queue in [&self.near, &self.home] {
            let letters = queue.dead_letters().unwrap();
            let letters = letters.browse(0, 1_000).await.unwrap();
            let mut letters: Vec<_> = letters
                .iter()
                .map(|dead| {
                    let info = &dead.item.info;
                    (info.sequence, info.reason, info.attempts, info.failed)
                })
                .collect();
            // Which of those that died at one point of time did so first is nobody's business.
            letters.sort_by_key(|letter| letter.0);
            dead.push(letters);
        }
        assert_eq!(dead[0], dead[1], "seed {}", self.seed);
    }
}

#[test]
fn g32_a_queue_elsewhere_does_what_a_local_one_does_though_connections_are_cut() {
    testing::seeds(0..SEEDS, |system| async move {
        let mut run = Run::new(system.clone()).await;
        let mut next = system.clock().now();
        for _ in 0..STEPS {
            next = next + STEP;
            system.clock().sleep(next.since(system.clock().now())).await;
            run.check().await;
            let client = run.any(2);
            match run.choice.below(16) {
                0..4 => run.offer(client).await,
                4 => run.offer_many(client).await,
                5 => run.poll(client).await,
                6..10 => run.lease(client).await,
                10..14 => run.settle().await,
                14 => run.leave(client).await,
                _ => {}
            }
            let took = system.clock().now().since(next);
            assert!(took < LATE, "seed {}: {took:?}", run.seed);
        }
        let cuts = run.net.stats().cuts;
        assert!(cuts > 10, "seed {}: {cuts} cuts", run.seed);
    });
}
