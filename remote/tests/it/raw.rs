//! The other end of a connection, spoken by hand.

use std::sync::atomic::{AtomicU64, Ordering};

use callboard::{Placement, System};
use callboard_remote::{LinkError, Node, Proof};
use futures::channel::oneshot;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

pub(crate) const PING: u8 = 3;
pub(crate) const PONG: u8 = 4;
pub(crate) const ACK: u8 = 5;
pub(crate) const OPEN: u8 = 10;
pub(crate) const ASK: u8 = 17;
pub(crate) const REPLY: u8 = 18;
pub(crate) const FAILED: u8 = 19;
pub(crate) const CANCEL: u8 = 20;
pub(crate) const SUBSCRIBE: u8 = 32;
pub(crate) const UNSUBSCRIBE: u8 = 34;

/// A stream on which the test says what it likes.
pub(crate) struct Raw(pub(crate) DuplexStream, u16);

/// A frame as it stands on the wire.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) correlation: u64,
    pub(crate) body: Vec<u8>,
}

pub(crate) fn frame(kind: u8, flags: u8, correlation: u64, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap();
    let mut bytes = len.to_be_bytes().to_vec();
    bytes.extend([kind, flags, 0, 0]);
    bytes.extend(correlation.to_be_bytes());
    bytes.extend(body);
    bytes
}

/// A session that begins: another one each time.
pub(crate) fn hello(oldest: u16, newest: u16) -> Vec<u8> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut session = *b"raw raw raw raw!";
    session[8..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    hello_of(oldest, newest, session, 0, 0)
}

pub(crate) fn hello_of(
    oldest: u16,
    newest: u16,
    session: [u8; 16],
    state: u8,
    received: u64,
) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(oldest.to_be_bytes());
    body.extend(newest.to_be_bytes());
    body.extend(0_u64.to_be_bytes());
    body.extend(1_u64.to_be_bytes());
    body.extend(1_000_000_u32.to_be_bytes());
    body.push(3);
    body.extend(b"raw");
    body.extend(session);
    body.push(state);
    body.extend(received.to_be_bytes());
    // Windows, asks in flight, the session's time, no login.
    body.extend(10_000_000_u64.to_be_bytes());
    body.extend(10_000_000_u64.to_be_bytes());
    body.extend(1_000_u32.to_be_bytes());
    body.extend(30_000_u32.to_be_bytes());
    body.extend([0; 3]);
    frame(1, 0, u64::from_be_bytes(*b"CALLBRD\n"), &body)
}

/// The types that [`Raw::shake`] opens slots for, at `tester`, in this order.
const TYPES: [&str; 3] = ["test.add", "test.hold", "test.echo"];

/// Opens a slot for each of [`TYPES`].
pub(crate) fn opens() -> Vec<u8> {
    let mut bytes = Vec::new();
    for (slot, type_name) in (0..).zip(TYPES) {
        let mut body = 1_u32.to_be_bytes().to_vec();
        body.extend([0; 16]);
        for name in ["tester", type_name] {
            body.push(u8::try_from(name.len()).unwrap());
            body.extend(name.as_bytes());
        }
        bytes.extend(frame(OPEN, 0, slot, &body));
    }
    bytes
}

/// An ask of `test.add` or the like at `tester`, with no deadline.
pub(crate) fn ask(correlation: u64, type_name: &str, payload: &[u8]) -> Vec<u8> {
    let slot = TYPES.iter().position(|known| *known == type_name).unwrap();
    let mut body = u32::try_from(slot).unwrap().to_be_bytes().to_vec();
    body.extend(payload);
    frame(ASK, 0, correlation, &body)
}

/// Numbers every frame that has a number, going on from `last`.
pub(crate) fn numbered(last: &mut u16, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Some(header) = bytes.get_mut(at..at + 16) {
        let len = u32::from_be_bytes(*header.first_chunk().unwrap()) as usize;
        if header[4] > 6 && header[6..8] == [0, 0] {
            *last += 1;
            header[6..8].copy_from_slice(&last.to_be_bytes());
        }
        at += 16 + len;
    }
    bytes
}

/// A subscription to `lesson.viewed` at the topic `views`.
pub(crate) fn subscribe(correlation: u64) -> Vec<u8> {
    let mut body = 1_u32.to_be_bytes().to_vec();
    body.extend(16_u32.to_be_bytes());
    for name in [
        "views",
        <crate::actors::Viewed as callboard::WireMessage>::NAME,
    ] {
        body.push(u8::try_from(name.len()).unwrap());
        body.extend(name.as_bytes());
    }
    body.extend(1_u16.to_be_bytes());
    body.extend(b">");
    frame(SUBSCRIBE, 0, correlation, &body)
}

impl Raw {
    /// Both ends of a stream.
    pub(crate) fn pair(buffer: usize) -> (Raw, DuplexStream) {
        let (near, far) = tokio::io::duplex(buffer);
        (Raw(near, 0), far)
    }

    /// A stream that a node serves, and how that ends.
    pub(crate) fn served(node: &Node, buffer: usize) -> (Raw, oneshot::Receiver<LinkError>) {
        let (raw, far) = Raw::pair(buffer);
        let (tx, rx) = oneshot::channel();
        let node = node.clone();
        let system: System = node.system().clone();
        system.spawn(Placement::Spread, move || async move {
            let _ = tx.send(node.serve(far, "raw", Proof::local(None)).await);
        });
        (raw, rx)
    }

    /// Sends whole frames, numbered.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let bytes = numbered(&mut self.1, bytes);
        self.send_bytes(&bytes).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        // The other side may have closed; then that is what the test looks at.
        let _ = self.0.write_all(bytes).await;
    }

    /// The next frame; `None` at the end of the stream.
    pub(crate) async fn read(&mut self) -> Option<Frame> {
        let mut header = [0; 16];
        self.0.read_exact(&mut header).await.ok()?;
        let (len, rest) = header.split_first_chunk::<4>().unwrap();
        let mut body = vec![0; u32::from_be_bytes(*len) as usize];
        self.0.read_exact(&mut body).await.ok()?;
        Some(Frame {
            kind: rest[0],
            correlation: u64::from_be_bytes(*rest.last_chunk().unwrap()),
            body,
        })
    }

    /// The next frame of that kind.
    pub(crate) async fn read_kind(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.read().await.unwrap();
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// Introduces itself, reads the other's introduction, and opens slots.
    pub(crate) async fn shake(&mut self) {
        self.send(&hello(2, 2)).await;
        assert_eq!(self.read().await.unwrap().kind, 1);
        self.send(&opens()).await;
    }

    /// Is connected to, and goes along with the session that the other begins.
    pub(crate) async fn welcome(&mut self) {
        let theirs = self.read().await.unwrap();
        assert_eq!(theirs.kind, 1);
        let name = usize::from(theirs.body[24]);
        let session = *theirs.body[25 + name..].first_chunk().unwrap();
        self.send(&hello_of(2, 2, session, 0, 0)).await;
    }
}
