//! One live connection: handshake, then one task that reads, writes and keeps time.
//!
//! The task is one future with four parts that never wait for each other: the reader cuts what arrives
//! into frames and hands them on without waiting; the writer drains the [`Outbox`](outbox::Outbox), many
//! frames into one write; the heartbeat asks after a silent peer; and the side's own work (the pumps of
//! subscriptions). No message has a task of its own.

pub(crate) mod end;
mod heartbeat;
pub(crate) mod outbox;
mod reader;
pub(crate) mod shake;
mod writer;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use callboard::System;

use crate::config::LinkConfig;
use crate::error::LinkErrorKind;
use crate::stats::Traffic;
use crate::transport::ByteStream;
use crate::wire::WireError;
use crate::wire::frame::{Frame, Kind, bare};

use end::EndSignal;
use heartbeat::Heartbeat;
use outbox::Outbox;
use reader::Reader;
use writer::Writer;

/// What a side does with the frames that arrive, apart from pings.
pub(crate) trait Side {
    /// Takes one frame. Must not wait. An error ends the connection.
    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), WireError>;

    /// Work of its own beside the frames.
    fn poll_work(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }
}

/// What a connection is made of, besides its stream.
pub(crate) struct Connection<'a> {
    pub(crate) system: &'a System,
    pub(crate) config: &'a LinkConfig,
    pub(crate) outbox: &'a Arc<Outbox>,
    pub(crate) end: &'a EndSignal,
    pub(crate) traffic: &'a Traffic,
}

impl Connection<'_> {
    /// Runs it to its end, and says what that was.
    pub(crate) async fn run<S: ByteStream>(
        &self,
        mut stream: S,
        side: &mut impl Side,
    ) -> LinkErrorKind {
        let clock = self.system.clock();
        let mut reader = Reader::new(self.config.max_frame);
        let mut writer = Writer::new(clock.clone());
        let mut heartbeat = Heartbeat::new(clock.clone(), self.config);
        let mut ended = pin!(self.end.wait());
        poll_fn(|cx| {
            if let Poll::Ready(kind) = ended.as_mut().poll(cx) {
                return Poll::Ready(kind);
            }
            let mut heard = false;
            let read = reader.poll(&mut stream, cx, self.traffic, &mut heard, |frame| {
                self.take(frame, side)
            });
            if heard {
                heartbeat.heard();
            }
            if let Poll::Ready(kind) = read {
                return Poll::Ready(kind);
            }
            side.poll_work(cx);
            if heartbeat.poll(cx, || self.outbox.push_control(bare(Kind::Ping, 0))) {
                return Poll::Ready(LinkErrorKind::Silent(self.config.dead_after));
            }
            // Last, so that what the others queued leaves in this turn.
            writer.poll(&mut stream, cx, self.outbox, self.traffic)
        })
        .await
    }

    fn take(&self, frame: &Frame<'_>, side: &mut impl Side) -> Result<(), WireError> {
        match frame.kind {
            Kind::Ping => {
                crate::wire::body::decode_nothing(frame.kind, frame.body)?;
                self.outbox.push_control(bare(Kind::Pong, 0));
                Ok(())
            }
            Kind::Pong => crate::wire::body::decode_nothing(frame.kind, frame.body),
            Kind::Hello | Kind::Refuse => Err(WireError::Unexpected(frame.kind.text())),
            _ => side.frame(frame),
        }
    }
}
