//! Child processes: started, spoken to over their stdin and stdout, stopped, reaped.
//!
//! A [`ProcessPlace`] is a [`Place`](crate::Place), so that a supervisor starts and restarts a process like any child.
//! What is spoken over the byte stream is not this module's business: at each start the stream is lent to a
//! callback, and whoever speaks (the remote layer, say) takes it from there.
//!
//! # Guarantees
//! - An incarnation is reported as ended only after its process was reaped; no zombie is left, and the next
//!   one is not started before (G13).
//! - A process that can't be started is a failed start that names the program (G16).
//! - [`stop`](crate::Place::stop) closes the child's stdin and sends SIGTERM, then SIGCONT, without which a frozen
//!   one would not hear of it; what is left of its process group
//!   after its [shutdown time](ProcessSpec::shutdown_time), in the system's time, is sent SIGKILL (G11).
//! - When the child has ended, for whatever reason, SIGKILL goes to the rest of its process group, so that
//!   what it started doesn't outlive it (unless it left the group).
//! - The exit status is the [`ExitReason`](crate::ExitReason): 0 is `Stopped`; anything else is
//!   `Failed("exit status 3")` or `Failed("signal 9 (SIGKILL)")`. Asked to [`kill`](crate::Place::kill) it
//!   is `Killed`; asked to stop and ended by the SIGTERM it is `Stopped`.
//!
//! # The lifeline
//! A child must end when its stdin ends. The operating system closes it when the parent ends, also by
//! SIGKILL, so no child outlives its parent by more than it takes to notice. `PR_SET_PDEATHSIG` is not used:
//! it fires when the *thread* that started the child ends.
//!
//! # When it fails
//! Processes need arbiters: on the simulating executor a start fails and says so (G38 names processes as
//! outside the simulation). If its arbiter ends while a process runs, the process group is sent SIGKILL and the end
//! is reported at once; the process is reaped by the runtime when it gets to it. Stop a system with its
//! `shutdown`, which stops supervisors first. Where the kernel has no `pidfd` (before Linux 5.3, or another system) a
//! signal sent in the moment between a child's end and its reaping could reach a process that got its
//! number since.
//!
//! ```no_run
//! # use callboard_core::{System, process::{ProcessPlace, ProcessSpec}};
//! # fn example(system: &System) {
//! let spec = ProcessSpec::new("thumbnailer").arg("--quiet").label("thumbnails");
//! let place = ProcessPlace::new(system, spec, |stream, incarnation| {
//!     // Hand `stream` to whoever speaks over it; this runs on the child's arbiter.
//!     drop((stream, incarnation));
//! });
//! # }
//! ```

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
