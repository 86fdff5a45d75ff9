//! Random trees, in the model and in truth, and what is done to both.

use std::sync::Arc;
use std::time::Duration;

use callboard::testing::{self, settle};
use callboard::{ExitReason, FailureClass, Fault, System};
use callboard_supervision::{
    AutoShutdown, Backoff, Child, ChildState, Restart, Strategy, Supervisor, SupervisorBuilder,
    SupervisorRef,
};

use crate::common::ms;
use crate::places::World;

use super::{End, Fate, Leaf, Node, Otp, Rules, What};

/// How many runs, unless `CALLBOARD_SEEDS` says otherwise.
const RUNS: u64 = 3_000;

/// A tree in the model and the same in truth.
struct Pair {
    system: System,
    world: World,
    otp: Otp,
    top: Rules,
    real: SupervisorRef,
    end: Option<End>,
    names: u32,
}

fn pick<T: Copy>(system: &System, of: &[T]) -> T {
    let index = system.entropy().below(of.len() as u64);
    of[usize::try_from(index).unwrap()]
}

/// A leaf, and how it is said to a supervisor.
fn leaf(system: &System, world: &World, name: String, auto: AutoShutdown) -> (Node, Child) {
    let place = world.place(name.clone());
    let (start, stop) = (pick(system, &[0, 0, 3, 7]), pick(system, &[0, 0, 2, 5, 9]));
    let shutdown = pick(system, &[None, Some(3), Some(6)]).map(ms);
    let leaf = Leaf {
        start: ms(start),
        stop: ms(stop),
        deaf: shutdown.is_some() && system.entropy().below(5) == 0,
        failing: pick(system, &[0, 0, 0, 0, 0, 0, 1, 2]),
        fatal: false,
        shutdown,
        brutal: system.entropy().below(6) == 0,
        starts: 0,
        place: Arc::clone(&place),
    };
    let restart = pick(
        system,
        &[
            Restart::Permanent,
            Restart::Permanent,
            Restart::Transient,
            Restart::Temporary,
        ],
    );
    let may = auto != AutoShutdown::Never && restart != Restart::Permanent;
    let significant = may && system.entropy().below(2) == 0;
    place.ways(|ways| {
        (ways.start, ways.stop, ways.deaf, ways.failing) =
            (leaf.start, leaf.stop, leaf.deaf, leaf.failing);
    });
    let mut child = Child::from(place.of()).restart(restart);
    child = match (leaf.brutal, shutdown) {
        (true, _) => child.brutal_kill(),
        (_, Some(span)) => child.shutdown_time(span),
        _ => child.shutdown_unlimited(),
    };
    if significant {
        child = child.significant();
    }
    let node = Node {
        name,
        restart,
        significant,
        fate: Fate::Down,
        what: What::Leaf(leaf),
    };
    (node, child)
}

/// A supervisor with up to `levels` levels below it.
fn supervisor(
    system: &System,
    world: &World,
    name: &str,
    levels: u32,
    names: &mut u32,
) -> (Rules, SupervisorBuilder) {
    let draw = |bound| system.entropy().below(bound);
    let strategies = [
        Strategy::OneForOne,
        Strategy::OneForAll,
        Strategy::OneForAll,
        Strategy::RestForOne,
        Strategy::RestForOne,
        Strategy::Dynamic,
    ];
    let mut rules = Rules {
        strategy: pick(system, &strategies),
        max: usize::try_from(draw(6)).unwrap(),
        period: ms(pick(system, &[10, 40])),
        auto: pick(
            system,
            &[
                AutoShutdown::Never,
                AutoShutdown::Never,
                AutoShutdown::AnySignificant,
                AutoShutdown::AllSignificant,
            ],
        ),
        window: Vec::new(),
        children: Vec::new(),
    };
    let mut builder = Supervisor::builder(name)
        .strategy(rules.strategy)
        .intensity(rules.max, rules.period)
        .auto_shutdown(rules.auto)
        .backoff(Backoff::none());
    let count = if rules.strategy == Strategy::Dynamic {
        0
    } else {
        draw(5)
    };
    for _ in 0..count {
        *names += 1;
        let (node, child) = if levels > 0 && draw(3) == 0 {
            let name = format!("s{names}");
            let (below, builder) = supervisor(system, world, &name, levels - 1, names);
            // One that ends by itself is no permanent child.
            let restart = match below.auto {
                AutoShutdown::Never => pick(system, &[Restart::Permanent, Restart::Temporary]),
                _ => Restart::Transient,
            };
            let node = Node {
                name,
                restart,
                significant: false,
                fate: Fate::Down,
                what: What::Supervisor(Box::new(below)),
            };
            (node, Child::from(builder).restart(restart))
        } else {
            leaf(system, world, format!("c{names}"), rules.auto)
        };
        rules.children.push(node);
        builder = builder.child(child);
    }
    (rules, builder)
}

