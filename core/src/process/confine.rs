//! What a process may use: limits of the system, and its share of the processor.

use std::fmt;
use std::io;

use rustix::process::Pid;

use super::spec::ProcessSpec;

/// What the operating system limits for a process, each inherited by what the process starts. See `setrlimit(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// Its address space, in bytes (`RLIMIT_AS`). Past it, taking memory fails.
    AddressSpace,
    /// Its heap and data, in bytes (`RLIMIT_DATA`). Past it, taking memory fails.
    Data,
    /// The stack of its main thread, in bytes (`RLIMIT_STACK`). Past it: SIGSEGV.
    Stack,
    /// The size of a file that it writes, in bytes (`RLIMIT_FSIZE`). Past it: SIGXFSZ.
    FileSize,
    /// How many file descriptors it can have, its three standard streams among them (`RLIMIT_NOFILE`). Past it,
    /// opening one fails.
    OpenFiles,
    /// Its time on the processor, in whole seconds, at least 1 (`RLIMIT_CPU`). At the limit it is sent SIGXCPU, and a
    /// second later SIGKILL.
    CpuTime,
    /// The size of a core file, in bytes (`RLIMIT_CORE`); 0 for none.
    CoreSize,
    /// How many processes and threads its *user* can have, in the whole system (`RLIMIT_NPROC`). Past it,
    /// starting one fails. The superuser isn't held to it.
    Processes,
    /// How much memory it can lock, in bytes (`RLIMIT_MEMLOCK`).
    LockedMemory,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::AddressSpace => "address space",
            Limit::Data => "data",
            Limit::Stack => "stack",
            Limit::FileSize => "file size",
            Limit::OpenFiles => "open files",
            Limit::CpuTime => "CPU time",
            Limit::CoreSize => "core size",
            Limit::Processes => "processes",
            Limit::LockedMemory => "locked memory",
        })
    }
}

/// Puts the limits and the niceness of its description on a process that has just been started.
pub(super) fn confine(spec: &ProcessSpec, pid: Pid) -> Result<(), String> {
    let program = spec.program().to_string_lossy();
    for (limit, value) in spec.limits() {
        unless_ended(set(pid, limit, value)).map_err(|error| {
            format!("could not start `{program}`: its limit of {limit} can't be {value}: {error}")
        })?;
    }
    if let Some(nice) = spec.niceness() {
        // By its group, which is all of its threads and whatever it has started so far; by its number it would
        // be its main thread alone.
        let done = rustix::process::setpriority_pgrp(Some(pid), i32::from(nice));
        unless_ended(done.map_err(io::Error::from)).map_err(|error| {
            format!("could not start `{program}`: its niceness can't be {nice}: {error}")
        })?;
    }
    Ok(())
}

/// What has ended already needs no limit.
fn unless_ended(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
            Ok(())
        }
        done => done,
    }
}

#[cfg(target_os = "linux")]
fn set(pid: Pid, limit: Limit, value: u64) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, prlimit};
    let resource = match limit {
        Limit::AddressSpace => Resource::As,
        Limit::Data => Resource::Data,
        Limit::Stack => Resource::Stack,
        Limit::FileSize => Resource::Fsize,
        Limit::OpenFiles => Resource::Nofile,
        Limit::CpuTime => Resource::Cpu,
        Limit::CoreSize => Resource::Core,
        Limit::Processes => Resource::Nproc,
        Limit::LockedMemory => Resource::Memlock,
    };
    // At the hard limit of CPU time there is SIGKILL only: a second later leaves room for the signal that says why.
    let hard = match limit {
        Limit::CpuTime => value.saturating_add(1),
        _ => value,
    };
    let both = Rlimit {
        current: Some(value),
        maximum: Some(hard),
    };
    prlimit(Some(pid), resource, both)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn set(_pid: Pid, _limit: Limit, _value: u64) -> io::Result<()> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "only Linux can limit another process",
    ))
}
