//! The other end of a connection, spoken by hand.

use callboard::{Placement, System};
use callboard_remote::{LinkError, Node, Proof};
use futures::channel::oneshot;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

pub(crate) const PING: u8 = 3;
pub(crate) const PONG: u8 = 4;
pub(crate) const ASK: u8 = 17;
pub(crate) const REPLY: u8 = 18;
pub(crate) const FAILED: u8 = 19;
pub(crate) const CANCEL: u8 = 20;
pub(crate) const SUBSCRIBE: u8 = 32;
pub(crate) const UNSUBSCRIBE: u8 = 34;

/// A stream on which the test says what it likes.
pub(crate) struct Raw(pub(crate) DuplexStream);

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

pub(crate) fn hello(oldest: u16, newest: u16) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(oldest.to_be_bytes());
    body.extend(newest.to_be_bytes());
    body.extend(0_u64.to_be_bytes());
    body.extend(1_u64.to_be_bytes());
    body.extend(1_000_000_u32.to_be_bytes());
    body.push(3);
    body.extend(b"raw");
    frame(1, 0, u64::from_be_bytes(*b"CALLBRD\n"), &body)
}

/// An ask of `test.add` or the like at `tester`, with no deadline.
pub(crate) fn ask(correlation: u64, type_name: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = u64::MAX.to_be_bytes().to_vec();
    body.extend(1_u32.to_be_bytes());
    body.extend(1_u32.to_be_bytes());
    for name in ["tester", type_name] {
        body.push(u8::try_from(name.len()).unwrap());
        body.extend(name.as_bytes());
    }
    body.extend(payload);
    frame(ASK, 0, correlation, &body)
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
        (Raw(near), far)
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

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
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

    /// Introduces itself and reads the other's introduction.
    pub(crate) async fn shake(&mut self) {
        self.send(&hello(1, 1)).await;
        assert_eq!(self.read().await.unwrap().kind, 1);
    }
}
