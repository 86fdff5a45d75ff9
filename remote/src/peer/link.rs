//! One connection of a peer: its outbox, and what is done with the frames that arrive.

use std::sync::Arc;

use callboard::{DeadLetter, DropReason, Failure, FailureKind, Incarnation, System, Verdict};

use super::Core;
use crate::connection::Side;
use crate::connection::end::EndSignal;
use crate::connection::outbox::{LostTell, Outbox};
use crate::error::LinkErrorKind;
use crate::wire::WireError;
use crate::wire::body::{Event, decode_failure, decode_gap, decode_nothing, decode_subscribed};
use crate::wire::frame::{Frame, Kind};

pub(crate) struct Link {
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) end: Arc<EndSignal>,
    /// The largest body that the other side takes.
    pub(crate) max_frame: u32,
}

impl Link {
    pub(crate) fn new(core: &Core, max_frame: u32) -> Arc<Self> {
        let end = Arc::new(EndSignal::default());
        let system = core.system.clone();
        let on_lost = move |tell| bury(&system, tell);
        Arc::new(Link {
            outbox: Arc::new(Outbox::new(&core.config, Arc::clone(&end), on_lost)),
            end,
            max_frame,
        })
    }

    /// Ends all that is in flight with its verdict. Only the first call finds anything.
    pub(crate) fn give_up(&self, core: &Core, why: &LinkErrorKind) {
        let left = self.outbox.close();
        let error = core.error(why.clone()).to_string();
        for ask in left.asks {
            let failure = if ask.is_handed_over() {
                Failure::new(FailureKind::ConnectionLost, Verdict::MaybeExecuted)
            } else {
                Failure::new(FailureKind::NoConnection, Verdict::NotSent)
            };
            core.counters.failed(failure.kind());
            ask.fail(failure.with_detail(&*error));
        }
        for tell in left.tells {
            core.counters.failed(FailureKind::NoConnection);
            bury(&core.system, tell);
        }
    }
}

/// A tell was accepted and certainly never left: it is counted, and kept as it would have been sent.
fn bury(system: &System, tell: LostTell) {
    let reason = if tell.expired {
        DropReason::Expired
    } else {
        DropReason::Undelivered
    };
    system.dead_letters().push(DeadLetter {
        at: system.clock().now(),
        target: tell.target.to_string(),
        message_type: tell.message_type,
        reason,
        key: tell.key,
        attempts: Vec::new(),
        message: Box::new(tell.frame),
    });
}

/// The asking side of a connection.
pub(crate) struct AskingSide<'a> {
    pub(crate) core: &'a Core,
    pub(crate) link: &'a Link,
    /// Which start of the other node this is.
    pub(crate) incarnation: Incarnation,
}

impl Side for AskingSide<'_> {
    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), WireError> {
        match frame.kind {
            Kind::Reply => match self.link.outbox.take_ask(frame.correlation) {
                Some(ask) => ask.reply(frame.body),
                None => {
                    self.core.counters.late_replies();
                    self.core
                        .system
                        .counters()
                        .count_drop(DropReason::LateReply);
                }
            },
            Kind::Failed => {
                let failure = decode_failure(frame.body)?;
                if let Some(ask) = self.link.outbox.take_ask(frame.correlation) {
                    self.core.counters.failed(failure.kind());
                    ask.fail(failure);
                } else if let Some(feed) = self.core.take_feed(frame.correlation) {
                    self.core.counters.failed(failure.kind());
                    feed.failed(failure);
                }
            }
            Kind::Subscribed => {
                let since = decode_subscribed(frame.body)?;
                if let Some(feed) = self.core.feed(frame.correlation) {
                    let kept = feed.confirmed(self.incarnation, since);
                    self.core.fed(frame.correlation, kept);
                }
            }
            // Events of a subscription that was dropped may still be on their way.
            Kind::Event => {
                let event = Event::decode(frame.body)?;
                self.core.counters.events();
                if let Some(feed) = self.core.feed(frame.correlation) {
                    let kept = feed.event(&event)?;
                    self.core.fed(frame.correlation, kept);
                }
            }
            Kind::Gap => {
                let (from, to) = decode_gap(frame.body)?;
                if let Some(feed) = self.core.feed(frame.correlation) {
                    feed.gap(from, to)?;
                    self.core.counters.gaps();
                }
            }
            Kind::Ended => {
                decode_nothing(frame.kind, frame.body)?;
                if let Some(feed) = self.core.take_feed(frame.correlation) {
                    feed.ended();
                }
            }
            other => return Err(WireError::Unexpected(other.text())),
        }
        Ok(())
    }
}
