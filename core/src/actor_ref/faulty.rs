//! Sends to an actor that a test has put faults on.

use std::sync::Arc;

use futures::future::LocalBoxFuture;

use super::Direct;
use crate::actor::Receives;
use crate::boundary::Verdict;
use crate::cell::Cell;
use crate::counters::DropReason;
use crate::envelope::Envelope;
use crate::error::{Failure, FailureKind};
use crate::message::Message;
use crate::responder::Responder;
use crate::route::Refused;
use crate::testing::{Fate, FaultPoint, Late};

impl<A, How: 'static> Direct<Arc<Cell<A>>, A, How>
where
    A: crate::actor::Actor,
{
    /// What [`send`](crate::Route::send) does, with the faults before it.
    pub(super) fn send_faulty<M>(
        self,
        faults: &FaultPoint,
        envelope: Envelope<M>,
    ) -> Result<(), Refused<M>>
    where
        A: Receives<M, How>,
        M: Message,
    {
        let cell = Arc::clone(&self.cell);
        let span = match faults.arrives::<M>(cell.system(), &cell.label()) {
            // Who has ended says so at once.
            _ if cell.mailbox.is_closed() => return self.send_on(envelope),
            Fate::Now => return self.send_on(envelope),
            Fate::Lost(told) => {
                envelope.responder.fail(told);
                let rest = Envelope {
                    message: envelope.message,
                    meta: envelope.meta,
                    responder: Responder::nowhere(),
                };
                cell.bury(rest, DropReason::Injected);
                return Ok(());
            }
            Fate::Late(span) => span,
        };
        if !faults.line().has_room() {
            let failure = Failure::new(FailureKind::Full, Verdict::NotExecuted)
                .with_detail(format!("{}: too many late messages", cell.label()));
            return Err(Refused::for_good(envelope, failure));
        }
        let late = LateMessage {
            direct: self,
            envelope: Some(envelope),
        };
        let clock = cell.system().clock();
        faults.line().put(cell.home(), clock, span, Box::new(late));
        Ok(())
    }
}

/// A message that a fault has delayed.
struct LateMessage<A: Receives<M, How>, M: Message, How: 'static> {
    direct: Direct<Arc<Cell<A>>, A, How>,
    /// Until it arrives.
    envelope: Option<Envelope<M>>,
}

impl<A: Receives<M, How>, M: Message, How: 'static> Late for LateMessage<A, M, How> {
    fn arrive(mut self: Box<Self>) -> LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            let Some(envelope) = self.envelope.take() else {
                return;
            };
            let arrived = match self.direct.send_on(envelope) {
                Err(refused) if refused.may_wait => self.direct.line_up(refused.envelope).await,
                other => other,
            };
            if let Err(refused) = arrived {
                // Its sender was told Ok long ago.
                self.direct.cell.bury(refused.envelope, DropReason::Stopped);
            }
        })
    }
}

impl<A: Receives<M, How>, M: Message, How: 'static> Drop for LateMessage<A, M, How> {
    fn drop(&mut self) {
        if let Some(envelope) = self.envelope.take() {
            self.direct.cell.bury(envelope, DropReason::Stopped);
        }
    }
}
