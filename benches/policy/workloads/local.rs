//! Asks to an actor of the same thread.

use callboard::{ActorRef, Placement, System};
use callboard_supervision::AskExt;

use common::run::Result;
use common::size::Size;

use crate::clerk::{Clerk, FIRST, Next, check_handled, on_system};
use crate::meter::{Caller, Calls, Shape, compare};
use crate::systems::Bare;
use crate::systems::peers::Peer;
use crate::systems::policies::{self, DEADLINE, Policy};

pub(crate) fn bare(how: Bare, hand_off: bool, size: Size) -> Result<Vec<f64>> {
    on_system(1, hand_off, move |system| async move {
        let clerk = start(&system, FIRST);
        let shape = Shape::of(size);
        let mut base = ask(&clerk);
        let figures = match how {
            Bare::Call => compare(shape, &mut base, &mut ask(&clerk)).await,
            Bare::Deadline => {
                let mut other = Calls(async || {
                    answered(clerk.ask(Next(1)).deadline(DEADLINE).await);
                });
                compare(shape, &mut base, &mut other).await
            }
            Bare::Marked => {
                let mut other = Calls(async || {
                    let ask = clerk.ask(Next(1)).deadline(DEADLINE).caller_retries();
                    answered(ask.await);
                });
                compare(shape, &mut base, &mut other).await
            }
        };
        check_handled(&clerk, both(shape)).await?;
        Ok(figures)
    })
}

pub(crate) fn by_policy(policy: Policy, hand_off: bool, size: Size) -> Result<Vec<f64>> {
    on_system(1, hand_off, move |system| async move {
        let clerk = start(&system, FIRST);
        let shape = Shape::of(size);
        let made = policy.make()?;
        let mut base = ask(&clerk);
        // A hedge is only for what may run twice.
        let figures = if policy == Policy::Hedged {
            let mut other = Calls(async || {
                answered(clerk.ask(Next(1)).policy_idempotent(&made).await);
            });
            compare(shape, &mut base, &mut other).await
        } else {
            let mut other = Calls(async || answered(clerk.ask(Next(1)).policy(&made).await));
            compare(shape, &mut base, &mut other).await
        };
        policies::check(&made, shape.calls() + shape.counted())?;
        check_handled(&clerk, both(shape)).await?;
        Ok(figures)
    })
}

pub(crate) fn by_peer(peer: Peer, hand_off: bool, size: Size) -> Result<Vec<f64>> {
    on_system(1, hand_off, move |system| async move {
        let clerk = start(&system, FIRST);
        let shape = Shape::of(size);
        let mut base = ask(&clerk);
        let call = |next| clerk.ask(next).into_future();
        let figures = peer.compare(shape, &mut base, call).await;
        check_handled(&clerk, both(shape)).await?;
        Ok(figures)
    })
}

pub(crate) fn start(system: &System, placement: Placement) -> ActorRef<Clerk> {
    system.actor(Clerk::default).placement(placement).start()
}

fn ask(clerk: &ActorRef<Clerk>) -> impl Caller {
    Calls(async || answered(clerk.ask(Next(1)).await))
}

/// How many calls the actor gets while two ways to call it are compared.
fn both(shape: Shape) -> u64 {
    2 * shape.calls() + shape.counted()
}

#[inline]
pub(crate) fn answered<E: std::fmt::Debug>(answer: std::result::Result<u64, E>) {
    assert_eq!(answer.expect("it is answered"), 2);
}
