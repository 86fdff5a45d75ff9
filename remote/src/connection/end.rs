//! How a connection is told to end from outside.

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::error::LinkErrorKind;

/// Set once; the first reason counts.
#[derive(Debug, Default)]
pub(crate) struct EndSignal {
    reason: Mutex<Option<LinkErrorKind>>,
    notify: Notify,
}

impl EndSignal {
    /// Ends the connection for this reason.
    pub(crate) fn set(&self, reason: LinkErrorKind) {
        self.reason.lock().get_or_insert(reason);
        self.notify.notify_one();
    }

    /// Completes when it is set. One waiter at a time.
    pub(crate) async fn wait(&self) -> LinkErrorKind {
        loop {
            let reason = self.reason.lock().clone();
            if let Some(reason) = reason {
                return reason;
            }
            self.notify.notified().await;
        }
    }
}
