//! Making connections: dialled ones again and again, attached ones as they come.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use callboard::Placement;
use futures::future::{Either, select};

use super::link::{AskingSide, Link};
use super::{Core, Phase, RemoteNode};
use crate::config::LinkConfig;
use crate::connection::Connection;
use crate::connection::shake::shake;
use crate::error::LinkErrorKind;
use crate::transport::{ByteStream, Connected, Connector};
use crate::wire::handshake::Hello;

/// Connects, and connects again, until the peer is closed.
pub(super) fn start(core: Arc<Core>, connector: impl Connector) {
    let system = core.system.clone();
    let gone = Arc::clone(&core);
    let spawned = system.spawn(Placement::Spread, move || async move {
        let dialling = pin!(dial(&core, &connector));
        let closed = pin!(core.wait_for(|phase| *phase == Phase::Closed));
        select(dialling, closed).await;
    });
    if !spawned {
        let attempt = gone.begin();
        gone.down(attempt, false, LinkErrorKind::NoArbiter);
    }
}

async fn dial(core: &Arc<Core>, connector: &impl Connector) {
    let mut failures = 0;
    loop {
        let attempt = core.begin();
        let began = core.system.clock().now();
        let (was_up, why) = match connect(core, connector).await {
            Ok(connected) => serve(core, attempt, connected.stream).await,
            Err(why) => (false, why),
        };
        core.down(attempt, was_up, why);
        let lasted = core.system.clock().now().since(began);
        if was_up && lasted >= core.config.stable_after {
            failures = 0;
        }
        let bound = backoff_bound(&core.config, failures);
        failures = failures.saturating_add(1);
        let wait = core.system.entropy().jitter(bound);
        core.system.clock().sleep(wait).await;
    }
}

/// The longest wait after that many failures in a row (G16's rule, for connections).
fn backoff_bound(config: &LinkConfig, failures: u32) -> Duration {
    let factor = 1_u32.checked_shl(failures.min(31)).unwrap_or(u32::MAX);
    config
        .backoff
        .saturating_mul(factor)
        .min(config.backoff_cap)
        // Jitter may draw next to nothing; a bound of nothing would spin.
        .max(Duration::from_millis(1))
}

async fn connect(core: &Core, connector: &impl Connector) -> Result<Connected, LinkErrorKind> {
    let limit = core.config.connect_timeout;
    match select(connector.connect(), core.system.clock().sleep(limit)).await {
        Either::Left((Ok(connected), _)) => Ok(connected),
        Either::Left((Err(error), _)) => Err(LinkErrorKind::unreachable(&error)),
        Either::Right(_) => Err(LinkErrorKind::ConnectTimeout(limit)),
    }
}

/// Shakes hands over a stream and runs the connection to its end: whether it was up, and why it ended.
async fn serve<S: ByteStream>(
    core: &Arc<Core>,
    attempt: u64,
    mut stream: S,
) -> (bool, LinkErrorKind) {
    let ours = Hello::ours(
        &core.own_name,
        core.own_incarnation,
        core.config.frame_limit(),
    );
    let clock = core.system.clock();
    let theirs = match shake(&mut stream, &ours, clock, &core.config).await {
        Ok(theirs) => theirs,
        Err(why) => return (false, why),
    };
    let link = Link::new(core, theirs.max_frame);
    let remote = RemoteNode {
        name: theirs.node,
        incarnation: theirs.incarnation,
    };
    if !core.up(attempt, &link, remote) {
        return (false, LinkErrorKind::Replaced);
    }
    // Also if this task is dropped with its arbiter, or because the peer was closed.
    let _give_up = GiveUp { core, link: &link };
    let connection = Connection {
        system: &core.system,
        config: &core.config,
        outbox: &link.outbox,
        end: &link.end,
        traffic: &core.counters.traffic,
    };
    let mut side = AskingSide {
        core,
        link: &link,
        incarnation: theirs.incarnation,
    };
    let why = connection.run(stream, &mut side).await;
    link.give_up(core, &why);
    (true, why)
}

struct GiveUp<'a> {
    core: &'a Core,
    link: &'a Link,
}

impl Drop for GiveUp<'_> {
    fn drop(&mut self) {
        self.link.give_up(self.core, &LinkErrorKind::ClosedHere);
    }
}

/// Takes over a byte stream.
pub(super) fn attach(core: &Arc<Core>, stream: impl ByteStream) {
    if core.is_closed() {
        return;
    }
    let attempt = core.begin();
    let serving = Arc::clone(core);
    let spawned = core.system.spawn(Placement::Spread, move || async move {
        let core = serving;
        let served = pin!(serve(&core, attempt, stream));
        let closed = pin!(core.wait_for(|phase| *phase == Phase::Closed));
        if let Either::Left(((was_up, why), _)) = select(served, closed).await {
            core.down(attempt, was_up, why);
        }
    });
    if !spawned {
        core.down(attempt, false, LinkErrorKind::NoArbiter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g16_the_wait_doubles_up_to_its_cap_and_never_overflows() {
        let config = LinkConfig::default();
        let bounds: Vec<u128> = (0..8)
            .map(|failures| backoff_bound(&config, failures).as_millis())
            .collect();
        assert_eq!(bounds, [50, 100, 200, 400, 800, 1_000, 1_000, 1_000]);
        assert_eq!(backoff_bound(&config, u32::MAX), config.backoff_cap);
    }
}