impl Pair {
    async fn start(system: &System) -> Self {
        let world = World::new(system);
        let mut names = 0;
        let (top, builder) = supervisor(system, &world, "top", 2, &mut names);
        let real = builder.start(system).unwrap();
        let mut pair = Pair {
            system: system.clone(),
            world,
            otp: Otp::default(),
            top,
            real,
            end: None,
            names,
        };
        let all: Vec<_> = (0..pair.top.children.len()).collect();
        let started = pair.otp.start_these(&mut pair.top, &all);
        pair.settle(started).await;
        pair
    }

    /// Waits as long as the model took, and compares.
    async fn settle(&mut self, done: Result<(), End>) {
        if let Err(end) = done {
            self.end = Some(end);
            self.otp.forget_dynamic(&mut self.top);
            self.close_all();
        }
        self.wait_until(self.otp.now).await;
        self.compare();
    }

    fn close_all(&mut self) {
        for child in self.top.children.iter_mut().rev() {
            if child.fate != Fate::Over {
                child.fate = Fate::Over;
                self.otp.close(child);
            }
        }
    }

    async fn wait_until(&mut self, then: Duration) {
        let span = then.saturating_sub(self.world.now());
        testing::advance(&self.system, span).await.unwrap();
        settle(&self.system).await.unwrap();
        assert!(
            self.world.now() >= self.otp.now,
            "bug in the test: too early to compare"
        );
        self.otp.now = self.world.now();
    }

    fn compare(&mut self) {
        self.world.check();
        let (real, model) = (self.world.log(), &self.otp.log);
        if real != *model {
            let same = real.iter().zip(model).take_while(|(a, b)| a == b).count();
            panic!(
                "after {:#?}\nthe supervisors did {:#?}\nOTP's would do {:#?}\n{}",
                &real[same.saturating_sub(30)..same],
                &real[same..],
                &model[same..],
                self.real.observe(),
            );
        }
        let exit = self.real.actor().exit_reason();
        let expected = self.end.map(|end| match end {
            End::Normal => None,
            End::Failed(class) => Some(class),
        });
        let found = exit.map(|exit| match exit {
            ExitReason::Failed(fault) => Some(fault.class()),
            _ => None,
        });
        assert_eq!(found, expected);
        self.compare_level(&self.top, &self.real);
    }

