//! How long asks take, measured at the way back: whoever asked, and whoever answers.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{Sent, Series};
use crate::boundary::Verdict;
use crate::clock::Instant;
use crate::responder::{Outcome, ReplySink, Responder};
use crate::system::System;

/// How an ask ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Reply,
    Failure,
    Withdrawn,
}

impl Ended {
    pub(super) const ALL: [Ended; 3] = [Ended::Reply, Ended::Failure, Ended::Withdrawn];

    pub(super) fn name(self) -> &'static str {
        match self {
            Ended::Reply => "reply",
            Ended::Failure => "failure",
            Ended::Withdrawn => "withdrawn",
        }
    }
}

/// Has an ask measured from its sending on. A tell has no way back, and isn't.
pub(super) fn measure<R: Send + 'static>(
    system: &System,
    responder: &mut Responder<R>,
    sent: &Sent,
) {
    let whole = std::mem::replace(responder, Responder::nowhere());
    let Some(mut inner) = whole.into_sink() else {
        return;
    };
    let open = Open(Arc::new(Mutex::new(Some(Running {
        system: system.clone(),
        since: sent.at,
        series: Arc::clone(&sent.series),
    }))));
    let withdrawn = open.clone();
    inner.on_withdraw(Box::new(move || withdrawn.end(Ended::Withdrawn)));
    *responder = Responder::new(Box::new(Timed { inner, open }));
}

struct Running {
    system: System,
    since: Instant,
    series: Arc<Series>,
}

/// An ask that has not ended, for all who may end it. The first does.
#[derive(Clone)]
struct Open(Arc<Mutex<Option<Running>>>);

impl Open {
    fn end(&self, ended: Ended) {
        let running = self.0.lock().take();
        if let Some(running) = running {
            let took = running.system.clock().now().since(running.since);
            running.series.ask(ended).record(took);
        }
    }
}

/// The way back, and the time it took.
struct Timed<R> {
    inner: Box<dyn ReplySink<R>>,
    open: Open,
}

impl<R> ReplySink<R> for Timed<R> {
    fn progress(&mut self, verdict: Verdict) -> bool {
        self.inner.progress(verdict)
    }

    fn finish(self: Box<Self>, outcome: Outcome<R>) {
        self.open.end(match &outcome {
            Ok(_) => Ended::Reply,
            Err(_) => Ended::Failure,
        });
        self.inner.finish(outcome);
    }

    fn on_withdraw(&mut self, withdraw: Box<dyn FnOnce() + Send>) {
        // It takes the place of the one that was set first.
        let open = self.open.clone();
        self.inner.on_withdraw(Box::new(move || {
            open.end(Ended::Withdrawn);
            withdraw();
        }));
    }
}
