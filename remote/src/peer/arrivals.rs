//! What arrives for who asks: answers, credit, events.

use std::sync::Arc;

use super::Core;
use super::caller::slot_of;
use super::subscription::Feed;
use crate::session::Session;
use crate::wire::WireError;
use crate::wire::body::{
    Event, PACKED, POSITIONAL, decode_failure, decode_gap, decode_nothing, decode_number,
};
use crate::wire::frame::{Frame, Kind};
use crate::wire::watching::Life;

impl Core {
    /// Takes one frame. Never waits.
    pub(crate) fn take(&self, session: &Arc<Session>, frame: &Frame<'_>) -> Result<(), WireError> {
        let number = frame.correlation;
        let flags = frame.flags;
        match frame.kind {
            Kind::Reply => {
                if flags & !(PACKED | POSITIONAL) != 0 {
                    return Err(bad(frame, "flag"));
                }
                let caller = session.caller(slot_of(number));
                let caller = caller.ok_or_else(|| bad(frame, "correlation"))?;
                if caller.reply(session, number, flags, frame.body) {
                    session.outbox.ask_ended();
                } else {
                    self.late_reply();
                }
            }
            Kind::Failed => {
                let failure = decode_failure(frame.body)?;
                if let Some(feed) = self.take_feed_of(session, number) {
                    self.counters.failed(failure.kind());
                    feed.failed(failure);
                } else if let Some(told) = self.watches.refused(session, number, &failure) {
                    self.counters.failed(failure.kind());
                    self.tell_later(told);
                } else if let Some(caller) = session.caller(slot_of(number))
                    && caller.fail(session, number, failure)
                {
                    session.outbox.ask_ended();
                }
            }
            Kind::Credit => {
                let limit = decode_number(frame.kind, frame.body)?;
                session.outbox.credit(number, limit);
            }
            Kind::Opened => {
                decode_nothing(frame.kind, frame.body)?;
                let slot = u32::try_from(number).map_err(|_| bad(frame, "slot"))?;
                let caller = session.opened(slot).ok_or_else(|| bad(frame, "slot"))?;
                if flags & POSITIONAL != 0 {
                    caller.positional(session.number);
                }
            }
            Kind::Subscribed => {
                let since = decode_number(frame.kind, frame.body)?;
                if let Some(feed) = self.feed_of(session, number) {
                    let kept = feed.confirmed(session.theirs.incarnation, since);
                    self.fed(number, kept);
                }
            }
            // Events of a subscription that was dropped may still be on their way.
            Kind::Event => {
                let event = Event::decode(frame.body)?;
                self.counters.events();
                if let Some(feed) = self.feed_of(session, number) {
                    let kept = feed.event(&event, session.number)?;
                    self.fed(number, kept);
                }
            }
            Kind::Gap => {
                let (from, to) = decode_gap(frame.body)?;
                if let Some(feed) = self.feed_of(session, number) {
                    feed.gap(from, to)?;
                    self.counters.gaps();
                }
            }
            Kind::Life => {
                let life = Life::decode(frame.body)?;
                let told = self.watches.life(session, number, life);
                self.tell_later(told);
            }
            Kind::Ended => {
                decode_nothing(frame.kind, frame.body)?;
                if let Some(feed) = self.take_feed_of(session, number) {
                    feed.ended();
                }
            }
            other => return Err(WireError::Unexpected(other.text())),
        }
        Ok(())
    }
}

impl Core {
    /// A subscription has one number over all sessions: what the last words of one before say is none of it.
    fn feed_of(&self, session: &Session, number: u64) -> Option<Arc<dyn Feed>> {
        self.is_current(session)
            .then(|| self.feed(number))
            .flatten()
    }

    fn take_feed_of(&self, session: &Session, number: u64) -> Option<Arc<dyn Feed>> {
        self.is_current(session)
            .then(|| self.take_feed(number))
            .flatten()
    }
}

fn bad(frame: &Frame<'_>, field: &'static str) -> WireError {
    WireError::BadField {
        frame: frame.kind.text(),
        field,
    }
}