    fn compare_level(&self, rules: &Rules, real: &SupervisorRef) {
        let tree = real.observe();
        if self.end.is_none() {
            let counted = tree.supervises.map(|how| how.counted);
            assert_eq!(counted, Some(rules.counted(self.otp.now)), "{tree}");
        }
        for child in &rules.children {
            let real = tree.children.iter().find(|real| real.label == child.name);
            match &child.what {
                What::Leaf(leaf) => {
                    assert_eq!(leaf.place.is_up(), child.fate == Fate::Running, "{tree}");
                    assert_eq!(
                        leaf.place.closed().is_some(),
                        child.fate == Fate::Over,
                        "{tree}"
                    );
                    assert_eq!(leaf.place.starts(), leaf.starts, "{tree}");
                }
                What::Supervisor(below) if child.fate == Fate::Running => {
                    self.compare_level(below, &self.real.find(&child.name).unwrap());
                }
                What::Supervisor(_) => {}
            }
            let Some(real) = real else {
                assert_eq!(child.fate, Fate::Over, "{} is forgotten", child.name);
                continue;
            };
            let fits = match child.fate {
                Fate::Running => real.state == ChildState::Running,
                _ => matches!(
                    real.state,
                    ChildState::Held | ChildState::Stopped | ChildState::Failed
                ),
            };
            assert!(fits, "{:?} in the model\n{tree}", child.fate);
        }
    }

    /// One trouble, and all that follows from it.
    async fn step(&mut self) {
        let entropy = self.system.entropy().clone();
        let draw = |bound| entropy.below(bound);
        let pause = match draw(6) {
            0 => ms(20),
            1 => Duration::from_nanos(1),
            2 => ms(1),
            // As old as a restart can be and count, or older by as little as can be.
            3 | 4 => {
                let oldest = self
                    .top
                    .window
                    .first()
                    .map(|oldest| *oldest + self.top.period);
                let edge = oldest.unwrap_or_default() + Duration::from_nanos(draw(2));
                edge.saturating_sub(self.otp.now)
            }
            _ => Duration::ZERO,
        };
        self.wait_until(self.otp.now + pause).await;
        let paths = self.top.paths();
        if draw(12) == 0 || paths.is_empty() {
            return self.add().await;
        }
        let path = &paths[usize::try_from(draw(paths.len() as u64)).unwrap()];
        match draw(10) {
            0 => self.hold(path).await,
            1 => self.start_again(path).await,
            2 if draw(3) == 0 => self.remove(path).await,
            3 | 4 => self.change(path),
            _ => self.crash(path).await,
        }
    }

    fn change(&mut self, path: &[usize]) {
        let failing = pick(&self.system, &[1, 1, 2, 4]);
        let fatal = pick(&self.system, &[false, false, false, true]);
        if let What::Leaf(leaf) = &mut self.top.node(path).what {
            (leaf.failing, leaf.fatal) = (failing, fatal);
            leaf.place.ways(|ways| {
                ways.failing = failing;
                ways.fault = match fatal {
                    true => Fault::fatal("never"),
                    false => "no luck".into(),
                };
            });
        }
    }

    async fn crash(&mut self, path: &[usize]) {
        let (reason, end) = match self.system.entropy().below(8) {
            0 | 1 => (ExitReason::Stopped, End::Normal),
            2 => (ExitReason::Killed, End::Failed(FailureClass::Recoverable)),
            3 => (
                ExitReason::Failed(Fault::fatal("fatal")),
                End::Failed(FailureClass::Fatal),
            ),
            4 => (
                ExitReason::Failed(Fault::benign("benign")),
                End::Failed(FailureClass::Benign),
            ),
            _ => (
                ExitReason::Failed("crash".into()),
                End::Failed(FailureClass::Recoverable),
            ),
        };
        let node = self.top.node(path);
        let (What::Leaf(leaf), Fate::Running) = (&node.what, node.fate) else {
            return;
        };
        leaf.place.end(reason);
        let done = self.otp.at(&mut self.top, path, &mut |_, _| Err(end));
        self.settle(done).await;
    }

    /// The real supervisor above a child, and the child's number there.
    fn real(&mut self, path: &[usize]) -> (SupervisorRef, Option<callboard_supervision::ChildId>) {
        let above = match path.split_last() {
            None | Some((_, [])) => "top".to_owned(),
            Some((_, above)) => self.top.node(above).name.clone(),
        };
        let name = self.top.node(path).name.clone();
        let real = self.real.find(&above).unwrap();
        let id = real.child(&name);
        (real, id)
    }

