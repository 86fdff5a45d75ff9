//! Everything at once: slow, deaf, mute and immortal places, orders whose futures are dropped, supervisors killed at any
//! point. Too much for a model; what must hold is that no two lives overlap, that nobody waits for ever, and that nobody is
//! left alive or unclosed (G7, G13, G16).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use callboard::testing::{self, settle};
use callboard::{ChildEvent, ExitReason, Fault, System};
use callboard_supervision::{
    AutoShutdown, Backoff, Child, OnFrozen, Restart, Strategy, Supervisor, SupervisorBuilder,
    SupervisorRef,
};
use futures::FutureExt as _;
use futures::future::{Either, select};

use crate::common::{ms, secs};
use crate::places::{FakePlace, World};

/// How many runs, unless `CALLBOARD_SEEDS` says otherwise.
const RUNS: u64 = 600;

type Answer = Pin<Box<dyn Future<Output = bool>>>;

struct Trouble {
    system: System,
    world: World,
    places: Vec<Arc<FakePlace>>,
    supervisors: Vec<String>,
    /// Orders that somebody waits for.
    asked: Vec<Answer>,
}

impl Trouble {
    fn draw(&self, bound: u64) -> u64 {
        self.system.entropy().below(bound)
    }

    fn pick<T: Copy>(&self, of: &[T]) -> T {
        of[usize::try_from(self.draw(of.len() as u64)).unwrap()]
    }

    fn child(&mut self, auto: AutoShutdown) -> Child {
        let place = self.world.place(format!("c{}", self.places.len()));
        self.places.push(Arc::clone(&place));
        self.change(&place);
        let restart = self.pick(&[
            Restart::Permanent,
            Restart::Permanent,
            Restart::Transient,
            Restart::Temporary,
        ]);
        let mut child = Child::from(place.of()).restart(restart);
        if auto != AutoShutdown::Never && restart != Restart::Permanent && self.draw(2) == 0 {
            child = child.significant();
        }
        child = match self.draw(6) {
            0 => child.brutal_kill(),
            _ => child.shutdown_time(ms(self.draw(30))),
        };
        if self.draw(2) == 0 {
            child = child.on_frozen(OnFrozen::Report);
        }
        child.start_limit(Some(ms(self.draw(60))))
    }

    fn change(&self, place: &FakePlace) {
        place.ways(|ways| {
            ways.start = ms(self.pick(&[0, 0, 5, 40]));
            ways.failing = self.pick(&[0, 0, 0, 0, 1, 3]);
            ways.fault = self.pick(&["no luck", "no luck", "no luck", "none"]).into();
            ways.ignores = self.draw(20) == 0;
            ways.mute = self.draw(20) == 0;
            ways.stop = ms(self.pick(&[0, 0, 5, 40]));
            ways.deaf = self.draw(10) == 0;
            ways.kill = ms(self.pick(&[0, 0, 0, 5, 7_000]));
            ways.immortal = self.draw(30) == 0;
            ways.chatters = self.draw(4) == 0;
        });
    }

    fn supervisor(&mut self, name: String, levels: u32) -> (SupervisorBuilder, AutoShutdown) {
        let strategy = self.pick(&[
            Strategy::OneForOne,
            Strategy::OneForAll,
            Strategy::RestForOne,
            Strategy::Dynamic,
        ]);
        let auto = self.pick(&[
            AutoShutdown::Never,
            AutoShutdown::Never,
            AutoShutdown::AnySignificant,
            AutoShutdown::AllSignificant,
        ]);
        let backoff = Backoff {
            base: ms(self.pick(&[0, 1, 30])),
            cap: ms(100),
            stable: ms(50),
        };
        let max = usize::try_from(self.draw(12)).unwrap();
        let mut builder = Supervisor::builder(name.clone())
            .strategy(strategy)
            .intensity(max, ms(self.pick(&[20, 500])))
            .backoff(backoff)
            .auto_shutdown(auto);
        self.supervisors.push(name);
        let count = if strategy == Strategy::Dynamic {
            0
        } else {
            self.draw(5)
        };
        for _ in 0..count {
            builder = if levels > 0 && self.draw(3) == 0 {
                let name = format!("s{}", self.supervisors.len());
                let (below, below_auto) = self.supervisor(name, levels - 1);
                let child = Child::from(below);
                let child = match (self.draw(4), below_auto) {
                    (0, _) => child.restart(Restart::Temporary),
                    // One that may be killed while it waits for its children.
                    (1, _) => child.shutdown_time(ms(self.draw(60))),
                    _ => child,
                };
                builder.child(child)
            } else {
                let child = self.child(auto);
                builder.child(child)
            };
        }
        (builder, auto)
    }

