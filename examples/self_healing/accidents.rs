//! What happens to the bakery, and when.

use std::time::Duration;

use callboard::supervision::{Child, ChildState, TreeSnapshot};
use callboard::{Entropy, Failure};
use futures::channel::oneshot;
use rustix::process::{Pid, Signal, kill_process};

use super::bakery::{Bakery, LINE, OVEN, RADIO, ROUND, TILL};
use super::worker::{BURNT, Driver, End, Job, Trouble};

/// How long an accident waits for its victim.
const PATIENCE: Duration = Duration::from_millis(400);
const WORKERS: [&str; 6] = ["mixer", OVEN, "packer", "left pan", "right pan", TILL];

/// Something that happens, that long after the bakery has opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accident {
    pub(super) at: Duration,
    pub(super) what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// In the middle of a job.
    Killed(&'static str),
    Burns(&'static str),
    /// Begins a job, and never ends.
    Hangs(&'static str),
    TornNote,
    JammedDrawer,
    RadioKilled,
    DriverSent(u32),
    DriverKilled(u32),
    NoGas(Until),
}

/// Until when something lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    After(Duration),
    /// A supervisor has given up for it.
    Escalated,
}

impl What {
    /// What is said about it.
    pub(super) fn text(self) -> String {
        match self {
            What::Killed(whom) => format!("the {whom} is killed in the middle of a job"),
            What::Burns(whom) => format!("the {whom} panics: {BURNT}"),
            What::Hangs(whom) => format!("the {whom} begins a job, and does not move any more"),
            What::TornNote => format!("the {TILL} is given {}", Trouble::TornNote),
            What::JammedDrawer => format!("at the {TILL} {}", Trouble::JammedDrawer),
            What::RadioKilled => format!("the {RADIO} is sent SIGKILL"),
            What::DriverSent(number) => format!("driver {number} is sent on its round"),
            What::DriverKilled(number) => format!("driver {number} is killed on its way"),
            What::NoGas(_) => format!("the gas is out, and the {OVEN} with it"),
        }
    }
}

/// One of each kind; each is healed before the next.
pub(super) fn tour() -> Vec<Accident> {
    let healed = Duration::from_secs(20);
    let at_once = Duration::from_millis(500);
    let mut at = Duration::ZERO;
    [
        (healed, What::TornNote),
        (healed, What::Killed("right pan")),
        (healed, What::Burns(OVEN)),
        (healed, What::Hangs("mixer")),
        (healed, What::DriverSent(1)),
        (at_once, What::DriverKilled(1)),
        (healed, What::JammedDrawer),
        (healed, What::NoGas(Until::Escalated)),
    ]
    .map(|(after, what)| {
        at += after;
        Accident { at, what }
    })
    .to_vec()
}

/// A run of that length, with accidents as the seed says, and one long one in the middle.
pub(super) fn draw(seed: u64, length: Duration, with_radio: bool) -> Vec<Accident> {
    let entropy = Entropy::seeded(seed);
    let mut accidents = Vec::new();
    let mut drivers = 0;
    let mut at = Duration::ZERO;
    let mut gas_is_due = true;
    while at < length * 9 / 10 {
        at += Duration::from_millis(150 + entropy.below(700));
        let whom = WORKERS[entropy.below(WORKERS.len() as u64) as usize];
        let what = match entropy.below(11) {
            _ if gas_is_due && at > length * 2 / 5 => {
                gas_is_due = false;
                What::NoGas(Until::After(length / 5))
            }
            0..=2 => What::Killed(whom),
            3..=4 => What::Burns(whom),
            5 => What::Hangs(whom),
            6 => What::TornNote,
            7 => What::JammedDrawer,
            8 if with_radio => What::RadioKilled,
            9 if drivers > 0 => What::DriverKilled(drivers),
            _ => {
                drivers += 1;
                What::DriverSent(drivers)
            }
        };
        accidents.push(Accident { at, what });
    }
    accidents
}

impl Bakery {
    /// Makes it happen, and waits until everybody who was in line then has an answer.
    pub(super) async fn suffer(&self, what: What) {
        match what {
            What::Killed(whom) => self.kill(whom).await,
            What::Burns(whom) => self.strike(whom, End::Burns).await,
            What::Hangs(whom) => {
                let (begun, _) = oneshot::channel(); // nobody comes to kill it
                self.strike(whom, End::Never(begun)).await;
            }
            What::TornNote => self.strike(TILL, End::Trouble(Trouble::TornNote)).await,
            What::JammedDrawer => self.strike(TILL, End::Trouble(Trouble::JammedDrawer)).await,
            What::RadioKilled => self.kill_process(RADIO),
            What::DriverSent(number) => self.send_driver(number).await,
            What::DriverKilled(number) => self.kill_driver(number),
            What::NoGas(until) => {
                self.gas.turn(false);
                let back = async {
                    self.gas_is_back(until).await;
                    self.gas.turn(true);
                };
                futures::join!(self.kill(OVEN), back);
            }
        }
    }

    async fn gas_is_back(&self, until: Until) {
        match until {
            Until::After(span) => self.system.clock().sleep(span).await,
            Until::Escalated => {
                let failed =
                    |tree: &TreeSnapshot| tree.find(LINE).is_some_and(|line| line.restarts > 0);
                self.top.until(failed).await;
            }
        }
    }

    /// Everybody is up, and nobody waits to be.
    pub(super) async fn healed(&self) {
        fn is_well(node: &TreeSnapshot) -> bool {
            node.state == ChildState::Running && node.children.iter().all(is_well)
        }
        self.top.until(is_well).await;
    }

    // ANCHOR: strike
    /// A job with a bad end, and others behind it in the same mailbox, which must not suffer from it.
    async fn strike(&self, whom: &str, end: End) {
        let Some(worker) = self.worker(whom) else {
            return;
        };
        let number = self.ledger.job(true);
        let bad = async {
            // For somebody who may be down: then it comes back.
            let answer = worker.ask(Job { number, end }).deadline(PATIENCE).await;
            self.ledger.ended(number, &answer.map_err(Failure::from));
        };
        futures::join!(bad, self.visit(worker, |bursts| bursts == 0));
    }
    // ANCHOR_END: strike

    async fn kill(&self, whom: &str) {
        let (begun, is_begun) = oneshot::channel();
        let killed = async {
            // An error: the job never began, there is nobody to be killed.
            if is_begun.await.is_ok()
                && let Some(worker) = self.worker(whom)
            {
                worker.kill();
            }
            std::future::pending::<()>().await;
        };
        // Until the strike is over: a job that came too late may lie among the dead letters, and never says so.
        let strike = self.strike(whom, End::Never(begun));
        futures::future::select(Box::pin(strike), Box::pin(killed)).await;
    }

    fn kill_process(&self, label: &str) {
        let tree = self.top.observe();
        let pid = tree.find(label).and_then(|node| node.pid);
        if let Some(pid) = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            let _ = kill_process(pid, Signal::KILL); // an error: it is gone already
        }
    }

    // ANCHOR: driver
    async fn send_driver(&self, number: u32) {
        let Some(round) = self.top.find(ROUND) else {
            return;
        };
        let driver = self
            .system
            .actor(|| Driver)
            .label(format!("driver {number}"));
        let (driver, place) = driver.place();
        // Done when home: what ends in order isn't started again, and leaves the tree.
        if round.add(Child::transient(place)).await.is_ok() {
            self.drivers.lock().insert(number, driver);
        }
    }
    // ANCHOR_END: driver

    fn kill_driver(&self, number: u32) {
        if let Some(driver) = self.drivers.lock().get(&number) {
            driver.kill();
        }
    }
}
