use callboard::{Boundary, Message, Outcome, ReplySink, System};
use serde::{Deserialize, Serialize};

use super::*;
use crate::config::LinkConfig;

#[derive(Message, Serialize, Deserialize)]
#[message(reply = u64, name = "test.question")]
struct Question;

/// Gives the connection up at the very moment at which it is told that the frame leaves.
struct GivesUp {
    ask: Arc<Mutex<Option<Arc<WaitingAsk<Question>>>>>,
    outcome: Arc<Mutex<Option<Outcome<u64>>>>,
}

impl ReplySink<u64> for GivesUp {
    fn progress(&mut self, _verdict: Verdict) -> bool {
        if let Some(ask) = self.ask.lock().take() {
            ask.fail(Failure::new(FailureKind::NoConnection, Verdict::NotSent));
        }
        true
    }

    fn finish(self: Box<Self>, outcome: Outcome<u64>) {
        *self.outcome.lock() = Some(outcome);
    }
}

#[callboard::test]
async fn g07_an_ask_that_fails_while_it_is_handed_over_stays_here_and_says_why(system: System) {
    let config = LinkConfig::default();
    let core = Core::new(&system, "there".to_owned(), Boundary::SameHost, config);
    let (slot, outcome) = (Arc::default(), Arc::default());
    let sink = GivesUp {
        ask: Arc::clone(&slot),
        outcome: Arc::clone(&outcome),
    };
    let ask = Arc::new(WaitingAsk::<Question>::new(
        core,
        Responder::new(Box::new(sink)),
    ));
    *slot.lock() = Some(Arc::clone(&ask));
    assert!(!ask.hand_over(), "the frame doesn't leave");
    let failure = outcome.lock().take().unwrap().unwrap_err();
    assert_eq!(failure.kind(), FailureKind::NoConnection);
    assert_eq!(failure.verdict(), Verdict::NotSent);
}
