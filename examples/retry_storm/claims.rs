//! What is said of the four storms, and whether it holds.

use super::load::{Measured, Share, USUAL_IN_WINDOW};
use super::storm::{AFTER, PATIENCE, Storm, Variant};

/// A sentence, and whether it is true.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) holds: bool,
    pub(super) text: String,
}

/// What the load must have reached, of what is possible, for the storm to count as one.
const MOST_OF_IT: f64 = 200.0 / 243.0;

pub(super) fn of(storm: &Storm, measured: &[Measured]) -> Vec<Claim> {
    measured.iter().flat_map(|it| about(storm, it)).collect()
}

fn about(storm: &Storm, it: &Measured) -> Vec<Claim> {
    let letter = it.variant.letter();
    let mut claims = Vec::new();
    let mut claim = |holds, text: String| {
        let text = format!("({letter}) {text}");
        claims.push(Claim { holds, text });
    };
    match it.variant {
        // With more layers a request isn't over before the callee is well again, and the load not at its height.
        Variant::Loops if !storm.is_over_in_time() => {}
        Variant::Loops => {
            let (worst, peak) = (storm.worst(), it.peak_factor());
            claim(
                peak >= worst as f64 * MOST_OF_IT,
                format!("{peak:.0} attempts for each request, of {worst} that are possible"),
            );
            if storm.drowns() {
                let Share { answered, asked } = it.after;
                claim(
                    answered == 0 && it.tail.is_none(),
                    format!(
                        "the callee is well again, and so busy saying no that it answers {answered} of {asked} requests"
                    ),
                );
            }
        }
        Variant::OneLayer => {
            let most = it.requests * u64::from(storm.attempts);
            claim(
                it.attempts <= most,
                format!(
                    "{} attempts for {} requests, which is at most {} for each",
                    it.attempts, it.requests, storm.attempts
                ),
            );
        }
        Variant::Budgets => {
            let most = (0..storm.layers).fold(USUAL_IN_WINDOW, |most, _| within(most));
            claim(
                it.worst_window <= most,
                format!(
                    "{} attempts in the worst 10 s: of {USUAL_IN_WINDOW} requests {} layers, each inside its budget, may make {most}",
                    it.worst_window, storm.layers
                ),
            );
        }
        Variant::Both => {
            let most = within(USUAL_IN_WINDOW);
            claim(
                it.worst_window <= most,
                format!(
                    "{} attempts in the worst 10 s: {USUAL_IN_WINDOW} requests, 20 % and 10 a second make {most}",
                    it.worst_window
                ),
            );
            claim(
                it.after.answered == it.after.asked,
                format!(
                    "{} of the {} who asked in the {} s after the callee was well again were answered",
                    it.after.answered,
                    it.after.asked,
                    (AFTER - PATIENCE).as_secs()
                ),
            );
        }
    }
    claims
}

/// What a budget allows of so many requests in its window of ten seconds (G17).
fn within(requests: u64) -> u64 {
    requests + requests / 5 + 10 * 10
}
