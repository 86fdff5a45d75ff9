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
use crate::wire::handshake::{
    First, Hello, NotHello, SessionHello, SessionState, first_body, first_header, refuse,
};

/// Introduces this side, and hears who is there. Of who connects.
pub(crate) async fn introduce<S: ByteStream>(
    stream: &mut S,
    ours: &Hello,
    clock: &Clock,
    config: &LinkConfig,
) -> Result<Hello, LinkErrorKind> {
    let exchange = async {
        let encoded = ours.encode();
        // At the same time, so that a refusal is heard by who is still writing.
        let (mut reading, mut writing) = tokio::io::split(&mut *stream);
        let sending = send(&mut writing, &encoded);
        let (first, ()) = try_join(receive(&mut reading), sending).await?;
        match first {
            First::Refuse(why) => Err(LinkErrorKind::Refused(why)),
            First::Hello(theirs) => checked(ours.versions, theirs),
        }
    };
    let shaken = within(exchange, clock, config).await;
    hang_up_on_tls(stream, &shaken, clock).await;
    shaken
}

/// To who speaks TLS only: by a frame of ours, whichever, it sees that this side doesn't.
async fn hang_up_on_tls<T>(
    stream: &mut impl ByteStream,
    shaken: &Result<T, LinkErrorKind>,
    clock: &Clock,
) {
    if let Err(LinkErrorKind::Tls(TlsFault::OnlyTls)) = shaken {
        let _ = send(stream, &refuse("TLS is not spoken here")).await;
        hang_up(stream, clock).await;
    }
}

/// Hears who connects.
pub(crate) async fn listen<S: ByteStream>(
    stream: &mut S,
    clock: &Clock,
    config: &LinkConfig,
) -> Result<Hello, LinkErrorKind> {
    let exchange = async {
        match receive(&mut *stream).await? {
            First::Refuse(why) => Err(LinkErrorKind::Refused(why)),
            First::Hello(theirs) => Ok(theirs),
        }
    };
    let heard = within(exchange, clock, config).await;
    hang_up_on_tls(stream, &heard, clock).await;
    heard
}

/// Answers who has connected, and checks that a version is spoken by both.
pub(crate) async fn reply<S: ByteStream>(
    stream: &mut S,
    ours: &Hello,
    theirs: Hello,
    clock: &Clock,
    config: &LinkConfig,
) -> Result<Hello, LinkErrorKind> {
    let encoded = ours.encode();
    within(send(stream, &encoded), clock, config).await?;
    checked(ours.versions, theirs)
}

fn checked(ours: (u16, u16), theirs: Hello) -> Result<Hello, LinkErrorKind> {
    if theirs.agree(ours).is_some() {
        return Ok(theirs);
    }
    Err(LinkErrorKind::Version {
        theirs: theirs.versions,
        ours,
    })
}

impl SessionHello {
    /// What this side says of a session.
    pub(crate) fn of(
        config: &LinkConfig,
        id: [u8; 16],
        state: SessionState,
        received: u64,
    ) -> Self {
        SessionHello {
            id,
            state,
            received,
            window: config.window.max(1),
            session_window: config.session_window.max(1),
            in_flight: u32::try_from(config.in_flight.max(1)).unwrap_or(u32::MAX),
            session_millis: u32::try_from(config.session_time.as_millis()).unwrap_or(u32::MAX),
            login: None,
        }
    }
}

/// Stalled ones are cut (G36).
/// What an exchange comes to, or that it stalled.
pub(crate) async fn within<T>(
    exchange: impl Future<Output = Result<T, LinkErrorKind>>,
    clock: &Clock,
    config: &LinkConfig,
) -> Result<T, LinkErrorKind> {
    let limit = config.handshake_timeout;
    match select(pin!(exchange), clock.sleep(limit)).await {
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
