//! Tells that were accepted here and whose arrival was never acknowledged: counted, and kept as they would have been
//! sent (G6).

use std::collections::HashMap;

use callboard::{DeadLetter, DropReason, FailureKind, RequestKey};

use super::Session;
use super::log::LargeTell;
use crate::wire::body::{FIRST, LAST, Request};
use crate::wire::frame::{Frame, Kind, split_frame};

/// Collects them from what a session leaves.
struct Lost<'a> {
    session: &'a Session,
    /// Large frames, by the number that their pieces have; of those that begin here.
    wholes: HashMap<u64, Vec<u8>>,
    letters: Vec<DeadLetter>,
}

impl Session {
    /// Buries what was handed to connections and not acknowledged; each once, whoever calls this and how often.
    pub(super) fn bury_unacknowledged(&self) {
        let mut lost = Lost::of(self);
        let mut log = self.log.lock();
        log.take_unacked(|frame, tell| lost.take(frame, tell));
        // The letters that make room for these are anybody's.
        drop(log);
        lost.bury();
    }

    /// The same for frames that were never taken.
    pub(super) fn bury_frames(&self, mut frames: &[u8]) {
        let mut lost = Lost::of(self);
        while let Ok(Some((frame, len))) = split_frame(frames, u32::MAX) {
            lost.take(&frame, None);
            frames = &frames[len..];
        }
        lost.bury();
    }
}

impl<'a> Lost<'a> {
    fn of(session: &'a Session) -> Self {
        Lost {
            session,
            wholes: HashMap::new(),
            letters: Vec::new(),
        }
    }

    /// Looks at the next frame; `tell` if it is the last piece of a large one.
    fn take(&mut self, frame: &Frame<'_>, tell: Option<&LargeTell>) {
        match frame.kind {
            Kind::Tell => self.tell(frame),
            Kind::Part => self.part(frame, tell),
            _ => {}
        }
    }

    fn part(&mut self, frame: &Frame<'_>, tell: Option<&LargeTell>) {
        let number = frame.correlation;
        if frame.flags & FIRST != 0 {
            self.wholes.insert(number, Vec::new());
        }
        if let Some(whole) = self.wholes.get_mut(&number) {
            whole.extend_from_slice(frame.body);
        }
        // One whose last piece was never taken is whole where it waits.
        if frame.flags & LAST == 0 {
            return;
        }
        if let Some(whole) = self.wholes.remove(&number) {
            if let Ok(Some((frame, _))) = split_frame(&whole, u32::MAX)
                && frame.kind == Kind::Tell
            {
                self.tell(&frame);
            }
        } else if let Some(tell) = tell {
            // The other side has the beginning; what is left here is no message.
            self.letter(tell.slot, tell.key, Vec::new());
        }
    }

    fn tell(&mut self, frame: &Frame<'_>) {
        if let Ok((request, _)) = Request::decode(frame.kind, frame.flags, frame.body) {
            self.letter(request.slot, request.key, frame.body.to_vec());
        }
    }

    fn letter(&mut self, slot: u32, key: Option<RequestKey>, message: Vec<u8>) {
        let caller = self.session.caller(slot);
        let target = caller.as_ref().map(|caller| caller.target());
        let (name, message_type) = target.unwrap_or(("?", "an encoded message"));
        self.letters.push(DeadLetter {
            at: self.session.system.clock().now(),
            target: name.to_owned(),
            message_type,
            reason: DropReason::Undelivered,
            key,
            attempts: Vec::new(),
            message: Box::new(message),
        });
    }

    fn bury(self) {
        for letter in self.letters {
            let counters = &self.session.peer.counters;
            counters.failed(FailureKind::ConnectionLost);
            self.session.system.dead_letters().push(letter);
        }
    }
}
