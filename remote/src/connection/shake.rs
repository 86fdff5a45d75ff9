//! The handshake over a byte stream.

use std::pin::pin;

use callboard::clock::Clock;
use futures::future::{Either, select, try_join};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::config::LinkConfig;
use crate::error::LinkErrorKind;
use crate::transport::ByteStream;
use crate::transport::hang_up;
use crate::transport::tls::{self, TlsFault};
use crate::wire::WireError;
use crate::wire::frame::HEADER;
use crate::wire::handshake::{First, Hello, NotHello, first_body, first_header, refuse};

/// Sends our `Hello`, reads the peer's, and checks that a version is spoken by both. Stalled ones are cut.
pub(crate) async fn shake<S: ByteStream>(
    stream: &mut S,
    ours: &Hello,
    clock: &Clock,
    config: &LinkConfig,
) -> Result<Hello, LinkErrorKind> {
    let shaken = exchange(stream, ours, clock, config).await;
    if let Err(LinkErrorKind::Tls(TlsFault::OnlyTls)) = shaken {
        // By a frame of ours, whichever, it sees that this side doesn't.
        let _ = send(stream, &refuse("TLS is not spoken here")).await;
        hang_up(stream, clock).await;
    }
    shaken
}

async fn exchange<S: ByteStream>(
    stream: &mut S,
    ours: &Hello,
    clock: &Clock,
    config: &LinkConfig,
) -> Result<Hello, LinkErrorKind> {
    let limit = config.handshake_timeout;
    let exchange = pin!(async {
        // At the same time, so that two sides with next to no buffer between them don't wait for each
        // other.
        let (mut reading, mut writing) = tokio::io::split(stream);
        let ours_encoded = ours.encode();
        let sending = send(&mut writing, &ours_encoded);
        let (first, ()) = try_join(receive(&mut reading), sending).await?;
        match first {
            First::Refuse(why) => Err(LinkErrorKind::Refused(why)),
            First::Hello(theirs) if ours.agree(&theirs).is_none() => Err(LinkErrorKind::Version {
                theirs: theirs.versions,
                ours: ours.versions,
            }),
            First::Hello(theirs) => Ok(theirs),
        }
    });
    match select(exchange, clock.sleep(limit)).await {
        Either::Left((result, _)) => result,
        Either::Right(_) => Err(LinkErrorKind::HandshakeStalled(limit)),
    }
}

/// Tells a peer why it can't connect. What it says itself is read first, so that closing the stream with
/// unread bytes doesn't destroy the answer on its way.
pub(crate) async fn turn_away<S: ByteStream>(
    stream: &mut S,
    why: &str,
    clock: &Clock,
    config: &LinkConfig,
) {
    let exchange = pin!(async {
        // It is turned away whatever it says, and whether or not it hears it.
        let _ = send(stream, &refuse(why)).await;
        let _ = receive(stream).await;
    });
    select(exchange, clock.sleep(config.handshake_timeout)).await;
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> Result<(), LinkErrorKind> {
    let sent = async {
        stream.write_all(frame).await?;
        stream.flush().await
    };
    sent.await
        .map_err(|error: std::io::Error| LinkErrorKind::lost(&error))
}

async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> Result<First, LinkErrorKind> {
    let mut header = [0; HEADER];
    let read = read_exact(stream, &mut header).await;
    if tls::is_record(&header) {
        // Also an alert, which is shorter than a header.
        return Err(TlsFault::OnlyTls.into());
    }
    read?;
    let header = first_header(&header).map_err(|not| match not {
        NotHello::Foreign => LinkErrorKind::NotCallboard {
            first_bytes: show(&header),
        },
        NotHello::Malformed(error) => error.into(),
    })?;
    // Checked above to be at most `MAX_HELLO`.
    let mut body = vec![0; header.len as usize];
    read_exact(stream, &mut body).await?;
    Ok(first_body(header.kind, &body)?)
}

async fn read_exact(
    stream: &mut (impl AsyncRead + Unpin),
    into: &mut [u8],
) -> Result<(), LinkErrorKind> {
    let mut filled = 0;
    while filled < into.len() {
        match stream.read(&mut into[filled..]).await {
            Ok(0) if filled == 0 => return Err(LinkErrorKind::ClosedByPeer),
            Ok(0) => return Err(WireError::Truncated("hello").into()),
            Ok(count) => filled += count,
            Err(error) => return Err(LinkErrorKind::lost(&error)),
        }
    }
    Ok(())
}

/// Foreign bytes as a person can make sense of them.
fn show(bytes: &[u8]) -> String {
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let text: String = bytes
        .iter()
        .map(|byte| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        })
        .collect();
    format!("{} \"{text}\"", hex.join(" "))
}
