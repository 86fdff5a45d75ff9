//! A child process as others than its supervisor see it.

use std::fmt;
use std::sync::Arc;

use super::place::{Process, Shared};
use super::signal::{Signal, SignalError};
use crate::id::Incarnation;

/// A handle to a child process: its number, and a way to send it signals. Made by
/// [`ProcessPlace::reference`](super::ProcessPlace::reference).
///
/// Like any reference it outlives restarts: it means whichever process runs in its place, and none if none does. To
/// end a process for good is its supervisor's business; one that is ended by a signal from here is a failure,
/// and is started again as such.
///
/// ```no_run
/// # use callboard_core::{System, process::{ProcessPlace, ProcessSpec, Signal, SignalError}};
/// # fn example(system: &System) -> Result<(), SignalError> {
/// let place = ProcessPlace::plain(system, ProcessSpec::new("proxy"));
/// let proxy = place.reference();
/// // Once it runs: read your configuration again.
/// proxy.signal(Signal::HUP)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ProcessRef {
    shared: Arc<Shared>,
}

impl ProcessRef {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        ProcessRef { shared }
    }

    /// Its name for people.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.shared.label
    }

    /// The number of the process that runs, if one does. By the time it is used the process may have ended, and its
    /// number may be another's: [`signal`](ProcessRef::signal) has no such gap.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let state = self.shared.state.lock();
        state.process.as_ref().map(Process::number)
    }

    /// How often it has been started.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.shared.state.lock().incarnation
    }

    /// Sends a signal to the process that runs, and not to what it has started. `Ok` means that the system took
    /// it; what the process does about it is its own business.
    ///
    /// It reaches this child or nobody, never a process that got its number since: a child isn't reaped while a
    /// signal is on its way, and its number is free only when it was reaped.
    ///
    /// # Errors
    /// [`SignalError::NotRunning`], [`SignalError::Refused`].
    pub fn signal(&self, signal: Signal) -> Result<(), SignalError> {
        self.send(None, signal)
    }

    /// The same, only if that incarnation still runs: for who decided by what that one did.
    ///
    /// # Errors
    /// [`SignalError::OtherIncarnation`], and those of [`signal`](ProcessRef::signal).
    pub fn signal_incarnation(
        &self,
        incarnation: Incarnation,
        signal: Signal,
    ) -> Result<(), SignalError> {
        self.send(Some(incarnation), signal)
    }

    fn send(&self, meant: Option<Incarnation>, signal: Signal) -> Result<(), SignalError> {
        let label = || self.shared.label.clone();
        // Held while it is sent: who reaps takes the process out first.
        let state = self.shared.state.lock();
        let Some(process) = &state.process else {
            let label = label();
            return Err(SignalError::NotRunning { label, signal });
        };
        let running = state.incarnation;
        if let Some(meant) = meant.filter(|meant| *meant != running) {
            return Err(SignalError::OtherIncarnation {
                label: label(),
                signal,
                meant,
                running,
            });
        }
        let sent = process.send(signal.raw());
        drop(state);
        sent.map_err(|error| match error {
            // It has ended, and nobody has been told yet.
            rustix::io::Errno::SRCH => SignalError::NotRunning {
                label: label(),
                signal,
            },
            error => SignalError::Refused {
                label: label(),
                signal,
                error: error.into(),
            },
        })
    }
}

impl fmt::Debug for ProcessRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessRef")
            .field("label", &self.shared.label)
            .field("incarnation", &self.incarnation())
            .field("pid", &self.pid())
            .finish()
    }
}
