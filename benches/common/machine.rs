//! The machine: what it is, and whether it is quiet enough to measure on. Reads `/proc`; where there is
//! none, nothing is known, and nothing is refused.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// Above this load average over one minute figures mean nothing.
const LOAD_LIMIT: f64 = 0.7;
/// Above this share of busy processor time, all cores together, they don't either.
const BUSY_LIMIT: f64 = 0.10;
const SAMPLE: Duration = Duration::from_secs(1);

/// Why one should not measure now.
#[must_use]
pub fn why_busy() -> Option<String> {
    if let Some(load) = load_average().filter(|load| *load > LOAD_LIMIT) {
        return Some(format!(
            "the load average over one minute is {load:.2} (limit {LOAD_LIMIT})"
        ));
    }
    let before = Usage::now()?;
    thread::sleep(SAMPLE);
    let busy = Usage::now()?.since(&before).busy_share();
    (busy > BUSY_LIMIT).then(|| {
        format!(
            "the processors are {:.0} % busy (limit {:.0} %)",
            busy * 100.0,
            BUSY_LIMIT * 100.0
        )
    })
}

fn load_average() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Processor time since the machine's start, in its ticks.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    busy: f64,
    idle: f64,
    /// This process's part of `busy`, its ended children included.
    own: f64,
}

impl Usage {
    #[must_use]
    pub fn now() -> Option<Self> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let fields: Vec<f64> = stat
            .lines()
            .next()?
            .split_whitespace()
            .skip(1)
            .filter_map(|field| field.parse().ok())
            .collect();
        // user nice system idle iowait irq softirq steal; what follows is contained in the first two.
        let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = fields[..] else {
            return None;
        };
        let own = fs::read_to_string("/proc/self/stat").ok()?;
        // The name in parentheses may contain spaces; utime, stime, cutime and cstime are 11 fields later.
        let own = own.rsplit_once(')')?.1;
        let own = own
            .split_whitespace()
            .skip(11)
            .take(4)
            .filter_map(|field| field.parse::<f64>().ok())
            .sum();
        Some(Usage {
            busy: user + nice + system + irq + softirq + steal,
            idle: idle + iowait,
            own,
        })
    }

    #[must_use]
    pub fn since(&self, before: &Usage) -> Usage {
        Usage {
            busy: self.busy - before.busy,
            idle: self.idle - before.idle,
            own: self.own - before.own,
        }
    }

    fn busy_share(&self) -> f64 {
        self.busy / (self.busy + self.idle).max(1.0)
    }

    /// The share of all processor time that others used, time stolen by a hypervisor included.
    #[must_use]
    pub fn others_share(&self) -> f64 {
        (self.busy - self.own).max(0.0) / (self.busy + self.idle).max(1.0)
    }
}

/// The resident size of this process in bytes; 0 where the kernel doesn't say.
#[must_use]
pub fn resident_bytes() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kibibytes.unwrap_or(0.0) * 1024.0
}

/// The machine in one line.
#[must_use]
pub fn describe() -> String {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let model = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let rustc = Command::new("rustc").arg("--version").output().ok();
    let rustc = rustc.map_or_else(String::new, |output| {
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    });
    let parts = [
        format!(
            "{cores} x {}",
            model.as_deref().unwrap_or("unknown processor")
        ),
        format!("{} {}", std::env::consts::OS, kernel.trim()),
        rustc,
    ];
    parts.map(|part| part.trim().to_owned()).join(", ")
}

/// These crates with their versions, from the lock file this program was built with.
#[must_use]
pub fn versions(names: &[&str]) -> String {
    const LOCK: &str = include_str!("../Cargo.lock");
    let versions = names.iter().map(|name| {
        let version = LOCK
            .split_once(&format!("name = \"{name}\"\nversion = \""))
            .and_then(|(_, rest)| rest.split_once('"'));
        format!("{name} {}", version.map_or("?", |(version, _)| version))
    });
    versions.collect::<Vec<_>>().join(", ")
}