    async fn hold(&mut self, path: &[usize]) {
        let (real, id) = self.real(path);
        let Some(id) = id else {
            assert_eq!(self.top.node(path).fate, Fate::Over);
            return;
        };
        real.hold(id).await.unwrap();
        let node = self.top.node(path);
        if node.fate == Fate::Running {
            self.otp.stop(node);
            node.fate = Fate::Held;
        }
        self.settle(Ok(())).await;
    }

    async fn remove(&mut self, path: &[usize]) {
        let (real, id) = self.real(path);
        let Some(id) = id else {
            assert_eq!(self.top.node(path).fate, Fate::Over);
            return;
        };
        real.remove(id).await.unwrap();
        let node = self.top.node(path);
        if node.fate == Fate::Running {
            self.otp.stop(node);
        }
        if node.fate != Fate::Over {
            self.otp.close(node);
        }
        let index = *path.last().unwrap();
        self.top.above(path).children.remove(index);
        self.settle(Ok(())).await;
    }

    async fn start_again(&mut self, path: &[usize]) {
        let (real, id) = self.real(path);
        let Some(id) = id else {
            assert_eq!(self.top.node(path).fate, Fate::Over);
            return;
        };
        let answer = real.start_again(id).await;
        let ends = self.otp.ends;
        if self.top.node(path).fate == Fate::Over {
            assert!(answer.is_err());
            return;
        }
        let done = self.otp.at(&mut self.top, path, &mut |otp, node| {
            if node.fate == Fate::Running {
                otp.stop(node);
            }
            otp.start(node)
        });
        self.settle(done).await;
        // Else it may have been up before a sibling made an end of it all.
        if self.end.is_none() && self.otp.ends == ends {
            let up = self.top.node(path).fate == Fate::Running;
            assert_eq!(answer.is_ok(), up, "{answer:?}");
        }
    }

    /// One more child, of any supervisor that runs.
    async fn add(&mut self) {
        let mut supervisors: Vec<_> = self.top.paths();
        supervisors.retain(|path| {
            let node = self.top.node(path);
            node.fate == Fate::Running && matches!(node.what, What::Supervisor(_))
        });
        supervisors.push(Vec::new());
        let count = supervisors.len() as u64;
        let draw = usize::try_from(self.system.entropy().below(count)).unwrap();
        let path = &supervisors[draw];
        let (real, rules) = match path.as_slice() {
            [] => (self.real.clone(), &mut self.top),
            path => {
                let node = self.top.node(path);
                let real = self.real.find(&node.name).unwrap();
                let What::Supervisor(below) = &mut node.what else {
                    unreachable!("bug in the model: it was picked as one");
                };
                (real, &mut **below)
            }
        };
        self.names += 1;
        let name = format!("+{}", self.names);
        let (mut node, child) = leaf(&self.system, &self.world, name, rules.auto);
        let added = real.add(child).await;
        match self.otp.start(&mut node) {
            Ok(()) => rules.children.push(node),
            // Who added it is told, and that is all.
            Err(_) => self.otp.close(&mut node),
        }
        let up = added.is_ok();
        self.settle(Ok(())).await;
        assert_eq!(
            up,
            self.otp
                .log
                .last()
                .is_none_or(|(_, line)| !line.starts_with("close"))
        );
    }

    async fn end(mut self) {
        if self.end.is_none() {
            self.real.stop();
            self.otp.stop_all(&mut self.top);
            self.otp.forget_dynamic(&mut self.top);
            self.end = Some(End::Normal);
            self.close_all();
            self.wait_until(self.otp.now).await;
            self.compare();
        }
        self.real.wait().await;
        self.world.check_over();
    }
}

#[test]
fn g15_supervisors_do_what_otps_do() {
    testing::seeds(0..RUNS, |system| async move {
        let mut pair = Pair::start(&system).await;
        for _ in 0..system.entropy().below(40) {
            if pair.end.is_some() {
                break;
            }
            pair.step().await;
        }
        pair.end().await;
    });
}