    async fn pass(&mut self) {
        let span = self.pick(&[0, 0, 1, 3, 10, 50, 6_000]);
        testing::advance(&self.system, ms(span)).await.unwrap();
        let mut left = Vec::new();
        for mut asked in std::mem::take(&mut self.asked) {
            if (&mut asked).now_or_never().is_none() {
                left.push(asked);
            }
        }
        self.asked = left;
    }

    /// An order, polled at least once, or not at all; some of them are waited for.
    fn order(&mut self, top: &SupervisorRef) {
        let name = self.pick(&(0..self.supervisors.len()).collect::<Vec<_>>());
        let Some(supervisor) = top.find(&self.supervisors[name]) else {
            return;
        };
        let children = supervisor.observe().children;
        let ids: Vec<_> = children.iter().filter_map(|child| child.id).collect();
        let what = self.draw(6);
        let adds = what < 2 || ids.is_empty();
        let mut answer: Answer = if adds {
            let child = self.child(AutoShutdown::Never);
            let place = Arc::clone(self.places.last().unwrap());
            async move {
                let added = supervisor.add(child).await;
                if let Err(error) = added {
                    if error.into_child().is_some() {
                        // It never was there: its end is nobody's business.
                        callboard::Place::close(&*place.of(), ExitReason::Stopped);
                    }
                    return false;
                }
                true
            }
            .boxed_local()
        } else {
            let id = self.pick(&ids);
            async move {
                match what {
                    2 => supervisor.hold(id).await.is_ok(),
                    3 => supervisor.remove(id).await.is_ok(),
                    _ => supervisor.start_again(id).await.is_ok(),
                }
            }
            .boxed_local()
        };
        let polled = adds || self.draw(4) != 0;
        let waits = polled && (&mut answer).now_or_never().is_none();
        if waits && (adds || self.draw(2) == 0) {
            self.asked.push(answer);
        }
    }

    async fn step(&mut self, top: &SupervisorRef) {
        let place =
            Arc::clone(&self.places[self.pick(&(0..self.places.len()).collect::<Vec<_>>())]);
        match self.draw(14) {
            0 => place.end(ExitReason::Stopped),
            1 => place.end(ExitReason::Failed(Fault::fatal("fatal"))),
            2..6 => place.crash(),
            6 => place.say(ChildEvent::NoProgress("a test".to_owned())),
            7 => place.say(ChildEvent::NoConnection),
            8 => self.change(&place),
            9 if self.draw(4) == 0 => {
                let name = self.pick(&(0..self.supervisors.len()).collect::<Vec<_>>());
                if let Some(supervisor) = top.find(&self.supervisors[name]) {
                    match self.draw(3) {
                        0 => supervisor.stop(),
                        _ => supervisor.actor().kill(),
                    }
                }
            }
            9..12 => self.order(top),
            _ => self.pass().await,
        }
    }

    /// It ends, whatever its children do.
    async fn end(mut self, top: SupervisorRef) {
        match self.draw(4) {
            0 => top.actor().kill(),
            1 => drop(self.system.shutdown().now_or_never()),
            _ => top.stop(),
        }
        // Each level may wait for one shutdown time and one grace per child; nobody waits for those that can't be ended.
        let limit = self.system.clock().sleep(secs(3_600));
        let ended = match select(Box::pin(top.wait()), limit).await {
            Either::Left(_) => true,
            Either::Right(_) => false,
        };
        assert!(
            ended,
            "it doesn't end\n{}\n{:#?}",
            top.observe(),
            self.world.log()
        );
        self.world.check();
        for place in &self.places {
            place.ways(|ways| ways.immortal = false);
            place.end(ExitReason::Killed);
        }
        testing::advance(&self.system, secs(10)).await.unwrap();
        settle(&self.system).await.unwrap();
        let waiting = std::mem::take(&mut self.asked).into_iter();
        let forgotten = waiting.filter_map(|mut asked| match (&mut asked).now_or_never() {
            Some(_) => None,
            None => Some(asked),
        });
        assert_eq!(
            forgotten.count(),
            0,
            "orders without an answer\n{}",
            top.observe()
        );
        self.world.check_over();
    }
}

#[test]
fn g13_no_two_lives_and_nobody_left_whatever_happens() {
    testing::seeds(0..RUNS, |system| async move {
        let mut trouble = Trouble {
            world: World::new(&system),
            system: system.clone(),
            places: Vec::new(),
            supervisors: Vec::new(),
            asked: Vec::new(),
        };
        let (builder, _) = trouble.supervisor("top".to_owned(), 2);
        let top = builder.start(&system).unwrap();
        let steps = trouble.draw(80);
        for _ in 0..steps {
            if trouble.places.is_empty() {
                trouble.order(&top);
            } else {
                trouble.step(&top).await;
            }
            if trouble.places.is_empty() {
                trouble.pass().await;
            }
        }
        trouble.end(top).await;
    });
}
