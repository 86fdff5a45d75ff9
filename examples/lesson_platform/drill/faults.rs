//! Faults: real signals to real processes, connections that are cut, and a slip in a file.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{Drill, Fault};
use crate::calls::Part;

/// How often it is tried whether a part answers again.
const PROBE_EVERY: Duration = Duration::from_millis(10);
/// A part that hasn't come back by then will not.
const GIVE_UP: Duration = Duration::from_secs(15);
const FROZEN: Duration = Duration::from_secs(2);
/// So long nobody does anything about it.
const UNNOTICED: Duration = Duration::from_millis(700);

impl Drill {
    pub(super) async fn make_faults(&self) {
        self.at(3.0).await;
        self.kill(Part::Thumbnails).await;
        self.at(7.0).await;
        self.kill(Part::Metadata).await;
        self.at(11.0).await;
        self.freeze(Part::Metadata).await;
        self.at(14.0).await;
        self.cut_connections().await;
        self.at(16.5).await;
        self.make_a_slip().await;
        self.at(17.5).await;
        self.write_the_first_one_again().await;
    }

    /// SIGKILL, and then it is the supervisor's turn.
    async fn kill(&self, part: Part) {
        let Some(pid) = self.platform.pid(part) else {
            return self.say(&format!("{part}: no process to kill"));
        };
        let fault = self.begin(part, format!("{part} killed"));
        self.signal(pid, Signal::KILL);
        self.say(&format!("{part} process killed (SIGKILL, pid {pid})"));
        let started_again = |now: Option<u32>| now.is_some_and(|now| now != pid);
        self.wait_until_back(fault, part, started_again).await;
    }

    /// SIGSTOP, two seconds of silence, SIGCONT: the connection stays, the answers don't come. Meanwhile somebody
    /// sees to it that pages no longer wait for them.
    async fn freeze(&self, part: Part) {
        let Some(pid) = self.platform.pid(part) else {
            return self.say(&format!("{part}: no process to stop"));
        };
        let fault = self.begin(part, format!("{part} stopped for {} s", FROZEN.as_secs()));
        self.signal(pid, Signal::STOP);
        self.say(&format!("{part} process stopped (SIGSTOP, pid {pid})"));
        let until = self.clock.now() + FROZEN;
        self.clock.sleep(UNNOTICED).await;
        self.switch_breaker_on().await;
        self.clock.sleep_until(until).await;
        self.signal(pid, Signal::CONT);
        self.say(&format!("{part} process goes on (SIGCONT)"));
        self.wait_until_back(fault, part, |now| now.is_some()).await;
    }

    pub(super) fn begin(&self, part: Part, what: String) -> usize {
        let mut faults = self.faults.lock();
        faults.push(Fault {
            what,
            part,
            from: self.clock.now(),
            to: None,
        });
        faults.len() - 1
    }

    fn signal(&self, pid: u32, signal: Signal) {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        if let Some(Err(error)) = pid.map(|pid| kill_process(pid, signal)) {
            self.say(&format!("the signal could not be sent: {error}"));
        }
    }

    pub(super) async fn wait_until_back(
        &self,
        fault: usize,
        part: Part,
        is_new: impl Fn(Option<u32>) -> bool,
    ) {
        let from = self.clock.now();
        while self.clock.now().since(from) < GIVE_UP {
            if is_new(self.platform.pid(part)) && self.platform.probe(part).await {
                let now = self.clock.now();
                self.faults.lock()[fault].to = Some(now);
                let away = now.since(self.faults.lock()[fault].from);
                self.say(&format!(
                    "{part} answers again, {:.2} s after the fault",
                    away.as_secs_f64()
                ));
                return;
            }
            self.clock.sleep(PROBE_EVERY).await;
        }
        self.say(&format!("{part} has not come back"));
    }
}
