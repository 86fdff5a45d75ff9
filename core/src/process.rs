//! Child processes: started, spoken to over their stdin and stdout, limited, listened to, stopped, reaped.
//!
//! A [`ProcessPlace`] is a [`Place`](crate::Place), so that a supervisor starts and restarts a process like any child.
//! There are two kinds:
//! - One that speaks ([`ProcessPlace::new`]). What is spoken over its byte stream is not this module's business: at
//!   each start the stream is lent to a callback, and whoever speaks (the remote layer, say) takes it from
//!   there.
//! - One that doesn't ([`ProcessPlace::plain`]): a converter, a proxy, a script. Its stdout goes line by line to
//!   `tracing`, and its stdin is the lifeline only.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use callboard_core::{System, process::{Limit, Output, ProcessPlace, ProcessSpec, Signal}};
//! # fn example(system: &System) {
//! let spec = ProcessSpec::new("thumbnailer").arg("--quiet").label("thumbnails");
//! let thumbnails = ProcessPlace::new(system, spec, |stream, incarnation| {
//!     // Hand `stream` to whoever speaks over it; this runs on the child's arbiter.
//!     drop((stream, incarnation));
//! });
//!
//! let spec = ProcessSpec::new("proxy")
//!     .stderr(Output::Trace)
//!     .limit(Limit::OpenFiles, 512)
//!     .heartbeat(Duration::from_secs(30))
//!     .fatal_status(78);
//! let proxy = ProcessPlace::plain(system, spec);
//! let handle = proxy.reference();
//! // Later, from anywhere: read your configuration again.
//! if let Err(error) = handle.signal(Signal::HUP) {
//!     tracing::warn!(%error, "no new configuration");
//! }
//! # }
//! ```
//!
//! # Guarantees
//! - An incarnation is reported as ended only after its process was reaped; no zombie is left, and the next
//!   one is not started before (G13).
//! - A process that can't be started is a failed start that says what and where: the program, the directory, the
//!   limit that was refused (G16). A description that makes no sense is one of class
//!   [`Fatal`](crate::FailureClass::Fatal).
//! - [`stop`](crate::Place::stop) closes the child's stdin and sends SIGTERM, then SIGCONT, without which a frozen
//!   one would not hear of it; what is left of its process group
//!   after its [shutdown time](ProcessSpec::shutdown_time), in the system's time, is sent SIGKILL (G11).
//! - When the child has ended, for whatever reason, SIGKILL goes to the rest of its process group, so that
//!   what it started doesn't outlive it (unless it left the group).
//! - The exit status is the [`ExitReason`](crate::ExitReason): 0 is `Stopped`; anything else is
//!   `Failed("exit status 3")` or `Failed("signal 9 (SIGKILL)")`, of class `Recoverable` unless the status was
//!   [said to be fatal](ProcessSpec::fatal_status). Asked to [`kill`](crate::Place::kill) it
//!   is `Killed`; asked to stop and ended by the SIGTERM it is `Stopped`.
//! - A signal sent through a [`ProcessRef`] reaches this child or nobody.
//! - What it writes is read in pieces with a bound, and a child that never stops talking leaves turns to
//!   others (G3, G5).
//!
//! # The lifeline
//! A child must end when its stdin ends. The operating system closes it when the parent ends, also by
//! SIGKILL, so no child outlives its parent by more than it takes to notice. `PR_SET_PDEATHSIG` is not used:
//! it fires when the *thread* that started the child ends.
//! A program that never reads its stdin takes no notice. If it is to end with a parent that was killed, let a shell
//! read for it: `exec 3<&0; (cat <&3 >/dev/null; kill $$) & exec prog </dev/null 3<&-`.
//!
//! # Ignored signals
//! A signal that this process ignores its children ignore too, unless they set it otherwise: that is how Unix starts
//! programs, and what `nohup` lives on. Started under `nohup`, a proxy that doesn't set SIGHUP itself takes no notice of
//! it. One that was left ignoring SIGTERM hears of a stop by the end of its stdin, or by SIGKILL after its shutdown
//! time.
//!
//! # No progress
//! For a process, progress is a byte from its stdout. With a [`heartbeat`](ProcessSpec::heartbeat) the place says
//! [`NoProgress`](crate::ChildEvent::NoProgress) when none came for too long: the process is stopped (SIGSTOP), hangs,
//! or swaps. Killing it always works, also when it is stopped; only one in the middle of an uninterruptible wait in
//! the kernel (a dead network file system) ends when that wait does, and until then no new incarnation starts
//! (G13). It is heard on the arbiter where the process is waited for: on
//! [`Placement::Control`](crate::Placement::Control), unless moved, where no actor that blocks its thread delays it. When
//! this process itself stood still (its container was paused) its children get their time again.
//!
//! # Where it runs
//! A start, which may have to wait for a disk, has a thread for itself. Waiting, listening and tracing are done on the
//! place's [placement](ProcessPlace::placement). The pipes of a lent stream are known to the runtime of that
//! arbiter, which tells of readiness and no more: reading, writing and decoding happen where the stream is used, so
//! hand it to a task on another arbiter if there is anything to decode, as the remote layer does.
//!
//! # When it fails
//! Processes need arbiters: on the simulating executor a start fails and says so (G38 names processes as
//! outside the simulation). If its arbiter ends while a process runs or comes up, the process group is sent SIGKILL, the
//! end is reported at once, and a thread reaps the process. Stop a system with its
//! `shutdown`, which stops supervisors first. Where there is no `pidfd` (before Linux 5.3, on another system, or for want
//! of a file descriptor) each process has a thread that waits for its end. A program that collects
//! the ends of all its children itself (`waitpid(-1)`, or SIGCHLD ignored) takes those of this module too: they are
//! reported as lost, and a signal may then reach another process of that number.

mod child;
mod confine;
mod handle;
mod launch;
mod output;
mod place;
mod pulse;
mod signal;
mod spec;
mod stream;

#[cfg(test)]
mod tests;

pub use confine::Limit;
pub use handle::ProcessRef;
pub use place::ProcessPlace;
pub use signal::{NoSuchSignal, Signal, SignalError};
pub use spec::{DEFAULT_SHUTDOWN_TIME, Output, ProcessSpec};
pub use stream::ProcessStream;
